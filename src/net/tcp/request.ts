/**
 * SynRequest: a half-open connection at a listener, much smaller than a connection: RFC 4987. Made by a SYN, answered with
 * SYN-ACKs until the acknowledgement comes and makes a TcpConnection of it, a reset ends it, or tcp_synack_retries are
 * used up.
 */
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { Flow } from '../ip/flow.ts'
import { resetReply, sendBare, sendHandshake } from './control-segment.ts'
import type { TcpListener } from './listener.ts'
import type { SynOffer } from './options.ts'
import type { TcpProtocol } from './protocol.ts'
import { INITIAL_RTO, MSEC } from './rtt.ts'
import { ACK, ECE, RST, type Segment, SYN } from './segment.ts'
import { type Seq, seqAdd, seqAfter, seqBefore } from './sequence.ts'
import { REQUEST, type TableEntry } from './table.ts'

export class SynRequest implements TableEntry, Expiry {
  readonly kind = REQUEST
  readonly flow: Flow
  hash = 0
  hashNext: TableEntry | undefined = undefined
  readonly listener: TcpListener
  readonly timer = new Timer(this)
  irs: Seq = 0
  iss: Seq = 0
  mss = 536
  /** What both sides will do. */
  timestamps = false
  sackOk = false
  wscaleOk = false
  ecn = false
  sndWscale = 0
  rcvWscale = 0
  rcvWnd = 0
  advertisedMss = 536
  tsRecent: Seq = 0
  tsOffset = 0
  /** Instead of tsNow + tsOffset, for cookies. */
  cookieStamp: Seq | undefined = undefined
  sentAt = 0
  retransmits = 0
  timeouts = 0
  /** The handshake's acknowledgement came, but nobody may take the connection yet. */
  acked = false
  #lastAckAt = Number.NEGATIVE_INFINITY

  constructor(listener: TcpListener, flow: Flow) {
    this.listener = listener
    this.flow = flow
  }

  get #protocol(): TcpProtocol {
    return this.listener.protocol
  }

  sendSynAck(): void {
    const protocol = this.#protocol
    const offer: SynOffer = {
      mss: this.advertisedMss,
      wscale: this.wscaleOk ? this.rcvWscale : -1,
      sackPermitted: this.sackOk,
      timestamp: this.timestamps,
      tsval: this.cookieStamp ?? (Math.floor(protocol.now / 1e6) + this.tsOffset) | 0,
      tsecr: this.tsRecent,
    }
    protocol.network.counters.tcp.OutSegs++
    const flags = SYN | ACK | (this.ecn ? ECE : 0)
    sendHandshake(protocol, this.flow, this.iss, seqAdd(this.irs, 1), flags, this.rcvWnd, offer)
  }

  start(): void {
    this.sentAt = this.#protocol.now
    this.#arm()
  }

  #arm(): void {
    const { runtime, sysctl } = this.#protocol.network
    const delay = Math.min(INITIAL_RTO * 2 ** this.timeouts, sysctl.ipv4.tcp_rto_max_ms * MSEC)
    runtime.timers.add(this.timer, this.#protocol.now + delay)
  }

  expired(): void {
    const protocol = this.#protocol
    protocol.enter()
    const { settings } = this.listener.endpoint
    const { ipv4 } = protocol.network.sysctl
    let tries = settings.synCount > 0 ? settings.synCount : ipv4.tcp_synack_retries
    if (settings.deferAccept > 0) tries = Math.max(tries, settings.deferAccept)
    if (this.timeouts >= tries) {
      this.listener.drop(this)
      return
    }
    this.timeouts++
    // With the acknowledgement seen only the last round asks again, so that data come after all.
    if (!this.acked || this.timeouts >= settings.deferAccept) {
      this.retransmits++
      protocol.network.counters.tcp.RetransSegs++
      this.sendSynAck()
    }
    this.#arm()
  }

  /** A segment of its four-tuple. */
  receive(segment: Segment): void {
    const protocol = this.#protocol
    const ext = protocol.network.counters.tcpExt
    const { options } = segment
    const old = this.timestamps && options.timestamp && ((this.tsRecent - options.tsval) | 0) > 0
    if (segment.seq === this.irs && (segment.flags & (SYN | RST | ACK)) === SYN && !old) {
      // The SYN again: our answer was lost.
      if (this.#mayAnswer()) {
        this.retransmits++
        this.sendSynAck()
      }
      return
    }
    const rcvNxt = seqAdd(this.irs, 1)
    if (segment.has(ACK) && segment.ack !== seqAdd(this.iss, 1) && !segment.has(RST)) {
      resetReply(protocol, segment)
      return
    }
    const inWindow = !seqBefore(segment.end, rcvNxt) && !seqAfter(segment.seq, seqAdd(rcvNxt, this.rcvWnd))
    if (old || !inWindow) {
      if (old) ext.PAWSEstab++
      if (!segment.has(RST) && this.#mayAnswer()) this.#acknowledge(rcvNxt)
      return
    }
    if (segment.has(RST)) {
      // RFC 5961 §3.2.
      if (segment.seq !== rcvNxt) return
      ext.EmbryonicRsts++
      protocol.network.counters.tcp.AttemptFails++
      this.listener.drop(this)
      return
    }
    if (segment.has(SYN) && segment.seq !== this.irs) {
      if (this.#mayAnswer()) this.#acknowledge(rcvNxt)
      return
    }
    if (!segment.has(ACK)) return
    if (this.timestamps && options.timestamp && !seqAfter(segment.seq, rcvNxt)) this.tsRecent = options.tsval
    const { settings } = this.listener.endpoint
    if (this.timeouts < settings.deferAccept && segment.end === rcvNxt) {
      // TCP_DEFER_ACCEPT: no data, no connection.
      this.acked = true
      ext.TCPDeferAcceptDrop++
      return
    }
    this.listener.complete(this, segment)
  }

  #mayAnswer(): boolean {
    const protocol = this.#protocol
    if (protocol.now - this.#lastAckAt < protocol.network.sysctl.ipv4.tcp_invalid_ratelimit * MSEC)
      return false
    this.#lastAckAt = protocol.now
    return true
  }

  #acknowledge(rcvNxt: Seq): void {
    const protocol = this.#protocol
    const tsval = (Math.floor(protocol.now / 1e6) + this.tsOffset) | 0
    const timestamp = this.timestamps ? { tsval, tsecr: this.tsRecent } : undefined
    const window = Math.floor(this.rcvWnd / 2 ** this.rcvWscale)
    sendBare(protocol, this.flow, seqAdd(this.iss, 1), rcvNxt, ACK, window, timestamp)
  }
}
