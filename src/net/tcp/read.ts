/** What recv(2) takes from a connection: the stream, which urgent data interrupt, and the urgent byte itself: tcp(7). */
import { MSG_PEEK, MSG_TRUNC, TCP_CLOSE } from '../../abi/constants.ts'
import { EAGAIN, EINVAL, ENOTCONN } from '../../abi/errno.ts'
import type { IoDst } from '../../base/io.ts'
import { type TcpConnection, URG_NONE, URG_READ, URG_VALID } from './connection.ts'
import { dataRead } from './receive.ts'
import { type Seq, seqAdd, seqAfter, seqDiff } from './sequence.ts'
import { RCV_SHUTDOWN } from './shutdown.ts'

export function readStream(conn: TcpConnection, dst: IoDst, flags: number, peekOffset: number): number {
  const peek = (flags & MSG_PEEK) !== 0
  const wanted = dst.remaining
  let seq = peek ? seqAdd(conn.copiedSeq, peekOffset) : conn.copiedSeq
  const end = seqAdd(conn.copiedSeq, conn.unread)
  let copied = 0
  while (copied < wanted) {
    let available = seqDiff(end, seq)
    if (available <= 0) break
    const mark = conn.urgState === URG_NONE ? -1 : seqDiff(conn.urgSeq, seq)
    if (mark === 0) {
      if (copied > 0) break
      if (!conn.settings.oobInline) {
        // The urgent byte is not part of the stream.
        seq = seqAdd(seq, 1)
        if (!peek) advance(conn, seq)
        continue
      }
    } else if (mark > 0) {
      available = Math.min(available, mark)
    }
    const n = Math.min(available, wanted - copied)
    const put = (flags & MSG_TRUNC) !== 0 ? n : conn.queue.copy(seq, n, dst)
    if (put <= 0) {
      if (copied === 0) copied = put
      break
    }
    copied += put
    seq = seqAdd(seq, put)
    if (!peek) advance(conn, seq)
  }
  if (copied !== 0) {
    if (!peek && copied > 0) dataRead(conn, copied)
    return copied
  }
  if (wanted === 0 && (conn.unread > 0 || conn.finReceived)) return 0
  return nothing(conn)
}

function advance(conn: TcpConnection, seq: Seq): void {
  conn.copiedSeq = seq
  conn.queue.drop(seq)
  if (conn.urgState !== URG_NONE && seqAfter(seq, conn.urgSeq)) conn.urgState = URG_NONE
}

function nothing(conn: TcpConnection): number {
  // After the peer's end an error is for who writes.
  if (conn.finReceived) return 0
  if (conn.error !== 0) return conn.takeError()
  if ((conn.shutdown & RCV_SHUTDOWN) !== 0) return 0
  if (conn.state === TCP_CLOSE) return -ENOTCONN
  dataRead(conn, 0)
  return -EAGAIN
}

/** MSG_OOB. */
export function readUrgent(conn: TcpConnection, dst: IoDst, flags: number): number {
  if (conn.settings.oobInline || conn.urgState === URG_NONE || conn.urgState === URG_READ) return -EINVAL
  if (conn.state === TCP_CLOSE && !conn.finReceived) return -ENOTCONN
  if (conn.urgState === URG_VALID) {
    if (dst.remaining === 0) return 0
    const put = dst.put(Uint8Array.of(conn.urgByte))
    if (put === 1 && (flags & MSG_PEEK) === 0) conn.urgState = URG_READ
    return put
  }
  if ((conn.shutdown & RCV_SHUTDOWN) !== 0) return 0
  return -EAGAIN
}

export function isAtMark(conn: TcpConnection): boolean {
  return conn.urgState !== URG_NONE && conn.copiedSeq === conn.urgSeq
}

/** Bytes up to the urgent one, or all. */
export function readableBytes(conn: TcpConnection): number {
  const { unread } = conn
  if (conn.urgState === URG_NONE || conn.settings.oobInline) return unread
  const mark = seqDiff(conn.urgSeq, conn.copiedSeq)
  if (mark < 0 || mark >= unread) return unread
  return mark > 0 ? mark : unread - 1
}
