/**
 * Deadlines in CPU time. Nothing tells the kernel when a thread has run for so long; but CPU time can't pass faster than
 * real time times the number of threads, so it looks again at the earliest moment at which it could have.
 */
import { cpuTimeOf } from './clocks.ts'
import type { Task } from './task.ts'
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
    this.at = at
    this.#look()
  }
  cancel(): void {
    this.at = Number.POSITIVE_INFINITY
    this.#target.kernel.timers.cancel(this.#timer)
  }
  /** CPU time left, ns. */
  get remaining(): number {
    return Math.max(0, this.at - cpuTimeOf(this.#target))
  }

  expired(): void {
    if (this.remaining > 0) {
      this.#look()
      return
    }
    this.at = Number.POSITIVE_INFINITY
    this.#owner.cpuExpired()
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
