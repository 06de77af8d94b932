/**
 * Pressure stall information: Documentation/accounting/psi.rst. How long processes could not go on for want of CPU time or
 * memory: some of them, or all ("full").
 *
 * Of a cgroup that is known as far as the kernel itself makes them wait (freezer.ts): for cpu.max, for those whose share is
 * larger, beyond memory.high. How long threads wait for the host's CPUs only the host knows; io.pressure is always nought.
 * The counts of a cgroup begin when somebody first waits, or asks.
 */
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../kernel.ts'
import type { ThreadGroup } from '../thread-group.ts'
import { type Expiry, Timer } from '../timers.ts'
import type { Cgroup } from './cgroup.ts'
import { HOLD_CPU, HOLD_MEMORY, HOLD_SHARE } from './holds.ts'

/** Seconds that the averages are over, and between two looks at them. */
const WINDOWS = [10, 60, 300] as const
const AVERAGE_PERIOD = 2 * NSEC_PER_SEC
/** A trigger is looked at so many times in its window. */
const LOOKS = 10

/** One line of a file. */
class StallTime {
  #total = 0
  #since: number | undefined = undefined
  readonly #averages = WINDOWS.map(() => 0)
  #averagedAt: number
  #averagedTotal = 0

  constructor(now: number) {
    this.#averagedAt = now
  }

  set(stalled: boolean, now: number): void {
    if (stalled === (this.#since !== undefined)) return
    if (this.#since !== undefined) this.#total += now - this.#since
    this.#since = stalled ? now : undefined
  }
  /** ns. */
  total(now: number): number {
    return this.#total + (this.#since === undefined ? 0 : now - this.#since)
  }

  line(name: string, now: number): string {
    this.#average(now)
    const averages = WINDOWS.map((seconds, i) => `avg${seconds}=${this.#averages[i].toFixed(2)}`)
    return `${name} ${averages.join(' ')} total=${Math.floor(this.total(now) / 1000)}\n`
  }

  /** They decay exponentially, as load averages do. */
  #average(now: number): void {
    const elapsed = now - this.#averagedAt
    if (elapsed < AVERAGE_PERIOD) return
    const total = this.total(now)
    const percent = (100 * (total - this.#averagedTotal)) / elapsed
    WINDOWS.forEach((seconds, i) => {
      const kept = Math.exp(-elapsed / (seconds * NSEC_PER_SEC))
      this.#averages[i] = this.#averages[i] * kept + percent * (1 - kept)
    })
    this.#averagedAt = now
    this.#averagedTotal = total
  }
}

/** What triggers look at. */
export interface PressureSource {
  /** ns of stalls until now. */
  total(full: boolean): number
  /** Those that are to be told when a stall begins; undefined: it can't be said, so they look all the time. */
  readonly triggers: Set<PressureTrigger> | undefined
}

/** Of one resource of a cgroup. */
export class Pressure implements PressureSource {
  readonly #kernel: Kernel
  readonly triggers = new Set<PressureTrigger>()
  readonly #some: StallTime
  readonly #full: StallTime
  /** Processes that wait, here and below. */
  #waiting = 0

  constructor(kernel: Kernel) {
    this.#kernel = kernel
    this.#some = new StallTime(kernel.now())
    this.#full = new StallTime(kernel.now())
  }

  change(by: number, population: number): void {
    this.#waiting += by
    const now = this.#kernel.now()
    this.#some.set(this.#waiting > 0, now)
    this.#full.set(this.#waiting > 0 && this.#waiting >= population, now)
    if (this.#waiting > 0) for (const trigger of this.triggers) trigger.begin()
  }
  total(full: boolean): number {
    return (full ? this.#full : this.#some).total(this.#kernel.now())
  }
  format(): string {
    const now = this.#kernel.now()
    return this.#some.line('some', now) + this.#full.line('full', now)
  }
}

export type PressureResource = 'cpu' | 'memory' | 'io'
const REASONS: Readonly<Record<PressureResource, number>> = {
  cpu: HOLD_CPU | HOLD_SHARE,
  memory: HOLD_MEMORY,
  io: 0,
}
const RESOURCES = Object.keys(REASONS) as PressureResource[]

export class CgroupPressure {
  /** cgroup.pressure: whether the files are there. */
  shown = true
  readonly cpu: Pressure
  readonly memory: Pressure
  readonly io: Pressure

  constructor(cgroup: Cgroup) {
    const { kernel } = cgroup
    this.cpu = new Pressure(kernel)
    this.memory = new Pressure(kernel)
    this.io = new Pressure(kernel)
    for (const each of cgroup.subtree())
      for (const { holds } of each.groups) this.change(0, holds, cgroup.population)
  }

  /** The holds of a process here or below have become others. */
  change(was: number, holds: number, population: number): void {
    for (const resource of RESOURCES) {
      const waits = (holds & REASONS[resource]) !== 0
      const waited = (was & REASONS[resource]) !== 0
      if (waits !== waited) this[resource].change(waits ? 1 : -1, population)
    }
  }
}

const COUNTED = HOLD_CPU | HOLD_SHARE | HOLD_MEMORY

/**
 * What holds a process becomes `holds`; or it leaves its cgroup (`holds` 0), or comes to one (`was` 0). To be called while all
 * is still as it was: a cgroup that begins to count counts those that are held.
 */
export function countHolds(group: ThreadGroup, was: number, holds: number): void {
  if (((was ^ holds) & COUNTED) === 0) return
  for (let at: Cgroup | undefined = group.cgroup; at !== undefined; at = at.parent) {
    // A new one counts what is held by now, this process as it was.
    at.pressure.change(was, holds, at.population)
  }
}

/**
 * Somebody who wants to be told when there were stalls of `threshold` ns within `window` ns. An event comes once a window at
 * most. What the last window had counts in proportion to what of it still lies in the present one.
 */
export class PressureTrigger implements Expiry {
  readonly queue = new WaitQueue()
  readonly #kernel: Kernel
  readonly #source: PressureSource
  readonly #full: boolean
  readonly #threshold: number
  readonly #window: number
  readonly #timer = new Timer(this)
  #event = false
  #lastEvent = Number.NEGATIVE_INFINITY
  #start = 0
  #startTotal = 0
  #before = 0

  constructor(kernel: Kernel, source: PressureSource, full: boolean, threshold: number, window: number) {
    this.#kernel = kernel
    this.#source = source
    this.#full = full
    this.#threshold = threshold
    this.#window = window
    this.#reset(kernel.now(), 0)
    source.triggers?.add(this)
    this.begin()
  }

  /** Whether there was an event since the last time that it was asked. */
  take(): boolean {
    const event = this.#event
    this.#event = false
    return event
  }
  end(): void {
    this.#source.triggers?.delete(this)
    this.#kernel.timers.cancel(this.#timer)
  }

  /** There is, or may be, a stall. */
  begin(): void {
    if (!this.#timer.armed) this.#kernel.timers.add(this.#timer, this.#kernel.now() + this.#window / LOOKS)
  }

  expired(): void {
    const now = this.#kernel.now()
    const grown = this.#growth(now)
    if (grown >= this.#threshold && now >= this.#lastEvent + this.#window) {
      this.#lastEvent = now
      this.#event = true
      this.queue.wakeAll()
    }
    if (grown > 0 || this.#source.triggers === undefined) this.begin()
  }

  #growth(now: number): number {
    const elapsed = now - this.#start
    const growth = this.#source.total(this.#full) - this.#startTotal
    if (elapsed > this.#window) {
      this.#reset(now, growth)
      return growth
    }
    return growth + (this.#before * (this.#window - elapsed)) / this.#window
  }
  #reset(now: number, before: number): void {
    this.#start = now
    this.#startTotal = this.#source.total(this.#full)
    this.#before = before
  }
}
