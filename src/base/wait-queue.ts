/**
 * Wait queues: who wants to know that something may have changed.
 *
 * An object that can make others wait (a pipe, a child list, a terminal) owns a WaitQueue and calls `wake`
 * after each change; it never waits itself. A Waiter is told synchronously and must only make a note (put a
 * task on the run queue, an epoll item on the ready list): it never runs kernel code from inside `wake`.
 * Entries stay until removed: whoever added one removes it.
 */

export interface Waiter {
  /**
   * Something changed. `events`: the POLL* bits that may now hold, or 0 for 'look yourself'. An exclusive entry whose
   * waiter has no use for it returns false, and the next one is told.
   */
  woken(entry: WaitEntry, events: number): boolean | void
}

export class WaitEntry {
  readonly queue: WaitQueue
  readonly waiter: Waiter
  /** POLL* bits that the waiter cares for; 0 means all. */
  readonly events: number
  /** Exclusive entries stand behind the others, and one `wake` reaches at most one of them. */
  readonly exclusive: boolean
  next: WaitEntry | undefined = undefined
  prev: WaitEntry | undefined = undefined
  linked = false

  constructor(queue: WaitQueue, waiter: Waiter, events: number, exclusive: boolean) {
    this.queue = queue
    this.waiter = waiter
    this.events = events
    this.exclusive = exclusive
  }
}

export class WaitQueue {
  #first: WaitEntry | undefined = undefined
  #last: WaitEntry | undefined = undefined

  get empty(): boolean {
    return this.#first === undefined
  }

  add(waiter: Waiter, events = 0, exclusive = false): WaitEntry {
    const entry = new WaitEntry(this, waiter, events, exclusive)
    entry.linked = true
    if (exclusive || this.#first === undefined) {
      entry.prev = this.#last
      if (this.#last !== undefined) this.#last.next = entry
      else this.#first = entry
      this.#last = entry
    } else {
      entry.next = this.#first
      this.#first.prev = entry
      this.#first = entry
    }
    return entry
  }

  remove(entry: WaitEntry): void {
    if (!entry.linked) return
    entry.linked = false
    if (entry.prev !== undefined) entry.prev.next = entry.next
    else this.#first = entry.next
    if (entry.next !== undefined) entry.next.prev = entry.prev
    else this.#last = entry.prev
    entry.next = entry.prev = undefined
  }

  /** Tells every waiter that cares for `events` (0: all of them), and at most `exclusive` exclusive ones. */
  wake(events = 0, exclusive = 1): void {
    let entry = this.#first
    while (entry !== undefined) {
      const next: WaitEntry | undefined = entry.next
      if (events === 0 || entry.events === 0 || (entry.events & events) !== 0) {
        const wasExclusive = entry.exclusive
        const used = entry.waiter.woken(entry, events) !== false
        if (wasExclusive && used && --exclusive === 0) return
      }
      entry = next
    }
  }

  /** Tells everybody, exclusive or not. */
  wakeAll(events = 0): void {
    this.wake(events, Number.POSITIVE_INFINITY)
  }
}
