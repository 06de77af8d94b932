/** TcpSocket: SOCK_STREAM over the stack's TcpEndpoint: tcp(7). Waiting is the callers': here it is -EAGAIN, -EINPROGRESS. */
import {
  AF_INET6,
  AF_UNSPEC,
  FIONREAD,
  IP_RECVERR,
  IPPROTO_TCP,
  IPV6_RECVERR,
  IPV6_V6ONLY,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_FASTOPEN,
  MSG_PEEK,
  SIOCATMARK,
  SIOCOUTQ,
  SIOCOUTQNSD,
  SO_KEEPALIVE,
  SO_MAX_PACING_RATE,
  SO_OOBINLINE,
  SO_RCVBUF,
  SO_RCVLOWAT,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_SNDBUF,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
  TCP_CLOSE,
  TCP_CLOSING,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from '../../abi/constants.ts'
import {
  EAFNOSUPPORT,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  ECONNRESET,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENETUNREACH,
  ENOTCONN,
} from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { signalUrgent } from '../../kernel/sigio.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import type { IoctlContext, Lingering } from '../../vfs/file.ts'
import { type IpAddress, V4_ANY, V4_LOOPBACK, V6_LOOPBACK } from '../address.ts'
import type { Flow } from '../ip/flow.ts'
import type { ReceiveRequest, SendRequest, Socket } from '../socket.ts'
import type { EndpointListener, TcpEndpoint } from '../tcp/endpoint.ts'
import { TcpEndpoint as Endpoint } from '../tcp/endpoint.ts'
import { addressFamily, parseSocketAddress, socketAddress } from './address.ts'
import { checkBind, scopeDevice } from './bind.ts'
import { pendingOf, receiveError } from './errors.ts'
import type { SocketFilter } from './filter.ts'
import type { InetNetwork } from './network.ts'
import { intBytes } from './option-bytes.ts'
import { InetSocket } from './socket.ts'
import { getTcpOption, setTcpOption } from './tcp-options.ts'

/** States of the socket, beside those of the connection: enum socket_state. */
const UNCONNECTED = 0
const CONNECTING = 1
const CONNECTED = 2

export class TcpSocket extends InetSocket implements EndpointListener {
  readonly endpoint: TcpEndpoint
  #state = UNCONNECTED
  /** Somebody will wait for the end of the connection. */
  #lingering = false
  /** The send that has made the connection. */
  #opening: SendRequest | undefined = undefined
  /** Options of SOL_TCP that the endpoint does not need. */
  readonly tcpValues = new Map<number, number>()

  constructor(net: InetNetwork, task: Task | undefined, family: number, endpoint?: TcpEndpoint) {
    super(net, task, family, SOCK_STREAM, IPPROTO_TCP)
    this.endpoint = endpoint ?? new Endpoint(net.tcp)
    this.endpoint.owner = this
    const { flow, settings } = this.endpoint
    flow.owner = this
    flow.uid = this.uid
    if (endpoint === undefined) {
      flow.source = flow.destination = this.anyAddress
      this.settings.setV6(IPV6_V6ONLY, net.ip.sysctls.ipv6.bindv6only)
      settings.v6Only = net.ip.sysctls.ipv6.bindv6only !== 0
    } else {
      this.#state = CONNECTED
    }
    this.options.sndbuf = settings.sndbuf
    this.options.rcvbuf = settings.rcvbuf
  }

  override get flow(): Flow {
    return this.endpoint.flow
  }
  override get localAddress(): IpAddress {
    return this.flow.source
  }
  override get localPort(): number {
    return this.flow.sourcePort
  }
  override get remoteAddress(): IpAddress | undefined {
    const { state } = this.endpoint
    return state === TCP_CLOSE || state === TCP_LISTEN || state === TCP_SYN_SENT
      ? undefined
      : this.flow.destination
  }
  override get remotePort(): number {
    return this.flow.destinationPort
  }
  override get state(): number {
    return this.endpoint.state
  }
  override get isStream(): boolean {
    return true
  }
  override get listening(): boolean {
    return this.endpoint.listening
  }
  override get receiveQueued(): number {
    return this.endpoint.readable
  }
  override get sendQueued(): number {
    return this.endpoint.unacknowledged
  }

  // EndpointListener.
  changed(): void {
    const events = this.poll()
    // 0 would be 'look yourself'.
    if (events !== 0) this.waitQueue.wake(events)
  }
  urgent(): void {
    if (this.file !== undefined) signalUrgent(this.file)
  }

  override poll(): number {
    const events = this.endpoint.events()
    return this.error !== 0 || this.errors.length > 0 ? events | this.errorEvents : events
  }
  override takeError(): Status {
    return super.takeError() || this.endpoint.takeError()
  }

  override bind(task: Task, address: Uint8Array): Status {
    const parsed = checkBind(this, task, address)
    if (typeof parsed === 'number') return parsed
    const status = this.endpoint.bind(parsed.address, parsed.port)
    if (status === 0) this.flow.device = this.boundDevice || scopeDevice(parsed)
    return status
  }

  override listen(_task: Task, backlog: number): Status {
    if (this.#state !== UNCONNECTED) return -EINVAL
    return this.endpoint.listen(backlog)
  }

  override accept(): OrErrno<Socket> {
    if (!this.endpoint.listening) return -EINVAL
    const endpoint = this.endpoint.accept()
    if (endpoint === undefined) return -EAGAIN
    const made = new TcpSocket(this.net, this.net.caller, this.family, endpoint)
    made.options.inherit(this.options)
    for (const [name, value] of this.options.values) made.options.values.set(name, value)
    made.settings.copy(this.settings)
    made.options.boundDevice = this.boundDevice
    made.filter = this.filter
    return made
  }

  override connect(_task: Task, address: Uint8Array): Status {
    if (address.length < 2) return -EINVAL
    const { endpoint } = this
    if (addressFamily(address) === AF_UNSPEC) {
      this.#disconnect()
      return 0
    }
    if (this.#state === CONNECTED) return -EISCONN
    if (this.#state === CONNECTING) return this.#connecting()
    if (endpoint.state !== TCP_CLOSE) return -EISCONN
    const remote = this.#remoteOf(address)
    if (typeof remote === 'number') return remote
    const { flow } = endpoint
    const before = flow.source
    const device = flow.device
    if (remote.address.isV4 && flow.source.isAny) flow.source = V4_ANY
    if (flow.device === 0) flow.device = scopeDevice(remote)
    this.settings.apply(flow, remote.address.isV4)
    const status = endpoint.connect(remote.address, remote.port)
    if (status < 0) {
      flow.source = before
      flow.device = device
      return status
    }
    this.#state = CONNECTING
    return -EINPROGRESS
  }

  /** A peer's address that may be connected to; any address means this host. */
  #remoteOf(bytes: Uint8Array) {
    const family = this.isIpv6 && addressFamily(bytes) !== AF_INET6 ? -1 : this.family
    if (family < 0) return bytes.length < 24 ? -EINVAL : -EAFNOSUPPORT
    const parsed = parseSocketAddress(bytes, this.family)
    if (failed(parsed)) return parsed
    let { address } = parsed
    if (address.isV4 && this.isIpv6 && this.endpoint.settings.v6Only) return -ENETUNREACH
    if (address.isAny && !address.isV4)
      address = this.localAddress.isV4 && !this.localAddress.isAny ? V4_LOOPBACK : V6_LOOPBACK
    if (address.isAny) address = V4_LOOPBACK
    if (address.isMulticast || address.isLimitedBroadcast) return -ENETUNREACH
    if (address.isLinkLocal && !address.isV4) {
      const scope = parsed.scope || this.boundDevice || this.flow.device
      if (scope === 0 || (this.boundDevice !== 0 && scope !== this.boundDevice)) return -EINVAL
    }
    return { ...parsed, address }
  }

  #connecting(): Status {
    const { endpoint } = this
    const { state } = endpoint
    if (state === TCP_SYN_SENT || state === TCP_SYN_RECV) return -EALREADY
    if (state === TCP_CLOSE) {
      const error = this.takeError()
      this.#state = UNCONNECTED
      endpoint.disconnect()
      this.#forgetPeer()
      return error < 0 ? error : -ECONNABORTED
    }
    this.#state = CONNECTED
    return 0
  }
  /** tcp_disconnect: a connection that ends so is as one that the peer has reset. */
  #disconnect(): void {
    const { endpoint } = this
    const { state } = endpoint
    if (state !== TCP_CLOSE && state !== TCP_LISTEN && state !== TCP_LAST_ACK && state !== TCP_CLOSING) {
      this.error = ECONNRESET
    }
    endpoint.disconnect()
    this.#state = UNCONNECTED
    this.#forgetPeer()
  }
  /** An unconnected socket of AF_INET6 has addresses of AF_INET6. */
  #forgetPeer(): void {
    const { flow } = this.endpoint
    flow.destination = this.anyAddress
    if (flow.source.isAny) flow.source = this.anyAddress
  }

  override name(peer: boolean): OrErrno<Uint8Array> {
    if (peer && (this.#state === UNCONNECTED || this.remoteAddress === undefined)) return -ENOTCONN
    return super.name(peer)
  }

  override acceptedName(): OrErrno<Uint8Array> {
    const { destination, destinationPort, device } = this.flow
    return socketAddress(this.family, destination, destinationPort, device)
  }

  override send(task: Task, request: SendRequest): number {
    this.net.settle()
    if ((request.flags & MSG_FASTOPEN) !== 0 && request.address !== undefined) {
      const status = this.#openFor(task, request)
      if (status < 0) return status
    }
    const error = super.takeError()
    if (error < 0) return error
    return this.endpoint.send(request.src, request.flags)
  }

  /** sendto(2) that connects first; without cookies the data wait for the handshake. */
  #openFor(task: Task, request: SendRequest): Status {
    // What an earlier try of this call, or an earlier piece, has connected.
    const begun = this.#opening === request || task.progress !== undefined
    const status = this.connect(task, request.address!)
    if (begun && status === -EISCONN) return 0
    if (status === 0) this.#opening = request
    if (status !== -EINPROGRESS && status !== -EALREADY) return status
    return (request.flags & MSG_DONTWAIT) !== 0 ? -EINPROGRESS : -EAGAIN
  }

  override receive(_task: Task, request: ReceiveRequest): number {
    this.net.settle()
    const { flags } = request
    if ((flags & MSG_ERRQUEUE) !== 0) {
      const n = receiveError(this.errors, request, this.family)
      if (n >= 0) this.error = pendingOf(this.errors)
      return n
    }
    const error = super.takeError()
    if (error < 0) return error
    const peekOff = this.options.peekOff
    const offset = peekOff >= 0 && (flags & MSG_PEEK) !== 0 ? peekOff : 0
    const n = this.endpoint.receive(request.dst, flags, offset)
    if (peekOff >= 0 && n > 0) {
      this.options.peekOff = (flags & MSG_PEEK) !== 0 ? peekOff + n : Math.max(peekOff - n, 0)
    }
    return n
  }

  override shutdown(mask: number): Status {
    const status = this.endpoint.shutdown(mask)
    if (status === 0 && this.#state === CONNECTING && this.endpoint.state === TCP_CLOSE)
      this.#state = UNCONNECTED
    return status
  }

  protected override getProtocolOption(task: Task, level: number, name: number, length: number) {
    return level === SOL_TCP ? getTcpOption(this, task, name, length) : undefined
  }
  protected override setProtocolOption(task: Task, level: number, name: number, value: Uint8Array) {
    return level === SOL_TCP ? setTcpOption(this, task, name, value) : undefined
  }

  /** Auto-tuning moves the sizes of buffers. */
  override getOption(task: Task, level: number, name: number, length: number, at: GuestAddr) {
    if (level === SOL_SOCKET && name === SO_SNDBUF) return intBytes(this.endpoint.settings.sndbuf)
    if (level === SOL_SOCKET && name === SO_RCVBUF) return intBytes(this.endpoint.settings.rcvbuf)
    return super.getOption(task, level, name, length, at)
  }
  override setOption(task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    const status = super.setOption(task, level, name, value)
    this.#reread()
    return status
  }
  override settingsChanged(): void {
    super.settingsChanged()
    this.#reread()
  }
  /** What TCP knows of the options. net/options.ts sets some of them after us: they are read when they count. */
  #reread(): void {
    const { settings } = this.endpoint
    settings.v6Only = this.settings.v6(IPV6_V6ONLY) !== 0
    settings.receiveErrors = this.settings.v4(IP_RECVERR) !== 0 || this.settings.v6(IPV6_RECVERR) !== 0
  }

  override limitLowWater(bytes: number): number {
    const { settings } = this.endpoint
    const most = settings.rcvbufLocked ? settings.rcvbuf : this.net.ip.sysctls.ipv4.tcp_rmem[2]
    return Math.min(bytes, most >> 1)
  }
  override optionChanged(name: number): void {
    super.optionChanged(name)
    const { settings } = this.endpoint
    const { options } = this
    settings.filter = this.filter
    switch (name) {
      case SO_SNDBUF:
        settings.sndbuf = options.sndbuf
        settings.sndbufLocked = true
        return
      case SO_RCVBUF:
        settings.rcvbuf = options.rcvbuf
        settings.rcvbufLocked = true
        return
      case SO_RCVLOWAT:
        settings.rcvLowat = options.rcvLowat
        return
      case SO_REUSEADDR:
        settings.reuseAddress = options.flag(name)
        return
      case SO_REUSEPORT:
        settings.reusePort = options.flag(name)
        return
      case SO_OOBINLINE:
        settings.oobInline = options.flag(name)
        return
      case SO_KEEPALIVE:
        settings.keepAlive = options.flag(name)
        this.endpoint.keepAliveChanged()
        return
      case SO_MAX_PACING_RATE: {
        const rate = options.values.get(name) ?? -1
        settings.maxPacingRate = rate === -1 ? Number.POSITIVE_INFINITY : rate >>> 0
      }
    }
  }
  override steer(program: SocketFilter | undefined): boolean {
    const { tcp } = this.net
    const own = this.endpoint
    const others =
      tcp.listeners.get(this.localPort)?.filter(each => each.flow.source.equals(own.flow.source)) ?? []
    const before = [own, ...others].some(each => each.settings.steering !== undefined)
    for (const each of others) each.settings.steering = undefined
    own.settings.steering = program
    return before
  }
  override ioctl(context: IoctlContext, request: number, argument: number): number {
    const { endpoint } = this
    switch (request) {
      case SIOCOUTQ:
        if (endpoint.listening) return -EINVAL
        return context.copyOut(argument, intBytes(endpoint.unacknowledged))
      case SIOCOUTQNSD:
        if (endpoint.listening) return -EINVAL
        return context.copyOut(argument, intBytes(endpoint.connection?.unsent ?? 0))
      case SIOCATMARK:
        return context.copyOut(argument, intBytes(endpoint.atMark ? 1 : 0))
    }
    if (request === FIONREAD && endpoint.listening) return -EINVAL
    return super.ioctl(context, request, argument)
  }

  /** SO_LINGER: close(2) returns when the peer has acknowledged everything. */
  override linger(): Lingering | undefined {
    const { lingerOn, lingerTime } = this.options
    if (!lingerOn || lingerTime === 0 || this.endpoint.connection === undefined) return undefined
    this.#lingering = true
    // A negative number is a large one.
    const seconds = lingerTime < 0 ? Number.POSITIVE_INFINITY : lingerTime
    return new TcpLingering(this, this.net.runtime.now() + seconds * NSEC_PER_SEC)
  }
  override release(): void {
    const { lingerOn, lingerTime } = this.options
    this.endpoint.close(lingerOn && lingerTime === 0, this.#lingering)
    super.release()
  }
}

class TcpLingering implements Lingering {
  readonly deadline: number
  readonly #socket: TcpSocket

  constructor(socket: TcpSocket, deadline: number) {
    this.#socket = socket
    this.deadline = deadline
  }
  get over(): boolean {
    this.#socket.net.settle()
    return this.#socket.endpoint.delivered
  }
  get queue(): WaitQueue {
    return this.#socket.waitQueue
  }
  end(): void {
    this.#socket.endpoint.forsake()
  }
}
