/**
 * Gives memory back to the host in quiet times: after the start, whose garbage nobody collects otherwise, and after work
 * that made more. While a guest is at work nothing of it runs.
 */
import type { Kernel } from '../kernel/kernel.ts'
import { type Expiry, Timer } from '../kernel/timers.ts'
import type { Addon } from '../platform/addon.ts'

/** A heap that has grown so much above its least is worth a collection, which takes some 20 ms. */
const WORTH = 4 << 20
/** Collections take at most one part in so many of the time. */
const TIME_SHARE = 25
/** Between `create` and `start` of a container a collection would only be in the way of other starts. ns */
const START_PATIENCE = 5e9

export class Tidier implements Expiry {
  readonly #kernel: Kernel
  readonly #addon: Addon
  readonly #timer = new Timer(this)
  #leastHeap = Number.POSITIVE_INFINITY
  #hasWaited = false
  /** Monotonic ns. */
  #notBefore = 0

  constructor(kernel: Kernel, addon: Addon) {
    this.#kernel = kernel
    this.#addon = addon
  }

  /** To be called when there is nothing to do: the platform's onQuiet. */
  tidy(): void {
    this.#kernel.host.changes?.quiet()
    const start = this.#kernel.now()
    if (this.#kernel.liveTasks === 0 && !this.#hasWaited) {
      this.#hasWaited = true
      this.#kernel.timers.add(this.#timer, start + START_PATIENCE)
      return
    }
    for (const release of this.#kernel.whenQuiet) release()
    const heap = heapSize()
    if (this.#leastHeap === Number.POSITIVE_INFINITY || heap > this.#leastHeap + WORTH) {
      if (start < this.#notBefore) {
        this.#kernel.timers.add(this.#timer, this.#notBefore)
        return
      }
      collect()
      this.#leastHeap = Math.min(this.#leastHeap, heapSize())
      const end = this.#kernel.now()
      this.#notBefore = end + (end - start) * TIME_SHARE
    }
    this.#addon.trim()
  }

  /** Time for the next collection, once it is quiet again. */
  expired(): void {
    this.#addon.awaitQuiet()
  }
}

function heapSize(): number {
  // Here, since a start that is over before it is quiet has no use for the module.
  const { used_heap_size, external_memory } = process.getBuiltinModule('node:v8').getHeapStatistics()
  return used_heap_size + external_memory
}

/** Of the kinds that --expose-gc gives, the one that also shrinks V8's young generation. */
function collect(): void {
  const gc = globalThis.gc as ((options: object) => void) | undefined
  gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
