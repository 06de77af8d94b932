/** numgen: numbers that count up, or random ones: what spreads connections over several destinations. */
import {
  NFT_NG_INCREMENTAL,
  NFT_NG_RANDOM,
  NFTA_NG_DREG,
  NFTA_NG_MODULUS,
  NFTA_NG_OFFSET,
  NFTA_NG_TYPE,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, EOVERFLOW, ERANGE } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const numgen: ExpressionType = {
  name: 'numgen',
  parse(_context, attributes) {
    const modulus = attributes.be32(NFTA_NG_MODULUS)
    const type = attributes.be32(NFTA_NG_TYPE)
    if (modulus === undefined || type === undefined || !attributes.has(NFTA_NG_DREG)) return -EINVAL
    if (type !== NFT_NG_INCREMENTAL && type !== NFT_NG_RANDOM) return -EOPNOTSUPP
    const offset = attributes.be32(NFTA_NG_OFFSET) ?? 0
    if (modulus === 0) return -ERANGE
    if (offset + modulus - 1 > 0xffffffff) return -EOVERFLOW
    const register = readRegister(attributes, NFTA_NG_DREG, 4)
    return register < 0 ? register : new NumberGenerator(register, type, modulus, offset)
  },
}

class NumberGenerator implements Expression {
  readonly name = 'numgen'
  readonly #register: number
  readonly #type: number
  readonly #modulus: number
  readonly #offset: number
  #last: number

  constructor(register: number, type: number, modulus: number, offset: number) {
    this.#register = register
    this.#type = type
    this.#modulus = modulus
    this.#offset = offset
    this.#last = modulus - 1
  }
  evaluate(run: Evaluation): void {
    let number: number
    if (this.#type === NFT_NG_RANDOM) number = run.stack.random.below(this.#modulus)
    else number = this.#last = (this.#last + 1) % this.#modulus
    run.view.setUint32(this.#register, number + this.#offset, true)
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_NG_DREG, this.#register)
    writer.be32(NFTA_NG_MODULUS, this.#modulus)
    writer.be32(NFTA_NG_TYPE, this.#type)
    writer.be32(NFTA_NG_OFFSET, this.#offset)
  }
}
