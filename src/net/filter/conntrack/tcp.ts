/**
 * TcpTracking: a TCP connection seen from the middle: its state, and for each side what it may send, so that segments that
 * neither side would accept are known as such ("Real Stateful TCP Packet Filtering in IP Filter", van Rooij 2001).
 *
 * With the connection's first segment it is made: a SYN, or where nf_conntrack_tcp_loose is set any ACK of a connection that
 * is older than we are, whose windows are then only learnt.
 */
import {
  IP_CT_TCP_FLAG_BE_LIBERAL,
  IP_CT_TCP_FLAG_CLOSE_INIT,
  IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED,
  IP_CT_TCP_FLAG_MAXACK_SET,
  IP_CT_TCP_FLAG_SACK_PERM,
  IP_CT_TCP_FLAG_WINDOW_SCALE,
  IPS_ASSURED,
  TCP_CONNTRACK_CLOSE,
  TCP_CONNTRACK_ESTABLISHED,
  TCP_CONNTRACK_FIN_WAIT,
  TCP_CONNTRACK_IGNORE,
  TCP_CONNTRACK_NONE,
  TCP_CONNTRACK_SYN_RECV,
  TCP_CONNTRACK_SYN_SENT,
  TCP_CONNTRACK_TIME_WAIT,
} from '../../../abi/constants.ts'
import { type Connection, ORIGINAL, REPLY } from './connection.ts'
import type { ConntrackSettings } from './settings.ts'
import type { TcpSegment } from './tcp-segment.ts'
import { INVALID, nextState, SEGMENT_ACK, SEGMENT_RST, SEGMENT_SYN, SEGMENT_SYNACK } from './tcp-states.ts'

/** What is to become of a segment. */
export const TRACK_ACCEPT = 0
/** It passes, and leaves the connection as it was. */
export const TRACK_IGNORE = 1
/** It is none of the connection's. */
export const TRACK_INVALID = 2
/** The connection is over, and this segment begins another one. */
export const TRACK_ANEW = 3
/** The connection was refused: nobody needs to know of it any longer. */
export const TRACK_END = 4

/** How old an acknowledgement may be. */
const MIN_ACK_WINDOW = 66000

class Side {
  /** Behind the last byte that it has sent. */
  end = 0
  /** Up to where it may send: the last acknowledgement of it and the window offered with that. */
  maxEnd = 0
  /** The largest window that it has offered; 0: it has sent nothing yet. */
  maxWindow = 0
  /** The last that it has acknowledged. */
  maxAck = 0
  scale = 0
  /** IP_CT_TCP_FLAG_* */
  flags = 0

  begin(segment: TcpSegment): void {
    this.end = this.maxEnd = segment.end
    this.maxWindow = segment.window || 1
    this.flags = 0
    this.scale = 0
    this.options(segment)
  }
  options(segment: TcpSegment): void {
    if (segment.scale >= 0) {
      this.scale = segment.scale
      this.flags |= IP_CT_TCP_FLAG_WINDOW_SCALE
    }
    if (segment.sackPermitted) this.flags |= IP_CT_TCP_FLAG_SACK_PERM
  }
}

export class TcpTracking {
  state = TCP_CONNTRACK_NONE
  readonly sides: readonly [Side, Side] = [new Side(), new Side()]
  #lastKind = -1
  #lastDirection = ORIGINAL
  #lastSequence = 0
  #lastAck = 0
  #lastEnd = 0
  #lastWindow = 0
  /** The side as an ignored SYN would make it, should its answer show that it was right. */
  #ignored: Side | undefined = undefined
  #retransmissions = 0

  /** The first segment: undefined where none can begin a connection. */
  static begin(segment: TcpSegment, settings: ConntrackSettings): TcpTracking | undefined {
    const state = nextState(false, segment.kind, TCP_CONNTRACK_NONE)
    if (state >= INVALID) return undefined
    const tracking = new TcpTracking()
    const [sender, receiver] = tracking.sides
    if (state === TCP_CONNTRACK_SYN_SENT) {
      sender.begin(segment)
      return tracking
    }
    if (settings.nf_conntrack_tcp_loose === 0) return undefined
    // The windows' scale will never be known: whatever looks wrong may be right.
    sender.begin(segment)
    sender.maxEnd = (segment.end + sender.maxWindow) >>> 0
    sender.flags = receiver.flags = IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL
    sender.scale = 0
    return tracking
  }

  /** TRACK_*. Sets the connection's timeout (ns) unless the segment is ignored or invalid. */
  segment(
    connection: Connection,
    direction: number,
    segment: TcpSegment,
    settings: ConntrackSettings,
  ): number {
    const before = this.state
    const { kind } = segment
    let after = nextState(direction === REPLY, kind, before)
    if (after === INVALID) return TRACK_INVALID
    if (after === TCP_CONNTRACK_SYN_SENT && before >= TCP_CONNTRACK_TIME_WAIT) {
      if (this.#isOver(direction)) return TRACK_ANEW
      after = TCP_CONNTRACK_IGNORE
    }
    if (after === TCP_CONNTRACK_IGNORE) {
      if (!this.#answersIgnored(direction, segment)) {
        this.#remember(direction, segment)
        return TRACK_IGNORE
      }
      this.#resynchronize(direction)
      after = TCP_CONNTRACK_SYN_RECV
    }
    if (after === TCP_CONNTRACK_CLOSE && kind === SEGMENT_RST) {
      if (!this.#resetFits(direction, segment, settings)) return TRACK_INVALID
    } else if (!this.#inWindow(direction, segment, settings)) {
      return TRACK_INVALID
    }
    this.#lastKind = kind
    this.#lastDirection = direction
    this.state = after
    const side = this.sides[direction]
    if (before !== after && after === TCP_CONNTRACK_FIN_WAIT) side.flags |= IP_CT_TCP_FLAG_CLOSE_INIT
    connection.timeout = this.#timeout(settings) * 1e9
    if (!connection.seenReply && direction === REPLY && kind === SEGMENT_RST) return TRACK_END
    const wasOpen = before === TCP_CONNTRACK_SYN_RECV || before === TCP_CONNTRACK_ESTABLISHED
    if (connection.seenReply && wasOpen && after === TCP_CONNTRACK_ESTABLISHED)
      connection.status |= IPS_ASSURED
    return TRACK_ACCEPT
  }

  #timeout(settings: ConntrackSettings): number {
    const usual = settings.tcpTimeout(this.state)
    const { nf_conntrack_tcp_timeout_max_retrans: many, nf_conntrack_tcp_timeout_unacknowledged: open } =
      settings
    if (this.#retransmissions >= settings.nf_conntrack_tcp_max_retrans) return Math.min(usual, many)
    const unacknowledged = (this.sides[0].flags | this.sides[1].flags) & IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED
    if (unacknowledged !== 0 && usual > open) return open
    return this.#lastWindow === 0 && this.#lastKind === SEGMENT_ACK ? Math.min(usual, many) : usual
  }

  /** Both sides may forget it: one has closed first, or it was reset from the side that now begins. */
  #isOver(direction: number): boolean {
    const flags = this.sides[0].flags | this.sides[1].flags
    if ((flags & IP_CT_TCP_FLAG_CLOSE_INIT) !== 0) return true
    return this.#lastDirection === direction && this.#lastKind === SEGMENT_RST
  }

  #remember(direction: number, segment: TcpSegment): void {
    this.#lastKind = segment.kind
    this.#lastDirection = direction
    this.#lastSequence = segment.sequence
    this.#lastEnd = segment.end
    this.#lastWindow = segment.window
    this.#ignored = undefined
    if (segment.kind !== SEGMENT_SYN) return
    this.#ignored = new Side()
    this.#ignored.begin(segment)
  }
  /** It is the answer to a SYN that looked out of place: the side that sent that had forgotten the connection. */
  #answersIgnored(direction: number, segment: TcpSegment): boolean {
    return (
      segment.kind === SEGMENT_SYNACK &&
      this.#lastKind === SEGMENT_SYN &&
      this.#lastDirection !== direction &&
      this.#ignored !== undefined &&
      segment.acknowledgement === this.#lastEnd
    )
  }
  #resynchronize(direction: number): void {
    Object.assign(this.sides[1 - direction], this.#ignored)
    Object.assign(this.sides[direction], new Side())
    this.#ignored = undefined
    this.state = TCP_CONNTRACK_SYN_SENT
  }

  #resetFits(direction: number, segment: TcpSegment, settings: ConntrackSettings): boolean {
    const receiver = this.sides[1 - direction]
    // RFC 5961 §3.2: one from before what the other side has acknowledged is old, or forged.
    const acknowledged = (receiver.flags & IP_CT_TCP_FLAG_MAXACK_SET) !== 0
    if (acknowledged && less(segment.sequence, receiver.maxAck)) return false
    // It refuses something that we let pass without understanding it.
    const refuses = this.#lastKind === SEGMENT_SYN || this.#lastKind === SEGMENT_ACK
    if (refuses && this.#lastDirection !== direction && segment.acknowledgement === this.#lastEnd) return true
    return this.#inWindow(direction, segment, settings)
  }

  #inWindow(direction: number, segment: TcpSegment, settings: ConntrackSettings): boolean {
    const sender = this.sides[direction]
    const receiver = this.sides[1 - direction]
    let { sequence, end, acknowledgement: ack, sack } = segment
    if (sender.maxWindow === 0) {
      if (segment.isSyn) {
        sender.begin(segment)
        // RFC 7323 §2.2: both sides scale, or none.
        if ((sender.flags & receiver.flags & IP_CT_TCP_FLAG_WINDOW_SCALE) === 0)
          sender.scale = receiver.scale = 0
        if (!segment.hasAck) return true
      } else {
        sender.end = end
        sender.maxWindow = segment.window * 2 ** sender.scale || 1
        sender.maxEnd = (end + sender.maxWindow) >>> 0
        if (receiver.maxWindow === 0) receiver.end = receiver.maxEnd = sack
        else if (sack === (receiver.end + 1) >>> 0) receiver.end++
      }
    } else if (this.#beginsAgain(direction) && less(sender.end, end)) {
      // A SYN that is sent again, by who chose another number.
      const { flags } = sender
      sender.begin(segment)
      sender.flags |= flags & IP_CT_TCP_FLAG_BE_LIBERAL
    }
    if (!segment.hasAck || (segment.kind === SEGMENT_RST && ack === 0)) ack = sack = receiver.end
    if (segment.kind === SEGMENT_RST && sequence === 0 && this.state === TCP_CONNTRACK_SYN_SENT)
      sequence = end = sender.end
    const ackWindow = Math.max(sender.maxWindow, MIN_ACK_WINDOW)
    const fits =
      less(sequence, (sender.maxEnd + 1) >>> 0) &&
      (receiver.maxWindow === 0 || less((sender.end - receiver.maxWindow - 1) >>> 0, end)) &&
      less(sack, (receiver.end + 1) >>> 0) &&
      less((receiver.end - ackWindow - 1) >>> 0, sack)
    if (!fits) {
      return (sender.flags & IP_CT_TCP_FLAG_BE_LIBERAL) !== 0 || settings.nf_conntrack_tcp_be_liberal !== 0
    }
    this.#accept(direction, segment, end, ack, sack)
    return true
  }

  #beginsAgain(direction: number): boolean {
    if (direction === ORIGINAL) return this.state === TCP_CONNTRACK_SYN_SENT
    return this.state === TCP_CONNTRACK_SYN_RECV
  }

  #accept(direction: number, segment: TcpSegment, end: number, ack: number, sack: number): void {
    const sender = this.sides[direction]
    const receiver = this.sides[1 - direction]
    // The window of a SYN is never scaled.
    const window = segment.isSyn ? segment.window : segment.window * 2 ** sender.scale
    sender.maxWindow = Math.max(sender.maxWindow, window + ((sack - ack) >>> 0))
    if (less(sender.end, end)) {
      sender.end = end
      sender.flags |= IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED
    }
    if (segment.hasAck) {
      if ((sender.flags & IP_CT_TCP_FLAG_MAXACK_SET) === 0 || less(sender.maxAck, ack)) sender.maxAck = ack
      sender.flags |= IP_CT_TCP_FLAG_MAXACK_SET
    }
    if (receiver.maxWindow !== 0 && less(sender.maxEnd, end))
      receiver.maxWindow += (end - sender.maxEnd) >>> 0
    const limit = (sack + window) >>> 0
    if (less((receiver.maxEnd - 1) >>> 0, limit)) {
      // Into a window of zero one byte may be sent, as a probe.
      receiver.maxEnd = window === 0 ? (limit + 1) >>> 0 : limit
    }
    if (ack === receiver.end) receiver.flags &= ~IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED
    if (segment.kind === SEGMENT_ACK) this.#countRepeats(direction, segment, ack)
  }

  #countRepeats(direction: number, segment: TcpSegment, ack: number): void {
    const same =
      this.#lastDirection === direction &&
      this.#lastSequence === segment.sequence &&
      this.#lastAck === ack &&
      this.#lastEnd === segment.end &&
      this.#lastWindow === segment.window
    if (same) {
      this.#retransmissions++
      return
    }
    this.#retransmissions = 0
    this.#lastDirection = direction
    this.#lastSequence = segment.sequence
    this.#lastAck = ack
    this.#lastEnd = segment.end
    this.#lastWindow = segment.window
  }
}

/** Of sequence numbers. */
function less(a: number, b: number): boolean {
  return ((a - b) | 0) < 0
}
