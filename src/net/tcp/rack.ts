/**
 * RACK-TLP: RFC 8985. A segment is lost when one sent sufficiently later has arrived; 'sufficiently' is the reordering window.
 * When acknowledgements stop coming, a probe of the tail of the flight brings them back before the timeout would.
 */
import { TCP_CA_CWR, TCP_CA_Open, TCP_CA_Recovery } from '../../abi/constants.ts'
import type { AckOutcome } from './ack-outcome.ts'
import { type TcpConnection, TIMER_REORDER, TIMER_RTO, TIMER_TLP } from './connection.ts'
import { armTimer, output, sendOne } from './output.ts'
import { enterCwr, enterRecovery, keepOpen, reduceWindow } from './recovery.ts'
import { noteLost, retransmitAt, retransmitLost } from './retransmit.ts'
import { MSEC } from './rtt.ts'
import { FIN, PSH } from './segment.ts'
import { RETRANSMITTED, type SentSegment } from './sent-queue.ts'
import { type Seq, seqAdd, seqAfter, seqBefore } from './sequence.ts'

/** The longest that a receiver delays a lone acknowledgement: RFC 8985 §7.2. */
const WORST_DELAYED_ACK = 200 * MSEC

/** A segment sent at `sentAt` has arrived: §6.2 step 2. */
export function rackAdvance(conn: TcpConnection, sentAt: number, end: Seq, retransmitted: boolean): void {
  const { rack, rtt } = conn
  const sample = conn.protocol.now - sentAt
  // Sooner than can be: the acknowledgement is for an earlier transmission.
  if (retransmitted && sample < rtt.min.value) return
  rack.advanced = true
  rack.rtt = Math.max(sample, 1)
  if (sentAfter(sentAt, rack.sentAt, end, rack.end)) {
    rack.sentAt = sentAt
    rack.end = end
  }
}

function sentAfter(aTime: number, bTime: number, aEnd: Seq, bEnd: Seq): boolean {
  return aTime > bTime || (aTime === bTime && seqAfter(aEnd, bEnd))
}

/** §6.2 step 4: how much later than its peers a segment may be. */
function reorderingWindow(conn: TcpConnection): number {
  const { rack, rtt, recovery, sent } = conn
  if (!rack.reorderingSeen) {
    if (recovery.state >= TCP_CA_Recovery) return 0
    // The classic three duplicates.
    if (sent.sacked >= 3 * conn.mss) return 0
  }
  return Math.min((rtt.min.value / 4) * rack.windowMultiplier, rtt.srtt)
}

/** §6.2 step 4: the window follows what D-SACKs tell of unnecessary retransmissions. */
export function adaptReordering(conn: TcpConnection, outcome: AckOutcome): void {
  const { rack } = conn
  if (outcome.reordered) {
    if (!rack.reorderingSeen) conn.protocol.network.counters.tcpExt.TCPSACKReorder++
    rack.reorderingSeen = true
    rack.reorderings++
  }
  if (rack.dsackSeen && seqBefore(conn.sndUna, rack.dsackRound)) rack.dsackSeen = false
  if (rack.dsackSeen) {
    rack.dsackSeen = false
    rack.dsackRound = conn.sndNxt
    rack.windowMultiplier = Math.min(rack.windowMultiplier + 1, 0xff)
    rack.windowPersist = 16
  } else if (rack.windowPersist === 0) {
    rack.windowMultiplier = 1
  }
}

/** A recovery is over: §6.2, the widened window lasts for 16 of them. */
export function recoveryEnded(conn: TcpConnection): void {
  if (conn.rack.windowPersist > 0) conn.rack.windowPersist--
}

/** §6.2 step 5: marks what is lost; sees that it is looked at again when the others' time is over. Bytes marked. */
export function detectLosses(conn: TcpConnection, outcome: AckOutcome | undefined): number {
  const { rack, sent, protocol } = conn
  if (!rack.advanced) return 0
  rack.advanced = false
  const before = sent.lost
  const patience = rack.rtt + reorderingWindow(conn)
  let wait = 0
  let next: SentSegment | undefined
  for (let segment = sent.oldest; segment !== undefined; segment = next) {
    next = segment.later
    if (!sentAfter(rack.sentAt, segment.sentAt, rack.end, segment.end)) break
    const left = segment.sentAt + patience - protocol.now
    if (left > 0) {
      // So it is for all that were sent after it; the last of them has had its time then.
      wait = rack.sentAt + patience - protocol.now
      break
    }
    if (segment.is(RETRANSMITTED)) {
      protocol.network.counters.tcpExt.TCPLostRetransmit++
      if (outcome !== undefined) outcome.retransmissionLost = true
    }
    noteLost(conn, segment)
  }
  if (wait > 0) armTimer(conn, TIMER_REORDER, protocol.now + wait)
  return sent.lost - before
}

/** After a timeout: whether a segment was sent so lately that it need not be lost as well. */
export function sentLately(conn: TcpConnection, segment: SentSegment): boolean {
  const { rack, protocol } = conn
  return rack.rtt > 0 && segment.sentAt + rack.rtt + reorderingWindow(conn) > protocol.now
}

/** The reordering timer: what is still missing is lost now. */
export function reorderTimeout(conn: TcpConnection): void {
  conn.rack.advanced = true
  const lost = detectLosses(conn, undefined)
  if (lost > 0) {
    if (conn.recovery.state < TCP_CA_Recovery) {
      enterRecovery(conn, false)
      reduceWindow(conn, 0, lost, false)
    }
    retransmitLost(conn)
    output(conn)
  }
  if (!conn.retransmitTimer.pending) armTimer(conn, TIMER_RTO, conn.protocol.now + conn.rtt.rto)
}

/** §7.2: replaces the retransmission timer by the probe's, which is shorter. */
export function scheduleLossProbe(conn: TcpConnection): void {
  const { recovery, protocol, rtt, sent } = conn
  if (!conn.sackOk || sent.size === 0 || protocol.network.sysctl.ipv4.tcp_early_retrans < 3) return
  if (recovery.state !== TCP_CA_Open && recovery.state !== TCP_CA_CWR) return
  if (conn.rack.tlpOut || (conn.timerKind === TIMER_REORDER && conn.retransmitTimer.pending)) return
  if (rtt.srtt === 0) return
  let delay = 2 * rtt.srtt + (sent.outstanding <= conn.mss ? WORST_DELAYED_ACK : 2 * MSEC)
  delay = Math.min(delay, rtt.rto)
  armTimer(conn, TIMER_TLP, protocol.now + delay)
}

/** §7.3: the probe is new data, or else the last segment again. */
export function sendLossProbe(conn: TcpConnection): void {
  const { rack, sent, protocol } = conn
  if (!rack.tlpOut && sent.size > 0) {
    rack.tlpRetransmit = false
    let probed = sendOne(conn)
    if (!probed) {
      const index = lastWireSegment(conn)
      probed = retransmitAt(conn, index, conn.mss) === 0
      rack.tlpRetransmit = true
    }
    if (probed) {
      rack.tlpOut = true
      rack.tlpEnd = conn.sndNxt
      protocol.network.counters.tcpExt.TCPLossProbes++
    }
  }
  armTimer(conn, TIMER_RTO, protocol.now + conn.rtt.rto)
}

/** The index of the last segment, cut down to one MSS. */
function lastWireSegment(conn: TcpConnection): number {
  const { sent } = conn
  const index = sent.size - 1
  const last = sent.at(index)
  if (last.length <= conn.mss + 1) return index
  const whole = Math.floor((last.length - 1) / conn.mss) * conn.mss
  sent.split(index, seqAdd(last.seq, whole), FIN | PSH)
  return index + 1
}

/** §7.4: whether the probe has repaired a loss, which then counts as one. */
export function probeAcknowledged(conn: TcpConnection, outcome: AckOutcome): void {
  const { rack } = conn
  if (seqBefore(conn.sndUna, rack.tlpEnd)) return
  if (!rack.tlpRetransmit || outcome.dsack) {
    rack.tlpOut = false
  } else if (seqAfter(conn.sndUna, rack.tlpEnd)) {
    rack.tlpOut = false
    conn.protocol.network.counters.tcpExt.TCPLossProbeRecovery++
    enterCwr(conn)
    conn.congestion.size = Math.min(conn.congestion.size, conn.congestion.ssthresh)
    keepOpen(conn)
  } else if (!outcome.notDuplicate && !outcome.sacked) {
    // The original and the probe have both arrived.
    rack.tlpOut = false
  }
}
