/** getsockopt(2) and setsockopt(2) of level SOL_TCP: tcp(7). do_tcp_setsockopt. */
import {
  CAP_NET_ADMIN,
  TCP_AO_REPAIR,
  TCP_CC_INFO,
  TCP_CLOSE,
  TCP_CONGESTION,
  TCP_CORK,
  TCP_DEFER_ACCEPT,
  TCP_DELACK_MAX_US,
  TCP_FASTOPEN,
  TCP_FASTOPEN_CONNECT,
  TCP_FASTOPEN_KEY,
  TCP_FASTOPEN_NO_COOKIE,
  TCP_INFO,
  TCP_INQ,
  TCP_IS_MPTCP,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_LINGER2,
  TCP_LISTEN,
  TCP_MAXSEG,
  TCP_MD5SIG,
  TCP_NODELAY,
  TCP_NOTSENT_LOWAT,
  TCP_QUICKACK,
  TCP_REPAIR,
  TCP_RTO_MAX_MS,
  TCP_RTO_MIN_US,
  TCP_SAVE_SYN,
  TCP_SAVED_SYN,
  TCP_SYNCNT,
  TCP_THIN_DUPACK,
  TCP_THIN_LINEAR_TIMEOUTS,
  TCP_TIMESTAMP,
  TCP_TX_DELAY,
  TCP_ULP,
  TCP_USER_TIMEOUT,
  TCP_WINDOW_CLAMP,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOPROTOOPT, EPERM } from '../../abi/errno.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { tcpInfo } from '../tcp/info.ts'
import { intBytes, readInt } from './option-bytes.ts'
import type { TcpSocket } from './tcp.ts'

/** TCP_CA_NAME_MAX. */
const NAME_MAX = 16
const MAX_KEEPIDLE = 32767
const MAX_KEEPINTVL = 32767
const MAX_KEEPCNT = 127
const MAX_SYNCNT = 127
const MIN_MSS = 88
const MAX_WINDOW = 32767
/** TCP_FIN_TIMEOUT_MAX, seconds. */
const MAX_LINGER2 = 120
/** TCP_RTO_MAX_SEC, TCP_RTO_MIN and TCP_DELACK_MAX; one tick at 250 Hz. */
const MAX_RTO_MS = 120_000
const MAX_DELAY_US = 200_000
const MIN_TICK_US = 4000
const MSEC_PER_SEC = 1000
const NSEC_PER_MSEC = 1e6
const NSEC_PER_USEC = 1000
/** Options that are a switch which makes no difference here. */
const REMEMBERED: ReadonlySet<number> = new Set([TCP_THIN_LINEAR_TIMEOUTS, TCP_FASTOPEN_NO_COOKIE, TCP_INQ])

export function setTcpOption(socket: TcpSocket, task: Task, name: number, value: Uint8Array): Status {
  const { endpoint } = socket
  const { settings } = endpoint
  if (name === TCP_CONGESTION) return setCongestion(socket, value)
  if (name === TCP_ULP) return value.length < 1 ? -EINVAL : -ENOENT
  if (name === TCP_FASTOPEN_KEY) return -EINVAL
  const number = readInt(value)
  if (number === undefined) return -EINVAL
  switch (name) {
    case TCP_MAXSEG:
      if (number !== 0 && (number < MIN_MSS || number > MAX_WINDOW)) return -EINVAL
      settings.maxSegment = number
      return 0
    case TCP_NODELAY:
      settings.noDelay = number !== 0
      if (settings.noDelay) endpoint.pushHeldBack()
      return 0
    case TCP_CORK:
      settings.cork = number !== 0
      if (!settings.cork) endpoint.pushHeldBack()
      return 0
    case TCP_KEEPIDLE:
      if (number < 1 || number > MAX_KEEPIDLE) return -EINVAL
      settings.keepIdle = number
      endpoint.keepAliveChanged()
      return 0
    case TCP_KEEPINTVL:
      if (number < 1 || number > MAX_KEEPINTVL) return -EINVAL
      settings.keepInterval = number
      return 0
    case TCP_KEEPCNT:
      if (number < 1 || number > MAX_KEEPCNT) return -EINVAL
      settings.keepCount = number
      return 0
    case TCP_SYNCNT:
      if (number < 1 || number > MAX_SYNCNT) return -EINVAL
      settings.synCount = number
      return 0
    case TCP_SAVE_SYN:
      if (number < 0 || number > 2) return -EINVAL
      socket.tcpValues.set(name, number)
      return 0
    case TCP_LINGER2:
      settings.linger2 = number < 0 ? -1 : Math.min(number, MAX_LINGER2)
      return 0
    case TCP_DEFER_ACCEPT:
      settings.deferAccept = retransmissions(number)
      return 0
    case TCP_WINDOW_CLAMP:
      if (number === 0) {
        if (endpoint.state !== TCP_CLOSE) return -EINVAL
        settings.windowClamp = 0
        return 0
      }
      settings.windowClamp = Math.max(number, 1152)
      return 0
    case TCP_QUICKACK:
      settings.quickAck = number !== 0
      endpoint.setQuickAck(settings.quickAck)
      return 0
    case TCP_USER_TIMEOUT:
      if (number < 0) return -EINVAL
      settings.userTimeout = number
      return 0
    case TCP_NOTSENT_LOWAT:
      settings.notSentLowat = number >>> 0
      socket.changed()
      return 0
    case TCP_TIMESTAMP:
      // Only in repair.
      return -EPERM
    case TCP_REPAIR:
    case TCP_AO_REPAIR:
      return socket.net.capable(task, CAP_NET_ADMIN) ? -ENOPROTOOPT : -EPERM
    case TCP_FASTOPEN:
      if (number < 0 || (endpoint.state !== TCP_CLOSE && endpoint.state !== TCP_LISTEN)) return -EINVAL
      // A queue for requests with data: without cookies none ever come.
      socket.tcpValues.set(name, Math.min(number, socket.net.ip.sysctls.core.somaxconn))
      return 0
    case TCP_FASTOPEN_CONNECT:
      if (number !== 0 && number !== 1) return -EINVAL
      if (endpoint.state !== TCP_CLOSE) return -EINVAL
      socket.tcpValues.set(name, number)
      return 0
    case TCP_RTO_MAX_MS:
      if (number < MSEC_PER_SEC || number > MAX_RTO_MS) return -EINVAL
      settings.rtoMax = number * NSEC_PER_MSEC
      return 0
    case TCP_RTO_MIN_US:
    case TCP_DELACK_MAX_US:
      // No more than Linux's constants, no less than a tick of its clock.
      if (number < MIN_TICK_US || number > MAX_DELAY_US) return -EINVAL
      if (name === TCP_RTO_MIN_US) settings.rtoMin = number * NSEC_PER_USEC
      else settings.delackMax = number * NSEC_PER_USEC
      return 0
    case TCP_THIN_DUPACK:
      return number < 0 || number > 1 ? -EINVAL : 0
    case TCP_THIN_LINEAR_TIMEOUTS:
    case TCP_FASTOPEN_NO_COOKIE:
    case TCP_INQ:
      if (number < 0 || number > 1) return -EINVAL
      socket.tcpValues.set(name, number)
      return 0
    case TCP_MD5SIG:
      return -ENOPROTOOPT
    case TCP_TX_DELAY:
      if (number < 0) return -EINVAL
      return number === 0 ? 0 : -ENOPROTOOPT
  }
  return -ENOPROTOOPT
}

function setCongestion(socket: TcpSocket, value: Uint8Array): Status {
  if (value.length < 1) return -EINVAL
  const end = value.subarray(0, NAME_MAX - 1).indexOf(0)
  const name = fromBytes(value, 0, end < 0 ? Math.min(value.length, NAME_MAX - 1) : end)
  return socket.endpoint.setCongestion(name) ? 0 : -ENOENT
}

export function getTcpOption(
  socket: TcpSocket,
  task: Task,
  name: number,
  length: number,
): OrErrno<Uint8Array> {
  const { endpoint } = socket
  const { settings } = endpoint
  const { ipv4 } = socket.net.ip.sysctls
  if (REMEMBERED.has(name)) return intBytes(socket.tcpValues.get(name) ?? 0)
  switch (name) {
    case TCP_MAXSEG:
      if (settings.maxSegment !== 0 && endpoint.connection === undefined) return intBytes(settings.maxSegment)
      return intBytes(endpoint.connection?.mss ?? 536)
    case TCP_NODELAY:
      return intBytes(settings.noDelay ? 1 : 0)
    case TCP_CORK:
      return intBytes(settings.cork ? 1 : 0)
    case TCP_KEEPIDLE:
      return intBytes(settings.keepIdle || ipv4.tcp_keepalive_time)
    case TCP_KEEPINTVL:
      return intBytes(settings.keepInterval || ipv4.tcp_keepalive_intvl)
    case TCP_KEEPCNT:
      return intBytes(settings.keepCount || ipv4.tcp_keepalive_probes)
    case TCP_SYNCNT:
      return intBytes(settings.synCount || ipv4.tcp_syn_retries)
    case TCP_LINGER2:
      return intBytes(settings.linger2 < 0 ? -1 : settings.linger2 || ipv4.tcp_fin_timeout)
    case TCP_DEFER_ACCEPT:
      return intBytes(seconds(settings.deferAccept))
    case TCP_WINDOW_CLAMP:
      return intBytes(settings.windowClamp || (endpoint.connection?.windowClamp ?? 0))
    case TCP_INFO:
      return tcpInfo(endpoint)
    case TCP_CC_INFO:
      return new Uint8Array(0)
    case TCP_QUICKACK:
      return intBytes((endpoint.connection?.pingPong ?? 0) > 0 ? 0 : settings.quickAck ? 1 : 0)
    case TCP_CONGESTION: {
      const bytes = new Uint8Array(Math.min(NAME_MAX, length))
      bytes.set(toBytes(endpoint.congestionName).subarray(0, bytes.length))
      return bytes
    }
    case TCP_ULP:
      return new Uint8Array(0)
    case TCP_THIN_DUPACK:
    case TCP_REPAIR:
    case TCP_SAVE_SYN:
    case TCP_FASTOPEN:
    case TCP_FASTOPEN_CONNECT:
    case TCP_TX_DELAY:
      return intBytes(socket.tcpValues.get(name) ?? 0)
    case TCP_USER_TIMEOUT:
      return intBytes(settings.userTimeout)
    case TCP_TIMESTAMP:
      return intBytes(Math.floor(socket.net.ip.runtime.now() / 1e6))
    case TCP_NOTSENT_LOWAT:
      return intBytes(settings.notSentLowat)
    case TCP_RTO_MAX_MS:
      return intBytes(settings.rtoMax / NSEC_PER_MSEC || ipv4.tcp_rto_max_ms)
    case TCP_RTO_MIN_US:
      return intBytes(settings.rtoMin / NSEC_PER_USEC || ipv4.tcp_rto_min_us)
    case TCP_DELACK_MAX_US:
      return intBytes(settings.delackMax / NSEC_PER_USEC || MAX_DELAY_US)
    case TCP_IS_MPTCP:
      return intBytes(0)
    case TCP_AO_REPAIR:
      return socket.net.capable(task, CAP_NET_ADMIN) ? -ENOPROTOOPT : -EPERM
    case TCP_SAVED_SYN:
      return new Uint8Array(0)
  }
  return -ENOPROTOOPT
}

/** secs_to_retrans: how many times the SYN-ACK is sent again within so many seconds. */
function retransmissions(wanted: number): number {
  if (wanted <= 0) return 0
  let count = 1
  let timeout = 1
  let period = 1
  while (wanted > period && count < 255) {
    count++
    timeout = Math.min(timeout * 2, 120)
    period += timeout
  }
  return count
}
function seconds(count: number): number {
  let period = 0
  let timeout = 1
  for (let i = 0; i < count; i++) {
    period += timeout
    timeout = Math.min(timeout * 2, 120)
  }
  return period
}
