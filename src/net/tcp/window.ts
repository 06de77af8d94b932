/**
 * The receive window: what is advertised (RFC 9293 §3.8.6, never shrunk, silly windows avoided), and how the receive buffer
 * grows with what the application reads per round trip (dynamic right-sizing) within tcp_rmem.
 */
import type { TcpConnection } from './connection.ts'
import { MAX_WSCALE } from './options.ts'
import { MSEC, WindowedMin } from './rtt.ts'
import { seqAdd, seqBefore, seqDiff } from './sequence.ts'

const MAX_UNSCALED = 0xffff
/** What a buffer must bridge however short the path is: until both sides run again (ns). */
const WAKE_UP = MSEC / 4

/** How much of `space` bytes of memory is promised to the peer: tcp_adv_win_scale; the rest is for overhead. */
export function windowOfSpace(conn: Pick<TcpConnection, 'protocol'>, space: number): number {
  const scale = conn.protocol.network.sysctl.ipv4.tcp_adv_win_scale
  if (scale === 1) return space > 0 ? Math.floor(space / 2) : 0
  const window = scale > 0 ? space - space / 2 ** scale : space / 2 ** -scale
  return Math.max(0, Math.floor(window))
}

function spaceOfWindow(conn: TcpConnection, window: number): number {
  const scale = conn.protocol.network.sysctl.ipv4.tcp_adv_win_scale
  return Math.ceil(scale > 0 ? window / (1 - 2 ** -scale) : window * 2 ** -scale)
}

/** What is still open of the window that was advertised last. */
export function receiveWindow(conn: TcpConnection): number {
  return Math.max(0, seqDiff(seqAdd(conn.rcvWup, conn.rcvWnd), conn.rcvNxt))
}

/** The scale that lets the largest possible buffer be advertised. */
export function receiveScale(conn: Pick<TcpConnection, 'protocol' | 'settings'>): number {
  const { sysctl } = conn.protocol.network
  if (sysctl.ipv4.tcp_window_scaling === 0) return 0
  let space = conn.settings.rcvbuf
  if (!conn.settings.rcvbufLocked) space = Math.max(space, sysctl.ipv4.tcp_rmem[2], sysctl.core.rmem_max)
  if (conn.settings.windowClamp > 0) space = Math.min(space, conn.settings.windowClamp)
  return Math.min(Math.max(Math.floor(Math.log2(space)) - 15, 0), MAX_WSCALE)
}

/** The window of a SYN or SYN-ACK: `space` bytes of memory, in whole segments. */
export function initialWindow(space: number, mss: number, clamp: number): number {
  let window = Math.min(space, clamp > 0 ? clamp : space)
  if (window > mss) window -= window % mss
  return Math.min(window, MAX_UNSCALED)
}

/** Set up when the handshake is done. */
export function initReceiveBuffer(conn: TcpConnection): void {
  const full = windowOfSpace(conn, conn.settings.rcvbuf)
  conn.windowClamp = conn.settings.windowClamp > 0 ? Math.min(conn.settings.windowClamp, full) : full
  conn.rcvSsthresh = Math.min(conn.rcvWnd, conn.windowClamp)
  conn.space = Math.min(conn.rcvWnd, 10 * conn.advertisedMss)
  conn.spaceSeq = conn.copiedSeq
  conn.spaceAt = conn.protocol.now
}

/** What the window would best be now: __tcp_select_window of Linux, in its words. */
export function idealWindow(conn: TcpConnection): number {
  const { settings } = conn
  const full = Math.min(conn.windowClamp, windowOfSpace(conn, settings.rcvbuf))
  let free = windowOfSpace(conn, settings.rcvbuf - conn.receiveCharge)
  const mss = Math.max(1, Math.min(conn.rcvMss, full))
  if (free < full / 2) {
    conn.quickAcks = 0
    if (conn.protocol.memory.pressure) conn.rcvSsthresh = Math.min(conn.rcvSsthresh, 4 * conn.advertisedMss)
    // Less than a segment, or than a sixteenth of everything: not worth announcing.
    if (free < full / 16 || free < mss) return 0
  }
  free = Math.min(free, conn.rcvSsthresh)
  if (conn.rcvWscale > 0) {
    const unit = 1 << conn.rcvWscale
    return Math.ceil(free / unit) * unit
  }
  const current = receiveWindow(conn)
  if (current <= free - mss || current > free) return free - (free % mss)
  if (mss === full && free > current + full / 2) return free
  return current
}

/** Decides the window of the segment about to be sent: the header's field. */
export function advertiseWindow(conn: TcpConnection): number {
  const current = receiveWindow(conn)
  let window = idealWindow(conn)
  const ext = conn.protocol.network.counters.tcpExt
  if (window < current) {
    // What was offered stays offered.
    if (window === 0) ext.TCPWantZeroWindowAdv++
    const unit = 1 << conn.rcvWscale
    window = Math.ceil(current / unit) * unit
  }
  window = Math.min(window, MAX_UNSCALED * (1 << conn.rcvWscale))
  if (window === 0 && conn.rcvWnd !== 0) ext.TCPToZeroWindowAdv++
  else if (window !== 0 && conn.rcvWnd === 0) ext.TCPFromZeroWindowAdv++
  conn.rcvWnd = window
  conn.rcvWup = conn.rcvNxt
  return Math.floor(window / (1 << conn.rcvWscale))
}

/** A segment of some length came in order: the peer is worth a larger window. */
export function growWindow(conn: TcpConnection, length: number): void {
  if (length <= 128 || conn.protocol.memory.pressure) return
  const room =
    Math.min(conn.windowClamp, windowOfSpace(conn, conn.settings.rcvbuf - conn.receiveCharge)) -
    conn.rcvSsthresh
  if (room > 0) conn.rcvSsthresh += Math.min(room, Math.max(2 * conn.advertisedMss, 2 * length))
}

/** The peer's round trip as the receiver sees it: from echoed timestamps, or the time in which a window comes. */
export function measureReceiveRtt(conn: TcpConnection, tsecr: number, length: number): void {
  const { now } = conn.protocol
  if (conn.timestamps) {
    if (tsecr === 0 || length < conn.rcvMss) return
    if (tsecr === conn.stamp) {
      // What is echoed again says nothing new.
      if (conn.stampedAt !== 0) receiveRttSample(conn, Math.max(now - conn.stampedAt, 1), true)
      conn.stampedAt = 0
      return
    }
    const delta = (conn.tsNow - tsecr) | 0
    if (delta >= 0 && delta < 60_000) receiveRttSample(conn, Math.max(delta, 1) * MSEC, true)
    return
  }
  if (conn.rcvRttAt !== 0) {
    if (seqBefore(conn.rcvNxt, conn.rcvRttSeq)) return
    receiveRttSample(conn, Math.max(now - conn.rcvRttAt, 1), false)
  }
  conn.rcvRttSeq = seqAdd(conn.rcvNxt, conn.rcvWnd)
  conn.rcvRttAt = now
}

function receiveRttSample(conn: TcpConnection, rtt: number, smooth: boolean): void {
  conn.rcvRttMin ??= new WindowedMin()
  conn.rcvRttMin.add(rtt, conn.protocol.now, conn.protocol.network.sysctl.ipv4.tcp_min_rtt_wlen * 1e9)
  if (conn.rcvRtt === 0) conn.rcvRtt = rtt
  else if (smooth) conn.rcvRtt += (rtt - conn.rcvRtt) / 8
  // A window's time is an upper bound.
  else conn.rcvRtt = Math.min(conn.rcvRtt, rtt)
}

/**
 * The application has read: once per round trip the buffer is fitted to twice what it reads in one. Of a round trip counts what
 * the path needs, not what segments wait in queues, ours among them: else a larger buffer would make longer queues, these
 * a longer round trip, and that a larger buffer, until all that waits has left the CPU's caches before it is read.
 */
export function adjustReceiveSpace(conn: TcpConnection): void {
  const { now, network } = conn.protocol
  if (conn.rcvRttMin === undefined || now - conn.spaceAt < conn.rcvRtt) return
  const path = Math.min(1, Math.max(conn.rcvRttMin.value, WAKE_UP) / conn.rcvRtt)
  const copied = Math.floor(seqDiff(conn.copiedSeq, conn.spaceSeq) * path)
  if (copied > conn.space) {
    if (network.sysctl.ipv4.tcp_moderate_rcvbuf !== 0 && !conn.settings.rcvbufLocked) {
      let window = copied * 2 + 16 * conn.advertisedMss
      // In slow start the peer's rate doubles per round trip: stay ahead.
      window += 2 * Math.floor(window * Math.min((copied - conn.space) / conn.space, 1))
      const rcvbuf = Math.min(spaceOfWindow(conn, window), network.sysctl.ipv4.tcp_rmem[2])
      if (rcvbuf > conn.settings.rcvbuf && !conn.protocol.memory.pressure) {
        conn.settings.rcvbuf = rcvbuf
        conn.windowClamp = windowOfSpace(conn, rcvbuf)
        if (conn.settings.windowClamp > 0)
          conn.windowClamp = Math.min(conn.windowClamp, conn.settings.windowClamp)
      }
    }
    conn.space = copied
  }
  conn.spaceSeq = conn.copiedSeq
  conn.spaceAt = now
}
