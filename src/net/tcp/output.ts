/**
 * Sending what has not been sent: as far as the peer's window (RFC 9293 §3.8.6.2), the congestion window, Nagle's algorithm
 * with Minshall's rule (RFC 9293 §3.7.4), TCP_CORK and the pacing rate allow, in packets of up to 64 KiB.
 */
import { TCP_CA_CWR, TCP_CA_Open, TCP_CLOSE } from '../../abi/constants.ts'
import { type TcpConnection, TIMER_PROBE, TIMER_RTO } from './connection.ts'
import { currentMss, sendProbeSegment, sendSegment } from './control-segment.ts'
import { scheduleLossProbe } from './rack.ts'
import { FIN, PSH } from './segment.ts'
import { seqAdd, seqAfter, seqBefore, seqDiff } from './sequence.ts'
import { gsoMaxSize, initialCongestionWindow } from './sizes.ts'

/** The longest payload of one packet: IP's 64 KiB less the headers. */
const MAX_PAYLOAD = 65535 - 120

/** Bytes in flight, as the congestion window counts them: RFC 6675's pipe. */
export function inFlight(conn: TcpConnection): number {
  return Math.max(conn.sent.inFlight - conn.recovery.renoSacked, 0)
}

/** Sends what may be sent now, and sees to it that a timer runs while something waits. */
export function output(conn: TcpConnection): void {
  if (conn.state === TCP_CLOSE) return
  if (conn.hasUnsent && sendNew(conn, false)) scheduleLossProbe(conn)
  // Held back by the window, or by a cork for no longer than this: the probe timer looks again.
  if (conn.sent.size === 0 && conn.hasUnsent && !conn.retransmitTimer.pending && !conn.paceTimer.pending) {
    armTimer(conn, TIMER_PROBE, conn.protocol.now + conn.rtt.rto)
  }
}

/** One segment of new data at most, whatever the congestion window says: a loss probe. Whether there was one. */
export function sendOne(conn: TcpConnection): boolean {
  return conn.hasUnsent && sendNew(conn, true)
}

export function armTimer(conn: TcpConnection, kind: number, due: number): void {
  conn.timerKind = kind
  conn.retransmitTimer.set(conn.protocol.network.runtime.timers, due)
}

function sendNew(conn: TcpConnection, one: boolean): boolean {
  const { protocol } = conn
  let any = false
  conn.windowLimited = false
  startFlight(conn)
  while (conn.hasUnsent) {
    if (!one && isPaced(conn) && conn.nextSend > protocol.now) {
      conn.paceTimer.set(protocol.network.runtime.timers, conn.nextSend)
      break
    }
    const length = one ? Math.min(conn.unsent, currentMss(conn), windowRoom(conn)) : nextLength(conn)
    if (length < 0) break
    const withFin =
      conn.finQueued && length === conn.unsent && seqBefore(seqAdd(conn.sndNxt, length), conn.windowEnd)
    if (length === 0 && !withFin) break
    if (!sendNext(conn, length, withFin)) break
    any = true
    if (one) break
  }
  if (any) validateWindow(conn)
  return any
}

function windowRoom(conn: TcpConnection): number {
  return Math.max(seqDiff(conn.windowEnd, conn.sndNxt), 0)
}

/** How many bytes the next packet has: 0 for a bare FIN, -1 when nothing may be sent. */
function nextLength(conn: TcpConnection): number {
  const { unsent, congestion } = conn
  const flight = inFlight(conn)
  const mss = currentMss(conn)
  const window = windowRoom(conn)
  if (unsent === 0) return window > 0 ? 0 : -1
  // With nothing in flight one segment may always go.
  const allowed = Math.max(congestion.size - flight, flight === 0 ? mss : 0)
  const limit = Math.min(allowed, window)
  const smallest = Math.min(mss, unsent)
  if (limit < smallest) {
    if (allowed < smallest) conn.windowLimited = true
    return -1
  }
  const goal = packetGoal(conn, mss)
  let length = Math.min(unsent, goal, limit)
  if (length < unsent) {
    if (length > mss) length -= length % mss
    if (allowed < unsent && allowed <= window) conn.windowLimited = true
    if (length < goal && flight > 0 && isWorthWaiting(conn, limit)) return -1
  }
  // The last, partial segment of the packet is Nagle's business.
  const partial = length % mss
  if (length === unsent && partial > 0 && isHeldBack(conn)) length -= partial
  return length === 0 ? -1 : length
}

/** How much goes into one packet: about a millisecond's worth, so that losses and queues stay small on slow paths. */
function packetGoal(conn: TcpConnection, mss: number): number {
  const { sysctl } = conn.protocol.network
  const most = Math.min(MAX_PAYLOAD, gsoMaxSize(conn))
  const share = Math.max(conn.pacingRate / 1024, sysctl.ipv4.tcp_min_tso_segs * mss)
  const goal = Math.min(most, share, Math.max(conn.maxWindow / 2, mss))
  return Math.max(Math.floor(goal / mss) * mss, mss)
}

/** A small part of a window only: acknowledgements to come will allow a larger packet. */
function isWorthWaiting(conn: TcpConnection, limit: number): boolean {
  if (conn.recovery.state !== TCP_CA_Open || conn.finQueued) return false
  const divisor = conn.protocol.network.sysctl.ipv4.tcp_tso_win_divisor
  if (divisor === 0) return false
  return limit < Math.min(conn.sndWnd, conn.congestion.size) / divisor
}

function isHeldBack(conn: TcpConnection): boolean {
  // Neither urgent data nor the last bytes before FIN wait.
  if (conn.finQueued || seqAfter(conn.sndUp, conn.sndUna)) return false
  if (conn.settings.cork || conn.more) return true
  if (conn.settings.noDelay || conn.sent.size === 0) return false
  return seqAfter(conn.sndSmall, conn.sndUna) && !seqAfter(conn.sndSmall, conn.sndNxt)
}

function sendNext(conn: TcpConnection, length: number, withFin: boolean): boolean {
  const { protocol, sent } = conn
  const seq = conn.sndNxt
  const end = seqAdd(seq, length)
  let flags = withFin ? FIN : 0
  if (
    length > 0 &&
    (end === conn.buffer.end || (seqAfter(conn.pushSeq, seq) && !seqAfter(conn.pushSeq, end)))
  )
    flags |= PSH
  if (sendSegment(conn, seq, flags, length, true) < 0) return false
  const segment = sent.push(seq, withFin ? seqAdd(end, 1) : end, flags)
  if (sent.size === 1) conn.firstSentAt = conn.deliveredAt = protocol.now
  segment.delivered = conn.delivered
  segment.deliveredAt = conn.deliveredAt
  segment.firstSentAt = conn.firstSentAt
  segment.appLimited = conn.appLimitedUntil > 0
  sent.transmitted(segment, protocol.now)
  conn.sndNxt = segment.end
  if (length % conn.mss !== 0) conn.sndSmall = end
  if (conn.recovery.state >= TCP_CA_CWR) conn.recovery.prrOut += length
  dataSent(conn, length)
  if (!conn.retransmitTimer.pending || conn.timerKind === TIMER_PROBE) {
    armTimer(conn, TIMER_RTO, protocol.now + conn.rtt.rto)
  }
  if (length > 0) protocol.network.counters.tcpExt.TCPOrigDataSent += Math.ceil(length / conn.mss)
  return true
}

function dataSent(conn: TcpConnection, length: number): void {
  const { now } = conn.protocol
  conn.lastSentAt = now
  // An answer within the delayed acknowledgement's time: the other direction is a conversation.
  if (now - conn.lastReceivedAt < conn.ato) conn.pingPong = 1
  if (isPaced(conn)) conn.nextSend = Math.max(conn.nextSend, now) + (length / paceRate(conn)) * 1e9
}

export function isPaced(conn: TcpConnection): boolean {
  return conn.settings.maxPacingRate !== Number.POSITIVE_INFINITY
}
function paceRate(conn: TcpConnection): number {
  return Math.max(Math.min(conn.pacingRate, conn.settings.maxPacingRate), 1)
}

/** RFC 5681 §4.1: after an idle time the window says nothing of the path any more. */
function startFlight(conn: TcpConnection): void {
  const { now, network } = conn.protocol
  if (conn.sent.size > 0 || conn.lastSentAt === 0) return
  const idle = now - Math.max(conn.lastSentAt, conn.lastAckAt)
  if (idle <= 0) return
  conn.congestion.control.restarted(idle)
  if (network.sysctl.ipv4.tcp_slow_start_after_idle === 0 || idle <= conn.rtt.rto) return
  const { congestion } = conn
  const restart = Math.min(initialCongestionWindow(conn), congestion.size)
  congestion.ssthresh = Math.max(congestion.ssthresh, (congestion.size * 3) / 4)
  let size = congestion.size
  for (let left = idle - conn.rtt.rto; left > 0 && size > restart; left -= conn.rtt.rto) size /= 2
  congestion.size = Math.max(size, restart)
}

/** Remembers whether the congestion window has been filled: only then may it grow. RFC 7661's concern. */
function validateWindow(conn: TcpConnection): void {
  const flight = inFlight(conn)
  if (!seqBefore(conn.sndUna, conn.usageEnd) || conn.windowLimited || flight > conn.maxInFlight) {
    conn.maxInFlight = flight
    conn.usageEnd = conn.sndNxt
  }
  if (!conn.hasUnsent && !conn.windowLimited) conn.appLimitedUntil = conn.delivered + flight
}

/** Whether acknowledgements may let the window grow. */
export function isWindowLimited(conn: TcpConnection): boolean {
  if (conn.windowLimited) return true
  // In slow start twice what was used is still worth having.
  return conn.congestion.slowStart && conn.congestion.size < 2 * conn.maxInFlight
}

/**
 * Something that the peer must answer though its window is closed: as much new data as fits, or an old sequence number.
 * Whether data was sent.
 */
export function wakeUp(conn: TcpConnection): boolean {
  const room = windowRoom(conn)
  if (conn.hasUnsent && room > 0) {
    const length = Math.min(conn.unsent, currentMss(conn), room)
    const withFin = conn.finQueued && length === conn.unsent && room > length
    conn.pushSeq = seqAdd(conn.sndNxt, length)
    return sendNext(conn, length, withFin)
  }
  sendProbeSegment(conn)
  return false
}
