/**
 * Shares of the CPUs: nice values and policies of tasks, cpu.weight and cpu.idle of cgroups.
 *
 * The host's scheduler runs guest threads, and treats them alike. Where some are to get more than others this one sits on
 * top of it: while more threads want CPUs than there are, it looks every few milliseconds at what each process has used. As
 * in Linux's fair scheduler a process has a virtual runtime, which runs the faster the less its part is; who is ahead of
 * those who together could use all of its CPUs is held (freezer.ts) until they have caught up. So no CPU is left idle,
 * and nothing is taken from anybody outside of the sandbox, whatever a guest asks for.
 *
 * It sleeps as long as no task and no cgroup has anything but the usual weight, and while nobody runs. Threads of one
 * process are held together: they share what their weights bring it as the host's scheduler sees fit.
 */
import { groupCpuTime } from '../cpu-time.ts'
import type { Kernel } from '../kernel.ts'
import { allowedCpus, NICE_0_WEIGHT } from '../scheduling.ts'
import { BLOCKED, type Task, TRACED } from '../task.ts'
import type { ThreadGroup } from '../thread-group.ts'
import { type Expiry, Timer } from '../timers.ts'
import type { Cgroup } from './cgroup.ts'
import { DEFAULT_WEIGHT } from './cpu.ts'
import { type Claim, divideCpus } from './cpu-division.ts'
import { isActive, setHolds } from './freezer.ts'
import { HOLD_SHARE } from './holds.ts'

const MS = 1e6
/** Between two looks while CPUs are short, and while they are not. */
const TICK = 10 * MS
const CALM_TICK = 50 * MS
/** While all wait: some may go on without that the kernel hears of it, as who waits for a futex does. */
const IDLE_TICK = 500 * MS
/** ns of virtual runtime by which somebody may be ahead: the host's own fairness is no more exact. */
const LEAD = 2 * TICK
/** Looking takes at most one part in so many of a CPU's time. */
const TIME_SHARE = 20

/** A process that wants CPUs. */
class Runner implements Claim {
  readonly group: ThreadGroup
  cgroup: Cgroup
  weight = 0
  threads = 0
  part = 1
  cpus: readonly number[] = []
  /** Its virtual runtime, and the CPU time up to which that counts, ns. */
  virtual: number
  #counted: number

  constructor(group: ThreadGroup, virtual: number) {
    this.group = group
    this.cgroup = group.cgroup
    this.virtual = virtual
    this.#counted = groupCpuTime(group)
  }

  /** What was used since the last look was used at the part of then. */
  account(): void {
    const used = groupCpuTime(this.group)
    this.virtual += Math.max(0, used - this.#counted) / this.part
    this.#counted = used
    this.cgroup = this.group.cgroup
    this.weight = this.threads = 0
  }
  add(task: Task): void {
    this.weight += task.scheduling.weight
    this.threads++
    const cpus = allowedCpus(task)
    if (this.threads > 1 && cpus !== this.cpus) this.cpus = [...new Set([...this.cpus, ...cpus])]
    else this.cpus = cpus
  }
}

export class CpuShares implements Expiry {
  readonly #kernel: Kernel
  readonly #timer = new Timer(this)
  /** Cgroups with a weight of their own. */
  readonly #weighted = new Set<Cgroup>()
  /** Whether anything has another weight than the usual one. */
  #engaged = false
  /** Those that wanted CPUs at the last look. */
  #runners = new Map<ThreadGroup, Runner>()

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  weightChanged(cgroup: Cgroup): void {
    const { weight, idle } = cgroup.cpu
    if (weight !== DEFAULT_WEIGHT || idle) this.#weighted.add(cgroup)
    else this.#weighted.delete(cgroup)
    if (this.#weighted.size > 0) this.#engage()
  }

  /** A cgroup has processes that had none: it may compete with one that has a weight. */
  populated(): void {
    if (this.#weighted.size > 0) this.#engage()
  }

  /** After a change of its nice value or policy. */
  priorityChanged(task: Task): void {
    if (task.scheduling.weight !== NICE_0_WEIGHT) this.#engage()
  }

  #engage(): void {
    if (this.#engaged) return
    this.#engaged = true
    this.wake()
  }

  /** Somebody runs again. */
  wake(): void {
    this.#kernel.dormant.delete(this)
    this.#kernel.timers.add(this.#timer, this.#kernel.now())
  }

  expired(): void {
    const { host, timers } = this.#kernel
    const start = host.cpuTime()
    const runners = this.#look()
    let short = false
    for (const { cpus, members } of competitions(runners)) {
      divideCpus(members, cpus.size)
      if (this.#engaged && !areEqual(members)) {
        holdThoseAhead(members)
        short = true
      } else for (const { group } of members) setHeld(group, false)
    }
    if (!this.#engaged) {
      this.#runners.clear()
      return
    }
    if (!this.#anybodyRuns()) {
      this.#kernel.dormant.add(this)
      return
    }
    const spent = host.cpuTime() - start
    const pause = short ? TICK : runners.length > 0 ? CALM_TICK : IDLE_TICK
    timers.add(this.#timer, this.#kernel.now() + Math.max(pause, spent * TIME_SHARE))
  }

  /** The processes that want CPUs now. Finds out whether any weight is unusual, and matters. */
  #look(): Runner[] {
    const before = this.#runners
    const now = new Map<ThreadGroup, Runner>()
    this.#engaged = [...this.#weighted].some(hasCompetitors)
    for (const runner of before.values()) runner.account()
    let least = Number.POSITIVE_INFINITY
    for (const { virtual } of before.values()) least = Math.min(least, virtual)
    if (least === Number.POSITIVE_INFINITY) least = 0
    for (const task of this.#kernel.tasks()) {
      if (task.scheduling.weight !== NICE_0_WEIGHT) this.#engaged = true
      if (!wantsCpu(task)) continue
      const { group } = task
      let runner = now.get(group)
      if (runner === undefined) {
        // Who slept has saved up nothing.
        runner = before.get(group) ?? new Runner(group, least)
        now.set(group, runner)
      }
      runner.add(task)
    }
    for (const group of before.keys()) if (!now.has(group)) setHeld(group, false)
    this.#runners = now
    return [...now.values()]
  }

  #anybodyRuns(): boolean {
    if (this.#runners.size > 0) return true
    for (const task of this.#kernel.tasks()) if (isActive(task)) return true
    return false
  }
}

/** A container alone in its sandbox has none. */
function hasCompetitors({ parent, population }: Cgroup): boolean {
  return parent !== undefined && population > 0 && parent.population > population
}

/** It runs, or would if it were not held for others. */
function wantsCpu(task: Task): boolean {
  if (task.state === BLOCKED || task.state === TRACED || task.signals.stopped) return false
  return (task.group.holds & ~HOLD_SHARE) === 0 && task.thread.native?.current() === undefined
}

interface Competition {
  readonly cpus: Set<number>
  readonly members: Runner[]
}

/** Those whose CPUs overlap compete with each other, and with no others. */
function competitions(runners: readonly Runner[]): Competition[] {
  let found: Competition[] = []
  for (const runner of runners) {
    const [joined, ...others] = found.filter(({ cpus }) => runner.cpus.some(cpu => cpus.has(cpu)))
    if (joined === undefined) {
      found.push({ cpus: new Set(runner.cpus), members: [runner] })
      continue
    }
    for (const cpu of runner.cpus) joined.cpus.add(cpu)
    joined.members.push(runner)
    if (others.length === 0) continue
    for (const { cpus, members } of others) {
      for (const cpu of cpus) joined.cpus.add(cpu)
      for (const member of members) joined.members.push(member)
    }
    found = found.filter(each => !others.includes(each))
  }
  return found
}

/** What the host's scheduler does by itself. */
function areEqual(runners: readonly Runner[]): boolean {
  const first = runners[0].part / runners[0].threads
  return runners.every(({ part, threads }) => Math.abs(part / threads - first) < 0.01 * first)
}

function holdThoseAhead(runners: Runner[]): void {
  runners.sort((a, b) => a.virtual - b.virtual)
  /** By CPU: how many threads of those behind there are for it, and the virtual runtime of the first. */
  const load: number[] = []
  const first: number[] = []
  for (const { cpus, threads, virtual, group } of runners) {
    let taken = 0
    let least = virtual
    for (const cpu of cpus) {
      taken += Math.min(1, load[cpu] ?? 0)
      least = Math.min(least, first[cpu] ?? virtual)
    }
    // A little less than all, as thirds do not add up.
    setHeld(group, taken > cpus.length - 0.01 && virtual - least > LEAD)
    for (const cpu of cpus) {
      load[cpu] = (load[cpu] ?? 0) + threads / cpus.length
      first[cpu] ??= virtual
    }
  }
}

function setHeld(group: ThreadGroup, held: boolean): void {
  setHolds(group, held ? group.holds | HOLD_SHARE : group.holds & ~HOLD_SHARE)
}
