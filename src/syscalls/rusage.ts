/** struct rusage for getrusage, wait4 and waitid. */
import { RUSAGE } from '../abi/layout.ts'
import { NSEC_PER_SEC } from '../base/clock.ts'
import type { Status } from '../base/result.ts'
import type { CpuTotals } from '../kernel/cpu-time.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'

export function writeRusage(task: Task, at: GuestAddr, totals: CpuTotals): Status {
  const out = task.mm.out(RUSAGE.size)
  putTimeval(out, RUSAGE.ru_utime, totals.user)
  putTimeval(out, RUSAGE.ru_stime, totals.system)
  putLong(out, RUSAGE.ru_maxrss, totals.maxRss)
  putLong(out, RUSAGE.ru_minflt, totals.minorFaults)
  putLong(out, RUSAGE.ru_majflt, totals.majorFaults)
  putLong(out, RUSAGE.ru_inblock, totals.blocksIn)
  putLong(out, RUSAGE.ru_oublock, totals.blocksOut)
  putLong(out, RUSAGE.ru_nvcsw, totals.voluntarySwitches)
  putLong(out, RUSAGE.ru_nivcsw, totals.involuntarySwitches)
  return task.mm.commit(at)
}

export function putLong(out: DataView, at: number, value: number): void {
  out.setUint32(at, value >>> 0, true)
  out.setInt32(at + 4, Math.floor(value / 0x100000000), true)
}

/** struct timeval of a span in ns. */
export function putTimeval(out: DataView, at: number, ns: number): void {
  putLong(out, at, Math.floor(ns / NSEC_PER_SEC))
  putLong(out, at + 8, Math.floor((ns % NSEC_PER_SEC) / 1000))
}
