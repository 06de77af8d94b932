/** epoll(7): epoll_create(2), epoll_ctl(2), epoll_wait(2). */
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  POLLIN,
  POLLRDNORM,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINTR, EINVAL, EPERM } from '../abi/errno.ts'
import { EPOLL_EVENT, TIMESPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { EpollFile } from '../fs/epoll/epoll.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import {
  addr,
  enumOf,
  fd as fdArg,
  flags as flagsArg,
  int,
  type SyscallRows,
  size,
  structIn,
} from './args.ts'
import { fileOf } from './at.ts'
import { installFile } from './install.ts'
import { useMask } from './poll.ts'
import { readTimespec } from './time-args.ts'

const NSEC_PER_MSEC = 1e6
const MAX_EVENTS = Math.floor(0x7fffffff / EPOLL_EVENT.size)
/** Events are copied out in pieces of this many. */
const BATCH = 256

export function epoll_create(task: Task, hint: number): number {
  return hint <= 0 ? -EINVAL : epoll_create1(task, 0)
}
export function epoll_create1(task: Task, flags: number): number {
  if ((flags & ~EPOLL_CLOEXEC) !== 0) return -EINVAL
  const path = task.kernel.anonFs.path('anon_inode:[eventpoll]', 0o600)
  return installFile(task, new EpollFile(path, task.cred), (flags & EPOLL_CLOEXEC) !== 0)
}

export function epoll_ctl(
  task: Task,
  epollFd: number,
  operation: number,
  fd: number,
  eventAt: GuestAddr,
): number {
  let events = 0
  let dataLo = 0
  let dataHi = 0
  if (operation !== EPOLL_CTL_DEL) {
    const view = task.mm.view(eventAt, EPOLL_EVENT.size)
    if (view === undefined) return -EFAULT
    events = view.getUint32(EPOLL_EVENT.events, true)
    dataLo = view.getUint32(EPOLL_EVENT.data, true)
    dataHi = view.getUint32(EPOLL_EVENT.data + 4, true)
  }
  const epoll = fileOf(task, epollFd)
  const file = fileOf(task, fd)
  if (epoll === undefined || file === undefined) return -EBADF
  // What is always ready (regular files, directories) can't be watched.
  if (file.pollQueue === undefined) return -EPERM
  if (epoll === file || !(epoll instanceof EpollFile)) return -EINVAL
  if (operation === EPOLL_CTL_ADD) return epoll.add(file, fd, events, dataLo, dataHi)
  if (operation === EPOLL_CTL_MOD) return epoll.modify(file, fd, events, dataLo, dataHi)
  if (operation === EPOLL_CTL_DEL) return epoll.remove(file, fd)
  return -EINVAL
}

export function epoll_wait(
  task: Task,
  epollFd: number,
  eventsAt: GuestAddr,
  max: number,
  timeout: number,
): number {
  return waitFor(task, epollFd, eventsAt, max, milliseconds(timeout))
}

export function epoll_pwait(
  task: Task,
  epollFd: number,
  eventsAt: GuestAddr,
  max: number,
  timeout: number,
  maskAt: GuestAddr,
  maskSize: number,
): number {
  if (task.progress === undefined) {
    const status = useMask(task, maskAt, maskSize)
    if (status < 0) return status
  }
  return waitFor(task, epollFd, eventsAt, max, milliseconds(timeout))
}

export function epoll_pwait2(
  task: Task,
  epollFd: number,
  eventsAt: GuestAddr,
  max: number,
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
  return waitFor(task, epollFd, eventsAt, max, span)
}

function milliseconds(timeout: number): number {
  return timeout < 0 ? Number.POSITIVE_INFINITY : timeout * NSEC_PER_MSEC
}

/** Between tries. */
interface EpollWait {
  readonly epoll: EpollFile
  /** Monotonic ns. */
  readonly deadline: number
}

function waitFor(task: Task, epollFd: number, eventsAt: GuestAddr, max: number, span: number): number {
  let wait = task.progress as EpollWait | undefined
  let epoll = wait?.epoll
  if (epoll === undefined) {
    if (max <= 0 || max > MAX_EVENTS) return -EINVAL
    const file = fileOf(task, epollFd)
    if (file === undefined) return -EBADF
    if (!(file instanceof EpollFile)) return -EINVAL
    epoll = file
    // What has happened is there at once, not only at the next turn.
    if (epoll.toldByHost) task.kernel.platform.lookAtHost?.()
  }
  if (epoll.hasSuspects) {
    const count = report(task, epoll, eventsAt, max)
    if (count !== 0) return count
  }
  if (span === 0) return 0
  if (wait === undefined) {
    const deadline = span === Number.POSITIVE_INFINITY ? span : task.kernel.now() + span
    wait = { epoll, deadline }
    task.progress = wait
  } else if (task.kernel.now() >= wait.deadline) return 0
  task.block(epoll.waiters, -EINTR, POLLIN | POLLRDNORM, true)
  return task.blockUntil(wait.deadline, -EINTR)
}

/** Collects events into guest memory: how many; -EFAULT when not even the first could be put there. */
function report(task: Task, epoll: EpollFile, eventsAt: GuestAddr, max: number): number {
  let done = 0
  let filled = 0
  let status = 0
  let out = task.mm.out(Math.min(max, BATCH) * EPOLL_EVENT.size)
  const flush = () => {
    const bytes = new Uint8Array(out.buffer, out.byteOffset, filled * EPOLL_EVENT.size)
    status = task.mm.copyOut(eventsAt + done * EPOLL_EVENT.size, bytes)
    if (status === 0) done += filled
    filled = 0
  }
  epoll.collect(max, (events, dataLo, dataHi) => {
    const at = filled * EPOLL_EVENT.size
    out.setUint32(at + EPOLL_EVENT.events, events >>> 0, true)
    out.setUint32(at + EPOLL_EVENT.data, dataLo, true)
    out.setUint32(at + EPOLL_EVENT.data + 4, dataHi, true)
    if (++filled === BATCH) {
      flush()
      out = task.mm.out(BATCH * EPOLL_EVENT.size)
    }
    return status === 0
  })
  if (filled > 0) flush()
  return done > 0 ? done : status
}

const operations = enumOf({ EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD })

export const epollCalls = {
  epoll_create: { nr: NR.epoll_create, run: epoll_create, args: [int], returns: 'fd' },
  epoll_create1: {
    nr: NR.epoll_create1,
    run: epoll_create1,
    args: [flagsArg({ EPOLL_CLOEXEC })],
    returns: 'fd',
  },
  epoll_ctl: { nr: NR.epoll_ctl, run: epoll_ctl, args: [fdArg, operations, fdArg, structIn(EPOLL_EVENT)] },
  epoll_wait: { nr: NR.epoll_wait, run: epoll_wait, args: [fdArg, addr, int, int] },
  epoll_pwait: { nr: NR.epoll_pwait, run: epoll_pwait, args: [fdArg, addr, int, int, addr, size] },
  epoll_pwait2: {
    nr: NR.epoll_pwait2,
    run: epoll_pwait2,
    args: [fdArg, addr, int, structIn(TIMESPEC), addr, size],
  },
} satisfies SyscallRows
