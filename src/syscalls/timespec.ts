/** struct timespec in arguments where a point in time is meant: seconds since the epoch need more than ns in a double. */
import { EFAULT, EINVAL } from '../abi/errno.ts'
import { TIMESPEC } from '../abi/layout.ts'
import { NSEC_PER_SEC, Timespec } from '../base/clock.ts'
import type { Status } from '../base/result.ts'
import { put64, takeSigned64 } from '../base/words.ts'
import { clockOf, untilTime } from '../kernel/clocks.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'

/** A wait of more seconds than this never ends: ns beyond Linux's KTIME_MAX. */
const FOREVER_SEC = 9e9

/** A timespec that is a valid time: -EFAULT, or -EINVAL for negative seconds and nanoseconds out of range. */
export function readTime(task: Task, at: GuestAddr): Timespec | number {
  const view = task.mm.view(at, TIMESPEC.size)
  return view === undefined ? -EFAULT : timeIn(view, 0)
}

/** The timespec at an offset of a view; -EINVAL as above. */
export function timeIn(view: DataView, at: number): Timespec | number {
  const sec = takeSigned64(view, at + TIMESPEC.tv_sec)
  const nsec = takeSigned64(view, at + TIMESPEC.tv_nsec)
  if (sec < 0 || nsec < 0 || nsec >= NSEC_PER_SEC) return -EINVAL
  return new Timespec(sec, nsec)
}

export function putTime(out: DataView, at: number, time: Timespec): void {
  put64(out, at + TIMESPEC.tv_sec, time.sec)
  put64(out, at + TIMESPEC.tv_nsec, time.nsec)
}

export function writeTime(task: Task, at: GuestAddr, time: Timespec): Status {
  putTime(task.mm.out(TIMESPEC.size), 0, time)
  return task.mm.commit(at)
}

/** The point of the monotonic clock (ns) that is `time` from now, or, if absolute, at `time` on a clock. */
export function deadlineOf(task: Task, time: Timespec, clockId: number, absolute: boolean): number {
  const now = task.kernel.now()
  const clock = absolute ? clockOf(task, clockId) : -EINVAL
  const left = typeof clock === 'number' ? time.sec * NSEC_PER_SEC + time.nsec : untilTime(task, clock, time)
  return left > FOREVER_SEC * NSEC_PER_SEC ? Number.POSITIVE_INFINITY : now + left
}
