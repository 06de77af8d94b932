/** immediate: a value into a register, or a verdict. */
import {
  NFT_GOTO,
  NFT_JUMP,
  NFT_REG_VERDICT,
  NFTA_IMMEDIATE_DATA,
  NFTA_IMMEDIATE_DREG,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Chain } from '../chain.ts'
import { isVerdict, readValue, readVerdict, type Verdict, writeValue, writeVerdict } from '../data.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const immediate: ExpressionType = {
  name: 'immediate',
  parse(context, attributes) {
    if (!attributes.has(NFTA_IMMEDIATE_DREG) || !attributes.has(NFTA_IMMEDIATE_DATA)) return -EINVAL
    if (isVerdict(attributes, NFTA_IMMEDIATE_DATA)) {
      if (attributes.be32(NFTA_IMMEDIATE_DREG) !== NFT_REG_VERDICT) return -EINVAL
      const verdict = readVerdict(context, attributes, NFTA_IMMEDIATE_DATA, true)
      return typeof verdict === 'number' ? verdict : new Decide(verdict)
    }
    const value = readValue(attributes, NFTA_IMMEDIATE_DATA)
    if (typeof value === 'number') return value
    const register = readRegister(attributes, NFTA_IMMEDIATE_DREG, value.length)
    return register < 0 ? register : new Load(register, value)
  },
}

class Decide implements Expression {
  readonly name = 'immediate'
  readonly #verdict: Verdict

  constructor(verdict: Verdict) {
    this.#verdict = verdict
  }
  evaluate(run: Evaluation): void {
    this.#verdict.apply(run)
  }
  write(writer: MessageWriter): void {
    writer.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
    writeVerdict(writer, NFTA_IMMEDIATE_DATA, this.#verdict)
  }
  attach(): void {
    this.#verdict.attach()
    if (this.#verdict.chain?.binding) this.#verdict.chain.bind()
  }
  detach(): void {
    this.#verdict.detach()
    if (this.#verdict.chain?.binding) this.#verdict.chain.unbind()
  }
  targets(): Chain[] {
    const { code, chain } = this.#verdict
    return chain !== undefined && (code === NFT_JUMP || code === NFT_GOTO) ? [chain] : []
  }
}

class Load implements Expression {
  readonly name = 'immediate'
  readonly #register: number
  readonly #value: Uint8Array
  readonly #padded: Uint8Array

  constructor(register: number, value: Uint8Array) {
    this.#register = register
    this.#value = value
    this.#padded = new Uint8Array((value.length + 3) & ~3)
    this.#padded.set(value)
  }
  evaluate(run: Evaluation): void {
    run.bytes.set(this.#padded, this.#register)
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_IMMEDIATE_DREG, this.#register)
    writeValue(writer, NFTA_IMMEDIATE_DATA, this.#value)
  }
}
