/** IORING_OP_RECV: into the entry's own buffer, or into what it selects when there is something to put there. */
import {
  IORING_CQE_F_BUF_MORE,
  IORING_CQE_F_SOCK_NONEMPTY,
  IORING_RECV_MULTISHOT,
  IORING_RECVSEND_BUNDLE,
  IORING_RECVSEND_POLL_FIRST,
  IOSQE_CQE_SKIP_SUCCESS,
  MSG_CMSG_COMPAT,
  MSG_DONTWAIT,
  MSG_PEEK,
  MSG_WAITALL,
  SIOCINQ,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, ENOBUFS } from '../../abi/errno.ts'
import { BLOCK } from '../../base/result.ts'
import type { BufferGroup, ProvidedBuffer } from '../../fs/io-uring/buffer-group.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { segmentsDst, totalOf } from '../../mm/user-access.ts'
import { receiveRequest } from '../../net/socket.ts'
import type { SocketFile } from '../../net/socket-file.ts'
import { READ_EVENTS } from '../blocking.ts'
import { dropControl, receiveOne, skipFilled } from '../socket-message.ts'
import { queueLength } from './command.ts'
import { bundles, socketOf } from './network.ts'
import { bufferSegments, goOnLater, MOST_AT_ONCE, selectsBuffer, takeBuffers, waitFor } from './transfer.ts'

const KNOWN_FLAGS = IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE

function prepareReceive(task: Task, request: UringRequest): number {
  if (request.off !== 0 || request.fileIndex !== 0) return -EINVAL
  if ((request.ioprio & ~KNOWN_FLAGS) !== 0) return -EINVAL
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

/** IORING_CQE_F_SOCK_NONEMPTY if there is more to receive, which streams alone tell. */
export function moreToReceive(task: Task, file: SocketFile): number {
  return file.socket.isStream && queueLength(task, file, SIOCINQ) > 0 ? IORING_CQE_F_SOCK_NONEMPTY : 0
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
  for (let posted = 0; posted < MOST_AT_ONCE; posted++) {
    request.cqeFlags = 0
    const n = receive(task, request, file)
    if (n <= 0 || n === BLOCK || request.ring.full) return n
    request.postMore(n, request.cqeFlags)
    // A buffer is only looked for where there is something to put into it.
    if ((file.poll() & READ_EVENTS) === 0) return waitFor(task, file, READ_EVENTS)
  }
  return goOnLater(task)
}

interface Place {
  readonly segments: readonly number[]
  readonly group?: BufferGroup
  readonly buffers?: readonly ProvidedBuffer[]
}

/** Where at most `most` bytes go, 0: as many as one buffer takes. */
function placeOf(task: Task, request: UringRequest, most: number): Place | number {
  if (!selectsBuffer(request)) return { segments: [request.addr, most] }
  const group = request.ring.bufferGroups.get(request.bufIndex)
  const length = most > 0 ? most : Number.POSITIVE_INFINITY
  const buffers = group?.peekMany(task.mm, bundles(request) && most > 0 ? most : 1) ?? []
  if (group === undefined || buffers.length === 0) return -ENOBUFS
  return { segments: bufferSegments(buffers, length), group, buffers }
}

function receive(task: Task, request: UringRequest, file: SocketFile): number {
  const place = placeOf(task, request, request.len)
  if (typeof place === 'number') return place
  const { segments, group, buffers } = place
  const length = totalOf(segments)
  const before = request.state as number
  const n = receiveTo(task, request, file, segments, before)
  const dontWait = (request.opFlags & MSG_DONTWAIT) !== 0
  if (n === -EAGAIN && !dontWait) return task.block(file.socket.waitQueue, -EAGAIN, READ_EVENTS)
  if (n < 0 && before === 0) return n
  const done = before + Math.max(n, 0)
  if ((request.opFlags & MSG_WAITALL) !== 0 && done < length) {
    if (n > 0 && consumes(request, file) && buffers === undefined) {
      request.state = done
      return WANTS_MORE
    }
    request.fails = true
  }
  request.cqeFlags = moreToReceive(task, file)
  if (group === undefined || done === 0) return done
  request.cqeFlags |= takeBuffers(group, buffers!, Math.min(done, length))
  const whole = done === length && (request.len === 0 || done === request.len)
  return whole && bundles(request) ? done + receiveRest(task, request, file) : done
}

/** A bundle whose buffers are full goes on, once, with what is there by then. */
function receiveRest(task: Task, request: UringRequest, file: SocketFile): number {
  const there = file.socket.isStream ? queueLength(task, file, SIOCINQ) : 0
  const place = there > 1 ? placeOf(task, request, there) : 0
  if (typeof place === 'number') return 0
  const n = receiveTo(task, request, file, place.segments, 0)
  if (n <= 0) return 0
  const later = takeBuffers(place.group!, place.buffers!, n) & IORING_CQE_F_BUF_MORE
  request.cqeFlags = (request.cqeFlags & ~IORING_CQE_F_SOCK_NONEMPTY) | later | moreToReceive(task, file)
  return n
}

/** One try; `filled` bytes are there from earlier ones. */
function receiveTo(
  task: Task,
  request: UringRequest,
  file: SocketFile,
  segments: readonly number[],
  filled: number,
): number {
  const into = skipFilled(segmentsDst(task.mm, segments), filled)
  const asked = receiveRequest(into, request.opFlags | MSG_DONTWAIT)
  const n = receiveOne(task, file, asked, 0)
  dropControl(asked)
  return n
}

export const recv: UringOperation = {
  file: true,
  ioprio: true,
  bufferSelect: true,
  prepare: prepareReceive,
  issue: issueReceive,
}
