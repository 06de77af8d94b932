/**
 * TcpConnection: RFC 9293's transmission control block.
 *
 * Made by TcpEndpoint.connect (in SYN-SENT) or by a listener whose three-way handshake is complete (in SYN-RECEIVED, at once
 * ESTABLISHED). While it is in the protocol's table it gets the segments of its four-tuple; its endpoint is the
 * application's side. When that closes first, the connection goes on as an orphan until the peer has had everything, and
 * becomes a TimeWait. `done` takes it out of the table and ends its timers and buffers, all but what the
 * application may still read.
 *
 * The record is plain; what is done with it stands in the files by subject: input.ts (segments), handshake.ts, ack.ts, sack.ts,
 * rack.ts, recovery.ts (acknowledgements and losses), receive.ts, read.ts, window.ts (data and the receive window), output.ts,
 * retransmit.ts, control-segment.ts (sending), sizes.ts, timers.ts, close.ts.
 */
import { TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT } from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import type { Expiry, Timer } from '../../kernel/timers.ts'
import type { IpAddress } from '../address.ts'
import type { Flow } from '../ip/flow.ts'
import { CongestionWindow, congestionControl } from './congestion/control.ts'
import type { TcpEndpoint } from './endpoint.ts'
import { LazyTimer } from './lazy-timer.ts'
import type { PortOwner } from './ports.ts'
import type { TcpProtocol } from './protocol.ts'
import { RackState } from './rack-state.ts'
import { OutOfOrderQueue, ReceiveQueue } from './receive-queue.ts'
import { RecoveryState } from './recovery-state.ts'
import { RttEstimator, type WindowedMin } from './rtt.ts'
import { SackList } from './sack-list.ts'
import { SendBuffer } from './send-buffer.ts'
import { SentQueue } from './sent-queue.ts'
import { type Seq, seqAdd, seqAfter, seqDiff } from './sequence.ts'
import type { TcpSettings } from './settings.ts'
import { CONNECTION, type TableEntry } from './table.ts'
import { connectionTimer } from './timers.ts'

/** What the retransmission timer is for. */
export const TIMER_RTO = 0
export const TIMER_PROBE = 1
export const TIMER_TLP = 2
export const TIMER_REORDER = 3

/** States of urgent data: tcp(7), recv(2) with MSG_OOB. */
export const URG_NONE = 0
/** Announced, the byte is not here yet. */
export const URG_AWAITED = 1
export const URG_VALID = 2
export const URG_READ = 3

export class TcpConnection implements Expiry, TableEntry, PortOwner {
  readonly kind = CONNECTION
  hash = 0
  hashNext: TableEntry | undefined = undefined
  readonly protocol: TcpProtocol
  readonly flow: Flow
  readonly settings: TcpSettings
  /** Undefined: an orphan, or not yet accepted. */
  endpoint: TcpEndpoint | undefined = undefined
  /** Closed by the application, or never accepted and given up. */
  orphan = false
  /** TCP_ESTABLISHED and so on. */
  state = TCP_CLOSE
  /** Positive errno that ended it or was reported by ICMP; told once. */
  error = 0
  /** An ICMP error that is only told if the connection fails: sk_err_soft. */
  softError = 0
  /** RCV_SHUTDOWN (1), SEND_SHUTDOWN (2). */
  shutdown = 0

  // What both sides can do.
  timestamps = false
  sackOk = false
  ecn = false
  sndWscale = 0
  rcvWscale = 0
  /** What SYNs say; kept for retransmissions. */
  offersTimestamps = false
  offersSack = false
  offersWscale = false
  offersEcn = false

  // Sending: RFC 9293 §3.3.1.
  iss: Seq = 0
  sndUna: Seq = 0
  sndNxt: Seq = 0
  sndWnd = 0
  sndWl1: Seq = 0
  /** The largest window that the peer has ever advertised. */
  maxWindow = 0
  /** One past the urgent byte. */
  sndUp: Seq = 0
  /** End of the last segment sent that was shorter than the MSS: Minshall's rule. */
  sndSmall: Seq = 0
  /** End of the last write that asked to be pushed. */
  pushSeq: Seq = 0
  readonly buffer: SendBuffer
  readonly sent = new SentQueue()
  /** The application has shut down sending: FIN follows the last byte. */
  finQueued = false
  /** MSG_MORE: the write under way is not the last of its kind. */
  more = false

  // Sizes.
  /** Payload of a full segment, timestamps deducted, SACK blocks not. */
  mss = 536
  /** What the peer's SYN allows, TCP_MAXSEG considered. */
  peerMss = 536
  pmtu = 0
  /** What our SYN says. */
  advertisedMss = 536
  /** Black-hole detection has lowered the MTU below what the route says. */
  mtuCap = 0

  // Congestion, losses.
  readonly rtt = new RttEstimator()
  readonly congestion: CongestionWindow
  readonly recovery = new RecoveryState()
  readonly rack = new RackState()
  /** The window, not the application, limited the last flight. */
  windowLimited = false
  maxInFlight = 0
  usageEnd: Seq = 0
  /** Bytes that the peer is known to have got, and when the last of them was reported. */
  delivered = 0
  deliveredAt = 0
  firstSentAt = 0
  /** `delivered` up to which samples say more of the application than of the path. */
  appLimitedUntil = 0
  /** Bytes per second. */
  deliveryRate = 0
  pacingRate = Number.POSITIVE_INFINITY
  nextSend = 0

  // ECN: RFC 3168.
  ecnEchoing = false
  ecnSeen = false
  cwrPending = false

  // Receiving.
  irs: Seq = 0
  rcvNxt: Seq = 0
  /** rcvNxt at the last advertisement of `rcvWnd`. */
  rcvWup: Seq = 0
  rcvWnd = 0
  /** How far the window may be opened as the peer has proved to send well-filled segments. */
  rcvSsthresh = 0
  windowClamp = 0
  /** The next byte that the application reads. */
  copiedSeq: Seq = 0
  readonly queue = new ReceiveQueue()
  readonly outOfOrder = new OutOfOrderQueue()
  readonly sacks = new SackList()
  /** FIN has been taken: it stands at rcvNxt - 1. */
  finReceived = false
  urgState = URG_NONE
  urgSeq: Seq = 0
  urgByte = 0
  /** PAWS: RFC 7323 §5. */
  tsRecent: Seq = 0
  tsRecentAt = 0
  tsOffset = 0
  /** What the last acknowledgement that we sent acknowledged. */
  lastAckSent: Seq = 0

  // Acknowledging.
  rcvMss = 536
  ackPending = false
  /** Acknowledge at once. */
  ackNow = false
  /** Segments that looked like the end of a write since the last acknowledgement: 0, 1, 2 for more. */
  ackPushed = 0
  lastSegmentSize = 0
  /** Acknowledgements left that aren't delayed. */
  quickAcks = 0
  /** The application answers what it gets: acknowledgements ride on the answers. */
  pingPong = 0
  ato = 0
  lastReceivedAt = 0
  lastSentAt = 0
  lastAckAt = 0

  // Tuning of the receive buffer.
  rcvRtt = 0
  rcvRttMin: WindowedMin | undefined = undefined
  /** The timestamp that was sent last, and when for the first time: more exact than its milliseconds. 0 once it was echoed. */
  stamp: Seq = 0
  stampedAt = 0
  rcvRttSeq: Seq = 0
  rcvRttAt = 0
  spaceSeq: Seq = 0
  spaceAt = 0
  space = 0

  // Timers.
  readonly retransmitTimer = new LazyTimer(this)
  timerKind = TIMER_RTO
  readonly delackTimer = new LazyTimer(this)
  readonly keepaliveTimer = new LazyTimer(this)
  readonly paceTimer = new LazyTimer(this)
  backoff = 0
  /** Timeouts in a row without progress. */
  retransmits = 0
  probesOut = 0
  /** When the probing of a closed window began. */
  probesSince = 0
  /** When the window of out-of-window acknowledgements began: RFC 5961 §7. */
  lastInvalidAckAt = Number.NEGATIVE_INFINITY

  // For TCP_INFO.
  totalRetransmits = 0
  totalRto = 0
  bytesSent = 0
  bytesRetransmitted = 0
  bytesAcked = 0
  bytesReceived = 0
  segmentsIn = 0
  segmentsOut = 0
  dataSegmentsIn = 0
  dataSegmentsOut = 0
  dsackDuplicates = 0
  outOfOrderSegments = 0
  deliveredCe = 0

  constructor(protocol: TcpProtocol, flow: Flow, settings: TcpSettings) {
    this.protocol = protocol
    this.flow = flow
    this.settings = settings
    this.buffer = new SendBuffer(protocol.chunks)
    const { congestion } = settings
    const name = congestion !== '' ? congestion : protocol.network.sysctl.congestionControl
    const control = congestionControl(name) ?? congestionControl('reno')!
    this.congestion = new CongestionWindow(this.mss, control)
  }

  /** Bounds of the retransmission timeout, ns. */
  get rtoMin(): number {
    return this.settings.rtoMin || this.protocol.network.sysctl.ipv4.tcp_rto_min_us * 1000
  }
  get rtoMax(): number {
    return this.settings.rtoMax || this.protocol.network.sysctl.ipv4.tcp_rto_max_ms * 1e6
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
  get uid(): number {
    return this.flow.uid
  }
  readonly listening = false
  /** Its port was chosen at connect(2). */
  shared = false

  get localPort(): number {
    return this.flow.sourcePort
  }
  get remotePort(): number {
    return this.flow.destinationPort
  }
  /** Past the handshake, one way or the other. */
  get synchronized(): boolean {
    const { state } = this
    return state !== TCP_CLOSE && state !== TCP_SYN_SENT && state !== TCP_SYN_RECV && state !== TCP_LISTEN
  }
  /** Bytes written and never sent. */
  get unsent(): number {
    return Math.max(seqDiff(this.buffer.end, this.sndNxt), 0)
  }
  get finSent(): boolean {
    return seqAfter(this.sndNxt, this.buffer.end)
  }
  /** Something waits to be sent for the first time. */
  get hasUnsent(): boolean {
    return seqDiff(this.buffer.end, this.sndNxt) > 0 || (this.finQueued && !this.finSent)
  }
  /** One past the last sequence number that the peer takes. */
  get windowEnd(): Seq {
    return seqAdd(this.sndUna, this.sndWnd)
  }
  /** Bytes in order that the application has not read, urgent ones included. */
  get unread(): number {
    return seqDiff(this.rcvNxt, this.copiedSeq) - (this.finReceived ? 1 : 0)
  }
  /** Memory that received data takes. */
  get receiveCharge(): number {
    return this.queue.charge + this.outOfOrder.charge
  }
  /** Our clock for timestamps: milliseconds from an offset that only this pair of hosts has. */
  get tsNow(): Seq {
    return (Math.floor(this.protocol.now / 1e6) + this.tsOffset) | 0
  }

  /** Nanoseconds of silence before the first keep-alive. */
  keepaliveTime(): number {
    const seconds =
      this.settings.keepIdle > 0
        ? this.settings.keepIdle
        : this.protocol.network.sysctl.ipv4.tcp_keepalive_time
    return seconds * 1e9
  }
  armKeepalive(delay: number): void {
    this.keepaliveTimer.set(this.protocol.network.runtime.timers, this.protocol.now + delay)
  }
  /** SO_KEEPALIVE is set, or the connection has come about with it. */
  startKeepalive(): void {
    if (this.settings.keepAlive && this.synchronized) this.armKeepalive(this.keepaliveTime())
    else if (!this.settings.keepAlive && !this.orphan) this.keepaliveTimer.clear()
  }

  /** The peer has answered: its neighbour entry is good. */
  confirmed(): void {
    this.flow.route?.confirm()
  }

  expired(timer: Timer): void {
    this.protocol.enter()
    connectionTimer(this, timer)
  }

  setState(state: number): void {
    const counters = this.protocol.network.counters.tcp
    if (this.state === TCP_ESTABLISHED) counters.CurrEstab--
    if (state === TCP_ESTABLISHED) counters.CurrEstab++
    this.state = state
  }

  /** What `poll` says may have changed. */
  changed(): void {
    this.endpoint?.changed()
  }

  /** The error that it is to tell, as a negative errno, once; else 0. */
  takeError(): Status {
    const { error } = this
    this.error = 0
    return error === 0 ? 0 : -error
  }

  /** Ends with an error that the application is told of. */
  fail(errno: number): void {
    this.error = errno
    this.done()
  }

  /** Ends: sending is over, what was received can still be read. */
  done(): void {
    if (this.state === TCP_CLOSE) return
    this.setState(TCP_CLOSE)
    this.shutdown = 3
    this.protocol.forget(this)
    const { timers } = this.protocol.network.runtime
    this.retransmitTimer.cancel(timers)
    this.delackTimer.cancel(timers)
    this.keepaliveTimer.cancel(timers)
    this.paceTimer.cancel(timers)
    this.sent.clear()
    this.buffer.clear()
    this.outOfOrder.clear()
    if (this.orphan) {
      this.purgeReceived()
      this.protocol.orphans.delete(this)
    }
    this.protocol.memory.update(this)
    this.changed()
  }

  purgeReceived(): void {
    this.queue.clear()
    this.outOfOrder.clear()
    this.copiedSeq = this.finReceived ? seqAdd(this.rcvNxt, -1) : this.rcvNxt
    this.protocol.memory.update(this)
  }

  /** Bytes that the protocol's memory account holds for it; kept by TcpMemory. */
  charged = 0
}
