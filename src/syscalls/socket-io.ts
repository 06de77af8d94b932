/** Data through sockets: sendto(2), sendmsg(2), sendmmsg(2), recvfrom(2), recvmsg(2), recvmmsg(2). */
import {
  MSG_CMSG_CLOEXEC,
  MSG_CMSG_COMPAT,
  MSG_DONTWAIT,
  MSG_WAITFORONE,
  UIO_MAXIOV,
} from '../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL } from '../abi/errno.ts'
import { MMSGHDR, MSGHDR } from '../abi/layout.ts'
import { BLOCK, failed } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { type ReceiveRequest, receiveRequest } from '../net/socket.ts'
import type { SocketFile } from '../net/socket-file.ts'
import { IoProgress } from './blocking.ts'
import {
  dropControl,
  type MessageHeader,
  readAddress,
  readControl,
  readMessageHeader,
  receiveOne,
  sendOne,
  skipFilled,
  skipSent,
  socketOf,
  writeAddress,
  writeControl,
} from './socket-message.ts'
import { readTimespec } from './time-args.ts'

/** How many bytes earlier tries of this call have moved. */
function doneBefore(task: Task): number {
  return task.progress instanceof IoProgress ? task.progress.done : 0
}

export function sendto(
  task: Task,
  fd: number,
  buffer: GuestAddr,
  length: number,
  flags: number,
  nameAt: GuestAddr,
  nameLength: number,
): number {
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  let address: Uint8Array | undefined
  if (nameAt !== 0) {
    const found = readAddress(task, nameAt, nameLength)
    if (failed(found)) return found
    address = found
  }
  const done = doneBefore(task)
  return sendOne(task, file, skipSent(task.mm.src(buffer, length), done), done, flags, address, [])
}

export function sendmsg(task: Task, fd: number, messageAt: GuestAddr, flags: number): number {
  if ((flags & MSG_CMSG_COMPAT) !== 0) return -EINVAL
  const file = socketOf(task, fd)
  return typeof file === 'number' ? file : sendMessage(task, file, messageAt, flags)
}

function sendMessage(task: Task, file: SocketFile, messageAt: GuestAddr, flags: number): number {
  const header = readMessageHeader(task, messageAt)
  if (failed(header)) return header
  let address: Uint8Array | undefined
  if (header.nameLength > 0) {
    const found = readAddress(task, header.nameAt, header.nameLength)
    if (failed(found)) return found
    address = found
  }
  const src = task.mm.srcVector(header.iovAt, header.iovCount)
  if (typeof src === 'number') return src
  const control = readControl(task, header.controlAt, header.controlLength)
  if (failed(control)) return control
  const done = doneBefore(task)
  return sendOne(task, file, skipSent(src, done), done, flags, address, control)
}

export function recvfrom(
  task: Task,
  fd: number,
  buffer: GuestAddr,
  length: number,
  flags: number,
  nameAt: GuestAddr,
  nameLengthAt: GuestAddr,
): number {
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  if (file.nonblocking) flags |= MSG_DONTWAIT
  const done = doneBefore(task)
  const request = receiveRequest(skipFilled(task.mm.dst(buffer, length), done), flags)
  const n = receiveOne(task, file, request, done)
  if (n === BLOCK) return n
  dropControl(request)
  if (n < 0 || nameAt === 0) return n
  const status = writeAddress(task, request.address ?? new Uint8Array(0), nameAt, nameLengthAt)
  return status < 0 ? status : n
}

export function recvmsg(task: Task, fd: number, messageAt: GuestAddr, flags: number): number {
  if ((flags & MSG_CMSG_COMPAT) !== 0) return -EINVAL
  const file = socketOf(task, fd)
  return typeof file === 'number' ? file : receiveMessage(task, file, messageAt, flags)
}

function receiveMessage(task: Task, file: SocketFile, messageAt: GuestAddr, flags: number): number {
  const header = readMessageHeader(task, messageAt)
  if (failed(header)) return header
  const dst = task.mm.dstVector(header.iovAt, header.iovCount)
  if (typeof dst === 'number') return dst
  const done = doneBefore(task)
  const asked = file.nonblocking ? flags | MSG_DONTWAIT : flags
  const request = receiveRequest(skipFilled(dst, done), asked)
  const n = receiveOne(task, file, request, done)
  if (n < 0) {
    if (n !== BLOCK) dropControl(request)
    return n
  }
  const status = finishMessage(task, messageAt, header, request, flags)
  return status < 0 ? status : n
}

/** What came along with the bytes of a message: the sender's name, control messages, flags. */
export function finishMessage(
  task: Task,
  messageAt: GuestAddr,
  header: MessageHeader,
  request: ReceiveRequest,
  flags: number,
): number {
  const status = writeResults(task, messageAt, header.nameAt, header.nameLength, request)
  if (status < 0) return status
  const used = writeControl(task, request, header.controlAt, header.controlLength)
  const outFlags = request.outFlags | (flags & MSG_CMSG_CLOEXEC)
  if (task.mm.putU32(messageAt + MSGHDR.msg_flags, outFlags >>> 0) < 0) return -EFAULT
  return task.mm.putU64(messageAt + MSGHDR.msg_controllen, used)
}

/** The sender's address; the length is the whole one, also where there was less room. */
function writeResults(
  task: Task,
  messageAt: GuestAddr,
  nameAt: GuestAddr,
  nameRoom: number,
  request: ReceiveRequest,
): number {
  if (nameAt === 0) return 0
  const address = request.address ?? new Uint8Array(0)
  const part = address.subarray(0, nameRoom)
  if (part.length > 0 && task.mm.copyOut(nameAt, part) < 0) {
    dropControl(request)
    return -EFAULT
  }
  return task.mm.putU32(messageAt + MSGHDR.msg_namelen, address.length)
}

/** How many messages of a sendmmsg or recvmmsg are through, beside what its current one needs between tries. */
class BatchProgress extends IoProgress {
  count = 0
  /** recvmmsg's own timeout: looked at after each message. */
  until = Number.POSITIVE_INFINITY
  /** Whose deadline the inherited `deadline` is. */
  timedMessage = -1
}

function batchProgress(task: Task, file: SocketFile): BatchProgress {
  if (task.progress instanceof BatchProgress) return task.progress
  const progress = new BatchProgress(file)
  task.progress = progress
  return progress
}

/** The next message starts its waiting anew. */
function nextMessage(batch: BatchProgress): void {
  batch.count++
  batch.done = 0
}

export function sendmmsg(task: Task, fd: number, vectorAt: GuestAddr, length: number, flags: number): number {
  if ((flags & MSG_CMSG_COMPAT) !== 0) return -EINVAL
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  const batch = batchProgress(task, file)
  const total = Math.min(length, UIO_MAXIOV)
  while (batch.count < total) {
    const at = vectorAt + batch.count * MMSGHDR.size
    setDeadline(task, batch, file.socket.options.sndTimeout)
    const n = sendMessage(task, file, at, flags)
    if (n === BLOCK) return stayAsleep(task, batch)
    if (n < 0) return batch.count > 0 ? batch.count : n
    if (task.mm.putU32(at + MMSGHDR.msg_len, n) < 0) return batch.count > 0 ? batch.count : -EFAULT
    nextMessage(batch)
  }
  return batch.count
}

export function recvmmsg(
  task: Task,
  fd: number,
  vectorAt: GuestAddr,
  length: number,
  flags: number,
  timeoutAt: GuestAddr,
): number {
  if ((flags & MSG_CMSG_COMPAT) !== 0) return -EINVAL
  let span = Number.POSITIVE_INFINITY
  if (timeoutAt !== 0 && task.progress === undefined) span = readTimespec(task, timeoutAt)
  if (span < 0) return span
  const file = socketOf(task, fd)
  if (typeof file === 'number') return file
  const fresh = task.progress === undefined
  const batch = batchProgress(task, file)
  if (fresh) batch.until = span === Number.POSITIVE_INFINITY ? span : task.kernel.now() + span
  const total = Math.min(length, UIO_MAXIOV)
  while (batch.count < total) {
    const at = vectorAt + batch.count * MMSGHDR.size
    let asked = flags & ~MSG_WAITFORONE
    if ((flags & MSG_WAITFORONE) !== 0 && batch.count > 0) asked |= MSG_DONTWAIT
    setDeadline(task, batch, file.socket.options.rcvTimeout)
    const n = receiveMessage(task, file, at, asked)
    if (n === BLOCK) return stayAsleep(task, batch)
    if (n < 0) {
      if (batch.count === 0) return n
      // The error is for the next call; what is there now is reported first.
      if (n !== -EAGAIN) file.socket.error = -n
      return batch.count
    }
    if (task.mm.putU32(at + MMSGHDR.msg_len, n) < 0) return batch.count > 0 ? batch.count : -EFAULT
    nextMessage(batch)
    if (task.kernel.now() >= batch.until) break
  }
  return batch.count
}

/** Each message may wait for the socket's timeout. */
function setDeadline(task: Task, batch: BatchProgress, timeout: number): void {
  if (batch.timedMessage === batch.count) return
  batch.timedMessage = batch.count
  batch.deadline = timeout === Number.POSITIVE_INFINITY ? timeout : task.kernel.now() + timeout
}

/** A signal ends the call with what it has. */
function stayAsleep(task: Task, batch: BatchProgress): number {
  if (batch.count > 0) task.interruptedResult = batch.count
  return BLOCK
}
