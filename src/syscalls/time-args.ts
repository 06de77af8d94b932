/** struct timespec and struct timeval in guest memory, as spans and deadlines. */
import { EFAULT, EINVAL } from '../abi/errno.ts'
import { TIMESPEC, TIMEVAL } from '../abi/layout.ts'
import { NSEC_PER_SEC } from '../base/clock.ts'
import { put64, takeSigned64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'

const NSEC_PER_USEC = 1000
const USEC_PER_SEC = 1e6
/** Longer spans than this many seconds are for ever: doubles of nanoseconds stay exact below it. */
const FOREVER_SEC = 9e6

/** A span in ns (Infinity when it is very long); -EFAULT, -EINVAL for what is no valid span. */
export function readTimespec(task: Task, at: GuestAddr): number {
  const view = task.mm.view(at, TIMESPEC.size)
  if (view === undefined) return -EFAULT
  const sec = takeSigned64(view, TIMESPEC.tv_sec)
  const nsec = takeSigned64(view, TIMESPEC.tv_nsec)
  if (sec < 0 || nsec < 0 || nsec >= NSEC_PER_SEC) return -EINVAL
  return sec > FOREVER_SEC ? Number.POSITIVE_INFINITY : sec * NSEC_PER_SEC + nsec
}

/** As select(2) takes it: microseconds may be more than a second. */
export function readTimeval(task: Task, at: GuestAddr): number {
  const view = task.mm.view(at, TIMEVAL.size)
  if (view === undefined) return -EFAULT
  const usec = takeSigned64(view, TIMEVAL.tv_usec)
  const sec = takeSigned64(view, TIMEVAL.tv_sec) + Math.floor(usec / USEC_PER_SEC)
  if (sec < 0 || usec < 0) return -EINVAL
  if (sec > FOREVER_SEC) return Number.POSITIVE_INFINITY
  return sec * NSEC_PER_SEC + (usec % USEC_PER_SEC) * NSEC_PER_USEC
}

export function writeTimespec(task: Task, at: GuestAddr, ns: number): number {
  const out = task.mm.out(TIMESPEC.size)
  put64(out, TIMESPEC.tv_sec, Math.floor(ns / NSEC_PER_SEC))
  put64(out, TIMESPEC.tv_nsec, ns % NSEC_PER_SEC)
  return task.mm.commit(at)
}

export function writeTimeval(task: Task, at: GuestAddr, ns: number): number {
  const out = task.mm.out(TIMEVAL.size)
  put64(out, TIMEVAL.tv_sec, Math.floor(ns / NSEC_PER_SEC))
  put64(out, TIMEVAL.tv_usec, Math.floor((ns % NSEC_PER_SEC) / NSEC_PER_USEC))
  return task.mm.commit(at)
}
