/**
 * The TCP header: RFC 9293 §3.1. A received segment is parsed into the one Segment of its protocol object, which is valid
 * while that segment is being processed; whoever keeps payload takes the packet out of it (`takePacket`).
 */
import type { IpAddress } from '../address.ts'
import { fold, pseudoHeaderSum, sumView } from '../checksum.ts'
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, type Packet } from '../packet.ts'
import { TcpOptions } from './options.ts'
import type { Seq } from './sequence.ts'

export const FIN = 1
export const SYN = 2
export const RST = 4
export const PSH = 8
export const ACK = 16
export const URG = 32
export const ECE = 64
export const CWR = 128

export const TCP_HEADER = 20
export const TCP_MAX_OPTIONS = 40
export const IPPROTO_TCP = 6
/** Where the header has its checksum. */
const CHECKSUM_AT = 16

/** Why a segment was not taken: what /proc/net/snmp counts. */
export const SEGMENT_OK = 0
export const SEGMENT_MALFORMED = 1
export const SEGMENT_BAD_CHECKSUM = 2

export class Segment {
  packet: Packet | undefined = undefined
  sourcePort = 0
  destinationPort = 0
  seq: Seq = 0
  ack: Seq = 0
  flags = 0
  /** As in the header, not scaled. */
  window = 0
  /** It came with SYN: the window is what it is, RFC 7323 §2.2. */
  opening = false
  urgent = 0
  /** Offset of the payload in the packet's bytes. */
  payload = 0
  /** Bytes of payload. */
  length = 0
  /** seq + length, plus one each for SYN and FIN. */
  end: Seq = 0
  /** Payload of the wire's segments: `length`, or less when several came in one packet (GRO). */
  unit = 0
  readonly options = new TcpOptions()

  /** The window in bytes, of a peer with this scale. */
  scaledWindow(wscale: number): number {
    return this.opening ? this.window : this.window << wscale
  }
  has(flags: number): boolean {
    return (this.flags & flags) !== 0
  }
  get source(): IpAddress {
    return this.packet!.source
  }
  get destination(): IpAddress {
    return this.packet!.destination
  }
  /** RFC 3168: the network has marked it. */
  get congestionExperienced(): boolean {
    return (this.packet!.tos & 3) === 3
  }

  /** `packet` starts at the TCP header and belongs to the caller until `takePacket`. */
  parse(packet: Packet): number {
    const { view, start } = packet
    const total = packet.end - start
    if (total < TCP_HEADER) return SEGMENT_MALFORMED
    const words = view.getUint16(start + 12)
    const header = (words >>> 12) * 4
    if (header < TCP_HEADER || header > total) return SEGMENT_MALFORMED
    if (packet.checksum === CHECKSUM_NONE && !checksumHolds(packet)) return SEGMENT_BAD_CHECKSUM
    this.packet = packet
    this.sourcePort = view.getUint16(start)
    this.destinationPort = view.getUint16(start + 2)
    this.seq = view.getInt32(start + 4)
    this.ack = view.getInt32(start + 8)
    this.flags = words & 0xff
    this.window = view.getUint16(start + 14)
    this.opening = (words & SYN) !== 0
    this.urgent = view.getUint16(start + 18)
    this.payload = start + header
    this.length = total - header
    this.unit = packet.gsoSize > 0 && packet.gsoSize < this.length ? packet.gsoSize : this.length
    this.end = (this.seq + this.length + (this.flags & FIN) + ((this.flags & SYN) >>> 1)) | 0
    this.options.parse(view, start + TCP_HEADER, start + header, (this.flags & SYN) !== 0)
    return SEGMENT_OK
  }

  /** SYN has been dealt with: what follows it is looked at as if it stood alone. */
  dropSyn(): void {
    this.flags &= ~SYN
    this.seq = (this.seq + 1) | 0
  }

  /** The packet, whose owner the caller now is. */
  takePacket(): Packet {
    const packet = this.packet!
    this.packet = undefined
    return packet
  }
}

function checksumHolds(packet: Packet): boolean {
  const length = packet.end - packet.start
  const pseudo = pseudoHeaderSum(packet.source, packet.destination, IPPROTO_TCP, length)
  return sumView(packet.view, packet.start, length, pseudo) === 0xffff
}

/** Writes a header without options at `packet.start`; `length`: of header and options. */
export function writeHeader(
  packet: Packet,
  sourcePort: number,
  destinationPort: number,
  seq: Seq,
  ack: Seq,
  length: number,
  flags: number,
  window: number,
): void {
  const { view, start } = packet
  view.setUint16(start, sourcePort)
  view.setUint16(start + 2, destinationPort)
  view.setInt32(start + 4, seq)
  view.setInt32(start + 8, ack)
  view.setUint16(start + 12, (length << 10) | flags)
  view.setUint16(start + 14, window)
  view.setUint32(start + CHECKSUM_AT, 0)
}

/** Leaves the pseudo header's sum in the header: the link, or IP before it, does the rest where it is needed. */
export function startChecksum(packet: Packet, source: IpAddress, destination: IpAddress): void {
  const length = packet.end - packet.start
  const sum = fold(pseudoHeaderSum(source, destination, IPPROTO_TCP, length))
  packet.view.setUint16(packet.start + CHECKSUM_AT, sum)
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = packet.start
  packet.checksumOffset = CHECKSUM_AT
}
