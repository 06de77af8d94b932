/**
 * Deadlines: one binary heap for the whole kernel, on the monotonic clock. A Timer object is made once by who
 * owns it and armed and cancelled any number of times without allocation. `expired` is called from the kernel's
 * loop, with the timer already out of the heap: it may arm it again.
 */
import type { ThreadGroup } from './thread-group.ts'

export interface Expiry {
  expired(timer: Timer): void
  /** The process that ends should a bug make `expired` throw; without one the sandbox does (containment.ts). */
  victim?(): ThreadGroup | undefined
}

export class Timer {
  readonly owner: Expiry
  /** Monotonic ns; Infinity when not armed. */
  deadline = Number.POSITIVE_INFINITY
  /** Place in the heap, -1 when not armed. */
  index = -1

  constructor(owner: Expiry) {
    this.owner = owner
  }
  get armed(): boolean {
    return this.index >= 0
  }
}

export class Timers {
  readonly #heap: Timer[] = []

  /** The earliest deadline, Infinity if there is none. */
  get next(): number {
    return this.#heap.length > 0 ? this.#heap[0].deadline : Number.POSITIVE_INFINITY
  }

  /** Arms `timer`, or moves it if it is armed. Infinity: cancels. */
  add(timer: Timer, deadline: number): void {
    this.cancel(timer)
    if (deadline === Number.POSITIVE_INFINITY) return
    timer.deadline = deadline
    timer.index = this.#heap.length
    this.#heap.push(timer)
    this.#up(timer)
  }

  cancel(timer: Timer): void {
    const at = timer.index
    if (at < 0) return
    timer.index = -1
    timer.deadline = Number.POSITIVE_INFINITY
    const last = this.#heap.pop()!
    if (last === timer) return
    this.#heap[at] = last
    last.index = at
    this.#up(last)
    this.#down(last)
  }

  /** Calls all timers that are due at `now`; `failed` is told of those that throw, and may throw itself. */
  expire(now: number, failed?: (timer: Timer, error: unknown) => void): void {
    while (this.#heap.length > 0 && this.#heap[0].deadline <= now) {
      const timer = this.#heap[0]
      this.cancel(timer)
      try {
        timer.owner.expired(timer)
      } catch (error) {
        if (failed === undefined) throw error
        failed(timer, error)
      }
    }
  }

  #up(timer: Timer): void {
    const heap = this.#heap
    let at = timer.index
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (heap[parent].deadline <= timer.deadline) break
      heap[at] = heap[parent]
      heap[at].index = at
      at = parent
    }
    heap[at] = timer
    timer.index = at
  }

  #down(timer: Timer): void {
    const heap = this.#heap
    let at = timer.index
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1].deadline < heap[child].deadline) child++
      if (heap[child].deadline >= timer.deadline) break
      heap[at] = heap[child]
      heap[at].index = at
      at = child
    }
    heap[at] = timer
    timer.index = at
  }
}
