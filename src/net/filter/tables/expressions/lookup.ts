/** lookup: whether a register's value is in a set, or what a map has for it. */
import {
  NFT_BREAK,
  NFT_REG_VERDICT,
  NFTA_LOOKUP_DREG,
  NFTA_LOOKUP_FLAGS,
  NFTA_LOOKUP_SET,
  NFTA_LOOKUP_SET_ID,
  NFTA_LOOKUP_SREG,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Chain } from '../chain.ts'
import { Verdict } from '../data.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { clearLastWord, readRegister, writeRegister } from '../registers.ts'
import { type NfSet, seePacket } from '../set.ts'

/** NFT_LOOKUP_F_INV */
const INVERTED = 1
/** Into the verdict. */
const VERDICT = 0
const NOWHERE = -1

export const lookup: ExpressionType = {
  name: 'lookup',
  parse(context, attributes) {
    if (!attributes.has(NFTA_LOOKUP_SET) || !attributes.has(NFTA_LOOKUP_SREG)) return -EINVAL
    const set = context.set(attributes, NFTA_LOOKUP_SET, NFTA_LOOKUP_SET_ID)
    if (typeof set === 'number') return set
    const source = readRegister(attributes, NFTA_LOOKUP_SREG, set.description.keyLength)
    if (source < 0) return source
    const flags = attributes.be32(NFTA_LOOKUP_FLAGS) ?? 0
    if ((flags & ~INVERTED) !== 0) return -EINVAL
    if (!attributes.has(NFTA_LOOKUP_DREG)) {
      // A map is only for what it maps to.
      return set.isMap ? -EINVAL : new Lookup(set, source, NOWHERE, flags)
    }
    if (flags !== 0 || !set.isMap) return -EINVAL
    if (set.isVerdictMap) {
      if (attributes.be32(NFTA_LOOKUP_DREG) !== NFT_REG_VERDICT) return -EINVAL
      return new Lookup(set, source, VERDICT, flags)
    }
    const destination = readRegister(attributes, NFTA_LOOKUP_DREG, set.description.dataLength)
    return destination < 0 ? destination : new Lookup(set, source, destination, flags)
  },
}

class Lookup implements Expression {
  readonly name = 'lookup'
  readonly set: NfSet
  readonly #source: number
  readonly #destination: number
  readonly #flags: number

  constructor(set: NfSet, source: number, destination: number, flags: number) {
    this.set = set
    this.#source = source
    this.#destination = destination
    this.#flags = flags
  }
  evaluate(run: Evaluation): void {
    const element = this.set.lookup(run.bytes, this.#source)
    if ((element !== undefined) === ((this.#flags & INVERTED) !== 0)) {
      run.verdict = NFT_BREAK
      return
    }
    if (element === undefined) return
    const { data } = element
    if (data instanceof Verdict) data.apply(run)
    else if (data !== undefined && this.#destination > 0) {
      clearLastWord(run.bytes, this.#destination, data.length)
      run.bytes.set(data, this.#destination)
    }
    // Last: a limit may break off what the map's verdict says.
    seePacket(element, run)
  }
  write(writer: MessageWriter): void {
    writer.string(NFTA_LOOKUP_SET, this.set.name)
    writeRegister(writer, NFTA_LOOKUP_SREG, this.#source)
    if (this.#destination !== NOWHERE) writeRegister(writer, NFTA_LOOKUP_DREG, this.#destination)
    writer.be32(NFTA_LOOKUP_FLAGS, this.#flags)
  }
  attach(): void {
    this.set.bind()
  }
  detach(): void {
    this.set.unbind()
  }
  *targets(): IterableIterator<Chain> {
    if (!this.set.isVerdictMap) return
    for (const { data } of this.set.elements())
      if (data instanceof Verdict && data.chain !== undefined) yield data.chain
  }
}
