/**
 * CPU time and rusage. The platform counts CPU time, of a whole address space and of stopped threads. Of a process it is shown
 * as user and system time in the proportion that the host gives (as cputime_adjust does), and so of a thread that asks about itself; of
 * other threads all is user time. The time that the sentry works for a task is not measured per task.
 *
 * A process that has its address space to itself (`ownsSpace`) has used what its space has, plus what it used before its
 * last exec. One that shares its parent's (vfork) is the sum of its threads.
 */
import type { SpaceUsage } from '../platform/platform.ts'
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
    user: 0,
    system: 0,
    maxRss: 0,
    minorFaults: 0,
    majorFaults: 0,
    blocksIn: 0,
    blocksOut: 0,
    voluntarySwitches: 0,
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

/** CPU time of one thread, in ns; of one that runs now, what was last known, unless it is the only one. */
export function taskCpuTime(task: Task): number {
  if (task.ended) return task.cpuTime
  const own = task.thread.cpuTime?.() ?? 0
  task.cpuTime = Math.max(task.cpuTime, task.cpuTimeBefore + own)
  return task.cpuTime
}

/** CPU time of all threads that the process has and had. */
export function groupCpuTime(group: ThreadGroup): number {
  let sum = group.ended.user + group.ended.system
  if (group.live === 0) return sum
  const space = spaceCpuTime(group)
  if (space !== undefined) return sum + space
  for (const task of group.tasks) if (!task.ended) sum += taskCpuTime(task)
  return sum
}

/** What the address space has used, if it is the process's own and the platform knows. */
function spaceCpuTime(group: ThreadGroup): number | undefined {
  return group.ownsSpace ? group.representative.thread.space.cpuTime?.() : undefined
}

/** RUSAGE_THREAD. */
export function taskTotals(task: Task): CpuTotals {
  const totals = newCpuTotals()
  const time = taskCpuTime(task)
  // Another thread would have to be woken for it.
  const usage = task.kernel.current === task ? task.thread.usage?.() : undefined
  if (usage !== undefined) addUsage(totals, task, time, usage)
  else {
    totals.user = time
    totals.maxRss = peakKiB(task)
  }
  totals.voluntarySwitches = task.voluntarySwitches
  return totals
}

/** RUSAGE_SELF. */
export function groupTotals(group: ThreadGroup): CpuTotals {
  const totals = newCpuTotals()
  addTotals(totals, group.ended)
  if (group.live === 0) return totals
  const { ended } = group
  addSpace(totals, group, groupCpuTime(group) - ended.user - ended.system)
  for (const task of group.tasks) if (!task.ended) totals.voluntarySwitches += task.voluntarySwitches
  return totals
}

/** `time`: what the address space has used, and what the host has counted beside it. */
function addSpace(totals: CpuTotals, group: ThreadGroup, time: number): void {
  const { space } = group.representative.thread
  const usage = group.ownsSpace && space.alive ? space.usage?.() : undefined
  if (usage === undefined) {
    totals.user += time
    totals.maxRss = Math.max(totals.maxRss, peakKiB(group.representative))
    return
  }
  addUsage(totals, group, time, usage)
}

/** What of the times has been shown. */
interface ShownTimes {
  shownUser: number
  shownSystem: number
}

function addUsage(totals: CpuTotals, shown: ShownTimes, time: number, usage: SpaceUsage): void {
  const counted = usage.user + usage.system
  const share = counted === 0 ? 0 : (time * usage.system) / counted
  // Neither of the two is ever seen to go back.
  let system = Math.max(shown.shownSystem, share)
  if (time - system < shown.shownUser) system = time - shown.shownUser
  shown.shownSystem = system
  shown.shownUser = time - system
  totals.system += system
  totals.user += time - system
  totals.minorFaults += usage.minorFaults
  totals.majorFaults += usage.majorFaults
  totals.maxRss = Math.max(totals.maxRss, usage.peakPages * 4)
}

/** Called once when a thread ends, before its host thread goes and before it is counted as ended. */
export function accountEnd(task: Task): void {
  const { group } = task
  const { ended } = group
  ended.voluntarySwitches += task.voluntarySwitches
  group.endedIo.add(task.io)
  if (!group.ownsSpace || task.thread.space.cpuTime === undefined) {
    ended.user += taskCpuTime(task)
    if (group.live === 1) ended.maxRss = Math.max(ended.maxRss, peakKiB(task))
  } else if (group.live === 1) addSpace(ended, group, spaceCpuTime(group) ?? 0)
}

/** Called when a task leaves its address space for another one (exec); it is the only thread. */
export function accountExec(task: Task): void {
  const { group } = task
  taskCpuTime(task)
  task.cpuTimeBefore = task.cpuTime
  const space = spaceCpuTime(group)
  // Of what a vfork borrowed only the time was its own.
  if (space !== undefined) addSpace(group.ended, group, space)
  else if (task.thread.space.cpuTime !== undefined) group.ended.user += task.cpuTime
  group.ownsSpace = true
  group.shownUser = group.shownSystem = 0
}

/** The most that was resident of its address space. */
function peakKiB(task: Task): number {
  if (task.ended || !task.thread.space.alive) return 0
  const { space } = task.thread
  return (space.peakPages?.() ?? space.residentPages()) * 4
}
