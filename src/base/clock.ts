/**
 * Time. Points and spans on the monotonic clock are nanoseconds in a double (exact to 104 days, then to 2 ns).
 * Wall-clock times need more bits and are a Timespec.
 */

/** Seconds since the epoch and nanoseconds 0..999,999,999: struct timespec. */
export class Timespec {
  sec: number
  nsec: number

  constructor(sec = 0, nsec = 0) {
    this.sec = sec
    this.nsec = nsec
  }

  set(other: Timespec): void {
    this.sec = other.sec
    this.nsec = other.nsec
  }

  clone(): Timespec {
    return new Timespec(this.sec, this.nsec)
  }
}

export interface Clock {
  /** CLOCK_MONOTONIC in nanoseconds. */
  monotonic(): number
  /** CLOCK_REALTIME. */
  realtime(): Timespec
  /** CLOCK_BOOTTIME in nanoseconds. */
  boottime(): number
}

export const NSEC_PER_SEC = 1e9
