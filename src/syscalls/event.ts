/** eventfd(2), signalfd(2), timerfd_create(2) and their kin. */
import {
  CAP_WAKE_ALARM,
  CLOCK_BOOTTIME,
  CLOCK_BOOTTIME_ALARM,
  CLOCK_MONOTONIC,
  CLOCK_REALTIME,
  CLOCK_REALTIME_ALARM,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EFD_SEMAPHORE,
  SFD_CLOEXEC,
  SFD_NONBLOCK,
  TFD_CLOEXEC,
  TFD_NONBLOCK,
  TFD_TIMER_ABSTIME,
  TFD_TIMER_CANCEL_ON_SET,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINVAL, EPERM } from '../abi/errno.ts'
import { ITIMERSPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { NSEC_PER_SEC, Timespec } from '../base/clock.ts'
import { put64, takeSigned64 } from '../base/words.ts'
import { EventFdFile } from '../fs/eventfd/eventfd.ts'
import { SignalFdFile } from '../fs/signalfd/signalfd.ts'
import { TimerFdFile, type TimerSetting } from '../fs/timerfd/timerfd.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { Path } from '../vfs/path.ts'
import {
  addr,
  enumOf,
  fd as fdArg,
  flags as flagsArg,
  type SyscallRows,
  size,
  structIn,
  structOut,
  uint,
} from './args.ts'
import { fileOf } from './at.ts'
import { installFile } from './install.ts'

/** Size of a kernel sigset_t. */
const SIGSET_SIZE = 8
const CLOCKS = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM }

function anonPath(task: Task, name: string): Path {
  return task.kernel.anonFs.path(`anon_inode:[${name}]`, 0o600)
}

export function eventfd(task: Task, initial: number): number {
  return eventfd2(task, initial, 0)
}
export function eventfd2(task: Task, initial: number, flags: number): number {
  if ((flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) !== 0) return -EINVAL
  const id = task.kernel.anonFs.nextIno
  const file = new EventFdFile(anonPath(task, 'eventfd'), flags, task.cred, initial, id)
  return installFile(task, file, (flags & EFD_CLOEXEC) !== 0)
}

export function signalfd(task: Task, fd: number, maskAt: GuestAddr, maskSize: number): number {
  return signalfd4(task, fd, maskAt, maskSize, 0)
}
/** `fd` -1: a new descriptor; otherwise the mask of an existing one is replaced. */
export function signalfd4(
  task: Task,
  fd: number,
  maskAt: GuestAddr,
  maskSize: number,
  flags: number,
): number {
  if (maskSize !== SIGSET_SIZE) return -EINVAL
  const mask = task.mm.view(maskAt, SIGSET_SIZE)
  if (mask === undefined) return -EFAULT
  const lo = mask.getInt32(0, true)
  const hi = mask.getInt32(4, true)
  if ((flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) !== 0) return -EINVAL
  if (fd !== -1) {
    const file = fileOf(task, fd)
    if (file === undefined) return -EBADF
    if (!(file instanceof SignalFdFile)) return -EINVAL
    file.setMask(lo, hi)
    return fd
  }
  const file = new SignalFdFile(anonPath(task, 'signalfd'), flags, task.cred, task.kernel)
  file.setMask(lo, hi)
  return installFile(task, file, (flags & SFD_CLOEXEC) !== 0)
}

export function timerfd_create(task: Task, clockId: number, flags: number): number {
  if ((flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) !== 0) return -EINVAL
  if (!Object.values(CLOCKS).includes(clockId)) return -EINVAL
  if (isAlarm(clockId) && !task.cred.capable(CAP_WAKE_ALARM)) return -EPERM
  const { clock, timers } = task.kernel
  const file = new TimerFdFile(anonPath(task, 'timerfd'), flags, task.cred, clockId, clock, timers)
  return installFile(task, file, (flags & TFD_CLOEXEC) !== 0)
}

export function timerfd_settime(
  task: Task,
  fd: number,
  flags: number,
  newAt: GuestAddr,
  oldAt: GuestAddr,
): number {
  const view = task.mm.view(newAt, ITIMERSPEC.size)
  if (view === undefined) return -EFAULT
  const value = new Timespec(
    takeSigned64(view, ITIMERSPEC.it_value_sec),
    takeSigned64(view, ITIMERSPEC.it_value_nsec),
  )
  const interval = new Timespec(
    takeSigned64(view, ITIMERSPEC.it_interval_sec),
    takeSigned64(view, ITIMERSPEC.it_interval_nsec),
  )
  if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) !== 0) return -EINVAL
  if (!isValid(value) || !isValid(interval)) return -EINVAL
  const file = timerFile(task, fd)
  if (typeof file === 'number') return file
  if (isAlarm(file.clockId) && !task.cred.capable(CAP_WAKE_ALARM)) return -EPERM
  const old = file.settime(flags, value, interval.sec * NSEC_PER_SEC + interval.nsec)
  return oldAt === 0 ? 0 : writeSetting(task, oldAt, old)
}

export function timerfd_gettime(task: Task, fd: number, at: GuestAddr): number {
  const file = timerFile(task, fd)
  return typeof file === 'number' ? file : writeSetting(task, at, file.gettime())
}

function timerFile(task: Task, fd: number): TimerFdFile | number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  return file instanceof TimerFdFile ? file : -EINVAL
}

function isAlarm(clockId: number): boolean {
  return clockId === CLOCK_REALTIME_ALARM || clockId === CLOCK_BOOTTIME_ALARM
}
function isValid(time: Timespec): boolean {
  return time.sec >= 0 && time.nsec >= 0 && time.nsec < NSEC_PER_SEC
}

function writeSetting(task: Task, at: GuestAddr, setting: TimerSetting): number {
  const out = task.mm.out(ITIMERSPEC.size)
  put64(out, ITIMERSPEC.it_value_sec, Math.floor(setting.value / NSEC_PER_SEC))
  put64(out, ITIMERSPEC.it_value_nsec, Math.floor(setting.value % NSEC_PER_SEC))
  put64(out, ITIMERSPEC.it_interval_sec, Math.floor(setting.interval / NSEC_PER_SEC))
  put64(out, ITIMERSPEC.it_interval_nsec, setting.interval % NSEC_PER_SEC)
  return task.mm.commit(at)
}

const eventFlags = flagsArg({ EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE })
const timerFlags = flagsArg({ TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET })

export const eventCalls = {
  eventfd: { nr: NR.eventfd, run: eventfd, args: [uint], returns: 'fd' },
  eventfd2: { nr: NR.eventfd2, run: eventfd2, args: [uint, eventFlags], returns: 'fd' },
  signalfd: { nr: NR.signalfd, run: signalfd, args: [fdArg, addr, size], returns: 'fd' },
  signalfd4: {
    nr: NR.signalfd4,
    run: signalfd4,
    args: [fdArg, addr, size, flagsArg({ SFD_CLOEXEC, SFD_NONBLOCK })],
    returns: 'fd',
  },
  timerfd_create: {
    nr: NR.timerfd_create,
    run: timerfd_create,
    args: [enumOf(CLOCKS), flagsArg({ TFD_CLOEXEC, TFD_NONBLOCK })],
    returns: 'fd',
  },
  timerfd_settime: {
    nr: NR.timerfd_settime,
    run: timerfd_settime,
    args: [fdArg, timerFlags, structIn(ITIMERSPEC), structOut(ITIMERSPEC)],
    partial: "TFD_TIMER_CANCEL_ON_SET never cancels: the clock is the host's and its steps are not seen",
  },
  timerfd_gettime: { nr: NR.timerfd_gettime, run: timerfd_gettime, args: [fdArg, structOut(ITIMERSPEC)] },
} satisfies SyscallRows
