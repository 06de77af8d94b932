/** bitwise: masks, exclusive or, shifts. */
import {
  NFT_BITWISE_BOOL,
  NFT_BITWISE_LSHIFT,
  NFT_BITWISE_RSHIFT,
  NFTA_BITWISE_DATA,
  NFTA_BITWISE_DREG,
  NFTA_BITWISE_LEN,
  NFTA_BITWISE_MASK,
  NFTA_BITWISE_OP,
  NFTA_BITWISE_SREG,
  NFTA_BITWISE_XOR,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import { type MessageWriter, viewOf } from '../../../netlink/message.ts'
import { readValue, writeValue } from '../data.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const bitwise: ExpressionType = {
  name: 'bitwise',
  parse(_context, attributes) {
    const length = attributes.be32(NFTA_BITWISE_LEN)
    if (length === undefined || length > 255) return -EINVAL
    const source = readRegister(attributes, NFTA_BITWISE_SREG, length)
    if (source < 0) return source
    const destination = readRegister(attributes, NFTA_BITWISE_DREG, length)
    if (destination < 0) return destination
    const operator = attributes.be32(NFTA_BITWISE_OP) ?? NFT_BITWISE_BOOL
    if (operator === NFT_BITWISE_BOOL) {
      if (attributes.has(NFTA_BITWISE_DATA)) return -EINVAL
      const mask = readValue(attributes, NFTA_BITWISE_MASK)
      const xor = readValue(attributes, NFTA_BITWISE_XOR)
      if (typeof mask === 'number' || typeof xor === 'number') return -EINVAL
      if (mask.length !== length || xor.length !== length) return -EINVAL
      return new Mask(source, destination, mask, xor)
    }
    if (operator !== NFT_BITWISE_LSHIFT && operator !== NFT_BITWISE_RSHIFT) return -EOPNOTSUPP
    if (attributes.has(NFTA_BITWISE_MASK) || attributes.has(NFTA_BITWISE_XOR)) return -EINVAL
    const shift = readValue(attributes, NFTA_BITWISE_DATA)
    if (typeof shift === 'number' || shift.length !== 4) return -EINVAL
    const bits = viewOf(shift).getUint32(0, true)
    if (bits === 0 || bits >= 32) return -EINVAL
    return new Shift(source, destination, length, operator, bits)
  },
}

class Mask implements Expression {
  readonly name = 'bitwise'
  readonly #source: number
  readonly #destination: number
  readonly #mask: Uint8Array
  readonly #xor: Uint8Array

  constructor(source: number, destination: number, mask: Uint8Array, xor: Uint8Array) {
    this.#source = source
    this.#destination = destination
    this.#mask = mask
    this.#xor = xor
  }
  evaluate({ bytes }: Evaluation): void {
    const mask = this.#mask
    const xor = this.#xor
    const source = this.#source
    const destination = this.#destination
    for (let i = 0; i < mask.length; i++) bytes[destination + i] = (bytes[source + i] & mask[i]) ^ xor[i]
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_BITWISE_SREG, this.#source)
    writeRegister(writer, NFTA_BITWISE_DREG, this.#destination)
    writer.be32(NFTA_BITWISE_LEN, this.#mask.length)
    writer.be32(NFTA_BITWISE_OP, NFT_BITWISE_BOOL)
    writeValue(writer, NFTA_BITWISE_MASK, this.#mask)
    writeValue(writer, NFTA_BITWISE_XOR, this.#xor)
  }
}

/** Of the whole register as one number, whose words stand in order of significance, each in the machine's byte order. */
class Shift implements Expression {
  readonly name = 'bitwise'
  readonly #source: number
  readonly #destination: number
  readonly #length: number
  readonly #operator: number
  readonly #bits: number

  constructor(source: number, destination: number, length: number, operator: number, bits: number) {
    this.#source = source
    this.#destination = destination
    this.#length = length
    this.#operator = operator
    this.#bits = bits
  }
  evaluate({ view }: Evaluation): void {
    const words = (this.#length + 3) >> 2
    const bits = this.#bits
    let carry = 0
    for (let i = 0; i < words; i++) {
      const left = this.#operator === NFT_BITWISE_LSHIFT
      const at = 4 * (left ? words - 1 - i : i)
      const word = view.getUint32(this.#source + at, true)
      const shifted = left ? (word << bits) | carry : (word >>> bits) | carry
      carry = left ? word >>> (32 - bits) : word << (32 - bits)
      view.setUint32(this.#destination + at, shifted >>> 0, true)
    }
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_BITWISE_SREG, this.#source)
    writeRegister(writer, NFTA_BITWISE_DREG, this.#destination)
    writer.be32(NFTA_BITWISE_LEN, this.#length)
    writer.be32(NFTA_BITWISE_OP, this.#operator)
    const value = new Uint8Array(4)
    viewOf(value).setUint32(0, this.#bits, true)
    writeValue(writer, NFTA_BITWISE_DATA, value)
  }
}
