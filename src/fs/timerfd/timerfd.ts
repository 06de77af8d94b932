/**
 * timerfd_create(2): a timer whose expirations are counted behind a descriptor.
 *
 * As in Linux, a periodic timer rings once and is wound up again only when somebody looks (read, gettime): what
 * it missed in between is computed then, so that an unread timer costs nothing.
 */

import {
  CLOCK_BOOTTIME,
  CLOCK_BOOTTIME_ALARM,
  CLOCK_REALTIME,
  CLOCK_REALTIME_ALARM,
  O_NONBLOCK,
  O_RDWR,
  POLLIN,
  POLLRDNORM,
  TFD_TIMER_ABSTIME,
} from '../../abi/constants.ts'
import { EAGAIN, EINVAL } from '../../abi/errno.ts'
import { type Clock, NSEC_PER_SEC, type Timespec } from '../../base/clock.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst } from '../../base/io.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { put64 } from '../../base/words.ts'
import { type Expiry, Timer, type Timers } from '../../kernel/timers.ts'
import { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

/** struct itimerspec in nanoseconds; `value` is the time left, 0 when disarmed. */
export interface TimerSetting {
  value: number
  interval: number
}

export class TimerFdFile extends File implements Expiry {
  readonly #queue = new WaitQueue()
  readonly #clock: Clock
  readonly #timers: Timers
  readonly #timer = new Timer(this)
  readonly clockId: number
  #settimeFlags = 0
  /** When it rings next, on the monotonic clock; Infinity when disarmed. */
  #expiry = Number.POSITIVE_INFINITY
  /** CLOCK_REALTIME and absolute: the same as a wall-clock time, which stays put when that clock is set. */
  #wall: Timespec | undefined = undefined
  #interval = 0
  /** Expirations not yet read. */
  #ticks = 0
  /** A periodic timer rang and was not wound up again. */
  #rang = false

  constructor(path: Path, flags: number, cred: Credentials, clockId: number, clock: Clock, timers: Timers) {
    super(path, O_RDWR | (flags & O_NONBLOCK), cred)
    this.clockId = clockId
    this.#clock = clock
    this.#timers = timers
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }
  override poll(): number {
    return this.#ticks > 0 ? POLLIN | POLLRDNORM : 0
  }

  /** It has no position, but seeking is no error. */
  override seek(): number {
    return 0
  }

  override read(into: IoDst): number {
    if (into.remaining < 8) return -EINVAL
    if (this.#ticks === 0) return -EAGAIN
    this.#windUp()
    const out = new DataView(new ArrayBuffer(8))
    put64(out, 0, this.#ticks)
    this.#ticks = 0
    return into.put(new Uint8Array(out.buffer))
  }

  /**
   * timerfd_settime(2). `value` 0 disarms; with TFD_TIMER_ABSTIME it is a time of the timer's clock.
   * Returns the old setting.
   */
  settime(flags: number, value: Timespec, interval: number): TimerSetting {
    const old = this.gettime()
    this.#timers.cancel(this.#timer)
    this.#settimeFlags = flags
    this.#ticks = 0
    this.#rang = false
    this.#interval = interval
    this.#wall = undefined
    this.#expiry = Number.POSITIVE_INFINITY
    if (value.sec === 0 && value.nsec === 0) return old
    const span = value.sec * NSEC_PER_SEC + value.nsec
    if ((flags & TFD_TIMER_ABSTIME) === 0) this.#expiry = this.#clock.monotonic() + span
    else if (this.#isRealtime()) {
      this.#wall = value.clone()
      this.#expiry = this.#wallToMonotonic(value)
    } else if (this.#isBoottime()) this.#expiry = this.#clock.monotonic() + span - this.#clock.boottime()
    else this.#expiry = span
    this.#arm()
    return old
  }

  gettime(): TimerSetting {
    this.#windUp()
    if (!this.#timer.armed) return { value: 0, interval: this.#interval }
    // An armed timer never says 0, which would mean disarmed.
    return { value: Math.max(this.#expiry - this.#clock.monotonic(), 1), interval: this.#interval }
  }

  /** Expiry: the deadline was reached. */
  expired(): void {
    if (this.#wall !== undefined) {
      // The wall clock may have been set back meanwhile.
      const deadline = this.#wallToMonotonic(this.#wall)
      if (deadline > this.#clock.monotonic()) {
        this.#expiry = deadline
        this.#timers.add(this.#timer, deadline)
        return
      }
    }
    this.#wall = undefined
    this.#ticks++
    this.#rang = this.#interval > 0
    this.#queue.wake(POLLIN | POLLRDNORM)
  }

  /** TFD_IOC_SET_TICKS is not offered: it belongs to checkpoint and restore inside the guest. */
  override release(): void {
    this.#timers.cancel(this.#timer)
  }

  override fdinfo(): string {
    const { value, interval } = this.gettime()
    return (
      `clockid: ${this.clockId}\nticks: ${this.#ticks}\nsettime flags: 0${this.#settimeFlags.toString(8)}\n` +
      `it_value: (${pair(value)})\nit_interval: (${pair(interval)})\n`
    )
  }

  #arm(): void {
    if (this.#expiry <= this.#clock.monotonic()) this.expired()
    else this.#timers.add(this.#timer, this.#expiry)
  }

  /** Counts what a periodic timer missed since it rang, and sets it to its next time. */
  #windUp(): void {
    if (!this.#rang) return
    this.#rang = false
    const missed = Math.max(Math.floor((this.#clock.monotonic() - this.#expiry) / this.#interval), 0)
    this.#ticks += missed
    this.#expiry += (missed + 1) * this.#interval
    this.#timers.add(this.#timer, this.#expiry)
  }

  #wallToMonotonic(wall: Timespec): number {
    const now = this.#clock.realtime()
    return this.#clock.monotonic() + (wall.sec - now.sec) * NSEC_PER_SEC + (wall.nsec - now.nsec)
  }
  #isRealtime(): boolean {
    return this.clockId === CLOCK_REALTIME || this.clockId === CLOCK_REALTIME_ALARM
  }
  #isBoottime(): boolean {
    return this.clockId === CLOCK_BOOTTIME || this.clockId === CLOCK_BOOTTIME_ALARM
  }
}

function pair(ns: number): string {
  return `${Math.floor(ns / NSEC_PER_SEC)}, ${Math.floor(ns % NSEC_PER_SEC)}`
}
