/** limit: goes on while packets come no faster than a rate. */
import { NFPROTO_UNSPEC } from '../../../../abi/constants.ts'
import { ERANGE } from '../../../../abi/errno.ts'
import { XT_RATEINFO } from '../../../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../../../base/clock.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, Match } from './extension.ts'

/** XT_LIMIT_SCALE: in how many parts of a second the interval is given. */
const SCALE = 10000

export const limitMatch: Extension<Match> = {
  name: 'limit',
  revision: 0,
  family: NFPROTO_UNSPEC,
  size: XT_RATEINFO.size,
  userSize: XT_RATEINFO.prev,
  parse(info, { netfilter }) {
    const interval = info.getUint32(XT_RATEINFO.avg, true)
    const burst = info.getUint32(XT_RATEINFO.burst, true)
    if (burst === 0 || interval === 0 || interval * burst > 0xffffffff) return -ERANGE
    return new Limit((interval * NSEC_PER_SEC) / SCALE, burst, netfilter.stack.runtime.now())
  },
}

class Limit implements Match {
  /** ns for one packet. */
  readonly #cost: number
  readonly #most: number
  #credit: number
  #last: number

  constructor(cost: number, burst: number, now: number) {
    this.#cost = cost
    this.#most = cost * burst
    this.#credit = this.#most
    this.#last = now
  }
  matches({ stack }: Evaluation): boolean {
    const now = stack.runtime.now()
    this.#credit = Math.min(this.#credit + now - this.#last, this.#most)
    this.#last = now
    if (this.#credit < this.#cost) return false
    this.#credit -= this.#cost
    return true
  }
}
