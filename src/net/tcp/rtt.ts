/**
 * Round-trip times and the retransmission timeout: RFC 6298 with Linux's minimum (the variance term is never below 200 ms,
 * so that RTO = SRTT + max(4·RTTVAR, 200 ms)) and its finer variance: the largest deviation of a round trip counts, and it
 * sinks only once per round trip. All in nanoseconds.
 */
import { type Seq, seqAfter } from './sequence.ts'

export const MSEC = 1e6
/** RFC 6298 §2.1. */
export const INITIAL_RTO = 1000 * MSEC
/** RFC 6298 §5.7: when the SYN had to be sent again. */
export const FALLBACK_RTO = 3000 * MSEC

export class RttEstimator {
  /** 0 before the first sample. */
  srtt = 0
  rttvar = 0
  #deviation = 0
  #largest = 0
  /** The round trip under way ends when this is acknowledged. */
  #roundEnd: Seq = 0
  rto = INITIAL_RTO
  readonly min = new WindowedMin()
  /** The latest sample. */
  latest = 0

  /** `sndUna`, `sndNxt`: to tell round trips apart. */
  sample(rtt: number, sndUna: Seq, sndNxt: Seq, minimum: number, maximum: number): void {
    this.latest = rtt
    if (this.srtt === 0) {
      this.srtt = rtt
      this.#deviation = rtt / 2
      this.rttvar = this.#largest = Math.max(this.#deviation * 4, minimum)
      this.#roundEnd = sndNxt
    } else {
      const error = rtt - this.srtt
      this.srtt += error / 8
      const size = Math.abs(error)
      // A sudden fall of the round trip time must not raise the timeout: count its deviation for less.
      const gain = error < 0 && size > this.#deviation ? 1 / 32 : 1 / 4
      this.#deviation += (size - this.#deviation) * gain
      if (this.#deviation * 4 > this.#largest) {
        this.#largest = this.#deviation * 4
        if (this.#largest > this.rttvar) this.rttvar = this.#largest
      }
      if (seqAfter(sndUna, this.#roundEnd)) {
        if (this.#largest < this.rttvar) this.rttvar -= (this.rttvar - this.#largest) / 4
        this.#roundEnd = sndNxt
        this.#largest = minimum
      }
    }
    this.update(maximum)
  }

  /** Without backoff. */
  update(maximum: number): void {
    if (this.srtt > 0) this.rto = Math.min(this.srtt + this.rttvar, maximum)
  }
}

/** The least of the samples of the last while: the best, second and third best of successive parts of the window. */
export class WindowedMin {
  readonly #value = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  readonly #time = [0, 0, 0]

  /** Infinity before the first sample. */
  get value(): number {
    return this.#value[0]
  }

  add(value: number, now: number, window: number): void {
    const v = this.#value
    const t = this.#time
    if (value <= v[0] || now - t[2] > window) {
      v.fill(value)
      t.fill(now)
      return
    }
    if (value <= v[1]) this.#set(1, value, now)
    else if (value <= v[2]) this.#put(2, value, now)
    const age = now - t[0]
    if (age > window) {
      this.#put(0, v[1], t[1])
      this.#put(1, v[2], t[2])
      this.#put(2, value, now)
    } else if (t[1] === t[0] && age > window / 4) {
      this.#set(1, value, now)
    } else if (t[2] === t[1] && age > window / 2) {
      this.#put(2, value, now)
    }
  }

  #set(from: number, value: number, now: number): void {
    for (let i = from; i < 3; i++) this.#put(i, value, now)
  }
  #put(i: number, value: number, now: number): void {
    this.#value[i] = value
    this.#time[i] = now
  }
}
