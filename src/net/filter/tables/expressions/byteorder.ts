/** byteorder: between the machine's byte order and the network's, which is the same either way. */
import {
  NFT_BYTEORDER_HTON,
  NFTA_BYTEORDER_DREG,
  NFTA_BYTEORDER_LEN,
  NFTA_BYTEORDER_OP,
  NFTA_BYTEORDER_SIZE,
  NFTA_BYTEORDER_SREG,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

export const byteorder: ExpressionType = {
  name: 'byteorder',
  parse(_context, attributes) {
    const operator = attributes.be32(NFTA_BYTEORDER_OP)
    const length = attributes.be32(NFTA_BYTEORDER_LEN)
    const size = attributes.be32(NFTA_BYTEORDER_SIZE)
    if (operator === undefined || length === undefined || size === undefined) return -EINVAL
    if (operator > NFT_BYTEORDER_HTON || (size !== 2 && size !== 4 && size !== 8) || length > 255)
      return -EINVAL
    const source = readRegister(attributes, NFTA_BYTEORDER_SREG, length)
    if (source < 0) return source
    const destination = readRegister(attributes, NFTA_BYTEORDER_DREG, length)
    return destination < 0 ? destination : new Byteorder(source, destination, operator, length, size)
  },
}

class Byteorder implements Expression {
  readonly name = 'byteorder'
  readonly #source: number
  readonly #destination: number
  readonly #operator: number
  readonly #length: number
  readonly #size: number

  constructor(source: number, destination: number, operator: number, length: number, size: number) {
    this.#source = source
    this.#destination = destination
    this.#operator = operator
    this.#length = length
    this.#size = size
  }
  evaluate({ bytes }: Evaluation): void {
    const source = this.#source
    const destination = this.#destination
    const size = this.#size
    for (let at = 0; at + size <= this.#length; at += size) {
      for (let i = 0; i < size / 2; i++) {
        const low = bytes[source + at + i]
        const high = bytes[source + at + size - 1 - i]
        bytes[destination + at + i] = high
        bytes[destination + at + size - 1 - i] = low
      }
    }
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_BYTEORDER_SREG, this.#source)
    writeRegister(writer, NFTA_BYTEORDER_DREG, this.#destination)
    writer.be32(NFTA_BYTEORDER_OP, this.#operator)
    writer.be32(NFTA_BYTEORDER_LEN, this.#length)
    writer.be32(NFTA_BYTEORDER_SIZE, this.#size)
  }
}
