/**
 * TcpEndpoint: the application's side of TCP: what a socket has (struct tcp_sock as the socket layer sees it). Bound or not,
 * then a connection or a listener. Nothing here waits: -EAGAIN means 'not now', and `listener.changed` is called when
 * `events` may say something else.
 *
 * Made by socket(2) or `accept`; ended by `close` or `abort`, after which a connection may live on as an orphan.
 */
import {
  MSG_MORE,
  MSG_OOB,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRNORM,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from '../../abi/constants.ts'
import {
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  EINVAL,
  EISCONN,
  ENETUNREACH,
  ENOTCONN,
  EPIPE,
} from '../../abi/errno.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import { Flow } from '../ip/flow.ts'
import { closeConnection, queueFin } from './close.ts'
import { congestionControl } from './congestion/control.ts'
import { TcpConnection, URG_NONE, URG_VALID } from './connection.ts'
import { sendAck, sendReset } from './control-segment.ts'
import { startConnect } from './handshake.ts'
import { TcpListener } from './listener.ts'
import { output } from './output.ts'
import type { PortOwner } from './ports.ts'
import type { TcpProtocol } from './protocol.ts'
import { isAtMark, readableBytes, readStream, readUrgent } from './read.ts'
import { enterQuickAck } from './receive.ts'
import { IPPROTO_TCP } from './segment.ts'
import { TcpSettings } from './settings.ts'
import { BOTH_SHUTDOWN, RCV_SHUTDOWN, SEND_SHUTDOWN } from './shutdown.ts'
import { expandSendBuffer } from './sizes.ts'

/** Who owns an endpoint. Called from inside of TCP: only to make a note. */
export interface EndpointListener {
  /** What `events` says may have changed. */
  changed(): void
  /** Urgent data are announced: SIGURG. */
  urgent(): void
}

export class TcpEndpoint implements PortOwner {
  readonly protocol: TcpProtocol
  /** Addresses and IP options; the connection's own, once there is one. */
  flow: Flow
  settings: TcpSettings
  listener: TcpListener | undefined = undefined
  connection: TcpConnection | undefined = undefined
  /** Who is told of changes. */
  owner: EndpointListener | undefined = undefined
  /** bind(2) was given an address, a port. */
  addressLocked = false
  portLocked = false
  /** It holds its port itself. */
  #bound = false
  /** A writer waits for room. */
  #wantsSpace = false

  constructor(protocol: TcpProtocol) {
    this.protocol = protocol
    this.flow = new Flow()
    this.flow.protocol = IPPROTO_TCP
    this.settings = new TcpSettings(protocol.network.sysctl)
  }

  // PortOwner.
  get localAddress(): IpAddress {
    return this.flow.source
  }
  get device(): number {
    return this.flow.device
  }
  get v6Only(): boolean {
    return this.settings.v6Only
  }
  get reuseAddress(): boolean {
    return this.settings.reuseAddress
  }
  get reusePort(): boolean {
    return this.settings.reusePort
  }
  get listening(): boolean {
    return this.listener !== undefined
  }
  get uid(): number {
    return this.flow.uid
  }
  readonly shared = false

  /** TCP_CLOSE and so on. */
  get state(): number {
    if (this.listener !== undefined) return TCP_LISTEN
    return this.connection?.state ?? TCP_CLOSE
  }
  /** The pending error, positive; `takeError` clears it. */
  get error(): number {
    return this.connection?.error ?? 0
  }
  get shutdownMask(): number {
    return this.connection?.shutdown ?? 0
  }
  get localPort(): number {
    return this.flow.sourcePort
  }

  /** 0, or the pending error as a negative errno, which is told once. */
  takeError(): Status {
    return this.connection?.takeError() ?? 0
  }

  /** From TCP. */
  changed(): void {
    this.owner?.changed()
  }
  urgent(): void {
    this.owner?.urgent()
  }

  // Opening.

  /** The address has been checked by the caller; port 0: any. */
  bind(address: IpAddress, port: number): Status {
    if (this.#bound || this.state !== TCP_CLOSE) return -EINVAL
    const { ports, network } = this.protocol
    const { flow } = this
    const before = flow.source
    flow.source = address
    if (port === 0) {
      const { ip_local_port_range } = network.sysctl.ipv4
      port = ports.choose(
        this,
        ip_local_port_range,
        this.protocol.reservedPorts,
        network.runtime.random.u32(),
      )
    } else {
      if (ports.conflicts(port, this)) port = -EADDRINUSE
      this.portLocked = true
    }
    if (port < 0) {
      flow.source = before
      this.portLocked = false
      return port
    }
    this.addressLocked = !address.isAny
    flow.sourcePort = port
    flow.forgetRoute()
    ports.add(port, this)
    this.#bound = true
    return 0
  }

  #unbind(): void {
    if (!this.#bound) return
    this.protocol.ports.remove(this.flow.sourcePort, this)
    this.#bound = false
  }

  /** 0: the handshake is under way (then `events` and `error` tell). Addresses have been checked by the caller. */
  connect(remote: IpAddress, remotePort: number): Status {
    const { protocol } = this
    if (this.listener !== undefined) return -EISCONN
    if (this.state === TCP_SYN_SENT || this.state === TCP_SYN_RECV) return -EALREADY
    if (this.state !== TCP_CLOSE) return -EISCONN
    protocol.enter()
    this.connection?.purgeReceived()
    this.connection = undefined
    const flow = protocol.flowFor(this.flow)
    flow.destination = remote
    flow.destinationPort = remotePort
    const route = protocol.network.routeFor(flow)
    if (typeof route === 'number') return route
    if (route.toMany) return -ENETUNREACH
    if (flow.source.isAny) flow.source = route.source
    const picked = this.#pickPort(flow)
    if (picked < 0) return picked
    flow.forgetRoute()
    const { source, sourcePort } = flow
    const reused = protocol.takeTuple(source, sourcePort, remote, remotePort)
    this.flow = flow
    const conn = new TcpConnection(protocol, flow, this.settings)
    conn.endpoint = this
    conn.shared = !this.#bound
    this.connection = conn
    protocol.remember(conn)
    // A SYN that the link has dropped is sent again like one that the network has.
    startConnect(conn, reused)
    return 0
  }

  #pickPort(flow: Flow): Status {
    const { protocol } = this
    const { source, destination, destinationPort } = flow
    if (this.#bound) {
      return protocol.tupleFree(source, flow.sourcePort, destination, destinationPort) ? 0 : -EADDRNOTAVAIL
    }
    const { ip_local_port_range } = protocol.network.sysctl.ipv4
    const random = protocol.network.runtime.random.u32()
    const port = protocol.ports.chooseForConnect(
      ip_local_port_range,
      protocol.reservedPorts,
      random,
      candidate => protocol.tupleFree(source, candidate, destination, destinationPort),
    )
    if (port < 0) return port
    flow.sourcePort = port
    return 0
  }

  /** connect(2) with AF_UNSPEC. */
  disconnect(): void {
    this.protocol.enter()
    this.#stopListening()
    const conn = this.connection
    if (conn !== undefined) {
      if (conn.state !== TCP_CLOSE) {
        if (conn.synchronized) sendReset(conn)
        conn.error = 0
        conn.endpoint = undefined
        conn.done()
      }
      conn.purgeReceived()
    }
    this.connection = undefined
    const flow = this.protocol.flowFor(this.flow)
    flow.destination = flow.destination.isV4 ? new Flow().destination : flow.destination.masked(0)
    flow.destinationPort = 0
    if (!this.addressLocked) flow.source = flow.source.isV4 ? new Flow().source : flow.source.masked(0)
    if (!this.portLocked) {
      this.#unbind()
      flow.sourcePort = 0
    }
    this.flow = flow
    this.changed()
  }

  listen(backlog: number): Status {
    const { protocol } = this
    // As unsigned: -1 is as much as there may be.
    backlog = Math.min(backlog >>> 0, protocol.network.sysctl.core.somaxconn)
    if (this.listener !== undefined) {
      this.listener.backlog = backlog
      return 0
    }
    if (this.state !== TCP_CLOSE) return -EINVAL
    this.connection?.purgeReceived()
    this.connection = undefined
    if (!this.#bound) {
      const status = this.bind(this.flow.source, 0)
      if (status < 0) return status
    }
    this.listener = new TcpListener(this, backlog)
    // Two that were bound with SO_REUSEADDR can't both listen.
    if (protocol.ports.conflicts(this.flow.sourcePort, this)) {
      this.listener = undefined
      return -EADDRINUSE
    }
    protocol.listen(this)
    return 0
  }

  /** The next connection, undefined when there is none yet. */
  accept(): TcpEndpoint | undefined {
    const conn = this.listener?.accept()
    if (conn === undefined) return undefined
    const endpoint = new TcpEndpoint(this.protocol)
    endpoint.flow = conn.flow
    endpoint.settings = conn.settings
    endpoint.connection = conn
    conn.endpoint = endpoint
    return endpoint
  }

  // Data.

  /** Bytes taken, -EAGAIN when there is no room, or the error that has ended the connection. */
  send(src: IoSrc, flags: number): number {
    const { protocol } = this
    const conn = this.connection
    if (conn === undefined || this.listener !== undefined) return -EPIPE
    if (conn.error !== 0) return conn.takeError()
    if ((conn.shutdown & SEND_SHUTDOWN) !== 0) return -EPIPE
    if (conn.state === TCP_SYN_SENT || conn.state === TCP_SYN_RECV) return this.#wait()
    if (conn.state !== TCP_ESTABLISHED && conn.state !== TCP_CLOSE_WAIT) return -EPIPE
    protocol.enter()
    const room = this.#room(conn)
    const wanted = src.remaining
    if (wanted === 0) return 0
    // Out of memory one write at a time still goes, or nobody would ever be woken.
    if (room <= 0 || (protocol.memory.exhausted && conn.buffer.length > 0)) return this.#wait()
    const done = conn.buffer.append(src, Math.min(wanted, room))
    if (done < 0) return done
    if ((flags & MSG_OOB) !== 0 && done === wanted) conn.sndUp = conn.buffer.end
    conn.pushSeq = conn.buffer.end
    conn.more = (flags & MSG_MORE) !== 0 && done === wanted
    output(conn)
    conn.more = false
    protocol.memory.update(conn)
    if (done < wanted) this.#wantsSpace = true
    return done
  }

  #wait(): number {
    this.#wantsSpace = true
    return -EAGAIN
  }

  #room(conn: TcpConnection): number {
    const lowat =
      this.settings.notSentLowat > 0
        ? this.settings.notSentLowat
        : this.protocol.network.sysctl.ipv4.tcp_notsent_lowat
    if (conn.unsent >= lowat) return 0
    return this.settings.sndbuf - conn.buffer.length
  }

  /** How many bytes `send` would take now. Where that is none, the owner hears of room. */
  sendRoom(): number {
    const conn = this.connection
    if (conn === undefined) return 0
    const room = this.#room(conn)
    if (room > 0 && !(this.protocol.memory.exhausted && conn.buffer.length > 0)) return room
    this.#wantsSpace = true
    return 0
  }

  get #writable(): boolean {
    const conn = this.connection!
    const queued = conn.buffer.length
    return this.settings.sndbuf - queued >= queued / 2 && this.#room(conn) > 0
  }

  /** From TCP: bytes were acknowledged. */
  spaceFreed(): void {
    if (!this.#wantsSpace) return
    const conn = this.connection!
    expandSendBuffer(conn)
    if (!this.#writable) return
    this.#wantsSpace = false
    this.changed()
  }

  /**
   * Bytes received, 0 at the end, -EAGAIN, or the error that has ended the connection. MSG_PEEK (from `peekOffset` on), MSG_OOB,
   * MSG_TRUNC (throws them away).
   */
  receive(dst: IoDst, flags: number, peekOffset = 0): number {
    const conn = this.connection
    if (conn === undefined || this.listener !== undefined) return -ENOTCONN
    this.protocol.enter()
    return (flags & MSG_OOB) !== 0 ? readUrgent(conn, dst, flags) : readStream(conn, dst, flags, peekOffset)
  }
  /** SIOCATMARK: the next byte is the urgent one, or was. */
  get atMark(): boolean {
    return this.connection !== undefined && isAtMark(this.connection)
  }
  /** SIOCINQ: bytes that can be read, up to the urgent one. */
  get readable(): number {
    return this.connection === undefined ? 0 : readableBytes(this.connection)
  }
  /** SIOCOUTQ: bytes not yet acknowledged. SIOCOUTQNSD is `connection.unsent`. */
  get unacknowledged(): number {
    return this.connection?.buffer.length ?? 0
  }

  // Closing.

  /** shutdown(2). `mask`: RCV_SHUTDOWN, SEND_SHUTDOWN. */
  shutdown(mask: number): Status {
    const { state } = this
    this.protocol.enter()
    if (state === TCP_LISTEN) {
      if ((mask & RCV_SHUTDOWN) !== 0) this.disconnect()
      return 0
    }
    const conn = this.connection
    if (conn === undefined || state === TCP_CLOSE) return -ENOTCONN
    if (state === TCP_SYN_SENT) {
      this.disconnect()
      return 0
    }
    conn.shutdown |= mask
    if ((mask & SEND_SHUTDOWN) !== 0) queueFin(conn)
    this.changed()
    return 0
  }

  /**
   * The application is done: RFC 9293 §3.10.4. Unread data or `abort` (SO_LINGER of zero) mean a reset, else what was written
   * is still delivered. With `lingering` the owner goes on being told of changes (`delivered`), until `forsake`.
   */
  close(abort = false, lingering = false): void {
    this.protocol.enter()
    this.#stopListening()
    this.#unbind()
    const conn = this.connection
    if (conn === undefined) return
    if (!lingering) this.forsake()
    closeConnection(conn, abort)
  }

  /** After `close`: whether the peer has acknowledged everything, FIN included. SO_LINGER waits for it. */
  get delivered(): boolean {
    const conn = this.connection
    if (conn === undefined) return true
    return conn.state !== TCP_FIN_WAIT1 && conn.state !== TCP_LAST_ACK && conn.state !== TCP_CLOSING
  }

  /** The owner wants to hear no more. */
  forsake(): void {
    this.owner = undefined
    if (this.connection !== undefined) this.connection.endpoint = undefined
  }

  /** Ends the connection with a reset and tells the application: as `ss --kill` does. */
  abort(errno = ECONNABORTED): void {
    this.protocol.enter()
    this.#stopListening()
    const conn = this.connection
    if (conn === undefined || conn.state === TCP_CLOSE) return
    if (conn.synchronized) sendReset(conn)
    conn.fail(errno)
  }

  #stopListening(): void {
    const { listener } = this
    if (listener === undefined) return
    this.protocol.unlisten(this)
    this.listener = undefined
    listener.close()
  }

  // What else the socket layer asks and says.

  /** The POLL* bits that hold now, as Linux's tcp_poll has them. */
  events(): number {
    if (this.listener !== undefined) return this.listener.ready > 0 ? POLLIN | POLLRDNORM : 0
    const conn = this.connection
    const shutdown = conn?.shutdown ?? 0
    const state = conn?.state ?? TCP_CLOSE
    let events = 0
    if (shutdown === BOTH_SHUTDOWN || state === TCP_CLOSE) events |= POLLHUP
    if ((shutdown & RCV_SHUTDOWN) !== 0) events |= POLLIN | POLLRDNORM | POLLRDHUP
    if (conn === undefined) return events | POLLOUT | POLLWRNORM
    if (state !== TCP_SYN_SENT && state !== TCP_SYN_RECV) {
      if (this.#isReadable(conn)) events |= POLLIN | POLLRDNORM
      if ((shutdown & SEND_SHUTDOWN) !== 0 || this.#writable) events |= POLLOUT | POLLWRNORM
      else this.#wantsSpace = true
      if (conn.urgState === URG_VALID) events |= POLLPRI
    }
    if (conn.error !== 0) events |= POLLERR
    return events
  }

  #isReadable(conn: TcpConnection): boolean {
    let target = Math.max(conn.settings.rcvLowat, 1)
    // The urgent byte at the head of the queue can't be read as data.
    if (conn.urgState !== URG_NONE && conn.urgSeq === conn.copiedSeq && !conn.settings.oobInline) target++
    return conn.unread >= target
  }

  /** TCP_NODELAY or TCP_CORK has changed: what was held back may go. */
  pushHeldBack(): void {
    const conn = this.connection
    if (conn === undefined || !conn.synchronized) return
    this.protocol.enter()
    output(conn)
  }

  /** TCP_QUICKACK. */
  setQuickAck(on: boolean): void {
    const conn = this.connection
    if (conn === undefined) return
    if (!on) {
      conn.pingPong = 1
      return
    }
    this.protocol.enter()
    conn.pingPong = 0
    if (conn.ackPending && conn.synchronized) sendAck(conn)
    enterQuickAck(conn)
  }

  /** SO_KEEPALIVE or TCP_KEEPIDLE has changed. */
  keepAliveChanged(): void {
    this.protocol.enter()
    this.connection?.startKeepalive()
  }

  /** TCP_CONGESTION: false for an unknown name. */
  setCongestion(name: string): boolean {
    const control = congestionControl(name)
    if (control === undefined) return false
    this.settings.congestion = name
    if (this.connection !== undefined) this.connection.congestion.control = control
    return true
  }
  get congestionName(): string {
    if (this.connection !== undefined) return this.connection.congestion.control.name
    return this.settings.congestion !== ''
      ? this.settings.congestion
      : this.protocol.network.sysctl.congestionControl
  }
}
