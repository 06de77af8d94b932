/**
 * A segment for a connection: RFC 9293 §3.10.7.4 in its order, with RFC 7323's PAWS before, and RFC 5961's defence against
 * those who guess: whoever isn't exactly right gets a challenge, to which the true peer has an answer.
 */
import {
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TCP_TIME_WAIT,
} from '../../abi/constants.ts'
import { ECONNREFUSED, ECONNRESET, EPIPE } from '../../abi/errno.ts'
import { ACK_BAD, receiveAck } from './ack.ts'
import type { TcpConnection } from './connection.ts'
import { resetReply, sendAck, sendReset } from './control-segment.ts'
import { becomeEstablished, synSentSegment } from './handshake.ts'
import { output } from './output.ts'
import { acknowledgeNow, checkAck, duplicateSegment, receiveData, receiveUrgent } from './receive.ts'
import { MSEC } from './rtt.ts'
import { ACK, CWR, FIN, RST, type Segment, SYN } from './segment.ts'
import { seqAdd, seqAfter, seqBefore } from './sequence.ts'
import { RCV_SHUTDOWN, SEND_SHUTDOWN } from './shutdown.ts'
import { receiveWindow } from './window.ts'

/** RFC 7323 §5.5: after so long a timestamp says nothing. */
const PAWS_LIFETIME = 24 * 24 * 3600 * 1e9

export function receiveSegment(conn: TcpConnection, segment: Segment): void {
  conn.segmentsIn += segment.length > segment.unit ? Math.ceil(segment.length / segment.unit) : 1
  if (segment.length > 0) conn.dataSegmentsIn += Math.ceil(segment.length / segment.unit)
  if (conn.state === TCP_SYN_SENT) {
    synSentSegment(conn, segment)
    return
  }
  if (!isAcceptable(conn, segment) || !segment.has(ACK)) return
  storeTimestamp(conn, segment)
  const ack = receiveAck(conn, segment)
  if (ack === ACK_BAD) {
    // RFC 9293 §3.10.7.4: in SYN-RECEIVED it can be nobody's.
    if (conn.state === TCP_SYN_RECV) resetReply(conn.protocol, segment)
    else challenge(conn)
    return
  }
  noteEcn(conn, segment)
  if (conn.state !== TCP_ESTABLISHED && !advanceState(conn, segment)) return
  receiveUrgent(conn, segment)
  receivePayload(conn, segment)
  afterSegment(conn)
}

/** Sends what the segment has made possible, and the acknowledgement it needs. */
export function afterSegment(conn: TcpConnection): void {
  if (conn.state === TCP_CLOSE) return
  output(conn)
  checkAck(conn)
  conn.protocol.memory.update(conn)
  conn.endpoint?.spaceFreed()
}

/** First to fourth check. What fails is answered here, if at all. */
function isAcceptable(conn: TcpConnection, segment: Segment): boolean {
  const { options } = segment
  if (conn.timestamps && options.timestamp && isOldTimestamp(conn, segment) && !segment.has(RST)) {
    conn.protocol.network.counters.tcpExt.PAWSEstab++
    answerInvalid(conn, segment)
    return false
  }
  const windowEnd = seqAdd(conn.rcvNxt, receiveWindow(conn))
  if (seqBefore(segment.end, conn.rcvWup) || seqAfter(segment.seq, windowEnd)) {
    if (!segment.has(RST)) {
      if (segment.has(SYN)) challengeSyn(conn)
      else answerInvalid(conn, segment)
    } else if (segment.seq === seqAdd(conn.rcvNxt, -1) && conn.finReceived) {
      // Some send a reset as if our acknowledgement of their FIN had not come.
      reset(conn)
    }
    return false
  }
  if (segment.has(RST)) {
    // RFC 5961 §3.2.
    if (segment.seq === conn.rcvNxt) reset(conn)
    else challenge(conn)
    return false
  }
  if (segment.has(SYN)) {
    // Simultaneous open: their SYN once more, with the acknowledgement of ours.
    if (conn.state === TCP_SYN_RECV && segment.has(ACK) && seqAdd(segment.seq, 1) === conn.rcvNxt) {
      segment.dropSyn()
      return true
    }
    challengeSyn(conn)
    return false
  }
  return true
}

function isOldTimestamp(conn: TcpConnection, segment: Segment): boolean {
  const { tsval } = segment.options
  if (((conn.tsRecent - tsval) | 0) <= 0) return false
  if (conn.protocol.now - conn.tsRecentAt > PAWS_LIFETIME) return false
  // A pure acknowledgement that was overtaken is no harm.
  const pure = segment.seq === segment.end && segment.seq === conn.rcvNxt && segment.ack === conn.sndUna
  return !(pure && ((conn.tsRecent - tsval) | 0) <= conn.rtt.rto / MSEC)
}

/** RFC 7323 §4.3: TS.Recent, from segments that reach to what was acknowledged last. */
function storeTimestamp(conn: TcpConnection, segment: Segment): void {
  if (!conn.timestamps || !segment.options.timestamp) return
  if (seqAfter(segment.seq, conn.lastAckSent)) return
  if (((segment.options.tsval - conn.tsRecent) | 0) < 0) return
  conn.tsRecent = segment.options.tsval
  conn.tsRecentAt = conn.protocol.now
}

/** RFC 3168 §6.1: echo marks until the sender says that it has heard. */
function noteEcn(conn: TcpConnection, segment: Segment): void {
  if (!conn.ecn) return
  if (segment.has(CWR)) conn.ecnEchoing = false
  if (segment.length === 0) return
  const codepoint = segment.packet!.tos & 3
  if (codepoint !== 0) conn.ecnSeen = true
  if (codepoint === 3) {
    if (!conn.ecnEchoing) acknowledgeNow(conn)
    conn.ecnEchoing = true
  }
}

/** States after ESTABLISHED: whether the segment's text is to be looked at. */
function advanceState(conn: TcpConnection, segment: Segment): boolean {
  const finAcknowledged = conn.finSent && conn.sndUna === conn.sndNxt
  switch (conn.state) {
    case TCP_SYN_RECV:
      if (!seqAfter(conn.sndUna, conn.iss)) return false
      becomeEstablished(conn, segment)
      return true
    case TCP_FIN_WAIT1:
      return !finAcknowledged || finWait2(conn, segment)
    case TCP_CLOSING:
      if (finAcknowledged) {
        conn.protocol.toTimeWait(conn, TCP_TIME_WAIT)
        return false
      }
      return true
    case TCP_LAST_ACK:
      if (finAcknowledged) {
        conn.done()
        return false
      }
      return true
  }
  return conn.state !== TCP_CLOSE
}

function finWait2(conn: TcpConnection, segment: Segment): boolean {
  conn.setState(TCP_FIN_WAIT2)
  conn.shutdown |= SEND_SHUTDOWN
  conn.changed()
  if (!conn.orphan) return true
  const { ipv4 } = conn.protocol.network.sysctl
  const payloadEnd = segment.has(FIN) ? seqAdd(segment.end, -1) : segment.end
  if (conn.settings.linger2 < 0 || seqAfter(payloadEnd, conn.rcvNxt)) {
    // Nobody will ever read that.
    conn.protocol.network.counters.tcpExt.TCPAbortOnData++
    sendReset(conn)
    conn.done()
    return false
  }
  if (segment.has(FIN)) return true
  const seconds = conn.settings.linger2 > 0 ? conn.settings.linger2 : ipv4.tcp_fin_timeout
  conn.protocol.toTimeWait(conn, TCP_FIN_WAIT2, seconds)
  return false
}

function receivePayload(conn: TcpConnection, segment: Segment): void {
  switch (conn.state) {
    case TCP_CLOSE_WAIT:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
      // After FIN there is no more text: an old segment, that wants its acknowledgement.
      if (segment.seq !== segment.end && seqBefore(segment.seq, conn.rcvNxt)) acknowledgeNow(conn)
      return
    case TCP_FIN_WAIT1:
    case TCP_FIN_WAIT2: {
      const payloadEnd = segment.has(FIN) ? seqAdd(segment.end, -1) : segment.end
      const deaf = conn.orphan || (conn.shutdown & RCV_SHUTDOWN) !== 0
      if (deaf && segment.length > 0 && seqAfter(payloadEnd, conn.rcvNxt)) {
        conn.protocol.network.counters.tcpExt.TCPAbortOnData++
        sendReset(conn)
        reset(conn)
        return
      }
      receiveData(conn, segment)
      return
    }
    case TCP_ESTABLISHED:
      receiveData(conn, segment)
  }
}

/** RST, and an acceptable one. */
export function reset(conn: TcpConnection): void {
  const { tcp } = conn.protocol.network.counters
  if (conn.state === TCP_SYN_SENT || conn.state === TCP_SYN_RECV) tcp.AttemptFails++
  if (conn.state === TCP_ESTABLISHED || conn.state === TCP_CLOSE_WAIT) tcp.EstabResets++
  const errno =
    conn.state === TCP_SYN_SENT ? ECONNREFUSED : conn.state === TCP_CLOSE_WAIT ? EPIPE : ECONNRESET
  conn.fail(errno)
}

/** RFC 5961 §7, §4: an acknowledgement that only the true peer can make use of; so many, and not faster. */
export function challenge(conn: TcpConnection): void {
  if (tooSoon(conn) || !conn.protocol.mayChallenge()) return
  conn.protocol.network.counters.tcpExt.TCPChallengeACK++
  sendAck(conn)
}

function challengeSyn(conn: TcpConnection): void {
  conn.protocol.network.counters.tcpExt.TCPSYNChallenge++
  challenge(conn)
}

/** RFC 9293 §3.10.7.4, first: out of the window, 'send an acknowledgment'; with data always, else not too often. */
function answerInvalid(conn: TcpConnection, segment: Segment): void {
  if (segment.seq === segment.end && tooSoon(conn)) return
  duplicateSegment(conn, segment)
  sendAck(conn)
}

function tooSoon(conn: TcpConnection): boolean {
  const { now, network } = conn.protocol
  if (now - conn.lastInvalidAckAt < network.sysctl.ipv4.tcp_invalid_ratelimit * MSEC) return true
  conn.lastInvalidAckAt = now
  return false
}
