/** payload, the other way round: what a register holds into the packet's headers (`ip ttl set`, `tcp dport set`). */
import {
  IPPROTO_IPIP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  NFT_BREAK,
  NFT_PAYLOAD_CSUM_INET,
  NFT_PAYLOAD_CSUM_NONE,
  NFT_PAYLOAD_INNER_HEADER,
  NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
  NFT_PAYLOAD_NETWORK_HEADER,
  NFT_PAYLOAD_TRANSPORT_HEADER,
  NFTA_PAYLOAD_BASE,
  NFTA_PAYLOAD_CSUM_FLAGS,
  NFTA_PAYLOAD_CSUM_OFFSET,
  NFTA_PAYLOAD_CSUM_TYPE,
  NFTA_PAYLOAD_LEN,
  NFTA_PAYLOAD_OFFSET,
  NFTA_PAYLOAD_SREG,
} from '../../../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../../../abi/errno.ts'
import type { OrErrno } from '../../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../../netlink/message.ts'
import { CHECKSUM_PARTIAL, type Packet } from '../../../packet.ts'
import { TCP_HEADER } from '../../../tcp/segment.ts'
import { readAgain } from '../../header-fields.ts'
import { differenceOf, updateChecksumAt, updatePseudoHeader } from '../../rewrite.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Expression } from '../expression.ts'
import { readRegister, writeRegister } from '../registers.ts'

/** Where in the packet's headers: NFT_PAYLOAD_*. */
export interface Place {
  readonly base: number
  readonly offset: number
  readonly length: number
}

interface Checksum {
  /** NFT_PAYLOAD_CSUM_* */
  readonly type: number
  readonly offset: number
  /** NFT_PAYLOAD_L4CSUM_* */
  readonly flags: number
}

export function parseWrite(attributes: Attributes, place: Place): OrErrno<Expression> {
  const type = attributes.be32(NFTA_PAYLOAD_CSUM_TYPE) ?? NFT_PAYLOAD_CSUM_NONE
  const flags = attributes.be32(NFTA_PAYLOAD_CSUM_FLAGS) ?? 0
  const offset = attributes.be32(NFTA_PAYLOAD_CSUM_OFFSET) ?? 0
  if ((flags & ~NFT_PAYLOAD_L4CSUM_PSEUDOHDR) !== 0 || offset > 255) return -EINVAL
  if (type !== NFT_PAYLOAD_CSUM_NONE && type !== NFT_PAYLOAD_CSUM_INET) return -EOPNOTSUPP
  const register = readRegister(attributes, NFTA_PAYLOAD_SREG, place.length)
  return register < 0 ? register : new WritePayload(register, place, { type, offset, flags })
}

class WritePayload implements Expression {
  readonly name = 'payload'
  readonly #register: number
  readonly #place: Place
  readonly #checksum: Checksum

  constructor(register: number, place: Place, checksum: Checksum) {
    this.#register = register
    this.#place = place
    this.#checksum = checksum
  }

  evaluate(run: Evaluation): void {
    const { packet, bytes } = run
    const { base, offset, length } = this.#place
    const header = headerAt(packet, base)
    const at = header + offset
    const { type, offset: checksumOffset, flags } = this.#checksum
    const sumAt = header + checksumOffset
    const sums = type !== NFT_PAYLOAD_CSUM_NONE
    if (header < 0 || at + length > packet.end || (sums && sumAt + 2 > packet.end)) {
      run.verdict = NFT_BREAK
      return
    }
    const value = bytes.subarray(this.#register, this.#register + length)
    // A transport checksum that was only begun doesn't cover its header yet.
    if (base !== NFT_PAYLOAD_TRANSPORT_HEADER || packet.checksum !== CHECKSUM_PARTIAL) {
      const difference = differenceOf(packet, at, value)
      if (sums) updateChecksumAt(packet, sumAt, difference)
      if (flags !== 0) updatePseudoHeader(packet, difference)
    }
    packet.bytes.set(value, at)
    if (base === NFT_PAYLOAD_NETWORK_HEADER) readAgain(packet)
  }

  write(writer: MessageWriter): void {
    const { base, offset, length } = this.#place
    writeRegister(writer, NFTA_PAYLOAD_SREG, this.#register)
    writer.be32(NFTA_PAYLOAD_BASE, base)
    writer.be32(NFTA_PAYLOAD_OFFSET, offset)
    writer.be32(NFTA_PAYLOAD_LEN, length)
    writer.be32(NFTA_PAYLOAD_CSUM_TYPE, this.#checksum.type)
    writer.be32(NFTA_PAYLOAD_CSUM_OFFSET, this.#checksum.offset)
    writer.be32(NFTA_PAYLOAD_CSUM_FLAGS, this.#checksum.flags)
  }
}

/** -1: the packet doesn't have it. */
export function headerAt(packet: Packet, base: number): number {
  if (base === NFT_PAYLOAD_NETWORK_HEADER) return packet.network
  if (base === NFT_PAYLOAD_INNER_HEADER) return innerAt(packet)
  return base === NFT_PAYLOAD_TRANSPORT_HEADER ? packet.transport : packet.link
}

/** What the transport carries; -1: there is nothing, or the transport is one that says not where. */
function innerAt({ view, transport, transportProtocol, end }: Packet): number {
  if (transport < 0) return -1
  if (transportProtocol === IPPROTO_IPIP) return transport
  if (transportProtocol === IPPROTO_UDP) return transport + 8
  if (transportProtocol !== IPPROTO_TCP || end - transport < TCP_HEADER) return -1
  return transport + (view.getUint8(transport + 12) >> 4) * 4
}
