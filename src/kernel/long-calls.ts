/**
 * LongCalls: calls that work for so long that everybody else would wait.
 *
 * Only one call is served at a time. So a call whose work has no small bound does a share of it, some milliseconds' worth,
 * notes how far it has come and returns what `task.yieldCall` gives: BLOCK. Its handler is called again for the next share
 * when nobody else has asked for anything for a moment, or when the others have had as much time as the last share took. One
 * share is done between two looks at the others, however many such calls there are; they take turns.
 */
import type { Clock } from '../base/clock.ts'

/** How long the others are waited for: who was just answered may be about to ask for the next thing. Ns. */
const MOMENT = 50_000
/** What the others get at most for one share, which may have been longer than it should be. Ns. */
const LONGEST_TURN = 20_000_000

/** A task or an operation that has yielded. */
export interface Yielding {
  /** The next share. */
  goOn(): void
}

export class LongCalls {
  readonly #clock: Clock
  /** In the order of their turns. */
  readonly #waiting = new Set<Yielding>()
  /** When the share in hand began, if it is not the first one of its call. Monotonic ns. */
  #begun: number | undefined = undefined
  /** When the next share is due though others still ask. */
  #due = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get waiting(): boolean {
    return this.#waiting.size > 0
  }
  /** Whether the loop has to say that it `looked`. */
  get watching(): boolean {
    return this.#waiting.size > 0 || this.#begun !== undefined
  }

  /** It has done a share. */
  add(who: Yielding): void {
    const now = this.#clock.monotonic()
    this.#due = now + Math.min(now - (this.#begun ?? now), LONGEST_TURN)
    this.#begun = undefined
    this.#waiting.add(who)
  }
  /** It ends, or something woke it before. */
  delete(who: Yielding): void {
    this.#waiting.delete(who)
  }

  /** Until when the loop waits for others. */
  get deadline(): number {
    return Math.min(this.#due, this.#clock.monotonic() + MOMENT)
  }

  /** The loop, after it has looked at the others: `idle` if nobody asked. */
  looked(idle: boolean): void {
    // The last share was the call's last one.
    this.#begun = undefined
    if (!idle && this.#clock.monotonic() < this.#due) return
    for (const who of this.#waiting) {
      this.#waiting.delete(who)
      this.#begun = this.#clock.monotonic()
      who.goOn()
      return
    }
  }
}
