/** Ending a connection from the application's side: RFC 9293 §3.10.4, what becomes of orphans, tcp(7). */
import {
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from '../../abi/constants.ts'
import type { TcpConnection } from './connection.ts'
import { sendReset } from './control-segment.ts'
import { output } from './output.ts'
import { BOTH_SHUTDOWN } from './shutdown.ts'

/** No more will be written: FIN follows what is buffered. */
export function queueFin(conn: TcpConnection): void {
  if (conn.finQueued) return
  if (conn.state === TCP_ESTABLISHED || conn.state === TCP_SYN_RECV) conn.setState(TCP_FIN_WAIT1)
  else if (conn.state === TCP_CLOSE_WAIT) conn.setState(TCP_LAST_ACK)
  else return
  conn.finQueued = true
  conn.pushSeq = conn.buffer.end
  output(conn)
}

/** The connection is an orphan from now on, or ends with a reset: `abort`, or what was received is not read. */
export function closeConnection(conn: TcpConnection, abort: boolean): void {
  const { protocol } = conn
  const ext = protocol.network.counters.tcpExt
  const unread = conn.unread > 0
  conn.orphan = true
  conn.shutdown = BOTH_SHUTDOWN
  if (conn.state === TCP_CLOSE) {
    conn.purgeReceived()
    return
  }
  if (conn.state === TCP_SYN_SENT) {
    conn.done()
    return
  }
  if (unread || abort) {
    if (abort) ext.TCPAbortOnData++
    else ext.TCPAbortOnClose++
    sendReset(conn)
    conn.done()
    return
  }
  protocol.orphans.add(conn)
  conn.purgeReceived()
  queueFin(conn)
  if (conn.state === TCP_FIN_WAIT2) {
    leaveInFinWait2(conn)
  } else if (protocol.tooManyOrphans(false)) {
    ext.TCPAbortOnMemory++
    sendReset(conn)
    conn.done()
  }
}

/** Our FIN is acknowledged, theirs is still to come: it is waited for, without the connection. */
function leaveInFinWait2(conn: TcpConnection): void {
  const { protocol } = conn
  const { linger2 } = conn.settings
  if (linger2 < 0) {
    protocol.network.counters.tcpExt.TCPAbortOnLinger++
    sendReset(conn)
    conn.done()
    return
  }
  const seconds = linger2 > 0 ? linger2 : protocol.network.sysctl.ipv4.tcp_fin_timeout
  protocol.toTimeWait(conn, TCP_FIN_WAIT2, seconds)
}
