/**
 * IORING_OP_RECVMSG. With a selected buffer its bytes go there and not where the message header says; a multishot one
 * puts everything into the buffer, behind a header of its own (struct io_uring_recvmsg_out).
 */
import {
  IORING_RECV_MULTISHOT,
  IORING_RECVSEND_POLL_FIRST,
  IOSQE_CQE_SKIP_SUCCESS,
  MSG_CMSG_COMPAT,
  MSG_DONTWAIT,
  MSG_WAITALL,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, EOVERFLOW } from '../../abi/errno.ts'
import { IO_URING_RECVMSG_OUT, MSGHDR } from '../../abi/layout.ts'
import type { IoDst } from '../../base/io.ts'
import { failed } from '../../base/result.ts'
import type { ProvidedBuffer } from '../../fs/io-uring/buffer-group.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { segmentsDst, totalOf } from '../../mm/user-access.ts'
import { type ReceiveRequest, receiveRequest } from '../../net/socket.ts'
import type { SocketFile } from '../../net/socket-file.ts'
import { READ_EVENTS } from '../blocking.ts'
import { finishMessage } from '../socket-io.ts'
import {
  dropControl,
  type MessageHeader,
  readMessageHeader,
  receiveOne,
  skipFilled,
  writeControl,
} from '../socket-message.ts'
import { socketOf } from './network.ts'
import { consumes, isMultishot, moreToReceive, WANTS_MORE } from './receive.ts'
import { goOnLater, MOST_AT_ONCE, peekBuffer, selectsBuffer, takeBuffer, waitFor } from './transfer.ts'

/** Read when it is submitted. */
interface MessageState {
  readonly header: MessageHeader
  /** Where the bytes go: base and length by turns; of a selected buffer only the length counts. */
  readonly segments: readonly number[]
  /** MSG_WAITALL: bytes of earlier tries. */
  done: number
  /** And of the last one. */
  received: number
}

function prepare(task: Task, request: UringRequest): number {
  if (request.off !== 0 || request.fileIndex !== 0) return -EINVAL
  if ((request.ioprio & ~(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT)) !== 0) return -EINVAL
  if ((request.opFlags & MSG_CMSG_COMPAT) !== 0) return -EINVAL
  if (isMultishot(request)) {
    if (!selectsBuffer(request) || (request.opFlags & MSG_WAITALL) !== 0) return -EINVAL
    if ((request.flags & IOSQE_CQE_SKIP_SUCCESS) !== 0) return -EINVAL
  }
  const header = readMessageHeader(task, request.addr)
  if (failed(header)) return header
  if (selectsBuffer(request) && header.iovCount > 1) return -EINVAL
  if (isMultishot(request)) {
    // The name's place is in the buffer, though there is no pointer to it.
    const room = task.mm.u32(request.addr + MSGHDR.msg_namelen)
    if (room === undefined) return -EFAULT
    if (room > 0x7fffffff || header.controlLength > 0x7fffffff) return -EOVERFLOW
    header.nameLength = room
  }
  const segments = task.mm.importIovec(header.iovAt, header.iovCount)
  if (typeof segments === 'number') return segments
  const state: MessageState = { header, segments, done: 0, received: 0 }
  request.state = state
  return 0
}

function stateOf(request: UringRequest): MessageState {
  return request.state as MessageState
}

function issue(task: Task, request: UringRequest): number {
  const file = socketOf(request)
  if (typeof file === 'number') return file
  if (isMultishot(request)) return receiveMany(task, request, file)
  let n: number
  do n = receiveMessage(task, request, file)
  while (n === WANTS_MORE)
  return n
}

/** One try to receive into `into`: -EAGAIN passes through, and nothing is left behind with it. */
function tryReceive(
  task: Task,
  request: UringRequest,
  file: SocketFile,
  into: IoDst,
): ReceiveRequest | number {
  const asked = receiveRequest(into, request.opFlags | MSG_DONTWAIT)
  const n = receiveOne(task, file, asked, 0)
  if (n >= 0) {
    stateOf(request).received = n
    return asked
  }
  dropControl(asked)
  return n
}

function receiveMessage(task: Task, request: UringRequest, file: SocketFile): number {
  const state = stateOf(request)
  const picked = selectsBuffer(request) ? peekBuffer(task, request) : undefined
  if (typeof picked === 'number') return picked
  const { header, segments } = state
  const into =
    picked === undefined
      ? skipFilled(segmentsDst(task.mm, segments), state.done)
      : task.mm.dst(picked.buffer.address, selectedLength(segments, picked.buffer))
  const length = state.done + into.remaining
  const asked = tryReceive(task, request, file, into)
  if (typeof asked === 'number') {
    const waits = asked === -EAGAIN && (request.opFlags & MSG_DONTWAIT) === 0
    if (waits) return waitFor(task, file, READ_EVENTS)
    return state.done > 0 ? state.done : asked
  }
  const n = stateOf(request).received
  state.done += n
  const wantsAll = (request.opFlags & MSG_WAITALL) !== 0 && state.done < length
  if (wantsAll && n > 0 && consumes(request, file) && picked === undefined) {
    dropControl(asked)
    return WANTS_MORE
  }
  if (wantsAll) request.fails = true
  const status = finishMessage(task, request.addr, header, asked, request.opFlags)
  if (status < 0) return status
  request.cqeFlags = moreToReceive(task, file)
  if (picked !== undefined) request.cqeFlags |= takeBuffer(picked.group, picked.buffer, n)
  return state.done
}

function selectedLength(segments: readonly number[], buffer: ProvidedBuffer): number {
  const wanted = totalOf(segments)
  return wanted === 0 ? buffer.length : Math.min(wanted, buffer.length)
}

function receiveMany(task: Task, request: UringRequest, file: SocketFile): number {
  for (let posted = 0; posted < MOST_AT_ONCE; posted++) {
    request.cqeFlags = 0
    const n = receiveOut(task, request, file)
    if (n < 0 || stateOf(request).received === 0 || request.ring.full) return n
    request.postMore(n, request.cqeFlags)
    if ((file.poll() & READ_EVENTS) === 0) return waitFor(task, file, READ_EVENTS)
  }
  return goOnLater(task)
}

/** A message with all that belongs to it, in one buffer. */
function receiveOut(task: Task, request: UringRequest, file: SocketFile): number {
  const { header } = stateOf(request)
  const picked = peekBuffer(task, request)
  if (typeof picked === 'number') return picked
  const { address, length } = picked.buffer
  const nameAt = address + IO_URING_RECVMSG_OUT.size
  const controlAt = nameAt + header.nameLength
  const payloadAt = controlAt + header.controlLength
  const head = payloadAt - address
  if (head > length) return -EFAULT
  const asked = tryReceive(task, request, file, task.mm.dst(payloadAt, length - head))
  if (typeof asked === 'number') return asked === -EAGAIN ? waitFor(task, file, READ_EVENTS) : asked
  const n = stateOf(request).received
  const name = asked.address ?? new Uint8Array(0)
  const controlLength = writeControl(task, asked, controlAt, header.controlLength)
  const part = name.subarray(0, header.nameLength)
  if (part.length > 0 && task.mm.copyOut(nameAt, part) < 0) return -EFAULT
  const out = task.mm.out(IO_URING_RECVMSG_OUT.size)
  out.setUint32(IO_URING_RECVMSG_OUT.namelen, name.length, true)
  out.setUint32(IO_URING_RECVMSG_OUT.controllen, controlLength, true)
  out.setUint32(IO_URING_RECVMSG_OUT.payloadlen, n, true)
  out.setUint32(IO_URING_RECVMSG_OUT.flags, asked.outFlags, true)
  if (task.mm.commit(address) < 0) return -EFAULT
  // MSG_TRUNC tells of more than there is.
  const used = head + Math.min(n, length - head)
  request.cqeFlags = takeBuffer(picked.group, picked.buffer, used) | moreToReceive(task, file)
  return used
}

export const recvmsg: UringOperation = { file: true, ioprio: true, bufferSelect: true, prepare, issue }
