/** IORING_OP_SEND, SENDMSG and their kin without copies. What can't be sent now waits for the socket. */
import {
  AF_INET,
  AF_INET6,
  IORING_CQE_F_NOTIF,
  IORING_NOTIF_USAGE_ZC_COPIED,
  IORING_OP_SENDMSG,
  IORING_OP_SENDMSG_ZC,
  IORING_RECVSEND_BUNDLE,
  IORING_RECVSEND_FIXED_BUF,
  IORING_RECVSEND_POLL_FIRST,
  IORING_SEND_ZC_REPORT_USAGE,
  IOSQE_CQE_SKIP_SUCCESS,
  MSG_CMSG_COMPAT,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_WAITALL,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, ENOBUFS, EOPNOTSUPP } from '../../abi/errno.ts'
import { IO_URING_SQE } from '../../abi/layout.ts'
import type { IoSrc } from '../../base/io.ts'
import { BLOCK, failed } from '../../base/result.ts'
import type { BufferGroup, ProvidedBuffer } from '../../fs/io-uring/buffer-group.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { segmentsSrc } from '../../mm/user-access.ts'
import type { ControlMessage } from '../../net/socket.ts'
import type { SocketFile } from '../../net/socket-file.ts'
import { WRITE_EVENTS } from '../blocking.ts'
import { readAddress, readControl, readMessageHeader, skipSent } from '../socket-message.ts'
import { bundles, socketOf } from './network.ts'
import {
  bufferSegments,
  goOnLater,
  inFixedBuffer,
  MOST_AT_ONCE,
  selectsBuffer,
  takeBuffers,
} from './transfer.ts'

/** What a send needs at later tries; all of it is read when it is submitted, but for buffers that are selected. */
interface SendState {
  segments: readonly number[]
  readonly address: Uint8Array | undefined
  readonly control: readonly ControlMessage[]
  /** MSG_WAITALL: bytes that earlier tries have sent. */
  done: number
  /** The selected buffers that `segments` are, while some of them is sent. */
  picked: { readonly group: BufferGroup; readonly buffers: readonly ProvidedBuffer[] } | undefined
}

function prepareSend(task: Task, request: UringRequest): number {
  if ((request.ioprio & ~(IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_BUNDLE)) !== 0) return -EINVAL
  if (bundles(request) && request.opcode === IORING_OP_SENDMSG) return -EINVAL
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
  const rest = { address, control: [], done: 0, picked: undefined }
  if (selectsBuffer(request)) return { segments: [], ...rest }
  if (!task.mm.accessOk(request.addr, request.len)) return -EFAULT
  return { segments: [request.addr, request.len], ...rest }
}

function messageState(task: Task, request: UringRequest): SendState | number {
  const header = readMessageHeader(task, request.addr)
  if (failed(header)) return header
  const address = header.nameLength > 0 ? readAddress(task, header.nameAt, header.nameLength) : undefined
  if (typeof address === 'number') return address
  const segments = task.mm.importIovec(header.iovAt, header.iovCount)
  if (typeof segments === 'number') return segments
  const control = readControl(task, header.controlAt, header.controlLength)
  return failed(control) ? control : { segments, address, control, done: 0, picked: undefined }
}

/** A bundle is sent by and by, with a completion for each piece, until no buffer is left. */
function issueSend(task: Task, request: UringRequest): number {
  const file = socketOf(request)
  if (typeof file === 'number') return file
  if (!selectsBuffer(request)) return sendSegments(task, request, file)
  for (let posted = 0; posted < MOST_AT_ONCE; posted++) {
    request.cqeFlags = 0
    const n = sendSelected(task, request, file)
    if (n <= 0 || n === BLOCK || !bundles(request) || request.ring.full) return n
    if (request.ring.bufferGroups.get(request.bufIndex)?.peek(task.mm) === undefined) return n
    request.postMore(n, request.cqeFlags)
  }
  return goOnLater(task)
}

function sendSelected(task: Task, request: UringRequest, file: SocketFile): number {
  const state = request.state as SendState
  if (state.picked === undefined) {
    const group = request.ring.bufferGroups.get(request.bufIndex)
    const length = request.len > 0 ? request.len : Number.POSITIVE_INFINITY
    const buffers = group?.peekMany(task.mm, bundles(request) ? length : 1) ?? []
    if (group === undefined || buffers.length === 0) return -ENOBUFS
    state.picked = { group, buffers }
    state.segments = bufferSegments(buffers, length)
    state.done = 0
  }
  const n = sendSegments(task, request, file)
  if (n === BLOCK && state.done > 0) return n
  const { group, buffers } = state.picked
  state.picked = undefined
  if (n >= 0 && n !== BLOCK) request.cqeFlags = takeBuffers(group, buffers, n)
  return n
}

function sendSegments(task: Task, request: UringRequest, file: SocketFile): number {
  const state = request.state as SendState
  const src = segmentsSrc(task.mm, state.segments)
  const length = src.remaining
  const n = trySend(task, file, skipSent(src, state.done), request.opFlags, state)
  if (n === BLOCK) return n
  if (n > 0) state.done += n
  if (n < 0 && state.done === 0) return n
  if (((request.opFlags & MSG_WAITALL) !== 0 || bundles(request)) && state.done < length) {
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

// Without copies.

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

const message: UringOperation = { file: true, ioprio: true, prepare: prepareSend, issue: issueSend }
export const sendmsg = message
export const send: UringOperation = { ...message, bufferSelect: true }
export const sendZeroCopy: UringOperation = {
  file: true,
  ioprio: true,
  prepare: prepareZeroCopy,
  issue: issueZeroCopy,
}
