/**
 * The congestion window and what may decide it: RFC 5681. An algorithm is chosen by name per connection; it is told of
 * acknowledgements and asked for the threshold after a loss. Reducing the window during recovery (RFC 6937) and undoing a
 * reduction are not its business, but the connection's.
 */
import type { Seq } from '../sequence.ts'
import { Cubic } from './cubic.ts'
import { Reno } from './reno.ts'

/** RFC 6928, in segments. */
export const INITIAL_WINDOW = 10

/** What an acknowledgement says, as far as algorithms care. */
export interface AckSample {
  now: number
  /** Of this acknowledgement, 0 for none, in ns. */
  rtt: number
  srtt: number
  sndUna: Seq
  sndNxt: Seq
}

export interface CongestionControl {
  readonly name: string
  /** `acked` new bytes are acknowledged, and the window was what limited the sender. */
  acked(window: CongestionWindow, acked: number, sample: AckSample): void
  /** A loss or an ECN mark: the new threshold in bytes. */
  threshold(window: CongestionWindow): number
  /** Everything was lost, or the connection begins anew after idling. */
  restarted(idle: number): void
  /** Each acknowledgement's round-trip time, limited or not. */
  sampled(window: CongestionWindow, sample: AckSample): void
}

export class CongestionWindow {
  /** In bytes, as everything here. */
  size = 0
  ssthresh = Number.POSITIVE_INFINITY
  mss: number
  /** TCP's way to bound it: no more than this is ever useful. */
  limit = Number.POSITIVE_INFINITY
  control: CongestionControl

  constructor(mss: number, control: CongestionControl) {
    this.mss = mss
    this.size = INITIAL_WINDOW * mss
    this.control = control
  }

  get slowStart(): boolean {
    return this.size < this.ssthresh
  }
  get segments(): number {
    return Math.max(1, Math.floor(this.size / this.mss))
  }

  /** Slow start: what is left of `acked` when it ends. */
  grow(acked: number): number {
    const size = Math.min(this.size + acked, Math.max(this.ssthresh, this.size))
    const used = size - this.size
    this.size = Math.min(size, this.limit)
    return acked - used
  }

  acked(acked: number, sample: AckSample): void {
    this.control.acked(this, acked, sample)
    this.size = Math.min(this.size, this.limit)
  }
}

const ALGORITHMS: Readonly<Record<string, () => CongestionControl>> = {
  cubic: () => new Cubic(),
  reno: () => new Reno(),
}

export function congestionControl(name: string): CongestionControl | undefined {
  return Object.hasOwn(ALGORITHMS, name) ? ALGORITHMS[name]() : undefined
}
