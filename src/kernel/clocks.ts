/**
 * The clocks of clock_gettime(2) and of timers: which there are, what they say, and when on the monotonic clock a time
 * of theirs comes. Ids of other processes' and threads' CPU clocks are negative (clock_getcpuclockid(3)).
 */
import {
  CLOCK_BOOTTIME,
  CLOCK_BOOTTIME_ALARM,
  CLOCK_MONOTONIC,
  CLOCK_MONOTONIC_COARSE,
  CLOCK_MONOTONIC_RAW,
  CLOCK_PROCESS_CPUTIME_ID,
  CLOCK_REALTIME,
  CLOCK_REALTIME_ALARM,
  CLOCK_REALTIME_COARSE,
  CLOCK_TAI,
  CLOCK_THREAD_CPUTIME_ID,
} from '../abi/constants.ts'
import { EINVAL } from '../abi/errno.ts'
import { NSEC_PER_SEC, Timespec } from '../base/clock.ts'
import type { OrErrno } from '../base/result.ts'
import { groupCpuTime, taskCpuTime } from './cpu-time.ts'
import type { Task } from './task.ts'
import { ThreadGroup } from './thread-group.ts'

export type ClockKind = 'realtime' | 'monotonic' | 'boottime' | 'cpu'

export interface ClockSource {
  readonly kind: ClockKind
  /** 'cpu': whose time. */
  readonly target: Task | ThreadGroup | undefined
  readonly coarse: boolean
}

function source(kind: ClockKind, target?: Task | ThreadGroup, coarse = false): ClockSource {
  return { kind, target, coarse }
}

const REALTIME = source('realtime')
const MONOTONIC = source('monotonic')
const BOOTTIME = source('boottime')
const REALTIME_COARSE = source('realtime', undefined, true)
const MONOTONIC_COARSE = source('monotonic', undefined, true)

/** CPUCLOCK_* of a negative clock id. */
const CPUCLOCK_PERTHREAD = 4
const CPUCLOCK_WHICH = 3
const CPUCLOCK_MAX = 3

/** Clocks that wake a machine that sleeps, by a real-time clock of its own. There is none: they can be read, not waited for. */
export function isAlarmClock(id: number): boolean {
  return id === CLOCK_REALTIME_ALARM || id === CLOCK_BOOTTIME_ALARM
}

/** The clock behind an id, as `task` may use it; -EINVAL if there is none. */
export function clockOf(task: Task, id: number): OrErrno<ClockSource> {
  switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_TAI:
    case CLOCK_REALTIME_ALARM:
      return REALTIME
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
      return MONOTONIC
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
      return BOOTTIME
    case CLOCK_REALTIME_COARSE:
      return REALTIME_COARSE
    case CLOCK_MONOTONIC_COARSE:
      return MONOTONIC_COARSE
    case CLOCK_PROCESS_CPUTIME_ID:
      return source('cpu', task.group)
    case CLOCK_THREAD_CPUTIME_ID:
      return source('cpu', task)
  }
  return id < 0 ? cpuClockOf(task, id) : -EINVAL
}

/** pid_for_clock: any process, but only threads of the caller's own. */
function cpuClockOf(task: Task, id: number): OrErrno<ClockSource> {
  if ((id & CPUCLOCK_WHICH) >= CPUCLOCK_MAX) return -EINVAL
  const nr = ~(id >> 3)
  if ((id & CPUCLOCK_PERTHREAD) !== 0) {
    const thread = nr === 0 ? task : task.pidNs.task(nr)
    return thread === undefined || thread.group !== task.group ? -EINVAL : source('cpu', thread)
  }
  const group = nr === 0 ? task.group : task.pidNs.group(nr)
  return group === undefined ? -EINVAL : source('cpu', group)
}

export function cpuTimeOf(target: Task | ThreadGroup): number {
  return target instanceof ThreadGroup ? groupCpuTime(target) : taskCpuTime(target)
}

/** What the clock says to `task`, in `out`. */
export function readClock(task: Task, clock: ClockSource, out: Timespec): void {
  const { kernel } = task
  if (clock.kind === 'realtime') out.set(kernel.clock.realtime())
  else if (clock.kind === 'monotonic') setNs(out, kernel.clock.monotonic() + task.ns.time.monotonicOffset)
  else if (clock.kind === 'boottime') setNs(out, kernel.clock.boottime() + task.ns.time.boottimeOffset)
  else setNs(out, cpuTimeOf(clock.target!))
}

/** From the clock's present to the absolute time `at`, in ns; negative when it has passed. */
export function untilTime(task: Task, clock: ClockSource, at: Timespec): number {
  const now = new Timespec()
  readClock(task, clock, now)
  return (at.sec - now.sec) * NSEC_PER_SEC + (at.nsec - now.nsec)
}

export function setNs(out: Timespec, ns: number): void {
  out.sec = Math.floor(ns / NSEC_PER_SEC)
  out.nsec = ns - out.sec * NSEC_PER_SEC
}

export function toNs(time: Timespec): number {
  return time.sec * NSEC_PER_SEC + time.nsec
}
