/** Clocks and sleeping: clock_gettime(2), nanosleep(2) and their kin. Timers are in timer.ts. */
import {
  ADJ_OFFSET,
  ADJ_OFFSET_SINGLESHOT,
  ADJ_OFFSET_SS_READ,
  CLOCK_MONOTONIC,
  CLOCK_MONOTONIC_RAW,
  CLOCK_REALTIME,
  CLOCK_THREAD_CPUTIME_ID,
  STA_UNSYNC,
  TIME_ERROR,
  TIMER_ABSTIME,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, EOPNOTSUPP, EPERM, ERESTART_RESTARTBLOCK, ERESTARTNOHAND } from '../abi/errno.ts'
import { TIMESPEC, TIMEVAL, TIMEX, TIMEZONE, TMS } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { Timespec } from '../base/clock.ts'
import { failed } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import {
  type ClockSource,
  clockOf,
  cpuTimeOf,
  isAlarmClock,
  readClock,
  setNs,
  toNs,
} from '../kernel/clocks.ts'
import { CpuAlarm } from '../kernel/cpu-alarm.ts'
import { groupTotals } from '../kernel/cpu-time.ts'
import { HeldProgress, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, flags as flagsArg, int, type SyscallRows, structIn, structInOut, structOut } from './args.ts'
import { deadlineOf, readTime, writeTime } from './timespec.ts'

/** A tick of times(2): USER_HZ. */
const NSEC_PER_TICK = 1e7
/** What the coarse clocks advance by: CONFIG_HZ = 250. */
const COARSE_RESOLUTION = 4e6
/** The bits of adjtime(3)'s two modes: that it is that, and that it only asks what is left to be adjusted. */
const ADJTIME = ADJ_OFFSET_SINGLESHOT & ~ADJ_OFFSET
const READS_ADJTIME = ADJ_OFFSET_SS_READ & ~ADJ_OFFSET_SINGLESHOT

export function clock_gettime(task: Task, id: number, at: GuestAddr): number {
  const clock = clockOf(task, id)
  if (failed(clock)) return clock
  const now = new Timespec()
  readClock(task, clock, now)
  return writeTime(task, at, now)
}

export function clock_getres(task: Task, id: number, at: GuestAddr): number {
  const clock = clockOf(task, id)
  if (failed(clock)) return clock
  if (isAlarmClock(id)) return -EINVAL
  return at === 0 ? 0 : writeTime(task, at, new Timespec(0, clock.coarse ? COARSE_RESOLUTION : 1))
}

/** The host's clock is not the guest's to set. */
export function clock_settime(task: Task, id: number, at: GuestAddr): number {
  const clock = clockOf(task, id)
  if (failed(clock) || id !== CLOCK_REALTIME) {
    return failed(clock) || clock.kind !== 'cpu' ? -EINVAL : -EPERM
  }
  const time = readTime(task, at)
  if (typeof time === 'number') return time
  return -EPERM
}

export function gettimeofday(task: Task, at: GuestAddr, zoneAt: GuestAddr): number {
  if (at !== 0) {
    const now = task.kernel.clock.realtime()
    const out = task.mm.out(TIMEVAL.size)
    put64(out, TIMEVAL.tv_sec, now.sec)
    put64(out, TIMEVAL.tv_usec, Math.floor(now.nsec / 1000))
    const status = task.mm.commit(at)
    if (status < 0) return status
  }
  if (zoneAt === 0) return 0
  task.mm.out(TIMEZONE.size)
  return task.mm.commit(zoneAt)
}

export function settimeofday(task: Task, at: GuestAddr, _zone: GuestAddr): number {
  if (at !== 0 && task.mm.view(at, TIMEVAL.size) === undefined) return -EFAULT
  return -EPERM
}

export function time(task: Task, at: GuestAddr): number {
  const { sec } = task.kernel.clock.realtime()
  const status = at === 0 ? 0 : task.mm.putU64(at, sec)
  return status < 0 ? status : sec
}

export function times(task: Task, at: GuestAddr): number {
  if (at !== 0) {
    const own = groupTotals(task.group)
    const { waited } = task.group
    const out = task.mm.out(TMS.size)
    put64(out, TMS.tms_utime, Math.floor(own.user / NSEC_PER_TICK))
    put64(out, TMS.tms_stime, Math.floor(own.system / NSEC_PER_TICK))
    put64(out, TMS.tms_cutime, Math.floor(waited.user / NSEC_PER_TICK))
    put64(out, TMS.tms_cstime, Math.floor(waited.system / NSEC_PER_TICK))
    const status = task.mm.commit(at)
    if (status < 0) return status
  }
  return Math.floor(task.kernel.clock.boottime() / NSEC_PER_TICK)
}

export function nanosleep(task: Task, requestAt: GuestAddr, remainingAt: GuestAddr): number {
  return sleep(task, CLOCK_MONOTONIC, 0, requestAt, remainingAt)
}

export function clock_nanosleep(
  task: Task,
  id: number,
  flags: number,
  requestAt: GuestAddr,
  remainingAt: GuestAddr,
): number {
  if (id === CLOCK_THREAD_CPUTIME_ID || id === CLOCK_MONOTONIC_RAW || isAlarmClock(id)) return -EOPNOTSUPP
  const clock = clockOf(task, id)
  if (failed(clock)) return clock
  if (clock.coarse) return -EOPNOTSUPP
  if (clock.kind === 'cpu') return cpuSleep(task, clock, flags, requestAt, remainingAt)
  return sleep(task, id, flags, requestAt, remainingAt)
}

interface SleepProgress {
  readonly deadline: number
}

function sleep(task: Task, id: number, flags: number, requestAt: GuestAddr, remainingAt: GuestAddr): number {
  const absolute = (flags & TIMER_ABSTIME) !== 0
  let progress = task.progress as SleepProgress | undefined
  if (progress === undefined) {
    const request = readTime(task, requestAt)
    if (typeof request === 'number') return request
    progress = { deadline: deadlineOf(task, request, id, absolute) }
    task.progress = progress
  }
  const left = progress.deadline - task.kernel.now()
  if (left <= 0) return 0
  if (absolute) return task.blockUntil(progress.deadline, -ERESTARTNOHAND)
  // The rest is told before a handler can run; without one the sleep goes on to its deadline.
  if (task.signalPending() && remainingAt !== 0) {
    const remaining = new Timespec()
    setNs(remaining, left)
    const status = writeTime(task, remainingAt, remaining)
    if (status < 0) return status
  }
  return task.blockUntil(progress.deadline, -ERESTART_RESTARTBLOCK)
}

/** A sleep until somebody has used so much CPU time. */
class CpuSleep extends HeldProgress {
  readonly deadline: number
  readonly alarm: CpuAlarm
  readonly #task: Task

  constructor(task: Task, clock: ClockSource, deadline: number) {
    super()
    this.#task = task
    this.deadline = deadline
    this.alarm = new CpuAlarm(clock.target!, this)
  }
  cpuExpired(): void {
    this.#task.kernel.makeRunnable(this.#task)
  }
  override end(): void {
    this.alarm.cancel()
  }
}

function cpuSleep(
  task: Task,
  clock: ClockSource,
  flags: number,
  requestAt: GuestAddr,
  remainingAt: GuestAddr,
): number {
  const absolute = (flags & TIMER_ABSTIME) !== 0
  let progress = task.progress as CpuSleep | undefined
  const now = cpuTimeOf(clock.target!)
  if (progress === undefined) {
    const request = readTime(task, requestAt)
    if (typeof request === 'number') return request
    progress = new CpuSleep(task, clock, (absolute ? 0 : now) + toNs(request))
    task.progress = progress
  }
  const left = progress.deadline - now
  if (left <= 0) return 0
  if (!absolute && remainingAt !== 0 && task.signalPending()) {
    const remaining = new Timespec()
    setNs(remaining, left)
    const status = writeTime(task, remainingAt, remaining)
    if (status < 0) return status
  }
  progress.alarm.arm(progress.deadline)
  return task.blockForSignal(absolute ? -ERESTARTNOHAND : -ERESTART_RESTARTBLOCK)
}

/** Reading works; changing needs a clock that is the guest's. */
export function clock_adjtime(task: Task, id: number, at: GuestAddr): number {
  const clock = clockOf(task, id)
  if (failed(clock)) return clock
  if (id !== CLOCK_REALTIME) return -EOPNOTSUPP
  const view = task.mm.view(at, TIMEX.size)
  if (view === undefined) return -EFAULT
  const modes = view.getUint32(TIMEX.modes, true)
  if ((modes & ADJTIME) !== 0 && (modes & ADJ_OFFSET) === 0) return -EINVAL
  if (modes !== 0 && (modes & (ADJTIME | READS_ADJTIME)) !== (ADJTIME | READS_ADJTIME)) return -EPERM
  const now = task.kernel.clock.realtime()
  const out = task.mm.out(TIMEX.size)
  out.setUint32(TIMEX.modes, modes, true)
  out.setInt32(TIMEX.status, STA_UNSYNC, true)
  put64(out, TIMEX.maxerror, 16000000)
  put64(out, TIMEX.esterror, 16000000)
  put64(out, TIMEX.constant, 2)
  put64(out, TIMEX.precision, 1)
  put64(out, TIMEX.tolerance, 32768000)
  put64(out, TIMEX.time_sec, now.sec)
  put64(out, TIMEX.time_usec, Math.floor(now.nsec / 1000))
  put64(out, TIMEX.tick, 10000)
  const status = task.mm.commit(at)
  return status < 0 ? status : TIME_ERROR
}

export function adjtimex(task: Task, at: GuestAddr): number {
  return clock_adjtime(task, CLOCK_REALTIME, at)
}

const sleepFlags = flagsArg({ TIMER_ABSTIME })

export const timeCalls = {
  clock_gettime: { nr: NR.clock_gettime, run: clock_gettime, args: [int, structOut(TIMESPEC)] },
  clock_getres: { nr: NR.clock_getres, run: clock_getres, args: [int, structOut(TIMESPEC)] },
  clock_settime: {
    nr: NR.clock_settime,
    run: clock_settime,
    args: [int, structIn(TIMESPEC)],
    refused: "EPERM: the clock is the host's",
  },
  gettimeofday: { nr: NR.gettimeofday, run: gettimeofday, args: [structOut(TIMEVAL), addr] },
  settimeofday: {
    nr: NR.settimeofday,
    run: settimeofday,
    args: [structIn(TIMEVAL), addr],
    refused: "EPERM: the clock is the host's",
  },
  time: { nr: NR.time, run: time, args: [addr] },
  times: { nr: NR.times, run: times, args: [structOut(TMS)] },
  nanosleep: { nr: NR.nanosleep, run: nanosleep, args: [structIn(TIMESPEC), structOut(TIMESPEC)] },
  clock_nanosleep: {
    nr: NR.clock_nanosleep,
    run: clock_nanosleep,
    args: [int, sleepFlags, structIn(TIMESPEC), structOut(TIMESPEC)],
  },
  clock_adjtime: {
    nr: NR.clock_adjtime,
    run: clock_adjtime,
    args: [int, structInOut(TIMEX)],
    partial: "reads only: the clock is the host's",
  },
  adjtimex: {
    nr: NR.adjtimex,
    run: adjtimex,
    args: [structInOut(TIMEX)],
    partial: "reads only: the clock is the host's",
  },
} satisfies SyscallRows
