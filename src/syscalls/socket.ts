/** Sockets: socket(2), socketpair(2), bind, listen, accept, connect, names, shutdown and options. Data is in socket-io.ts. */
import {
  AF_INET,
  AF_INET6,
  AF_MAX,
  AF_NETLINK,
  AF_PACKET,
  AF_UNIX,
  AF_UNSPEC,
  LANDLOCK_ACCESS_NET_BIND_TCP,
  LANDLOCK_ACCESS_NET_CONNECT_TCP,
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_EOR,
  MSG_NOSIGNAL,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_GET_FILTER,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../abi/constants.ts'
import {
  EACCES,
  EAFNOSUPPORT,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  EFAULT,
  EINPROGRESS,
  EINVAL,
  EMFILE,
  EOPNOTSUPP,
} from '../abi/errno.ts'
import { SOCK_FILTER, TIMESPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { domainOf } from '../kernel/landlock/domain.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { families, type SocketFamily } from '../net/families.ts'
import type { SocketFilter } from '../net/inet/filter.ts'
import { getSocketOption, setSocketOption } from '../net/options.ts'
import { SocketFile } from '../net/socket-file.ts'
import {
  addr,
  bufferIn,
  bufferOut,
  enumOf,
  fd as fdArg,
  flags as flagsArg,
  int,
  lengthInOut,
  message,
  messages,
  type SyscallRows,
  size,
  structIn,
  uint,
} from './args.ts'
import { fdLimit } from './at.ts'
import { READ_EVENTS, WRITE_EVENTS } from './blocking.ts'
import { installFile, installPair } from './install.ts'
import { recvfrom, recvmmsg, recvmsg, sendmmsg, sendmsg, sendto } from './socket-io.ts'
import { readAddress, socketOf, waitFor, writeAddress } from './socket-message.ts'

/** Low bits of socket(2)'s type argument; the rest are flags. */
const TYPE_MASK = 0xf
const SOCK_MAX = 11

export function socket(task: Task, domain: number, type: number, protocol: number): number {
  const family = familyFor(domain, type)
  if (failed(family)) return family
  const made = family.create(task, type & TYPE_MASK, protocol)
  if (failed(made)) return made
  const file = new SocketFile(task, made, (type & SOCK_NONBLOCK) !== 0)
  return installFile(task, file, (type & SOCK_CLOEXEC) !== 0)
}

export function socketpair(
  task: Task,
  domain: number,
  type: number,
  protocol: number,
  fdsAt: GuestAddr,
): number {
  const family = familyFor(domain, type)
  if (failed(family)) return family
  const a = family.create(task, type & TYPE_MASK, protocol)
  if (failed(a)) return a
  const b = family.create(task, type & TYPE_MASK, protocol)
  if (failed(b)) return b
  if (family.pair === undefined) {
    a.release()
    b.release()
    return -EOPNOTSUPP
  }
  family.pair(task, a, b)
  const nonblocking = (type & SOCK_NONBLOCK) !== 0
  const fileA = new SocketFile(task, a, nonblocking)
  const fileB = new SocketFile(task, b, nonblocking)
  return installPair(task, fileA, fileB, (type & SOCK_CLOEXEC) !== 0, fdsAt)
}

function familyFor(domain: number, type: number): OrErrno<SocketFamily> {
  if ((type & ~TYPE_MASK & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) !== 0) return -EINVAL
  if (domain < 0 || domain >= AF_MAX) return -EAFNOSUPPORT
  if ((type & TYPE_MASK) >= SOCK_MAX) return -EINVAL
  return families[domain] ?? -EAFNOSUPPORT
}

export function bind(task: Task, fd: number, nameAt: GuestAddr, nameLength: number): number {
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  const address = readAddress(task, nameAt, nameLength)
  if (failed(address)) return address
  return restrictedPort(task, file, address, LANDLOCK_ACCESS_NET_BIND_TCP) || file.socket.bind(task, address)
}

/** Landlock's current_check_access_socket: -EACCES where the task may not use the TCP port so. */
export function restrictedPort(
  task: Task,
  { socket: of }: SocketFile,
  address: Uint8Array,
  wanted: number,
): number {
  const domain = domainOf(task.cred)
  if (domain === undefined || of.type !== SOCK_STREAM || address.length < 4) return 0
  if (of.family !== AF_INET && of.family !== AF_INET6) return 0
  const family = address[0] | (address[1] << 8)
  // Who disconnects goes nowhere.
  if (family === AF_UNSPEC && wanted === LANDLOCK_ACCESS_NET_CONNECT_TCP) return 0
  return domain.mayUsePort((address[2] << 8) | address[3], wanted) ? 0 : -EACCES
}

export function listen(task: Task, fd: number, backlog: number): number {
  const file = socketOf(task, fd)
  return typeof file === 'number' ? file : file.socket.listen(task, backlog)
}

export function accept(task: Task, fd: number, nameAt: GuestAddr, lengthAt: GuestAddr): number {
  return accept4(task, fd, nameAt, lengthAt, 0)
}
export function accept4(
  task: Task,
  fd: number,
  nameAt: GuestAddr,
  lengthAt: GuestAddr,
  flags: number,
): number {
  if ((flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) !== 0) return -EINVAL
  const listener = socketOf(task, fd)
  if (typeof listener === 'number') return listener
  // A connection must not be lost for want of a descriptor.
  if (task.fds.lowestFree() >= fdLimit(task)) return -EMFILE
  const { socket: from } = listener
  const made = from.accept()
  if (made === -EAGAIN) {
    if (listener.nonblocking) return -EAGAIN
    return waitFor(task, listener, from.waitQueue, READ_EVENTS, from.options.rcvTimeout, 0)
  }
  if (failed(made)) return made
  const file = new SocketFile(task, made, (flags & SOCK_NONBLOCK) !== 0)
  const newFd = installFile(task, file, (flags & SOCK_CLOEXEC) !== 0)
  if (newFd < 0 || nameAt === 0) return newFd
  const name = made.acceptedName()
  const status = failed(name) ? -ECONNABORTED : writeAddress(task, name, nameAt, lengthAt)
  if (status === 0) return newFd
  task.fds.close(newFd)
  return status
}

export function connect(task: Task, fd: number, nameAt: GuestAddr, nameLength: number): number {
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  const address = readAddress(task, nameAt, nameLength)
  if (failed(address)) return address
  const denied = restrictedPort(task, file, address, LANDLOCK_ACCESS_NET_CONNECT_TCP)
  if (denied < 0) return denied
  const again = task.progress !== undefined
  const { socket: to } = file
  const tried = to.connect(task, address)
  // What an earlier try of this very call has begun.
  const status = again && tried === -EALREADY ? -EINPROGRESS : tried
  const waits = status === -EAGAIN || status === -EINPROGRESS || status === -EALREADY
  if (!waits || file.nonblocking) return status
  const result = waitFor(
    task,
    file,
    to.connectWait,
    status === -EAGAIN ? 0 : WRITE_EVENTS,
    to.options.sndTimeout,
    0,
  )
  return result === -EAGAIN ? status : result
}

export function getsockname(task: Task, fd: number, nameAt: GuestAddr, lengthAt: GuestAddr): number {
  return nameOf(task, fd, nameAt, lengthAt, false)
}
export function getpeername(task: Task, fd: number, nameAt: GuestAddr, lengthAt: GuestAddr): number {
  return nameOf(task, fd, nameAt, lengthAt, true)
}
function nameOf(task: Task, fd: number, nameAt: GuestAddr, lengthAt: GuestAddr, peer: boolean): number {
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  const name = file.socket.name(peer)
  return failed(name) ? name : writeAddress(task, name, nameAt, lengthAt)
}

export function shutdown(task: Task, fd: number, how: number): number {
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  // SHUT_RD, SHUT_WR, SHUT_RDWR are one less than the masks that they mean.
  return how < SHUT_RD || how > SHUT_RDWR ? -EINVAL : file.socket.shutdown(how + 1)
}

export function setsockopt(
  task: Task,
  fd: number,
  level: number,
  name: number,
  valueAt: GuestAddr,
  length: number,
): number {
  if (length < 0) return -EINVAL
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  const value = new Uint8Array(Math.min(length, file.socket.optionLimit(task, level, name)))
  if (value.length > 0 && task.mm.copyIn(valueAt, value) < 0) return -EFAULT
  return setSocketOption(file.socket, task, level, name, value)
}

export function getsockopt(
  task: Task,
  fd: number,
  level: number,
  name: number,
  valueAt: GuestAddr,
  lengthAt: GuestAddr,
): number {
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  const length = task.mm.u32(lengthAt)
  if (length === undefined) return -EFAULT
  if ((length | 0) < 0) return -EINVAL
  const { filter } = file.socket
  if (level === SOL_SOCKET && name === SO_GET_FILTER && filter !== undefined) {
    return getFilter(task, filter, length, valueAt, lengthAt)
  }
  const value = getSocketOption(file.socket, task, level, name, length, valueAt)
  if (failed(value)) return value
  const part = value.subarray(0, length)
  if (part.length > 0 && task.mm.copyOut(valueAt, part) < 0) return -EFAULT
  return task.mm.putU32(lengthAt, part.length)
}

/** Its lengths count instructions; with none only how many there are is told. */
function getFilter(
  task: Task,
  { instructions }: SocketFilter,
  length: number,
  valueAt: GuestAddr,
  lengthAt: GuestAddr,
): number {
  const count = instructions.length / SOCK_FILTER.size
  if (length > 0) {
    if (length < count) return -EINVAL
    if (task.mm.copyOut(valueAt, instructions) < 0) return -EFAULT
  }
  return task.mm.putU32(lengthAt, count)
}

const FAMILIES = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET }
const TYPES = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_CLOEXEC, SOCK_NONBLOCK }
const MSG = {
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_EOR,
  MSG_WAITALL,
  MSG_NOSIGNAL,
  MSG_CMSG_CLOEXEC,
}
const domain = enumOf(FAMILIES)
const type = flagsArg(TYPES)
const msgFlags = flagsArg(MSG)
const level = enumOf({ SOL_SOCKET })
const how = enumOf({ SHUT_RD, SHUT_WR, SHUT_RDWR })
const acceptFlags = flagsArg({ SOCK_CLOEXEC, SOCK_NONBLOCK })

export const socketCalls = {
  socket: {
    nr: NR.socket,
    run: socket,
    args: [domain, type, int],
    returns: 'fd',
    partial:
      'AF_UNIX; AF_INET, AF_INET6, AF_NETLINK and AF_PACKET of a network of the sandbox’s own, or by way of the host AF_INET, ' +
      'AF_INET6 and NETLINK_ROUTE',
  },
  socketpair: { nr: NR.socketpair, run: socketpair, args: [domain, type, int, addr] },
  bind: { nr: NR.bind, run: bind, args: [fdArg, bufferIn(2), int] },
  listen: { nr: NR.listen, run: listen, args: [fdArg, int] },
  accept: { nr: NR.accept, run: accept, args: [fdArg, addr, lengthInOut], returns: 'fd' },
  accept4: { nr: NR.accept4, run: accept4, args: [fdArg, addr, lengthInOut, acceptFlags], returns: 'fd' },
  connect: { nr: NR.connect, run: connect, args: [fdArg, bufferIn(2), int] },
  getsockname: { nr: NR.getsockname, run: getsockname, args: [fdArg, addr, lengthInOut] },
  getpeername: { nr: NR.getpeername, run: getpeername, args: [fdArg, addr, lengthInOut] },
  shutdown: { nr: NR.shutdown, run: shutdown, args: [fdArg, how] },
  setsockopt: { nr: NR.setsockopt, run: setsockopt, args: [fdArg, level, int, bufferIn(4), int] },
  getsockopt: { nr: NR.getsockopt, run: getsockopt, args: [fdArg, level, int, addr, lengthInOut] },
  sendto: { nr: NR.sendto, run: sendto, args: [fdArg, bufferIn(2), size, msgFlags, bufferIn(5), int] },
  sendmsg: { nr: NR.sendmsg, run: sendmsg, args: [fdArg, message('in'), msgFlags] },
  sendmmsg: { nr: NR.sendmmsg, run: sendmmsg, args: [fdArg, messages('in', 2), uint, msgFlags] },
  recvfrom: {
    nr: NR.recvfrom,
    run: recvfrom,
    args: [fdArg, bufferOut(2), size, msgFlags, addr, lengthInOut],
  },
  recvmsg: { nr: NR.recvmsg, run: recvmsg, args: [fdArg, message('out'), msgFlags] },
  recvmmsg: {
    nr: NR.recvmmsg,
    run: recvmmsg,
    args: [fdArg, messages('out', 2), uint, msgFlags, structIn(TIMESPEC)],
  },
} satisfies SyscallRows
