/**
 * What happens when a connection's timers go off: retransmission (RFC 6298 §5), probing a closed window (RFC 9293 §3.8.6.1),
 * loss probes, delayed acknowledgements, keep-alives (RFC 9293 §3.8.4), pacing; and when to give up: RFC 9293 §3.8.3 with
 * tcp_retries1 and tcp_retries2, TCP_USER_TIMEOUT.
 */
import {
  TCP_CA_Disorder,
  TCP_CA_Recovery,
  TCP_CLOSE,
  TCP_FIN_WAIT2,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from '../../abi/constants.ts'
import { ETIMEDOUT } from '../../abi/errno.ts'
import type { Timer } from '../../kernel/timers.ts'
import { type TcpConnection, TIMER_PROBE, TIMER_REORDER, TIMER_RTO, TIMER_TLP } from './connection.ts'
import { sendProbeSegment, sendReset } from './control-segment.ts'
import { armTimer, output, wakeUp } from './output.ts'
import { reorderTimeout, sendLossProbe } from './rack.ts'
import { delayedAckTimeout } from './receive.ts'
import { enterLoss } from './recovery.ts'
import { retransmitAt } from './retransmit.ts'
import { MSEC } from './rtt.ts'
import { updateMss } from './sizes.ts'

export function connectionTimer(conn: TcpConnection, timer: Timer): void {
  const { now, network } = conn.protocol
  const { timers } = network.runtime
  if (timer === conn.retransmitTimer.timer) {
    if (conn.retransmitTimer.fired(timers, now)) retransmitTimerFired(conn)
  } else if (timer === conn.delackTimer.timer) {
    if (conn.delackTimer.fired(timers, now)) delayedAckTimeout(conn)
  } else if (timer === conn.keepaliveTimer.timer) {
    if (conn.keepaliveTimer.fired(timers, now)) keepaliveTimeout(conn)
  } else if (conn.paceTimer.fired(timers, now)) {
    output(conn)
  }
}

function retransmitTimerFired(conn: TcpConnection): void {
  switch (conn.timerKind) {
    case TIMER_RTO:
      retransmissionTimeout(conn)
      break
    case TIMER_PROBE:
      probeTimeout(conn)
      break
    case TIMER_TLP:
      sendLossProbe(conn)
      break
    case TIMER_REORDER:
      reorderTimeout(conn)
      break
  }
}

function retransmissionTimeout(conn: TcpConnection): void {
  const { sent, protocol, rtt, recovery } = conn
  if (sent.size === 0) return
  if (conn.sndWnd === 0 && conn.synchronized && !conn.orphan) {
    // The peer has closed its window over data in flight. It is alive as long as it answers.
    if (protocol.now - conn.lastAckAt > conn.rtoMax) {
      timedOut(conn)
      return
    }
    enterLoss(conn)
    retransmitAt(conn, 0, conn.mss)
  } else {
    if (givesUp(conn)) return
    if (conn.retransmits === 0) countTimeout(conn)
    conn.totalRto++
    enterLoss(conn)
    conn.retransmits++
    recovery.prrOut = 0
    retransmitAt(conn, 0, conn.mss)
  }
  // RFC 6298 §5.5; the first SYNs go at an even pace: tcp_syn_linear_timeouts.
  const linear = protocol.network.sysctl.ipv4.tcp_syn_linear_timeouts
  if (conn.state === TCP_SYN_SENT && conn.retransmits <= linear) {
    armTimer(conn, TIMER_RTO, protocol.now + rtt.rto)
    return
  }
  conn.backoff++
  rtt.rto = Math.min(rtt.rto * 2, conn.rtoMax)
  armTimer(conn, TIMER_RTO, protocol.now + rtt.rto)
}

function countTimeout(conn: TcpConnection): void {
  const ext = conn.protocol.network.counters.tcpExt
  ext.TCPTimeouts++
  const { state } = conn.recovery
  if (state === TCP_CA_Recovery) {
    if (conn.sackOk) ext.TCPSackRecoveryFail++
    else ext.TCPRenoRecoveryFail++
  } else if (state === TCP_CA_Disorder) {
    if (conn.sackOk) ext.TCPSackFailures++
    else ext.TCPRenoFailures++
  }
}

/** Whether the connection has had its last try. */
function givesUp(conn: TcpConnection): boolean {
  const { ipv4 } = conn.protocol.network.sysctl
  const { userTimeout, synCount } = conn.settings
  if (conn.state === TCP_SYN_SENT || conn.state === TCP_SYN_RECV) {
    const tries = synCount > 0 ? synCount : ipv4.tcp_syn_retries
    const linear = conn.state === TCP_SYN_SENT ? ipv4.tcp_syn_linear_timeouts : 0
    if (conn.retransmits < tries + linear && !pastUserTimeout(conn)) return false
    conn.protocol.network.counters.tcp.AttemptFails++
    timedOut(conn)
    return true
  }
  if (hasRetried(conn, ipv4.tcp_retries1)) {
    detectBlackHole(conn)
    conn.flow.forgetRoute()
  }
  let tries = ipv4.tcp_retries2
  if (conn.orphan) {
    const alive = conn.rtt.rto < conn.rtoMax
    tries = orphanRetries(conn, alive)
    if (conn.protocol.tooManyOrphans(!alive)) {
      conn.protocol.network.counters.tcpExt.TCPAbortOnMemory++
      sendReset(conn)
      conn.done()
      return true
    }
  }
  const expired = userTimeout > 0 ? pastUserTimeout(conn) : hasRetried(conn, tries)
  if (!expired) return false
  timedOut(conn)
  return true
}

function orphanRetries(conn: TcpConnection, alive: boolean): number {
  const tries = conn.protocol.network.sysctl.ipv4.tcp_orphan_retries
  if (conn.softError !== 0 && !alive) return 0
  return tries === 0 && alive ? 8 : tries
}

/** Whether the time that so many doubling timeouts take has passed since the first retransmission. */
function hasRetried(conn: TcpConnection, tries: number): boolean {
  const { recovery, protocol } = conn
  if (recovery.retransSince === 0) return false
  const base = conn.rtoMin
  const most = conn.rtoMax
  const doubling = Math.floor(Math.log2(most / base))
  const time =
    tries <= doubling
      ? (2 * 2 ** tries - 1) * base
      : (2 * 2 ** doubling - 1) * base + (tries - doubling) * most
  return protocol.now - recovery.retransSince >= time
}

function pastUserTimeout(conn: TcpConnection): boolean {
  const { recovery, settings, protocol } = conn
  if (settings.userTimeout === 0 || recovery.retransSince === 0) return false
  return protocol.now - recovery.retransSince >= settings.userTimeout * MSEC
}

function timedOut(conn: TcpConnection): void {
  conn.protocol.network.counters.tcpExt.TCPAbortOnTimeout++
  conn.fail(conn.softError !== 0 ? conn.softError : ETIMEDOUT)
}

/** Large segments vanish and nobody says why: RFC 2923 §2.1. Try with smaller ones; with tcp_mtu_probing. */
function detectBlackHole(conn: TcpConnection): void {
  const { ipv4 } = conn.protocol.network.sysctl
  if (ipv4.tcp_mtu_probing === 0 || conn.mss <= ipv4.tcp_mtu_probe_floor) return
  const overhead = conn.pmtu - conn.mss
  const mss = Math.max(Math.min(ipv4.tcp_base_mss, conn.mss / 2), ipv4.tcp_mtu_probe_floor)
  conn.mtuCap = Math.floor(mss) + overhead
  updateMss(conn)
}

/** The window is closed, or a cork has held long enough. */
function probeTimeout(conn: TcpConnection): void {
  const { protocol, settings, rtt } = conn
  const { ipv4 } = protocol.network.sysctl
  if (conn.sent.size > 0 || !conn.hasUnsent) {
    conn.probesOut = 0
    conn.probesSince = 0
    return
  }
  if (conn.probesSince === 0) conn.probesSince = protocol.now
  else if (settings.userTimeout > 0 && protocol.now - conn.probesSince >= settings.userTimeout * MSEC) {
    timedOut(conn)
    return
  }
  let tries = ipv4.tcp_retries2
  if (conn.orphan) {
    tries = orphanRetries(conn, rtt.rto * 2 ** conn.backoff < conn.rtoMax)
    if (protocol.tooManyOrphans(true)) {
      sendReset(conn)
      conn.done()
      return
    }
  }
  // RFC 9293 §3.8.6.1: for ever, as long as they are answered.
  if (conn.probesOut >= tries) {
    timedOut(conn)
    return
  }
  wakeUp(conn)
  if (conn.sent.size > 0) {
    conn.probesOut = 0
    conn.backoff = 0
    return
  }
  conn.probesOut++
  if (conn.backoff < ipv4.tcp_retries2) conn.backoff++
  armTimer(conn, TIMER_PROBE, protocol.now + Math.min(rtt.rto * 2 ** conn.backoff, conn.rtoMax))
}

function keepaliveTimeout(conn: TcpConnection): void {
  const { protocol, settings } = conn
  const { ipv4 } = protocol.network.sysctl
  const { state } = conn
  if (state === TCP_CLOSE || state === TCP_LISTEN || state === TCP_SYN_SENT || state === TCP_SYN_RECV) return
  if (state === TCP_FIN_WAIT2 && conn.orphan) {
    sendReset(conn)
    conn.done()
    return
  }
  if (!settings.keepAlive) return
  const idleTime = conn.keepaliveTime()
  // Data on its way will find out by itself.
  if (conn.sent.size > 0 || conn.hasUnsent) {
    conn.armKeepalive(idleTime)
    return
  }
  const idle = protocol.now - Math.max(conn.lastReceivedAt, conn.lastAckAt)
  if (idle < idleTime) {
    conn.armKeepalive(idleTime - idle)
    return
  }
  const count = settings.keepCount > 0 ? settings.keepCount : ipv4.tcp_keepalive_probes
  const { userTimeout } = settings
  const dead = userTimeout > 0 ? idle >= userTimeout * MSEC && conn.probesOut > 0 : conn.probesOut >= count
  if (dead) {
    sendReset(conn)
    timedOut(conn)
    return
  }
  sendProbeSegment(conn)
  conn.probesOut++
  protocol.network.counters.tcpExt.TCPKeepAlive++
  const interval = settings.keepInterval > 0 ? settings.keepInterval : ipv4.tcp_keepalive_intvl
  conn.armKeepalive(interval * 1e9)
}
