/** Giving packets other addresses and ports, and keeping their checksums right: RFC 1624, RFC 3022 §4. */
import { IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP } from '../../../abi/constants.ts'
import type { IpAddress } from '../../address.ts'
import { checksumOf, pseudoHeaderSum, sumView, updateChecksum16, updateChecksum32 } from '../../checksum.ts'
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, type Packet } from '../../packet.ts'
import { inverseType } from '../conntrack/icmp-types.ts'
import { hasPorts, type Tuple } from '../conntrack/tuple.ts'

const UDP_CHECKSUM = 6
const ICMP_CHECKSUM = 2
const ICMP_ID = 4

/** Where headers are: of a packet, or of one that an ICMP error quotes. */
interface Headers {
  readonly view: DataView
  readonly isV4: boolean
  readonly network: number
  readonly transport: number
  readonly end: number
  readonly protocol: number
  /** The transport checksum is only begun: it covers the pseudo header alone. */
  readonly partial: boolean
}

/** Gives the packet the target's source, or its destination. */
export function manglePacket(packet: Packet, target: Tuple, source: boolean): void {
  const { view, network, transport, end, transportProtocol } = packet
  const isV4 = target.source.isV4
  const partial = packet.checksum === CHECKSUM_PARTIAL && packet.checksumStart === transport
  mangle({ view, isV4, network, transport, end, protocol: transportProtocol, partial }, target, source)
  if (source) packet.source = target.source
  else packet.destination = target.destination
}

/** The same for the packet that an ICMP error quotes, the checksum of which is then made anew. */
export function mangleQuoted(
  packet: Packet,
  network: number,
  transport: number,
  protocol: number,
  target: Tuple,
  source: boolean,
): void {
  const { view, end } = packet
  const isV4 = target.source.isV4
  mangle({ view, isV4, network, transport, end, protocol, partial: false }, target, source)
  const at = packet.transport
  view.setUint16(at + ICMP_CHECKSUM, 0)
  const length = end - at
  const seed = isV4 ? 0 : pseudoHeaderSum(packet.source, packet.destination, IPPROTO_ICMPV6, length)
  view.setUint16(at + ICMP_CHECKSUM, checksumOf(sumView(view, at, length, seed)))
  packet.checksum = CHECKSUM_NONE
}

function mangle(headers: Headers, target: Tuple, source: boolean): void {
  const { protocol, transport, end, view } = headers
  const checksumAt = checksumOffset(headers)
  // None was made, or it isn't there any more.
  const isNone =
    protocol === IPPROTO_UDP && !headers.partial && checksumAt >= 0 && view.getUint16(checksumAt) === 0
  const sumAt = isNone ? -1 : checksumAt
  if (hasPorts(protocol) && transport + 4 <= end) {
    setWord16(headers, transport + (source ? 0 : 2), source ? target.from : target.to, sumAt)
  } else if (isEcho(headers)) {
    setWord16(headers, transport + ICMP_ID, target.from, transport + ICMP_CHECKSUM)
  }
  // ICMPv4's checksum is the only one without the addresses.
  setAddress(
    headers,
    source ? target.source : target.destination,
    source,
    protocol === IPPROTO_ICMP ? -1 : sumAt,
  )
  if (protocol === IPPROTO_UDP && sumAt >= 0 && !headers.partial && view.getUint16(sumAt) === 0)
    view.setUint16(sumAt, 0xffff)
}

/** Where the transport checksum stands; -1: it has none, or it was cut off. */
function checksumOffset({ protocol, transport, end }: Headers): number {
  let at = -1
  if (protocol === IPPROTO_TCP) at = transport + 16
  else if (protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6) at = transport + ICMP_CHECKSUM
  else if (hasPorts(protocol)) at = transport + UDP_CHECKSUM
  return at >= 0 && at + 2 <= end ? at : -1
}

function isEcho({ protocol, transport, end, view }: Headers): boolean {
  if (protocol !== IPPROTO_ICMP && protocol !== IPPROTO_ICMPV6) return false
  return transport + 8 <= end && inverseType(protocol, view.getUint8(transport)) >= 0
}

/** What isn't in the pseudo header is not in a checksum that was only begun. */
function setWord16({ view, partial }: Headers, at: number, value: number, sumAt: number): void {
  const before = view.getUint16(at)
  if (before === value) return
  view.setUint16(at, value)
  if (sumAt >= 0 && !partial) view.setUint16(sumAt, updateChecksum16(view.getUint16(sumAt), before, value))
}

function setAddress(headers: Headers, address: IpAddress, source: boolean, sumAt: number): void {
  const { view, network, isV4 } = headers
  if (isV4) {
    const at = network + (source ? 12 : 16)
    const before = view.getUint32(at)
    view.setUint32(at, address.w3)
    view.setUint16(network + 10, updateChecksum32(view.getUint16(network + 10), before, address.w3))
    updatePseudo(headers, sumAt, before, address.w3)
    return
  }
  const at = network + (source ? 8 : 24)
  const words = [address.w0, address.w1, address.w2, address.w3]
  for (let i = 0; i < 4; i++) {
    const before = view.getUint32(at + 4 * i)
    view.setUint32(at + 4 * i, words[i])
    updatePseudo(headers, sumAt, before, words[i])
  }
}

/** A checksum that was only begun is stored without being complemented. */
function updatePseudo({ view, partial }: Headers, sumAt: number, before: number, after: number): void {
  if (sumAt < 0) return
  const stored = view.getUint16(sumAt)
  const updated = updateChecksum32(partial ? ~stored & 0xffff : stored, before, after)
  view.setUint16(sumAt, partial ? ~updated & 0xffff : updated)
}
