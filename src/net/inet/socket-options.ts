/** Options of SOL_SOCKET that internet sockets have for themselves, or that their packets are sent by: socket(7). */
import {
  CAP_NET_ADMIN,
  CAP_NET_RAW,
  IPPROTO_UDP,
  SO_ATTACH_BPF,
  SO_ATTACH_FILTER,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_BUF_LOCK,
  SO_BUSY_POLL,
  SO_COOKIE,
  SO_DEBUG,
  SO_DETACH_FILTER,
  SO_INCOMING_NAPI_ID,
  SO_LOCK_FILTER,
  SO_MARK,
  SO_MAX_PACING_RATE,
  SO_MEMINFO,
  SO_NETNS_COOKIE,
  SO_NOFCS,
  SO_PASSCRED,
  SO_PEEK_OFF,
  SO_PEERCRED,
  SO_PREFER_BUSY_POLL,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVLOWAT,
  SO_RCVMARK,
  SO_RESERVE_MEM,
  SO_SELECT_ERR_QUEUE,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
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
  SOCK_RAW,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import { EACCES, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import { UCRED } from '../../abi/layout.ts'
import { toBytes } from '../../base/bytes.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { IFNAMSIZ, interfaceName } from '../interface-requests.ts'
import { setSocketFilter } from './filter.ts'
import { intBytes, readInt } from './option-bytes.ts'
import type { InetSocket } from './socket.ts'

const MIN_SNDBUF = 4608
const MIN_RCVBUF = 2304
const MAX_FORCED = 0x3fffffff
/** Stamps in packets: one of these at a time, the others off. */
const STAMPS: readonly number[] = [SO_TIMESTAMP, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW]
/** What can be set and read, and makes no difference here. */
const REMEMBERED: ReadonlySet<number> = new Set([
  SO_RCVMARK,
  SO_WIFI_STATUS,
  SO_NOFCS,
  SO_SELECT_ERR_QUEUE,
  SO_PREFER_BUSY_POLL,
  SO_LOCK_FILTER,
])

/** Undefined: net/options.ts knows. */
export function setInetOption(
  socket: InetSocket,
  task: Task,
  name: number,
  value: Uint8Array,
): Status | undefined {
  const { options, net } = socket
  if (name === SO_BINDTODEVICE) return bindToDevice(socket, task, value)
  if (name === SO_ATTACH_FILTER) return setSocketFilter(socket, task, value)
  if (name === SO_ATTACH_BPF) return -EINVAL
  const number = readInt(value)
  if (number === undefined) return -EINVAL
  switch (name) {
    case SO_DETACH_FILTER:
      if (socket.filter === undefined) return -ENOENT
      if (options.flag(SO_LOCK_FILTER)) return -EPERM
      socket.filter = undefined
      return 0
    case SO_BINDTOIFINDEX:
      return bindTo(socket, task, number)
    case SO_SNDBUF:
      options.sndbuf = Math.max(Math.min(number >>> 0, net.ip.sysctls.core.wmem_max) * 2, MIN_SNDBUF)
      socket.optionChanged(name)
      return 0
    case SO_RCVBUF:
      options.rcvbuf = Math.max(Math.min(number >>> 0, net.ip.sysctls.core.rmem_max) * 2, MIN_RCVBUF)
      socket.optionChanged(name)
      return 0
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE: {
      if (!net.capable(task, CAP_NET_ADMIN)) return -EPERM
      const size = Math.min(Math.max(number, 0), MAX_FORCED) * 2
      if (name === SO_SNDBUFFORCE) options.sndbuf = Math.max(size, MIN_SNDBUF)
      else options.rcvbuf = Math.max(size, MIN_RCVBUF)
      socket.optionChanged(name === SO_SNDBUFFORCE ? SO_SNDBUF : SO_RCVBUF)
      return 0
    }
    case SO_RCVLOWAT:
      options.rcvLowat = socket.limitLowWater(number < 0 ? 0x7fffffff : number || 1)
      socket.optionChanged(name)
      return 0
    case SO_PRIORITY:
    case SO_MARK: {
      const free = name === SO_PRIORITY && number >= 0 && number <= 6
      if (!free && !net.capable(task, CAP_NET_ADMIN) && !net.capable(task, CAP_NET_RAW)) return -EPERM
      options.values.set(name, number)
      socket.settingsChanged()
      return 0
    }
    case SO_RESERVE_MEM:
      if (number < 0) return -EINVAL
      return -EOPNOTSUPP
    case SO_TIMESTAMP:
    case SO_TIMESTAMP_NEW:
    case SO_TIMESTAMPNS:
    case SO_TIMESTAMPNS_NEW:
      for (const other of STAMPS) options.values.delete(other)
      if (number !== 0) options.values.set(name, 1)
      net.wantsStamps(socket, number !== 0 || options.flag(SO_TIMESTAMPING))
      return 0
    case SO_TIMESTAMPING:
    case SO_TIMESTAMPING_NEW:
      if (number < 0 || number >= 1 << 18) return -EINVAL
      options.values.set(SO_TIMESTAMPING, number)
      net.wantsStamps(socket, number !== 0 || STAMPS.some(stamp => options.flag(stamp)))
      return 0
    case SO_MAX_PACING_RATE:
      options.values.set(name, number)
      socket.optionChanged(name)
      return 0
    case SO_BUSY_POLL:
      if (number < 0) return -EINVAL
      options.values.set(name, number)
      return 0
    case SO_DEBUG:
      return number !== 0 && !net.capable(task, CAP_NET_ADMIN) ? -EACCES : undefined
    case SO_ZEROCOPY:
      // The bytes are copied all the same, and the notices say so.
      if (socket.type !== SOCK_STREAM && (socket.type !== SOCK_DGRAM || socket.protocol !== IPPROTO_UDP))
        return -EOPNOTSUPP
      if (number < 0 || number > 1) return -EINVAL
      options.values.set(name, number)
      return 0
    case SO_TXTIME:
      return value.length !== 8 ? -EINVAL : -EOPNOTSUPP
    case SO_BUF_LOCK:
      if ((number & ~3) !== 0) return -EINVAL
      options.values.set(name, number)
      return 0
    case SO_TXREHASH:
      if (socket.type !== SOCK_STREAM) return -EOPNOTSUPP
      if (number < -1 || number > 1) return -EINVAL
      options.values.set(name, number === -1 ? 1 : number)
      return 0
    case SO_PEEK_OFF:
      if (socket.type === SOCK_RAW) return -EOPNOTSUPP
      options.peekOff = number
      socket.optionChanged(name)
      return 0
    case SO_PASSCRED:
      return undefined
  }
  if (REMEMBERED.has(name)) {
    if (name === SO_LOCK_FILTER && options.flag(name) && number === 0) return -EPERM
    options.values.set(name, number !== 0 ? 1 : 0)
    return 0
  }
  return undefined
}

export function getInetOption(
  socket: InetSocket,
  name: number,
  length: number,
): OrErrno<Uint8Array> | undefined {
  const { options, net } = socket
  switch (name) {
    case SO_BINDTODEVICE: {
      const device = net.ip.devices.byIndex(socket.boundDevice)
      if (device === undefined) return new Uint8Array(0)
      return length < IFNAMSIZ ? -EINVAL : toBytes(`${device.name}\0`)
    }
    case SO_BINDTOIFINDEX:
      return intBytes(socket.boundDevice)
    case SO_PEERCRED: {
      const bytes = new Uint8Array(UCRED.size)
      bytes.fill(0xff, UCRED.uid)
      return bytes
    }
    case SO_COOKIE:
    case SO_NETNS_COOKIE: {
      if (length !== 8) return -EINVAL
      const view = new DataView(new ArrayBuffer(8))
      view.setUint32(0, name === SO_COOKIE ? net.cookieOf(socket) : net.ns.inum, true)
      return new Uint8Array(view.buffer)
    }
    case SO_MEMINFO:
      return memoryInfo(socket)
    case SO_INCOMING_NAPI_ID:
      return intBytes(0)
    case SO_TIMESTAMP:
    case SO_TIMESTAMP_NEW:
    case SO_TIMESTAMPNS:
    case SO_TIMESTAMPNS_NEW:
    case SO_BUF_LOCK:
    case SO_RESERVE_MEM:
    case SO_ZEROCOPY:
      return intBytes(options.values.get(name) ?? 0)
    case SO_TXTIME:
      // The clock and flags that nobody has set.
      return new Uint8Array(8)
    case SO_PEEK_OFF:
      return socket.type === SOCK_RAW ? -EOPNOTSUPP : undefined
    case SO_TXREHASH:
      if (socket.type !== SOCK_STREAM) return -EOPNOTSUPP
      return intBytes(options.values.get(name) ?? 1)
    case SO_TIMESTAMPING:
    case SO_TIMESTAMPING_NEW: {
      const bytes = new Uint8Array(8)
      new DataView(bytes.buffer).setUint32(0, options.values.get(SO_TIMESTAMPING) ?? 0, true)
      return bytes
    }
    case SO_MAX_PACING_RATE: {
      const rate = options.values.get(name) ?? -1
      if (length < 8) return intBytes(rate)
      const view = new DataView(new ArrayBuffer(8))
      view.setInt32(0, rate, true)
      view.setInt32(4, rate === -1 ? -1 : 0, true)
      return new Uint8Array(view.buffer)
    }
    // SO_GET_FILTER: the number of instructions.
    case SO_ATTACH_FILTER:
      return new Uint8Array(0)
  }
  return REMEMBERED.has(name) ? intBytes(options.values.get(name) ?? 0) : undefined
}

function bindToDevice(socket: InetSocket, task: Task, value: Uint8Array): Status {
  const name = interfaceName(value)
  if (name === '') return bindTo(socket, task, 0)
  const device = socket.net.ip.devices.byName(name)
  return device === undefined ? -ENODEV : bindTo(socket, task, device.index)
}

function bindTo(socket: InetSocket, task: Task, index: number): Status {
  if (index < 0) return -EINVAL
  if (socket.boundDevice !== 0 && !socket.net.capable(task, CAP_NET_RAW)) return -EPERM
  socket.boundDevice = index
  socket.settingsChanged()
  return 0
}

/** SK_MEMINFO_*: what is queued and what may be. */
function memoryInfo(socket: InetSocket): Uint8Array {
  const { options } = socket
  const values = [
    socket.receiveQueued,
    options.rcvbuf,
    socket.sendQueued,
    options.sndbuf,
    0,
    socket.sendQueued,
    0,
    0,
    socket.drops,
  ]
  const view = new DataView(new ArrayBuffer(values.length * 4))
  for (let i = 0; i < values.length; i++) view.setUint32(i * 4, values[i], true)
  return new Uint8Array(view.buffer)
}
