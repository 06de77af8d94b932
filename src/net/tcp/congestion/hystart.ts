/**
 * HyStart++: RFC 9406. Slow start ends before it loses packets: when the least round-trip time of a round is clearly above
 * that of the round before, the window grows at a quarter of the pace for some rounds (Conservative Slow Start), and unless
 * the rise was an accident, slow start is over.
 */
import { MSEC } from '../rtt.ts'
import { type Seq, seqBefore } from '../sequence.ts'
import type { AckSample, CongestionWindow } from './control.ts'

const MIN_RTT_RISE = 4 * MSEC
const MAX_RTT_RISE = 16 * MSEC
const MIN_RTT_DIVISOR = 8
const RTT_SAMPLES = 8
const CSS_GROWTH_DIVISOR = 4
const CSS_ROUNDS = 5

export class HyStart {
  #roundEnd: Seq = 0
  #started = false
  #lastMin = Number.POSITIVE_INFINITY
  #currentMin = Number.POSITIVE_INFINITY
  #samples = 0
  /** Rounds spent in Conservative Slow Start; -1: not in it. */
  #cssRounds = -1
  #baseline = Number.POSITIVE_INFINITY

  reset(): void {
    this.#started = false
    this.#lastMin = this.#currentMin = this.#baseline = Number.POSITIVE_INFINITY
    this.#samples = 0
    this.#cssRounds = -1
  }

  /** How many of `acked` bytes the window may grow by. */
  growth(acked: number): number {
    return this.#cssRounds >= 0 ? acked / CSS_GROWTH_DIVISOR : acked
  }

  /** One acknowledgement in slow start. Ends it by setting the threshold. */
  sampled(window: CongestionWindow, sample: AckSample): void {
    if (!this.#started || !seqBefore(sample.sndUna, this.#roundEnd)) this.#newRound(window, sample)
    if (sample.rtt <= 0) return
    this.#currentMin = Math.min(this.#currentMin, sample.rtt)
    this.#samples++
    if (this.#samples < RTT_SAMPLES) return
    if (this.#cssRounds >= 0) {
      if (this.#currentMin < this.#baseline) this.#cssRounds = -1
      return
    }
    if (this.#lastMin === Number.POSITIVE_INFINITY) return
    const rise = Math.max(MIN_RTT_RISE, Math.min(this.#lastMin / MIN_RTT_DIVISOR, MAX_RTT_RISE))
    if (this.#currentMin < this.#lastMin + rise) return
    this.#baseline = this.#currentMin
    this.#cssRounds = 0
  }

  #newRound(window: CongestionWindow, sample: AckSample): void {
    if (this.#started && this.#cssRounds >= 0 && ++this.#cssRounds >= CSS_ROUNDS)
      window.ssthresh = window.size
    this.#started = true
    this.#roundEnd = sample.sndNxt
    this.#lastMin = this.#currentMin
    this.#currentMin = Number.POSITIVE_INFINITY
    this.#samples = 0
  }
}
