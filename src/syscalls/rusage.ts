/** struct rusage for getrusage, wait4 and waitid. */
import { RUSAGE } from '../abi/layout.ts'
import { NSEC_PER_SEC } from '../base/clock.ts'
import type { Status } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import type { CpuTotals } from '../kernel/cpu-time.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'

export function writeRusage(task: Task, at: GuestAddr, totals: CpuTotals): Status {
  const out = task.mm.out(RUSAGE.size)
  putTimeval(out, RUSAGE.ru_utime, totals.user)
  putTimeval(out, RUSAGE.ru_stime, totals.system)
  put64(out, RUSAGE.ru_maxrss, totals.maxRss)
  put64(out, RUSAGE.ru_minflt, totals.minorFaults)
  put64(out, RUSAGE.ru_majflt, totals.majorFaults)
  put64(out, RUSAGE.ru_inblock, totals.blocksIn)
  put64(out, RUSAGE.ru_oublock, totals.blocksOut)
  put64(out, RUSAGE.ru_nvcsw, totals.voluntarySwitches)
  put64(out, RUSAGE.ru_nivcsw, totals.involuntarySwitches)
  return task.mm.commit(at)
}

/** struct timeval of a span in ns. */
export function putTimeval(out: DataView, at: number, ns: number): void {
  put64(out, at, Math.floor(ns / NSEC_PER_SEC))
  put64(out, at + 8, Math.floor((ns % NSEC_PER_SEC) / 1000))
}
