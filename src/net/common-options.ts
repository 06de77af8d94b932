/**
 * Options of level SOL_SOCKET that sockets of all families have and few programs look at: filters, the device that a socket is bound
 * to, stamps, and what is only remembered: socket(7), sk_setsockopt and sk_getsockopt of Linux's net/core/sock.c.
 */
import {
  AF_INET,
  AF_INET6,
  CAP_NET_ADMIN,
  CAP_NET_RAW,
  CLOCK_MONOTONIC,
  IPPROTO_TCP,
  IPPROTO_UDP,
  SO_ATTACH_BPF,
  SO_ATTACH_FILTER,
  SO_ATTACH_REUSEPORT_EBPF,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_BUF_LOCK,
  SO_BUSY_POLL,
  SO_BUSY_POLL_BUDGET,
  SO_COOKIE,
  SO_DETACH_FILTER,
  SO_INCOMING_NAPI_ID,
  SO_LOCK_FILTER,
  SO_MAX_PACING_RATE,
  SO_MEMINFO,
  SO_NETNS_COOKIE,
  SO_NOFCS,
  SO_PEERCRED,
  SO_PREFER_BUSY_POLL,
  SO_RCVMARK,
  SO_RCVPRIORITY,
  SO_RESERVE_MEM,
  SO_SELECT_ERR_QUEUE,
  SO_TIMESTAMP,
  SO_TIMESTAMP_NEW,
  SO_TIMESTAMPING,
  SO_TIMESTAMPING_NEW,
  SO_TIMESTAMPNS,
  SO_TIMESTAMPNS_NEW,
  SO_TXREHASH,
  SO_TXTIME,
  SO_WIFI_STATUS,
  SO_ZEROCOPY,
  SOCK_DGRAM,
  SOCK_STREAM,
} from '../abi/constants.ts'
import { EBADF, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { UCRED } from '../abi/layout.ts'
import { toBytes } from '../base/bytes.ts'
import type { OrErrno, Status } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import { setSocketFilter } from './inet/filter.ts'
import { intBytes, readInt } from './inet/option-bytes.ts'
import { IFNAMSIZ, interfaceName } from './interface-requests.ts'
import type { Socket } from './socket.ts'
import type { NetStack } from './stack.ts'

/** Stamps with what is received: one of these at a time, the others off. */
export const STAMPS: readonly number[] = [SO_TIMESTAMP, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW]
/** Switches that make no difference to most families. */
const SWITCHES: ReadonlySet<number> = new Set([
  SO_RCVMARK,
  SO_RCVPRIORITY,
  SO_WIFI_STATUS,
  SO_NOFCS,
  SO_SELECT_ERR_QUEUE,
  SO_PREFER_BUSY_POLL,
  SO_LOCK_FILTER,
])
/** Read as they were set. */
const NUMBERS: ReadonlySet<number> = new Set([SO_BUSY_POLL, SO_BUF_LOCK, SO_ZEROCOPY, ...STAMPS])
/** SOF_TIMESTAMPING_LAST, doubled. */
const TIMESTAMPING_END = 1 << 19
/** SOF_TIMESTAMPING_* that go together, and what needs a clock of a device's, which none has. */
const OPT_ID = 1 << 7
const OPT_TSONLY = 1 << 11
const OPT_STATS = 1 << 12
const BIND_PHC = 1 << 15
const OPT_ID_TCP = 1 << 16
/** SO_BUF_LOCK: SOCK_SNDBUF_LOCK and SOCK_RCVBUF_LOCK. */
const BUF_LOCK_MASK = 3
/** struct sock_txtime: clock and flags (SOF_TXTIME_DEADLINE_MODE, SOF_TXTIME_REPORT_ERRORS). */
const SOCK_TXTIME = { size: 8, clockid: 0, flags: 4 }
const TXTIME_FLAGS = 3
const U16_MAX = 0xffff

/** The network that the socket is in; undefined where the kernel has none of its own. */
export function stackOf(socket: Socket, task: Task) {
  return (socket.namespace(task).stack as NetStack | undefined)?.ip
}

export function capable(socket: Socket, task: Task, capability: number): boolean {
  return task.cred.capable(capability, socket.namespace(task).userNs)
}

/** setsockopt(2); undefined: not one of these. */
export function setCommonOption(
  socket: Socket,
  task: Task,
  name: number,
  value: Uint8Array,
): Status | undefined {
  if (name === SO_BINDTODEVICE) return bindToDevice(socket, task, value)
  const number = readInt(value)
  if (number === undefined) return -EINVAL
  const { options } = socket
  switch (name) {
    case SO_ATTACH_FILTER:
      if (isTcp(socket) && !capable(socket, task, CAP_NET_ADMIN)) return -EPERM
      return setSocketFilter(socket, task, value)
    case SO_ATTACH_BPF:
    case SO_ATTACH_REUSEPORT_EBPF:
      // There are no programs, whatever the descriptor is.
      if (value.length !== 4) return -EINVAL
      return task.fds.get(number) === undefined ? -EBADF : -EINVAL
    case SO_DETACH_FILTER:
      if (options.flag(SO_LOCK_FILTER)) return -EPERM
      if (socket.filter === undefined) return -ENOENT
      socket.filter = undefined
      return 0
    case SO_LOCK_FILTER:
      if (options.flag(name) && number === 0) return -EPERM
      break
    case SO_BINDTOIFINDEX:
      return bindTo(socket, task, number)
    case SO_TIMESTAMP:
    case SO_TIMESTAMP_NEW:
    case SO_TIMESTAMPNS:
    case SO_TIMESTAMPNS_NEW:
      for (const other of STAMPS) options.values.delete(other)
      if (number !== 0) options.values.set(name, 1)
      return 0
    case SO_TIMESTAMPING:
    case SO_TIMESTAMPING_NEW:
      return setTimestamping(socket, number)
    case SO_PREFER_BUSY_POLL:
      if (number !== 0 && !capable(socket, task, CAP_NET_ADMIN)) return -EPERM
      break
    case SO_BUSY_POLL:
      if (number < 0) return -EINVAL
      options.values.set(name, number)
      return 0
    case SO_BUSY_POLL_BUDGET: {
      const known = options.values.get(name) ?? 0
      if (number > known && !capable(socket, task, CAP_NET_ADMIN)) return -EPERM
      if (number < 0 || number > U16_MAX) return -EINVAL
      options.values.set(name, number)
      return 0
    }
    case SO_BUF_LOCK:
      if ((number & ~BUF_LOCK_MASK) !== 0) return -EINVAL
      options.values.set(name, number)
      return 0
    case SO_MAX_PACING_RATE:
      options.values.set(name, number)
      return 0
    case SO_RESERVE_MEM:
      return number < 0 ? -EINVAL : -EOPNOTSUPP
    case SO_TXREHASH:
      if (!isTcp(socket)) return -EOPNOTSUPP
      if (number < -1 || number > 1) return -EINVAL
      options.values.set(name, number === -1 ? 1 : number)
      return 0
    case SO_ZEROCOPY:
      // The bytes are copied all the same, and the notices say so.
      if (!isTcp(socket) && !isUdp(socket)) return -EOPNOTSUPP
      if (number < 0 || number > 1) return -EINVAL
      options.values.set(name, number)
      return 0
    case SO_TXTIME:
      return setSendTime(socket, task, value)
  }
  if (!SWITCHES.has(name)) return undefined
  options.values.set(name, number !== 0 ? 1 : 0)
  return 0
}

/** getsockopt(2); undefined: not one of these. */
export function getCommonOption(
  socket: Socket,
  task: Task,
  name: number,
  length: number,
): OrErrno<Uint8Array> | undefined {
  const { options } = socket
  switch (name) {
    case SO_BINDTODEVICE: {
      const device = stackOf(socket, task)?.devices.byIndex(options.boundDevice)
      if (device === undefined) return new Uint8Array(0)
      return length < IFNAMSIZ ? -EINVAL : toBytes(`${device.name}\0`)
    }
    case SO_BINDTOIFINDEX:
      return intBytes(options.boundDevice)
    case SO_PEERCRED: {
      const bytes = new Uint8Array(UCRED.size)
      bytes.fill(0xff, UCRED.uid)
      return bytes
    }
    case SO_COOKIE:
      return length < 8 ? -EINVAL : longBytes(socket.cookie(task))
    case SO_NETNS_COOKIE:
      return length !== 8 ? -EINVAL : longBytes(socket.namespace(task).inum)
    case SO_MEMINFO:
      return memoryInfo(socket)
    case SO_INCOMING_NAPI_ID:
    case SO_RESERVE_MEM:
      return intBytes(0)
    case SO_TXTIME: {
      const view = new DataView(new ArrayBuffer(SOCK_TXTIME.size))
      view.setUint32(SOCK_TXTIME.clockid, options.sendClock, true)
      view.setUint32(SOCK_TXTIME.flags, options.sendClockFlags, true)
      return new Uint8Array(view.buffer)
    }
    case SO_TXREHASH:
      return isTcp(socket) ? intBytes(options.values.get(name) ?? 1) : -EOPNOTSUPP
    case SO_TIMESTAMPING:
    case SO_TIMESTAMPING_NEW:
      return longBytes(options.values.get(SO_TIMESTAMPING) ?? 0)
    case SO_MAX_PACING_RATE: {
      const rate = options.values.get(name) ?? -1
      if (length < 8) return intBytes(rate)
      const view = new DataView(new ArrayBuffer(8))
      view.setInt32(0, rate, true)
      view.setInt32(4, rate === -1 ? -1 : 0, true)
      return new Uint8Array(view.buffer)
    }
    // SO_GET_FILTER of a socket without one.
    case SO_ATTACH_FILTER:
      return new Uint8Array(0)
  }
  return SWITCHES.has(name) || NUMBERS.has(name) ? intBytes(options.values.get(name) ?? 0) : undefined
}

function isInet({ family }: Socket): boolean {
  return family === AF_INET || family === AF_INET6
}
/** sock_set_timestamping */
function setTimestamping(socket: Socket, wanted: number): Status {
  const { values } = socket.options
  if (wanted < 0 || wanted >= TIMESTAMPING_END) return -EINVAL
  if ((wanted & OPT_ID_TCP) !== 0 && (wanted & OPT_ID) === 0) return -EINVAL
  // Of a stream that has not begun no byte has a number.
  const begins = (wanted & ~(values.get(SO_TIMESTAMPING) ?? 0) & OPT_ID) !== 0
  if (begins && isTcp(socket) && 'remoteAddress' in socket && socket.remoteAddress === undefined)
    return -EINVAL
  if ((wanted & OPT_STATS) !== 0 && (wanted & OPT_TSONLY) === 0) return -EINVAL
  if ((wanted & BIND_PHC) !== 0) return -EOPNOTSUPP
  values.set(SO_TIMESTAMPING, wanted)
  return 0
}

function isTcp(socket: Socket): boolean {
  return isInet(socket) && socket.type === SOCK_STREAM && socket.protocol === IPPROTO_TCP
}

function isUdp(socket: Socket): boolean {
  return isInet(socket) && socket.type === SOCK_DGRAM && socket.protocol === IPPROTO_UDP
}

function bindToDevice(socket: Socket, task: Task, value: Uint8Array): Status {
  const name = interfaceName(value)
  if (name === '') return bindTo(socket, task, 0)
  const device = stackOf(socket, task)?.devices.byName(name)
  return device === undefined ? -ENODEV : bindTo(socket, task, device.index)
}

function bindTo(socket: Socket, task: Task, index: number): Status {
  if (socket.options.boundDevice !== 0 && !capable(socket, task, CAP_NET_RAW)) return -EPERM
  if (index < 0) return -EINVAL
  socket.options.boundDevice = index
  return 0
}

/** When packets are to leave: obeyed by queueing disciplines that no device has here. */
function setSendTime(socket: Socket, task: Task, value: Uint8Array): Status {
  if (value.length !== SOCK_TXTIME.size) return -EINVAL
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const clock = view.getInt32(SOCK_TXTIME.clockid, true)
  const flags = view.getUint32(SOCK_TXTIME.flags, true)
  if ((flags & ~TXTIME_FLAGS) !== 0) return -EINVAL
  if (clock !== CLOCK_MONOTONIC && !capable(socket, task, CAP_NET_ADMIN)) return -EPERM
  const { options } = socket
  options.values.set(SO_TXTIME, 1)
  options.sendClock = clock
  options.sendClockFlags = flags
  return 0
}

/** SO_MEMINFO, by SK_MEMINFO_*: what is queued and what may be. */
export function memoryInfo(socket: Socket): Uint8Array {
  const { options } = socket
  const values = [
    socket.receiveMemory,
    options.rcvbuf,
    socket.sendMemory,
    options.sndbuf,
    0,
    socket.sendMemory,
    0,
    0,
    socket.drops,
  ]
  const view = new DataView(new ArrayBuffer(values.length * 4))
  for (let i = 0; i < values.length; i++) view.setUint32(i * 4, values[i], true)
  return new Uint8Array(view.buffer)
}

/** Eight bytes; 2^32 are never reached. */
function longBytes(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8))
  view.setUint32(0, value, true)
  return new Uint8Array(view.buffer)
}
