/** Reno: RFC 5681 §3.1. One segment more per round trip, half after a loss. */
import type { AckSample, CongestionControl, CongestionWindow } from './control.ts'

export class Reno implements CongestionControl {
  readonly name = 'reno'
  #credit = 0

  acked(window: CongestionWindow, acked: number, _sample: AckSample): void {
    if (window.slowStart) {
      acked = window.grow(acked)
      if (acked === 0) return
    }
    this.#credit += acked
    while (this.#credit >= window.size) {
      this.#credit -= window.size
      window.size += window.mss
    }
  }

  threshold(window: CongestionWindow): number {
    return Math.max(window.size / 2, 2 * window.mss)
  }

  restarted(): void {
    this.#credit = 0
  }
  sampled(): void {}
}
