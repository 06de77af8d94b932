/**
 * VxlanDevice: Ethernet over UDP: RFC 7348. Which end a station is behind, the forwarding table says: what was learnt from
 * frames that came, or what a program has entered (`bridge fdb`), as those of clusters do that switch learning off. What is
 * for nobody known goes to the default ends.
 *
 * Devices of one port share a VxlanSocket, from the first that goes up to the last that goes down.
 */
import { ETH_ALEN, ETH_HLEN, IPPROTO_UDP, NUD_PERMANENT, NUD_REACHABLE } from '../../abi/constants.ts'
import { EHOSTUNREACH, ENODEV, ENOSPC } from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { type IpAddress, V4_ANY, V6_ANY } from '../address.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../checksum.ts'
import { Flow } from '../ip/flow.ts'
import type { Membership } from '../ip/multicast.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_NONE, type Packet } from '../packet.ts'
import { UDP_HEADER, type UdpEndpoint } from '../udp/endpoint.ts'
import type { UdpProtocol } from '../udp/protocol.ts'
import { addressAt } from './bridge.ts'
import type { NetDevice } from './device.ts'
import { TunnelDevice } from './tunnel.ts'

const VXLAN_HEADER = 8
/** The header's flag that says that there is a network identifier. */
const VNI_VALID = 0x08000000
/** What goes to every station that isn't known: the entry of the zero address. */
export const DEFAULT_STATION = 0
/** Ends that all entries of one device have together, whatever limit of entries it was given. */
const MAX_ENDS = 65536
/** Ends of one entry. */
const MAX_STATION_ENDS = 4096
/** ns between two looks for entries that are too old, in a table that is full. */
const SWEEP_INTERVAL = NSEC_PER_SEC
const UDP_IPV4_OVERHEAD = 50
const UDP_IPV6_OVERHEAD = 70

export interface VxlanEnd {
  readonly address: IpAddress
  readonly port: number
  readonly vni: number
  /** Index of the only device that leads there; 0 for any. */
  readonly device: number
  readonly flow: Flow
}

export interface VxlanStation {
  ends: VxlanEnd[]
  /** NUD_* */
  state: number
  /** Monotonic ns. */
  used: number
  updated: number
}

export class VxlanDevice extends TunnelDevice {
  override readonly kind = 'vxlan'
  readonly vni: number
  readonly port: number
  /** Ports that outer packets come from; 0, 0: the namespace's range for clients. */
  ports: readonly [number, number] = [0, 0]
  learning = true
  /** Seconds. */
  ageing = 300
  limit = 0
  /** Outer packets over IPv4 have a checksum; over IPv6 they have one unless said otherwise. */
  checksum4 = true
  noChecksum6 = false
  noChecksum6Received = false
  readonly #stations = new Map<number, VxlanStation>()
  /** Of all stations. */
  #ends = 0
  /** Monotonic ns: not before then is a full table looked through again. */
  #nextSweep = 0
  #lower: NetDevice | undefined = undefined
  #socket: VxlanSocket | undefined = undefined
  #membership: Membership | undefined = undefined

  constructor(name: string, home: IpStack, vni: number, port: number, address: Uint8Array) {
    super(name, home)
    this.vni = vni
    this.port = port
    this.address = address
  }

  override get below(): readonly NetDevice[] {
    return this.#lower === undefined ? [] : [this.#lower]
  }
  get stations(): ReadonlyMap<number, VxlanStation> {
    return this.#stations
  }
  get isV6(): boolean {
    return !this.remote.isV4 || !this.local.isV4
  }
  /** What an outer packet has in front of the inner one's network header. */
  get overhead(): number {
    return this.isV6 ? UDP_IPV6_OVERHEAD : UDP_IPV4_OVERHEAD
  }
  get socket(): VxlanSocket | undefined {
    return this.#socket
  }

  override opened(): Status {
    const socket = VxlanSocket.of(this)
    if (typeof socket === 'number') return socket
    this.#socket = socket
    socket.devices.set(this.vni, this)
    if (!this.remote.isMulticast) return 0
    const below = this.home.devices.byIndex(this.underlay)
    const joined = below === undefined ? -ENODEV : this.home.multicast.join(below, this.remote)
    if (typeof joined === 'number') {
      this.stopped()
      return joined
    }
    this.#membership = joined
    return 0
  }

  override stopped(): void {
    if (this.#membership !== undefined) this.home.multicast.leave(this.#membership)
    this.#membership = undefined
    this.#socket?.leave(this)
    this.#socket = undefined
    for (const [address, station] of this.stations) {
      if ((station.state & NUD_PERMANENT) === 0) this.forget(address)
    }
  }

  override close(): void {
    if (this.#socket !== undefined) this.stopped()
    this.layOver(undefined)
    super.close()
  }

  /** Outer packets use that device alone, and the tunnel ends with it: `underlay`. checkNesting has let it. */
  layOver(below: NetDevice | undefined): void {
    const uppers = this.#lower?.uppers
    const at = uppers?.indexOf(this) ?? -1
    if (at >= 0) uppers!.splice(at, 1)
    this.#lower = below
    this.underlay = below?.index ?? 0
    below?.uppers.push(this)
  }

  end(address: IpAddress, port = this.port, vni = this.vni, device = this.underlay): VxlanEnd {
    const flow = new Flow()
    flow.protocol = IPPROTO_UDP
    flow.source = this.local.isV4 === address.isV4 ? this.local : address.isV4 ? V4_ANY : V6_ANY
    flow.destination = address
    flow.destinationPort = port
    flow.device = device
    return { address, port, vni, device, flow }
  }

  /** Puts a station behind ends. -ENOSPC. */
  enter(address: number, ends: VxlanEnd[], state: number): Status {
    const now = this.home.runtime.now()
    const known = this.stations.get(address)
    const total = this.#ends - (known?.ends.length ?? 0) + ends.length
    if (ends.length > MAX_STATION_ENDS || total > MAX_ENDS) return -ENOSPC
    if (known === undefined && this.limit !== 0 && this.stations.size >= this.limit) return -ENOSPC
    this.#ends = total
    this.#stations.set(address, { ends, state, used: known?.used ?? now, updated: now })
    return 0
  }
  forget(address: number): void {
    this.#ends -= this.stations.get(address)?.ends.length ?? 0
    this.#stations.delete(address)
  }
  /** Takes one of its ends from a station, with the last one the station. */
  forgetEnd(address: number, at: number): void {
    const { ends } = this.stations.get(address)!
    if (ends.length === 1) {
      this.forget(address)
      return
    }
    ends.splice(at, 1)
    this.#ends--
  }

  protected override wrap(packet: Packet): Status {
    const { bytes, start } = packet
    if (packet.length < ETH_HLEN) return this.lost(packet, -EHOSTUNREACH)
    const now = this.home.runtime.now()
    const group = (bytes[start] & 1) !== 0
    let station = this.stations.get(addressAt(bytes, start))
    if (station !== undefined && !this.#fresh(station, now)) station = undefined
    if (station !== undefined && !group) station.used = now
    const ends = (station ?? this.stations.get(DEFAULT_STATION))?.ends ?? []
    if (ends.length === 0) {
      this.statistics.txDropped++
      packet.release()
      return 0
    }
    const port = this.#sourcePort(packet)
    for (let i = 1; i < ends.length; i++) this.#sendTo(ends[i], packet.clone(), port)
    return this.#sendTo(ends[0], packet, port)
  }

  #sendTo(end: VxlanEnd, packet: Packet, port: number): Status {
    const { flow, address } = end
    const route = this.home.ip.routeFor(flow)
    if (typeof route === 'number') return this.lost(packet, route)
    const at = packet.push(UDP_HEADER + VXLAN_HEADER)
    const { view, length } = packet
    view.setUint16(at, port)
    view.setUint16(at + 2, end.port)
    view.setUint16(at + 4, length)
    view.setUint16(at + 6, 0)
    view.setUint32(at + 8, VNI_VALID)
    view.setUint32(at + 12, end.vni << 8)
    packet.checksum = CHECKSUM_NONE
    if (address.isV4 ? this.checksum4 : !this.noChecksum6) {
      const pseudo = pseudoHeaderSum(route.source, address, IPPROTO_UDP, length)
      view.setUint16(at + 6, checksumOf(sumView(view, at, length, pseudo)) || 0xffff)
    }
    flow.sourcePort = port
    flow.ttl = this.ttl || (address.isMulticast ? 1 : -1)
    flow.multicastTtl = this.ttl || 1
    flow.multicastLoop = false
    flow.tos = this.tos & ~1
    return this.home.ip.send(packet, flow)
  }

  /** One for each flow inside, so that the network below can spread them: udp_flow_src_port. */
  #sourcePort({ bytes, start, end }: Packet): number {
    const [low, high] = this.ports[1] !== 0 ? this.ports : this.home.sysctls.ipv4.ip_local_port_range
    let hash = 0
    const until = Math.min(start + ETH_HLEN + 44, end)
    const version = bytes[start + ETH_HLEN] >> 4
    // Addresses and ports, but not what differs among packets of one flow.
    const from = version === 4 ? 12 : version === 6 ? 8 : -ETH_HLEN
    const length = version === 4 ? 12 : version === 6 ? 36 : 2 * ETH_ALEN
    for (let i = 0; i < length && start + ETH_HLEN + from + i < until; i++) {
      hash = (Math.imul(hash, 31) + bytes[start + ETH_HLEN + from + i]) | 0
    }
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0
    return low + (hash % Math.max(high - low + 1, 1))
  }

  /** A datagram for this network: the inner frame at packet.start. */
  arrived(packet: Packet): void {
    const { bytes, start, source } = packet
    if (packet.length < ETH_HLEN || addressAt(bytes, start + ETH_ALEN) === addressAt(this.address, 0)) {
      packet.release()
      return
    }
    if (this.learning && (bytes[start + ETH_ALEN] & 1) === 0)
      this.#learn(addressAt(bytes, start + ETH_ALEN), source)
    this.unwrapped(packet)
  }

  #learn(station: number, end: IpAddress): void {
    const known = this.stations.get(station)
    if (known === undefined || (known.state & NUD_PERMANENT) === 0) {
      const now = this.home.runtime.now()
      if (known?.ends[0]?.address.equals(end)) known.used = now
      else {
        this.#forgetOld(now)
        this.enter(station, [this.end(end, this.port, this.vni, 0)], NUD_REACHABLE)
      }
    }
  }

  #forgetOld(now: number): void {
    const full = this.#ends >= MAX_ENDS || (this.limit !== 0 && this.stations.size >= this.limit)
    if (!full || now < this.#nextSweep) return
    this.#nextSweep = now + SWEEP_INTERVAL
    for (const [address, station] of this.stations) if (!this.#fresh(station, now)) this.forget(address)
  }

  #fresh(station: VxlanStation, now: number): boolean {
    return (
      (station.state & NUD_REACHABLE) === 0 ||
      this.ageing === 0 ||
      station.used + this.ageing * NSEC_PER_SEC > now
    )
  }
}

/** A UDP port at which devices of one family listen. */
class VxlanSocket {
  readonly devices = new Map<number, VxlanDevice>()
  readonly #endpoint: UdpEndpoint

  /** That of the device's port, made if need be. The errors of binding it. */
  static of(device: VxlanDevice): VxlanSocket | Status {
    const { home, port, isV6 } = device
    for (const other of home.tunnels) {
      if (!(other instanceof VxlanDevice) || other.port !== port || other.isV6 !== isV6) continue
      if (other.socket !== undefined) return other.socket
    }
    const endpoint = (home.protocols[IPPROTO_UDP] as UdpProtocol).endpoint(isV6)
    const status = endpoint.bind(isV6 ? endpoint.local : V4_ANY, port)
    return status < 0 ? status : new VxlanSocket(endpoint)
  }

  constructor(endpoint: UdpEndpoint) {
    this.#endpoint = endpoint
    endpoint.encapsulated = packet => this.#received(packet)
  }

  leave(device: VxlanDevice): void {
    this.devices.delete(device.vni)
    if (this.devices.size === 0) this.#endpoint.close()
  }

  /** The UDP header is pulled. */
  #received(packet: Packet): void {
    const { view, start, length } = packet
    const device =
      length >= VXLAN_HEADER && (view.getUint32(start) & VNI_VALID) !== 0
        ? this.devices.get(view.getUint32(start + 4) >>> 8)
        : undefined
    if (device === undefined || !device.up) {
      packet.release()
      return
    }
    packet.pull(VXLAN_HEADER)
    device.arrived(packet)
  }
}
