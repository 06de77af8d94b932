/**
 * CUBIC: RFC 9438. The window grows as a cubic function of the time since the last reduction, flat around the size at which
 * that happened, and never slower than Reno would. Windows here are in segments, times in seconds.
 */
import type { AckSample, CongestionControl, CongestionWindow } from './control.ts'
import { HyStart } from './hystart.ts'

const C = 0.4
const BETA = 0.7
/** §4.3: what makes the Reno-friendly estimate as aggressive as Reno with half instead of BETA. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA)

export class Cubic implements CongestionControl {
  readonly name = 'cubic'
  readonly #hystart = new HyStart()
  /** Start of the present growth in ns, -1 when it begins with the next acknowledgement. */
  #epoch = -1
  /** Where the window was before the last reduction; 0: never reduced. */
  #wMax = 0
  /** Where the plateau is, and when it is reached. */
  #origin = 0
  #k = 0
  /** The window before the reduction, at which the Reno estimate takes Reno's slope. */
  #prior = 0
  #wEst = 0

  acked(window: CongestionWindow, acked: number, sample: AckSample): void {
    if (window.slowStart) {
      const allowed = this.#hystart.growth(acked)
      const left = window.grow(allowed)
      if (left === 0) return
      acked = left
    }
    const cwnd = window.size / window.mss
    if (this.#epoch < 0) this.#begin(cwnd, sample.now)
    const t = (sample.now - this.#epoch) / 1e9
    const share = acked / window.size
    this.#wEst += (this.#wEst >= this.#prior ? 1 : ALPHA) * share
    const reached = this.#cubic(t)
    if (reached < this.#wEst) {
      if (this.#wEst > cwnd) window.size = this.#wEst * window.mss
      return
    }
    const target = Math.min(Math.max(this.#cubic(t + sample.srtt / 1e9), cwnd), 1.5 * cwnd)
    // Of an acknowledgement for more than a window only a window counts.
    window.size += (target - cwnd) * window.mss * Math.min(share, 1)
  }

  threshold(window: CongestionWindow): number {
    const cwnd = window.size / window.mss
    this.#epoch = -1
    this.#hystart.reset()
    // §4.7: a second reduction below the last plateau means that there are new flows: make room faster.
    this.#wMax = cwnd < this.#wMax ? (cwnd * (1 + BETA)) / 2 : cwnd
    this.#prior = cwnd
    return Math.max(window.size * BETA, 2 * window.mss)
  }

  /** §4.2, §5.8: time in which nothing was sent is no time to grow in. */
  restarted(idle: number): void {
    if (idle > 0 && this.#epoch >= 0) this.#epoch += idle
    if (idle === 0) this.#epoch = -1
    this.#hystart.reset()
  }

  sampled(window: CongestionWindow, sample: AckSample): void {
    if (window.slowStart) this.#hystart.sampled(window, sample)
  }

  #begin(cwnd: number, now: number): void {
    this.#epoch = now
    this.#wEst = cwnd
    if (cwnd < this.#wMax) {
      this.#origin = this.#wMax
      this.#k = Math.cbrt((this.#wMax - cwnd) / C)
    } else {
      this.#origin = cwnd
      this.#k = 0
    }
  }

  #cubic(t: number): number {
    return C * (t - this.#k) ** 3 + this.#origin
  }
}
