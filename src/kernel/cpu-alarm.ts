/**
 * Deadlines in CPU time. Nothing tells the kernel when a thread has run for so long; but CPU time can't pass faster than
 * real time times the number of threads, so it looks again at the earliest moment at which it could have.
 * What a thread has used is known exactly only while it stands still: one that runs beside others is stopped for the look.
 */
import { cpuTimeOf } from './clocks.ts'
import { RUNNING, type Task } from './task.ts'
import { ThreadGroup } from './thread-group.ts'
import { type Expiry, Timer } from './timers.ts'

/** Not looked at more often, ns. */
const MIN_PERIOD = 250000

export interface CpuAlarmOwner {
  cpuExpired(): void
}

export class CpuAlarm implements Expiry {
  readonly #target: Task | ThreadGroup
  readonly #owner: CpuAlarmOwner
  readonly #timer = new Timer(this)
  /** CPU time of the target in ns; Infinity: not armed. */
  at = Number.POSITIVE_INFINITY

  constructor(target: Task | ThreadGroup, owner: CpuAlarmOwner) {
    this.#target = target
    this.#owner = owner
  }

  arm(at: number): void {
    this.#set(at)
    this.#look()
  }
  cancel(): void {
    this.#set(Number.POSITIVE_INFINITY)
    this.#target.kernel.timers.cancel(this.#timer)
  }
  /** CPU time left, ns. */
  get remaining(): number {
    return Math.max(0, this.at - cpuTimeOf(this.#target))
  }

  expired(): void {
    if (this.check()) return
    const target = this.#target
    if (!(target instanceof ThreadGroup) && target.group.live > 1 && isWorking(target)) target.thread.kick()
    this.#look()
  }

  victim(): ThreadGroup {
    return this.#target instanceof ThreadGroup ? this.#target : this.#target.group
  }

  /** Whether it was due. */
  check(): boolean {
    if (this.remaining > 0) return false
    this.cancel()
    this.#owner.cpuExpired()
    return true
  }

  #set(at: number): void {
    this.at = at
    const target = this.#target
    if (target instanceof ThreadGroup) return
    target.cpuAlarms ??= new Set()
    if (at === Number.POSITIVE_INFINITY) target.cpuAlarms.delete(this)
    else target.cpuAlarms.add(this)
  }

  #look(): void {
    const { kernel } = this.#target
    if (this.at === Number.POSITIVE_INFINITY) {
      kernel.timers.cancel(this.#timer)
      return
    }
    const threads =
      this.#target instanceof ThreadGroup ? Math.min(this.#target.live, kernel.platform.cpuCount) : 1
    kernel.timers.add(this.#timer, kernel.now() + Math.max(this.remaining / Math.max(threads, 1), MIN_PERIOD))
  }
}

/** A thread was stopped, maybe for this: what it has used is known now. */
export function checkCpuAlarms(task: Task): void {
  if (task.cpuAlarms !== undefined) for (const alarm of [...task.cpuAlarms]) alarm.check()
}

/** Whether it runs guest code now; one that waits by itself in the host's kernel uses no CPU time. */
export function isWorking(task: Task): boolean {
  return task.state === RUNNING && task.thread.native?.current() === undefined
}
