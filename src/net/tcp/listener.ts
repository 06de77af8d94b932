/**
 * TcpListener: a passive open: RFC 9293 §3.10.7.2. Half-open requests up to the backlog (then SYN cookies, or nothing), and
 * the queue of connections that wait for accept(2), of which there may be one more than the backlog, as in Linux.
 */
import { TCP_SYN_RECV } from '../../abi/constants.ts'
import { TcpConnection } from './connection.ts'
import { resetReply } from './control-segment.ts'
import type { TcpEndpoint } from './endpoint.ts'
import { startSequence } from './handshake.ts'
import { receiveSegment } from './input.ts'
import type { TcpProtocol } from './protocol.ts'
import { SynRequest } from './request.ts'
import { ACK, CWR, ECE, FIN, RST, type Segment, SYN } from './segment.ts'
import { type Seq, seqAdd } from './sequence.ts'
import { advertisedMss, updateMss } from './sizes.ts'
import { cookieTimestamp, readCookieTimestamp } from './syncookie.ts'
import { initialWindow, receiveScale, windowOfSpace } from './window.ts'

export class TcpListener {
  readonly protocol: TcpProtocol
  readonly endpoint: TcpEndpoint
  backlog: number
  readonly requests = new Set<SynRequest>()
  readonly #ready: TcpConnection[] = []

  constructor(endpoint: TcpEndpoint, backlog: number) {
    this.protocol = endpoint.protocol
    this.endpoint = endpoint
    this.backlog = backlog
  }

  /** Connections that accept(2) would give. */
  get ready(): number {
    return this.#ready.length
  }
  get settings(): TcpEndpoint['settings'] {
    return this.endpoint.settings
  }
  get #full(): boolean {
    return this.#ready.length > this.backlog
  }

  accept(): TcpConnection | undefined {
    return this.#ready.shift()
  }

  /** A segment for the listener itself: nobody has its four-tuple. `iss`: chosen already, by a connection in TIME-WAIT. */
  receive(segment: Segment, iss?: Seq): void {
    if (segment.has(RST)) return
    if (segment.has(ACK)) {
      if (segment.has(SYN) || !this.#takeCookie(segment)) resetReply(this.protocol, segment)
      return
    }
    if (!segment.has(SYN) || segment.has(FIN) || segment.packet!.toMany) return
    this.#synReceived(segment, iss)
  }

  #synReceived(segment: Segment, iss: Seq | undefined): void {
    const { protocol } = this
    const { ipv4 } = protocol.network.sysctl
    const ext = protocol.network.counters.tcpExt
    let cookie = ipv4.tcp_syncookies === 2
    if (
      this.requests.size >= Math.min(Math.max(this.backlog, 1), ipv4.tcp_max_syn_backlog) &&
      iss === undefined
    ) {
      if (ipv4.tcp_syncookies === 0) {
        ext.TCPReqQFullDrop++
        ext.ListenDrops++
        return
      }
      ext.TCPReqQFullDoCookies++
      cookie = true
    }
    if (this.#full) {
      ext.ListenOverflows++
      ext.ListenDrops++
      return
    }
    const request = this.#makeRequest(segment)
    if (request === undefined) {
      ext.ListenDrops++
      return
    }
    const { options } = segment
    request.ecn = ipv4.tcp_ecn !== 0 && segment.has(ECE) && segment.has(CWR)
    request.sackOk = ipv4.tcp_sack !== 0 && options.sackPermitted
    request.timestamps = ipv4.tcp_timestamps !== 0 && options.timestamp
    request.wscaleOk = ipv4.tcp_window_scaling !== 0 && options.wscale >= 0
    if (request.timestamps) request.tsRecent = options.tsval
    if (request.wscaleOk) {
      request.sndWscale = options.wscale
      request.rcvWscale = receiveScale(this)
    }
    if (cookie) {
      this.#sendCookie(request, segment)
      return
    }
    request.iss = iss ?? protocol.initialSequence(request.flow)
    protocol.table.add(request)
    this.requests.add(request)
    request.start()
    request.sendSynAck()
  }

  /** With addresses, route, sizes. Undefined: there is no way back. */
  #makeRequest(segment: Segment): SynRequest | undefined {
    const { protocol, endpoint } = this
    const flow = protocol.flowFor(endpoint.flow)
    flow.source = segment.destination
    flow.destination = segment.source
    flow.sourcePort = segment.destinationPort
    flow.destinationPort = segment.sourcePort
    if (flow.device === 0 && flow.destination.isLinkLocal) flow.device = segment.packet!.device?.index ?? 0
    const route = protocol.network.routeFor(flow)
    if (typeof route === 'number') return undefined
    const request = new SynRequest(this, flow)
    request.irs = segment.seq
    request.mss = segment.options.mss > 0 ? segment.options.mss : 536
    request.advertisedMss = advertisedMss(flow, route, this.settings)
    request.tsOffset = protocol.timestampOffset(flow)
    const space = windowOfSpace(endpoint, this.settings.rcvbuf)
    request.rcvWnd = initialWindow(space, request.advertisedMss, this.settings.windowClamp)
    return request
  }

  #sendCookie(request: SynRequest, segment: Segment): void {
    const { protocol } = this
    const { options } = segment
    const { iss } = protocol.cookies.make(request.flow, segment.seq, request.mss, protocol.now)
    request.iss = iss
    if (request.timestamps) {
      const ecn = request.ecn
      const now = Math.floor(protocol.now / 1e6) | 0
      request.cookieStamp = (cookieTimestamp(now, options, ecn) + request.tsOffset) | 0
    } else {
      // Without timestamps there is no place to remember these.
      request.sackOk = request.wscaleOk = request.ecn = false
      request.rcvWscale = request.sndWscale = 0
    }
    protocol.network.counters.tcpExt.SyncookiesSent++
    request.sendSynAck()
  }

  /** An acknowledgement out of nowhere: the answer to a cookie? */
  #takeCookie(segment: Segment): boolean {
    const { protocol } = this
    const { ipv4 } = protocol.network.sysctl
    if (ipv4.tcp_syncookies === 0) return false
    const request = this.#makeRequest(segment)
    if (request === undefined) return false
    request.irs = seqAdd(segment.seq, -1)
    request.iss = seqAdd(segment.ack, -1)
    const mss = protocol.cookies.check(request.flow, request.irs, request.iss, protocol.now)
    const ext = protocol.network.counters.tcpExt
    if (mss === 0) {
      ext.SyncookiesFailed++
      return false
    }
    request.mss = mss
    const { options } = segment
    if (options.timestamp && ipv4.tcp_timestamps !== 0) {
      const told = readCookieTimestamp((options.tsecr - request.tsOffset) | 0)
      request.timestamps = true
      request.tsRecent = options.tsval
      request.sackOk = told.sackPermitted
      request.ecn = told.ecn && ipv4.tcp_ecn !== 0
      request.wscaleOk = told.wscale >= 0
      request.sndWscale = Math.max(told.wscale, 0)
      request.rcvWscale = request.wscaleOk ? receiveScale(this) : 0
    }
    ext.SyncookiesRecv++
    request.sentAt = protocol.now
    if (this.#full) {
      ext.ListenOverflows++
      return true
    }
    this.complete(request, segment)
    return true
  }

  /** The handshake's last acknowledgement is here: the request becomes a connection. */
  complete(request: SynRequest, segment: Segment): void {
    const { protocol, endpoint } = this
    const ext = protocol.network.counters.tcpExt
    if (this.#full) {
      ext.ListenOverflows++
      ext.ListenDrops++
      if (protocol.network.sysctl.ipv4.tcp_abort_on_overflow !== 0) {
        resetReply(protocol, segment)
        this.drop(request)
      } else {
        // Silence: the peer's data will ask again.
        request.acked = true
      }
      return
    }
    this.drop(request)
    const settings = endpoint.settings.clone()
    const conn = new TcpConnection(protocol, request.flow, settings)
    conn.setState(TCP_SYN_RECV)
    fillConnection(conn, request)
    protocol.remember(conn)
    protocol.network.counters.tcp.PassiveOpens++
    this.#ready.push(conn)
    receiveSegment(conn, segment)
    endpoint.changed()
  }

  /** Forgets a half-open connection. */
  drop(request: SynRequest): void {
    this.protocol.network.runtime.timers.cancel(request.timer)
    if (this.requests.delete(request)) this.protocol.table.remove(request)
  }

  /** What nobody has accepted is reset: RFC 9293 §3.10.4. */
  close(): void {
    for (const request of this.requests) this.drop(request)
    for (const conn of this.#ready) this.protocol.abandon(conn)
    this.#ready.length = 0
  }
}

function fillConnection(conn: TcpConnection, request: SynRequest): void {
  const { protocol } = conn
  conn.iss = request.iss
  startSequence(conn)
  conn.irs = request.irs
  conn.rcvNxt = conn.rcvWup = conn.copiedSeq = conn.lastAckSent = seqAdd(request.irs, 1)
  conn.urgSeq = conn.copiedSeq
  conn.sndWl1 = request.irs
  conn.rcvWnd = request.rcvWnd
  conn.timestamps = request.timestamps
  conn.tsRecent = request.tsRecent
  conn.tsRecentAt = protocol.now
  conn.tsOffset = request.tsOffset
  conn.sackOk = request.sackOk
  conn.ecn = request.ecn
  conn.sndWscale = request.sndWscale
  conn.rcvWscale = request.rcvWscale
  conn.offersTimestamps = request.timestamps
  conn.offersSack = request.sackOk
  conn.offersWscale = request.wscaleOk
  conn.advertisedMss = request.advertisedMss
  conn.peerMss = request.mss
  updateMss(conn)
  conn.totalRetransmits = request.retransmits
  if (request.retransmits > 0 || request.sentAt === 0) return
  const { ipv4 } = protocol.network.sysctl
  const sample = Math.max(protocol.now - request.sentAt, 1)
  conn.rtt.min.add(sample, protocol.now, ipv4.tcp_min_rtt_wlen * 1e9)
  conn.rtt.sample(sample, conn.sndUna, conn.sndNxt, conn.rtoMin, conn.rtoMax)
}
