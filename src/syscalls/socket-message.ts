/**
 * Messages of sendmsg(2) and recvmsg(2) in guest memory: addresses, control messages (cmsg(3)), and the waiting around
 * one send or one receive.
 */
import {
  MSG_CMSG_CLOEXEC,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_NOSIGNAL,
  MSG_OOB,
  MSG_PEEK,
  MSG_WAITALL,
  MSG_ZEROCOPY,
  SCM_PIDFD,
  SOCK_STREAM,
  UIO_MAXIOV,
} from '../abi/constants.ts'
import {
  EAGAIN,
  EBADF,
  EFAULT,
  EINTR,
  EINVAL,
  EMSGSIZE,
  ENOBUFS,
  ENOTSOCK,
  EPIPE,
  ERESTARTSYS,
} from '../abi/errno.ts'
import { CMSGHDR, MSGHDR } from '../abi/layout.ts'
import type { IoDst, IoSrc } from '../base/io.ts'
import { BLOCK, type OrErrno } from '../base/result.ts'
import type { WaitQueue } from '../base/wait-queue.ts'
import { take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { ControlMessage, ReceivedControl, ReceiveRequest, SendRequest } from '../net/socket.ts'
import { SocketFile } from '../net/socket-file.ts'
import { filePut } from '../vfs/file-ref.ts'
import { fdLimit, fileOf } from './at.ts'
import { IoProgress, ioProgress, READ_EVENTS, WRITE_EVENTS } from './blocking.ts'

/** sizeof(struct sockaddr_storage): no address is longer. */
const MAX_ADDRESS = 128
/** net.core.optmem_max: control messages in one call. */
export const MAX_CONTROL = 131072
const INT_MAX = 0x7fffffff
/** What is out of band or an error is there or not. */
const NEVER_WAIT = MSG_DONTWAIT | MSG_OOB | MSG_ERRQUEUE

/** The socket behind a descriptor: at later tries of a call the one that it began with. */
export function socketOf(task: Task, fd: number): SocketFile | number {
  const file = task.progress instanceof IoProgress ? task.progress.file : fileOf(task, fd)
  if (file === undefined) return -EBADF
  return file instanceof SocketFile ? file : -ENOTSOCK
}

/** struct msghdr. */
export interface MessageHeader {
  nameAt: GuestAddr
  nameLength: number
  iovAt: GuestAddr
  iovCount: number
  controlAt: GuestAddr
  controlLength: number
}

export function readMessageHeader(task: Task, at: GuestAddr): OrErrno<MessageHeader> {
  const view = task.mm.view(at, MSGHDR.size)
  if (view === undefined) return -EFAULT
  const header = {
    nameAt: take64(view, MSGHDR.msg_name),
    nameLength: view.getInt32(MSGHDR.msg_namelen, true),
    iovAt: take64(view, MSGHDR.msg_iov),
    iovCount: take64(view, MSGHDR.msg_iovlen),
    controlAt: take64(view, MSGHDR.msg_control),
    controlLength: take64(view, MSGHDR.msg_controllen),
  }
  if (header.nameAt === 0) header.nameLength = 0
  if (header.nameLength < 0) return -EINVAL
  header.nameLength = Math.min(header.nameLength, MAX_ADDRESS)
  if (header.iovCount > UIO_MAXIOV) return -EMSGSIZE
  return header
}

/** move_addr_to_kernel. */
export function readAddress(task: Task, at: GuestAddr, length: number): OrErrno<Uint8Array> {
  if (length < 0 || length > MAX_ADDRESS) return -EINVAL
  const address = new Uint8Array(length)
  if (length > 0 && task.mm.copyIn(at, address) < 0) return -EFAULT
  return address
}

/** move_addr_to_user: as much as there is room for; `lengthAt` then holds the whole length. */
export function writeAddress(task: Task, address: Uint8Array, at: GuestAddr, lengthAt: GuestAddr): number {
  const room = task.mm.u32(lengthAt)
  if (room === undefined) return -EFAULT
  if ((room | 0) < 0) return -EINVAL
  const part = address.subarray(0, room)
  if (part.length > 0 && task.mm.copyOut(at, part) < 0) return -EFAULT
  return task.mm.putU32(lengthAt, address.length)
}

/** The control messages of a sendmsg. */
export function readControl(task: Task, at: GuestAddr, length: number): OrErrno<ControlMessage[]> {
  if (length > INT_MAX || length > MAX_CONTROL) return -ENOBUFS
  const messages: ControlMessage[] = []
  if (length < CMSGHDR.size) return messages
  const bytes = new Uint8Array(length)
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  const view = new DataView(bytes.buffer)
  for (let offset = 0; length - offset >= CMSGHDR.size; ) {
    const size = take64(view, offset + CMSGHDR.cmsg_len)
    if (size < CMSGHDR.size || size > length - offset) return -EINVAL
    messages.push({
      level: view.getInt32(offset + CMSGHDR.cmsg_level, true),
      type: view.getInt32(offset + CMSGHDR.cmsg_type, true),
      data: bytes.subarray(offset + CMSGHDR.cmsg_data, offset + size),
    })
    offset += align8(size)
  }
  return messages
}

function align8(length: number): number {
  return Math.ceil(length / 8) * 8
}

/**
 * Writes control messages to the guest as far as there is room, and gives Files descriptors. Returns the bytes used;
 * MSG_CTRUNC is set in `request.outFlags` when something did not fit, and Files that got no descriptor are dropped.
 */
export function writeControl(task: Task, request: ReceiveRequest, at: GuestAddr, room: number): number {
  let used = 0
  for (const control of request.control) {
    const left = at === 0 ? 0 : room - used
    used +=
      control.files !== undefined
        ? writeFiles(task, request, control, at + used, left)
        : writeData(task, request, control, at + used, left)
  }
  return used
}

function writeData(
  task: Task,
  request: ReceiveRequest,
  control: ReceivedControl,
  at: GuestAddr,
  room: number,
): number {
  const data = control.data!
  const whole = CMSGHDR.size + data.length
  if (room < CMSGHDR.size) {
    request.outFlags |= MSG_CTRUNC
    return 0
  }
  if (room < whole) request.outFlags |= MSG_CTRUNC
  const size = Math.min(whole, room)
  if (writeCmsg(task, at, control, data.subarray(0, size - CMSGHDR.size)) < 0) return 0
  return Math.min(align8(whole), room)
}

function writeFiles(
  task: Task,
  request: ReceiveRequest,
  control: ReceivedControl,
  at: GuestAddr,
  room: number,
): number {
  const files = control.files!
  const cloexec = (request.flags & MSG_CMSG_CLOEXEC) !== 0 || control.type === SCM_PIDFD
  const max = Math.min(room > CMSGHDR.size ? Math.floor((room - CMSGHDR.size) / 4) : 0, files.length)
  const fds = new DataView(new ArrayBuffer(max * 4))
  let count = 0
  while (count < max) {
    const fd = task.fds.install(files[count], cloexec, 0, fdLimit(task))
    if (fd < 0) break
    fds.setInt32(count++ * 4, fd, true)
  }
  for (const file of files.slice(count)) filePut(file)
  if (count < files.length) request.outFlags |= MSG_CTRUNC
  if (count === 0) return 0
  if (writeCmsg(task, at, control, new Uint8Array(fds.buffer, 0, count * 4)) < 0) return 0
  return Math.min(align8(CMSGHDR.size + count * 4), room)
}

function writeCmsg(task: Task, at: GuestAddr, { level, type }: ReceivedControl, data: Uint8Array): number {
  const bytes = new Uint8Array(CMSGHDR.size + data.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(CMSGHDR.cmsg_len, bytes.length, true)
  view.setInt32(CMSGHDR.cmsg_level, level, true)
  view.setInt32(CMSGHDR.cmsg_type, type, true)
  bytes.set(data, CMSGHDR.cmsg_data)
  return task.mm.copyOut(at, bytes)
}

/** Files of a message that nobody will get. */
export function dropControl(request: ReceiveRequest): void {
  for (const control of request.control) for (const file of control.files ?? []) filePut(file)
}

/**
 * Waits for a socket: BLOCK, or what the call returns when it must not (any longer). `done` bytes are what it
 * has achieved.
 */
export function waitFor(
  task: Task,
  file: SocketFile,
  queue: WaitQueue,
  events: number,
  timeout: number,
  done: number,
): number {
  if (timeout === 0) return done > 0 ? done : -EAGAIN
  const progress = ioProgress(task, file, timeout)
  progress.done = done
  if (task.kernel.now() >= progress.deadline) return done > 0 ? done : -EAGAIN
  task.blockUntil(progress.deadline)
  // A call with a timeout of its own is not restarted: signal(7).
  const interrupted = progress.deadline === Number.POSITIVE_INFINITY ? -ERESTARTSYS : -EINTR
  return task.block(queue, done > 0 ? done : interrupted, events)
}

/** Sends what is left of `src`, of which earlier tries have sent `done` bytes. EPIPE comes with SIGPIPE. */
export function sendOne(
  task: Task,
  file: SocketFile,
  src: IoSrc,
  done: number,
  flags: number,
  address: Uint8Array | undefined,
  control: readonly ControlMessage[],
): number {
  const result = sendPieces(task, file, src, done, flags, address, control)
  if ((flags & MSG_ZEROCOPY) === 0) return result
  // Who hears of it may change the bytes: not before the call is over, however it ends.
  const { progress } = task
  if (progress instanceof IoProgress) {
    progress.sender = file.socket
    if (result !== BLOCK) progress.done = Math.max(result, 0)
  } else if (result > 0) file.socket.copied()
  return result
}

function sendPieces(
  task: Task,
  file: SocketFile,
  src: IoSrc,
  done: number,
  flags: number,
  address: Uint8Array | undefined,
  control: readonly ControlMessage[],
): number {
  const { socket } = file
  if (file.nonblocking) flags |= MSG_DONTWAIT
  const request: SendRequest = { src, flags, address, control, waitOn: undefined }
  for (;;) {
    request.control = done > 0 ? [] : control
    const n = socket.send(task, request)
    if (n >= 0) {
      done += n
      if (socket.isStream && src.remaining > 0) continue
      return done
    }
    if (n === -EAGAIN && (flags & MSG_DONTWAIT) === 0) {
      const queue = request.waitOn ?? socket.waitQueue
      return waitFor(task, file, queue, WRITE_EVENTS, socket.options.sndTimeout, done)
    }
    if (done > 0) return done
    if (n === -EPIPE && socket.type === SOCK_STREAM && (flags & MSG_NOSIGNAL) === 0) task.sendSigpipe()
    return n
  }
}

/** Receives into what is left of `request.dst`, which earlier tries have filled with `done` bytes. */
export function receiveOne(task: Task, file: SocketFile, request: ReceiveRequest, done: number): number {
  const { socket } = file
  const { flags } = request
  const n = socket.receive(task, request)
  if (n > 0) done += n
  const gotFiles = request.control.some(control => control.files !== undefined)
  // A byte stream waits for all that was asked for, or for as much as SO_RCVLOWAT says.
  const total = done + request.dst.remaining
  const enough = (flags & MSG_WAITALL) !== 0 ? total : Math.min(socket.options.rcvLowat, total)
  const wantsMore = n > 0 && done < enough && (flags & MSG_PEEK) === 0 && socket.isStream && !gotFiles
  if (n === -EAGAIN || wantsMore) {
    if ((flags & NEVER_WAIT) !== 0) return done > 0 ? done : -EAGAIN
    const result = waitFor(task, file, socket.waitQueue, READ_EVENTS, socket.options.rcvTimeout, done)
    if (result === BLOCK) dropControl(request)
    return result
  }
  return n < 0 && done > 0 ? done : n < 0 ? n : done
}

/** A target that starts behind what earlier tries have filled. */
export function skipFilled(dst: IoDst, done: number): IoDst {
  if (done > 0) dst.skip(done)
  return dst
}
export function skipSent(src: IoSrc, done: number): IoSrc {
  if (done > 0) src.consume(done)
  return src
}
