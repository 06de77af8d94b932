/** What sits on top of IP: the protocols by number, and who else wants to see packets. */
import type { IpAddress } from '../address.ts'
import type { NetDevice } from '../link/device.ts'
import type { Packet } from '../packet.ts'
import type { FibRoute } from './fib.ts'
import type { InterfaceAddress } from './interface-address.ts'
import type { Neighbour } from './neighbour.ts'
import type { Rule } from './rules.ts'

export interface TransportProtocol {
  /**
   * A whole packet for this machine, its transport header at packet.start (= packet.transport); `source`, `destination`,
   * `ttl`, `tos` and `device` are set. The protocol owns it. The checksum is the protocol's to look at: packet.checksum.
   */
  receive(packet: Packet): void
  /**
   * ICMP says that a packet of ours did not get there. `packet` holds what it quotes of ours: its network header at
   * packet.network and at least 8 bytes of the transport header at packet.transport (= packet.start). The protocol does
   * not own it and must check by its own means that the packet was its.
   */
  error(packet: Packet, error: IcmpError): void
}

/** An ICMP or ICMPv6 error, as transports and error queues need it. One object is used again for each. */
export class IcmpError {
  /** Positive errno. */
  errno = 0
  /** Whether it ends what it hits (RFC 1122 §4.2.3.9): else it is only told. */
  hard = false
  type = 0
  code = 0
  /** The next hop's MTU, or the pointer of a parameter problem. */
  info = 0
  /**
   * It says that the packet was too long for the path, which lets `info` through. A protocol that has found the packet to
   * be its own (anybody can send such a message) calls IpLayer.lowerMtu(error): from then on routeFor gives that MTU.
   */
  tooBig = false
  isV4 = true
  /** Who says so. */
  offender!: IpAddress
  /** Of the quoted packet: we are its source. */
  source!: IpAddress
  destination!: IpAddress
  device: NetDevice | undefined = undefined
}

/** Raw sockets. */
export interface RawReceiver {
  /**
   * Shown each packet for this machine before its protocol, network header at packet.network, transport at packet.start;
   * takes clones. True if somebody took one (then an unknown protocol is no error).
   */
  deliver(packet: Packet): boolean
  error(packet: Packet, error: IcmpError): void
}

/** Ping sockets, and whoever else waits for the answer to an echo request. */
export interface EchoReceiver {
  /** An echo reply, the ICMP header at packet.start. Doesn't own it. */
  reply(packet: Packet): void
  error(packet: Packet, error: IcmpError): void
}

/** Packet sockets and captures: see every frame that comes in or goes out. */
export interface PacketTap {
  /**
   * The link header, if any, is at packet.link and the network header at packet.start on reception; on transmission
   * (packet.type PACKET_OUTGOING) the link header is at packet.start = packet.link. Doesn't own the packet.
   */
  seen(device: NetDevice, packet: Packet): void
}

/** Who wants to know of changes (netlink's notifications). */
export interface StackListener {
  linkChanged(device: NetDevice, gone: boolean): void
  addressChanged(entry: InterfaceAddress, gone: boolean): void
  routeChanged(route: FibRoute, gone: boolean): void
  ruleChanged(change: { readonly rule: Rule; readonly family: number }, gone: boolean): void
  neighbourChanged(entry: Neighbour, gone: boolean): void
  /** A number by which this namespace knows another. */
  namespaceIdChanged(id: number, gone: boolean): void
}
