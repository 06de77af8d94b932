/** Link headers: Ethernet II, and devices without any. */
import { ETH_ALEN, ETH_HLEN, ETH_P_IP, ETH_P_IPV6 } from '../../abi/constants.ts'
import type { NetDevice } from '../link/device.ts'
import { PACKET_BROADCAST, PACKET_HOST, PACKET_MULTICAST, PACKET_OTHERHOST, type Packet } from '../packet.ts'

/** Below it, the field is a length (IEEE 802.3), which nobody here speaks. */
const ETH_P_802_3_MIN = 0x600
export const BROADCAST_MAC: Uint8Array = new Uint8Array(ETH_ALEN).fill(0xff)

export function pushEthernet(
  packet: Packet,
  destination: Uint8Array,
  source: Uint8Array,
  protocol: number,
): void {
  const at = packet.push(ETH_HLEN)
  const { bytes } = packet
  for (let i = 0; i < ETH_ALEN; i++) {
    bytes[at + i] = destination[i]
    bytes[at + ETH_ALEN + i] = source[i]
  }
  packet.view.setUint16(at + 12, protocol)
}

/** Takes the link header off and says what is behind it and for whom it is (eth_type_trans). False: too short. */
export function pullLinkHeader(device: NetDevice, packet: Packet): boolean {
  packet.link = packet.start
  const { start, bytes } = packet
  if (device.headerLength === 0) {
    if (packet.length === 0) return false
    const version = bytes[start] >> 4
    packet.networkProtocol = version === 4 ? ETH_P_IP : version === 6 ? ETH_P_IPV6 : 0
    packet.type = PACKET_HOST
    return true
  }
  if (packet.length < ETH_HLEN) return false
  const protocol = packet.view.getUint16(start + 12)
  packet.networkProtocol = protocol >= ETH_P_802_3_MIN ? protocol : 0
  packet.type = device.isLoopback ? PACKET_HOST : typeOf(device, bytes, start)
  packet.pull(ETH_HLEN)
  return true
}

function typeOf(device: NetDevice, bytes: Uint8Array, at: number): number {
  if ((bytes[at] & 1) !== 0) {
    for (let i = 0; i < ETH_ALEN; i++) if (bytes[at + i] !== 0xff) return PACKET_MULTICAST
    return PACKET_BROADCAST
  }
  for (let i = 0; i < ETH_ALEN; i++) if (bytes[at + i] !== device.address[i]) return PACKET_OTHERHOST
  return PACKET_HOST
}

/** The group address that an IP multicast goes to: RFC 1112 §6.4 and RFC 2464 §7. */
export function multicastMac(isV4: boolean, low: number): Uint8Array {
  if (isV4) return Uint8Array.of(1, 0, 0x5e, (low >>> 16) & 0x7f, (low >>> 8) & 0xff, low & 0xff)
  return Uint8Array.of(0x33, 0x33, low >>> 24, (low >>> 16) & 0xff, (low >>> 8) & 0xff, low & 0xff)
}
