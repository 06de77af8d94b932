/** Socket options of level SOL_SOCKET, as far as they are the same for all families: socket(7). */

import {
  AF_NETLINK,
  AF_UNIX,
  CAP_NET_ADMIN,
  SO_ACCEPTCONN,
  SO_ATTACH_REUSEPORT_CBPF,
  SO_ATTACH_REUSEPORT_EBPF,
  SO_BPF_EXTENSIONS,
  SO_BROADCAST,
  SO_BSDCOMPAT,
  SO_BUSY_POLL,
  SO_BUSY_POLL_BUDGET,
  SO_CNX_ADVICE,
  SO_COOKIE,
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
  SO_TIMESTAMP,
  SO_TIMESTAMPNS,
  SO_TYPE,
  SOL_SOCKET,
} from '../abi/constants.ts'
import { EDOM, EINVAL, ENODATA, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { LINGER, TIMEVAL } from '../abi/layout.ts'
import { NSEC_PER_SEC } from '../base/clock.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { takeSigned64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { Socket } from './socket.ts'

/** net.core.wmem_default and rmem_default. */
const BUFFER_DEFAULT = 212992
/** net.core.wmem_max and rmem_max: what SO_SNDBUF and SO_RCVBUF may ask for; they get the double. */
const BUFFER_MAX = 4 << 20
const MIN_SNDBUF = 4608
const MIN_RCVBUF = 2304
const USEC_PER_SEC = 1e6

export class SocketOptions {
  sndbuf = BUFFER_DEFAULT
  rcvbuf = BUFFER_DEFAULT
  /** ns, Infinity for none. */
  rcvTimeout = Number.POSITIVE_INFINITY
  sndTimeout = Number.POSITIVE_INFINITY
  rcvLowat = 1
  lingerOn = false
  /** Seconds. */
  lingerTime = 0
  passCred = false
  /** SO_PEEK_OFF; -1: off. */
  peekOff = -1
  /** Options that are one number, by name, where not 0. */
  readonly values = new Map<number, number>()

  /** What a connection has of its listener. */
  inherit(from: SocketOptions): void {
    this.rcvTimeout = from.rcvTimeout
    this.sndTimeout = from.sndTimeout
    this.rcvLowat = from.rcvLowat
    this.lingerOn = from.lingerOn
    this.lingerTime = from.lingerTime
  }

  flag(name: number): boolean {
    return (this.values.get(name) ?? 0) !== 0
  }
}

/** SKF_AD_MAX: as many extensions does the machine of socket filters have. */
const BPF_EXTENSIONS = 64

/** Those whose messages can have their sender's credentials with them: sk_may_scm_recv. */
function mayPassCredentials({ family }: Socket): boolean {
  return family === AF_UNIX || family === AF_NETLINK
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
  SO_TIMESTAMP,
  SO_TIMESTAMPNS,
  SO_RXQ_OVFL,
])
/** Options that hold a number as it was given. */
const NUMBERS: ReadonlySet<number> = new Set([SO_PRIORITY, SO_MARK, SO_BUSY_POLL, SO_INCOMING_CPU])

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
  const options = socket.options
  switch (name) {
    case SO_TYPE:
      return int(socket.type)
    case SO_DOMAIN:
      return int(socket.family)
    case SO_PROTOCOL:
      return int(socket.protocol)
    case SO_ACCEPTCONN:
      return int(socket.listening ? 1 : 0)
    case SO_ERROR:
      return int(-socket.takeError())
    case SO_SNDBUF:
      return int(options.sndbuf)
    case SO_RCVBUF:
      return int(options.rcvbuf)
    case SO_RCVLOWAT:
      return int(options.rcvLowat)
    case SO_SNDLOWAT:
      return int(1)
    case SO_PASSCRED:
    case SO_PASSSEC:
    case SO_PASSPIDFD:
      if (!mayPassCredentials(socket)) return -EOPNOTSUPP
      return name === SO_PASSCRED ? int(options.passCred ? 1 : 0) : -ENOPROTOOPT
    case SO_PEEK_OFF:
      return int(options.peekOff)
    case SO_PEERNAME: {
      const peer = socket.name(true)
      if (failed(peer)) return -ENOTCONN
      return peer.length < length ? -EINVAL : peer
    }
    case SO_PEERGROUPS:
    case SO_PEERPIDFD:
      return socket.family === AF_UNIX ? -ENOPROTOOPT : -ENODATA
    case SO_BPF_EXTENSIONS:
      return int(BPF_EXTENSIONS)
    case SO_INCOMING_CPU:
      return int(options.values.get(name) ?? -1)
    case SO_BSDCOMPAT:
      return int(0)
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
    case SO_COOKIE: {
      if (length < 8) return -EINVAL
      const view = new DataView(new ArrayBuffer(8))
      view.setUint32(0, socket.file?.inode.ino ?? 0, true)
      return new Uint8Array(view.buffer)
    }
  }
  if (SWITCHES.has(name) || NUMBERS.has(name)) return int(options.values.get(name) ?? 0)
  return -ENOPROTOOPT
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
  if (value.length < 4) return -EINVAL
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const number = view.getInt32(0, true)
  const options = socket.options
  switch (name) {
    case SO_TYPE:
    case SO_DOMAIN:
    case SO_PROTOCOL:
    case SO_ERROR:
    case SO_ACCEPTCONN:
    case SO_SNDLOWAT:
      return -ENOPROTOOPT
    case SO_SNDBUF:
      options.sndbuf = Math.max(Math.min(number >>> 0, BUFFER_MAX) * 2, MIN_SNDBUF)
      return 0
    case SO_RCVBUF:
      options.rcvbuf = Math.max(Math.min(number >>> 0, BUFFER_MAX) * 2, MIN_RCVBUF)
      return 0
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE: {
      if (!task.cred.capable(CAP_NET_ADMIN, task.ns.net.userNs)) return -EPERM
      const size = Math.min(Math.max(number, 0), 0x3fffffff) * 2
      if (name === SO_SNDBUFFORCE) options.sndbuf = Math.max(size, MIN_SNDBUF)
      else options.rcvbuf = Math.max(size, MIN_RCVBUF)
      return 0
    }
    case SO_RCVLOWAT:
      options.rcvLowat = number < 0 ? 0x7fffffff : number || 1
      return 0
    case SO_PASSCRED:
    case SO_PASSSEC:
    case SO_PASSPIDFD:
      if (!mayPassCredentials(socket)) return -EOPNOTSUPP
      if (name !== SO_PASSCRED) return -ENOPROTOOPT
      options.passCred = number !== 0
      return 0
    case SO_CNX_ADVICE:
      // About neighbours, which are asked anyway when they have to be.
      return 0
    case SO_BUSY_POLL_BUDGET:
      return number < 0 || number > 0xffff ? -EINVAL : 0
    case SO_ATTACH_REUSEPORT_CBPF:
    case SO_ATTACH_REUSEPORT_EBPF:
    case SO_DETACH_REUSEPORT_BPF:
      return -EINVAL
    case SO_PEEK_OFF:
      if (socket.family !== AF_UNIX) return -EOPNOTSUPP
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
  }
  if (SWITCHES.has(name)) {
    if (name === SO_REUSEPORT && number !== 0 && socket.family === AF_UNIX) return -EOPNOTSUPP
    options.values.set(name, number !== 0 ? 1 : 0)
    return 0
  }
  if (NUMBERS.has(name)) {
    const privileged = name === SO_MARK || (name === SO_PRIORITY && (number < 0 || number > 6))
    if (privileged && !task.cred.capable(CAP_NET_ADMIN, task.ns.net.userNs)) return -EPERM
    options.values.set(name, number)
    return 0
  }
  return -ENOPROTOOPT
}

function int(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(4))
  view.setInt32(0, value, true)
  return new Uint8Array(view.buffer)
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
