/**
 * What acknowledgements say of single segments: SACK blocks (RFC 2018, validated), D-SACK (RFC 2883), and the cumulative
 * acknowledgement. Each segment that turns out to have arrived feeds the round-trip time, RACK, reordering and the
 * delivery rate.
 */
import type { AckOutcome } from './ack-outcome.ts'
import type { TcpConnection } from './connection.ts'
import { currentMss } from './control-segment.ts'
import { rackAdvance } from './rack.ts'
import { FIN, PSH, type Segment, SYN } from './segment.ts'
import { EVER_RETRANSMITTED, RETRANSMITTED, SACKED, type SentSegment } from './sent-queue.ts'
import { type Seq, seqAfter, seqBefore, seqDiff, seqWithin } from './sequence.ts'

/** Segments that the scoreboard is split into at most: a peer with a tiny MSS must not make each acknowledgement dear. */
const MAX_SEGMENTS = 8192

/** Takes the SACK blocks of `segment` into the scoreboard. */
export function processSacks(conn: TcpConnection, segment: Segment, outcome: AckOutcome): void {
  const { sacks, sackCount } = segment.options
  const ext = conn.protocol.network.counters.tcpExt
  for (let i = 0; i < sackCount; i++) {
    const start = sacks[2 * i]
    const end = sacks[2 * i + 1]
    if (i === 0 && isDuplicate(segment, start, end)) {
      duplicateReported(conn, outcome, start, end)
      continue
    }
    // Blocks of data never sent, already acknowledged or turned around are an old packet's or somebody's invention.
    if (!seqBefore(start, end) || seqAfter(end, conn.sndNxt) || !seqAfter(end, conn.sndUna)) {
      ext.TCPSACKDiscard++
      continue
    }
    markRange(conn, outcome, start, end)
  }
}

/** RFC 2883 §4: a first block below the acknowledgement or inside the second block. */
function isDuplicate(segment: Segment, start: Seq, end: Seq): boolean {
  if (seqBefore(start, segment.ack)) return true
  const { sacks, sackCount } = segment.options
  return sackCount > 1 && !seqAfter(end, sacks[3]) && !seqBefore(start, sacks[2])
}

function duplicateReported(conn: TcpConnection, outcome: AckOutcome, start: Seq, end: Seq): void {
  const { recovery, rack, protocol } = conn
  const ext = protocol.network.counters.tcpExt
  const length = seqDiff(end, start)
  if (length <= 0 || seqAfter(end, conn.sndNxt) || length > conn.maxWindow) {
    ext.TCPDSACKIgnoredOld++
    return
  }
  outcome.dsack = true
  conn.dsackDuplicates++
  ext.TCPDSACKRecv++
  rack.dsackSeen = true
  if (!recovery.canUndo || !seqAfter(end, recovery.undoMarker)) {
    ext.TCPDSACKIgnoredNoUndo++
    return
  }
  recovery.undoRetransmitted = Math.max(recovery.undoRetransmitted - length, 0)
}

function markRange(conn: TcpConnection, outcome: AckOutcome, start: Seq, end: Seq): void {
  const { sent } = conn
  const mss = currentMss(conn)
  for (let i = sent.find(start); i < sent.size; i++) {
    let segment = sent.at(i)
    if (!seqBefore(segment.seq, end)) return
    if (segment.is(SACKED)) continue
    const whole = !seqBefore(segment.seq, start) && !seqAfter(segment.end, end)
    if (!whole && sent.size >= MAX_SEGMENTS) continue
    if (seqBefore(segment.seq, start)) {
      const cut = wholeSegments(segment, start, mss, Math.ceil)
      if (cut === segment.end) continue
      sent.split(i, cut, FIN | PSH)
      continue
    }
    if (seqAfter(segment.end, end)) {
      const cut = wholeSegments(segment, end, mss, Math.floor)
      if (cut === segment.seq) return
      sent.split(i, cut, FIN | PSH)
      segment = sent.at(i)
    }
    arrived(conn, outcome, segment, true)
    sent.markSacked(segment)
    outcome.sacked = true
  }
}

/**
 * Where to cut a packet of several segments that was reported in part: a multiple of the MSS from its beginning, so that
 * nobody can make us keep account of single bytes. At the ends: there is nothing to cut.
 */
function wholeSegments(segment: SentSegment, at: Seq, mss: number, round: (x: number) => number): Seq {
  const offset = round(seqDiff(at, segment.seq) / mss) * mss
  return offset >= segment.length ? segment.end : (segment.seq + offset) | 0
}

/** Drops from the scoreboard and the send buffer what `conn.sndUna` covers now. */
export function removeAcknowledged(conn: TcpConnection, outcome: AckOutcome): void {
  const { sent, buffer } = conn
  const una = conn.sndUna
  for (let first = sent.first; first !== undefined && seqBefore(first.seq, una); first = sent.first) {
    if (seqAfter(first.end, una)) {
      outcome.delivered += first.is(SACKED) ? 0 : seqDiff(una, first.seq)
      sent.trimFirst(una)
      break
    }
    if (!first.is(SACKED)) arrived(conn, outcome, first, false)
    else if (!first.is(EVER_RETRANSMITTED))
      outcome.originalAcked ||= !seqAfter(first.end, conn.recovery.highSeq)
    if ((first.flags & SYN) === 0) outcome.dataAcked = true
    sent.shift()
  }
  const next = sent.first
  // What heads the queue has been acknowledged selectively, but not cumulatively: the receiver has thrown it away.
  if (next?.is(SACKED)) outcome.reneged = true
  const data = seqAfter(una, buffer.end) ? buffer.end : una
  if (seqAfter(data, buffer.start)) buffer.acknowledge(data)
}

/** A segment is newly known to have arrived. */
function arrived(conn: TcpConnection, outcome: AckOutcome, segment: SentSegment, selectively: boolean): void {
  const { rack, protocol } = conn
  const { now } = protocol
  outcome.delivered += segment.length
  const again = segment.is(EVER_RETRANSMITTED)
  if (again) {
    if (segment.is(RETRANSMITTED)) outcome.retransmissionAcked = true
  } else {
    const rtt = Math.max(now - segment.sentAt, 1)
    if (selectively) outcome.sackRtt = rtt
    else outcome.ackRtt = Math.max(outcome.ackRtt, rtt)
    if (!seqAfter(segment.end, conn.recovery.highSeq)) outcome.originalAcked = true
    // Later ones were there before it: the network has reordered them.
    if (seqBefore(segment.seq, rack.fack)) {
      outcome.reordered = true
      const distance = Math.ceil(seqDiff(rack.fack, segment.seq) / conn.mss)
      const most = protocol.network.sysctl.ipv4.tcp_max_reordering
      rack.reordering = Math.min(Math.max(rack.reordering, distance), most)
    }
  }
  if (selectively && seqAfter(segment.end, rack.fack)) rack.fack = segment.end
  rackAdvance(conn, segment.sentAt, segment.end, again)
  if (segment.delivered >= outcome.priorDelivered) {
    outcome.priorDelivered = segment.delivered
    outcome.priorAt = segment.deliveredAt
    outcome.sendInterval = segment.sentAt - segment.firstSentAt
    outcome.appLimited = segment.appLimited
    conn.firstSentAt = segment.sentAt
  }
}

/** A tsecr that can be one of ours: neither of the future nor of before the connection. */
export function plausibleEcho(conn: TcpConnection, tsecr: Seq, since: Seq): boolean {
  return seqWithin(tsecr, since, conn.tsNow)
}
