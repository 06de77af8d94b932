/**
 * The cpu controller: what processes have used, and cpu.max. (Weights: cpu-shares.ts.)
 *
 * The time that a process had used when it came is taken off, what it used until it left stays with the cgroup; a cgroup
 * that is removed leaves what it used to its parent.
 *
 * With a quota, use is looked at whenever it may be exhausted: not earlier than all CPUs working at once could. Then the
 * processes are held until the period ends; what was used too much is taken off the next periods. The time that the
 * sentry works for the processes does not count.
 */
import { groupCpuTime } from '../cpu-time.ts'
import type { ThreadGroup } from '../thread-group.ts'
import { type Expiry, Timer } from '../timers.ts'
import type { Cgroup } from './cgroup.ts'
import { isActive, updateHolds } from './freezer.ts'

const US = 1000
/** Between two looks at the clock. */
const LEAST_WAIT = 1000 * US
export const DEFAULT_PERIOD = 100_000
export const DEFAULT_WEIGHT = 100

export class CpuController implements Expiry {
  readonly #cgroup: Cgroup
  /** ns that is no longer some process's own. */
  #past = 0
  /** What each process had used when it came, ns. */
  readonly #before = new Map<ThreadGroup, number>()
  readonly #timer = new Timer(this)

  /** cpu.weight and cpu.idle: see cpu-shares.ts. */
  weight = DEFAULT_WEIGHT
  idle = false
  /** cpu.max in µs; Infinity: no limit. */
  quota = Number.POSITIVE_INFINITY
  period = DEFAULT_PERIOD
  /** cpu.max.burst in µs: what of periods' quotas was left may be used later, up to so much. */
  burst = 0
  /** Whether the quota is kept here; if not, somebody else sees to it (the host's cgroup of a container). */
  #enforced = false
  throttled = false
  // cpu.stat.
  periods = 0
  throttledPeriods = 0
  throttledTime = 0
  bursts = 0
  burstTime = 0

  // The present period: when it began, and what had been used by then (less what was used too much before).
  #periodStart = 0
  #usedBefore = 0
  /** What had been used when it began. */
  #periodUsed = 0

  constructor(cgroup: Cgroup) {
    this.#cgroup = cgroup
  }

  joined(group: ThreadGroup): void {
    this.#before.set(group, groupCpuTime(group))
    if (this.#enforced && !this.#timer.armed) this.#beginPeriod(this.usage())
  }
  left(group: ThreadGroup): void {
    this.#past += groupCpuTime(group) - (this.#before.get(group) ?? 0)
    this.#before.delete(group)
  }
  removed(): void {
    this.#cgroup.parent!.cpu.#past += this.usage()
    this.reset()
  }

  /** CPU time in ns used here and below. */
  usage(): number {
    let used = this.#past
    for (const [group, before] of this.#before) used += groupCpuTime(group) - before
    for (const child of this.#cgroup.children.values()) used += child.cpu.usage()
    return used
  }

  /** `quota` and `period` in µs. `enforced`: by us. */
  setMax(quota: number, period: number, enforced: boolean): void {
    this.quota = quota
    this.period = period
    this.#enforced = enforced && quota !== Number.POSITIVE_INFINITY
    this.#cgroup.kernel.timers.cancel(this.#timer)
    this.#setThrottled(false)
    if (this.#enforced && this.#cgroup.population > 0) this.#beginPeriod(this.usage())
  }
  setShare(weight: number, idle: boolean): void {
    this.weight = weight
    this.idle = idle
    this.#cgroup.kernel.cpuShares.weightChanged(this.#cgroup)
  }
  reset(): void {
    this.setShare(DEFAULT_WEIGHT, false)
    this.burst = 0
    this.setMax(Number.POSITIVE_INFINITY, DEFAULT_PERIOD, false)
  }

  /** The quota may be used up, or the period is over. */
  expired(): void {
    if (this.#cgroup.population === 0) {
      this.#setThrottled(false)
      return
    }
    const { kernel } = this.#cgroup
    const now = kernel.now()
    const used = this.usage()
    const end = this.#periodStart + this.period * US
    if (now >= end) {
      this.#endPeriod(now, used)
      return
    }
    if (used - this.#usedBefore >= this.quota * US) {
      if (!this.throttled) this.throttledPeriods++
      this.#setThrottled(true)
      kernel.timers.add(this.#timer, end)
    } else this.#lookAgain(now, used)
  }

  #endPeriod(now: number, used: number): void {
    this.periods++
    const quota = this.quota * US
    const more = used - this.#periodUsed - quota
    if (more > 0 && this.burst > 0) {
      this.bursts++
      this.burstTime += more
    }
    const over = Math.max(-this.burst * US, used - this.#usedBefore - quota)
    if (over < quota) {
      this.#setThrottled(false)
      this.#beginPeriod(used, over)
      return
    }
    // More than another period's quota has been used already: that one passes without work, too.
    this.throttledPeriods++
    this.#beginPeriod(used, over)
    this.#cgroup.kernel.timers.add(this.#timer, now + this.period * US)
  }

  #throttledSince = 0
  #setThrottled(throttled: boolean): void {
    if (throttled === this.throttled) return
    this.throttled = throttled
    const now = this.#cgroup.kernel.now()
    if (throttled) this.#throttledSince = now
    else this.throttledTime += now - this.#throttledSince
    updateHolds(this.#cgroup)
  }

  /** `over`: what of the new period's quota is used already; below 0: what may be used beyond it. */
  #beginPeriod(used: number, over = 0): void {
    const now = this.#cgroup.kernel.now()
    this.#periodStart = now
    this.#periodUsed = used
    this.#usedBefore = used - over
    this.#lookAgain(now, used)
  }

  #lookAgain(now: number, used: number): void {
    const { kernel } = this.#cgroup
    const left = this.#usedBefore + this.quota * US - used
    const wait = this.#working ? Math.max(LEAST_WAIT, left / kernel.platform.cpuCount) : this.period * US
    kernel.timers.add(this.#timer, Math.min(now + wait, this.#periodStart + this.period * US))
  }

  get #working(): boolean {
    for (const task of this.#cgroup.tasks(true)) if (isActive(task)) return true
    return false
  }
}
