/**
 * dynset: packets add what a register holds to a set, or take it out: addresses that are seen for a while, and meters, where
 * each element has a limit or a counter of its own. Goes on with the rule if the element is there then and lets the packet
 * pass.
 */
import {
  NFT_BREAK,
  NFT_DYNSET_F_EXPR,
  NFT_DYNSET_F_INV,
  NFT_DYNSET_OP_DELETE,
  NFT_DYNSET_OP_UPDATE,
  NFT_SET_CONSTANT,
  NFT_SET_EVAL,
  NFT_SET_TIMEOUT,
  NFTA_DYNSET_EXPR,
  NFTA_DYNSET_EXPRESSIONS,
  NFTA_DYNSET_FLAGS,
  NFTA_DYNSET_OP,
  NFTA_DYNSET_SET_ID,
  NFTA_DYNSET_SET_NAME,
  NFTA_DYNSET_SREG_DATA,
  NFTA_DYNSET_SREG_KEY,
  NFTA_DYNSET_TIMEOUT,
  NFTA_LIST_ELEM,
} from '../../../../abi/constants.ts'
import { EBUSY, EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { OrErrno } from '../../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import {
  type Expression,
  type ExpressionContext,
  type ExpressionType,
  MAX_STATEFUL,
  parseStateful,
  writeExpression,
} from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'
import { type NfSet, type SetElement, seePacket } from '../set.ts'

const NSEC_PER_MSEC = 1e6
/** Of a set that has not said how large it may grow. */
const DEFAULT_SIZE = 0xffff
const NOTHING = -1

export const dynset: ExpressionType = {
  name: 'dynset',
  parse(context, attributes) {
    const operation = attributes.be32(NFTA_DYNSET_OP)
    if (!attributes.has(NFTA_DYNSET_SET_NAME) || operation === undefined) return -EINVAL
    if (!attributes.has(NFTA_DYNSET_SREG_KEY)) return -EINVAL
    const flags = attributes.be32(NFTA_DYNSET_FLAGS) ?? 0
    if ((flags & ~(NFT_DYNSET_F_INV | NFT_DYNSET_F_EXPR)) !== 0) return -EOPNOTSUPP
    const set = context.set(attributes, NFTA_DYNSET_SET_NAME, NFTA_DYNSET_SET_ID)
    if (typeof set === 'number') return set
    const { description } = set
    if ((description.flags & NFT_SET_CONSTANT) !== 0) return -EBUSY
    // Found by hash only, and what it maps to is nobody's to add.
    if ((description.flags & NFT_SET_EVAL) === 0 || set.intervals || set.ranges || set.isMap)
      return -EOPNOTSUPP
    if (operation > NFT_DYNSET_OP_DELETE || attributes.has(NFTA_DYNSET_SREG_DATA)) return -EOPNOTSUPP
    const timeout = attributes.be64(NFTA_DYNSET_TIMEOUT)
    if (timeout !== undefined && (description.flags & NFT_SET_TIMEOUT) === 0) return -EOPNOTSUPP
    const register = readRegister(attributes, NFTA_DYNSET_SREG_KEY, description.keyLength)
    if (register < 0) return register
    const own = readOwn(context, attributes)
    if (typeof own === 'number') return own
    const models = own.length > 0 ? own : parseAll(context, description.expressions)
    if (typeof models === 'number') return models
    if (set.limit === 0) set.limit = DEFAULT_SIZE
    return new DynamicSet(set, { operation, register, flags, timeout: timeout ?? NOTHING, own, models })
  },
}

function readOwn(context: ExpressionContext, attributes: Attributes): OrErrno<Expression[]> {
  const one = attributes.get(NFTA_DYNSET_EXPR)
  const list = attributes.nested(NFTA_DYNSET_EXPRESSIONS)?.list
  if (one !== undefined && list !== undefined) return -EINVAL
  const values = one === undefined ? (list ?? []).map(({ value }) => value) : [one]
  return values.length > MAX_STATEFUL ? -EINVAL : parseAll(context, values)
}

function parseAll(context: ExpressionContext, values: readonly Uint8Array[]): OrErrno<Expression[]> {
  const expressions: Expression[] = []
  for (const value of values) {
    const expression = parseStateful(context, value)
    if (typeof expression === 'number') return expression
    expressions.push(expression)
  }
  return expressions
}

interface What {
  readonly operation: number
  readonly register: number
  readonly flags: number
  /** Milliseconds; NOTHING: the set's. */
  readonly timeout: number
  /** What the rule says that each new element gets. */
  readonly own: readonly Expression[]
  /** What each new element gets a clone of: these, or the set's. */
  readonly models: readonly Expression[]
}

class DynamicSet implements Expression {
  readonly name = 'dynset'
  readonly set: NfSet
  readonly #what: What

  constructor(set: NfSet, what: What) {
    this.set = set
    this.#what = what
  }

  evaluate(run: Evaluation): void {
    const { set } = this
    const { operation, register, flags } = this.#what
    const { keyLength } = set.description
    let element = set.find(run.bytes.subarray(register, register + keyLength), undefined, 0)
    if (operation === NFT_DYNSET_OP_DELETE) {
      if (element !== undefined) set.remove(element)
      return
    }
    const now = run.stack.runtime.now()
    if (element === undefined) {
      element = this.#add(run.bytes.slice(register, register + keyLength), now)
    } else if (operation === NFT_DYNSET_OP_UPDATE && element.timeout > 0) {
      element.expires = now + element.timeout * NSEC_PER_MSEC
    }
    const inverted = (flags & NFT_DYNSET_F_INV) !== 0
    if (element === undefined) {
      if (!inverted) run.verdict = NFT_BREAK
      return
    }
    seePacket(element, run)
    if (inverted) run.verdict = NFT_BREAK
  }

  /** Undefined: the set is full. */
  #add(key: Uint8Array, now: number): SetElement | undefined {
    const { set } = this
    const { description } = set
    if (set.size >= set.limit) set.sweep()
    if (set.size >= set.limit) return undefined
    const { models, timeout: own } = this.#what
    const expressions = models.map(model => model.clone!(now))
    const limited = (description.flags & NFT_SET_TIMEOUT) !== 0
    const timeout = limited ? (own === NOTHING ? description.timeout : own) : 0
    const element: SetElement = {
      ...{ key, keyEnd: undefined, flags: 0, data: undefined, object: undefined, timeout },
      ...{ userData: undefined, expressions },
      expires: timeout === 0 ? Number.POSITIVE_INFINITY : now + timeout * NSEC_PER_MSEC,
    }
    set.add(element)
    return element
  }

  write(writer: MessageWriter): void {
    const { operation, register, flags, timeout, own } = this.#what
    writeRegister(writer, NFTA_DYNSET_SREG_KEY, register)
    writer.be32(NFTA_DYNSET_OP, operation)
    writer.string(NFTA_DYNSET_SET_NAME, this.set.name)
    writer.be64(NFTA_DYNSET_TIMEOUT, Math.max(timeout, 0))
    if (own.length === 1) writeExpression(writer, NFTA_DYNSET_EXPR, own[0])
    else if (own.length > 1) {
      const list = writer.nest(NFTA_DYNSET_EXPRESSIONS)
      for (const expression of own) writeExpression(writer, NFTA_LIST_ELEM, expression)
      writer.close(list)
    }
    writer.be32(NFTA_DYNSET_FLAGS, flags)
  }
  attach(): void {
    this.set.bind()
  }
  detach(): void {
    this.set.unbind()
  }
}
