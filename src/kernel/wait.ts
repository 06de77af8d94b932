/** Waiting for children: wait4(2), waitid(2). Finds what a waiter may have and takes it; never sleeps. */
import {
  __WALL,
  __WCLONE,
  __WNOTHREAD,
  CLD_CONTINUED,
  CLD_DUMPED,
  CLD_EXITED,
  CLD_KILLED,
  CLD_STOPPED,
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
import { releaseProcess } from './exit.ts'
import type { Pid } from './pid.ts'
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
    if (!matches(task, child, request)) continue
    eligible = true
    const outcome = news(task, child, request.flags)
    if (outcome !== undefined) return outcome
  }
  return eligible ? undefined : -ECHILD
}

function matches(task: Task, child: ThreadGroup, request: WaitRequest): boolean {
  const { which, pid, flags } = request
  if ((flags & __WNOTHREAD) !== 0 && child.parentTask !== task) return false
  if (which !== P_ALL) {
    if (pid === undefined) return false
    if ((which === P_PID ? child.pid : child.processGroup.pid) !== pid) return false
  }
  if ((flags & __WALL) !== 0) return true
  return (child.exitSignal !== SIGCHLD) === ((flags & __WCLONE) !== 0)
}

function news(task: Task, child: ThreadGroup, flags: number): WaitOutcome | undefined {
  const keep = (flags & WNOWAIT) !== 0
  if (child.dead) {
    if ((flags & WEXITED) === 0 || child.zapping) return undefined
    const outcome = endOf(task, child)
    if (!keep) reap(task.group, child)
    return outcome
  }
  if (child.stopUnseen && (flags & WSTOPPED) !== 0) {
    if (!keep) child.stopUnseen = false
    return outcomeOf(task, child, (child.stopSignal << 8) | 0x7f, CLD_STOPPED, child.stopSignal)
  }
  if (child.continueUnseen && (flags & WCONTINUED) !== 0) {
    if (!keep) child.continueUnseen = false
    return outcomeOf(task, child, 0xffff, CLD_CONTINUED, SIGCONT)
  }
  return undefined
}

function endOf(task: Task, child: ThreadGroup): WaitOutcome {
  const status = child.exitStatus
  const signo = status & 0x7f
  if (signo === 0) return outcomeOf(task, child, status, CLD_EXITED, (status >>> 8) & 0xff)
  return outcomeOf(task, child, status, (status & 0x80) !== 0 ? CLD_DUMPED : CLD_KILLED, signo)
}

function outcomeOf(task: Task, child: ThreadGroup, status: number, code: number, value: number): WaitOutcome {
  return {
    pid: child.pid.in(task.pidNs),
    uid: child.leader.cred.uid,
    status,
    code,
    value,
    totals: withChildren(child),
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
