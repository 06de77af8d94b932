/** At most so many of something in a while: ratelimit(), by which the kernel keeps its log readable. */
import type { Clock } from '../../base/clock.ts'

/** DEFAULT_RATELIMIT_INTERVAL in ns, DEFAULT_RATELIMIT_BURST. */
const INTERVAL = 5e9
const BURST = 10

export class RateLimit {
  readonly #clock: Clock
  #begin = Number.NEGATIVE_INFINITY
  #count = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether one more may pass. */
  pass(): boolean {
    const now = this.#clock.monotonic()
    if (now - this.#begin > INTERVAL) {
      this.#begin = now
      this.#count = 0
    }
    return this.#count++ < BURST
  }
}
