/**
 * Software GSO: a packet that is to be split (TCP, UDP_SEGMENT) for a device that can't do it. The headers are copied in
 * front of each piece and corrected: lengths, IPv4 identification, TCP sequence number and flags, checksums.
 */
import { ETH_P_IP } from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import { IpAddress } from '../address.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { CHECKSUM_PARTIAL, GSO_NONE, GSO_UDP, HEADROOM, type Packet } from '../packet.ts'

const UDP_HEADER = 8
const TCP_HEADER = 20
const TCP_FIN = 0x01
const TCP_PSH = 0x08
const TCP_CWR = 0x80

/** Sends all pieces and releases the packet. The last error, if any piece got one. */
export function segment(stack: IpStack, device: NetDevice, packet: Packet): Status {
  let status: Status = 0
  for (const piece of segments(stack, packet)) {
    if (piece.checksum === CHECKSUM_PARTIAL && !device.features.checksum) piece.completeChecksum()
    const result = device.send(piece)
    if (result < 0) status = result
  }
  packet.release()
  return status
}

/** The pieces, each a whole frame (or IP packet, if the link has no header). Doesn't release the packet. */
export function* segments(stack: IpStack, packet: Packet): IterableIterator<Packet> {
  const { transport, network, start, gsoSize, view } = packet
  const isUdp = packet.gsoType === GSO_UDP
  const least = isUdp ? UDP_HEADER : TCP_HEADER
  if (transport < network || gsoSize <= 0 || packet.end < transport + least) return
  const headerEnd = transport + (isUdp ? UDP_HEADER : (view.getUint8(transport + 12) >>> 4) * 4)
  const headers = headerEnd - start
  const total = packet.end - headerEnd
  if (total < 0 || headerEnd < transport + least) return
  const isV4 = packet.networkProtocol === ETH_P_IP
  const id = isV4 ? view.getUint16(network + 4) : 0
  const source = IpAddress.read(view, network + (isV4 ? 12 : 8), isV4)
  const destination = IpAddress.read(view, network + (isV4 ? 16 : 24), isV4)
  let offset = 0
  for (let i = 0; offset < total || i === 0; i++) {
    const length = Math.min(gsoSize, total - offset)
    const piece = stack.packets.allocate(headers + length, HEADROOM)
    piece.append(headers + length)
    piece.bytes.set(packet.bytes.subarray(start, headerEnd), piece.start)
    const from = headerEnd + offset
    piece.bytes.set(packet.bytes.subarray(from, from + length), piece.start + headers)
    piece.describe(packet, piece.start - start)
    piece.gsoType = GSO_NONE
    piece.gsoSize = 0
    fixNetwork(piece, isV4, id + i)
    if (isUdp) piece.view.setUint16(piece.transport + 4, UDP_HEADER + length)
    else fixTcp(piece, offset, i === 0, offset + length >= total)
    const transportLength = piece.end - piece.transport
    const sum = pseudoHeaderSum(source, destination, isUdp ? 17 : 6, transportLength)
    piece.checksum = CHECKSUM_PARTIAL
    piece.checksumStart = piece.transport
    piece.checksumOffset = isUdp ? 6 : 16
    piece.view.setUint16(piece.transport + piece.checksumOffset, sum)
    offset += length
    yield piece
  }
}

function fixNetwork(piece: Packet, isV4: boolean, id: number): void {
  const { view, network } = piece
  if (!isV4) {
    view.setUint16(network + 4, piece.end - network - 40)
    return
  }
  view.setUint16(network + 2, piece.end - network)
  view.setUint16(network + 4, id & 0xffff)
  view.setUint16(network + 10, 0)
  view.setUint16(network + 10, checksumOf(sumView(view, network, (view.getUint8(network) & 15) * 4)))
}

function fixTcp(piece: Packet, offset: number, first: boolean, last: boolean): void {
  const { view, transport } = piece
  view.setUint32(transport + 4, (view.getUint32(transport + 4) + offset) >>> 0)
  let flags = view.getUint8(transport + 13)
  if (!last) flags &= ~(TCP_FIN | TCP_PSH)
  if (!first) flags &= ~TCP_CWR
  view.setUint8(transport + 13, flags)
}
