/** exthdr: TCP's options, IPv6's extension headers and IPv4's options into a register; TCP's also set, or taken out. */
import {
  IPOPT_END,
  IPOPT_NOOP,
  NFPROTO_IPV6,
  NFT_BREAK,
  NFT_EXTHDR_F_PRESENT,
  NFT_EXTHDR_OP_IPV4,
  NFT_EXTHDR_OP_IPV6,
  NFT_EXTHDR_OP_TCPOPT,
  NFTA_EXTHDR_DREG,
  NFTA_EXTHDR_FLAGS,
  NFTA_EXTHDR_LEN,
  NFTA_EXTHDR_OFFSET,
  NFTA_EXTHDR_OP,
  NFTA_EXTHDR_SREG,
  NFTA_EXTHDR_TYPE,
  TCPOPT_MSS,
  TCPOPT_NOP,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP, ERANGE } from '../../../../abi/errno.ts'
import type { OrErrno } from '../../../../base/result.ts'
import { IPV4_HEADER } from '../../../ip/numbers.ts'
import type { Attributes, MessageWriter } from '../../../netlink/message.ts'
import type { Packet } from '../../../packet.ts'
import { findTcpOption, setTcpByte, tcpOptionLength } from '../../tcp-options.ts'
import { findExtensionHeader } from '../compat/extension-headers.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression, ExpressionType } from '../expression.ts'
import { clearLastWord, readRegister, writeRegister } from '../registers.ts'

/** Which header or option, and what of it. */
interface Part {
  /** NFT_EXTHDR_OP_* */
  readonly operation: number
  readonly type: number
  readonly offset: number
  readonly length: number
  /** NFT_EXTHDR_F_* */
  readonly flags: number
}

export const exthdr: ExpressionType = {
  name: 'exthdr',
  parse(context, attributes) {
    const operation = attributes.be32(NFTA_EXTHDR_OP) ?? NFT_EXTHDR_OP_IPV6
    const known = [NFT_EXTHDR_OP_IPV6, NFT_EXTHDR_OP_TCPOPT, NFT_EXTHDR_OP_IPV4].includes(operation)
    if (!known) return -EOPNOTSUPP
    if (attributes.has(NFTA_EXTHDR_SREG)) {
      if (operation !== NFT_EXTHDR_OP_TCPOPT) return -EOPNOTSUPP
      return attributes.has(NFTA_EXTHDR_DREG) ? -EOPNOTSUPP : parseSet(attributes)
    }
    const type = attributes.u8(NFTA_EXTHDR_TYPE)
    if (!attributes.has(NFTA_EXTHDR_DREG)) {
      if (operation !== NFT_EXTHDR_OP_TCPOPT || type === undefined) return -EOPNOTSUPP
      return new TakeOutOption(type)
    }
    const part = readPart(attributes, operation)
    if (typeof part === 'number') return part
    if (operation === NFT_EXTHDR_OP_IPV4 && context.family === NFPROTO_IPV6) return -EOPNOTSUPP
    const register = readRegister(attributes, NFTA_EXTHDR_DREG, part.length)
    return register < 0 ? register : new LoadPart(register, part)
  },
}

function readPart(attributes: Attributes, operation: number): OrErrno<Part> {
  const type = attributes.u8(NFTA_EXTHDR_TYPE)
  const offset = attributes.be32(NFTA_EXTHDR_OFFSET)
  const length = attributes.be32(NFTA_EXTHDR_LEN)
  const flags = attributes.be32(NFTA_EXTHDR_FLAGS) ?? 0
  if (type === undefined || offset === undefined || length === undefined) return -EINVAL
  if (offset > 255 || length > 255) return -ERANGE
  if ((flags & ~NFT_EXTHDR_F_PRESENT) !== 0) return -EINVAL
  return { operation, type, offset, length, flags }
}

function parseSet(attributes: Attributes): OrErrno<Expression> {
  const part = readPart(attributes, NFT_EXTHDR_OP_TCPOPT)
  if (typeof part === 'number') return part
  if (part.flags !== 0 || part.offset < 2) return -EOPNOTSUPP
  if (part.length !== 2 && part.length !== 4) return -EOPNOTSUPP
  const register = readRegister(attributes, NFTA_EXTHDR_SREG, part.length)
  return register < 0 ? register : new SetOption(register, part)
}

class LoadPart implements Expression {
  readonly name = 'exthdr'
  readonly #register: number
  readonly #part: Part

  constructor(register: number, part: Part) {
    this.#register = register
    this.#part = part
  }
  evaluate(run: Evaluation): void {
    const { packet, bytes, view } = run
    const { offset, length, flags } = this.#part
    const at = find(run, this.#part)
    const register = this.#register
    if ((flags & NFT_EXTHDR_F_PRESENT) !== 0) {
      view.setUint32(register, at < 0 ? 0 : 1, true)
      return
    }
    const fits =
      at >= 0 &&
      at + offset + length <= packet.end &&
      (this.#part.operation !== NFT_EXTHDR_OP_TCPOPT || offset + length <= tcpOptionLength(packet, at))
    if (!fits) {
      run.verdict = NFT_BREAK
      return
    }
    clearLastWord(bytes, register, length)
    bytes.set(packet.bytes.subarray(at + offset, at + offset + length), register)
  }
  write(writer: MessageWriter): void {
    writeRegister(writer, NFTA_EXTHDR_DREG, this.#register)
    writePart(writer, this.#part)
  }
}

/** Where the header or option stands, -1 for nowhere. */
function find({ packet, isV4 }: Evaluation, { operation, type }: Part): number {
  if (operation === NFT_EXTHDR_OP_TCPOPT) return findTcpOption(packet, type)
  if (operation === NFT_EXTHDR_OP_IPV4) return isV4 ? findIpv4Option(packet, type) : -1
  return isV4 ? -1 : findExtensionHeader(packet, type)
}

/** The header's length is what a rule before may have written there. */
function findIpv4Option({ view, network, end: last }: Packet, wanted: number): number {
  const end = Math.min(network + (view.getUint8(network) & 15) * 4, last)
  for (let at = network + IPV4_HEADER; at < end; ) {
    const kind = view.getUint8(at)
    if (kind === wanted) return at
    if (kind === IPOPT_END) return -1
    const length = kind === IPOPT_NOOP ? 1 : at + 1 < end ? view.getUint8(at + 1) : 0
    if (length === 0) return -1
    at += length
  }
  return -1
}

/** What the option is not there for is left alone, and so is a segment size that is small enough. */
class SetOption implements Expression {
  readonly name = 'exthdr'
  readonly #register: number
  readonly #part: Part

  constructor(register: number, part: Part) {
    this.#register = register
    this.#part = part
  }
  evaluate(run: Evaluation): void {
    const { packet, bytes, view } = run
    const { type, offset, length } = this.#part
    const at = findTcpOption(packet, type)
    if (at < 0 || offset + length > tcpOptionLength(packet, at)) {
      run.verdict = NFT_BREAK
      return
    }
    const place = at + offset
    const isMss = type === TCPOPT_MSS && length === 2
    if (isMss && packet.view.getUint16(place) <= view.getUint16(this.#register)) return
    for (let i = 0; i < length; i++) setTcpByte(packet, place + i, bytes[this.#register + i])
  }
  write(writer: MessageWriter): void {
    writePart(writer, this.#part)
    writeRegister(writer, NFTA_EXTHDR_SREG, this.#register)
  }
}

class TakeOutOption implements Expression {
  readonly name = 'exthdr'
  readonly #type: number

  constructor(type: number) {
    this.#type = type
  }
  evaluate(run: Evaluation): void {
    const { packet } = run
    const at = findTcpOption(packet, this.#type)
    if (at < 0) {
      run.verdict = NFT_BREAK
      return
    }
    for (let left = tcpOptionLength(packet, at); left > 0; left--)
      setTcpByte(packet, at + left - 1, TCPOPT_NOP)
  }
  write(writer: MessageWriter): void {
    writePart(writer, { operation: NFT_EXTHDR_OP_TCPOPT, type: this.#type, offset: 0, length: 0, flags: 0 })
  }
}

function writePart(writer: MessageWriter, { operation, type, offset, length, flags }: Part): void {
  writer.u8(NFTA_EXTHDR_TYPE, type)
  writer.be32(NFTA_EXTHDR_OFFSET, offset)
  writer.be32(NFTA_EXTHDR_LEN, length)
  writer.be32(NFTA_EXTHDR_FLAGS, flags)
  writer.be32(NFTA_EXTHDR_OP, operation)
}
