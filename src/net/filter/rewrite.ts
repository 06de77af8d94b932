/** Bytes of a packet's headers made others, and the checksums over them kept right. */
import { IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE } from '../../abi/constants.ts'
import { fold, sumView } from '../checksum.ts'
import { CHECKSUM_PARTIAL, type Packet } from '../packet.ts'

/** The sum of some bytes before and after. Both begin at an even place of what the checksum covers. */
export interface Difference {
  readonly before: number
  readonly after: number
}

export function differenceOf(packet: Packet, at: number, bytes: Uint8Array): Difference {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return { before: sumView(packet.view, at, bytes.length), after: sumView(view, 0, bytes.length) }
}

/** Brings the checksum at `at` up to date (RFC 1624); it may not become zero, which means in UDP that there is none. */
export function updateChecksumAt({ view }: Packet, at: number, { before, after }: Difference): void {
  const stored = view.getUint16(at)
  const updated = ~fold((~stored & 0xffff) + (~before & 0xffff) + after) & 0xffff
  view.setUint16(at, updated || 0xffff)
}

/** The same for the transport's checksum, when something has changed that stands in its pseudo header: an address. */
export function updatePseudoHeader(packet: Packet, difference: Difference): void {
  const offset = checksumOffset(packet.transportProtocol)
  const at = packet.transport + offset
  if (offset < 0 || packet.transport < 0 || at + 2 > packet.end) return
  const { view, transportProtocol } = packet
  if (packet.checksum !== CHECKSUM_PARTIAL) {
    if (transportProtocol === IPPROTO_UDP && view.getUint16(at) === 0) return
    updateChecksumAt(packet, at, difference)
    return
  }
  // What was only begun is stored without being complemented.
  const { before, after } = difference
  view.setUint16(at, fold(view.getUint16(at) + (~before & 0xffff) + after))
}

/** Within the transport header; -1: its checksum doesn't cover addresses, or it has none. */
function checksumOffset(protocol: number): number {
  if (protocol === IPPROTO_TCP) return 16
  if (protocol === IPPROTO_UDP || protocol === IPPROTO_UDPLITE) return 6
  return protocol === IPPROTO_ICMPV6 ? 2 : -1
}
