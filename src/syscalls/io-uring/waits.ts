/** Requests that wait, and what ends them: IORING_OP_POLL_ADD, TIMEOUT, LINK_TIMEOUT, ASYNC_CANCEL and their kin. */
import {
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLONESHOT,
  IORING_ASYNC_CANCEL_ALL,
  IORING_ASYNC_CANCEL_ANY,
  IORING_ASYNC_CANCEL_FD,
  IORING_ASYNC_CANCEL_FD_FIXED,
  IORING_ASYNC_CANCEL_OP,
  IORING_ASYNC_CANCEL_USERDATA,
  IORING_LINK_TIMEOUT_UPDATE,
  IORING_OP_LINK_TIMEOUT,
  IORING_OP_POLL_ADD,
  IORING_OP_TIMEOUT,
  IORING_POLL_ADD_MULTI,
  IORING_POLL_UPDATE_EVENTS,
  IORING_POLL_UPDATE_USER_DATA,
  IORING_TIMEOUT_ABS,
  IORING_TIMEOUT_BOOTTIME,
  IORING_TIMEOUT_CLOCK_MASK,
  IORING_TIMEOUT_ETIME_SUCCESS,
  IORING_TIMEOUT_MULTISHOT,
  IORING_TIMEOUT_REALTIME,
  IORING_TIMEOUT_UPDATE_MASK,
  IOSQE_CQE_SKIP_SUCCESS,
  POLLERR,
  POLLHUP,
  POLLNVAL,
} from '../../abi/constants.ts'
import { EALREADY, EBADF, EFAULT, EINVAL, ENOENT, ETIME } from '../../abi/errno.ts'
import { IO_URING_SQE, TIMESPEC } from '../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { takeSigned64 } from '../../base/words.ts'
import type { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'

// Poll.

/** What is waited for, POLL* bits. */
interface PollState {
  events: number
  multishot: boolean
  /** It is past its first try. */
  armed: boolean
}

const ALWAYS = POLLERR | POLLHUP | POLLNVAL
const PRIVATE_BITS = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE

function preparePoll(_task: Task, request: UringRequest): number {
  if (request.bufIndex !== 0 || request.off !== 0 || request.addr !== 0) return -EINVAL
  if ((request.len & ~IORING_POLL_ADD_MULTI) !== 0) return -EINVAL
  const multishot = (request.len & IORING_POLL_ADD_MULTI) !== 0
  if (multishot && (request.flags & IOSQE_CQE_SKIP_SUCCESS) !== 0) return -EINVAL
  const state: PollState = { events: (request.opFlags & ~PRIVATE_BITS) | ALWAYS, multishot, armed: false }
  request.state = state
  return 0
}

/** A multishot one reports at each wake-up what holds then. */
function issuePoll(task: Task, request: UringRequest): number {
  const state = request.state as PollState
  const file = request.file!
  const events = file.poll() & state.events
  const queue = file.waitQueue
  const first = !state.armed
  state.armed = true
  if (events !== 0) {
    // What a multishot one finds at first is told like all later events: where that is put off, with them.
    if (first && state.multishot && request.ring.defersWork && queue !== undefined) {
      task.block(queue, 0, state.events)
      return task.blockUntil(task.kernel.now())
    }
    if (!state.multishot || queue === undefined || request.ring.full) return events
    request.postMore(events)
  } else if (queue === undefined) return 0
  return task.block(queue, 0, state.events)
}

const UPDATES = IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA

function preparePollRemove(_task: Task, request: UringRequest): number {
  if (request.bufIndex !== 0 || request.fileIndex !== 0) return -EINVAL
  const flags = request.len
  if ((flags & ~(UPDATES | IORING_POLL_ADD_MULTI)) !== 0) return -EINVAL
  if (flags === IORING_POLL_ADD_MULTI) return -EINVAL
  if ((flags & IORING_POLL_UPDATE_USER_DATA) === 0 && request.off !== 0) return -EINVAL
  return (flags & UPDATES) === 0 && request.opFlags !== 0 ? -EINVAL : 0
}

function issuePollRemove(_task: Task, request: UringRequest): number {
  const found = byUserData(request, other => other.opcode === IORING_OP_POLL_ADD)
  if (found === undefined) return -ENOENT
  if ((request.len & UPDATES) === 0) return found.cancelSoon() ? 0 : -EALREADY
  if (!found.waiting) return -EALREADY
  if ((request.len & IORING_POLL_UPDATE_EVENTS) !== 0) {
    const state = found.state as PollState
    state.events = (request.opFlags & ~PRIVATE_BITS) | ALWAYS
    state.multishot = (request.len & IORING_POLL_ADD_MULTI) !== 0
  }
  if ((request.len & IORING_POLL_UPDATE_USER_DATA) !== 0) {
    const { requests } = found.ring
    requests.delete(found)
    found.userLo = request.entry.getUint32(IO_URING_SQE.off, true)
    found.userHi = request.entry.getUint32(IO_URING_SQE.off + 4, true)
    requests.add(found)
  }
  found.tryAgain()
  return 0
}

/** A request that runs, by the user data that `addr` holds. */
function byUserData(request: UringRequest, fits: (other: UringRequest) => boolean): UringRequest | undefined {
  const lo = request.entry.getUint32(IO_URING_SQE.addr, true)
  const hi = request.entry.getUint32(IO_URING_SQE.addr + 4, true)
  for (const other of request.ring.requests.withData(lo, hi)) {
    if (other !== request && other.userLo === lo && other.userHi === hi && !other.done && fits(other))
      return other
  }
  return undefined
}

// Timeouts.

interface TimeoutState {
  /** As the guest gave it: a span, or a point of its clock. */
  sec: number
  nsec: number
  flags: number
  /** Monotonic ns, from the first try on. */
  deadline: number | undefined
  /** IORING_TIMEOUT_MULTISHOT: how many times more; 0: for ever. */
  repeats: number
  fired: number
}

function readTime(task: Task, at: number): { readonly sec: number; readonly nsec: number } | number {
  const view = task.mm.view(at, TIMESPEC.size)
  if (view === undefined) return -EFAULT
  const time = { sec: takeSigned64(view, TIMESPEC.tv_sec), nsec: takeSigned64(view, TIMESPEC.tv_nsec) }
  return time.sec < 0 || time.nsec < 0 ? -EINVAL : time
}

function prepareTimeout(task: Task, request: UringRequest): number {
  const { opFlags } = request
  const linked = request.opcode === IORING_OP_LINK_TIMEOUT
  if (request.bufIndex !== 0 || request.len !== 1 || request.fileIndex !== 0) return -EINVAL
  if (linked && request.off !== 0) return -EINVAL
  const known =
    IORING_TIMEOUT_ABS | IORING_TIMEOUT_CLOCK_MASK | IORING_TIMEOUT_ETIME_SUCCESS | IORING_TIMEOUT_MULTISHOT
  if ((opFlags & ~known) !== 0 || opFlags === IORING_TIMEOUT_CLOCK_MASK) return -EINVAL
  if ((opFlags & IORING_TIMEOUT_CLOCK_MASK) === IORING_TIMEOUT_CLOCK_MASK) return -EINVAL
  const multishot = (opFlags & IORING_TIMEOUT_MULTISHOT) !== 0
  if (multishot && (linked || (opFlags & IORING_TIMEOUT_ABS) !== 0)) return -EINVAL
  const time = readTime(task, request.addr)
  if (typeof time === 'number') return time
  const state: TimeoutState = {
    ...time,
    flags: opFlags,
    deadline: undefined,
    repeats: multishot ? request.off : 0,
    fired: 0,
  }
  request.state = state
  // That it was not needed is no failure.
  if (linked) request.fails = false
  return 0
}

function deadlineOf(task: Task, { sec, nsec, flags }: TimeoutState): number {
  const { clock } = task.kernel
  const time = sec * NSEC_PER_SEC + nsec
  if ((flags & IORING_TIMEOUT_ABS) === 0) return clock.monotonic() + time
  if ((flags & IORING_TIMEOUT_REALTIME) !== 0) {
    const now = clock.realtime()
    return clock.monotonic() + (sec - now.sec) * NSEC_PER_SEC + (nsec - now.nsec)
  }
  return (flags & IORING_TIMEOUT_BOOTTIME) !== 0 ? clock.monotonic() + time - clock.boottime() : time
}

function issueTimeout(task: Task, request: UringRequest): number {
  const state = request.state as TimeoutState
  const { ring } = request
  const multishot = (state.flags & IORING_TIMEOUT_MULTISHOT) !== 0
  if (state.deadline === undefined) {
    state.deadline = deadlineOf(task, state)
    const count = multishot ? 0 : request.off
    if (count > 0) ring.startCounting(request, count)
  }
  const now = task.kernel.clock.monotonic()
  if (now < state.deadline) return task.blockUntil(state.deadline)
  if ((state.flags & IORING_TIMEOUT_ETIME_SUCCESS) !== 0) request.fails = false
  state.fired++
  if (!multishot || state.fired === state.repeats || ring.full) return -ETIME
  request.postMore(-ETIME)
  state.deadline += Math.max(state.sec * NSEC_PER_SEC + state.nsec, 1)
  if (state.deadline <= now) state.deadline = now + 1
  return task.blockUntil(state.deadline)
}

/** Its time begins when what it limits has to wait (request.ts). */
function issueLinkTimeout(task: Task, request: UringRequest): number {
  const state = request.state as TimeoutState
  state.deadline ??= deadlineOf(task, state)
  if (task.kernel.clock.monotonic() < state.deadline) return task.blockUntil(state.deadline)
  const { limits } = request
  if (limits === undefined || !limits.cancelSoon()) return -ENOENT
  return limits.operation.counted === true ? 1 : -ETIME
}

function prepareTimeoutRemove(task: Task, request: UringRequest): number {
  const { opFlags } = request
  if (request.bufIndex !== 0 || request.len !== 0 || request.fileIndex !== 0) return -EINVAL
  if ((opFlags & IORING_TIMEOUT_UPDATE_MASK) === 0) return opFlags !== 0 ? -EINVAL : 0
  if ((opFlags & ~(IORING_TIMEOUT_UPDATE_MASK | IORING_TIMEOUT_ABS | IORING_TIMEOUT_CLOCK_MASK)) !== 0)
    return -EINVAL
  const time = readTime(task, request.off)
  if (typeof time === 'number') return time
  request.state = time
  return 0
}

function issueTimeoutRemove(task: Task, request: UringRequest): number {
  const { opFlags } = request
  const linked = (opFlags & IORING_LINK_TIMEOUT_UPDATE) !== 0
  const wanted = linked ? IORING_OP_LINK_TIMEOUT : IORING_OP_TIMEOUT
  const found = byUserData(request, other => other.opcode === wanted)
  if (found === undefined) return -ENOENT
  if ((opFlags & IORING_TIMEOUT_UPDATE_MASK) === 0) return found.cancelSoon() ? 0 : -EALREADY
  if (!found.waiting) return -EALREADY
  const state = found.state as TimeoutState
  Object.assign(state, request.state)
  state.flags = (state.flags & (IORING_TIMEOUT_ETIME_SUCCESS | IORING_TIMEOUT_MULTISHOT)) | opFlags
  // As on Linux, what counted counts no more.
  state.repeats = 0
  found.ring.stopCounting(found)
  state.deadline = deadlineOf(task, state)
  found.tryAgain()
  return 0
}

// Cancelling.

/** Which requests are meant. */
export interface CancelKey {
  readonly flags: number
  readonly userLo: number
  readonly userHi: number
  readonly file: File | undefined
  readonly opcode: number
}

const CANCEL_FLAGS =
  IORING_ASYNC_CANCEL_ALL |
  IORING_ASYNC_CANCEL_FD |
  IORING_ASYNC_CANCEL_ANY |
  IORING_ASYNC_CANCEL_FD_FIXED |
  IORING_ASYNC_CANCEL_USERDATA |
  IORING_ASYNC_CANCEL_OP

/** 0, or -EINVAL for flags that don't go together. */
export function checkCancel(flags: number): number {
  if ((flags & ~CANCEL_FLAGS) !== 0) return -EINVAL
  const any = (flags & IORING_ASYNC_CANCEL_ANY) !== 0
  return any && (flags & (IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_OP)) !== 0 ? -EINVAL : 0
}

/** What IORING_ASYNC_CANCEL_FD means: -EBADF when there is none; undefined without the flag. */
export function cancelFile(
  task: Task,
  ring: IoUringFile,
  flags: number,
  fd: number,
): File | number | undefined {
  if ((flags & IORING_ASYNC_CANCEL_FD) === 0) return undefined
  const fixed = (flags & IORING_ASYNC_CANCEL_FD_FIXED) !== 0
  return (fixed ? ring.files?.[fd]?.value : task.fds.get(fd)) ?? -EBADF
}

/** How many were cancelled with ALL or ANY, or 0 for the one; -ENOENT. */
export function cancelRequests(ring: IoUringFile, key: CancelKey, except?: UringRequest): number {
  const many = (key.flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)) !== 0
  let count = 0
  const byData = (key.flags & ~(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_USERDATA)) === 0
  const candidates = byData ? ring.requests.withData(key.userLo, key.userHi) : ring.requests
  for (const request of candidates) {
    if (request === except || request.done || !matches(request, key)) continue
    if (!request.cancelSoon()) continue
    count++
    if (!many) return request.operation.counted === true ? 1 : 0
  }
  return many ? count : -ENOENT
}

function matches(request: UringRequest, { flags, userLo, userHi, file, opcode }: CancelKey): boolean {
  if ((flags & IORING_ASYNC_CANCEL_ANY) !== 0) return true
  if (file !== undefined && request.file !== file) return false
  if ((flags & IORING_ASYNC_CANCEL_OP) !== 0 && request.opcode !== opcode) return false
  const byData = (flags & IORING_ASYNC_CANCEL_USERDATA) !== 0
  if (!byData && (flags & (IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_OP)) !== 0) return true
  return request.userLo === userLo && request.userHi === userHi
}

function prepareCancel(_task: Task, request: UringRequest): number {
  if (request.off !== 0 || request.fileIndex !== 0) return -EINVAL
  return checkCancel(request.opFlags)
}

function issueCancel(task: Task, request: UringRequest): number {
  const flags = request.opFlags
  const file = cancelFile(task, request.ring, flags, request.fd)
  if (typeof file === 'number') return file
  const key = {
    flags,
    userLo: request.entry.getUint32(IO_URING_SQE.addr, true),
    userHi: request.entry.getUint32(IO_URING_SQE.addr + 4, true),
    file,
    opcode: request.len,
  }
  return cancelRequests(request.ring, key, request)
}

export const pollAdd: UringOperation = { file: true, prepare: preparePoll, issue: issuePoll }
export const pollRemove: UringOperation = { prepare: preparePollRemove, issue: issuePollRemove }
export const timeout: UringOperation = { timeout: true, prepare: prepareTimeout, issue: issueTimeout }
export const timeoutRemove: UringOperation = { prepare: prepareTimeoutRemove, issue: issueTimeoutRemove }
export const linkTimeout: UringOperation = { prepare: prepareTimeout, issue: issueLinkTimeout }
export const asyncCancel: UringOperation = { prepare: prepareCancel, issue: issueCancel }
