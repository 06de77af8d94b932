/**
 * CPU time and rusage. The platform counts a host thread's CPU time; all of it is shown as user time, since the time
 * that the sentry works for a task is not measured per task.
 */
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

/** What getrusage(2) sums up; times in ns, sizes in KiB. */
export interface CpuTotals {
  user: number
  system: number
  maxRss: number
  minorFaults: number
  majorFaults: number
  blocksIn: number
  blocksOut: number
  voluntarySwitches: number
  involuntarySwitches: number
}

export function newCpuTotals(): CpuTotals {
  return {
    user: 0, system: 0, maxRss: 0, minorFaults: 0, majorFaults: 0, blocksIn: 0, blocksOut: 0, voluntarySwitches: 0,
    involuntarySwitches: 0,
  }
}

export function addTotals(to: CpuTotals, more: CpuTotals): void {
  to.user += more.user
  to.system += more.system
  to.maxRss = Math.max(to.maxRss, more.maxRss)
  to.minorFaults += more.minorFaults
  to.majorFaults += more.majorFaults
  to.blocksIn += more.blocksIn
  to.blocksOut += more.blocksOut
  to.voluntarySwitches += more.voluntarySwitches
  to.involuntarySwitches += more.involuntarySwitches
}

/** CPU time of one thread, in ns. */
export function taskCpuTime(task: Task): number {
  return task.ended ? task.cpuTimeAtEnd : task.cpuTimeBefore + (task.thread.cpuTime?.() ?? 0)
}

/** CPU time of all threads that the process has and had. */
export function groupCpuTime(group: ThreadGroup): number {
  let sum = group.ended.user + group.ended.system
  for (const task of group.tasks) if (!task.ended) sum += taskCpuTime(task)
  return sum
}

/** RUSAGE_THREAD. */
export function taskTotals(task: Task): CpuTotals {
  const totals = newCpuTotals()
  totals.user = taskCpuTime(task)
  totals.voluntarySwitches = task.voluntarySwitches
  totals.maxRss = task.ended ? 0 : residentKiB(task)
  return totals
}

/** RUSAGE_SELF. */
export function groupTotals(group: ThreadGroup): CpuTotals {
  const totals = newCpuTotals()
  addTotals(totals, group.ended)
  for (const task of group.tasks) if (!task.ended) addTotals(totals, taskTotals(task))
  return totals
}

/** Called once when a thread ends, before its host thread goes. */
export function accountEnd(task: Task): void {
  const totals = taskTotals(task)
  task.cpuTimeAtEnd = totals.user
  addTotals(task.group.ended, totals)
}

function residentKiB(task: Task): number {
  return task.thread.space.alive ? task.thread.space.residentPages() * 4 : 0
}
