/** Opening: the active side's SYN-SENT and simultaneous open (RFC 9293 §3.10.7.3), and what both sides do when it is done. */
import { TCP_ESTABLISHED, TCP_SYN_RECV, TCP_SYN_SENT } from '../../abi/constants.ts'
import { receiveAck } from './ack.ts'
import { type TcpConnection, TIMER_RTO } from './connection.ts'
import { resetReply, sendAck, sendSyn } from './control-segment.ts'
import { afterSegment, reset } from './input.ts'
import { armTimer } from './output.ts'
import { delayAck, receiveData, receiveUrgent } from './receive.ts'
import { FALLBACK_RTO, MSEC } from './rtt.ts'
import { plausibleEcho } from './sack.ts'
import { ACK, CWR, ECE, RST, type Segment, SYN } from './segment.ts'
import { seqAdd, seqAfter } from './sequence.ts'
import { expandSendBuffer, initialCongestionWindow, updateMss } from './sizes.ts'
import type { TimeWait } from './time-wait.ts'
import { initReceiveBuffer, receiveScale } from './window.ts'

/**
 * Sends the first SYN. The connection has its addresses and is in the table. `reused`: the connection in TIME-WAIT that has
 * made room: its sequence numbers and timestamps are followed (RFC 6191).
 */
export function startConnect(conn: TcpConnection, reused: TimeWait | undefined): void {
  const { protocol } = conn
  const { ipv4 } = protocol.network.sysctl
  const { flow } = conn
  updateMss(conn)
  conn.iss = protocol.initialSequence(flow)
  conn.tsOffset = protocol.timestampOffset(flow)
  if (reused !== undefined) conn.iss = reused.successorSequence
  conn.offersTimestamps = ipv4.tcp_timestamps !== 0
  conn.offersSack = ipv4.tcp_sack !== 0
  conn.offersWscale = ipv4.tcp_window_scaling !== 0
  conn.offersEcn = ipv4.tcp_ecn === 1
  conn.rcvWscale = conn.offersWscale ? receiveScale(conn) : 0
  startSequence(conn)
  conn.setState(TCP_SYN_SENT)
  protocol.network.counters.tcp.ActiveOpens++
  const segment = conn.sent.push(conn.iss, seqAdd(conn.iss, 1), SYN)
  conn.sent.transmitted(segment, protocol.now)
  sendSyn(conn, SYN)
  armTimer(conn, TIMER_RTO, protocol.now + conn.rtt.rto)
}

/** Everything about our own sequence numbers, with SYN as the first. */
export function startSequence(conn: TcpConnection): void {
  conn.sndUna = conn.iss
  conn.sndUp = conn.iss
  conn.sndSmall = conn.iss
  conn.pushSeq = conn.iss
  conn.sndNxt = seqAdd(conn.iss, 1)
  conn.recovery.highSeq = conn.iss
  conn.buffer.reset(conn.sndNxt)
}

/** Everything about the peer's, from its SYN. */
export function takePeerSyn(conn: TcpConnection, segment: Segment): void {
  const { options } = segment
  conn.irs = segment.seq
  conn.rcvNxt = conn.rcvWup = conn.copiedSeq = conn.lastAckSent = seqAdd(segment.seq, 1)
  conn.urgSeq = conn.copiedSeq
  conn.sndWl1 = segment.seq
  // RFC 7323 §2.2: the window of a SYN is never scaled.
  conn.sndWnd = conn.maxWindow = segment.window
  conn.timestamps = conn.offersTimestamps && options.timestamp
  conn.sackOk = conn.offersSack && options.sackPermitted
  if (conn.offersWscale && options.wscale >= 0) {
    conn.sndWscale = options.wscale
  } else {
    conn.sndWscale = conn.rcvWscale = 0
  }
  if (conn.timestamps) {
    conn.tsRecent = options.tsval
    conn.tsRecentAt = conn.protocol.now
  }
  conn.peerMss = options.mss > 0 ? options.mss : 536
  updateMss(conn)
}

export function synSentSegment(conn: TcpConnection, segment: Segment): void {
  const { protocol } = conn
  const { options } = segment
  if (segment.has(ACK)) {
    if (!seqAfter(segment.ack, conn.iss) || seqAfter(segment.ack, conn.sndNxt)) {
      resetReply(protocol, segment)
      return
    }
    if (conn.offersTimestamps && options.timestamp && options.tsecr !== 0) {
      if (!plausibleEcho(conn, options.tsecr, (conn.tsNow - 600_000) | 0)) {
        protocol.network.counters.tcpExt.PAWSActive++
        resetReply(protocol, segment)
        return
      }
    }
    if (segment.has(RST)) {
      reset(conn)
      return
    }
    if (segment.has(SYN)) synAcknowledged(conn, segment)
    return
  }
  if (segment.has(RST) || !segment.has(SYN)) return
  simultaneousOpen(conn, segment)
}

function synAcknowledged(conn: TcpConnection, segment: Segment): void {
  conn.ecn = conn.offersEcn && (segment.flags & (ECE | CWR)) === ECE
  takePeerSyn(conn, segment)
  receiveAck(conn, segment)
  becomeEstablished(conn, segment)
  receiveUrgent(conn, segment)
  receiveSynData(conn, segment)
  const quiet = conn.hasUnsent || conn.settings.deferAccept > 0 || conn.settings.quickAck === false
  if (quiet && !conn.ackNow) {
    // The application's first data carries it.
    conn.ackPending = true
    conn.ato = 40 * MSEC
    delayAck(conn)
  } else {
    sendAck(conn)
  }
  conn.changed()
  if (conn.hasUnsent || conn.ackPending) afterSegment(conn)
}

/** Data on a SYN begin after it. */
function receiveSynData(conn: TcpConnection, segment: Segment): void {
  segment.dropSyn()
  receiveData(conn, segment)
}

/** RFC 9293 §3.5, figure 8: both have sent SYNs. */
function simultaneousOpen(conn: TcpConnection, segment: Segment): void {
  conn.ecn = conn.offersEcn && (segment.flags & (ECE | CWR)) === (ECE | CWR)
  takePeerSyn(conn, segment)
  conn.setState(TCP_SYN_RECV)
  const first = conn.sent.first
  if (first !== undefined) first.flags |= ACK
  sendSyn(conn, SYN | ACK)
}

/** The handshake is complete. */
export function becomeEstablished(conn: TcpConnection, segment: Segment): void {
  const { protocol, congestion, recovery } = conn
  conn.setState(TCP_ESTABLISHED)
  conn.sndWnd = segment.scaledWindow(conn.sndWscale)
  conn.maxWindow = Math.max(conn.maxWindow, conn.sndWnd)
  conn.sndWl1 = segment.seq
  updateMss(conn)
  // RFC 6298 §5.7, RFC 5681 §3.1: a lost SYN is a sign of congestion.
  if (conn.totalRetransmits > 0) {
    if (conn.rtt.srtt === 0) conn.rtt.rto = FALLBACK_RTO
    congestion.size = congestion.mss
  } else {
    congestion.size = initialCongestionWindow(conn)
  }
  recovery.retransSince = 0
  recovery.state = 0
  conn.rack.advanced = false
  conn.retransmits = 0
  conn.backoff = 0
  conn.lastReceivedAt = conn.lastAckAt = protocol.now
  conn.rcvMss = Math.min(conn.advertisedMss, conn.mss, Math.max(conn.rcvWnd / 2, 88), 536)
  initReceiveBuffer(conn)
  expandSendBuffer(conn)
  conn.startKeepalive()
  conn.changed()
}
