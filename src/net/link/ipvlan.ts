/**
 * IpvlanDevice: a station on the link of the device below, with that one's hardware address: what comes in is told apart by IP
 * addresses. An IpvlanPort is what takes that device's frames, from the first station on it to the last; all have its mode.
 *
 * `l2`: a station asks for neighbours itself, and groups reach all of them. `l3` and `l3s`: it has no neighbours; what is for none of
 * its like is routed by the namespace of the device below, and groups reach nobody. Netfilter's rules there don't see what comes
 * in, as in `l3`. The device below itself reaches none of them.
 */
import {
  ETH_ALEN,
  ETH_HLEN,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  IFF_BROADCAST,
  IFF_MULTICAST,
  IFF_NOARP,
  IPPROTO_ICMPV6,
  IPVLAN_F_PRIVATE,
  IPVLAN_F_VEPA,
  IPVLAN_MODE_L2,
} from '../../abi/constants.ts'
import { EBUSY, EHOSTUNREACH, EINVAL, ELOOP, ENETUNREACH } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { IpAddress } from '../address.ts'
import { Flow } from '../ip/flow.ts'
import { localOut4 } from '../ip/ipv4-output.ts'
import { localOut6 } from '../ip/ipv6-output.ts'
import { GSO_NONE, type Packet } from '../packet.ts'
import { addressAt } from './bridge.ts'
import type { FrameHandler, NetDevice } from './device.ts'
import { MAX_TUNNEL_DEPTH } from './tunnel.ts'
import { UpperDevice } from './upper.ts'

const NEIGHBOUR_SOLICIT = 135

export class IpvlanDevice extends UpperDevice {
  override readonly kind = 'ipvlan'
  readonly port: IpvlanPort

  /** checkIpvlan has let it. */
  constructor(name: string, lower: NetDevice) {
    super(name, lower, lower.address.slice())
    this.flags = IFF_BROADCAST | IFF_MULTICAST
    this.features = lower.features
    this.port = portOf(lower)
    this.port.stations.add(this)
    this.modeChanged()
  }

  modeChanged(): void {
    if (this.port.mode === IPVLAN_MODE_L2) this.flags &= ~IFF_NOARP
    else this.flags |= IFF_NOARP
  }

  override lowerChanged(): void {
    super.lowerChanged()
    const { stack, lower } = this
    if (addressAt(this.address, 0) !== addressAt(lower.address, 0))
      stack?.devices.setAddress(this, lower.address)
  }

  override close(): void {
    super.close()
    this.port.stations.delete(this)
    if (this.port.stations.size === 0) this.lower.frameHandler = undefined
  }

  /** ipvlan_queue_xmit */
  override transmit(packet: Packet): Status {
    const { port } = this
    if (packet.length < ETH_HLEN) return this.#lost(packet, -EINVAL)
    const { bytes, start } = packet
    packet.link = start
    if (port.mode !== IPVLAN_MODE_L2) return this.#route(packet)
    if ((bytes[start] & 1) !== 0) {
      port.broadcast(packet, this)
      return this.hand(packet)
    }
    const toOwn = addressAt(bytes, start) === addressAt(bytes, start + ETH_ALEN)
    if (!toOwn || (port.flags & IPVLAN_F_VEPA) !== 0) return this.hand(packet)
    const to = port.find(packet, start + ETH_HLEN)
    if (to !== undefined) return this.#deliver(packet, to)
    // For the device below itself.
    const below = this.lower.stack
    if (below === undefined) return this.#lost(packet, -ENETUNREACH)
    this.countSent(packet.length)
    packet.scrubAll()
    below.receive(this.lower, packet)
    return 0
  }

  #deliver(packet: Packet, to: IpvlanDevice): Status {
    if ((this.port.flags & IPVLAN_F_PRIVATE) !== 0) return this.#lost(packet, -EHOSTUNREACH)
    this.countSent(packet.length)
    to.deliver(packet)
    return 0
  }

  /** ipvlan_xmit_mode_l3: to one of its like, or by the routes of the device below. */
  #route(packet: Packet): Status {
    const { port, lower } = this
    const network = packet.start + ETH_HLEN
    const to = (port.flags & IPVLAN_F_VEPA) !== 0 ? undefined : port.find(packet, network)
    if (to !== undefined) return this.#deliver(packet, to)
    const stack = lower.stack
    const protocol = packet.view.getUint16(packet.start + ETH_HLEN - 2)
    const isV4 = protocol === ETH_P_IP
    const whole = packet.end - network >= (isV4 ? 20 : 40)
    if (stack === undefined || !whole || (!isV4 && protocol !== ETH_P_IPV6))
      return this.#lost(packet, -EINVAL)
    if (stack.runtime.tunnelDepth >= MAX_TUNNEL_DEPTH) return this.#lost(packet, -ELOOP)
    const { view } = packet
    const flow = new Flow()
    flow.source = IpAddress.read(view, network + (isV4 ? 12 : 8), isV4)
    flow.destination = IpAddress.read(view, network + (isV4 ? 16 : 24), isV4)
    if (flow.destination.isMulticast) return this.#lost(packet, -ENETUNREACH)
    flow.protocol = view.getUint8(network + (isV4 ? 9 : 6))
    flow.anySource = true
    const route = stack.ip.routeFor(flow)
    if (typeof route === 'number') return this.#lost(packet, route)
    this.countSent(packet.length)
    packet.pull(ETH_HLEN)
    packet.scrubAll()
    packet.link = -1
    packet.network = packet.start
    if (packet.gsoType !== GSO_NONE) packet.transport = packet.checksumStart
    packet.networkProtocol = protocol
    packet.transportProtocol = flow.protocol
    packet.source = flow.source
    packet.destination = flow.destination
    const send = isV4 ? localOut4 : localOut6
    // The routes may lead here again.
    const { runtime } = stack
    runtime.tunnelDepth++
    try {
      return send(stack, packet, route, route.mtu, true, false)
    } finally {
      runtime.tunnelDepth--
    }
  }

  #lost(packet: Packet, status: Status): Status {
    this.statistics.txDropped++
    packet.release()
    return status
  }
}

class IpvlanPort implements FrameHandler {
  readonly stations = new Set<IpvlanDevice>()
  mode = IPVLAN_MODE_L2
  /** IPVLAN_F_* */
  flags = 0

  /** Whose the address is that a packet is for, its network header at `at`. */
  find(packet: Packet, at: number): IpvlanDevice | undefined {
    const address = destinationOf(packet, at)
    if (address === undefined) return undefined
    for (const station of this.stations) {
      if (station.up && station.stack?.addresses.find(address, station) !== undefined) return station
    }
    return undefined
  }

  handleFrame(_lower: NetDevice, packet: Packet): boolean {
    const { bytes, link } = packet
    if (packet.gsoType !== GSO_NONE) {
      packet.network = packet.start
      packet.transport = packet.checksumStart
    }
    if ((bytes[link] & 1) !== 0 && this.mode === IPVLAN_MODE_L2) {
      this.broadcast(packet, undefined)
      return false
    }
    const to = this.find(packet, packet.start)
    if (to === undefined) return false
    to.deliver(packet)
    return true
  }

  broadcast(packet: Packet, from: IpvlanDevice | undefined): void {
    if (from !== undefined && (this.flags & (IPVLAN_F_PRIVATE | IPVLAN_F_VEPA)) !== 0) return
    for (const station of this.stations) if (station !== from && station.up) station.deliver(packet.clone())
  }
}

/** ipvlan_addr_lookup: where an IP packet goes, whom an ARP packet or a neighbour's message is about. */
function destinationOf({ view, end, link }: Packet, at: number): IpAddress | undefined {
  const length = end - at
  const protocol = view.getUint16((link >= 0 ? link : at - ETH_HLEN) + ETH_HLEN - 2)
  if (protocol === ETH_P_IP) return length < 20 ? undefined : IpAddress.read(view, at + 16, true)
  if (protocol === ETH_P_ARP) return length < 28 ? undefined : IpAddress.read(view, at + 24, true)
  if (protocol !== ETH_P_IPV6 || length < 40) return undefined
  const type = view.getUint8(at + 6) === IPPROTO_ICMPV6 && length >= 64 ? view.getUint8(at + 40) : 0
  return IpAddress.read(view, type === NEIGHBOUR_SOLICIT ? at + 48 : at + 24, false)
}

/** -EBUSY: something else takes its frames. -EINVAL: no link. */
export function checkIpvlan(lower: NetDevice): Status {
  if (lower.isLoopback || lower.address.length !== ETH_ALEN || lower.headerLength === 0) return -EINVAL
  const { frameHandler } = lower
  return frameHandler === undefined || frameHandler instanceof IpvlanPort ? 0 : -EBUSY
}

function portOf(lower: NetDevice): IpvlanPort {
  if (!(lower.frameHandler instanceof IpvlanPort)) lower.frameHandler = new IpvlanPort()
  return lower.frameHandler as IpvlanPort
}
