/**
 * RawSocket: SOCK_RAW of AF_INET and AF_INET6: raw(7). RawSockets shows each packet for this machine to all of those that
 * want its protocol; what each gets is a copy.
 */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  ETH_P_IP,
  ICMP_FILTER,
  ICMPV6_FILTER,
  IP_HDRINCL,
  IP_MULTICAST_ALL,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_RAW,
  IPV6_CHECKSUM,
  IPV6_MULTICAST_ALL,
  MSG_OOB,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  RTN_BROADCAST,
  SIOCOUTQ,
  SO_BROADCAST,
  SO_REUSEADDR,
  SOCK_RAW,
  SOL_ICMPV6,
  SOL_IPV6,
  SOL_RAW,
} from '../../abi/constants.ts'
import {
  EACCES,
  EAFNOSUPPORT,
  EDESTADDRREQ,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENOPROTOOPT,
  ENOTCONN,
  EOPNOTSUPP,
  EPIPE,
} from '../../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../checksum.ts'
import { quotedError } from '../ip/error-queue.ts'
import { Flow } from '../ip/flow.ts'
import { localOut4 } from '../ip/ipv4-output.ts'
import type { IcmpError, RawReceiver } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { BOTH_SHUTDOWN, RCV_SHUTDOWN, SEND_SHUTDOWN, type SendRequest } from '../socket.ts'
import type { SendControl } from '../udp/endpoint.ts'
import { addressFamily, parseSocketAddress, type SocketAddress, socketAddress } from './address.ts'
import { checkAddress, scopeDevice } from './bind.ts'
import { parseControl } from './control.ts'
import { InboxSocket } from './inbox-socket.ts'
import type { InetNetwork } from './network.ts'
import { intBytes, readInt } from './option-bytes.ts'

const MAX_PACKET = 65535
const ICMPV6_CHECKSUM_AT = 2

export class RawSockets implements RawReceiver {
  readonly #byProtocol = new Map<number, Set<RawSocket>>()

  constructor(stack: IpStack) {
    stack.raw = this
  }

  add(socket: RawSocket): void {
    const known = this.#byProtocol.get(socket.protocol)
    if (known === undefined) this.#byProtocol.set(socket.protocol, new Set([socket]))
    else known.add(socket)
  }
  remove(socket: RawSocket): void {
    this.#byProtocol.get(socket.protocol)?.delete(socket)
  }

  deliver(packet: Packet): boolean {
    const sockets = this.#byProtocol.get(packet.transportProtocol)
    if (sockets === undefined) return false
    let taken = false
    for (const socket of sockets) {
      if (!socket.wants(packet)) continue
      socket.deliver(packet.clone())
      taken = true
    }
    return taken
  }

  error(packet: Packet, error: IcmpError): void {
    for (const socket of this.#byProtocol.get(packet.transportProtocol) ?? []) socket.icmp(packet, error)
  }
}

export class RawSocket extends InboxSocket {
  #remotePort = 0
  /** Types of ICMP messages that are not to be shown, as bits. */
  readonly #icmpFilter: Uint8Array
  /** IPV6_CHECKSUM: where the kernel puts and checks one; -1: nowhere. */
  #checksumAt: number

  constructor(net: InetNetwork, task: Task, family: number, protocol: number) {
    super(net, task, family, SOCK_RAW, protocol)
    this.#icmpFilter = new Uint8Array(family === AF_INET ? 4 : 32)
    this.#checksumAt = family === AF_INET6 && protocol === IPPROTO_ICMPV6 ? ICMPV6_CHECKSUM_AT : -1
    if (protocol === IPPROTO_RAW) {
      if (family === AF_INET) this.settings.setV4(IP_HDRINCL, 1)
    }
    // INET_PROTOSW_REUSE
    this.options.values.set(SO_REUSEADDR, 1)
    net.raw.add(this)
  }

  /** Where others have a port, /proc shows the protocol. */
  override get localPort(): number {
    return this.protocol
  }
  override get remotePort(): number {
    return this.#remotePort
  }
  override get receiveMemory(): number {
    return this.inbox.memory
  }

  override poll(): number {
    let events = POLLOUT | POLLWRNORM | POLLWRBAND
    if (this.inbox.length > 0) events |= POLLIN | POLLRDNORM
    if (this.error !== 0 || this.errors.length > 0) events |= this.errorEvents
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) events |= POLLIN | POLLRDNORM | POLLRDHUP
    return this.shutdownMask === BOTH_SHUTDOWN ? events | POLLHUP : events
  }

  // From RawSockets.

  wants(packet: Packet): boolean {
    const { destination, source, device } = packet
    if (destination.isV4 !== (this.family === AF_INET)) return false
    if (!this.local.isAny && !this.local.equals(destination)) return false
    if (this.remote !== undefined && !this.remote.isAny && !this.remote.equals(source)) return false
    if (this.boundDevice !== 0 && this.boundDevice !== device?.index) return false
    if (destination.isMulticast) {
      const all = this.isIpv6 ? this.settings.v6(IPV6_MULTICAST_ALL) : this.settings.v4(IP_MULTICAST_ALL)
      if (!this.memberships.wants(destination, device, source, all !== 0)) return false
    }
    if (this.#isFiltered(packet)) return false
    return (
      this.filter === undefined || this.filter.run(packet, this.isIpv6 ? packet.start : packet.network) > 0
    )
  }
  #isFiltered(packet: Packet): boolean {
    if (this.protocol !== IPPROTO_ICMP && this.protocol !== IPPROTO_ICMPV6) return false
    if (packet.length < 1) return true
    const type = packet.view.getUint8(packet.start)
    if (this.family === AF_INET) return type < 32 && (this.#icmpFilter[type >> 3] & (1 << (type & 7))) !== 0
    return (this.#icmpFilter[type >> 3] & (1 << (type & 7))) !== 0
  }

  /** Owns the packet. */
  deliver(packet: Packet): void {
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0 || this.inbox.refuses(packet, this.options.rcvbuf)) {
      packet.release()
      return
    }
    if (this.isIpv6 && !this.#checksumRight(packet)) {
      packet.release()
      return
    }
    // An IPv4 socket sees the header, too.
    if (!this.isIpv6) packet.start = packet.network
    this.inbox.push(packet)
    this.waitQueue.wake(POLLIN | POLLRDNORM)
  }
  #checksumRight(packet: Packet): boolean {
    if (this.#checksumAt < 0 || packet.checksum !== 0) return true
    const sum = pseudoHeaderSum(packet.source, packet.destination, this.protocol, packet.length)
    return sumView(packet.view, packet.start, packet.length, sum) === 0xffff
  }

  icmp(packet: Packet, error: IcmpError): void {
    if (error.isV4 !== (this.family === AF_INET)) return
    if (!this.local.isAny && !this.local.equals(error.source)) return
    if (this.remote !== undefined && !this.remote.equals(error.destination)) return
    const queued = this.queuesErrors
    // Who isn't connected hears of hard errors only if he has asked for them.
    if (!queued && (this.remote === undefined || !error.hard)) return
    if (queued) this.errors.push(quotedError(packet, error, 0), this.options.rcvbuf)
    this.error = error.errno
    this.waitQueue.wake(POLLERR)
  }

  override bind(_task: Task, address: Uint8Array): Status {
    const parsed = parseSocketAddress(address, this.family)
    if (failed(parsed)) return parsed
    if (parsed.address.isV4 && this.isIpv6) return -EINVAL
    const status = checkAddress(this, parsed)
    if (status < 0) return status
    this.local = parsed.address
    this.flow.source = parsed.address.isMulticast ? this.anyAddress : parsed.address
    this.flow.device = this.boundDevice || scopeDevice(parsed)
    this.flow.forgetRoute()
    return 0
  }

  override connect(_task: Task, address: Uint8Array): Status {
    if (address.length < 2) return -EINVAL
    if (addressFamily(address) === AF_UNSPEC) {
      this.remote = undefined
      return 0
    }
    const parsed = parseSocketAddress(address, this.family)
    if (failed(parsed)) return parsed
    const route = this.aim(parsed)
    if (failed(route)) return route
    if (this.local.isAny) this.local = route.source
    this.remote = parsed.address
    this.#remotePort = parsed.port
    return 0
  }

  override name(peer: boolean): OrErrno<Uint8Array> {
    if (!peer) return socketAddress(this.family, this.local, this.protocol, this.flow.device)
    if (this.remote === undefined || this.#remotePort === 0) return -ENOTCONN
    return socketAddress(this.family, this.remote, this.#remotePort, this.flow.device)
  }

  override send(task: Task, request: SendRequest): number {
    const { flags, src } = request
    const length = src.remaining
    if (length > MAX_PACKET) return -EMSGSIZE
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE
    this.net.settle()
    const error = this.takeError()
    if (error < 0) return error
    const peer = this.#peerOf(request.address)
    if (typeof peer === 'number') return peer
    const control = parseControl(this, task, request.control, this.family === AF_INET)
    if (typeof control === 'number') return control
    const flow = this.#flowTo(peer, control)
    const route = this.net.ip.ip.routeFor(flow)
    if (failed(route)) return route
    if (route.type === RTN_BROADCAST && !this.options.flag(SO_BROADCAST)) return -EACCES
    const packet = this.net.ip.packets.allocate(length)
    const at = packet.append(length)
    if (length > 0 && src.take(packet.bytes.subarray(at, at + length)) < length) {
      packet.release()
      return -EFAULT
    }
    const status = this.#headerIncluded
      ? this.#sendWhole(packet, flow)
      : this.#sendPayload(packet, flow, route.source)
    return status < 0 ? status : length
  }
  get #headerIncluded(): boolean {
    return this.family === AF_INET && this.settings.v4(IP_HDRINCL) !== 0
  }

  #peerOf(bytes: Uint8Array | undefined): SocketAddress | Status {
    if (bytes === undefined) {
      return this.remote === undefined
        ? -EDESTADDRREQ
        : { address: this.remote, port: 0, scope: this.flow.device, flowInfo: 0 }
    }
    if (this.family === AF_INET && bytes.length >= 16 && addressFamily(bytes) === AF_UNSPEC) {
      const copy = bytes.slice()
      copy[0] = AF_INET
      return parseSocketAddress(copy, AF_INET)
    }
    const parsed = parseSocketAddress(bytes, this.family)
    if (!failed(parsed) && this.isIpv6) {
      if (parsed.address.isV4) return -EAFNOSUPPORT
      if (parsed.port !== 0 && parsed.port !== this.protocol) return -EINVAL
    }
    return parsed
  }

  #flowTo(peer: SocketAddress, control: SendControl | undefined): Flow {
    const flow = Object.assign(new Flow(), this.flow)
    flow.forgetRoute()
    this.settings.apply(flow, peer.address.isV4)
    flow.destination = peer.address
    flow.device = control?.device || this.boundDevice || scopeDevice(peer) || this.flow.device
    if (flow.source.isMulticast) flow.source = this.anyAddress
    if (control?.source !== undefined) flow.source = control.source
    else if (peer.address.isMulticast && flow.source.isAny && peer.address.isV4)
      flow.source = this.settings.multicastAddress
    if (control?.ttl !== undefined) flow.ttl = flow.multicastTtl = control.ttl
    if (control?.tos !== undefined) flow.tos = control.tos
    if (control?.mark !== undefined) flow.mark = control.mark
    // The header is the sender's: so is the source.
    if (this.#headerIncluded) flow.anySource = true
    return flow
  }

  #sendPayload(packet: Packet, flow: Flow, source: IpAddress): Status {
    const at = this.#checksumAt
    if (at >= 0) {
      if (packet.length < at + 2) {
        packet.release()
        return -EINVAL
      }
      packet.view.setUint16(packet.start + at, 0)
      const sum = pseudoHeaderSum(source, flow.destination, flow.protocol, packet.length)
      packet.view.setUint16(
        packet.start + at,
        checksumOf(sumView(packet.view, packet.start, packet.length, sum)) || 0xffff,
      )
    }
    return this.net.ip.ip.send(packet, flow)
  }

  /** IP_HDRINCL: the kernel fills in what is zero, and the length and checksum always. */
  #sendWhole(packet: Packet, flow: Flow): Status {
    const { view, start, length } = packet
    const headerLength = length < 20 ? 0 : (view.getUint8(start) & 15) * 4
    if (length < 20 || headerLength < 20 || headerLength > length) {
      packet.release()
      return -EINVAL
    }
    const stack = this.net.ip
    const route = stack.ip.routeFor(flow)
    if (failed(route)) {
      packet.release()
      return route
    }
    if (length > route.mtu) {
      packet.release()
      return -EMSGSIZE
    }
    if (view.getUint32(start + 12) === 0) view.setUint32(start + 12, route.source.w3)
    view.setUint16(start + 2, length)
    if (view.getUint16(start + 4) === 0) {
      view.setUint16(start + 4, stack.ids.next(route.source, flow.destination, flow.protocol, 1) & 0xffff)
    }
    view.setUint16(start + 10, 0)
    view.setUint16(start + 10, checksumOf(sumView(view, start, headerLength)))
    packet.network = start
    packet.networkProtocol = ETH_P_IP
    packet.transport = start + headerLength
    packet.transportProtocol = view.getUint8(start + 9)
    packet.source = stack.runtime.addresses.v4(view.getUint32(start + 12))
    packet.destination = flow.destination.isAny ? V4_ANY : flow.destination
    packet.mark = flow.mark
    packet.owner = flow.owner
    return localOut4(stack, packet, route, route.device.mtu, false, flow.multicastLoop)
  }

  protected override getProtocolOption(
    _task: Task,
    level: number,
    name: number,
    length: number,
  ): OrErrno<Uint8Array> | undefined {
    if (this.#isFilter(level, name)) return this.#icmpFilter.slice(0, length)
    if (this.#isNoFilter(level, name)) return -EOPNOTSUPP
    if (level === SOL_IPV6 && name === IPV6_CHECKSUM && this.isIpv6) return intBytes(this.#checksumAt)
    if (level === SOL_RAW && name === IPV6_CHECKSUM && this.isIpv6) return intBytes(this.#checksumAt)
    return this.#isOwnLevel(level) ? -ENOPROTOOPT : undefined
  }
  protected override setProtocolOption(
    _task: Task,
    level: number,
    name: number,
    value: Uint8Array,
  ): Status | undefined {
    if (this.#isFilter(level, name)) {
      this.#icmpFilter.set(value.subarray(0, this.#icmpFilter.length))
      return 0
    }
    if (this.#isNoFilter(level, name)) return -EOPNOTSUPP
    if (level === SOL_RAW && this.isIpv6 && value.length < 4) return -EINVAL
    if ((level === SOL_IPV6 || level === SOL_RAW) && name === IPV6_CHECKSUM && this.isIpv6) {
      const at = readInt(value)
      if (at === undefined) return -EINVAL
      // ICMPv6's is where RFC 4443 has it, says RFC 3542 of this level; ping(8) uses the other.
      if (this.protocol === IPPROTO_ICMPV6 && level === SOL_IPV6) return -EINVAL
      if (at > 0 && (at & 1) !== 0) return -EINVAL
      this.#checksumAt = at < 0 ? -1 : at
      return 0
    }
    return this.#isOwnLevel(level) ? -ENOPROTOOPT : undefined
  }
  #isOwnLevel(level: number): boolean {
    return level === SOL_RAW || (level === SOL_ICMPV6 && this.isIpv6)
  }
  /** Filters of ICMP are asked of a socket for another protocol. */
  #isNoFilter(level: number, name: number): boolean {
    if (this.isIpv6) return level === SOL_ICMPV6 && this.protocol !== IPPROTO_ICMPV6
    return level === SOL_RAW && name === ICMP_FILTER && this.protocol !== IPPROTO_ICMP
  }
  #isFilter(level: number, name: number): boolean {
    return this.family === AF_INET
      ? level === SOL_RAW && name === ICMP_FILTER && this.protocol === IPPROTO_ICMP
      : level === SOL_ICMPV6 && name === ICMPV6_FILTER && this.protocol === IPPROTO_ICMPV6
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request === SIOCOUTQ) return context.copyOut(argument, intBytes(0))
    return super.ioctl(context, request, argument)
  }

  override release(): void {
    this.net.raw.remove(this)
    super.release()
  }
}
