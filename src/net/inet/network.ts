/**
 * InetNetworks: the kernel's own TCP/IP network, in NetNamespace.runtime of all namespaces that have one; InetNetwork: one
 * namespace's part of it: its IpStack with TCP and UDP, and the sockets over it.
 *
 * A namespace's part is made with the first look at it, with a loopback device that is down. It ends by `close` when no
 * task, socket, descriptor or mount holds the namespace any more, which is looked at after something has let go.
 */
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  CAP_NET_RAW,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  S_IFCHR,
  SOCK_DGRAM,
  SOCK_PACKET,
  SOCK_RAW,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import { EACCES, EINVAL, ENODEV, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { NetNamespace, NetworkRuntime } from '../../kernel/namespaces.ts'
import type { Task } from '../../kernel/task.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { Netfilter } from '../filter/netfilter.ts'
import { NetRuntime } from '../ip/runtime.ts'
import type { PacketTap } from '../ip/transport.ts'
import { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { LoopbackDevice } from '../link/loopback.ts'
import { TunFile } from '../link/tun-file.ts'
import { createNetlink } from '../netlink/create.ts'
import { ConntrackNotifier } from '../netlink/netfilter/conntrack.ts'
import { TraceNotifier } from '../netlink/netfilter/trace.ts'
import { RouteNotifier } from '../netlink/route/notify.ts'
import { NetlinkTable } from '../netlink/table.ts'
import type { Packet } from '../packet.ts'
import { FlowGuard, type FlowGuardOptions } from '../policy/guard.ts'
import { StackDevices } from '../proc/devices.ts'
import { procNetText } from '../proc/files.ts'
import { StackSettings } from '../proc/settings.ts'
import type { Socket } from '../socket.ts'
import { NetStack, netStack, type OwnNetwork } from '../stack.ts'
import { TcpProtocol } from '../tcp/protocol.ts'
import { UdpProtocol } from '../udp/protocol.ts'
import { stackIoctl } from './ioctl.ts'
import { createPacketSocket, PacketSockets } from './packet-socket.ts'
import { PingSocket, PingSockets } from './ping.ts'
import { RawSocket, RawSockets } from './raw.ts'
import type { InetSocket } from './socket.ts'
import { StackNetwork } from './stack-network.ts'
import { TcpSocket } from './tcp.ts'
import { UdpSocket } from './udp.ts'

/** One more than the largest protocol number, that of MPTCP. */
const IPPROTO_MAX = 263
const PROTO_TCP = 6

/** A namespace that nobody holds any more ends so much later (ns), in the background as Linux's. */
const END_DELAY = 20e6

export class InetNetworks implements NetworkRuntime, Expiry {
  readonly kernel: Kernel
  readonly runtime: NetRuntime
  #guard: FlowGuard | undefined = undefined
  readonly #all = new Set<InetNetwork>()
  readonly #timer = new Timer(this)

  constructor(kernel: Kernel) {
    this.kernel = kernel
    this.runtime = new NetRuntime(kernel.clock, kernel.timers, into => kernel.host.random(into))
    this.runtime.backlog.failed = (device, error) => {
      kernel.containment.survived(`a packet that ${device.name} received`, error)
    }
  }

  /** What loopback devices and those that lead out of the kernel are held to. */
  get guard(): FlowGuard | undefined {
    return this.#guard
  }
  set guard(guard: FlowGuard) {
    this.#guard = guard
    for (const { ip } of this.#all) if (ip.loopback !== undefined) ip.loopback.guard = guard
  }

  stackFor(ns: NetNamespace): NetStack {
    const stack = new NetStack(ns)
    const network = new InetNetwork(this, stack)
    stack.own = network
    this.#all.add(network)
    return stack
  }

  released(): void {
    const { timers } = this.kernel
    if (this.#all.size > 1 && !this.#timer.armed) timers.add(this.#timer, this.runtime.now() + END_DELAY)
  }
  expired(): void {
    for (const network of this.#all) {
      if (this.#isHeld(network)) continue
      this.#all.delete(network)
      network.close()
      for (const { ip } of this.#all) ip.namespaceIds.forget(network.ip)
    }
  }
  /** By a task, a socket, or a descriptor or a mount of its file. */
  #isHeld({ ns, hasSockets }: InetNetwork): boolean {
    const { kernel } = this
    if (ns === kernel.net || ns.holders > 0 || hasSockets) return true
    for (const task of kernel.tasks()) if (!task.ended && task.ns.net === ns) return true
    return false
  }
}

export class InetNetwork implements OwnNetwork, PacketTap {
  readonly networks: InetNetworks
  readonly stack: NetStack
  readonly ip: IpStack
  readonly tcp: TcpProtocol
  readonly udp: UdpProtocol
  readonly raw: RawSockets
  readonly ping: PingSockets
  readonly packets: PacketSockets
  readonly netlink = new NetlinkTable()
  readonly settings: StackSettings
  readonly devices: StackDevices
  /** All of AF_INET and AF_INET6, for /proc/net and sock_diag. */
  readonly sockets = new Set<InetSocket>()
  readonly #stamped = new Set<InetSocket>()
  #cookies = 0
  #udpLite: UdpProtocol | undefined = undefined
  #netfilter: Netfilter | undefined = undefined

  constructor(networks: InetNetworks, stack: NetStack) {
    this.networks = networks
    this.stack = stack
    this.ip = new IpStack(networks.runtime)
    this.ip.listener = new RouteNotifier(this.netlink, this.ip)
    this.tcp = new TcpProtocol(new StackNetwork(this.ip))
    this.ip.protocols[PROTO_TCP] = this.tcp
    this.udp = new UdpProtocol(this.ip)
    this.raw = new RawSockets(this.ip)
    this.ping = new PingSockets(this.ip)
    this.packets = new PacketSockets(this)
    this.settings = new StackSettings(this.ip, stack.unix, () => this.netfilter)
    this.devices = new StackDevices(this.ip, stack.ns)
    const loopback = new LoopbackDevice()
    loopback.guard = networks.guard
    this.ip.devices.register(loopback)
  }

  get ns(): NetNamespace {
    return this.stack.ns
  }
  get runtime(): NetRuntime {
    return this.networks.runtime
  }
  /** Of who uses it first: few do. */
  get udpLite(): UdpProtocol {
    this.#udpLite ??= new UdpProtocol(this.ip, IPPROTO_UDPLITE)
    return this.#udpLite
  }
  /** Of who looks at it or changes it: made then. */
  get netfilter(): Netfilter {
    if (this.#netfilter === undefined) {
      this.#netfilter = new Netfilter(this.ip)
      const { conntrack, log } = this.#netfilter
      const { kernel } = this.networks
      if (this.ns === kernel.net) log.kernel = (level, text) => kernel.messages.put(level, text)
      conntrack.listener = new ConntrackNotifier(this.netlink, conntrack)
      this.#netfilter.tracer = new TraceNotifier(this.netlink)
    }
    return this.#netfilter
  }
  /** Where nobody has asked for it yet there is nothing to see. */
  get usedNetfilter(): Netfilter | undefined {
    return this.#netfilter
  }
  get hasSockets(): boolean {
    const { unix } = this.stack
    return [this.sockets, this.netlink.sockets, this.packets.sockets, unix.sockets].some(set => set.size > 0)
  }
  /** The namespace has ended: its interfaces go, and with them the other ends of its cables. */
  close(): void {
    this.ip.listener = undefined
    this.ip.close()
    this.#netfilter?.close()
  }
  /** Whose call is being served. */
  get caller(): Task | undefined {
    return this.networks.kernel.current
  }
  /** Wall-clock time in ns. */
  realtime(): number {
    const { sec, nsec } = this.runtime.clock.realtime()
    return sec * 1e9 + nsec
  }
  capable(task: Task, capability: number): boolean {
    return task.cred.capable(capability, this.ns.userNs)
  }
  /** What this machine has sent to itself arrives, before somebody looks at what has arrived. */
  settle(): void {
    this.runtime.backlog.drain()
  }
  /** SO_TIMESTAMP: as long as somebody wants to know, each packet is stamped when it comes. */
  wantsStamps(socket: InetSocket, wants: boolean): void {
    const { taps } = this.ip
    const before = this.#stamped.size
    if (wants) this.#stamped.add(socket)
    else this.#stamped.delete(socket)
    if (before === 0 && wants) taps.unshift(this)
    else if (before > 0 && this.#stamped.size === 0) taps.splice(taps.indexOf(this), 1)
  }
  /** PacketTap: before the others, which show the time, too. */
  seen(_device: NetDevice, packet: Packet): void {
    packet.timestamp = this.realtime()
  }

  /** SO_COOKIE of another socket. */
  nextCookie(): number {
    return ++this.#cookies
  }

  /** As a container's network is at its start: it can talk to itself. */
  startLoopback(): void {
    const { loopback } = this.ip
    if (loopback !== undefined) this.ip.devices.setUp(loopback, true)
  }

  create(task: Task, family: number, type: number, protocol: number): OrErrno<Socket> {
    if (family === AF_NETLINK) return createNetlink(this.stack, this.netlink, type, protocol)
    if (family !== AF_INET && family !== AF_INET6) return createPacketSocket(this, task, type, protocol)
    if (protocol < 0 || protocol >= IPPROTO_MAX) return -EINVAL
    const used = protocolOf(family, type, protocol)
    if (used < 0) return used
    if (type === SOCK_STREAM) return new TcpSocket(this, task, family)
    if (type === SOCK_RAW) {
      return this.capable(task, CAP_NET_RAW) ? new RawSocket(this, task, family, used) : -EPERM
    }
    if (used === IPPROTO_UDP || used === IPPROTO_UDPLITE) return new UdpSocket(this, task, family, used)
    return this.#mayPing(task) ? new PingSocket(this, task, family, used) : -EACCES
  }

  /** net.ipv4.ping_group_range. */
  #mayPing({ cred }: Task): boolean {
    const [low, high] = this.ip.sysctls.ipv4.ping_group_range
    return [cred.egid, ...cred.groups].some(group => group >= low && group <= high)
  }

  ioctl(context: IoctlContext, request: number, argument: number): number {
    return stackIoctl(this.ns, this.ip, context, request, argument)
  }
  procNet(name: string): string | undefined {
    return procNetText(this, name)
  }
}

/** /dev/net/tun. */
const MISC_MAJOR = 10
const TUN_MINOR = 200

/** From now on the kernel's first namespace, and all that come after it, have a network of the kernel's own. */
export function useOwnNetwork(kernel: Kernel): void {
  const networks = new InetNetworks(kernel)
  kernel.net.runtime = networks
  kernel.whenQuiet.push(() => networks.runtime.packets.trim())
  const { own } = netStack(kernel.net)
  ;(own as InetNetwork).startLoopback()
  kernel.vfs.devices.register(S_IFCHR, MISC_MAJOR, TUN_MINOR, (path, flags, cred) => {
    const ns = kernel.current?.ns.net ?? kernel.net
    const { ip } = netStack(ns)
    return ip === undefined ? -ENODEV : new TunFile(path, flags, cred, ns, ip)
  })
}

/**
 * From now on what leaves the kernel, or goes over a loopback device, is decided on, flow by flow. To be called before there is
 * a guest. Whoever makes a device that leads out of the kernel gives it the guard.
 */
export function useFlowPolicy(kernel: Kernel, options: FlowGuardOptions): FlowGuard {
  const networks = kernel.net.runtime as InetNetworks
  const guard = new FlowGuard(networks.runtime, options)
  networks.guard = guard
  return guard
}

/** The protocol that a socket of the type speaks: what inetsw[] says on a kernel with these protocols alone. */
function protocolOf(family: number, type: number, protocol: number): Status {
  const icmp = family === AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6
  switch (type) {
    case SOCK_STREAM:
      return protocol === 0 || protocol === IPPROTO_TCP ? IPPROTO_TCP : -EPROTONOSUPPORT
    case SOCK_DGRAM:
      if (protocol === 0 || protocol === IPPROTO_UDP) return IPPROTO_UDP
      if (protocol === IPPROTO_UDPLITE) return protocol
      return protocol === icmp ? icmp : -EPROTONOSUPPORT
    case SOCK_RAW:
      // Which one must be said.
      return protocol === 0 ? -EPROTONOSUPPORT : protocol
    case SOCK_PACKET:
      return -ESOCKTNOSUPPORT
  }
  return -ESOCKTNOSUPPORT
}
