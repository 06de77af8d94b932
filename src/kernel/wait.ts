/**
 * Waiting for children and traced tasks: wait4(2), waitid(2). Finds what a waiter may have and takes it; never sleeps.
 *
 * A tracer hears of each task that it traces, thread or process, and before the parent: a traced process's end reaches a
 * parent that is somebody else when its tracer has waited for it.
 */
import {
  __WALL,
  __WCLONE,
  __WNOTHREAD,
  CLD_CONTINUED,
  CLD_STOPPED,
  CLD_TRAPPED,
  P_ALL,
  P_PID,
  SIGCHLD,
  SIGCONT,
  WCONTINUED,
  WEXITED,
  WNOWAIT,
  WSTOPPED,
} from '../abi/constants.ts'
import { ECHILD } from '../abi/errno.ts'
import { addTotals, type CpuTotals, groupTotals, newCpuTotals } from './cpu-time.ts'
import { howEnded, releaseProcess, tellOfEnd } from './exit.ts'
import type { Pid } from './pid.ts'
import { isHalted } from './ptrace/stop.ts'
import { unlink } from './ptrace/tracee.ts'
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

export interface WaitRequest {
  /** P_ALL, P_PID or P_PGID. */
  readonly which: number
  /** Undefined for P_ALL, and where no such process exists: nothing matches. */
  readonly pid: Pid | undefined
  readonly flags: number
}

export interface WaitOutcome {
  readonly pid: number
  readonly uid: number
  /** As wait4 gives it. */
  readonly status: number
  /** As waitid gives it: CLD_*, and exit code or signal. */
  readonly code: number
  readonly value: number
  readonly totals: CpuTotals
}

/** A child's news; undefined when there are children but no news; -ECHILD when there is nothing to wait for. */
export function waitForChild(task: Task, request: WaitRequest): WaitOutcome | undefined | number {
  let eligible = false
  for (const child of task.group.children) {
    if (!isChild(task, child, request) || !matches(child.leader, request)) continue
    eligible = true
    const { leader } = child
    const own = leader.ptrace !== undefined && !leader.ptrace.isReparented(leader)
    const outcome = own ? newsOfTracee(task, leader, request.flags) : news(task, child, request.flags)
    if (outcome !== undefined) return outcome
  }
  const tracers = (request.flags & __WNOTHREAD) !== 0 ? [task] : task.group.tasks
  for (const tracer of tracers) {
    if (tracer.tracees === undefined) continue
    for (const tracee of tracer.tracees) {
      if (!matches(tracee, request)) continue
      eligible = true
      const outcome = newsOfTracee(task, tracee, request.flags)
      if (outcome !== undefined) return outcome
    }
  }
  return eligible ? undefined : -ECHILD
}

function isChild(task: Task, child: ThreadGroup, { flags }: WaitRequest): boolean {
  if ((flags & __WNOTHREAD) !== 0 && child.parentTask !== task) return false
  if ((flags & __WALL) !== 0) return true
  return (child.exitSignal !== SIGCHLD) === ((flags & __WCLONE) !== 0)
}

function matches(target: Task, { which, pid }: WaitRequest): boolean {
  if (which === P_ALL) return true
  return pid !== undefined && (which === P_PID ? target.pid : target.group.processGroup.pid) === pid
}

function news(task: Task, child: ThreadGroup, flags: number): WaitOutcome | undefined {
  const keep = (flags & WNOWAIT) !== 0
  if (isZombie(child.leader)) {
    if ((flags & WEXITED) === 0 || child.leader.ptrace !== undefined) return undefined
    const outcome = endOf(task, child.leader)
    if (!keep) reap(task.group, child)
    return outcome
  }
  return newsOfGroup(task, child, flags)
}

/** Stops and continuations, which a parent sees of the process as a whole. */
function newsOfGroup(task: Task, child: ThreadGroup, flags: number): WaitOutcome | undefined {
  const keep = (flags & WNOWAIT) !== 0
  const { leader } = child
  if (child.stopUnseen && (flags & WSTOPPED) !== 0) {
    if (!keep) child.stopUnseen = false
    return outcomeOf(task, leader, (child.stopSignal << 8) | 0x7f, CLD_STOPPED, child.stopSignal)
  }
  return continuation(task, leader, flags)
}

function continuation(task: Task, target: Task, flags: number): WaitOutcome | undefined {
  if (!target.group.continueUnseen || (flags & WCONTINUED) === 0) return undefined
  if ((flags & WNOWAIT) === 0) target.group.continueUnseen = false
  return outcomeOf(task, target, 0xffff, CLD_CONTINUED, SIGCONT)
}

/** Whether its end can be told: a leader's only with that of its process, when no other thread is left. */
function isZombie(target: Task): boolean {
  const { group } = target
  if (!target.ended) return false
  return target !== group.leader || (group.dead && !group.zapping && group.tasks.length === 1)
}

function newsOfTracee(task: Task, tracee: Task, flags: number): WaitOutcome | undefined {
  const keep = (flags & WNOWAIT) !== 0
  if (isZombie(tracee)) {
    if ((flags & WEXITED) === 0) return undefined
    const outcome = endOf(task, tracee)
    if (!keep) reapTracee(task, tracee)
    return outcome
  }
  const { halt } = tracee
  if (halt?.unseen && isHalted(tracee)) {
    if (!keep) halt.unseen = false
    return outcomeOf(task, tracee, (halt.code << 8) | 0x7f, CLD_TRAPPED, halt.code)
  }
  return continuation(task, tracee, flags)
}

/** Its end has been seen by its tracer: a process that is somebody else's child is that one's to wait for now. */
function reapTracee(task: Task, tracee: Task): void {
  const { group } = tracee
  if (tracee === group.leader && group.parent === task.group) {
    reap(task.group, group)
    return
  }
  unlink(tracee)
  tellOfEnd(tracee)
}

function endOf(task: Task, target: Task): WaitOutcome {
  const status = target.endStatus
  return outcomeOf(task, target, status, ...howEnded(status))
}

function outcomeOf(task: Task, target: Task, status: number, code: number, value: number): WaitOutcome {
  return {
    pid: target.pid.in(task.pidNs),
    uid: target.cred.uid,
    status,
    code,
    value,
    totals: withChildren(target.group),
  }
}

/** What wait4's rusage shows: the child and those that it waited for. */
function withChildren(child: ThreadGroup): CpuTotals {
  const totals = newCpuTotals()
  addTotals(totals, groupTotals(child))
  addTotals(totals, child.waited)
  return totals
}

function reap(parent: ThreadGroup, child: ThreadGroup): void {
  addTotals(parent.waited, withChildren(child))
  releaseProcess(child)
}
