/**
 * IpStack: the TCP/IP stack of one network namespace. Made with the namespace and closed with it; NetStack (stack.ts)
 * holds it. It joins the parts in ip/ and is what transports, sockets, netlink and devices call:
 *
 *     transports:  stack.ip.routeFor(flow), stack.ip.send(packet, flow), stack.protocols[number] = me
 *     devices:     stack.receive(device, packet) up, device.transmit(packet) down
 *     netlink:     stack.devices, addresses, addRoute, fib4/6, rules4/6, neighbours4/6, stack.listener
 *
 * Nothing in here waits or calls back before it is asked to: what comes in stands in the runtime's backlog until somebody
 * drains it. All time is the runtime's clock, all deadlines are its timers.
 *
 * What depends on routes is compared by `generation`, which each change of devices, addresses, routes, rules and
 * neighbours' paths increments.
 */
import {
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  IFA_F_PERMANENT,
  IFF_SLAVE,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPV6_MIN_MTU,
} from '../abi/constants.ts'
import { EPERM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { Timers } from '../kernel/timers.ts'
import { IpAddress, V6_LOOPBACK } from './address.ts'
import { AddressLabels } from './ip/address-labels.ts'
import { addRoutesOf, multicastRoute } from './ip/address-routes.ts'
import { ArpProtocol } from './ip/arp.ts'
import { Counters } from './ip/counters.ts'
import { DuplicateDetection } from './ip/dad.ts'
import { DeviceTable } from './ip/devices.ts'
import { pullLinkHeader, pushEthernet } from './ip/ethernet.ts'
import { HeaderWalk } from './ip/extension-headers.ts'
import { type AddMode, Fib, FibResult, type FibRoute } from './ip/fib.ts'
import { NetfilterHooks } from './ip/hooks.ts'
import { Icmp4 } from './ip/icmp4.ts'
import { Icmp6 } from './ip/icmp6.ts'
import { PacketIds } from './ip/ids.ts'
import { InterfaceAddress, InterfaceAddresses } from './ip/interface-address.ts'
import { IpLayer } from './ip/ip-layer.ts'
import { receive4 } from './ip/ipv4-input.ts'
import { receive6 } from './ip/ipv6-input.ts'
import { MulticastGroups } from './ip/multicast.ts'
import { NeighbourDiscovery } from './ip/ndp.ts'
import { NeighbourTable } from './ip/neighbour.ts'
import { NextHopObjects } from './ip/next-hop-objects.ts'
import { PathExceptions } from './ip/path-exceptions.ts'
import { Reassembly } from './ip/reassembly.ts'
import { RouteExpiry } from './ip/route-expiry.ts'
import { newKey } from './ip/routing.ts'
import { InputRoute } from './ip/routing4.ts'
import { RuleTable } from './ip/rules.ts'
import type { NetRuntime, Random } from './ip/runtime.ts'
import { segment } from './ip/segmentation.ts'
import { Slaac } from './ip/slaac.ts'
import { Sysctls } from './ip/sysctl.ts'
import type {
  EchoReceiver,
  PacketTap,
  RawReceiver,
  StackListener,
  TransportProtocol,
} from './ip/transport.ts'
import type { NetDevice } from './link/device.ts'
import { NamespaceIds } from './namespace-ids.ts'
import {
  CHECKSUM_PARTIAL,
  GSO_NONE,
  GSO_UDP,
  PACKET_LOOPBACK,
  PACKET_OTHERHOST,
  PACKET_OUTGOING,
  type Packet,
  type PacketPool,
} from './packet.ts'
import { TrafficNamespace } from './qdisc/namespace.ts'
import { RETURNED } from './qdisc/redirected.ts'

export class IpStack {
  readonly runtime: NetRuntime
  readonly sysctls = new Sysctls()
  readonly counters = new Counters()
  readonly hooks = new NetfilterHooks()
  readonly devices: DeviceTable
  readonly addresses: InterfaceAddresses
  readonly fib4 = new Fib(true)
  readonly fib6 = new Fib(false)
  readonly rules4 = new RuleTable(true)
  readonly rules6 = new RuleTable(false)
  readonly exceptions: PathExceptions
  readonly arp: ArpProtocol
  readonly ndp: NeighbourDiscovery
  readonly neighbours4: NeighbourTable
  readonly neighbours6: NeighbourTable
  readonly dad: DuplicateDetection
  readonly slaac: Slaac
  readonly multicast: MulticastGroups
  readonly icmp4: Icmp4
  readonly icmp6: Icmp6
  readonly reassembly: Reassembly
  readonly ids: PacketIds
  readonly ip: IpLayer
  readonly routeExpiry: RouteExpiry
  readonly namespaceIds = new NamespaceIds(this)
  readonly traffic = new TrafficNamespace()
  readonly nextHops = new NextHopObjects(this)
  readonly labels = new AddressLabels()

  /** By protocol number. */
  readonly protocols: (TransportProtocol | undefined)[] = new Array(256).fill(undefined)
  raw: RawReceiver | undefined = undefined
  echo: EchoReceiver | undefined = undefined
  readonly taps: PacketTap[] = []
  /** Tunnels whose outer packets are this namespace's, wherever they are. */
  readonly tunnels = new Set<NetDevice>()
  listener: StackListener | undefined = undefined
  /** The device through which the namespace talks to itself. */
  loopback: NetDevice | undefined = undefined
  generation = 0
  /** How many want to know when packets came (SO_TIMESTAMP): without any, nobody looks at the clock. */
  timestamps = 0

  /** Used again by each lookup: not to be kept. */
  readonly routeKey = newKey()
  readonly fibResult = new FibResult()
  readonly inputRoute = new InputRoute()
  readonly headerWalk = new HeaderWalk()

  constructor(runtime: NetRuntime) {
    this.runtime = runtime
    this.devices = new DeviceTable(this)
    this.addresses = new InterfaceAddresses(this)
    this.exceptions = new PathExceptions(runtime.random)
    this.arp = new ArpProtocol(this)
    this.ndp = new NeighbourDiscovery(this)
    this.neighbours4 = new NeighbourTable(this, true, this.arp)
    this.neighbours6 = new NeighbourTable(this, false, this.ndp)
    this.dad = new DuplicateDetection(this)
    this.slaac = new Slaac(this)
    this.multicast = new MulticastGroups(this)
    this.icmp4 = new Icmp4(this)
    this.icmp6 = new Icmp6(this)
    this.reassembly = new Reassembly(this)
    this.ids = new PacketIds(runtime.random)
    this.ip = new IpLayer(this)
    this.routeExpiry = new RouteExpiry(this)
    this.protocols[IPPROTO_ICMP] = this.icmp4
    this.protocols[IPPROTO_ICMPV6] = this.icmp6
    this.multicast.install()
  }

  get timers(): Timers {
    return this.runtime.timers
  }
  get random(): Random {
    return this.runtime.random
  }
  get packets(): PacketPool {
    return this.runtime.packets
  }

  /** A device has received a whole frame. It is looked at when the backlog is drained. */
  receive(device: NetDevice, packet: Packet): void {
    if (!device.up) {
      packet.release()
      return
    }
    device.countReceived(packet.length)
    this.runtime.backlog.push(device, packet, this.sysctls.core.netdev_max_backlog)
  }

  /** A copy of what we send to a group that we are in ourselves: packet.start at the network header. */
  loopBack(device: NetDevice, packet: Packet): void {
    packet.scrub()
    packet.type = PACKET_LOOPBACK
    packet.link = packet.start
    this.runtime.backlog.push(device, packet, this.sysctls.core.netdev_max_backlog)
  }

  /** From the backlog. */
  process(packet: Packet): void {
    const device = packet.device!
    if (!device.up) {
      packet.release()
      return
    }
    if (packet.type !== PACKET_LOOPBACK) {
      if (!pullLinkHeader(device, packet)) {
        device.statistics.rxErrors++
        packet.release()
        return
      }
      // Devices above have not seen it.
      if (packet.redirected === RETURNED) packet.redirected = undefined
      else {
        for (const tap of this.taps) tap.seen(device, packet)
        device.guard?.arrives(device, packet)
        if (device.traffic?.arrives(packet)) return
      }
      if (device.vlans?.handleFrame(device, packet)) return
      if (device.frameHandler?.handleFrame(device, packet)) return
    }
    packet.network = packet.start
    if (!offloadsValid(packet)) {
      device.statistics.rxErrors++
      packet.release()
      return
    }
    if (this.timestamps > 0 && packet.timestamp === 0) packet.timestamp = this.#wallClock()
    if (packet.networkProtocol === ETH_P_IP && packet.type !== PACKET_OTHERHOST) receive4(this, packet)
    else if (packet.networkProtocol === ETH_P_IPV6 && packet.type !== PACKET_OTHERHOST) receive6(this, packet)
    else if (packet.networkProtocol === ETH_P_ARP && packet.type !== PACKET_OTHERHOST)
      this.arp.receive(packet)
    else packet.release()
  }

  /** Sends a packet (network header at its start) to a link address. */
  transmitTo(device: NetDevice, packet: Packet, hardware: Uint8Array, protocol: number): Status {
    if (device.headerLength > 0) pushEthernet(packet, hardware, device.address, protocol)
    packet.networkProtocol = protocol
    return this.transmit(device, packet)
  }

  /** Sends a whole frame: does first what the device can't do by itself. */
  transmit(device: NetDevice, packet: Packet): Status {
    if (device.guard?.leaves(device, packet) === false) {
      device.statistics.txDropped++
      packet.release()
      return -EPERM
    }
    packet.link = packet.start
    packet.device = device
    if (this.taps.length > 0) {
      packet.type = PACKET_OUTGOING
      for (const tap of this.taps) tap.seen(device, packet)
    }
    const { features } = device
    if (packet.gsoType !== GSO_NONE) {
      const able = packet.gsoType === GSO_UDP ? features.udpSegmentation : features.segmentation
      if (!able || packet.length - device.headerLength > features.gsoMaxSize)
        return segment(this, device, packet)
    }
    if (packet.checksum === CHECKSUM_PARTIAL && !features.checksum) packet.completeChecksum()
    return device.send(packet)
  }

  addRoute(route: FibRoute, mode: AddMode): Status {
    const fib = route.destination.isV4 ? this.fib4 : this.fib6
    const status = fib.add(route, mode)
    if (status < 0) return status
    this.generation++
    this.routeExpiry.watch(route)
    this.listener?.routeChanged(route, false)
    return 0
  }

  removeRoute(route: FibRoute): Status {
    const fib = route.destination.isV4 ? this.fib4 : this.fib6
    const status = fib.remove(route)
    if (status < 0) return status
    this.generation++
    this.listener?.routeChanged(route, true)
    return 0
  }

  /** Whether the device speaks IPv6: switched on, and its MTU is large enough (RFC 8200 §5). */
  ipv6Enabled(device: NetDevice): boolean {
    const { ipv6Conf } = this.sysctls
    // What is a link of a bond has no addresses of its own.
    if (device.mtu < IPV6_MIN_MTU || (device.flags & IFF_SLAVE) !== 0) return false
    return ipv6Conf.all.disable_ipv6 === 0 && ipv6Conf.of(device.index).disable_ipv6 === 0
  }

  // What DeviceTable tells.

  deviceAdded(device: NetDevice): void {
    const { sysctls } = this
    sysctls.ipv4Conf.add(device.index)
    sysctls.ipv4Neigh.add(device.index)
    sysctls.ipv6Conf.add(device.index)
    sysctls.ipv6Neigh.add(device.index)
    if (device.isLoopback) this.loopback = device
    this.generation++
    this.listener?.linkChanged(device, false)
  }

  deviceUp(device: NetDevice): void {
    this.generation++
    if (device.isLoopback && this.addresses.of(device).every(entry => !entry.address.isV4)) {
      this.addresses.add(new InterfaceAddress(device, IpAddress.of('127.0.0.1'), 8))
    }
    for (const entry of this.addresses.of(device)) if (entry.address.isV4) addRoutesOf(this, entry)
    this.multicast.deviceUp(device)
    if (this.ipv6Enabled(device)) this.#startIpv6(device)
    for (const entry of this.addresses.of(device)) if (entry.address.isV4) this.arp.announce(entry)
  }

  deviceDown(device: NetDevice): void {
    this.#stopIpv6(device)
    this.multicast.deviceDown(device)
    this.neighbours4.flush(device)
    for (const route of [...this.fib4.routes()]) this.#dropHops(route, device)
    this.exceptions.clear()
    this.hooks.deviceDown?.(device)
    device.traffic?.stop()
    this.nextHops.deviceDown(device)
    this.generation++
  }

  deviceRemoved(device: NetDevice): void {
    device.master?.removePort(device)
    device.traffic?.close()
    this.addresses.flush(device)
    for (const fib of [this.fib4, this.fib6]) {
      for (const route of [...fib.routes()]) this.#dropHops(route, device)
    }
    this.neighbours4.flush(device)
    this.neighbours6.flush(device)
    this.neighbours4.proxies.flush(device)
    this.neighbours6.proxies.flush(device)
    this.multicast.deviceRemoved(device)
    this.sysctls.ipv4Conf.remove(device.index)
    this.sysctls.ipv4Neigh.remove(device.index)
    this.sysctls.ipv6Conf.remove(device.index)
    this.sysctls.ipv6Neigh.remove(device.index)
    if (this.loopback === device) this.loopback = undefined
    this.generation++
    this.listener?.linkChanged(device, true)
  }

  /** As if it had gone up: duplicate detection and solicitations went nowhere without a link. */
  carrierOn(device: NetDevice): void {
    if (this.ipv6Enabled(device)) this.slaac.start(device)
  }

  mtuChanged(device: NetDevice): void {
    this.generation++
    this.exceptions.clear()
    if (!device.up) return
    const on = this.ipv6Enabled(device)
    const was = this.addresses.of(device).some(entry => !entry.address.isV4)
    if (on && !was) this.#startIpv6(device)
    else if (!on && was) this.#stopIpv6(device)
  }

  hardwareAddressChanged(device: NetDevice): void {
    this.neighbours4.flush(device)
    this.neighbours6.flush(device)
    for (const entry of this.addresses.of(device))
      if (entry.address.isV4 && device.up) this.arp.announce(entry)
  }

  /** net.ipv6.conf.*.disable_ipv6 has been written. */
  ipv6Switched(device: NetDevice): void {
    if (!device.up) return
    if (!this.ipv6Enabled(device)) this.#stopIpv6(device)
    else if (this.addresses.of(device).every(entry => entry.address.isV4)) this.#startIpv6(device)
  }

  /** Ends everything that a timer or another namespace could still reach. */
  close(): void {
    for (const device of [...this.devices.all, ...this.tunnels]) {
      device.stack?.devices.unregister(device)
      device.close()
    }
    this.neighbours4.close()
    this.neighbours6.close()
    this.reassembly.close()
    this.multicast.close()
    this.slaac.close()
    this.routeExpiry.close()
  }

  #wallClock(): number {
    const now = this.runtime.clock.realtime()
    return now.sec * 1e9 + now.nsec
  }

  #startIpv6(device: NetDevice): void {
    if (device.isLoopback) {
      this.addresses.add(new InterfaceAddress(device, V6_LOOPBACK, 128))
      return
    }
    this.addRoute(multicastRoute(device), {})
    this.multicast.startIpv6(device)
    // Those that were kept while it was down (keep_addr_on_down) are checked again.
    for (const entry of [...this.addresses.of(device)]) if (!entry.address.isV4) this.dad.start(entry)
    this.slaac.addLinkLocal(device)
    this.slaac.start(device)
  }

  #stopIpv6(device: NetDevice): void {
    this.slaac.stop(device)
    const keep = this.sysctls.ipv6Conf.of(device.index).keep_addr_on_down > 0
    for (const entry of [...this.addresses.of(device)]) {
      if (entry.address.isV4) continue
      const kept = keep && (entry.flags & IFA_F_PERMANENT) !== 0 && !entry.address.isLinkLocal
      if (kept) this.dad.ended(entry)
      else this.addresses.remove(entry)
    }
    this.multicast.stopIpv6(device)
    this.neighbours6.flush(device)
    for (const route of [...this.fib6.routes()]) this.#dropHops(route, device)
  }

  /** The route's ways over the device are gone; without any left, the route is. */
  #dropHops(route: FibRoute, device: NetDevice): void {
    if (!route.uses(device)) return
    route.nextHops = route.nextHops.filter(hop => hop.device !== device)
    this.generation++
    if (route.nextHops.length === 0) this.removeRoute(route)
  }
}

/** What a link says of checksums and segments must lie within the packet: the other side may be hostile. */
function offloadsValid(packet: Packet): boolean {
  if (packet.checksum === CHECKSUM_PARTIAL) {
    const { checksumStart, checksumOffset, start, end } = packet
    if (checksumStart < start || checksumStart + checksumOffset + 2 > end) return false
  }
  // The shortest IP and transport headers that can be split.
  return packet.gsoType === GSO_NONE || (packet.gsoSize > 0 && packet.length >= 28)
}
