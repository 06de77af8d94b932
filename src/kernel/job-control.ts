/**
 * Group stops. A stop signal taken by one thread asks all of them (`jobctl`) to stop on their way to guest code; when the last
 * one has, the process is stopped and its parent is told. SIGCONT, when it is sent, lets all go on but those that a
 * tracer holds.
 */
import { CLD_CONTINUED, CLD_STOPPED, SA_NOCLDSTOP, SIG_IGN, SIGCHLD, SIGCONT } from '../abi/constants.ts'
import { fromKernelId } from '../base/id-map.ts'
import { groupTotals } from './cpu-time.ts'
import { enterTrap, notifyTracer, trapNotify } from './ptrace/stop.ts'
import { sendToGroup, wakeForSignal } from './signal.ts'
import { SigInfo } from './signal-info.ts'
import { JOBCTL_STOP_SIGNAL } from './signal-state.ts'
import { STOPPED, type Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

/** `task` takes a stop signal with its default action. */
export function beginGroupStop(task: Task, signo: number): void {
  const group = task.group
  if (group.exiting || group.execTask !== undefined) return
  if (!group.stopped) group.stopSignal = signo
  group.stopsLeft = 0
  for (const each of group.tasks) {
    if (each.ended || each.signals.stopped) continue
    each.signals.jobctl = (each.signals.jobctl & ~JOBCTL_STOP_SIGNAL) | signo
    group.stopsLeft++
    if (each === task) continue
    if (each.ptrace?.seized) trapNotify(each)
    wakeForSignal(each, false)
  }
}

/** `task`, on its way to guest code, stops there; `result` is given to the guest when it goes on. */
export function enterStop(task: Task, result: number): void {
  if (task.ptrace !== undefined) {
    enterTrap(task, result)
    return
  }
  task.signals.stopped = true
  task.result = result
  task.state = STOPPED
  task.thread.park()
  leaveStopCount(task)
}

/** One thread less to wait for: it has stopped, or ended. */
export function leaveStopCount(task: Task): void {
  const { signals, group } = task
  if ((signals.jobctl & JOBCTL_STOP_SIGNAL) === 0) return
  signals.jobctl &= ~JOBCTL_STOP_SIGNAL
  if (group.stopsLeft === 0 || --group.stopsLeft > 0 || group.stopped) return
  group.stopped = true
  group.stopUnseen = true
  group.continueUnseen = false
  // A parent that traces its child hears of each thread's stop.
  if (task.ptrace === undefined || task.ptrace.isReparented(task)) notifyParent(group, CLD_STOPPED)
}

/** SIGCONT was sent. */
export function continueGroup(group: ThreadGroup): void {
  for (const task of group.tasks) {
    task.signals.jobctl &= ~JOBCTL_STOP_SIGNAL
    if (task.ptrace?.seized) {
      trapNotify(task)
      wakeForSignal(task, false)
    }
    if (!task.signals.stopped) continue
    task.signals.stopped = false
    task.kernel.makeRunnable(task)
  }
  const why = group.stopped ? CLD_CONTINUED : group.stopsLeft > 0 ? CLD_STOPPED : 0
  if (why === 0) return
  group.stopped = false
  group.stopsLeft = 0
  group.stopUnseen = false
  group.continueUnseen = true
  notifyParent(group, why)
  const { leader } = group
  if (leader.ptrace?.isReparented(leader))
    notifyTracer(leader, why, why === CLD_CONTINUED ? SIGCONT : group.stopSignal)
}

/** SIGCHLD about a stop or continue, and a wake for who waits. */
function notifyParent(group: ThreadGroup, why: number): void {
  const parent = group.parent
  if (parent === undefined) return
  const action = parent.handlers.action(SIGCHLD)
  if (action.handler !== SIG_IGN && (action.flags & SA_NOCLDSTOP) === 0) {
    sendToGroup(
      parent,
      childSignal(group, parent, SIGCHLD, why, why === CLD_CONTINUED ? SIGCONT : group.stopSignal),
    )
  }
  parent.childWait.wakeAll()
}

/** What a parent is told about its child. */
export function childSignal(
  child: ThreadGroup,
  parent: ThreadGroup,
  signo: number,
  code: number,
  status: number,
): SigInfo {
  const info = new SigInfo(signo, code)
  info.pid = child.pid.in(parent.leader.pidNs)
  info.uid = fromKernelId(parent.representative.cred.userNs.uidMap, child.leader.cred.uid)
  info.status = status
  const totals = groupTotals(child)
  info.utime = Math.floor(totals.user / 1e7)
  info.stime = Math.floor(totals.system / 1e7)
  return info
}
