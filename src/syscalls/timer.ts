/** Timers that send signals: setitimer(2), alarm(2), timer_create(2) and its kin. */
import {
  CLOCK_MONOTONIC_RAW,
  ITIMER_PROF,
  ITIMER_REAL,
  ITIMER_VIRTUAL,
  RLIMIT_SIGPENDING,
  SIGALRM,
  SIGEV_NONE,
  SIGEV_SIGNAL,
  SIGEV_THREAD,
  SIGEV_THREAD_ID,
  TIMER_ABSTIME,
} from '../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, EOPNOTSUPP } from '../abi/errno.ts'
import { ITIMERSPEC, ITIMERVAL, SIGEVENT } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { NSEC_PER_SEC, Timespec } from '../base/clock.ts'
import { failed } from '../base/result.ts'
import { put64, takeSigned64 } from '../base/words.ts'
import { clockOf, isAlarmClock, setNs, toNs } from '../kernel/clocks.ts'
import { intervalTimersOf, type TimerSetting } from '../kernel/interval-timer.ts'
import { PosixTimers, type TimerEvent } from '../kernel/posix-timer.ts'
import { NSIG } from '../kernel/signal-state.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, enumOf, flags as flagsArg, int, type SyscallRows, structIn, structOut, uint } from './args.ts'
import { putTime, timeIn } from './timespec.ts'

const NSEC_PER_USEC = 1000
const USEC_PER_SEC = 1e6

export function getitimer(task: Task, which: number, at: GuestAddr): number {
  if (which < ITIMER_REAL || which > ITIMER_PROF) return -EINVAL
  return writeSetting(task, at, intervalTimersOf(task.group).get(which))
}

export function setitimer(task: Task, which: number, newAt: GuestAddr, oldAt: GuestAddr): number {
  let value = 0
  let interval = 0
  // Without a new value Linux disarms it.
  if (newAt !== 0) {
    const view = task.mm.view(newAt, ITIMERVAL.size)
    if (view === undefined) return -EFAULT
    value = spanIn(view, ITIMERVAL.it_value)
    interval = spanIn(view, ITIMERVAL.it_interval)
    if (value < 0 || interval < 0) return -EINVAL
  }
  if (which < ITIMER_REAL || which > ITIMER_PROF) return -EINVAL
  const timers = intervalTimersOf(task.group)
  const old = timers.get(which)
  timers.set(which, value, interval)
  return oldAt === 0 ? 0 : writeSetting(task, oldAt, old)
}

/** The seconds that were left, rounded as alarm_setitimer does. */
export function alarm(task: Task, seconds: number): number {
  const timers = intervalTimersOf(task.group)
  const old = timers.get(ITIMER_REAL).value
  timers.set(ITIMER_REAL, seconds * NSEC_PER_SEC, 0)
  if (old === 0) return 0
  const whole = Math.floor(old / NSEC_PER_SEC)
  return whole === 0 || old % NSEC_PER_SEC >= NSEC_PER_SEC / 2 ? whole + 1 : whole
}

/** The timeval at an offset in ns; -EINVAL when it is none. */
function spanIn(view: DataView, at: number): number {
  const sec = takeSigned64(view, at)
  const usec = takeSigned64(view, at + 8)
  if (sec < 0 || usec < 0 || usec >= USEC_PER_SEC) return -EINVAL
  return sec * NSEC_PER_SEC + usec * NSEC_PER_USEC
}

function writeSetting(task: Task, at: GuestAddr, setting: TimerSetting): number {
  const out = task.mm.out(ITIMERVAL.size)
  putSpan(out, ITIMERVAL.it_value, setting.value)
  putSpan(out, ITIMERVAL.it_interval, setting.interval)
  return task.mm.commit(at)
}

function putSpan(out: DataView, at: number, ns: number): void {
  put64(out, at, Math.floor(ns / NSEC_PER_SEC))
  put64(out, at + 8, Math.floor((ns % NSEC_PER_SEC) / NSEC_PER_USEC))
}

export function timer_create(task: Task, clockId: number, eventAt: GuestAddr, idAt: GuestAddr): number {
  let notify = SIGEV_SIGNAL
  let signo = SIGALRM
  let value: { lo: number; hi: number } | undefined
  let thread: Task | undefined
  if (eventAt !== 0) {
    const view = task.mm.view(eventAt, SIGEVENT.size)
    if (view === undefined) return -EFAULT
    notify = view.getInt32(SIGEVENT.sigev_notify, true)
    signo = view.getInt32(SIGEVENT.sigev_signo, true)
    value = {
      lo: view.getInt32(SIGEVENT.sigev_value, true),
      hi: view.getInt32(SIGEVENT.sigev_value + 4, true),
    }
    if (notify === (SIGEV_SIGNAL | SIGEV_THREAD_ID)) {
      thread = task.pidNs.task(view.getInt32(SIGEVENT.sigev_notify_thread_id, true))
      if (thread === undefined || thread.group !== task.group) return -EINVAL
    } else if (notify !== SIGEV_SIGNAL && notify !== SIGEV_THREAD && notify !== SIGEV_NONE) return -EINVAL
    if (notify !== SIGEV_NONE && (signo <= 0 || signo > NSIG)) return -EINVAL
  }
  const clock = clockOf(task, clockId)
  if (failed(clock)) return clock
  if (clock.coarse || clockId === CLOCK_MONOTONIC_RAW || isAlarmClock(clockId)) return -EOPNOTSUPP
  task.group.posixTimers ??= new PosixTimers()
  const timers = task.group.posixTimers
  // Without an event the value is the timer's id.
  const event = (id: number): TimerEvent => ({
    clockId,
    notify,
    signo,
    valueLo: value?.lo ?? id,
    valueHi: value?.hi ?? 0,
    thread,
  })
  // Each has a signal of its own in reserve.
  const account = task.kernel.users.of(task.cred.uid)
  if (account.pendingSignals >= task.group.rlimits.soft(RLIMIT_SIGPENDING)) return -EAGAIN
  const timer = timers.create(task.group, clock, event, account)
  const status = task.mm.putU32(idAt, timer.id)
  if (status < 0) timers.delete(timer)
  return status
}

export function timer_settime(
  task: Task,
  id: number,
  flags: number,
  newAt: GuestAddr,
  oldAt: GuestAddr,
): number {
  if (newAt === 0) return -EINVAL
  const view = task.mm.view(newAt, ITIMERSPEC.size)
  if (view === undefined) return -EFAULT
  const value = timeIn(view, ITIMERSPEC.it_value)
  const interval = timeIn(view, ITIMERSPEC.it_interval)
  if (typeof value === 'number' || typeof interval === 'number') return -EINVAL
  const timer = task.group.posixTimers?.get(id)
  if (timer === undefined) return -EINVAL
  const old = timer.get()
  timer.set(task, toNs(value), toNs(interval), (flags & TIMER_ABSTIME) !== 0 ? value : undefined)
  return oldAt === 0 ? 0 : writeSpec(task, oldAt, old)
}

export function timer_gettime(task: Task, id: number, at: GuestAddr): number {
  const timer = task.group.posixTimers?.get(id)
  return timer === undefined ? -EINVAL : writeSpec(task, at, timer.get())
}

export function timer_getoverrun(task: Task, id: number): number {
  return task.group.posixTimers?.get(id)?.overrun ?? -EINVAL
}

export function timer_delete(task: Task, id: number): number {
  const timers = task.group.posixTimers
  const timer = timers?.get(id)
  if (timers === undefined || timer === undefined) return -EINVAL
  timers.delete(timer)
  return 0
}

function writeSpec(task: Task, at: GuestAddr, setting: TimerSetting): number {
  const out = task.mm.out(ITIMERSPEC.size)
  const time = new Timespec()
  setNs(time, setting.value)
  putTime(out, ITIMERSPEC.it_value, time)
  setNs(time, setting.interval)
  putTime(out, ITIMERSPEC.it_interval, time)
  return task.mm.commit(at)
}

const which = enumOf({ ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF })

export const timerCalls = {
  getitimer: { nr: NR.getitimer, run: getitimer, args: [which, structOut(ITIMERVAL)] },
  setitimer: { nr: NR.setitimer, run: setitimer, args: [which, structIn(ITIMERVAL), structOut(ITIMERVAL)] },
  alarm: { nr: NR.alarm, run: alarm, args: [uint] },
  timer_create: { nr: NR.timer_create, run: timer_create, args: [int, structIn(SIGEVENT), addr] },
  timer_settime: {
    nr: NR.timer_settime,
    run: timer_settime,
    args: [int, flagsArg({ TIMER_ABSTIME }), structIn(ITIMERSPEC), structOut(ITIMERSPEC)],
  },
  timer_gettime: { nr: NR.timer_gettime, run: timer_gettime, args: [int, structOut(ITIMERSPEC)] },
  timer_getoverrun: { nr: NR.timer_getoverrun, run: timer_getoverrun, args: [int] },
  timer_delete: { nr: NR.timer_delete, run: timer_delete, args: [int] },
} satisfies SyscallRows
