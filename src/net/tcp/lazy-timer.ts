/**
 * A deadline that moves with every acknowledgement: moving it on costs a store, since the timer in the kernel's heap is left
 * where it is and, when it goes off early, set again.
 */
import { type Expiry, Timer, type Timers } from '../../kernel/timers.ts'

export class LazyTimer {
  readonly timer: Timer
  /** When it is to go off; Infinity: never. */
  due = Number.POSITIVE_INFINITY

  constructor(owner: Expiry) {
    this.timer = new Timer(owner)
  }

  get pending(): boolean {
    return this.due !== Number.POSITIVE_INFINITY
  }
  set(timers: Timers, due: number): void {
    this.due = due
    if (!this.timer.armed || this.timer.deadline > due) timers.add(this.timer, due)
  }
  clear(): void {
    this.due = Number.POSITIVE_INFINITY
  }
  /** Out of the heap, too. */
  cancel(timers: Timers): void {
    this.clear()
    timers.cancel(this.timer)
  }
  /** The timer has gone off: whether it was meant, and then it is not pending any more. */
  fired(timers: Timers, now: number): boolean {
    if (this.due > now) {
      if (this.pending) timers.add(this.timer, this.due)
      return false
    }
    this.clear()
    return true
  }
}
