/** Fields of the IP header that filters ask for and change: hop limit and traffic class, whatever the version. */
import { IpAddress } from '../address.ts'
import { updateChecksum16 } from '../checksum.ts'
import type { Packet } from '../packet.ts'

export function hopLimitOf({ view, network, source }: Packet): number {
  return view.getUint8(network + (source.isV4 ? 8 : 7))
}

export function setHopLimit(packet: Packet, value: number): void {
  const { view, network, source } = packet
  packet.ttl = value
  if (source.isV4) setHeaderWord4(packet, 8, (value << 8) | view.getUint8(network + 9))
  else view.setUint8(network + 7, value)
}

/** IPv4's type of service, IPv6's traffic class. */
export function trafficClassOf({ view, network, source }: Packet): number {
  return source.isV4 ? view.getUint8(network + 1) : (view.getUint16(network) >> 4) & 0xff
}

export function setTrafficClass(packet: Packet, value: number): void {
  const { view, network, source } = packet
  packet.tos = value
  if (source.isV4) setHeaderWord4(packet, 0, (view.getUint8(network) << 8) | value)
  else view.setUint16(network, (view.getUint16(network) & 0xf00f) | (value << 4))
}

/** What the packet knows of its network header beside the bytes, of which others have been written. */
export function readAgain(packet: Packet): void {
  const { view, network, source } = packet
  const { isV4 } = source
  packet.ttl = hopLimitOf(packet)
  packet.tos = trafficClassOf(packet)
  packet.source = IpAddress.read(view, network + (isV4 ? 12 : 8), isV4)
  packet.destination = IpAddress.read(view, network + (isV4 ? 16 : 24), isV4)
}

/** A word of IPv4's header, with the header's checksum. */
function setHeaderWord4({ view, network }: Packet, offset: number, value: number): void {
  const before = view.getUint16(network + offset)
  view.setUint16(network + offset, value)
  view.setUint16(network + 10, updateChecksum16(view.getUint16(network + 10), before, value))
}
