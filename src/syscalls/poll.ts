/**
 * poll(2), ppoll(2), select(2), pselect6(2).
 *
 * A try asks every file and, when none has anything, queues the task at all of them: one WaitEntry a descriptor. What
 * was read from the guest is kept between tries. A call with a signal mask of its own sets it at the first try; the
 * kernel puts the old one back behind the handler of the signal that ended the call.
 */
import {
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  POLLPRI,
  POLLRDBAND,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  RLIMIT_NOFILE,
  STICKY_TIMEOUTS,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINTR, EINVAL, ERESTART_RESTARTBLOCK, ERESTARTNOHAND } from '../abi/errno.ts'
import { POLLFD, TIMESPEC, TIMEVAL } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { BLOCK, PENDING } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, bitsInOut, int, type SyscallRows, size, structIn, structInOut, uint } from './args.ts'
import { fileOf } from './at.ts'
import { readTimespec, readTimeval, writeTimespec, writeTimeval } from './time-args.ts'

const SIGSET_SIZE = 8
const NSEC_PER_MSEC = 1e6

const SELECT_IN = POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR
const SELECT_OUT = POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR
const SELECT_EXCEPT = POLLPRI

/** Between tries of one call. */
interface PollState<Data> {
  /** pollfds (`readFds`), or the three sets one behind the other. */
  readonly data: Data
  /** Monotonic ns. */
  readonly deadline: number
}

// poll

export function poll(task: Task, fdsAt: GuestAddr, count: number, timeout: number): number {
  const span = timeout < 0 ? Number.POSITIVE_INFINITY : timeout * NSEC_PER_MSEC
  return pollFor(task, fdsAt, count, span, -ERESTART_RESTARTBLOCK)
}

export function ppoll(
  task: Task,
  fdsAt: GuestAddr,
  count: number,
  timeoutAt: GuestAddr,
  maskAt: GuestAddr,
  maskSize: number,
): number {
  let span = Number.POSITIVE_INFINITY
  if (task.progress === undefined) {
    if (timeoutAt !== 0) span = readTimespec(task, timeoutAt)
    if (span < 0) return span
    const status = useMask(task, maskAt, maskSize)
    if (status < 0) return status
  }
  const result = pollFor(task, fdsAt, count, span, -ERESTARTNOHAND)
  return finish(task, result, timeoutAt, writeTimespec, -ERESTARTNOHAND)
}

function pollFor(task: Task, fdsAt: GuestAddr, count: number, span: number, interrupted: number): number {
  let state = task.progress as PollState<Int32Array> | undefined
  if (state === undefined && count > task.group.rlimits.soft(RLIMIT_NOFILE)) return -EINVAL
  const fds = state?.data ?? readFds(task, fdsAt, count)
  if (fds === undefined) return -EFAULT
  const revents = new Int16Array(count)
  const found = scan(task, fds, revents, span !== 0)
  if (found < 0) {
    if (state === undefined) remember(task, fds, span)
    return found
  }
  if (found > 0 || span === 0 || passed(task, state)) {
    const status = writeEvents(task, fds, revents, fdsAt)
    return status < 0 ? status : found
  }
  state ??= remember(task, fds, span)
  for (let i = 0; i < count; i++) {
    const file = fileOf(task, fds[i * 2])
    if (file?.pollQueue !== undefined) task.block(file.pollQueue, interrupted, wantedOf(fds, i))
  }
  return task.blockUntil(state.deadline, interrupted)
}

/** The array as it lies in memory, two words for each: the descriptor, and `events` below `revents`. */
function readFds(task: Task, at: GuestAddr, count: number): Int32Array | undefined {
  const fds = new Int32Array(count * 2)
  if (count === 0) return fds
  const length = count * POLLFD.size
  // V8 keeps small arrays among its own objects, as long as nobody asks for their buffer.
  if (length > 4096) return task.mm.copyIn(at, new Uint8Array(fds.buffer)) < 0 ? undefined : fds
  const view = task.mm.view(at, length)
  if (view === undefined) return undefined
  for (let i = 0; i < fds.length; i++) fds[i] = view.getInt32(i * 4, true)
  return fds
}

function wantedOf(fds: Int32Array, i: number): number {
  return ((fds[i * 2 + 1] << 16) >> 16) | POLLERR | POLLHUP
}

/** Asks every file: how many have something; or PENDING. `waits`: as for `File.pollNow`. */
function scan(task: Task, fds: Int32Array, revents: Int16Array, waits: boolean): number {
  let found = 0
  for (let i = 0; i < revents.length; i++) {
    const fd = fds[i * 2]
    if (fd < 0) continue
    const file = fileOf(task, fd)
    const wanted = wantedOf(fds, i)
    const now = file === undefined ? POLLNVAL : file.pollNow(wanted, waits && found === 0)
    if (now === PENDING) return PENDING
    revents[i] = file === undefined ? POLLNVAL : now & wanted
    if (revents[i] !== 0) found++
  }
  return found
}

/** Only the revents are the kernel's to write, and of these only those that differ: other threads may change the rest. */
function writeEvents(task: Task, fds: Int32Array, revents: Int16Array, fdsAt: GuestAddr): number {
  for (let i = 0; i < revents.length; i++) {
    if (fds[i * 2 + 1] >> 16 === revents[i]) continue
    task.mm.out(2).setInt16(0, revents[i], true)
    const status = task.mm.commit(fdsAt + i * POLLFD.size + POLLFD.revents)
    if (status < 0) return status
  }
  return 0
}

// select

export function select(
  task: Task,
  count: number,
  readAt: GuestAddr,
  writeAt: GuestAddr,
  exceptAt: GuestAddr,
  timeoutAt: GuestAddr,
): number {
  let span = Number.POSITIVE_INFINITY
  if (task.progress === undefined && timeoutAt !== 0) span = readTimeval(task, timeoutAt)
  if (span < 0) return span
  const result = selectFor(task, count, readAt, writeAt, exceptAt, span)
  return finish(task, result, timeoutAt, writeTimeval, -ERESTARTNOHAND)
}

export function pselect6(
  task: Task,
  count: number,
  readAt: GuestAddr,
  writeAt: GuestAddr,
  exceptAt: GuestAddr,
  timeoutAt: GuestAddr,
  maskArg: GuestAddr,
): number {
  let span = Number.POSITIVE_INFINITY
  if (task.progress === undefined) {
    let maskAt = 0
    let maskSize = 0
    if (maskArg !== 0) {
      const view = task.mm.view(maskArg, 16)
      if (view === undefined) return -EFAULT
      maskAt = take64(view, 0)
      maskSize = view.getUint32(8, true)
    }
    if (timeoutAt !== 0) span = readTimespec(task, timeoutAt)
    if (span < 0) return span
    const status = useMask(task, maskAt, maskSize)
    if (status < 0) return status
  }
  const result = selectFor(task, count, readAt, writeAt, exceptAt, span)
  return finish(task, result, timeoutAt, writeTimespec, -ERESTARTNOHAND)
}

function selectFor(
  task: Task,
  count: number,
  readAt: GuestAddr,
  writeAt: GuestAddr,
  exceptAt: GuestAddr,
  span: number,
): number {
  if (count < 0) return -EINVAL
  count = Math.min(count, tableSize(task))
  const bytes = Math.ceil(count / 64) * 8
  let state = task.progress as PollState<DataView> | undefined
  let sets = state?.data
  if (sets === undefined) {
    sets = new DataView(new ArrayBuffer(bytes * 3))
    const places = [readAt, writeAt, exceptAt]
    for (let i = 0; i < 3; i++) {
      if (places[i] === 0) continue
      if (task.mm.copyIn(places[i], new Uint8Array(sets.buffer, i * bytes, bytes)) < 0) return -EFAULT
    }
    if (hasClosed(task, sets, bytes, count)) return -EBADF
  }
  const results = new DataView(new ArrayBuffer(bytes * 3))
  let found = 0
  for (let fd = 0; fd < count; fd++) {
    const wanted = wantedEvents(sets, bytes, fd)
    if (wanted === 0) continue
    const file = fileOf(task, fd)
    const now = file === undefined ? POLLNVAL : file.pollNow(wanted, span !== 0 && found === 0)
    if (now === PENDING) {
      if (state === undefined) remember(task, sets, span)
      return PENDING
    }
    const events = file === undefined ? POLLNVAL : now & wanted
    if (events === 0) continue
    found += setBit(sets, results, 0, fd, (events & (SELECT_IN | POLLNVAL)) !== 0)
    found += setBit(sets, results, bytes, fd, (events & (SELECT_OUT | POLLNVAL)) !== 0)
    found += setBit(sets, results, 2 * bytes, fd, (events & (SELECT_EXCEPT | POLLNVAL)) !== 0)
  }
  if (found > 0 || span === 0 || passed(task, state)) {
    const places = [readAt, writeAt, exceptAt]
    for (let i = 0; i < 3; i++) {
      if (places[i] === 0) continue
      if (task.mm.copyOut(places[i], new Uint8Array(results.buffer, i * bytes, bytes)) < 0) return -EFAULT
    }
    return found
  }
  state ??= remember(task, sets, span)
  for (let fd = 0; fd < count; fd++) {
    const wanted = wantedEvents(sets, bytes, fd)
    const queue = wanted === 0 ? undefined : fileOf(task, fd)?.pollQueue
    if (queue !== undefined) task.block(queue, -ERESTARTNOHAND, wanted)
  }
  return task.blockUntil(state.deadline, -ERESTARTNOHAND)
}

/**
 * The size of the descriptor table as Linux grows it: in powers of two, from 64. Descriptors above it are silently left
 * out.
 */
function tableSize(task: Task): number {
  let limit = 64
  while (limit < task.fds.size) limit *= 2
  return limit
}

function hasBit(sets: DataView, offset: number, fd: number): boolean {
  return ((sets.getUint8(offset + (fd >>> 3)) >>> (fd & 7)) & 1) === 1
}

function wantedEvents(sets: DataView, bytes: number, fd: number): number {
  let events = 0
  if (hasBit(sets, 0, fd)) events |= SELECT_IN
  if (hasBit(sets, bytes, fd)) events |= SELECT_OUT
  if (hasBit(sets, 2 * bytes, fd)) events |= SELECT_EXCEPT
  return events
}

function hasClosed(task: Task, sets: DataView, bytes: number, count: number): boolean {
  for (let fd = 0; fd < count; fd++) {
    if (wantedEvents(sets, bytes, fd) !== 0 && fileOf(task, fd) === undefined) return true
  }
  return false
}

function setBit(sets: DataView, results: DataView, offset: number, fd: number, holds: boolean): number {
  if (!holds || !hasBit(sets, offset, fd)) return 0
  const at = offset + (fd >>> 3)
  results.setUint8(at, results.getUint8(at) | (1 << (fd & 7)))
  return 1
}

// What all have in common

/** Blocks signals for the length of the call: at its first try. */
export function useMask(task: Task, maskAt: GuestAddr, maskSize: number): number {
  if (maskAt === 0) return 0
  if (maskSize !== SIGSET_SIZE) return -EINVAL
  const view = task.mm.view(maskAt, SIGSET_SIZE)
  if (view === undefined) return -EFAULT
  task.signals.setTemporaryMask(view.getInt32(0, true), view.getInt32(4, true))
  return 0
}

function remember<Data>(task: Task, data: Data, span: number): PollState<Data> {
  const deadline = span === Number.POSITIVE_INFINITY ? span : task.kernel.now() + span
  const state = { data, deadline }
  task.progress = state
  return state
}

function passed(task: Task, state: PollState<unknown> | undefined): boolean {
  return state !== undefined && task.kernel.now() >= state.deadline
}

/**
 * Writes back what is left of the timeout, as Linux does when the call returns or is interrupted (poll_select_finish). A
 * timeout in memory that can't be written must not fail the call, but it can't be restarted then.
 */
function finish(
  task: Task,
  result: number,
  timeoutAt: GuestAddr,
  write: (task: Task, at: GuestAddr, ns: number) => number,
  interrupted: number,
): number {
  if (result === PENDING) return PENDING
  if (result === BLOCK) {
    if (!task.signalPending()) return BLOCK
    result = interrupted
  }
  const state = task.progress as PollState<unknown> | undefined
  if (timeoutAt === 0 || state === undefined) return result
  const sticky = (task.personality & STICKY_TIMEOUTS) !== 0
  const left = Math.max(state.deadline - task.kernel.now(), 0)
  if (sticky || state.deadline === Number.POSITIVE_INFINITY || write(task, timeoutAt, left) < 0) {
    return result === interrupted ? -EINTR : result
  }
  return result
}

const fdSet = bitsInOut(0)
/** pselect6's last argument: where the mask is, and its size. */
const maskArg = structIn({ size: 16 })

export const pollCalls = {
  poll: { nr: NR.poll, run: poll, args: [structInOut(POLLFD, 1), uint, int] },
  ppoll: {
    nr: NR.ppoll,
    run: ppoll,
    args: [structInOut(POLLFD, 1), uint, structInOut(TIMESPEC), addr, size],
  },
  select: { nr: NR.select, run: select, args: [int, fdSet, fdSet, fdSet, structInOut(TIMEVAL)] },
  pselect6: {
    nr: NR.pselect6,
    run: pselect6,
    args: [int, fdSet, fdSet, fdSet, structInOut(TIMESPEC), maskArg],
  },
} satisfies SyscallRows
