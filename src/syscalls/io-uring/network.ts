/** Sockets: IORING_OP_SEND, RECV, ACCEPT, CONNECT and their kin. What can't be done now waits for the socket. */
import {
  AF_INET,
  AF_INET6,
  IORING_ACCEPT_DONTWAIT,
  IORING_ACCEPT_MULTISHOT,
  IORING_ACCEPT_POLL_FIRST,
  IORING_CQE_F_NOTIF,
  IORING_FILE_INDEX_ALLOC,
  IORING_NOTIF_USAGE_ZC_COPIED,
  IORING_OP_SENDMSG,
  IORING_OP_SENDMSG_ZC,
  IORING_RECV_MULTISHOT,
  IORING_RECVSEND_FIXED_BUF,
  IORING_RECVSEND_POLL_FIRST,
  IORING_SEND_ZC_REPORT_USAGE,
  IOSQE_CQE_SKIP_SUCCESS,
  LANDLOCK_ACCESS_NET_CONNECT_TCP,
  MSG_CMSG_COMPAT,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
  MSG_WAITALL,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from '../../abi/constants.ts'
import {
  EAGAIN,
  EALREADY,
  EFAULT,
  EINPROGRESS,
  EINVAL,
  EMFILE,
  ENOTSOCK,
  EOPNOTSUPP,
} from '../../abi/errno.ts'
import { IO_URING_SQE } from '../../abi/layout.ts'
import type { IoSrc } from '../../base/io.ts'
import { BLOCK, failed } from '../../base/result.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { segmentsSrc } from '../../mm/user-access.ts'
import { type ControlMessage, receiveRequest } from '../../net/socket.ts'
import { SocketFile } from '../../net/socket-file.ts'
import { fdLimit, HELD_FILE } from '../at.ts'
import { READ_EVENTS, WRITE_EVENTS } from '../blocking.ts'
import { installFile } from '../install.ts'
import { bind, listen, restrictedPort, shutdown, socket } from '../socket.ts'
import {
  dropControl,
  readAddress,
  readControl,
  readMessageHeader,
  receiveOne,
  skipFilled,
  skipSent,
  writeAddress,
} from '../socket-message.ts'
import { moveToPlace, placeFile, wantsPlace } from './fixed-files.ts'
import { inFixedBuffer, peekBuffer, selectsBuffer, takeBuffer, waitFor } from './transfer.ts'

export function socketOf(request: UringRequest): SocketFile | number {
  return request.file instanceof SocketFile ? request.file : -ENOTSOCK
}

// Sending.

/** What a send needs at later tries; all of it is read when it is submitted. */
interface SendState {
  readonly segments: readonly number[]
  readonly address: Uint8Array | undefined
  readonly control: readonly ControlMessage[]
  /** MSG_WAITALL: bytes that earlier tries have sent. */
  done: number
}

function prepareSend(task: Task, request: UringRequest): number {
  if ((request.ioprio & ~IORING_RECVSEND_POLL_FIRST) !== 0) return -EINVAL
  return readSend(task, request)
}

function readSend(task: Task, request: UringRequest): number {
  if ((request.opFlags & MSG_CMSG_COMPAT) !== 0) return -EINVAL
  const { opcode } = request
  const message = opcode === IORING_OP_SENDMSG || opcode === IORING_OP_SENDMSG_ZC
  const state = message ? messageState(task, request) : bufferState(task, request)
  if (typeof state === 'number') return state
  request.state = state
  return 0
}

function bufferState(task: Task, request: UringRequest): SendState | number {
  let address: Uint8Array | undefined
  if (request.off !== 0) {
    const found = readAddress(task, request.off, request.entry.getUint16(IO_URING_SQE.addr_len, true))
    if (failed(found)) return found
    address = found
  }
  if (!task.mm.accessOk(request.addr, request.len)) return -EFAULT
  return { segments: [request.addr, request.len], address, control: [], done: 0 }
}

function messageState(task: Task, request: UringRequest): SendState | number {
  const header = readMessageHeader(task, request.addr)
  if (failed(header)) return header
  const address = header.nameLength > 0 ? readAddress(task, header.nameAt, header.nameLength) : undefined
  if (typeof address === 'number') return address
  const segments = task.mm.importIovec(header.iovAt, header.iovCount)
  if (typeof segments === 'number') return segments
  const control = readControl(task, header.controlAt, header.controlLength)
  return failed(control) ? control : { segments, address, control, done: 0 }
}

function issueSend(task: Task, request: UringRequest): number {
  const file = socketOf(request)
  if (typeof file === 'number') return file
  const state = request.state as SendState
  const src = segmentsSrc(task.mm, state.segments)
  const length = src.remaining
  const n = trySend(task, file, skipSent(src, state.done), request.opFlags, state)
  if (n === BLOCK) return n
  if (n > 0) state.done += n
  if (n < 0 && state.done === 0) return n
  if ((request.opFlags & MSG_WAITALL) !== 0 && state.done < length) {
    if (n > 0 && file.socket.isStream) return task.block(file.socket.waitQueue, -EAGAIN, WRITE_EVENTS)
    request.fails = true
  }
  return state.done
}

/** As much as goes now, or BLOCK. A ring never raises SIGPIPE. */
function trySend(task: Task, file: SocketFile, src: IoSrc, flags: number, state: SendState): number {
  const { socket } = file
  let done = 0
  for (;;) {
    const request = {
      src,
      flags: flags | MSG_DONTWAIT | MSG_NOSIGNAL,
      address: state.address,
      control: state.done + done > 0 ? [] : state.control,
      waitOn: undefined,
    }
    const n = socket.send(task, request)
    if (n < 0) {
      if (done > 0) return done
      if (n !== -EAGAIN || (flags & MSG_DONTWAIT) !== 0) return n
      return task.block(request.waitOn ?? socket.waitQueue, -EAGAIN, WRITE_EVENTS)
    }
    done += n
    if (n === 0 || !socket.isStream || src.remaining === 0) return done
  }
}

// Sending without copies.

const ZERO_COPY_FLAGS = IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_FIXED_BUF | IORING_SEND_ZC_REPORT_USAGE

function prepareZeroCopy(task: Task, request: UringRequest): number {
  if ((request.flags & IOSQE_CQE_SKIP_SUCCESS) !== 0) return -EINVAL
  if ((request.ioprio & ~ZERO_COPY_FLAGS) !== 0) return -EINVAL
  const fixed = (request.ioprio & IORING_RECVSEND_FIXED_BUF) !== 0
  if (fixed ? request.opcode === IORING_OP_SENDMSG_ZC : request.bufIndex !== 0) return -EINVAL
  return readSend(task, request)
}

/** The bytes are copied all the same: what is promised is a second completion, when the memory may be used again. */
function issueZeroCopy(task: Task, request: UringRequest): number {
  const n = tryZeroCopy(task, request)
  if (n === BLOCK) return n
  request.fails ??= n < 0
  request.postMore(n)
  request.cqeFlags = IORING_CQE_F_NOTIF
  return (request.ioprio & IORING_SEND_ZC_REPORT_USAGE) !== 0 ? IORING_NOTIF_USAGE_ZC_COPIED | 0 : 0
}

function tryZeroCopy(task: Task, request: UringRequest): number {
  const file = socketOf(request)
  if (typeof file === 'number') return file
  const { family } = file.socket
  if (family !== AF_INET && family !== AF_INET6) return -EOPNOTSUPP
  if ((request.ioprio & IORING_RECVSEND_FIXED_BUF) !== 0 && !inFixedBuffer(request)) return -EFAULT
  return issueSend(task, request)
}

// Receiving.

function prepareReceive(task: Task, request: UringRequest): number {
  if (request.off !== 0 || request.fileIndex !== 0) return -EINVAL
  if ((request.ioprio & ~(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT)) !== 0) return -EINVAL
  if ((request.opFlags & MSG_CMSG_COMPAT) !== 0) return -EINVAL
  if (isMultishot(request)) {
    if (!selectsBuffer(request) || (request.opFlags & MSG_WAITALL) !== 0) return -EINVAL
    if ((request.flags & IOSQE_CQE_SKIP_SUCCESS) !== 0) return -EINVAL
  }
  if (!selectsBuffer(request) && !task.mm.accessOk(request.addr, request.len)) return -EFAULT
  request.state = 0
  return 0
}

export function isMultishot(request: UringRequest): boolean {
  return (request.ioprio & IORING_RECV_MULTISHOT) !== 0
}

/** What was received is gone: another try finds something else. */
export function consumes(request: UringRequest, { socket }: SocketFile): boolean {
  return socket.isStream && (request.opFlags & MSG_PEEK) === 0
}

/** MSG_WAITALL: there may be more at once. */
export const WANTS_MORE = -0x7fffffff

function issueReceive(task: Task, request: UringRequest): number {
  const file = socketOf(request)
  if (typeof file === 'number') return file
  if (!isMultishot(request)) {
    let n: number
    do n = receive(task, request, file)
    while (n === WANTS_MORE)
    return n
  }
  for (;;) {
    request.cqeFlags = 0
    const n = receive(task, request, file)
    if (n <= 0 || n === BLOCK || request.ring.full) return n
    request.postMore(n, request.cqeFlags)
    // A buffer is only looked for where there is something to put into it.
    if ((file.poll() & READ_EVENTS) === 0) return waitFor(task, file, READ_EVENTS)
  }
}

function receive(task: Task, request: UringRequest, file: SocketFile): number {
  const picked = selectsBuffer(request) ? peekBuffer(task, request) : undefined
  if (typeof picked === 'number') return picked
  const buffer = picked?.buffer
  const address = buffer === undefined ? request.addr : buffer.address
  const room = buffer === undefined || request.len > 0 ? request.len : buffer.length
  const length = buffer === undefined ? room : Math.min(room, buffer.length)
  const before = request.state as number
  const into = skipFilled(task.mm.dst(address, length), before)
  const asked = receiveRequest(into, request.opFlags | MSG_DONTWAIT)
  const n = receiveOne(task, file, asked, 0)
  dropControl(asked)
  const dontWait = (request.opFlags & MSG_DONTWAIT) !== 0
  if (n === -EAGAIN && !dontWait) return task.block(file.socket.waitQueue, -EAGAIN, READ_EVENTS)
  if (n < 0 && before === 0) return n
  const done = before + Math.max(n, 0)
  if ((request.opFlags & MSG_WAITALL) !== 0 && done < length) {
    if (n > 0 && consumes(request, file) && buffer === undefined) {
      request.state = done
      return WANTS_MORE
    }
    request.fails = true
  }
  if (picked !== undefined && done > 0)
    request.cqeFlags = takeBuffer(picked.group, picked.buffer, Math.min(done, length))
  return done
}

// Connections.

const ACCEPT_FLAGS = IORING_ACCEPT_MULTISHOT | IORING_ACCEPT_DONTWAIT | IORING_ACCEPT_POLL_FIRST

function prepareAccept(_task: Task, request: UringRequest): number {
  if (request.len !== 0 || request.bufIndex !== 0) return -EINVAL
  if ((request.ioprio & ~ACCEPT_FLAGS) !== 0) return -EINVAL
  if (wantsPlace(request) && (request.opFlags & SOCK_CLOEXEC) !== 0) return -EINVAL
  if ((request.opFlags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) !== 0) return -EINVAL
  if ((request.ioprio & IORING_ACCEPT_MULTISHOT) !== 0) {
    if ((request.flags & IOSQE_CQE_SKIP_SUCCESS) !== 0) return -EINVAL
    if (wantsPlace(request) && request.fileIndex !== IORING_FILE_INDEX_ALLOC) return -EINVAL
  }
  return 0
}

function issueAccept(task: Task, request: UringRequest): number {
  const listener = socketOf(request)
  if (typeof listener === 'number') return listener
  for (;;) {
    const n = acceptOne(task, request, listener)
    if (n === -EAGAIN && (request.ioprio & IORING_ACCEPT_DONTWAIT) === 0) {
      return task.block(listener.socket.waitQueue, -EAGAIN, READ_EVENTS)
    }
    if (n < 0 || (request.ioprio & IORING_ACCEPT_MULTISHOT) === 0 || request.ring.full) return n
    request.postMore(n)
  }
}

function acceptOne(task: Task, request: UringRequest, listener: SocketFile): number {
  const flags = request.opFlags
  // A connection must not be lost for want of a descriptor.
  if (!wantsPlace(request) && task.fds.lowestFree() >= fdLimit(task)) return -EMFILE
  const made = listener.socket.accept()
  if (failed(made)) return made
  if (request.addr !== 0) {
    const name = made.acceptedName()
    const status = failed(name) ? name : writeAddress(task, name, request.addr, request.off)
    if (status < 0) {
      made.release()
      return status
    }
  }
  const file = new SocketFile(task, made, (flags & SOCK_NONBLOCK) !== 0)
  if (wantsPlace(request)) return placeFile(request.ring, file, request.fileIndex)
  return installFile(task, file, (flags & SOCK_CLOEXEC) !== 0)
}

function prepareConnect(task: Task, request: UringRequest): number {
  if (request.len !== 0 || request.bufIndex !== 0 || request.opFlags !== 0 || request.fileIndex !== 0)
    return -EINVAL
  const address = readAddress(task, request.addr, request.off)
  if (failed(address)) return address
  request.state = { address, begun: false }
  return 0
}

function issueConnect(task: Task, request: UringRequest): number {
  const file = socketOf(request)
  if (typeof file === 'number') return file
  const state = request.state as { readonly address: Uint8Array; begun: boolean }
  const denied = restrictedPort(task, file, state.address, LANDLOCK_ACCESS_NET_CONNECT_TCP)
  if (denied < 0) return denied
  const { socket: to } = file
  const tried = to.connect(task, state.address)
  // What an earlier try of this very request has begun.
  const status = state.begun && tried === -EALREADY ? -EINPROGRESS : tried
  if (status !== -EAGAIN && status !== -EINPROGRESS) return status
  state.begun = true
  return task.block(to.connectWait, -EAGAIN, status === -EAGAIN ? 0 : WRITE_EVENTS)
}

function prepareSocket(_task: Task, request: UringRequest): number {
  if (request.addr !== 0 || request.opFlags !== 0 || request.bufIndex !== 0) return -EINVAL
  return wantsPlace(request) && (request.off & SOCK_CLOEXEC) !== 0 ? -EINVAL : 0
}

export const send: UringOperation = { file: true, ioprio: true, prepare: prepareSend, issue: issueSend }
export const sendZeroCopy: UringOperation = {
  file: true,
  ioprio: true,
  prepare: prepareZeroCopy,
  issue: issueZeroCopy,
}
export const recv: UringOperation = {
  file: true,
  ioprio: true,
  bufferSelect: true,
  prepare: prepareReceive,
  issue: issueReceive,
}
export const accept: UringOperation = { file: true, ioprio: true, prepare: prepareAccept, issue: issueAccept }
export const connect: UringOperation = { file: true, prepare: prepareConnect, issue: issueConnect }
export const newSocket: UringOperation = {
  prepare: prepareSocket,
  issue: (task, r) => moveToPlace(task, r, socket(task, r.fd, r.off, r.len)),
}
export const bindSocket: UringOperation = {
  file: true,
  prepare: (_task, r) =>
    r.len !== 0 || r.bufIndex !== 0 || r.opFlags !== 0 || r.fileIndex !== 0 ? -EINVAL : 0,
  issue: (task, r) => bind(task, HELD_FILE, r.addr, r.off),
}
export const listenSocket: UringOperation = {
  file: true,
  prepare: (_task, r) =>
    r.addr !== 0 || r.bufIndex !== 0 || r.opFlags !== 0 || r.fileIndex !== 0 || r.off !== 0 ? -EINVAL : 0,
  issue: (task, r) => listen(task, HELD_FILE, r.len),
}
export const shutdownSocket: UringOperation = {
  file: true,
  prepare: (_task, r) =>
    r.off !== 0 || r.addr !== 0 || r.opFlags !== 0 || r.bufIndex !== 0 || r.fileIndex !== 0 ? -EINVAL : 0,
  issue: (task, r) => shutdown(task, HELD_FILE, r.len),
}
