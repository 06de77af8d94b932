/** Sockets: IORING_OP_SEND, RECV, ACCEPT, CONNECT and their kin. What can't be done now waits for the socket. */
import {
  AF_INET,
  AF_INET6,
  IORING_ACCEPT_DONTWAIT,
  IORING_ACCEPT_MULTISHOT,
  IORING_ACCEPT_POLL_FIRST,
  IORING_CQE_F_SOCK_NONEMPTY,
  IORING_FILE_INDEX_ALLOC,
  IORING_RECVSEND_BUNDLE,
  IOSQE_CQE_SKIP_SUCCESS,
  LANDLOCK_ACCESS_NET_CONNECT_TCP,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from '../../abi/constants.ts'
import { EAGAIN, EALREADY, EINPROGRESS, EINVAL, EMFILE, ENOTSOCK } from '../../abi/errno.ts'
import { failed } from '../../base/result.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { SocketFile } from '../../net/socket-file.ts'
import { fdLimit, HELD_FILE } from '../at.ts'
import { READ_EVENTS, WRITE_EVENTS } from '../blocking.ts'
import { installFile } from '../install.ts'
import { bind, listen, restrictedPort, shutdown, socket } from '../socket.ts'
import { readAddress, writeAddress } from '../socket-message.ts'
import { moveToPlace, placeFile, wantsPlace } from './fixed-files.ts'

export function socketOf(request: UringRequest): SocketFile | number {
  return request.file instanceof SocketFile ? request.file : -ENOTSOCK
}

/** IORING_RECVSEND_BUNDLE: several of the provided buffers at once. */
export function bundles(request: UringRequest): boolean {
  return (request.ioprio & IORING_RECVSEND_BUNDLE) !== 0
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
    const more = n >= 0 ? moreToAccept(listener) : 0
    request.cqeFlags = more
    if (n < 0 || (request.ioprio & IORING_ACCEPT_MULTISHOT) === 0 || request.ring.full) return n
    request.postMore(n, more)
  }
}

/** IORING_CQE_F_SOCK_NONEMPTY, as internet sockets tell. */
function moreToAccept({ socket }: SocketFile): number {
  const tells = socket.family === AF_INET || socket.family === AF_INET6
  return tells && (socket.poll() & READ_EVENTS) !== 0 ? IORING_CQE_F_SOCK_NONEMPTY : 0
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
