/**
 * IpTunnelDevice: IPv4 in IPv4 (ipip) and IPv6 in IPv4 (sit): RFC 2003, RFC 4213. With no remote end of its own, the
 * gateway of the route is the end: one device for all nodes of a cluster.
 */
import {
  ARPHRD_SIT,
  ARPHRD_TUNNEL,
  ETH_P_IP,
  ETH_P_IPV6,
  ICMP_DEST_UNREACH,
  ICMP_PORT_UNREACH,
  IFF_NOARP,
  IFF_POINTOPOINT,
  IPPROTO_IPIP,
  IPPROTO_IPV6,
} from '../../abi/constants.ts'
import { EHOSTUNREACH, EINVAL, ENETUNREACH } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import { IPV4_HEADER, IPV6_HEADER } from '../ip/numbers.ts'
import type { IcmpError, TransportProtocol } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { TunnelDevice } from './tunnel.ts'

export class IpTunnelDevice extends TunnelDevice {
  override readonly kind: 'ipip' | 'sit'
  /** Path MTU discovery, which is shown and always done. */
  pathMtu = true
  /** IPPROTO_*: of the packets inside. */
  readonly inner: number

  constructor(kind: 'ipip' | 'sit', name: string, home: IpStack) {
    super(name, home)
    this.kind = kind
    this.inner = kind === 'ipip' ? IPPROTO_IPIP : IPPROTO_IPV6
    this.type = kind === 'ipip' ? ARPHRD_TUNNEL : ARPHRD_SIT
    this.headerLength = 0
    this.hasAddress = true
    this.flags = IFF_NOARP
    this.maxMtu = 65535 - IPV4_HEADER
    this.minMtu = kind === 'ipip' ? 68 : 1280
    this.ttl = kind === 'ipip' ? 0 : 64
    home.protocols[this.inner] ??= new IpTunnels(home, this.inner)
    this.aim()
  }

  override get linkIndex(): number {
    return this.underlay
  }
  override get linkStack(): IpStack {
    return this.home
  }

  /** `local`, `remote` or the device below have changed. */
  aim(): void {
    this.address = this.local.bytes()
    this.broadcast = this.remote.bytes()
    this.flags = this.remote.isAny ? this.flags & ~IFF_POINTOPOINT : this.flags | IFF_POINTOPOINT
    this.forgetFlows()
    const below = this.wayOut(this.inner)
    this.mtu = Math.max((below?.mtu ?? 1500) - IPV4_HEADER, this.minMtu)
  }

  protected override wrap(packet: Packet): Status {
    const wanted = this.inner === IPPROTO_IPIP ? ETH_P_IP : ETH_P_IPV6
    const end = this.remote.isAny ? packet.nextHop : this.remote
    if (packet.networkProtocol !== wanted) return this.lost(packet, -ENETUNREACH)
    if (end === undefined || !end.isV4 || end.isAny || end.isMulticast)
      return this.lost(packet, -EHOSTUNREACH)
    const isV4 = wanted === ETH_P_IP
    // A packet socket may have sent anything.
    if (packet.length < (isV4 ? IPV4_HEADER : IPV6_HEADER)) return this.lost(packet, -EINVAL)
    const flow = this.flowTo(end, this.inner)
    const { view, start } = packet
    flow.ttl = this.ttl || view.getUint8(start + (isV4 ? 8 : 7))
    const innerTos = isV4 ? view.getUint8(start + 1) : (view.getUint16(start) >> 4) & 0xff
    flow.tos = (this.tos & 1) !== 0 ? innerTos : this.tos
    return this.home.ip.send(packet, flow)
  }

  /** A packet from the other end, the inner header at packet.start. */
  arrived(packet: Packet): void {
    this.unwrapped(packet)
  }
}

/** The protocol in one namespace: whose tunnel a packet belongs to. */
class IpTunnels implements TransportProtocol {
  readonly #stack: IpStack
  readonly #inner: number

  constructor(stack: IpStack, inner: number) {
    this.#stack = stack
    this.#inner = inner
  }

  receive(packet: Packet): void {
    // IPv6 hands it what has the same number there.
    if (!packet.destination.isV4) {
      packet.release()
      return
    }
    const tunnel = this.#find(packet.destination, packet.source)
    if (tunnel !== undefined && packet.length > 0) {
      tunnel.arrived(packet)
      return
    }
    this.#stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0)
    packet.release()
  }

  error(_packet: Packet, error: IcmpError): void {
    if (error.tooBig && this.#find(error.source, error.destination) !== undefined)
      this.#stack.ip.lowerMtu(error)
  }

  /** The one that says most of its ends. */
  #find(local: IpAddress, remote: IpAddress): IpTunnelDevice | undefined {
    let best: IpTunnelDevice | undefined
    let most = -1
    for (const tunnel of this.#stack.tunnels) {
      if (!(tunnel instanceof IpTunnelDevice) || tunnel.inner !== this.#inner || !tunnel.up) continue
      if (!tunnel.local.isAny && !tunnel.local.equals(local)) continue
      if (!tunnel.remote.isAny && !tunnel.remote.equals(remote)) continue
      const said = (tunnel.remote.isAny ? 0 : 2) + (tunnel.local.isAny ? 0 : 1)
      if (said <= most) continue
      best = tunnel
      most = said
    }
    return best
  }
}
