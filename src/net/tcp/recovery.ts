/**
 * What a loss does to the connection: the states Open, Disorder, CWR, Recovery and Loss; the reduction of the window (RFC
 * 6937), finding out that a timeout was spurious (F-RTO, RFC 5682), and undoing a reduction that was not called for (Eifel
 * with timestamps, RFC 3522; D-SACK, RFC 3708). Without SACK: NewReno, RFC 6582.
 */
import {
  TCP_CA_CWR,
  TCP_CA_Disorder,
  TCP_CA_Loss,
  TCP_CA_Open,
  TCP_CA_Recovery,
} from '../../abi/constants.ts'
import type { AckOutcome } from './ack-outcome.ts'
import type { TcpConnection } from './connection.ts'
import { inFlight } from './output.ts'
import { detectLosses, recoveryEnded, sentLately } from './rack.ts'
import { noteLost } from './retransmit.ts'
import { FIN, PSH } from './segment.ts'
import { EVER_RETRANSMITTED, RETRANSMITTED, SACKED } from './sent-queue.ts'
import { seqAdd, seqAfter, seqBefore } from './sequence.ts'

/** What the caller is to send: nothing in particular, lost segments first, or new data only (F-RTO). */
export const SEND_NEW = 0
export const SEND_LOST = 1
export const SEND_NEW_ONLY = 2

/** An acknowledgement that is not plain progress. `duplicate`: it is one by RFC 5681's definition. */
export function fastRecovery(conn: TcpConnection, outcome: AckOutcome, duplicate: boolean): number {
  const { recovery } = conn
  if (outcome.ece) recovery.priorSsthresh = 0
  if (recovery.state === TCP_CA_Open) {
    recovery.retransSince = 0
  } else if (!seqBefore(conn.sndUna, recovery.highSeq)) {
    if (recovery.state === TCP_CA_CWR && conn.sndUna !== recovery.highSeq) {
      endReduction(conn)
      recovery.state = TCP_CA_Open
    } else if (recovery.state === TCP_CA_Recovery) {
      if (!conn.sackOk) recovery.renoSacked = 0
      if (undoRecovery(conn)) return SEND_LOST
      endReduction(conn)
      recoveryEnded(conn)
    }
  }
  if (!conn.sackOk) countReno(conn, outcome, duplicate)
  if (recovery.state === TCP_CA_Recovery) {
    if (outcome.advanced && undoPartial(conn)) return SEND_LOST
    if (undoByDsack(conn)) {
      detect(conn, outcome)
      tryOpen(conn, outcome)
      return SEND_LOST
    }
    detect(conn, outcome)
    return SEND_LOST
  }
  if (recovery.state === TCP_CA_Loss) {
    const what = inLoss(conn, outcome, duplicate)
    detect(conn, outcome)
    // Unless the timeout has turned out to be spurious, or everything is recovered.
    if (!isOpen(conn)) return what
  } else {
    if (recovery.state <= TCP_CA_Disorder) undoByDsack(conn)
    detect(conn, outcome)
  }
  if (conn.sent.lost === 0) {
    tryOpen(conn, outcome)
    return SEND_NEW
  }
  enterRecovery(conn, outcome.ece)
  return SEND_LOST
}

function detect(conn: TcpConnection, outcome: AckOutcome): void {
  if (conn.sackOk) outcome.lost += detectLosses(conn, outcome)
  else outcome.lost += detectReno(conn, outcome)
}

/** Duplicates stand for segments that have arrived, though nobody says which. */
function countReno(conn: TcpConnection, outcome: AckOutcome, duplicate: boolean): void {
  const { recovery, sent } = conn
  if (duplicate) {
    const most = Math.max(sent.outstanding - conn.mss, 0)
    const before = recovery.renoSacked
    recovery.renoSacked = Math.min(before + conn.mss, most)
    outcome.delivered += recovery.renoSacked - before
  } else if (outcome.advanced) {
    // One of the acknowledged was the hole, the others had been counted.
    recovery.renoSacked = Math.max(recovery.renoSacked - Math.max(outcome.acked - conn.mss, 0), 0)
    if (recovery.state < TCP_CA_Recovery) recovery.renoSacked = 0
  }
}

/** Three duplicates, or an acknowledgement in recovery that goes only part of the way: the first segment is lost. */
function detectReno(conn: TcpConnection, outcome: AckOutcome): number {
  const { recovery, sent } = conn
  const first = sent.first
  if (first === undefined) return 0
  const enough = recovery.state < TCP_CA_Recovery && recovery.renoSacked >= 3 * conn.mss
  const partial = recovery.state === TCP_CA_Recovery && outcome.advanced
  if (!enough && !partial) return 0
  if (first.length > conn.mss + 1) sent.split(0, seqAdd(first.seq, conn.mss), FIN | PSH)
  const before = sent.lost
  noteLost(conn, first)
  return sent.lost - before
}

/** RFC 6675 §5, step (4). */
export function enterRecovery(conn: TcpConnection, ece: boolean): void {
  const { recovery } = conn
  const ext = conn.protocol.network.counters.tcpExt
  if (conn.sackOk) ext.TCPSackRecovery++
  else ext.TCPRenoRecovery++
  recovery.priorSsthresh = 0
  beginUndo(conn)
  if (recovery.state < TCP_CA_CWR) {
    if (!ece) recovery.priorSsthresh = currentSsthresh(conn)
    beginReduction(conn)
  }
  recovery.state = TCP_CA_Recovery
}

/** Congestion without a loss: an ECN echo, or a loss that a probe has repaired. */
export function enterCwr(conn: TcpConnection): void {
  const { recovery } = conn
  recovery.priorSsthresh = 0
  if (recovery.state >= TCP_CA_CWR) return
  recovery.canUndo = false
  beginReduction(conn)
  recovery.state = TCP_CA_CWR
}

/** The retransmission timer has expired: RFC 5681 §3.1, RFC 5682 §2.1. */
export function enterLoss(conn: TcpConnection): void {
  const { recovery, sent, congestion, protocol } = conn
  const isNew = recovery.state < TCP_CA_Recovery
  markAllLost(conn)
  const again = recovery.state === TCP_CA_Loss && conn.retransmits === 0
  if (recovery.state <= TCP_CA_Disorder || !seqAfter(recovery.highSeq, conn.sndUna) || again) {
    recovery.priorSsthresh = currentSsthresh(conn)
    recovery.priorWindow = congestion.size
    congestion.ssthresh = congestion.control.threshold(congestion)
    congestion.control.restarted(0)
    beginUndo(conn)
  }
  recovery.renoSacked = 0
  congestion.size = inFlight(conn) + congestion.mss
  recovery.state = TCP_CA_Loss
  recovery.highSeq = conn.sndNxt
  recovery.retransmitHint = conn.sndUna
  conn.rack.tlpOut = false
  recovery.frto =
    protocol.network.sysctl.ipv4.tcp_frto !== 0 && (isNew || conn.retransmits > 0) && sent.size > 0
}

function markAllLost(conn: TcpConnection): void {
  const { sent } = conn
  const first = sent.first
  if (first === undefined) return
  if (first.is(SACKED)) {
    conn.protocol.network.counters.tcpExt.TCPSACKReneging++
    sent.forgetSacks()
  }
  for (let i = 0; i < sent.size; i++) {
    const segment = sent.at(i)
    if (segment.is(SACKED)) continue
    if (i > 0 && conn.sackOk && sentLately(conn, segment)) continue
    sent.markLost(segment)
  }
}

/** RFC 5682 §2.1, steps 2 and 3, and NewReno-like progress after a timeout. */
function inLoss(conn: TcpConnection, outcome: AckOutcome, duplicate: boolean): number {
  const { recovery } = conn
  const recovered = !seqBefore(conn.sndUna, recovery.highSeq)
  if (outcome.advanced && undoLoss(conn, false)) return SEND_LOST
  if (recovery.frto) {
    // Something arrived that had not been sent again: the timeout came too early.
    if (outcome.originalAcked && undoLoss(conn, true)) return SEND_LOST
    if (seqAfter(conn.sndNxt, recovery.highSeq)) {
      if (outcome.sacked || duplicate) recovery.frto = false
    } else if (outcome.advanced && !recovered) {
      recovery.highSeq = conn.sndNxt
      if (conn.hasUnsent && seqAfter(conn.windowEnd, conn.sndNxt)) return SEND_NEW_ONLY
      recovery.frto = false
    }
  }
  if (recovered) {
    if (!conn.sackOk) recovery.renoSacked = 0
    undoRecovery(conn)
    return SEND_LOST
  }
  return SEND_LOST
}

function currentSsthresh(conn: TcpConnection): number {
  const { congestion, recovery } = conn
  // A window that is being reduced has had its threshold lowered already.
  if (recovery.state === TCP_CA_CWR || recovery.state === TCP_CA_Recovery) return congestion.ssthresh
  return Math.max(congestion.ssthresh, congestion.size * 0.75)
}

function beginUndo(conn: TcpConnection): void {
  const { recovery } = conn
  recovery.undoMarker = conn.sndUna
  recovery.canUndo = true
  recovery.undoRetransmitted = conn.sent.retransmitted
  recovery.retransmittedSince = conn.sent.retransmitted > 0
}

function beginReduction(conn: TcpConnection): void {
  const { recovery, congestion } = conn
  recovery.highSeq = conn.sndNxt
  recovery.retransmitHint = conn.sndUna
  conn.rack.tlpOut = false
  recovery.priorWindow = congestion.size
  recovery.prrDelivered = recovery.prrOut = 0
  congestion.ssthresh = congestion.control.threshold(congestion)
  if (conn.ecn) conn.cwrPending = true
}

/** RFC 6937: the window after an acknowledgement in recovery that told of `delivered` bytes arrived and `lost` lost. */
export function reduceWindow(conn: TcpConnection, delivered: number, lost: number, advanced: boolean): void {
  const { recovery, congestion } = conn
  if (recovery.priorWindow === 0) return
  const flight = inFlight(conn)
  recovery.prrDelivered += delivered
  let allowed: number
  if (flight > congestion.ssthresh) {
    const share = Math.ceil((congestion.ssthresh * recovery.prrDelivered) / recovery.priorWindow)
    allowed = share - recovery.prrOut
  } else {
    allowed = Math.max(recovery.prrDelivered - recovery.prrOut, delivered)
    // Slow start reduction bound, where the recovery makes good progress; else only what has left the network.
    if (advanced && lost === 0) allowed += congestion.mss
    allowed = Math.min(congestion.ssthresh - flight, allowed)
  }
  // The first retransmission goes in any case.
  congestion.size = flight + Math.max(allowed, recovery.prrOut > 0 ? 0 : congestion.mss)
}

function endReduction(conn: TcpConnection): void {
  const { recovery, congestion } = conn
  if (recovery.state === TCP_CA_CWR || recovery.canUndo) {
    if (congestion.ssthresh !== Number.POSITIVE_INFINITY) congestion.size = congestion.ssthresh
  }
}

/** The acknowledgement was sent before the first retransmission arrived: it is for the original. RFC 3522 §3.2. */
function isEarlyEcho(conn: TcpConnection): boolean {
  const { recovery, protocol } = conn
  const { options } = protocol.segment
  if (recovery.retransSince === 0 || !conn.timestamps || !options.timestamp || options.tsecr === 0)
    return false
  return seqBefore(options.tsecr, recovery.retransStamp)
}

function mayUndo(conn: TcpConnection): boolean {
  const { recovery } = conn
  if (!recovery.canUndo) return false
  return (recovery.retransmittedSince && recovery.undoRetransmitted === 0) || isEarlyEcho(conn)
}

function undoWindow(conn: TcpConnection, forgetLosses: boolean): void {
  const { recovery, congestion, sent } = conn
  if (forgetLosses) for (let i = 0; i < sent.size; i++) sent.unmarkLost(sent.at(i))
  if (recovery.priorSsthresh > 0) {
    congestion.size = Math.max(congestion.size, recovery.priorWindow)
    if (recovery.priorSsthresh > congestion.ssthresh) {
      congestion.ssthresh = recovery.priorSsthresh
      conn.cwrPending = false
    }
  }
  recovery.canUndo = false
  conn.rack.advanced = true
}

/** highSeq is reached. True: stay, so that late duplicates start no new recovery (without SACK). */
function undoRecovery(conn: TcpConnection): boolean {
  const { recovery } = conn
  const ext = conn.protocol.network.counters.tcpExt
  if (mayUndo(conn)) {
    if (recovery.state === TCP_CA_Loss) ext.TCPLossUndo++
    else ext.TCPFullUndo++
    undoWindow(conn, false)
  }
  if (conn.sndUna === recovery.highSeq && !conn.sackOk) {
    if (!anyRetransmitted(conn)) recovery.retransSince = 0
    return true
  }
  if (recovery.state === TCP_CA_Recovery) endReduction(conn)
  recovery.canUndo = false
  recovery.state = TCP_CA_Open
  recovery.frto = false
  return false
}

function undoPartial(conn: TcpConnection): boolean {
  const { recovery, sent } = conn
  if (!recovery.canUndo || !isEarlyEcho(conn)) return false
  // Retransmissions are under way: wait, and send new data meanwhile.
  if (sent.retransmitted > 0) return true
  if (!anyRetransmitted(conn)) recovery.retransSince = 0
  conn.protocol.network.counters.tcpExt.TCPPartialUndo++
  undoWindow(conn, true)
  keepOpen(conn)
  return true
}

function undoByDsack(conn: TcpConnection): boolean {
  const { recovery } = conn
  if (!recovery.canUndo || !recovery.retransmittedSince || recovery.undoRetransmitted > 0) return false
  conn.protocol.network.counters.tcpExt.TCPDSACKUndo++
  undoWindow(conn, false)
  return true
}

function undoLoss(conn: TcpConnection, spurious: boolean): boolean {
  const { recovery } = conn
  if (!spurious && !mayUndo(conn)) return false
  const ext = conn.protocol.network.counters.tcpExt
  undoWindow(conn, true)
  ext.TCPLossUndo++
  if (spurious) ext.TCPSpuriousRTOs++
  conn.retransmits = 0
  recovery.frto = false
  if (conn.sackOk || spurious) recovery.state = TCP_CA_Open
  return true
}

function isOpen(conn: TcpConnection): boolean {
  return conn.recovery.state === TCP_CA_Open
}

function anyRetransmitted(conn: TcpConnection): boolean {
  const { sent } = conn
  if (sent.retransmitted > 0) return true
  return sent.first?.is(RETRANSMITTED | EVER_RETRANSMITTED) ?? false
}

/** Open if there is no sign of trouble, else Disorder. */
export function keepOpen(conn: TcpConnection): void {
  const { recovery, sent } = conn
  const trouble =
    sent.sacked + sent.lost + recovery.renoSacked > 0 || anyRetransmitted(conn) || recovery.canUndo
  const state = trouble ? TCP_CA_Disorder : TCP_CA_Open
  if (state === recovery.state) return
  recovery.state = state
  recovery.highSeq = conn.sndNxt
}

function tryOpen(conn: TcpConnection, outcome: AckOutcome): void {
  const { recovery } = conn
  if (!anyRetransmitted(conn)) recovery.retransSince = 0
  if (outcome.ece) enterCwr(conn)
  if (recovery.state !== TCP_CA_CWR) keepOpen(conn)
}
