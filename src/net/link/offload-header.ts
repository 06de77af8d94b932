/** The virtio-net header in front of a frame: what is known of checksums and segments, both ways. virtio 1.2, §5.1.6. */
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_VERIFIED,
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP,
  type Packet,
} from '../packet.ts'

/** struct virtio_net_hdr, in the machine's byte order. */
export const OFFLOAD_HEADER = 10
const FLAGS = 0
const GSO_TYPE = 1
const HEADER_LENGTH = 2
const GSO_SIZE = 4
const CHECKSUM_START = 6
const CHECKSUM_OFFSET = 8

const NEEDS_CHECKSUM = 1
const DATA_VALID = 2

const UDP_HEADER = 8
const TCP_HEADER = 20
const TCP_LENGTH = 12

/** Reads the header that stands in front of packet.start. False: it asks for what we don't know. */
export function readOffloads(packet: Packet): boolean {
  const { view, start } = packet
  const at = start - OFFLOAD_HEADER
  const flags = view.getUint8(at + FLAGS)
  if ((flags & NEEDS_CHECKSUM) !== 0) {
    // That they lie within the packet is checked by the stack.
    packet.checksum = CHECKSUM_PARTIAL
    packet.checksumStart = start + view.getUint16(at + CHECKSUM_START, true)
    packet.checksumOffset = view.getUint16(at + CHECKSUM_OFFSET, true)
  } else {
    packet.checksum = (flags & DATA_VALID) !== 0 ? CHECKSUM_VERIFIED : CHECKSUM_NONE
  }
  const type = view.getUint8(at + GSO_TYPE)
  if (type === GSO_NONE) return true
  packet.gsoType = type
  packet.gsoSize = view.getUint16(at + GSO_SIZE, true)
  const kind = type & ~GSO_ECN
  return kind === GSO_TCPV4 || kind === GSO_TCPV6 || kind === GSO_UDP
}

/** The packet, or a copy, with room for the header in front: what another link has brought may have none left. */
export function withHeaderRoom(packet: Packet): Packet {
  if (packet.start >= OFFLOAD_HEADER) return packet
  const copy = packet.clone()
  packet.release()
  return copy
}

/** Writes the header in front of packet.start, where there must be room. */
export function writeOffloads(packet: Packet): void {
  const { view, start } = packet
  const at = start - OFFLOAD_HEADER
  const partial = packet.checksum === CHECKSUM_PARTIAL
  view.setUint8(at + FLAGS, partial ? NEEDS_CHECKSUM : 0)
  view.setUint8(at + GSO_TYPE, packet.gsoType)
  view.setUint16(at + HEADER_LENGTH, headersLength(packet), true)
  view.setUint16(at + GSO_SIZE, packet.gsoSize, true)
  view.setUint16(at + CHECKSUM_START, partial ? packet.checksumStart - start : 0, true)
  view.setUint16(at + CHECKSUM_OFFSET, partial ? packet.checksumOffset : 0, true)
}

/**
 * What stands before the payload that is to be split: a hint, 0 where it isn't known (a packet of another link's that is
 * passed on with its checksum complete).
 */
function headersLength(packet: Packet): number {
  const { view, start, end, checksumStart } = packet
  if (packet.gsoType === GSO_NONE || packet.checksum !== CHECKSUM_PARTIAL) return 0
  if ((packet.gsoType & ~GSO_ECN) === GSO_UDP) return checksumStart - start + UDP_HEADER
  // What a bridge passes on nobody has looked into.
  if (checksumStart + TCP_HEADER > end) return 0
  return checksumStart - start + (view.getUint8(checksumStart + TCP_LENGTH) >>> 4) * 4
}
