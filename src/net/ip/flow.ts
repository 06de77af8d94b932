/**
 * Flow: where a transport wants its packets to go and how; Route: which way the stack found for it.
 *
 * An endpoint keeps one Flow for its life and changes it as its options and addresses change (then it calls
 * `forgetRoute`). The stack keeps the route it found in the flow and finds a new one when anything that routes depend on
 * has changed: IpStack.generation.
 */
import {
  IP_PMTUDISC_DONT,
  IP_PMTUDISC_OMIT,
  IP_PMTUDISC_PROBE,
  IP_PMTUDISC_WANT,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
} from '../../abi/constants.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import type { NetDevice } from '../link/device.ts'
import type { SocketOwner } from '../packet.ts'
import type { Neighbour } from './neighbour.ts'

export class Flow {
  /** The any address: the stack chooses, and Route.source tells. */
  source: IpAddress = V4_ANY
  destination: IpAddress = V4_ANY
  /** IPPROTO_* */
  protocol = 0
  /** For rules and for the choice among several next hops. */
  sourcePort = 0
  destinationPort = 0
  /** IP_TTL, IPV6_UNICAST_HOPS; -1: the route's or the system's. */
  ttl = -1
  /** IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS. */
  multicastTtl = 1
  /** IP_TOS, IPV6_TCLASS. */
  tos = 0
  flowLabel = 0
  mark = 0
  priority = 0
  uid = 0
  /** The socket's, for filters; undefined for what the stack itself sends. */
  owner: SocketOwner | undefined = undefined
  /** Index of the only device allowed (SO_BINDTODEVICE, a scope id, IP_PKTINFO); 0 for any. */
  device = 0
  /** IP_MULTICAST_IF: used for multicast destinations where `device` is 0. */
  multicastDevice = 0
  /** IP_MULTICAST_LOOP. */
  multicastLoop = true
  /** IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: IP_PMTUDISC_*. */
  pmtuDiscovery = IP_PMTUDISC_WANT
  /** SO_DONTROUTE, MSG_DONTROUTE: only to directly connected networks. */
  dontRoute = false
  /** IP_FREEBIND, IP_TRANSPARENT: the source need not be an address of ours. */
  anySource = false
  /** IP_TRANSPARENT: the socket may have what is sent to other addresses than ours. */
  transparent = false
  /** The any address is not to be replaced: of who has no address yet (duplicate detection, DHCP by raw means). */
  keepsAnySource = false
  /** IPv4 options (a multiple of 4 bytes, at most 40), or IPv6 extension headers in front of the transport's. */
  options: Uint8Array | undefined = undefined
  /** For `options` of IPv6: the type of the first extension header. */
  optionsProtocol = 0

  route: Route | undefined = undefined
  routeGeneration = -1

  forgetRoute(): void {
    this.route = undefined
  }
  /** Whether only the device's MTU counts: IP_PMTUDISC_PROBE, INTERFACE and OMIT. */
  get ignoresPathMtu(): boolean {
    return this.pmtuDiscovery >= IP_PMTUDISC_PROBE
  }
  /** Whether the stack may fragment what is too long. */
  get mayFragment(): boolean {
    const mode = this.pmtuDiscovery
    return mode === IP_PMTUDISC_DONT || mode === IP_PMTUDISC_WANT || mode === IP_PMTUDISC_OMIT
  }
}

export class Route {
  /** RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST or RTN_MULTICAST. */
  readonly type: number
  readonly device: NetDevice
  readonly source: IpAddress
  readonly destination: IpAddress
  /** Undefined for what is directly connected. */
  readonly gateway: IpAddress | undefined
  /** The longest packet that goes along: the path's where ICMP told, else the route's or the device's. */
  mtu: number
  /** The mtu may not be lowered by ICMP. */
  mtuLocked = false
  hopLimit = 0
  /** Metrics of the route (RTAX_*), 0 where it has none. */
  advmss = 0
  window = 0
  initialWindow = 0
  initialReceiveWindow = 0
  rtt = 0
  quickAck = 0
  /** The route's table, and priority, as RTM_GETROUTE answers. */
  table = 0
  /** Who has the next hop's link address; found when first sent to. */
  neighbour: Neighbour | undefined = undefined
  /** When what ICMP told of the path ends (monotonic ns). */
  expires = Number.POSITIVE_INFINITY

  constructor(
    type: number,
    device: NetDevice,
    source: IpAddress,
    destination: IpAddress,
    gateway: IpAddress | undefined,
    mtu: number,
  ) {
    this.type = type
    this.device = device
    this.source = source
    this.destination = destination
    this.gateway = gateway
    this.mtu = mtu
  }

  get nextHop(): IpAddress {
    return this.gateway ?? this.destination
  }
  get isLocal(): boolean {
    return this.type === RTN_LOCAL
  }
  get toMany(): boolean {
    return this.type === RTN_BROADCAST || this.type === RTN_MULTICAST
  }

  /** The transport has had an answer: the neighbour is reachable (RFC 4861 §7.3.1). */
  confirm(): void {
    this.neighbour?.confirm()
  }
}
