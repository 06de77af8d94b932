/**
 * Acknowledgements: RFC 9293 §3.10.7.4 fifth step, RFC 5681, RFC 5961 §5. Moves sndUna and the send window, and sets the
 * machinery of sack.ts, rack.ts and recovery.ts to work; then sends what has become possible.
 */
import { TCP_CA_CWR, TCP_CA_Loss, TCP_CA_Open, TCP_CA_Recovery } from '../../abi/constants.ts'
import type { AckOutcome } from './ack-outcome.ts'
import { type TcpConnection, TIMER_PROBE, TIMER_REORDER, TIMER_RTO } from './connection.ts'
import { armTimer, isWindowLimited, output } from './output.ts'
import { adaptReordering, probeAcknowledged, scheduleLossProbe } from './rack.ts'
import { enterCwr, fastRecovery, reduceWindow, SEND_LOST, SEND_NEW, SEND_NEW_ONLY } from './recovery.ts'
import { retransmitLost } from './retransmit.ts'
import { MSEC } from './rtt.ts'
import { plausibleEcho, processSacks, removeAcknowledged } from './sack.ts'
import { ECE, type Segment } from './segment.ts'
import { seqAdd, seqAfter, seqBefore, seqDiff } from './sequence.ts'
import { updateMss } from './sizes.ts'

/** Acknowledges something of ours or repeats that; acknowledges nothing new by its age; is none that we can believe. */
export const ACK_GOOD = 1
export const ACK_OLD = 0
export const ACK_BAD = -1

export function receiveAck(conn: TcpConnection, segment: Segment): number {
  const { protocol, sent } = conn
  const { ack } = segment
  const outcome = protocol.outcome
  outcome.reset(protocol.now, conn.sndUna, conn.sndNxt)
  if (seqAfter(ack, conn.sndNxt)) return ACK_BAD
  if (seqBefore(ack, conn.sndUna)) {
    // RFC 5961 §5.2: blind injection guesses.
    if (seqBefore(ack, seqAdd(conn.sndUna, -conn.maxWindow))) return ACK_BAD
    if (conn.sackOk && segment.options.sackCount > 0 && sent.size > 0) {
      processSacks(conn, segment, outcome)
      recover(conn, outcome, false)
      follow(conn, outcome, SEND_LOST)
    }
    return ACK_OLD
  }
  if (segment.length > 0 || segment.end !== segment.seq) outcome.notDuplicate = true
  if (seqAfter(ack, conn.sndUna)) {
    outcome.advanced = outcome.notDuplicate = true
    outcome.acked = seqDiff(ack, conn.sndUna)
    conn.retransmits = 0
  }
  updateWindow(conn, segment, outcome)
  conn.sndUna = ack
  if (outcome.advanced && seqBefore(conn.sndUp, ack)) conn.sndUp = ack
  conn.bytesAcked += outcome.acked
  conn.lastAckAt = protocol.now
  conn.probesOut = 0
  conn.softError = 0
  if (conn.ecn && segment.has(ECE) && !segment.opening) outcome.ece = true
  if (conn.sackOk && segment.options.sackCount > 0) processSacks(conn, segment, outcome)
  const idle = sent.size === 0
  if (outcome.advanced) removeAcknowledged(conn, outcome)
  outcome.sndUna = conn.sndUna
  if (idle) {
    windowProbed(conn)
    if (conn.rack.tlpOut) probeAcknowledged(conn, outcome)
    return ACK_GOOD
  }
  if (conn.rack.fack !== 0 && seqAfter(conn.sndUna, conn.rack.fack)) conn.rack.fack = conn.sndUna
  measure(conn, segment, outcome)
  conn.delivered += outcome.delivered
  if (outcome.ece) conn.deliveredCe += Math.ceil(outcome.delivered / conn.mss)
  if (outcome.delivered > 0) conn.deliveredAt = protocol.now
  if (conn.rack.tlpOut) probeAcknowledged(conn, outcome)
  if (outcome.advanced) rearm(conn)
  const duplicate = !outcome.advanced && !outcome.notDuplicate
  const what = recover(conn, outcome, duplicate)
  congest(conn, outcome)
  if (outcome.advanced) conn.confirmed()
  if (conn.retransmitTimer.pending && conn.timerKind === TIMER_RTO) scheduleLossProbe(conn)
  follow(conn, outcome, what)
  updateRate(conn, outcome)
  return ACK_GOOD
}

/** RFC 9293 §3.10.7.4: SND.WND, from segments that are not older than the last one that set it. */
function updateWindow(conn: TcpConnection, segment: Segment, outcome: AckOutcome): void {
  const window = segment.scaledWindow(conn.sndWscale)
  const newer =
    seqAfter(segment.ack, conn.sndUna) ||
    seqAfter(segment.seq, conn.sndWl1) ||
    (segment.seq === conn.sndWl1 && (window > conn.sndWnd || window === 0))
  if (!newer) return
  conn.sndWl1 = segment.seq
  if (window === conn.sndWnd) return
  outcome.notDuplicate = true
  conn.sndWnd = window
  if (window > conn.maxWindow) {
    conn.maxWindow = window
    updateMss(conn)
  }
}

/** Nothing is in flight: the peer's answer to a probe of its window, or a window update. */
function windowProbed(conn: TcpConnection): void {
  const { protocol } = conn
  if (!conn.hasUnsent) return
  const least = Math.min(conn.unsent, conn.mss)
  if (!seqAfter(seqAdd(conn.sndNxt, least), conn.windowEnd)) {
    conn.backoff = 0
    conn.probesSince = 0
    if (conn.timerKind === TIMER_PROBE) conn.retransmitTimer.clear()
    return
  }
  armTimer(conn, TIMER_PROBE, protocol.now + Math.min(conn.rtt.rto * 2 ** conn.backoff, conn.rtoMax))
}

/** Round-trip time: RFC 6298 §3 (Karn), RFC 7323 §4. */
function measure(conn: TcpConnection, segment: Segment, outcome: AckOutcome): void {
  const { protocol, rtt } = conn
  const { options } = segment
  let sample = outcome.retransmissionAcked ? 0 : outcome.ackRtt
  if (sample === 0) sample = outcome.sackRtt
  if (sample === 0 && conn.timestamps && outcome.advanced && options.timestamp && options.tsecr !== 0) {
    if (plausibleEcho(conn, options.tsecr, (conn.tsNow - 60_000) | 0)) {
      sample = Math.max((conn.tsNow - options.tsecr) | 0, 1) * MSEC
    }
  }
  if (sample === 0) return
  const { ipv4 } = protocol.network.sysctl
  const fromWire = outcome.ackRtt > 0 || outcome.sackRtt > 0
  if (fromWire) rtt.min.add(sample, protocol.now, ipv4.tcp_min_rtt_wlen * 1e9)
  rtt.sample(sample, conn.sndUna, conn.sndNxt, conn.rtoMin, conn.rtoMax)
  conn.backoff = 0
  outcome.rtt = sample
}

/** RFC 6298 §5.2, 5.3. */
function rearm(conn: TcpConnection): void {
  const { protocol, sent } = conn
  if (sent.size === 0) {
    if (conn.timerKind !== TIMER_PROBE) conn.retransmitTimer.clear()
    return
  }
  if (conn.timerKind === TIMER_REORDER && conn.retransmitTimer.pending) return
  armTimer(conn, TIMER_RTO, protocol.now + conn.rtt.rto)
}

function recover(conn: TcpConnection, outcome: AckOutcome, duplicate: boolean): number {
  adaptReordering(conn, outcome)
  if (outcome.reneged && outcome.advanced) {
    // RFC 2018 §8: give the receiver a little time, it may only be an acknowledgement out of order.
    armTimer(conn, TIMER_RTO, conn.protocol.now + Math.max(conn.rtt.srtt / 2, 10 * MSEC))
    return SEND_NEW
  }
  const dubious = duplicate || outcome.sacked || outcome.ece || outcome.dsack || outcome.reordered
  if (!dubious && conn.recovery.state === TCP_CA_Open && conn.sent.sacked === 0 && conn.sent.lost === 0)
    return SEND_NEW
  return fastRecovery(conn, outcome, duplicate)
}

/** The congestion window after this acknowledgement. */
function congest(conn: TcpConnection, outcome: AckOutcome): void {
  const { congestion, recovery, rtt } = conn
  outcome.srtt = rtt.srtt
  congestion.control.sampled(congestion, outcome)
  if (recovery.state === TCP_CA_CWR || recovery.state === TCP_CA_Recovery) {
    reduceWindow(conn, outcome.delivered, outcome.lost, outcome.advanced)
  } else if (outcome.advanced && isWindowLimited(conn)) {
    if (outcome.ece) enterCwr(conn)
    else congestion.acked(recovery.state === TCP_CA_Loss ? outcome.acked : outcome.delivered, outcome)
  }
  updatePacing(conn)
}

function updatePacing(conn: TcpConnection): void {
  const { congestion, rtt, protocol } = conn
  if (rtt.srtt === 0) return
  const { ipv4 } = protocol.network.sysctl
  const ratio =
    congestion.size < congestion.ssthresh / 2 ? ipv4.tcp_pacing_ss_ratio : ipv4.tcp_pacing_ca_ratio
  const rate = (Math.max(congestion.size, conn.sent.outstanding) * ratio * 1e7) / rtt.srtt
  conn.pacingRate = Math.min(rate, conn.settings.maxPacingRate)
}

function follow(conn: TcpConnection, outcome: AckOutcome, what: number): void {
  if (what === SEND_LOST) retransmitLost(conn)
  if (what === SEND_NEW_ONLY) {
    output(conn)
    // RFC 5682 §2.1: no new data could be sent, so there is nothing to be learned.
    if (!seqAfter(conn.sndNxt, conn.recovery.highSeq)) {
      conn.recovery.frto = false
      retransmitLost(conn)
    }
  }
  if (outcome.lost > 0 && conn.recovery.state === TCP_CA_Recovery && what === SEND_NEW) retransmitLost(conn)
}

/** Delivery rate as draft-cheng-iccrg-delivery-rate-estimation has it: the slower of sending and acknowledging. */
function updateRate(conn: TcpConnection, outcome: AckOutcome): void {
  if (outcome.priorDelivered < 0 || conn.deliveredAt === 0) return
  const interval = Math.max(outcome.sendInterval, conn.deliveredAt - outcome.priorAt)
  if (interval < Math.max(conn.rtt.min.value === Number.POSITIVE_INFINITY ? 1 : conn.rtt.min.value, 1)) return
  if (conn.appLimitedUntil > 0 && conn.delivered > conn.appLimitedUntil) conn.appLimitedUntil = 0
  const rate = ((conn.delivered - outcome.priorDelivered) * 1e9) / interval
  if (!outcome.appLimited || rate > conn.deliveryRate) conn.deliveryRate = rate
}
