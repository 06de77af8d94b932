/** Explicit congestion notification by a queue: RFC 3168, INET_ECN_set_ce. */
import { checksumOf, sumView } from '../checksum.ts'
import type { Packet } from '../packet.ts'

const CE = 3

/** Marks a packet whose ends know what it means; false: they don't, or it is no IP packet. `header`: of the link. */
export function setCongestionExperienced({ view, start, end }: Packet, header: number): boolean {
  const at = start + header
  if (end - at < 20) return false
  const version = view.getUint8(at) >> 4
  if (version === 4) {
    const tos = view.getUint8(at + 1)
    if ((tos & CE) === 0) return false
    const length = (view.getUint8(at) & 15) * 4
    if (length < 20 || at + length > end) return false
    view.setUint8(at + 1, tos | CE)
    view.setUint16(at + 10, 0)
    view.setUint16(at + 10, checksumOf(sumView(view, at, length)))
    return true
  }
  if (version !== 6) return false
  const word = view.getUint16(at)
  if (((word >> 4) & CE) === 0) return false
  view.setUint16(at, word | (CE << 4))
  return true
}
