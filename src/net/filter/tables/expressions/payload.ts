/** payload: bytes of the packet's headers into a register. */
import {
  NFT_BREAK,
  NFT_PAYLOAD_INNER_HEADER,
  NFTA_PAYLOAD_BASE,
  NFTA_PAYLOAD_DREG,
  NFTA_PAYLOAD_LEN,
  NFTA_PAYLOAD_OFFSET,
  NFTA_PAYLOAD_SREG,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, ERANGE } from '../../../../abi/errno.ts'
import type { MessageWriter } from '../../../netlink/message.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { clearLastWord, readRegister, writeRegister } from '../registers.ts'
import { headerAt, parseWrite } from './payload-write.ts'

export const payload: ExpressionType = {
  name: 'payload',
  parse(_context, attributes) {
    const base = attributes.be32(NFTA_PAYLOAD_BASE)
    const offset = attributes.be32(NFTA_PAYLOAD_OFFSET)
    const length = attributes.be32(NFTA_PAYLOAD_LEN)
    if (base === undefined || offset === undefined || length === undefined) return -EINVAL
    if (base > NFT_PAYLOAD_INNER_HEADER) return -EOPNOTSUPP
    if (offset > 255 || length > 255) return -ERANGE
    if (attributes.has(NFTA_PAYLOAD_SREG)) {
      if (attributes.has(NFTA_PAYLOAD_DREG)) return -EINVAL
      return parseWrite(attributes, { base, offset, length })
    }
    const register = readRegister(attributes, NFTA_PAYLOAD_DREG, length)
    return register < 0 ? register : new Payload(register, base, offset, length)
  },
}

class Payload implements Expression {
  readonly name = 'payload'
  readonly #register: number
  readonly #base: number
  readonly #offset: number
  readonly #length: number

  constructor(register: number, base: number, offset: number, length: number) {
    this.#register = register
    this.#base = base
    this.#offset = offset
    this.#length = length
  }
  evaluate(run: Evaluation): void {
    const { packet, bytes, view } = run
    const header = headerAt(packet, this.#base)
    const at = header + this.#offset
    const length = this.#length
    const register = this.#register
    if (header < 0 || at + length > packet.end) {
      run.verdict = NFT_BREAK
      return
    }
    if (length === 4) {
      view.setUint32(register, packet.view.getUint32(at))
      return
    }
    clearLastWord(bytes, register, length)
    for (let i = 0; i < length; i++) bytes[register + i] = packet.bytes[at + i]
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_PAYLOAD_DREG, this.#register)
    writer.be32(NFTA_PAYLOAD_BASE, this.#base)
    writer.be32(NFTA_PAYLOAD_OFFSET, this.#offset)
    writer.be32(NFTA_PAYLOAD_LEN, this.#length)
  }
}
