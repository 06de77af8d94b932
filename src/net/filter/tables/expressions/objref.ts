/** objref: what a named object does: one that the rule names, or one that a map has for a register's value. */
import {
  NFT_BREAK,
  NFT_SET_OBJECT,
  NFTA_OBJREF_IMM_NAME,
  NFTA_OBJREF_IMM_TYPE,
  NFTA_OBJREF_SET_ID,
  NFTA_OBJREF_SET_NAME,
  NFTA_OBJREF_SET_SREG,
} from '../../../../abi/constants.ts'
import { EINVAL, ENOENT, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { OrErrno } from '../../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionContext, ExpressionType } from '../expression.ts'
import { type NfObject, objectKey } from '../object.ts'
import { readRegister, writeRegister } from '../registers.ts'
import { type NfSet, seePacket } from '../set.ts'

export const objref: ExpressionType = {
  name: 'objref',
  parse(context, attributes) {
    const hasSet = attributes.has(NFTA_OBJREF_SET_NAME) || attributes.has(NFTA_OBJREF_SET_ID)
    if (attributes.has(NFTA_OBJREF_SET_SREG) && hasSet) return parseMapped(context, attributes)
    const type = attributes.be32(NFTA_OBJREF_IMM_TYPE)
    const name = attributes.string(NFTA_OBJREF_IMM_NAME)
    if (type === undefined || name === undefined) return -EOPNOTSUPP
    const object = context.table.objects.get(objectKey(type, name))
    return object === undefined ? -ENOENT : new Named(object)
  },
}

function parseMapped(context: ExpressionContext, attributes: Attributes): OrErrno<Expression> {
  const set = context.set(attributes, NFTA_OBJREF_SET_NAME, NFTA_OBJREF_SET_ID)
  if (typeof set === 'number') return set
  if ((set.description.flags & NFT_SET_OBJECT) === 0) return -EINVAL
  const register = readRegister(attributes, NFTA_OBJREF_SET_SREG, set.description.keyLength)
  return register < 0 ? register : new Mapped(set, register)
}

class Named implements Expression {
  readonly name = 'objref'
  readonly #object: NfObject

  constructor(object: NfObject) {
    this.#object = object
  }
  evaluate(run: Evaluation): void {
    this.#object.expression.evaluate(run)
  }
  attach(): void {
    this.#object.attach()
  }
  detach(): void {
    this.#object.detach()
  }
  write(writer: MessageWriter): void {
    writer.string(NFTA_OBJREF_IMM_NAME, this.#object.name)
    writer.be32(NFTA_OBJREF_IMM_TYPE, this.#object.type)
  }
}

class Mapped implements Expression {
  readonly name = 'objref'
  readonly set: NfSet
  readonly #register: number

  constructor(set: NfSet, register: number) {
    this.set = set
    this.#register = register
  }
  evaluate(run: Evaluation): void {
    const element = this.set.lookup(run.bytes, this.#register)
    if (element?.object === undefined) {
      run.verdict = NFT_BREAK
      return
    }
    element.object.expression.evaluate(run)
    seePacket(element, run)
  }
  attach(): void {
    this.set.bind()
  }
  detach(): void {
    this.set.unbind()
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_OBJREF_SET_SREG, this.#register)
    writer.string(NFTA_OBJREF_SET_NAME, this.set.name)
  }
}
