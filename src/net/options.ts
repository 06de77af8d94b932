/** Socket options of level SOL_SOCKET, as far as many look at them; the others are in common-options.ts: socket(7). */

import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_UNIX,
  CAP_NET_ADMIN,
  CAP_NET_RAW,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
  SO_ACCEPTCONN,
  SO_ATTACH_REUSEPORT_CBPF,
  SO_BPF_EXTENSIONS,
  SO_BROADCAST,
  SO_BSDCOMPAT,
  SO_CNX_ADVICE,
  SO_DEBUG,
  SO_DETACH_REUSEPORT_BPF,
  SO_DOMAIN,
  SO_DONTROUTE,
  SO_ERROR,
  SO_INCOMING_CPU,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_MARK,
  SO_NO_CHECK,
  SO_OOBINLINE,
  SO_PASSCRED,
  SO_PASSPIDFD,
  SO_PASSRIGHTS,
  SO_PASSSEC,
  SO_PEEK_OFF,
  SO_PEERGROUPS,
  SO_PEERNAME,
  SO_PEERPIDFD,
  SO_PRIORITY,
  SO_PROTOCOL,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVLOWAT,
  SO_RCVMARK,
  SO_RCVPRIORITY,
  SO_RCVTIMEO,
  SO_RCVTIMEO_NEW,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SO_SNDLOWAT,
  SO_SNDTIMEO,
  SO_SNDTIMEO_NEW,
  SO_TIMESTAMPING,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../abi/constants.ts'
import {
  EACCES,
  EDOM,
  EINVAL,
  ENODATA,
  ENOENT,
  ENOPROTOOPT,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
} from '../abi/errno.ts'
import { LINGER, TIMEVAL } from '../abi/layout.ts'
import { NSEC_PER_SEC } from '../base/clock.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { takeSigned64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { capable, getCommonOption, STAMPS, setCommonOption, stackOf } from './common-options.ts'
import { readSocketFilter } from './inet/filter.ts'
import { intBytes } from './inet/option-bytes.ts'
import type { Socket } from './socket.ts'
import type { SocketOptions } from './socket-options.ts'

/** SKF_AD_MAX: as many extensions does the machine of socket filters have. */
const BPF_EXTENSIONS = 64
/** net.core.wmem_max and rmem_max where there is no network: what SO_SNDBUF and SO_RCVBUF may ask for; they get the double. */
const BUFFER_MAX = 4 << 20
const MAX_FORCED = 0x3fffffff
const MIN_SNDBUF = 4608
const MIN_RCVBUF = 2304
const USEC_PER_SEC = 1e6

/** Those whose messages can have their sender's credentials with them: sk_may_scm_recv. */
function mayPassCredentials({ family }: Socket): boolean {
  return family === AF_UNIX || family === AF_NETLINK
}
/** Those that have set_peek_off. */
function mayPeekFrom({ family, type, protocol }: Socket): boolean {
  if (family === AF_UNIX) return true
  if (family !== AF_INET && family !== AF_INET6) return false
  if (type !== SOCK_DGRAM) return type === SOCK_STREAM
  return protocol === IPPROTO_UDP || protocol === IPPROTO_UDPLITE
}

/** Options that are switches: what is set is 1. */
const SWITCHES: ReadonlySet<number> = new Set([
  SO_DEBUG,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_KEEPALIVE,
  SO_BROADCAST,
  SO_OOBINLINE,
  SO_DONTROUTE,
  SO_NO_CHECK,
  SO_RXQ_OVFL,
])
/** Options that hold a number as it was given. */
const NUMBERS: ReadonlySet<number> = new Set([SO_PRIORITY, SO_MARK, SO_INCOMING_CPU])
/** Those by which recvmsg(2) tells more of what it gives. */
const DESCRIBING: readonly number[] = [...STAMPS, SO_TIMESTAMPING, SO_RCVMARK, SO_RCVPRIORITY, SO_RXQ_OVFL]
/** Those that say what others do, for whom they are told of by their first name. */
const SAME_AS: ReadonlyMap<number, number> = new Map([
  [SO_SNDBUFFORCE, SO_SNDBUF],
  [SO_RCVBUFFORCE, SO_RCVBUF],
])

/** getsockopt(2): the value's bytes, of which the caller gets as many as it has room for. */
export function getSocketOption(
  socket: Socket,
  task: Task,
  level: number,
  name: number,
  length: number,
  at: GuestAddr,
): OrErrno<Uint8Array> {
  const own = socket.getOption(task, level, name, length, at)
  if (own !== undefined) return own
  if (level !== SOL_SOCKET) return socket.family === AF_UNIX ? -EOPNOTSUPP : -ENOPROTOOPT
  const { options } = socket
  switch (name) {
    case SO_TYPE:
      return intBytes(socket.type)
    case SO_DOMAIN:
      return intBytes(socket.family)
    case SO_PROTOCOL:
      return intBytes(socket.protocol)
    case SO_ACCEPTCONN:
      return intBytes(socket.listening ? 1 : 0)
    case SO_ERROR:
      return intBytes(-socket.takeError())
    case SO_SNDBUF:
      return intBytes(options.sndbuf)
    case SO_RCVBUF:
      return intBytes(options.rcvbuf)
    case SO_RCVLOWAT:
      return intBytes(options.rcvLowat)
    case SO_SNDLOWAT:
      return intBytes(1)
    case SO_PASSCRED:
      return mayPassCredentials(socket) ? intBytes(options.passCred ? 1 : 0) : -EOPNOTSUPP
    case SO_PASSSEC:
      return mayPassCredentials(socket) ? intBytes(options.values.get(name) ?? 0) : -EOPNOTSUPP
    case SO_PASSPIDFD:
      return socket.family === AF_UNIX ? intBytes(options.passPidFd ? 1 : 0) : -EOPNOTSUPP
    case SO_PASSRIGHTS:
      return socket.family === AF_UNIX ? intBytes(options.values.get(name) ?? 1) : -EOPNOTSUPP
    case SO_PEEK_OFF:
      return mayPeekFrom(socket) ? intBytes(options.peekOff) : -EOPNOTSUPP
    case SO_PEERNAME: {
      const peer = socket.name(true)
      if (failed(peer)) return -ENOTCONN
      return peer.length < length ? -EINVAL : peer
    }
    case SO_PEERGROUPS:
    case SO_PEERPIDFD:
      return -ENODATA
    case SO_BPF_EXTENSIONS:
      return intBytes(BPF_EXTENSIONS)
    case SO_INCOMING_CPU:
      return intBytes(options.values.get(name) ?? -1)
    case SO_BSDCOMPAT:
      return intBytes(0)
    case SO_LINGER: {
      const view = new DataView(new ArrayBuffer(LINGER.size))
      view.setInt32(LINGER.l_onoff, options.lingerOn ? 1 : 0, true)
      view.setInt32(LINGER.l_linger, options.lingerTime, true)
      return new Uint8Array(view.buffer)
    }
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
      return timeval(options.rcvTimeout)
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
      return timeval(options.sndTimeout)
  }
  if (SWITCHES.has(name) || NUMBERS.has(name)) return intBytes(options.values.get(name) ?? 0)
  return getCommonOption(socket, task, name, length) ?? -ENOPROTOOPT
}

/** setsockopt(2). */
export function setSocketOption(
  socket: Socket,
  task: Task,
  level: number,
  name: number,
  value: Uint8Array,
): Status {
  const own = socket.setOption(task, level, name, value)
  if (own !== undefined) return own
  if (level !== SOL_SOCKET) return socket.family === AF_UNIX ? -EOPNOTSUPP : -ENOPROTOOPT
  const status = setCommonOption(socket, task, name, value) ?? setPlainOption(socket, task, name, value)
  if (status !== 0) return status
  const { options } = socket
  options.describes = DESCRIBING.some(each => options.flag(each))
  socket.optionChanged(SAME_AS.get(name) ?? name)
  return 0
}

/** The value has four bytes at least. */
function setPlainOption(socket: Socket, task: Task, name: number, value: Uint8Array): Status {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const number = view.getInt32(0, true)
  const { options } = socket
  switch (name) {
    case SO_SNDBUF:
    case SO_RCVBUF: {
      const core = stackOf(socket, task)?.sysctls.core
      const most = (name === SO_SNDBUF ? core?.wmem_max : core?.rmem_max) ?? BUFFER_MAX
      setBuffer(options, name, Math.min(number >>> 0, most))
      return 0
    }
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
      if (!capable(socket, task, CAP_NET_ADMIN)) return -EPERM
      setBuffer(options, SAME_AS.get(name)!, Math.min(Math.max(number, 0), MAX_FORCED))
      return 0
    case SO_RCVLOWAT:
      options.rcvLowat = socket.limitLowWater(number < 0 ? 0x7fffffff : number || 1)
      return 0
    case SO_PASSCRED:
      if (!mayPassCredentials(socket)) return -EOPNOTSUPP
      options.passCred = number !== 0
      return 0
    case SO_PASSSEC:
      // No security labels come with anything: there is no LSM that has them.
      if (!mayPassCredentials(socket)) return -EOPNOTSUPP
      options.values.set(name, number !== 0 ? 1 : 0)
      return 0
    case SO_PASSPIDFD:
      if (socket.family !== AF_UNIX) return -EOPNOTSUPP
      options.passPidFd = number !== 0
      return 0
    case SO_PASSRIGHTS:
      if (socket.family !== AF_UNIX) return -EOPNOTSUPP
      options.values.set(name, number !== 0 ? 1 : 0)
      return 0
    case SO_CNX_ADVICE:
      // About neighbours, which are asked anyway when they have to be.
      return 0
    case SO_ATTACH_REUSEPORT_CBPF: {
      const program = readSocketFilter(socket, task, value)
      if (typeof program === 'number') return program
      if (!options.flag(SO_REUSEPORT)) return -EINVAL
      socket.steer(program)
      return 0
    }
    case SO_DETACH_REUSEPORT_BPF:
      if (!options.flag(SO_REUSEPORT)) return -EINVAL
      return socket.steer(undefined) ? 0 : -ENOENT
    case SO_PEEK_OFF:
      if (!mayPeekFrom(socket)) return -EOPNOTSUPP
      options.peekOff = number
      return 0
    case SO_BSDCOMPAT:
      return 0
    case SO_LINGER:
      if (value.length < LINGER.size) return -EINVAL
      options.lingerOn = number !== 0
      if (options.lingerOn) options.lingerTime = view.getInt32(LINGER.l_linger, true)
      return 0
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW: {
      const timeout = readTimeout(view)
      if (timeout < 0) return timeout
      if (name === SO_RCVTIMEO || name === SO_RCVTIMEO_NEW) options.rcvTimeout = timeout
      else options.sndTimeout = timeout
      return 0
    }
    case SO_DEBUG:
      if (number !== 0 && !capable(socket, task, CAP_NET_ADMIN)) return -EACCES
      break
    case SO_REUSEPORT:
      if (number !== 0 && socket.family !== AF_INET && socket.family !== AF_INET6) return -EOPNOTSUPP
      break
    case SO_PRIORITY:
      if ((number < 0 || number > 6) && !mayMark(socket, task)) return -EPERM
      break
    case SO_MARK:
      if (!mayMark(socket, task)) return -EPERM
      break
  }
  if (!SWITCHES.has(name) && !NUMBERS.has(name)) return -ENOPROTOOPT
  options.values.set(name, NUMBERS.has(name) ? number : number !== 0 ? 1 : 0)
  return 0
}

function mayMark(socket: Socket, task: Task): boolean {
  return capable(socket, task, CAP_NET_ADMIN) || capable(socket, task, CAP_NET_RAW)
}

/** The double is for what keeping the bytes costs. */
function setBuffer(options: SocketOptions, name: number, size: number): void {
  if (name === SO_SNDBUF) options.sndbuf = Math.max(size * 2, MIN_SNDBUF)
  else options.rcvbuf = Math.max(size * 2, MIN_RCVBUF)
}

/** struct timeval, {0, 0} for no timeout. */
function timeval(ns: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(TIMEVAL.size))
  if (ns !== Number.POSITIVE_INFINITY) {
    view.setUint32(TIMEVAL.tv_sec, Math.floor(ns / NSEC_PER_SEC), true)
    view.setUint32(TIMEVAL.tv_usec, Math.floor((ns % NSEC_PER_SEC) / 1000), true)
  }
  return new Uint8Array(view.buffer)
}

/** ns, or a negative errno. Zero means none; negative seconds mean 'at once'. */
function readTimeout(view: DataView): number {
  if (view.byteLength < TIMEVAL.size) return -EINVAL
  const sec = takeSigned64(view, TIMEVAL.tv_sec)
  const usec = takeSigned64(view, TIMEVAL.tv_usec)
  if (usec < 0 || usec >= USEC_PER_SEC) return -EDOM
  if (sec < 0) return 0
  if (sec === 0 && usec === 0) return Number.POSITIVE_INFINITY
  // Longer than the clock can tell is for ever.
  return sec > 9e6 ? Number.POSITIVE_INFINITY : sec * NSEC_PER_SEC + usec * 1000
}
