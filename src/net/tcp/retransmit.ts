/** Sending again what is lost: RFC 6675 §5 as far as the congestion window allows, the lowest sequence number first. */
import { TCP_CA_CWR, TCP_CA_Loss } from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { type TcpConnection, TIMER_RTO } from './connection.ts'
import { currentMss, sendSegment, sendSyn } from './control-segment.ts'
import { armTimer, inFlight } from './output.ts'
import { ACK, FIN, PSH, SYN } from './segment.ts'
import { LOST, type SentSegment } from './sent-queue.ts'
import { seqAdd, seqAfter, seqBefore, seqDiff } from './sequence.ts'
import { gsoMaxSize } from './sizes.ts'

/** Retransmits lost segments while the window has room. */
export function retransmitLost(conn: TcpConnection): void {
  const { recovery, sent, congestion } = conn
  if (sent.lost === 0) return
  if (seqBefore(recovery.retransmitHint, conn.sndUna)) recovery.retransmitHint = conn.sndUna
  for (;;) {
    const room = congestion.size - inFlight(conn)
    if (room <= 0) return
    const index = sent.nextLost(recovery.retransmitHint)
    if (index < 0) {
      recovery.retransmitHint = conn.sndNxt
      return
    }
    const first = index === 0
    if (retransmitAt(conn, index, room) < 0) return
    recovery.retransmitHint = sent.at(index).end
    const ext = conn.protocol.network.counters.tcpExt
    if (recovery.state === TCP_CA_Loss) ext.TCPSlowStartRetrans++
    else ext.TCPFastRetrans++
    if (first && conn.timerKind !== TIMER_RTO) armTimer(conn, TIMER_RTO, conn.protocol.now + conn.rtt.rto)
  }
}

/** Sends the segment at `index` again, its first part if it is longer than `room` (at least one MSS). */
export function retransmitAt(conn: TcpConnection, index: number, room: number): Status {
  const { sent, recovery, protocol } = conn
  const segment = sent.at(index)
  if ((segment.flags & SYN) !== 0) return retransmitSyn(conn, segment)
  const mss = currentMss(conn)
  // A peer that has shrunk its window gets only the first byte it waits for.
  const window = seqDiff(conn.windowEnd, segment.seq)
  if (window <= 0 && segment.seq !== conn.sndUna) return -EAGAIN
  let most = Math.min(room, gsoMaxSize(conn), window > 0 ? window : mss)
  most = Math.max(most - (most % mss), mss)
  const length = payloadOf(segment)
  if (length > most) sent.split(index, seqAdd(segment.seq, most), FIN | PSH)
  const part = payloadOf(segment)
  const status = sendSegment(conn, segment.seq, segment.flags & (FIN | PSH), part, false)
  if (status < 0) {
    protocol.network.counters.tcpExt.TCPRetransFail++
    return status
  }
  const segments = Math.max(Math.ceil(part / conn.mss), 1)
  protocol.network.counters.tcp.RetransSegs += segments
  conn.totalRetransmits += segments
  conn.bytesRetransmitted += part
  if (recovery.retransSince === 0) {
    recovery.retransSince = protocol.now
    recovery.retransStamp = conn.tsNow
  }
  recovery.retransmittedSince = true
  recovery.undoRetransmitted += segment.length
  sent.markRetransmitted(segment)
  sent.transmitted(segment, protocol.now)
  segment.delivered = conn.delivered
  segment.deliveredAt = conn.deliveredAt
  segment.firstSentAt = conn.firstSentAt
  if (recovery.state >= TCP_CA_CWR) recovery.prrOut += segment.length
  return 0
}

function retransmitSyn(conn: TcpConnection, segment: SentSegment): Status {
  const { protocol, sent, recovery } = conn
  protocol.network.counters.tcp.RetransSegs++
  protocol.network.counters.tcpExt.TCPSynRetrans++
  conn.totalRetransmits++
  if (recovery.retransSince === 0) {
    recovery.retransSince = protocol.now
    recovery.retransStamp = conn.tsNow
  }
  sent.markRetransmitted(segment)
  sent.transmitted(segment, protocol.now)
  return sendSyn(conn, segment.flags & (SYN | ACK))
}

function payloadOf(segment: SentSegment): number {
  return segment.length - ((segment.flags & FIN) !== 0 ? 1 : 0)
}

/** A segment was found lost: it is next but for those before it. */
export function noteLost(conn: TcpConnection, segment: SentSegment): void {
  const { recovery, sent } = conn
  sent.markLost(segment)
  if (segment.is(LOST) && seqAfter(recovery.retransmitHint, segment.seq))
    recovery.retransmitHint = segment.seq
}
