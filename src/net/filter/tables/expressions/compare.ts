/** cmp and range: go on with the rule if a register has, or has not, the value. */
import {
  NFT_BREAK,
  NFT_CMP_EQ,
  NFT_CMP_GT,
  NFT_CMP_GTE,
  NFT_CMP_LT,
  NFT_CMP_LTE,
  NFT_CMP_NEQ,
  NFTA_CMP_DATA,
  NFTA_CMP_OP,
  NFTA_CMP_SREG,
  NFTA_RANGE_FROM_DATA,
  NFTA_RANGE_OP,
  NFTA_RANGE_SREG,
  NFTA_RANGE_TO_DATA,
} from '../../../../abi/constants.ts'
import { EINVAL, ERANGE } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import { readValue, writeValue } from '../data.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { compareBytes, readRegister, sameBytes, writeRegister } from '../registers.ts'

export const cmp: ExpressionType = {
  name: 'cmp',
  parse(_context, attributes) {
    const operator = attributes.be32(NFTA_CMP_OP)
    if (operator === undefined || !attributes.has(NFTA_CMP_SREG)) return -EINVAL
    const value = readValue(attributes, NFTA_CMP_DATA)
    if (typeof value === 'number') return value
    if (operator > NFT_CMP_GTE) return -EINVAL
    const register = readRegister(attributes, NFTA_CMP_SREG, value.length)
    return register < 0 ? register : new Compare(register, operator, value)
  },
}

class Compare implements Expression {
  readonly name = 'cmp'
  readonly #register: number
  readonly #operator: number
  readonly #value: Uint8Array

  constructor(register: number, operator: number, value: Uint8Array) {
    this.#register = register
    this.#operator = operator
    this.#value = value
  }
  evaluate(run: Evaluation): void {
    if (!this.#holds(run.bytes)) run.verdict = NFT_BREAK
  }
  #holds(bytes: Uint8Array): boolean {
    const value = this.#value
    if (this.#operator === NFT_CMP_EQ) return sameBytes(bytes, this.#register, value, value.length)
    const order = compareBytes(bytes, this.#register, value, value.length)
    switch (this.#operator) {
      case NFT_CMP_NEQ:
        return order !== 0
      case NFT_CMP_LT:
        return order < 0
      case NFT_CMP_LTE:
        return order <= 0
      case NFT_CMP_GT:
        return order > 0
    }
    return order >= 0
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_CMP_SREG, this.#register)
    writer.be32(NFTA_CMP_OP, this.#operator)
    writeValue(writer, NFTA_CMP_DATA, this.#value)
  }
}

/** NFT_RANGE_EQ and NFT_RANGE_NEQ: inside and outside. */
const INSIDE = 0
const OUTSIDE = 1

export const range: ExpressionType = {
  name: 'range',
  parse(_context, attributes) {
    const operator = attributes.be32(NFTA_RANGE_OP)
    if (operator === undefined || !attributes.has(NFTA_RANGE_SREG)) return -EINVAL
    const from = readValue(attributes, NFTA_RANGE_FROM_DATA)
    const to = readValue(attributes, NFTA_RANGE_TO_DATA)
    if (typeof from === 'number') return from
    if (typeof to === 'number') return to
    if (from.length !== to.length) return -EINVAL
    const register = readRegister(attributes, NFTA_RANGE_SREG, from.length)
    if (register < 0) return register
    if (operator > OUTSIDE) return -EINVAL
    return compareBytes(from, 0, to, to.length) > 0 ? -ERANGE : new Range(register, operator, from, to)
  },
}

class Range implements Expression {
  readonly name = 'range'
  readonly #register: number
  readonly #operator: number
  readonly #from: Uint8Array
  readonly #to: Uint8Array

  constructor(register: number, operator: number, from: Uint8Array, to: Uint8Array) {
    this.#register = register
    this.#operator = operator
    this.#from = from
    this.#to = to
  }
  evaluate(run: Evaluation): void {
    const { bytes } = run
    const inside =
      compareBytes(bytes, this.#register, this.#from, this.#from.length) >= 0 &&
      compareBytes(bytes, this.#register, this.#to, this.#to.length) <= 0
    if (inside !== (this.#operator === INSIDE)) run.verdict = NFT_BREAK
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_RANGE_SREG, this.#register)
    writer.be32(NFTA_RANGE_OP, this.#operator)
    writeValue(writer, NFTA_RANGE_FROM_DATA, this.#from)
    writeValue(writer, NFTA_RANGE_TO_DATA, this.#to)
  }
}
