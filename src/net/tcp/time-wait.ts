/**
 * TimeWait: what is left of a connection that this side closed first: RFC 9293 §3.6, RFC 1337, RFC 6191. A small object in the
 * connection's place of the table, so that old segments meet somebody who knows them; for an orphan in FIN-WAIT-2 as
 * well. Ends after its time, or gives way to a new connection that is certainly newer.
 */
import { TCP_FIN_WAIT2, TCP_TIME_WAIT } from '../../abi/constants.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpAddress } from '../address.ts'
import type { Flow } from '../ip/flow.ts'
import type { TcpConnection } from './connection.ts'
import { resetReply, sendBare } from './control-segment.ts'
import type { PortOwner } from './ports.ts'
import type { TcpProtocol } from './protocol.ts'
import { MSEC } from './rtt.ts'
import { ACK, FIN, RST, type Segment, SYN } from './segment.ts'
import { type Seq, seqAdd, seqAfter, seqBefore } from './sequence.ts'
import { type TableEntry, TIME_WAIT } from './table.ts'
import { receiveWindow } from './window.ts'

/** Twice the maximum segment lifetime that Linux assumes. */
export const TIME_WAIT_SECONDS = 60

/** What the segment was for. */
export const TW_DONE = 0
/** A SYN that may open a new connection: the caller looks for a listener. */
export const TW_SYN = 1

export class TimeWait implements TableEntry, Expiry, PortOwner {
  readonly kind = TIME_WAIT
  readonly flow: Flow
  hash = 0
  hashNext: TableEntry | undefined = undefined
  /** TCP_FIN_WAIT2 or TCP_TIME_WAIT. */
  state: number
  readonly timer = new Timer(this)
  readonly localAddress: IpAddress
  readonly device: number
  readonly v6Only: boolean
  readonly listening = false
  readonly uid: number
  readonly shared: boolean
  readonly reuseAddress: boolean
  readonly reusePort: boolean
  readonly timestamps: boolean
  readonly sndNxt: Seq
  rcvNxt: Seq
  tsRecent: Seq
  tsRecentAt: number
  readonly tsOffset: number
  readonly #protocol: TcpProtocol
  readonly #window: number
  readonly #field: number
  #lastAckAt = Number.NEGATIVE_INFINITY

  constructor(conn: TcpConnection, state: number) {
    this.#protocol = conn.protocol
    this.flow = conn.flow
    this.state = state
    this.localAddress = conn.localAddress
    this.device = conn.device
    this.v6Only = conn.v6Only
    this.uid = conn.uid
    this.shared = conn.shared
    this.reuseAddress = conn.settings.reuseAddress
    this.reusePort = conn.settings.reusePort
    this.timestamps = conn.timestamps
    this.sndNxt = conn.sndNxt
    this.rcvNxt = conn.rcvNxt
    this.tsRecent = conn.tsRecent
    this.tsRecentAt = conn.tsRecentAt
    this.tsOffset = conn.tsOffset
    this.#window = receiveWindow(conn)
    this.#field = Math.min(Math.floor(this.#window / 2 ** conn.rcvWscale), 0xffff)
  }

  start(seconds: number): void {
    this.#protocol.network.runtime.timers.add(this.timer, this.#protocol.now + seconds * 1e9)
  }
  expired(): void {
    this.#protocol.network.counters.tcpExt.TW++
    this.#protocol.forgetTimeWait(this)
  }
  kill(): void {
    this.#protocol.network.runtime.timers.cancel(this.timer)
    this.#protocol.forgetTimeWait(this)
  }

  /** The first sequence number of a connection that takes its place. */
  get successorSequence(): Seq {
    return seqAdd(this.sndNxt, 65535 + 2)
  }

  /** tcp_tw_reuse: an active open may take the place of one whose peer can tell the two apart by their timestamps. */
  mayReuse(): boolean {
    const { network, now } = this.#protocol
    const { ipv4 } = network.sysctl
    if (ipv4.tcp_tw_reuse === 0 || !this.timestamps || this.tsRecentAt === 0) return false
    const { flow } = this
    if (ipv4.tcp_tw_reuse === 2 && !(flow.source.isLoopback || flow.destination.isLoopback)) return false
    return now - this.tsRecentAt > ipv4.tcp_tw_reuse_delay * MSEC
  }

  receive(segment: Segment): number {
    const { options } = segment
    const stamped = this.timestamps && options.timestamp
    const old = stamped && ((this.tsRecent - options.tsval) | 0) > 0
    if (this.state === TCP_FIN_WAIT2) return this.#finWait2(segment, old)
    if (!old && segment.seq === this.rcvNxt && (segment.seq === segment.end || segment.has(RST))) {
      if (segment.has(RST)) {
        // RFC 1337: an old reset must not end it early, where one cares.
        if (this.#protocol.network.sysctl.ipv4.tcp_rfc1337 === 0) this.kill()
        return TW_DONE
      }
      this.#stamp(segment)
      this.start(TIME_WAIT_SECONDS)
      return TW_DONE
    }
    // RFC 6191: a newer SYN opens a new connection.
    const fresh = seqAfter(segment.seq, this.rcvNxt) || (stamped && ((options.tsval - this.tsRecent) | 0) > 0)
    if ((segment.flags & (SYN | RST | ACK)) === SYN && !old && fresh) return TW_SYN
    if (old) this.#protocol.network.counters.tcpExt.PAWSEstab++
    if (segment.has(RST)) return TW_DONE
    if (old || segment.has(ACK)) this.start(TIME_WAIT_SECONDS)
    this.#acknowledge(true)
    return TW_DONE
  }

  #finWait2(segment: Segment, old: boolean): number {
    const inWindow =
      !seqBefore(segment.end, this.rcvNxt) && !seqAfter(segment.seq, seqAdd(this.rcvNxt, this.#window))
    if (old || !inWindow) {
      if (!segment.has(RST)) this.#acknowledge(true)
      return TW_DONE
    }
    if (segment.has(RST)) {
      this.kill()
      return TW_DONE
    }
    if (segment.has(SYN) && !seqBefore(segment.seq, this.rcvNxt)) {
      resetReply(this.#protocol, segment)
      return TW_DONE
    }
    if (!segment.has(ACK) || !seqAfter(segment.end, this.rcvNxt) || segment.end === segment.seq)
      return TW_DONE
    if (!segment.has(FIN) || segment.end !== seqAdd(this.rcvNxt, 1)) {
      // Data for nobody.
      this.kill()
      resetReply(this.#protocol, segment)
      return TW_DONE
    }
    this.state = TCP_TIME_WAIT
    this.rcvNxt = segment.end
    this.#stamp(segment)
    this.start(TIME_WAIT_SECONDS)
    this.#acknowledge(false)
    return TW_DONE
  }

  #stamp(segment: Segment): void {
    if (!this.timestamps || !segment.options.timestamp) return
    this.tsRecent = segment.options.tsval
    this.tsRecentAt = this.#protocol.now
  }

  #acknowledge(limited: boolean): void {
    const protocol = this.#protocol
    const { now } = protocol
    if (limited) {
      if (now - this.#lastAckAt < protocol.network.sysctl.ipv4.tcp_invalid_ratelimit * MSEC) return
      this.#lastAckAt = now
    }
    const tsval = (Math.floor(now / 1e6) + this.tsOffset) | 0
    const timestamp = this.timestamps ? { tsval, tsecr: this.tsRecent } : undefined
    sendBare(protocol, this.flow, this.sndNxt, this.rcvNxt, ACK, this.#field, timestamp)
  }
}
