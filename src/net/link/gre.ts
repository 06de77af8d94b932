/**
 * GreDevice: IP packets (`gre`) or Ethernet frames (`gretap`) in GRE over IPv4: RFC 2784, RFC 2890. With no remote end of its own
 * a `gre` uses the gateway of the route.
 */
import {
  ARPHRD_IPGRE,
  ETH_HLEN,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_TEB,
  ICMP_DEST_UNREACH,
  ICMP_PORT_UNREACH,
  IFF_BROADCAST,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_POINTOPOINT,
  IPPROTO_GRE,
} from '../../abi/constants.ts'
import { EHOSTUNREACH, EINVAL, ENETUNREACH } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import { checksumOf, sumView } from '../checksum.ts'
import { IPV4_HEADER } from '../ip/numbers.ts'
import type { IcmpError, TransportProtocol } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { TunnelDevice } from './tunnel.ts'
import { randomMac } from './veth.ts'

export const GRE_CSUM = 0x8000
export const GRE_KEY = 0x2000
export const GRE_SEQ = 0x1000
export const GRE_FLAGS = GRE_CSUM | GRE_KEY | GRE_SEQ
/** Routing, which nobody uses, and the version. */
const GRE_ROUTING = 0x4000
const GRE_VERSION = 0x0007
const GRE_HEADER = 4
const LEAST_MTU = 68

export class GreDevice extends TunnelDevice {
  override readonly kind: 'gre' | 'gretap'
  /** Path MTU discovery, which is shown and always done. */
  pathMtu = true
  /** GRE_*: what comes in has, and what is sent. */
  inputFlags = 0
  outputFlags = 0
  inputKey = 0
  outputKey = 0
  #sequence = 0

  constructor(kind: 'gre' | 'gretap', name: string, home: IpStack, address?: Uint8Array) {
    super(name, home)
    this.kind = kind
    this.minMtu = kind === 'gre' ? 0 : LEAST_MTU
    this.maxMtu = 65535 - IPV4_HEADER - GRE_HEADER
    if (kind === 'gre') {
      this.type = ARPHRD_IPGRE
      this.headerLength = 0
      this.hasAddress = true
      this.flags = IFF_NOARP
    } else {
      this.address = address ?? randomMac(home.random)
      this.flags = IFF_BROADCAST | IFF_MULTICAST
    }
    home.protocols[IPPROTO_GRE] ??= new GreTunnels(home)
    this.aim()
  }

  override get linkIndex(): number {
    return this.underlay
  }
  override get linkStack(): IpStack {
    return this.home
  }

  /** Ends, keys or the device below have changed. */
  aim(): void {
    this.forgetFlows()
    if (this.kind === 'gre') {
      this.address = this.local.bytes()
      this.broadcast = this.remote.bytes()
      this.flags = this.remote.isAny ? this.flags & ~IFF_POINTOPOINT : this.flags | IFF_POINTOPOINT
    }
    const below = this.wayOut(IPPROTO_GRE)
    const headers = IPV4_HEADER + greLength(this.outputFlags) + (this.kind === 'gretap' ? ETH_HLEN : 0)
    this.mtu = Math.max((below?.mtu ?? 1500) - headers, LEAST_MTU)
  }

  protected override wrap(packet: Packet): Status {
    const isTap = this.kind === 'gretap'
    const end = this.remote.isAny && !isTap ? packet.nextHop : this.remote
    if (end === undefined || !end.isV4 || end.isAny || end.isMulticast)
      return this.lost(packet, -EHOSTUNREACH)
    const protocol = isTap ? ETH_P_TEB : packet.networkProtocol
    if (!isTap && protocol !== ETH_P_IP && protocol !== ETH_P_IPV6) return this.lost(packet, -ENETUNREACH)
    const header = isTap ? ETH_HLEN : 0
    const inner = packet.start + header
    const version = packet.end - inner >= IPV4_HEADER ? packet.bytes[inner] >> 4 : 0
    if (!isTap && version === 0) return this.lost(packet, -EINVAL)
    const { view } = packet
    const flow = this.flowTo(end, IPPROTO_GRE)
    const known = version === 4 || version === 6
    const innerTtl = known ? view.getUint8(inner + (version === 4 ? 8 : 7)) : 0
    const innerTos = !known
      ? 0
      : version === 4
        ? view.getUint8(inner + 1)
        : (view.getUint16(inner) >> 4) & 0xff
    flow.ttl = this.ttl || (isTap ? -1 : innerTtl)
    flow.tos = (this.tos & 1) !== 0 ? innerTos : this.tos
    this.#push(packet, protocol)
    return this.home.ip.send(packet, flow)
  }

  #push(packet: Packet, protocol: number): void {
    const flags = this.outputFlags
    packet.completeChecksum()
    let at = packet.push(greLength(flags))
    const { view, start } = packet
    view.setUint16(at, flags)
    view.setUint16(at + 2, protocol)
    at += GRE_HEADER
    if ((flags & GRE_CSUM) !== 0) {
      view.setUint32(at, 0)
      at += 4
    }
    if ((flags & GRE_KEY) !== 0) {
      view.setUint32(at, this.outputKey)
      at += 4
    }
    if ((flags & GRE_SEQ) !== 0) view.setUint32(at, this.#sequence++ >>> 0)
    if ((flags & GRE_CSUM) !== 0)
      view.setUint16(start + GRE_HEADER, checksumOf(sumView(view, start, packet.end - start)))
  }

  /** A packet from the other end, what is in it at packet.start. */
  arrived(packet: Packet): void {
    this.unwrapped(packet)
  }
}

function greLength(flags: number): number {
  let length = GRE_HEADER
  for (const flag of [GRE_CSUM, GRE_KEY, GRE_SEQ]) if ((flags & flag) !== 0) length += 4
  return length
}

/** The protocol in one namespace: whose tunnel a packet belongs to. */
class GreTunnels implements TransportProtocol {
  readonly #stack: IpStack

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  receive(packet: Packet): void {
    const { view, start, end } = packet
    const length = end - start
    const flags = length < GRE_HEADER ? GRE_VERSION : view.getUint16(start)
    const header = greLength(flags)
    if (!packet.destination.isV4 || (flags & (GRE_ROUTING | GRE_VERSION)) !== 0 || length < header) {
      packet.release()
      return
    }
    const key =
      (flags & GRE_KEY) !== 0 ? view.getUint32(start + GRE_HEADER + ((flags & GRE_CSUM) !== 0 ? 4 : 0)) : 0
    const isTap = view.getUint16(start + 2) === ETH_P_TEB
    const tunnel = this.#find(packet.destination, packet.source, flags, key, isTap)
    if (tunnel === undefined) {
      this.#stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0)
      packet.release()
      return
    }
    const wrong = (flags & GRE_CSUM) !== 0 && checksumOf(sumView(view, start, length)) !== 0
    const differs = ((flags ^ tunnel.inputFlags) & GRE_CSUM) !== 0
    if (wrong || differs || length === header) {
      tunnel.statistics.rxErrors++
      packet.release()
      return
    }
    packet.pull(header)
    tunnel.arrived(packet)
  }

  error(_packet: Packet, error: IcmpError): void {
    for (const tunnel of this.#stack.tunnels) {
      if (!(tunnel instanceof GreDevice) || !error.tooBig) continue
      if (tunnel.local.equals(error.source) && tunnel.remote.equals(error.destination)) {
        this.#stack.ip.lowerMtu(error)
        return
      }
    }
  }

  /** The one that says most of its ends: ip_tunnel_lookup. */
  #find(
    local: IpAddress,
    remote: IpAddress,
    flags: number,
    key: number,
    isTap: boolean,
  ): GreDevice | undefined {
    let best: GreDevice | undefined
    let most = -1
    for (const tunnel of this.#stack.tunnels) {
      if (!(tunnel instanceof GreDevice) || (tunnel.kind === 'gretap') !== isTap || !tunnel.up) continue
      if (((tunnel.inputFlags ^ flags) & GRE_KEY) !== 0) continue
      if ((flags & GRE_KEY) !== 0 && tunnel.inputKey !== key) continue
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
