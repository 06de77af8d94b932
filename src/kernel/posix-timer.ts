/**
 * POSIX timers: timer_create(2). A timer that expires queues its one signal and rests; it is armed for its next period
 * when the signal is delivered, and the periods missed meanwhile are its overrun. So a timer can't flood.
 */
import { SI_TIMER, SIGEV_NONE } from '../abi/constants.ts'
import type { Timespec } from '../base/clock.ts'
import { type ClockSource, cpuTimeOf, untilTime } from './clocks.ts'
import { CpuAlarm } from './cpu-alarm.ts'
import type { TimerSetting } from './interval-timer.ts'
import { sendToGroup, sendToTask } from './signal.ts'
import { SigInfo, type TimerSignalSource } from './signal-info.ts'
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'
import { type Expiry, Timer } from './timers.ts'
import type { UserAccount } from './user-account.ts'

/** A timer whose signal is ignored goes on by itself, not faster than this (ns). */
const MIN_IGNORED_PERIOD = 1e6
const DELAYTIMER_MAX = 0x7fffffff

export interface TimerEvent {
  /** As timer_create was given it. */
  readonly clockId: number
  /** SIGEV_*. */
  readonly notify: number
  readonly signo: number
  readonly valueLo: number
  readonly valueHi: number
  /** SIGEV_THREAD_ID. */
  readonly thread: Task | undefined
}

export class PosixTimer implements Expiry, TimerSignalSource {
  readonly id: number
  readonly clock: ClockSource
  readonly event: TimerEvent
  /** Its signal counts there from its beginning to its end. */
  readonly account: UserAccount
  /** Of the last delivered signal: timer_getoverrun(2). */
  overrun = 0
  readonly #group: ThreadGroup
  readonly #timer = new Timer(this)
  readonly #alarm: CpuAlarm | undefined
  #interval = 0
  /** When the present period ends or ended, on the clock that is waited on: monotonic, or the target's CPU time. */
  #due = Number.POSITIVE_INFINITY
  /** Its signal is queued; armed again when that is taken. */
  #queued = false
  #deleted = false

  constructor(group: ThreadGroup, id: number, clock: ClockSource, event: TimerEvent, account: UserAccount) {
    this.#group = group
    this.account = account
    this.id = id
    this.clock = clock
    this.event = event
    if (clock.kind === 'cpu') this.#alarm = new CpuAlarm(clock.target!, this)
  }

  get(): TimerSetting {
    if (this.#due === Number.POSITIVE_INFINITY) return { value: 0, interval: this.#interval }
    let value = this.#due - this.#now()
    if (value <= 0) {
      if (this.#interval === 0) return { value: this.event.notify === SIGEV_NONE ? 0 : 1, interval: 0 }
      value = this.#interval - (-value % this.#interval)
    }
    return { value, interval: this.#interval }
  }

  /** `at` absolute (on the timer's clock) or else `value` ns from now; 0 disarms. */
  set(task: Task, value: number, interval: number, at: Timespec | undefined): void {
    this.#disarm()
    this.#interval = interval
    this.overrun = 0
    if (value === 0) return
    this.#due = this.#now() + (at === undefined ? value : untilTime(task, this.clock, at))
    this.#arm()
  }

  delete(): void {
    this.#deleted = true
    this.#disarm()
    this.#group.pending.removeTimer(this)
    this.event.thread?.signals.pending.removeTimer(this)
  }

  expired(): void {
    this.#expire()
  }
  victim(): ThreadGroup {
    return this.#group
  }
  cpuExpired(): void {
    this.#expire()
  }

  delivered(info: SigInfo): boolean {
    if (this.#deleted) return false
    this.#queued = false
    if (this.#interval > 0 && this.#due !== Number.POSITIVE_INFINITY) {
      const missed = this.#forward()
      this.overrun = Math.min(missed, DELAYTIMER_MAX)
      this.#arm()
    } else this.overrun = 0
    info.overrun = this.overrun
    return true
  }

  #expire(): void {
    const { event } = this
    if (event.notify === SIGEV_NONE) {
      if (this.#interval === 0) this.#due = Number.POSITIVE_INFINITY
      return
    }
    if (this.#interval === 0) this.#due = Number.POSITIVE_INFINITY
    if (this.#queued) return
    const info = new SigInfo(event.signo, SI_TIMER)
    info.timerId = this.id
    info.valueLo = event.valueLo
    info.valueHi = event.valueHi
    info.timer = this
    const { thread } = event
    const queue = thread === undefined ? this.#group.pending : thread.signals.pending
    const before = queue.size
    if (thread === undefined) sendToGroup(this.#group, info)
    else sendToTask(thread, info)
    this.#queued = queue.size > before
    if (!this.#queued && this.#interval > 0) {
      this.#forward()
      this.#due = Math.max(this.#due, this.#now() + MIN_IGNORED_PERIOD)
      this.#arm()
    }
  }

  /** Moves `due` into the future by whole periods: how many more than one it took. */
  #forward(): number {
    const late = Math.max(0, this.#now() - this.#due)
    const periods = Math.floor(late / this.#interval) + 1
    this.#due += periods * this.#interval
    return periods - 1
  }

  #now(): number {
    return this.clock.kind === 'cpu' ? cpuTimeOf(this.clock.target!) : this.#group.kernel.now()
  }
  #arm(): void {
    if (this.#alarm !== undefined) this.#alarm.arm(this.#due)
    else this.#group.kernel.timers.add(this.#timer, this.#due)
  }
  #disarm(): void {
    this.#due = Number.POSITIVE_INFINITY
    this.#alarm?.cancel()
    this.#group.kernel.timers.cancel(this.#timer)
    this.#queued = false
    this.#group.pending.removeTimer(this)
    this.event.thread?.signals.pending.removeTimer(this)
  }
}

/** The timers of a process, by id. */
export class PosixTimers {
  readonly #timers = new Map<number, PosixTimer>()
  #next = 0

  get(id: number): PosixTimer | undefined {
    return this.#timers.get(id)
  }
  create(
    group: ThreadGroup,
    clock: ClockSource,
    event: (id: number) => TimerEvent,
    account: UserAccount,
  ): PosixTimer {
    const id = this.#next++
    const timer = new PosixTimer(group, id, clock, event(id), account)
    account.pendingSignals++
    this.#timers.set(id, timer)
    return timer
  }
  delete(timer: PosixTimer): void {
    this.#timers.delete(timer.id)
    timer.account.pendingSignals--
    timer.delete()
  }
  values(): IterableIterator<PosixTimer> {
    return this.#timers.values()
  }
}

export function deletePosixTimers(group: ThreadGroup): void {
  const timers = group.posixTimers
  if (timers === undefined) return
  for (const timer of [...timers.values()]) timers.delete(timer)
  group.posixTimers = undefined
}
