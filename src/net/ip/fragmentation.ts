/** Fragments of what is too long for the path: RFC 791 §3.2, RFC 8200 §4.5. */
import { IPPROTO_FRAGMENT } from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_NONE, HEADROOM, type Packet } from '../packet.ts'
import type { Route } from './flow.ts'
import { blankUncopied } from './ipv4-options.ts'
import { finishHeader4, toNextHop4 } from './ipv4-output.ts'
import { toNextHop6 } from './ipv6-output.ts'
import { IP_MF, IP_OFFSET, IPV6_HEADER } from './numbers.ts'

const FRAGMENT_HEADER = 8

/** Sends the fragments of a packet (network header at its start) and releases it. */
export function fragment4(stack: IpStack, packet: Packet, route: Route, mtu: number): Status {
  packet.completeChecksum()
  const { view, network, end } = packet
  const { ip } = stack.counters
  const headerLength = (view.getUint8(network) & 15) * 4
  const room = (mtu - headerLength) & ~7
  const field = view.getUint16(network + 6)
  // A fragment may be fragmented again: its offset and its MF flag count on.
  const firstOffset = (field & IP_OFFSET) * 8
  const wasMore = field & IP_MF
  if (room < 8) {
    ip.FragFails++
    packet.release()
    return 0
  }
  let status: Status = 0
  for (let at = network + headerLength; at < end; at += room) {
    const length = Math.min(room, end - at)
    const piece = stack.packets.allocate(headerLength + length, HEADROOM)
    piece.append(headerLength + length)
    piece.bytes.set(packet.bytes.subarray(network, network + headerLength), piece.start)
    piece.bytes.set(packet.bytes.subarray(at, at + length), piece.start + headerLength)
    piece.describe(packet, piece.start - network)
    piece.checksum = CHECKSUM_NONE
    const offset = firstOffset + at - network - headerLength
    const more = at + length < end ? IP_MF : wasMore
    piece.view.setUint16(piece.network + 2, headerLength + length)
    piece.view.setUint16(piece.network + 6, more | (offset / 8))
    if (offset > 0) blankUncopied(piece.view, piece.network)
    finishHeader4(piece)
    ip.FragCreates++
    const result = toNextHop4(stack, piece, route)
    if (result < 0) status = result
  }
  ip.FragOKs++
  packet.release()
  return status
}

/** The same for IPv6; the transport header (and headers for the destination) are the fragmentable part. */
export function fragment6(stack: IpStack, packet: Packet, route: Route, mtu: number): Status {
  packet.completeChecksum()
  const { view, network, end, transport } = packet
  const { ip6 } = stack.counters
  const unfragmentable = transport - network
  const room = (Math.max(mtu, 1280) - unfragmentable - FRAGMENT_HEADER) & ~7
  if (room < 8) {
    ip6.FragFails++
    packet.release()
    return 0
  }
  const id = stack.ids.next(packet.source, packet.destination, IPPROTO_FRAGMENT, 1)
  // Where the type of the fragmentable part stands: in the last header before it.
  let nextAt = network + 6
  let walk = network + IPV6_HEADER
  while (walk < transport) {
    nextAt = walk
    walk += (view.getUint8(walk + 1) + 1) * 8
  }
  let status: Status = 0
  for (let at = transport; at < end; at += room) {
    const length = Math.min(room, end - at)
    const headers = unfragmentable + FRAGMENT_HEADER
    const piece = stack.packets.allocate(headers + length, HEADROOM)
    piece.append(headers + length)
    piece.bytes.set(packet.bytes.subarray(network, transport), piece.start)
    piece.bytes.set(packet.bytes.subarray(at, at + length), piece.start + headers)
    piece.describe(packet, piece.start - network)
    piece.checksum = CHECKSUM_NONE
    const header = piece.start + unfragmentable
    piece.view.setUint8(header, view.getUint8(nextAt))
    piece.view.setUint8(piece.start + nextAt - network, IPPROTO_FRAGMENT)
    piece.view.setUint8(header + 1, 0)
    piece.view.setUint16(header + 2, (at - transport) | (at + length < end ? 1 : 0))
    piece.view.setUint32(header + 4, id)
    piece.view.setUint16(piece.network + 4, headers + length - IPV6_HEADER)
    ip6.FragCreates++
    const result = toNextHop6(stack, piece, route)
    if (result < 0) status = result
  }
  ip6.FragOKs++
  packet.release()
  return status
}
