/** UdpSocket: SOCK_DGRAM over the stack's UdpEndpoint: udp(7). */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  IP_MINTTL,
  IP_MULTICAST_ALL,
  IP_RECVERR,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  IPV6_MINHOPCOUNT,
  IPV6_MULTICAST_ALL,
  IPV6_RECVERR,
  IPV6_V6ONLY,
  MSG_DONTROUTE,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  POLLERR,
  SIOCOUTQ,
  SO_BROADCAST,
  SO_NO_CHECK,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOL_UDP,
  SOL_UDPLITE,
  TCP_CLOSE,
  TCP_ESTABLISHED,
  UDP_CORK,
  UDP_ENCAP,
  UDP_GRO,
  UDP_NO_CHECK6_RX,
  UDP_NO_CHECK6_TX,
  UDP_SEGMENT,
  UDPLITE_RECV_CSCOV,
  UDPLITE_SEND_CSCOV,
} from '../../abi/constants.ts'
import {
  EAFNOSUPPORT,
  EAGAIN,
  EDESTADDRREQ,
  EFAULT,
  EINVAL,
  ENETUNREACH,
  ENOPROTOOPT,
  ENOTCONN,
  EOPNOTSUPP,
} from '../../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import type { IpAddress } from '../address.ts'
import type { Flow } from '../ip/flow.ts'
import { GSO_UDP, type Packet } from '../packet.ts'
import { RCV_SHUTDOWN, type ReceiveRequest, type SendRequest } from '../socket.ts'
import type { EndpointListener, SendControl, UdpEndpoint } from '../udp/endpoint.ts'
import { coverageOf } from '../udp/lite.ts'
import { addressFamily, parseSocketAddress, type SocketAddress, socketAddress } from './address.ts'
import { checkBind, scopeDevice } from './bind.ts'
import { describePacket, parseControl } from './control.ts'
import { pendingOf, receiveError } from './errors.ts'
import type { SocketFilter } from './filter.ts'
import type { InetNetwork } from './network.ts'
import { intBytes, readInt } from './option-bytes.ts'
import { InetSocket } from './socket.ts'

export class UdpSocket extends InetSocket implements EndpointListener {
  readonly endpoint: UdpEndpoint
  /** Options of SOL_UDP. */
  readonly #values = new Map<number, number>()

  /** `protocol`: IPPROTO_UDP or IPPROTO_UDPLITE. */
  constructor(net: InetNetwork, task: Task, family: number, protocol: number) {
    const { udp, udpLite } = net
    const endpoint = (protocol === IPPROTO_UDP ? udp : udpLite).endpoint(family === AF_INET6)
    super(net, task, family, SOCK_DGRAM, protocol, endpoint.memberships, endpoint.errors)
    this.endpoint = endpoint
    endpoint.multicastAll = this.settings.v4(IP_MULTICAST_ALL) !== 0
    endpoint.listener = this
    endpoint.uid = endpoint.flow.uid = this.uid
    endpoint.flow.owner = this
    endpoint.onlyV6 = net.ip.sysctls.ipv6.bindv6only !== 0
    this.settings.setV6(IPV6_V6ONLY, net.ip.sysctls.ipv6.bindv6only)
    this.options.rcvbuf = endpoint.receiveBuffer
    this.options.sndbuf = endpoint.sendBuffer
  }

  override get flow(): Flow {
    return this.endpoint.flow
  }
  override get localAddress(): IpAddress {
    return this.endpoint.local
  }
  override get localPort(): number {
    return this.endpoint.localPort
  }
  override get remoteAddress(): IpAddress | undefined {
    return this.endpoint.connected ? this.endpoint.remote : undefined
  }
  override get remotePort(): number {
    return this.endpoint.remotePort
  }
  override get state(): number {
    return this.endpoint.connected ? TCP_ESTABLISHED : TCP_CLOSE
  }
  override get drops(): number {
    return this.endpoint?.drops ?? 0
  }
  override get receiveQueued(): number {
    const { first } = this.endpoint.queue
    return first === undefined ? 0 : first.length
  }
  /** Memory that the queue takes, as /proc and SO_MEMINFO tell. */
  override get receiveMemory(): number {
    return this.endpoint.queuedMemory
  }

  // EndpointListener.
  changed(): void {
    this.waitQueue.wake(this.poll())
  }

  override poll(): number {
    const events = this.endpoint.events() | (this.error !== 0 ? POLLERR : 0)
    return this.errors.length > 0 ? events | this.errorEvents : events
  }
  override takeError(): Status {
    return super.takeError() || -this.endpoint.takeError()
  }

  override bind(task: Task, address: Uint8Array): Status {
    const parsed = checkBind(this, task, address)
    if (typeof parsed === 'number') return parsed
    return this.endpoint.bind(parsed.address, parsed.port, this.boundDevice || scopeDevice(parsed))
  }

  override connect(_task: Task, address: Uint8Array): Status {
    if (address.length < 2) return -EINVAL
    if (addressFamily(address) === AF_UNSPEC) {
      this.endpoint.disconnect()
      return 0
    }
    const peer = this.#peerOf(address, false)
    if (typeof peer === 'number') return peer
    if (peer === undefined) return -EAFNOSUPPORT
    // As Linux does: the port is there also when there is no way to the peer.
    if (this.endpoint.localPort === 0 && !this.net.udp.claim(this.endpoint, 0)) return -EAGAIN
    this.#aim(peer.address)
    return this.endpoint.connect(peer.address, peer.port, this.boundDevice || scopeDevice(peer))
  }

  /** Of a connect or a send; undefined: AF_UNSPEC on an AF_INET6 socket, which names nobody. */
  #peerOf(bytes: Uint8Array, sending: boolean): OrErrno<SocketAddress> | undefined {
    const family = addressFamily(bytes)
    if (!this.isIpv6) {
      if (sending && bytes.length >= 16 && family === AF_UNSPEC) {
        const copy = bytes.slice()
        copy[0] = AF_INET
        return parseSocketAddress(copy, AF_INET)
      }
      return parseSocketAddress(bytes, AF_INET)
    }
    // An AF_INET6 socket may be given an address of AF_INET.
    if (family === AF_INET) {
      if (this.endpoint.onlyV6) return sending ? -ENETUNREACH : -EAFNOSUPPORT
      return parseSocketAddress(bytes, AF_INET)
    }
    if (sending && family === AF_UNSPEC) return undefined
    const parsed = parseSocketAddress(bytes, AF_INET6)
    return sending && parsed === -EAFNOSUPPORT ? -EINVAL : parsed
  }

  override name(peer: boolean): OrErrno<Uint8Array> {
    const { endpoint } = this
    // A peer without a port is none.
    if (peer && (!endpoint.connected || endpoint.remotePort === 0)) return -ENOTCONN
    const address = peer ? endpoint.remote : endpoint.local
    const port = peer ? endpoint.remotePort : endpoint.localPort
    return socketAddress(this.family, address, port, this.flow.device)
  }

  override shutdown(mask: number): Status {
    // One that isn't connected is told so, and shut down all the same.
    this.shutdownMask |= mask
    this.endpoint.shutdown(mask)
    return this.endpoint.connected ? 0 : -ENOTCONN
  }

  /** Options are by family of the destination. */
  #aim(destination: IpAddress): void {
    const { flow } = this
    if (destination.isV4 === flow.destination.isV4 && !flow.destination.isAny) return
    const device = flow.device
    this.settings.apply(flow, destination.isV4)
    flow.device = device
  }

  override send(task: Task, request: SendRequest): number {
    const { flags } = request
    if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    this.net.settle()
    const error = super.takeError()
    if (error < 0) return error
    const { endpoint } = this
    let peer: SocketAddress | undefined
    if (request.address !== undefined) {
      const parsed = this.#peerOf(request.address, true)
      if (parsed !== undefined && failed(parsed)) return parsed
      peer = parsed
    }
    if (peer === undefined && !endpoint.connected) return -EDESTADDRREQ
    const destination = peer?.address ?? endpoint.remote
    this.#aim(destination)
    const control = parseControl(this, task, request.control, destination.isV4)
    if (typeof control === 'number') return control
    const scope = peer === undefined || this.boundDevice !== 0 ? 0 : scopeDevice(peer)
    const fixed = this.#fixed(destination, scope)
    const extra = fixed === undefined ? control : { ...fixed, ...control }
    const whole = (flags & MSG_DONTROUTE) !== 0 ? { dontRoute: true, ...extra } : extra
    const more = (flags & MSG_MORE) !== 0 || (this.#values.get(UDP_CORK) ?? 0) !== 0
    return endpoint.send(request.src, peer?.address, peer?.port, whole, more)
  }

  /** Source and device as options have them: of multicasts, and of IPV6_PKTINFO. Undefined: nothing of the kind. */
  #fixed(destination: IpAddress, scope: number): SendControl | undefined {
    const { settings, endpoint } = this
    if (destination.isV4) {
      if (!destination.isMulticast || settings.multicastAddress.isAny || !endpoint.local.isAny)
        return undefined
      return { source: settings.multicastAddress }
    }
    const device = scope || settings.stickyDevice
    if (device === 0 && settings.stickySource === undefined) return undefined
    return { device, source: settings.stickySource }
  }

  override receive(_task: Task, request: ReceiveRequest): number {
    const { flags, dst } = request
    const { endpoint } = this
    this.net.settle()
    if ((flags & MSG_ERRQUEUE) !== 0) {
      const n = receiveError(this.errors, request, this.family)
      if (n >= 0) {
        endpoint.takeError()
        this.error = pendingOf(this.errors)
      }
      return n
    }
    const error = this.takeError()
    if (error < 0) return error
    const peek = (flags & MSG_PEEK) !== 0
    const found = this.#next(peek)
    if (typeof found === 'number') {
      if (found === -EAGAIN || (flags & MSG_DONTWAIT) === 0) return found
      return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? -EAGAIN : found
    }
    const { packet, skip } = found
    // One that was not asked to be given whole is given in the pieces that it was sent as.
    const whole = packet.gsoType !== GSO_UDP || (this.#values.get(UDP_GRO) ?? 0) !== 0
    const length = whole ? packet.length : Math.min(packet.length, packet.gsoSize)
    const room = dst.remaining
    const size = Math.min(length - skip, room)
    if (size < length - skip) request.outFlags |= MSG_TRUNC
    const start = packet.start + skip
    const done = size === 0 ? 0 : dst.put(packet.bytes.subarray(start, start + size))
    if (done >= 0) {
      const port = packet.view.getUint16(packet.transport)
      request.address = socketAddress(this.family, packet.source, port, packet.device?.index ?? 0)
      this.stamp = packet.timestamp || this.net.realtime()
      describePacket(this, packet, request)
      if (whole && packet.gsoType === GSO_UDP) {
        request.control.push({ level: SOL_UDP, type: UDP_GRO, data: intBytes(packet.gsoSize) })
      }
      this.#movePeek(peek, size, length)
    }
    if (!peek) this.#consume(packet, length)
    if (done < size) return done < 0 ? done : -EFAULT
    return (flags & MSG_TRUNC) !== 0 ? length - skip : size
  }

  /** The oldest datagram; with SO_PEEK_OFF a peek may look further. */
  #next(peek: boolean): { packet: Packet; skip: number } | number {
    const { endpoint, options } = this
    const found = endpoint.receive(true)
    if (typeof found === 'number') return found
    let skip = peek ? Math.max(options.peekOff, 0) : 0
    let packet: Packet | undefined = found
    while (packet !== undefined && skip > 0 && skip >= packet.length) {
      skip -= packet.length
      packet = packet.next
    }
    return packet === undefined ? -EAGAIN : { packet, skip }
  }
  #movePeek(peek: boolean, size: number, length: number): void {
    const { options } = this
    if (options.peekOff < 0) return
    options.peekOff = peek ? options.peekOff + size : Math.max(options.peekOff - length, 0)
  }
  #consume(packet: Packet, length: number): void {
    if (length < packet.length) {
      packet.pull(length)
      return
    }
    const taken = this.endpoint.receive(false)
    if (typeof taken !== 'number') taken.release()
  }

  protected override getProtocolOption(
    _task: Task,
    level: number,
    name: number,
    _length: number,
  ): OrErrno<Uint8Array> | undefined {
    if (level !== SOL_UDP && level !== SOL_UDPLITE) return undefined
    switch (name) {
      case UDPLITE_SEND_CSCOV:
      case UDPLITE_RECV_CSCOV: {
        const { send, receive } = this.endpoint.coverage
        return intBytes((name === UDPLITE_SEND_CSCOV ? send : receive) ?? 0)
      }
      case UDP_CORK:
      case UDP_ENCAP:
      case UDP_GRO:
      case UDP_NO_CHECK6_TX:
      case UDP_NO_CHECK6_RX:
        return intBytes(this.#values.get(name) ?? 0)
      case UDP_SEGMENT:
        return intBytes(this.endpoint.segment)
    }
    return -ENOPROTOOPT
  }
  protected override setProtocolOption(
    _task: Task,
    level: number,
    name: number,
    value: Uint8Array,
  ): Status | undefined {
    if (level !== SOL_UDP && level !== SOL_UDPLITE) return undefined
    const number = readInt(value)
    if (number === undefined) return -EINVAL
    switch (name) {
      case UDPLITE_SEND_CSCOV:
      case UDPLITE_RECV_CSCOV:
        if (this.protocol !== IPPROTO_UDPLITE) return -ENOPROTOOPT
        if (name === UDPLITE_SEND_CSCOV) this.endpoint.coverage.send = coverageOf(number)
        else this.endpoint.coverage.receive = coverageOf(number)
        return 0
      case UDP_CORK:
        this.#values.set(name, number !== 0 ? 1 : 0)
        return number === 0 ? Math.min(this.endpoint.flush(), 0) : 0
      case UDP_GRO:
        this.endpoint.gro = number !== 0
        this.#values.set(name, number !== 0 ? 1 : 0)
        return 0
      case UDP_NO_CHECK6_TX:
      case UDP_NO_CHECK6_RX:
        this.#values.set(name, number !== 0 ? 1 : 0)
        return 0
      case UDP_ENCAP:
        // No encapsulation; there are no others.
        return number === 0 ? 0 : -ENOPROTOOPT
      case UDP_SEGMENT:
        if (number < 0 || number > 65535) return -EINVAL
        this.endpoint.segment = number
        return 0
    }
    return -ENOPROTOOPT
  }

  override settingsChanged(): void {
    super.settingsChanged()
    const { endpoint, settings } = this
    endpoint.onlyV6 = settings.v6(IPV6_V6ONLY) !== 0
    endpoint.recvErr = settings.v4(IP_RECVERR) !== 0 || settings.v6(IPV6_RECVERR) !== 0
    endpoint.freeBind = settings.freeBind
    endpoint.multicastAll = settings.v4(IP_MULTICAST_ALL) !== 0
    endpoint.multicastAll6 = settings.v6(IPV6_MULTICAST_ALL) !== 0
    endpoint.minTtl = this.isIpv6 ? settings.v6(IPV6_MINHOPCOUNT) : settings.v4(IP_MINTTL)
  }
  override optionChanged(name: number): void {
    super.optionChanged(name)
    const { endpoint, options } = this
    endpoint.receiveBuffer = options.rcvbuf
    endpoint.sendBuffer = options.sndbuf
    endpoint.filter = this.filter
    if (name === SO_BROADCAST) endpoint.broadcast = options.flag(name)
    else if (name === SO_NO_CHECK) endpoint.noChecksum = options.flag(name)
    else if (name === SO_REUSEADDR) endpoint.reuseAddress = options.flag(name)
    else if (name === SO_REUSEPORT) endpoint.reusePort = options.flag(name)
  }

  override steer(program: SocketFilter | undefined): boolean {
    const group = this.endpoint.protocol.group(this.endpoint)
    const before = group.some(each => each.steering !== undefined)
    for (const each of group) each.steering = undefined
    this.endpoint.steering = program
    return before
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request === SIOCOUTQ) return context.copyOut(argument, intBytes(0))
    return super.ioctl(context, request, argument)
  }

  override release(): void {
    this.endpoint.close()
    super.release()
  }
}
