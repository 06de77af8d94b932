/**
 * Data that comes in: in order to the receive queue, else to the out-of-order queue; FIN; urgent data (RFC 9293 §3.8.5,
 * RFC 6093); and when to acknowledge: RFC 9293 §3.8.6.3, with quick acknowledgements at the start and a delay that adapts to the
 * sender's pace.
 */
import {
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_SYN_RECV,
  TCP_TIME_WAIT,
} from '../../abi/constants.ts'
import { type TcpConnection, URG_AWAITED, URG_NONE, URG_VALID } from './connection.ts'
import { sendAck } from './control-segment.ts'
import { ReceivedChunk } from './receive-queue.ts'
import { MSEC } from './rtt.ts'
import { FIN, PSH, type Segment, URG } from './segment.ts'
import { type Seq, seqAdd, seqAfter, seqBefore, seqDiff } from './sequence.ts'
import { RCV_SHUTDOWN } from './shutdown.ts'
import { adjustReceiveSpace, growWindow, idealWindow, measureReceiveRtt, receiveWindow } from './window.ts'

/** Linux's bounds of the delay of acknowledgements. */
const ATO_MIN = 40 * MSEC
const DELACK_MIN = 40 * MSEC
const DELACK_MAX = 200 * MSEC
const MAX_QUICK_ACKS = 16
/** So much more memory than twice the payload makes collapsing worth its time. */
const SPARSE_QUEUE = 65536

/** Takes the payload and FIN of a segment that is acceptable by its sequence numbers. */
export function receiveData(conn: TcpConnection, segment: Segment): void {
  if (segment.seq === segment.end) return
  const ext = conn.protocol.network.counters.tcpExt
  const { seq, end } = segment
  if (!seqAfter(end, conn.rcvNxt)) {
    // All of it is here already: our acknowledgement was lost, or the retransmission came for nothing.
    ext.TCPDSACKOldSent += reportDuplicate(conn, seq, end) ? 1 : 0
    acknowledgeNow(conn)
    return
  }
  const window = receiveWindow(conn)
  if (!seqBefore(seq, seqAdd(conn.rcvNxt, window)) && (window === 0 || seq !== conn.rcvNxt)) {
    // A probe of a closed window.
    acknowledgeNow(conn)
    return
  }
  const fin = segment.has(FIN)
  if (!hasMemoryFor(conn, !seqAfter(seq, conn.rcvNxt))) {
    ext.TCPRcvQDrop++
    acknowledgeNow(conn)
    return
  }
  const chunk = ReceivedChunk.ofPacket(segment.takePacket(), segment.payload, segment.length, seq, fin)
  if (seqAfter(seq, conn.rcvNxt)) {
    receiveOutOfOrder(conn, chunk)
  } else {
    if (seqBefore(seq, conn.rcvNxt)) {
      ext.TCPDSACKOldSent += reportDuplicate(conn, seq, conn.rcvNxt) ? 1 : 0
      chunk.trimFront(conn.rcvNxt)
      acknowledgeNow(conn)
    }
    const filled = !conn.outOfOrder.empty
    enqueue(conn, chunk)
    if (filled) {
      drainOutOfOrder(conn)
      conn.sacks.advance(conn.rcvNxt)
      // RFC 5681 §4.2: at once when a hole is filled.
      if (conn.outOfOrder.empty) conn.quickAcks = Math.max(conn.quickAcks, 1)
      acknowledgeNow(conn)
    }
    dataReceived(conn, segment)
    if (conn.queue.charge > 0 || conn.finReceived) conn.changed()
  }
  conn.protocol.memory.update(conn)
}

function enqueue(conn: TcpConnection, chunk: ReceivedChunk): void {
  const { fin } = chunk
  conn.rcvNxt = chunk.end
  conn.bytesReceived += chunk.length
  chunk.fin = false
  if (chunk.length > 0) conn.queue.push(chunk)
  else chunk.release()
  if (fin) receiveFin(conn)
}

function drainOutOfOrder(conn: TcpConnection): void {
  for (;;) {
    const chunk = conn.outOfOrder.takeUpTo(conn.rcvNxt)
    if (chunk === undefined) return
    if (!seqAfter(chunk.end, conn.rcvNxt)) {
      reportDuplicate(conn, chunk.seq, chunk.end)
      chunk.release()
      continue
    }
    if (seqBefore(chunk.seq, conn.rcvNxt)) {
      reportDuplicate(conn, chunk.seq, conn.rcvNxt)
      chunk.trimFront(conn.rcvNxt)
    }
    enqueue(conn, chunk)
  }
}

function receiveOutOfOrder(conn: TcpConnection, chunk: ReceivedChunk): void {
  const ext = conn.protocol.network.counters.tcpExt
  const { seq, end } = chunk
  const { outOfOrder } = conn
  ext.TCPOFOQueue++
  conn.outOfOrderSegments++
  const isNew = outOfOrder.insert(chunk)
  if (outOfOrder.duplicateStart !== outOfOrder.duplicateEnd) {
    if (reportDuplicate(conn, outOfOrder.duplicateStart, outOfOrder.duplicateEnd)) ext.TCPDSACKOfoSent++
  }
  if (!isNew) ext.TCPOFOMerge++
  if (conn.sackOk) conn.sacks.add(seq, end)
  if (isNew) growWindow(conn, seqDiff(end, seq))
  acknowledgeNow(conn)
}

/** RFC 2883. Whether it will be. */
function reportDuplicate(conn: TcpConnection, start: Seq, end: Seq): boolean {
  if (!conn.sackOk || conn.protocol.network.sysctl.ipv4.tcp_dsack === 0) return false
  conn.sacks.addDuplicate(start, end)
  return true
}

/** An acceptable segment's duplicate before the window: acknowledged with a D-SACK, from which the sender learns. */
export function duplicateSegment(conn: TcpConnection, segment: Segment): void {
  if (segment.seq !== segment.end && seqBefore(segment.seq, conn.rcvNxt)) {
    conn.protocol.network.counters.tcpExt.DelayedACKLost++
    const end = seqAfter(segment.end, conn.rcvNxt) ? conn.rcvNxt : segment.end
    reportDuplicate(conn, segment.seq, end)
    enterQuickAck(conn)
  }
}

/**
 * Whether a segment may be kept: as long as the buffer isn't overfull already, as in Linux. Then nothing out of order is
 * taken, and for what is in order room is made at the expense of what came out of order: an eighth of the buffer at a time, so
 * that a flood of tiny segments does not have everything looked through for each.
 */
function hasMemoryFor(conn: TcpConnection, inOrder: boolean): boolean {
  const { protocol, queue, outOfOrder } = conn
  const limit = conn.settings.rcvbuf
  if (conn.receiveCharge <= limit && !protocol.memory.exhausted) return true
  const isOver = (): boolean => conn.receiveCharge > limit || protocol.memory.exhausted
  const ext = protocol.network.counters.tcpExt
  ext.PruneCalled++
  if (inOrder) {
    if (queue.charge > 2 * conn.unread + SPARSE_QUEUE) {
      queue.collapse()
      ext.TCPRcvCollapsed++
    }
    if (isOver() && outOfOrder.prune(Math.max((limit * 7) / 8 - queue.charge, 0))) {
      ext.OfoPruned++
      // RFC 2018 §8: what was thrown away is not reported any more.
      conn.sacks.clear()
    }
    // A reader that has read everything always gets the next segment, or nothing would ever move.
    if (queue.charge === 0 || !isOver()) return true
  }
  ext.RcvPruned++
  return false
}

function receiveFin(conn: TcpConnection): void {
  conn.finReceived = true
  conn.shutdown |= RCV_SHUTDOWN
  conn.ackPending = true
  switch (conn.state) {
    case TCP_SYN_RECV:
    case TCP_ESTABLISHED:
      conn.setState(TCP_CLOSE_WAIT)
      conn.pingPong = 1
      break
    case TCP_FIN_WAIT1:
      // Both sides close at once: their FIN came before the acknowledgement of ours.
      sendAck(conn)
      conn.setState(TCP_CLOSING)
      break
    case TCP_FIN_WAIT2:
      sendAck(conn)
      conn.protocol.toTimeWait(conn, TCP_TIME_WAIT)
      break
  }
  conn.outOfOrder.clear()
  conn.sacks.clear()
}

/** What a segment with data in order says of the sender's ways. */
function dataReceived(conn: TcpConnection, segment: Segment): void {
  const { now } = conn.protocol
  conn.ackPending = true
  measureSegments(conn, segment)
  measureReceiveRtt(conn, segment.options.timestamp ? segment.options.tsecr : 0, segment.length)
  if (conn.ato === 0) {
    startQuickAcks(conn)
    conn.ato = ATO_MIN
  } else {
    const gap = now - conn.lastReceivedAt
    if (gap <= ATO_MIN / 2) conn.ato = conn.ato / 2 + ATO_MIN / 2
    else if (gap < conn.ato) conn.ato = Math.min(conn.ato / 2 + gap, conn.rtt.rto)
    else if (gap > conn.rtt.rto) startQuickAcks(conn)
  }
  conn.lastReceivedAt = now
  growWindow(conn, segment.length)
}

/**
 * The size of the peer's segments (of those which come in one packet that of the parts), and whether this one may be the end
 * of a write, whose writer then waits for the acknowledgement.
 */
function measureSegments(conn: TcpConnection, segment: Segment): void {
  const size = segment.unit
  if (size >= conn.rcvMss) {
    conn.rcvMss = Math.min(size, Math.max(conn.advertisedMss, 536))
    if (segment.has(PSH)) conn.ackPushed = Math.max(conn.ackPushed, 1)
    return
  }
  // Two of a size in a row: a sender of smaller segments.
  if (size >= 536 || (size >= 88 && !segment.has(PSH | FIN | URG))) {
    const again = size === conn.lastSegmentSize
    conn.lastSegmentSize = size
    if (again) {
      conn.rcvMss = size
      return
    }
  }
  conn.ackPushed = Math.min(conn.ackPushed + 1, 2)
}

function startQuickAcks(conn: TcpConnection): void {
  const window = Math.floor(conn.rcvWnd / (2 * conn.rcvMss))
  conn.quickAcks = Math.max(conn.quickAcks, Math.min(Math.max(window, 2), MAX_QUICK_ACKS))
}

export function enterQuickAck(conn: TcpConnection): void {
  startQuickAcks(conn)
  conn.pingPong = 0
  conn.ato = ATO_MIN
}

export function acknowledgeNow(conn: TcpConnection): void {
  conn.ackPending = true
  conn.ackNow = true
}

/** After a segment: acknowledges now, later, or not. */
export function checkAck(conn: TcpConnection): void {
  if (!conn.ackPending || !conn.synchronized) return
  const unacknowledged = seqDiff(conn.rcvNxt, conn.rcvWup)
  const fullSize =
    unacknowledged > conn.rcvMss && (conn.unread < conn.settings.rcvLowat || idealWindow(conn) >= conn.rcvWnd)
  const quick = conn.quickAcks > 0 && conn.pingPong === 0
  if (fullSize || quick || conn.ackNow || !conn.outOfOrder.empty) sendAck(conn)
  else delayAck(conn)
}

/** An acknowledgement within the delay, unless it rides on data before. */
export function delayAck(conn: TcpConnection): void {
  const { now, network } = conn.protocol
  const longest = conn.settings.delackMax || DELACK_MAX
  let delay = conn.ato
  if (delay > DELACK_MIN) {
    let most = conn.pingPong > 0 ? longest : 500 * MSEC
    if (conn.rtt.srtt > 0) most = Math.min(most, Math.max(conn.rtt.srtt, DELACK_MIN))
    delay = Math.min(delay, most)
  }
  const due = now + Math.min(Math.max(delay, DELACK_MIN), longest)
  if (conn.delackTimer.due > due) conn.delackTimer.set(network.runtime.timers, due)
}

/** The delayed acknowledgement's time has come. */
export function delayedAckTimeout(conn: TcpConnection): void {
  if (!conn.ackPending) return
  if (conn.pingPong === 0) {
    // The sender is slower than thought.
    conn.ato = Math.min(conn.ato * 2, conn.rtt.rto)
  } else {
    // No answer came that could have carried it.
    conn.pingPong = 0
    conn.ato = ATO_MIN
  }
  conn.protocol.network.counters.tcpExt.DelayedACKs++
  sendAck(conn)
}

/** The application has read `copied` bytes: the peer may have to hear of the room. */
export function dataRead(conn: TcpConnection, copied: number): void {
  if (copied > 0) {
    adjustReceiveSpace(conn)
    conn.protocol.memory.update(conn)
  }
  if (!conn.synchronized) return
  let now = false
  if (conn.ackPending) {
    const unacknowledged = seqDiff(conn.rcvNxt, conn.rcvWup)
    // The end of a write was read: the writer may hold back more until it hears (Nagle).
    const pushed = conn.ackPushed === 2 || (conn.ackPushed === 1 && conn.pingPong === 0)
    now = unacknowledged > conn.rcvMss || (copied > 0 && conn.unread === 0 && pushed)
  }
  if (!now && copied > 0 && (conn.shutdown & RCV_SHUTDOWN) === 0) {
    const window = receiveWindow(conn)
    if (2 * window <= conn.windowClamp) {
      const ideal = idealWindow(conn)
      // RFC 9293 §3.8.6.2.2: not for a little.
      now = ideal > 0 && ideal >= 2 * window
    }
  }
  if (now) sendAck(conn)
}

/** The urgent pointer, and the urgent byte if this segment has it. Before `receiveData`, which takes the payload. */
export function receiveUrgent(conn: TcpConnection, segment: Segment): void {
  if (segment.has(URG)) urgentPointer(conn, segment)
  if (conn.urgState !== URG_AWAITED) return
  const offset = seqDiff(conn.urgSeq, segment.seq)
  if (offset < 0 || offset >= segment.length) return
  conn.urgByte = segment.packet!.bytes[segment.payload + offset]
  conn.urgState = URG_VALID
  conn.changed()
}

function urgentPointer(conn: TcpConnection, segment: Segment): void {
  let pointer = segment.urgent
  // One past the urgent byte, as everybody has it; tcp_stdurg: the byte itself.
  if (pointer > 0 && conn.protocol.network.sysctl.ipv4.tcp_stdurg === 0) pointer--
  const at = seqAdd(segment.seq, pointer)
  if (seqAfter(conn.copiedSeq, at) || seqBefore(at, conn.rcvNxt)) return
  if (conn.urgState !== URG_NONE && !seqAfter(at, conn.urgSeq)) return
  conn.endpoint?.urgent()
  // The one before was never read, and is data like all other now; at the head of the queue it goes.
  if (
    conn.urgSeq === conn.copiedSeq &&
    conn.urgState !== URG_NONE &&
    !conn.settings.oobInline &&
    conn.unread > 0
  ) {
    conn.copiedSeq = seqAdd(conn.copiedSeq, 1)
    conn.queue.drop(conn.copiedSeq)
  }
  conn.urgState = URG_AWAITED
  conn.urgSeq = at
}
