/**
 * Keeps memory.max and memory.high, and the sizes of file systems in memory whose files are mapped (MappedLimit). Processes
 * take memory from the host without asking, so use is looked at: as often as the distance to the nearest limit makes it
 * necessary, and not at all while nobody runs. Beyond memory.max a process is killed, as Linux would; beyond memory.high all
 * processes of the cgroup are held for a while at each look.
 */
import { SIGKILL } from '../../abi/constants.ts'
import type { Kernel } from '../kernel.ts'
import { killGroup } from '../signal.ts'
import type { ThreadGroup } from '../thread-group.ts'
import { type Expiry, Timer } from '../timers.ts'
import { isActive, updateHolds } from './freezer.ts'
import type { MemoryController } from './memory.ts'
import { PAGE_SIZE } from './memory.ts'
import { measureCgroup } from './memory-meter.ts'
import { chooseVictim } from './oom.ts'
import { reportOutOfMemory } from './oom-report.ts'

const MS = 1e6
/** Bytes that one CPU can touch in a nanosecond, at most: a page fault takes some two microseconds. */
const BYTES_PER_NS = 2
const LEAST_WAIT = 5 * MS
const MOST_WAIT = 500 * MS
/** Looking takes at most one part in so many of a CPU's time. */
const TIME_SHARE = 10
/** How long a killed process may take to end before another one is killed. */
const DEATH_WAIT = 2000 * MS

interface Watched {
  /** Bytes that processes used at the last look, at most. */
  lastTotal: number
  lastFilePages: number
  victim: ThreadGroup | undefined
  killedAt: number
}

/** A limit on pages that mappings make. */
export interface MappedLimit {
  /** Counts them, and acts where they are too many: the bytes that are left; undefined: it needs no further looks. */
  look(): number | undefined
}

export class MemoryWatch implements Expiry {
  readonly #kernel: Kernel
  readonly #watched = new Map<MemoryController, Watched>()
  readonly #mapped = new Set<MappedLimit>()
  readonly #timer = new Timer(this)

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  limitsChanged(memory: MemoryController): void {
    if (!memory.limited) {
      this.#watched.delete(memory)
      this.#setSlowed(memory, false)
    } else if (!this.#watched.has(memory)) {
      const nothing = { lastTotal: 0, lastFilePages: 0, victim: undefined, killedAt: 0 }
      this.#watched.set(memory, nothing)
    }
    if (!this.#idle) this.wake()
    else {
      this.#kernel.dormant.delete(this)
      this.#kernel.timers.cancel(this.#timer)
    }
  }

  /** Until its `look` says that it needs none. */
  watchMapped(limit: MappedLimit): void {
    this.#mapped.add(limit)
    this.wake()
  }

  get #idle(): boolean {
    return this.#watched.size + this.#mapped.size === 0
  }

  /** Somebody runs again. */
  wake(): void {
    this.#kernel.dormant.delete(this)
    this.#kernel.timers.add(this.#timer, this.#kernel.now())
  }

  expired(): void {
    const { host } = this.#kernel
    const start = host.cpuTime()
    let wait = MOST_WAIT
    for (const [memory, watched] of this.#watched) wait = Math.min(wait, this.#look(memory, watched))
    const settled = wait === MOST_WAIT
    for (const limit of this.#mapped) {
      const left = limit.look()
      if (left === undefined) this.#mapped.delete(limit)
      else wait = Math.min(wait, this.#timeFor(left))
    }
    if (this.#idle) return
    if (settled && !this.#anybodyRuns()) {
      this.#kernel.dormant.add(this)
      return
    }
    const spent = host.cpuTime() - start
    this.#kernel.timers.add(this.#timer, this.#kernel.now() + Math.max(wait, spent * TIME_SHARE))
  }

  /** How long it can't come to a limit. */
  #look(memory: MemoryController, watched: Watched): number {
    const limit = Math.min(memory.killAbove, memory.high)
    let { total } = measureCgroup(memory.cgroup, false)
    if (total > limit) total = measureCgroup(memory.cgroup, true).total
    watched.lastTotal = total
    watched.lastFilePages = memory.filePages
    if (total > memory.killAbove) this.#outOfMemory(memory, watched)
    const tooHigh = total > memory.high && !memory.slowed
    if (tooHigh) memory.count('high')
    this.#setSlowed(memory, tooHigh)
    return this.#timeFor(limit - total)
  }

  /** How long it takes to use so many bytes, at least. */
  #timeFor(bytes: number): number {
    const { cpuCount } = this.#kernel.platform
    return Math.max(LEAST_WAIT, Math.min(MOST_WAIT, bytes / (BYTES_PER_NS * cpuCount)))
  }

  /** Before files in memory grow by `pages`: whether they may. */
  hasRoom(memory: MemoryController, pages: number): boolean {
    const watched = this.#watched.get(memory)
    if (watched === undefined) return true
    if ((memory.filePages + pages) * PAGE_SIZE <= memory.fileMax) {
      const grown = (memory.filePages - watched.lastFilePages + pages) * PAGE_SIZE
      if (watched.lastTotal + grown <= memory.killAbove) return true
      watched.lastTotal = measureCgroup(memory.cgroup, true).total
      watched.lastFilePages = memory.filePages
      if (watched.lastTotal + pages * PAGE_SIZE <= memory.killAbove) return true
    }
    const victim = this.#outOfMemory(memory, watched)
    // What another process gives back will be the room. Who must go itself, or is all alone, gets none.
    return victim !== undefined && victim !== this.#kernel.current?.group
  }

  /** The process that ends for it: the one that was killed before, as long as it is still about to. */
  #outOfMemory(memory: MemoryController, watched: Watched): ThreadGroup | undefined {
    const now = this.#kernel.now()
    const { victim } = watched
    if (victim !== undefined && !victim.dead && now - watched.killedAt < DEATH_WAIT) return victim
    memory.count('max')
    memory.count('oom')
    const chosen = chooseVictim(memory.cgroup, memory.max / PAGE_SIZE)
    if (chosen === undefined) return undefined
    watched.victim = chosen
    watched.killedAt = now
    reportOutOfMemory(this.#kernel, memory.cgroup, chosen)
    const whole = oomGroupOf(chosen, memory)
    if (whole === undefined) this.#kill(chosen)
    else {
      whole.count('oom_group_kill')
      for (const cgroup of whole.cgroup.subtree()) for (const group of [...cgroup.groups]) this.#kill(group)
    }
    return chosen
  }

  #kill(group: ThreadGroup): void {
    if (group.oomScoreAdj === -1000) return
    group.cgroup.memory.count('oom_kill')
    killGroup(group, SIGKILL)
  }

  #setSlowed(memory: MemoryController, slowed: boolean): void {
    if (memory.slowed === slowed) return
    memory.slowed = slowed
    updateHolds(memory.cgroup)
  }

  #anybodyRuns(): boolean {
    if (this.#mapped.size > 0) for (const task of this.#kernel.tasks()) if (isActive(task)) return true
    for (const memory of this.#watched.keys()) {
      for (const task of memory.cgroup.tasks(true)) if (isActive(task)) return true
    }
    return false
  }
}

/** The topmost cgroup, up to the one whose limit it is, that goes as a whole if a process of it does. */
function oomGroupOf(group: ThreadGroup, limit: MemoryController): MemoryController | undefined {
  let found: MemoryController | undefined
  for (let at: MemoryController | undefined = group.cgroup.memory; at !== undefined; at = at.parent) {
    if (at.oomGroup) found = at
    if (at === limit) break
  }
  return found
}
