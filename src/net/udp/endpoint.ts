/**
 * UdpEndpoint: what is behind a UDP socket: udp(7). Made by the socket, known to the UdpProtocol from `bind` (or the first
 * send or connect, which bind it to a port of the stack's choice) to `close`. It never waits: what can't be done at once is
 * -EAGAIN, and `listener.changed()` says when it may be tried again.
 *
 * Received datagrams stay in their packets: the data is from packet.transport + 8 to packet.end; source, destination, ttl,
 * tos and device are the packet's.
 */
import {
  IPPROTO_UDP,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRNORM,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_UNICAST,
} from '../../abi/constants.ts'
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EAGAIN,
  EDESTADDRREQ,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENETUNREACH,
  ENODEV,
  EPIPE,
} from '../../abi/errno.ts'
import type { IoSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { type IpAddress, V4_ANY, V6_ANY } from '../address.ts'
import { pseudoHeaderSum } from '../checksum.ts'
import { ErrorQueue, type QueuedError, SO_EE_ORIGIN_LOCAL } from '../ip/error-queue.ts'
import { Flow, type Route } from '../ip/flow.ts'
import { mtuFor } from '../ip/ipv4-output.ts'
import { isAllHosts, type Membership } from '../ip/multicast.ts'
import { IPV4_HEADER, IPV6_HEADER } from '../ip/numbers.ts'
import { addressType4 } from '../ip/routing4.ts'
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, GSO_UDP, type Packet, PacketQueue } from '../packet.ts'
import { Coverage, writeLite } from './lite.ts'
import type { UdpProtocol } from './protocol.ts'

export const UDP_HEADER = 8
const MAX_DATAGRAM = 65535
/** What a queued packet costs besides its buffer: as much as Linux's sk_buff. */
const OVERHEAD = 256
/** UDP_MAX_SEGMENTS */
const MAX_SEGMENTS = 128
const SHUT_READ = 1
const SHUT_WRITE = 2

/** Told that poll states may have changed. */
export interface EndpointListener {
  changed(): void
}

/** A program of SO_ATTACH_FILTER or SO_ATTACH_REUSEPORT_CBPF: a number about a packet from its byte `start` on. */
export interface PacketProgram {
  run(packet: Packet, start: number): number
}

/** What one send says differently from the endpoint: IP_PKTINFO, IP_TTL and so on as control messages. */
export interface SendControl {
  source?: IpAddress
  device?: number
  ttl?: number
  tos?: number
  dontRoute?: boolean
  mark?: number
  /** UDP_SEGMENT. */
  segment?: number
  options?: Uint8Array
}

export class UdpEndpoint {
  readonly protocol: UdpProtocol
  /** An AF_INET6 socket's: speaks IPv4 too, unless `onlyV6`. */
  readonly isV6: boolean
  onlyV6 = false
  local: IpAddress
  localPort = 0
  /** The any address while not connected. */
  remote: IpAddress
  remotePort = 0
  connected = false
  /** bind gave the address: it stays when a connection is dissolved. */
  #addressBound = false
  #portBound = false
  /** Options that routes depend on; whoever changes one calls flow.forgetRoute(). */
  readonly flow = new Flow()
  reuseAddress = false
  reusePort = false
  uid = 0
  /** SO_BROADCAST. */
  broadcast = false
  /** SO_NO_CHECK, for IPv4. */
  noChecksum = false
  /** UDP_SEGMENT. */
  segment = 0
  /** SO_ATTACH_FILTER: how much of a datagram, with its header, is let in. */
  filter: PacketProgram | undefined = undefined
  /** SO_ATTACH_REUSEPORT_CBPF: which of those that share the port gets a datagram; one of them has it for all. */
  steering: PacketProgram | undefined = undefined
  /** Of UDP-Lite. */
  readonly coverage = new Coverage()
  /** Of a tunnel: takes datagrams in place of the queue, their headers pulled, and owns them. */
  encapsulated: ((packet: Packet) => void) | undefined = undefined
  /** UDP_GRO: takes unsegmented packets as they are (packet.gsoSize tells). */
  gro = false
  /** IP_RECVERR, IPV6_RECVERR. */
  recvErr = false
  /** IP_MULTICAST_ALL. */
  multicastAll = true
  multicastAll6 = true
  /** IP_FREEBIND, IP_TRANSPARENT. */
  freeBind = false
  /** IP_MINTTL, IPV6_MINHOPCOUNT. */
  minTtl = 0
  receiveBuffer: number
  sendBuffer: number
  readonly memberships: Membership[] = []
  readonly errors = new ErrorQueue()
  readonly queue = new PacketQueue()
  /** Bytes of buffers that are queued. */
  queuedMemory = 0
  /** Datagrams that did not fit: SO_RXQ_OVFL. */
  drops = 0
  shutdownMask = 0
  listener: EndpointListener | undefined = undefined
  #error = 0
  /** The datagram that MSG_MORE or UDP_CORK is collecting. */
  #corked: Packet | undefined = undefined
  #corkedFlow: Flow | undefined = undefined
  #corkedRoute: Route | undefined = undefined
  #corkedSegment = 0
  #closed = false

  constructor(protocol: UdpProtocol, isV6: boolean) {
    this.protocol = protocol
    this.isV6 = isV6
    this.local = this.remote = isV6 ? V6_ANY : V4_ANY
    this.flow.protocol = protocol.number
    const { core } = protocol.stack.sysctls
    this.receiveBuffer = core.rmem_default
    this.sendBuffer = core.wmem_default
  }

  /** -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL (bound already), -EAFNOSUPPORT. Privileged ports are the socket layer's to refuse. */
  bind(address: IpAddress, port: number, device = this.flow.device): Status {
    if (this.localPort !== 0) return -EINVAL
    if (address.isV4 && this.onlyV6) return -EINVAL
    if (!address.isV4 && !this.isV6) return -EAFNOSUPPORT
    const status = this.#checkLocal(address, device)
    if (status < 0) return status
    const before = this.local
    this.local = address
    if (!this.protocol.claim(this, port)) {
      this.local = before
      return -EADDRINUSE
    }
    this.#addressBound = !address.isAny
    this.#portBound = port !== 0
    if (address.needsScope && device !== 0) this.flow.device = device
    this.#setFlowSource()
    return 0
  }

  /** connect(2): only remembers the peer. The errors of routing, -EACCES (broadcast). */
  connect(address: IpAddress, port: number, device = this.flow.device): Status {
    let peer = address
    if (peer.isAny) peer = this.protocol.loopbackFor(peer)
    if (peer.isV4 && this.onlyV6) return -ENETUNREACH
    const { flow } = this
    const savedDevice = flow.device
    if (peer.needsScope) {
      if (device === 0 && !peer.isMulticast) return -EINVAL
      flow.device = device
    }
    this.#aim(peer, port, this.#addressBound ? this.local : sourceAny(peer))
    const route = this.protocol.stack.ip.routeFor(flow)
    if (typeof route === 'number' || (route.type === RTN_BROADCAST && !this.broadcast)) {
      flow.device = savedDevice
      this.#aim(this.remote, this.remotePort, this.local)
      return typeof route === 'number' ? route : -EACCES
    }
    if (this.localPort === 0 && !this.protocol.claim(this, 0)) return -EAGAIN
    if (this.local.isAny) this.local = route.source
    this.remote = peer
    this.remotePort = port
    this.connected = true
    this.#aim(peer, port, this.local)
    return 0
  }

  /** connect(2) with AF_UNSPEC. */
  disconnect(): void {
    this.remote = this.isV6 ? V6_ANY : V4_ANY
    this.remotePort = 0
    this.connected = false
    if (!this.#addressBound) this.local = this.remote
    if (!this.#portBound && this.localPort !== 0) this.protocol.drop(this)
    this.flow.forgetRoute()
    this.#setFlowSource()
  }

  /**
   * Sends what `src` holds as one datagram, to `to`:`port` or to the peer. `more`: collects instead, for the next send.
   * The number of bytes, or an errno: -EDESTADDRREQ, -EMSGSIZE, -EACCES, -EINVAL, -EPIPE, -EFAULT, those of routing, and
   * whatever error has been waiting.
   */
  send(src: IoSrc, to?: IpAddress, port = 0, control: SendControl = NO_CONTROL, more = false): number {
    if ((this.shutdownMask & SHUT_WRITE) !== 0) return -EPIPE
    const length = src.remaining
    if (length > MAX_DATAGRAM) return -EMSGSIZE
    const pending = this.takeError()
    if (pending !== 0) return -pending
    if (this.#corked !== undefined) return this.#append(src, more)
    if (to === undefined) {
      if (!this.connected) return -EDESTADDRREQ
    } else {
      if (port === 0) return -EINVAL
      if (to.isV4 && this.onlyV6) return -ENETUNREACH
      if (!to.isV4 && !this.isV6) return -EAFNOSUPPORT
    }
    if (this.localPort === 0 && !this.protocol.claim(this, 0)) return -EAGAIN
    const destination = to === undefined ? this.remote : to.isAny ? this.protocol.loopbackFor(to) : to
    const flow = this.#flowFor(destination, to === undefined ? this.remotePort : port, control)
    const route = this.protocol.stack.ip.routeFor(flow)
    if (typeof route === 'number') return route
    if (route.type === RTN_BROADCAST && !this.broadcast) return -EACCES
    const room = more ? MAX_DATAGRAM : length
    const packet = this.protocol.stack.packets.allocate(UDP_HEADER + room)
    packet.append(UDP_HEADER)
    const taken = fill(packet, src, length)
    if (taken < 0) {
      packet.release()
      return taken
    }
    if (more) {
      this.#corked = packet
      this.#corkedFlow = flow
      this.#corkedRoute = route
      this.#corkedSegment = control.segment ?? this.segment
      return length
    }
    const status = this.#transmit(packet, flow, route, control.segment ?? this.segment)
    return status < 0 ? status : length
  }

  /** The end of UDP_CORK: sends what was collected. */
  flush(): Status {
    const packet = this.#corked
    if (packet === undefined) return 0
    this.#corked = undefined
    return this.#transmit(packet, this.#corkedFlow!, this.#corkedRoute!, this.#corkedSegment)
  }

  /** The oldest datagram, which stays (`peek`) or is the caller's now. -EAGAIN, 0 after shutdown, or the waiting error. */
  receive(peek: boolean): Packet | number {
    const error = this.takeError()
    if (error !== 0) return -error
    const packet = this.queue.first
    if (packet === undefined) return (this.shutdownMask & SHUT_READ) !== 0 ? 0 : -EAGAIN
    if (peek) return packet
    this.queue.shift()
    this.queuedMemory -= packet.bytes.length + OVERHEAD
    return packet
  }

  shutdown(mask: number): void {
    this.shutdownMask |= mask
    this.listener?.changed()
  }

  /** POLL* bits. A datagram can always be sent: what the link can't take is lost, as UDP allows. */
  events(): number {
    let events = 0
    if (this.#error !== 0 || this.errors.length > 0) events |= POLLERR
    if (this.queue.length > 0) events |= POLLIN | POLLRDNORM
    if ((this.shutdownMask & SHUT_READ) !== 0) events |= POLLIN | POLLRDNORM | POLLRDHUP
    if (this.shutdownMask === (SHUT_READ | SHUT_WRITE)) events |= POLLHUP
    return events | POLLOUT | POLLWRNORM
  }

  /** SO_ERROR: positive, and gone afterwards. */
  takeError(): number {
    const error = this.#error
    this.#error = 0
    return error
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#corked !== undefined) this.flush()
    this.protocol.drop(this)
    for (const membership of this.memberships) this.protocol.stack.multicast.leave(membership)
    this.memberships.length = 0
    this.queue.clear()
    this.errors.clear()
    this.listener = undefined
  }

  // What the protocol calls.

  /** Takes a datagram for this endpoint; false (and counted) if there is no room. */
  deliver(packet: Packet): boolean {
    const cost = packet.bytes.length + OVERHEAD
    if ((this.shutdownMask & SHUT_READ) !== 0 || packet.ttl < this.minTtl) {
      packet.release()
      return true
    }
    // One datagram is always let in, however large: as in Linux, where the check is made before it is charged.
    if (this.queuedMemory > 0 && this.queuedMemory + cost > this.receiveBuffer) {
      this.drops++
      packet.release()
      return false
    }
    this.queuedMemory += cost
    this.queue.push(packet)
    this.listener?.changed()
    return true
  }

  /** Whether a multicast datagram is one that this socket has asked for: ip_mc_sf_allow. */
  wantsMulticast(packet: Packet): boolean {
    const { destination, device, source } = packet
    for (const membership of this.memberships) {
      if (!membership.address.equals(destination)) continue
      if (membership.device === device || device?.isLoopback) return membership.accepts(source)
    }
    const all = destination.isV4 ? this.multicastAll : this.multicastAll6
    return all || isAllHosts(destination)
  }

  /** An error that ends nothing, but is told once. */
  failed(errno: number, queued: QueuedError | undefined): void {
    if (queued !== undefined) this.errors.push(queued, this.receiveBuffer)
    this.#error = errno
    this.listener?.changed()
  }

  #append(src: IoSrc, more: boolean): number {
    const packet = this.#corked!
    const length = src.remaining
    if (packet.length - UDP_HEADER + length > MAX_DATAGRAM - UDP_HEADER) return -EMSGSIZE
    const taken = fill(packet, src, length)
    if (taken < 0) return taken
    if (more) return length
    const status = this.flush()
    return status < 0 ? status : length
  }

  #transmit(packet: Packet, flow: Flow, route: Route, segment: number): Status {
    const { length, start, view } = packet
    const { destination } = flow
    const headers = destination.isV4 ? IPV4_HEADER + (flow.options?.length ?? 0) : IPV6_HEADER
    if (length + (destination.isV4 ? headers : 0) > MAX_DATAGRAM) {
      packet.release()
      return -EMSGSIZE
    }
    const data = length - UDP_HEADER
    if (segment > 0 && data > segment) {
      if (this.protocol.isLite) {
        packet.release()
        return -EIO
      }
      if (segment + UDP_HEADER + headers > route.mtu || data > segment * MAX_SEGMENTS) {
        packet.release()
        return -EINVAL
      }
      packet.gsoType = GSO_UDP
      packet.gsoSize = segment
    } else if (!flow.mayFragment && length + headers > mtuFor(flow, route)) {
      packet.release()
      this.#tooLong(flow, mtuFor(flow, route))
      return -EMSGSIZE
    }
    view.setUint16(start, this.localPort)
    view.setUint16(start + 2, flow.destinationPort)
    view.setUint16(start + 4, length)
    if (this.protocol.isLite) {
      writeLite(packet, route.source, destination, this.coverage)
    } else if (this.noChecksum && destination.isV4 && packet.gsoSize === 0) {
      view.setUint16(start + 6, 0)
      packet.checksum = CHECKSUM_NONE
    } else {
      view.setUint16(start + 6, pseudoHeaderSum(route.source, destination, IPPROTO_UDP, length))
      packet.checksum = CHECKSUM_PARTIAL
      packet.checksumStart = start
      packet.checksumOffset = 6
    }
    const mib = this.protocol.mib(destination.isV4)
    mib.OutDatagrams++
    const status = this.protocol.stack.ip.send(packet, flow)
    if (status < 0) mib.SndbufErrors += status === -EAGAIN ? 1 : 0
    return status
  }

  /** With IP_RECVERR the program is told how much would have fitted. */
  #tooLong(flow: Flow, mtu: number): void {
    if (!this.recvErr) return
    const error: QueuedError = {
      errno: EMSGSIZE,
      origin: SO_EE_ORIGIN_LOCAL,
      type: 0,
      code: 0,
      info: mtu,
      offender: undefined,
      destination: flow.destination,
      port: flow.destinationPort,
      packet: undefined,
    }
    this.errors.push(error, this.receiveBuffer)
    this.listener?.changed()
  }

  /** The endpoint's own flow, aimed; or one of its own for a send with other options. */
  #flowFor(destination: IpAddress, port: number, control: SendControl): Flow {
    const source =
      this.local.isAny || this.local.isV4 !== destination.isV4 ? sourceAny(destination) : this.local
    if (control === NO_CONTROL) {
      this.#aim(destination, port, source)
      return this.flow
    }
    const flow = Object.assign(new Flow(), this.flow)
    flow.forgetRoute()
    flow.destination = destination
    flow.destinationPort = port
    flow.source = control.source ?? source
    if (control.device !== undefined && control.device !== 0) flow.device = control.device
    if (control.ttl !== undefined) flow.ttl = flow.multicastTtl = control.ttl
    if (control.tos !== undefined) flow.tos = control.tos
    if (control.mark !== undefined) flow.mark = control.mark
    if (control.options !== undefined) flow.options = control.options
    if (control.dontRoute) flow.dontRoute = true
    return flow
  }

  #aim(destination: IpAddress, port: number, source: IpAddress): void {
    const { flow } = this
    const fixed = source.isV4 === destination.isV4 ? source : sourceAny(destination)
    // A multicast or broadcast address can be bound to, but not sent from.
    const usable = fixed.isMulticast || fixed.isLimitedBroadcast ? sourceAny(destination) : fixed
    if (!flow.destination.equals(destination) || !flow.source.equals(usable)) flow.forgetRoute()
    flow.destination = destination
    flow.destinationPort = port
    flow.sourcePort = this.localPort
    flow.source = usable
    flow.anySource = this.freeBind
  }

  #setFlowSource(): void {
    this.flow.source = this.local
    this.flow.sourcePort = this.localPort
    this.flow.forgetRoute()
  }

  /** Whether an address can be bound to: ours, a broadcast or multicast address, or any with IP_FREEBIND. */
  #checkLocal(address: IpAddress, device: number): Status {
    const { stack } = this.protocol
    if (address.isAny || address.isMulticast) return 0
    if (address.isV4) {
      const type = addressType4(stack, address)
      const nonLocal = this.freeBind || stack.sysctls.ipv4.ip_nonlocal_bind !== 0
      return type === RTN_LOCAL || type === RTN_BROADCAST || (type === RTN_UNICAST && nonLocal)
        ? 0
        : -EADDRNOTAVAIL
    }
    let on: Parameters<typeof stack.addresses.find>[1]
    if (address.needsScope) {
      if (device === 0) return -EINVAL
      on = stack.devices.byIndex(device)
      if (on === undefined) return -ENODEV
    }
    if (this.freeBind || stack.sysctls.ipv6.ip_nonlocal_bind !== 0) return 0
    return stack.addresses.isLocal(address, on) ? 0 : -EADDRNOTAVAIL
  }
}

const NO_CONTROL: SendControl = {}

function sourceAny(destination: IpAddress): IpAddress {
  return destination.isV4 ? V4_ANY : V6_ANY
}

/** Copies `length` bytes to the packet's end: 0, or -EFAULT with the packet as it was. */
function fill(packet: Packet, src: IoSrc, length: number): number {
  const before = packet.end
  const at = packet.append(length)
  const taken = length === 0 ? 0 : src.take(packet.bytes.subarray(at, at + length))
  if (taken === length) return 0
  packet.end = before
  return taken < 0 ? taken : -EINVAL
}
