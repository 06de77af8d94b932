/**
 * The memory controller: what a cgroup uses, and its limits.
 *
 * Two things are counted. Files in memory (tmpfs, memfds, System V segments) are charged page by page when they come to be,
 * to the cgroup of who made the file. The memory of processes is the host's, and is looked at (memory-meter.ts): a limit is
 * watched by memory-watch.ts. Mapped programs and the host's page cache are nobody's here, as they can be had again.
 */
import { ENOMEM } from '../../abi/errno.ts'
import { Changes } from '../../base/changes.ts'
import type { Status } from '../../base/result.ts'
import { groupTotals } from '../cpu-time.ts'
import type { ThreadGroup } from '../thread-group.ts'
import type { Cgroup } from './cgroup.ts'
import { measureCgroup } from './memory-meter.ts'

export const PAGE_SIZE = 4096

/** A file in memory whose mappings make pages without a charge; it is counted anew now and then. */
export interface MappedFile {
  /** How many pages there are. */
  recount(): number
}

/** The most bytes that were seen in use. */
export interface MemoryPeak {
  peak: number
}

/** memory.events. */
export interface MemoryEvents {
  low: number
  high: number
  max: number
  oom: number
  oom_kill: number
  oom_group_kill: number
}

const newEvents = (): MemoryEvents => ({ low: 0, high: 0, max: 0, oom: 0, oom_kill: 0, oom_group_kill: 0 })

export class MemoryController {
  readonly cgroup: Cgroup
  readonly parent: MemoryController | undefined
  /** Bytes. */
  max = Number.POSITIVE_INFINITY
  /** How far above `max` processes may get: where the host keeps the limit, and the kernel comes second. */
  tolerance = 0
  /**
   * Where the host's limit counts the kernel's own memory too: what files may take of it. A kill frees none of their pages,
   * so the host would go on with the next process until it comes to the kernel.
   */
  fileMax = Number.POSITIVE_INFINITY
  high = Number.POSITIVE_INFINITY
  /** Protection from being reclaimed. Nothing ever is: both always hold. */
  low = 0
  min = 0
  /** Nothing is swapped but by the host. */
  swapMax = Number.POSITIVE_INFINITY
  swapHigh = Number.POSITIVE_INFINITY
  /** memory.oom.group: all processes or none. */
  oomGroup = false
  /** Pages of files in memory, here and below. */
  filePages = 0
  /** Bytes: the most that was ever seen. */
  peak = 0
  /** Open files that show the most since they were written to. */
  readonly watchedPeaks = new Set<MemoryPeak>()
  /** Page faults of processes that were here and have ended or gone. */
  readonly #pastFaults = { minor: 0, major: 0 }
  /** Here and below, and of this cgroup alone (memory.events.local). */
  readonly events = newEvents()
  readonly localEvents = newEvents()
  readonly eventsChanged = new Changes()
  readonly localEventsChanged = new Changes()
  readonly mapped = new Set<MappedFile>()
  /** Above `high`: the processes are held for a while. */
  slowed = false

  constructor(cgroup: Cgroup, parent: MemoryController | undefined) {
    this.cgroup = cgroup
    this.parent = parent
  }

  /** Bytes beyond which a process is killed. */
  get killAbove(): number {
    return this.max + this.tolerance
  }
  get limited(): boolean {
    return this.max !== Number.POSITIVE_INFINITY || this.high !== Number.POSITIVE_INFINITY
  }

  /** New pages of a file; -ENOMEM if there is no room for them. */
  charge(pages: number): Status {
    const { memoryWatch, hostRoom } = this.cgroup.kernel
    if (pages > 0 && !hostRoom.take(pages)) return -ENOMEM
    for (let at: MemoryController | undefined = this; at !== undefined; at = at.parent) {
      if (at.max !== Number.POSITIVE_INFINITY && !memoryWatch.hasRoom(at, pages)) return -ENOMEM
    }
    this.adjust(pages)
    return 0
  }
  /** Pages that are there already, or are gone. */
  adjust(delta: number): void {
    for (let at: MemoryController | undefined = this; at !== undefined; at = at.parent) at.filePages += delta
  }

  /** A process comes that has lived elsewhere, or leaves: so many of its faults are not, or no longer, those of one that is here. */
  countFaults(group: ThreadGroup, sign: 1 | -1): void {
    const { minorFaults, majorFaults } = groupTotals(group)
    this.#pastFaults.minor += sign * minorFaults
    this.#pastFaults.major += sign * majorFaults
  }
  /** Page faults here and below. */
  faults(): { minor: number; major: number } {
    const sum = { ...this.#pastFaults }
    for (const group of this.cgroup.groups) {
      const { minorFaults, majorFaults } = groupTotals(group)
      sum.minor += minorFaults
      sum.major += majorFaults
    }
    for (const child of this.cgroup.children.values()) {
      const below = child.memory.faults()
      sum.minor += below.minor
      sum.major += below.major
    }
    return sum
  }
  /** A cgroup below is removed. */
  inheritFaults(from: MemoryController): void {
    this.#pastFaults.minor += from.#pastFaults.minor
    this.#pastFaults.major += from.#pastFaults.major
  }

  seen(total: number): void {
    this.peak = Math.max(this.peak, total)
    for (const each of this.watchedPeaks) each.peak = Math.max(each.peak, total)
  }

  /** Bytes in use, measured now: memory.current. */
  current(): number {
    return measureCgroup(this.cgroup, true).total
  }

  count(event: keyof MemoryEvents): void {
    this.localEvents[event]++
    this.localEventsChanged.changed()
    for (let at: MemoryController | undefined = this; at !== undefined; at = at.parent) {
      at.events[event]++
      at.eventsChanged.changed()
    }
  }

  /** The host has killed a process of it. Where there is a limit that was, as far as can be known, for want of memory. */
  killedByHost(): void {
    for (let at: MemoryController | undefined = this; at !== undefined; at = at.parent) {
      if (at.max === Number.POSITIVE_INFINITY) continue
      this.count('oom_kill')
      return
    }
  }

  /** To be called when a limit was set. */
  limitsChanged(): void {
    this.cgroup.kernel.memoryWatch.limitsChanged(this)
  }
  reset(): void {
    this.max = this.high = this.swapMax = this.swapHigh = Number.POSITIVE_INFINITY
    this.low = this.min = this.tolerance = 0
    this.fileMax = Number.POSITIVE_INFINITY
    this.oomGroup = false
    this.limitsChanged()
  }
}
