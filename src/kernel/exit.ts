/**
 * The end of tasks and processes (kernel/exit.c).
 *
 * endTask ends one thread: its host thread, its share of files and memory, its children's tie to it. The process is
 * `dead` when its last thread has ended; its parent is told and waits for the zombie, or it is released at once.
 */
import {
  CLD_DUMPED,
  CLD_EXITED,
  CLD_KILLED,
  SA_NOCLDWAIT,
  SIG_DFL,
  SIG_IGN,
  SIGCHLD,
  SIGKILL,
} from '../abi/constants.ts'
import { leaveCgroup } from './cgroup/cgroup.ts'
import { forgetGroupConstants } from './constant-calls.ts'
import { accountEnd } from './cpu-time.ts'
import { cancelTimers } from './interval-timer.ts'
import { releaseIpc } from './ipc/release.ts'
import { leaveUndoList } from './ipc/sem.ts'
import { childSignal, leaveStopCount } from './job-control.ts'
import { dropKeyrings } from './keys/task-keyrings.ts'
import { domainOf } from './landlock/domain.ts'
import { leaveOperations } from './operation.ts'
import { leavePageWait } from './page-wait.ts'
import { finishPerfEvents } from './perf/perf-event.ts'
import type { PidNamespace } from './pid.ts'
import { deletePosixTimers } from './posix-timer.ts'
import { stopAtEnd } from './ptrace/resume.ts'
import { tracerSignal } from './ptrace/stop.ts'
import { leaveTracees, unlink } from './ptrace/tracee.ts'
import { releaseFutexes } from './robust-list.ts'
import { leaveRseq } from './rseq.ts'
import { forgetNotification } from './seccomp/notify.ts'
import { disassociateTerminal, leaveProcessGroup, signalIfOrphaned } from './session.ts'
import { killGroup, sendToGroup, userSignal } from './signal.ts'
import type { SigInfo } from './signal-info.ts'
import { NSIG } from './signal-state.ts'
import { ENDED, type Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

/** Set in a wait status when a core was dumped. */
export const CORE_FLAG = 0x80

/** All threads of the task's process end with this wait status (do_group_exit). */
export function endGroup(task: Task, status: number): void {
  const { group } = task
  killGroup(group, status)
  endTask(task, group.exitStatus)
}

/** One thread ends (do_exit). `status` counts if it is the leader and the group does not end as a whole. */
export function endTask(task: Task, status: number): void {
  const { group, kernel } = task
  if (task.ended || group.coreDump?.join(task)) return
  if (task.ptrace !== undefined && stopAtEnd(task, task.ptrace, status)) return
  task.halt = undefined
  task.ptrace?.debug?.end(task, false)
  leaveTracees(task)
  task.passWakeOn()
  task.stopWaiting()
  leavePageWait(task)
  if (group.execTask === task) group.execTask = undefined
  if (task.perfEvents !== undefined) finishPerfEvents(task)
  for (const watcher of kernel.taskWatchers) watcher.taskEnds(task, group.exiting ? group.exitStatus : status)
  accountEnd(task)
  leaveRseq(task)
  releaseFutexes(task)
  completeVfork(task)

  leaveOperations(task)
  task.exitStatus = status
  task.state = ENDED
  task.dropProgress()
  dropKeyrings(task)
  forgetNotification(task)
  task.seccomp?.listener?.taskGone()
  domainOf(task.cred)?.put()
  task.dropRestartBlock()
  group.live--
  kernel.liveTasks--
  kernel.users.of(task.cred.uid).tasks--
  group.cgroup.pids.uncharge()
  if (group.live === 0) leaveCgroup(group)
  leaveStopCount(task)
  task.signals.pending.clear()
  if (group.live === 0) {
    endTimers(group)
    if (task.ns.ipc.limits.shmRmidForced !== 0) task.ns.ipc.shm.destroyOrphans(group.pid)
  }

  releaseThread(task)
  leaveUndoList(task)
  task.fds.put()
  task.fs.put()
  task.ns.mnt.put()
  task.ns.net.runtime?.released()
  releaseIpc(kernel, task.ns.ipc)
  reparentChildren(task)

  if (group.live === 0) {
    kernel.trace?.ended(task, group.exiting ? group.exitStatus : group.leader.exitStatus)
    endProcess(group)
  }
  if (task !== group.leader) tellOfEnd(task)
  else wakeExec(group)
}

/**
 * exit_notify, for a task that has ended: a thread is released, unless its tracer has yet to see that; the process's end is
 * told with its leader's, when all other threads are gone. Called again when one of them, or a tracer, is.
 */
export function tellOfEnd(task: Task): void {
  const { group, ptrace } = task
  if (task !== group.leader) {
    if (ptrace !== undefined) {
      announceTo(ptrace.tracer, tracerSignal(task, ...howEnded(task.endStatus)))
      return
    }
    releaseTask(task)
    wakeExec(group)
  }
  const { leader } = group
  if (!group.dead || group.zapping || group.tasks.length > 1) return
  if (leader.ptrace?.isReparented(leader)) {
    announceTo(leader.ptrace.tracer, tracerSignal(leader, ...howEnded(group.exitStatus)))
  } else if (notifyParent(group)) releaseProcess(group)
}

function announceTo(tracer: Task, info: SigInfo): void {
  sendToGroup(tracer.group, info)
  tracer.group.childWait.wakeAll()
}

function wakeExec(group: ThreadGroup): void {
  if (group.execTask !== undefined && alone(group.execTask)) group.execWait.wakeAll()
}

/** Nobody but it is left of its process, or only its leader, as a zombie. */
export function alone(task: Task): boolean {
  const { group } = task
  return group.live === 1 && group.tasks.length <= (group.leader === task ? 1 : 2)
}

/** Gives back the host thread, and the address space if this was its last user. */
function releaseThread(task: Task): void {
  // The last user destroys the whole host process, threads included.
  if (task.mm.users > 1 && task.thread.space.alive) task.thread.exit()
  task.thread.owner = undefined
  task.mm.put()
}

/** A vfork's parent goes on: the child has execed or ended. */
export function completeVfork(task: Task): void {
  if (task.vforkDone) return
  task.vforkDone = true
  task.vforkWait.wakeAll()
}

function endTimers(group: ThreadGroup): void {
  cancelTimers(group)
  group.cpuLimit?.cancel()
  deletePosixTimers(group)
}

/** The thread id is free; the leader's stays until the process is waited for. */
function releaseTask(task: Task): void {
  unlink(task)
  const { tasks } = task.group
  const at = tasks.indexOf(task)
  if (at >= 0) tasks.splice(at, 1)
  task.pid.task = undefined
  task.pid.releaseIfUnused()
}

/** The last thread has ended. */
function endProcess(group: ThreadGroup): void {
  group.dead = true
  if (!group.exiting) group.exitStatus = group.leader.exitStatus
  group.exiting = true
  group.stopped = false
  group.pending.clear()
  group.handlers.users--
  const ns = group.pid.ns
  if (group.isNamespaceInit) {
    ns.dead = true
    killNamespace(ns, group)
    if (hasOthers(ns, group)) {
      group.zapping = true
      return
    }
  }
  announceEnd(group)
}

/** A namespace does not outlive its init: pid_namespaces(7). */
function killNamespace(ns: PidNamespace, init: ThreadGroup): void {
  for (const pid of [...ns.pids()]) {
    if (pid.group !== undefined && pid.group !== init) killGroup(pid.group, SIGKILL)
  }
}

function hasOthers(ns: PidNamespace, init: ThreadGroup): boolean {
  for (const pid of ns.pids()) if (pid.group !== undefined && pid.group !== init) return true
  return false
}

/** exit_notify: the process is a zombie now, or gone. */
function announceEnd(group: ThreadGroup): void {
  group.zapping = false
  const { session } = group.processGroup
  if (session.leader === group) {
    disassociateTerminal(session, true)
    session.leader = undefined
  }
  signalIfOrphaned(group, group.parent, true)
  group.exitWait.wakeAll()
  group.kernel.processEnded?.(group)
  tellOfEnd(group.leader)
}

/** do_notify_parent: whether nobody is going to wait for it. */
function notifyParent(group: ThreadGroup): boolean {
  const { parent } = group
  if (parent === undefined || parent.dead) return true
  let signo = group.exitSignal
  let reap = group.orphan && leavesOrphans(parent)
  const action = parent.handlers.action(SIGCHLD)
  if (signo === SIGCHLD && (action.handler === SIG_IGN || (action.flags & SA_NOCLDWAIT) !== 0)) {
    reap = true
    if (action.handler === SIG_IGN) signo = 0
  }
  // clone(2) takes any number in its flags' low byte; one that is no signal is not sent.
  if (signo > 0 && signo <= NSIG) {
    sendToGroup(parent, childSignal(group, parent, signo, ...howEnded(group.exitStatus)))
  }
  parent.childWait.wakeAll()
  return reap
}

/** CLD_* and the exit code or signal of a wait status. */
export function howEnded(status: number): [code: number, value: number] {
  const signo = status & 0x7f
  if (signo === 0) return [CLD_EXITED, (status >>> 8) & 0xff]
  return [(status & CORE_FLAG) !== 0 ? CLD_DUMPED : CLD_KILLED, signo]
}

/**
 * Processes from outside and their orphans have nobody but the container's first process to wait for them. Where its
 * program, a plain service as a rule, has never waited for anything nor asked to be told, they are not left to it.
 */
function leavesOrphans(init: ThreadGroup): boolean {
  if (init.waits || init.parent !== undefined || !init.isNamespaceInit) return false
  return init.handlers.action(SIGCHLD).handler === SIG_DFL
}

/** release_task: nothing of the process is left. */
export function releaseProcess(group: ThreadGroup): void {
  unlink(group.leader)
  group.parent?.children.delete(group)
  const { leader, pid } = group
  leader.pid.task = undefined
  pid.group = undefined
  leaveProcessGroup(group, group.processGroup)
  group.tasks.length = 0
  pid.releaseIfUnused()
  for (let ns: PidNamespace | undefined = pid.ns; ns !== undefined; ns = ns.parent) {
    if (ns.init === group) ns.init = undefined
    else if (ns.init?.zapping && !hasOthers(ns, ns.init)) announceEnd(ns.init)
  }
}

/** forget_original_parent: children of a thread that ends get another one. */
function reparentChildren(task: Task): void {
  const { group } = task
  const sibling = group.tasks.find(each => !each.ended)
  for (const child of [...group.children]) {
    if (child.parentTask !== task) continue
    forgetGroupConstants(child)
    for (const each of child.tasks) {
      if (each.parentDeathSignal !== 0 && !each.ended) {
        sendToGroup(child, userSignal(task, each, each.parentDeathSignal))
      }
    }
    if (sibling !== undefined) child.parentTask = sibling
    else moveToReaper(child, group)
  }
}

function moveToReaper(child: ThreadGroup, from: ThreadGroup): void {
  const reaper = findReaper(from)
  if (reaper === undefined) {
    // The namespace ends with its init: nobody will wait.
    if (child.dead && !child.zapping) releaseProcess(child)
    return
  }
  from.children.delete(child)
  reaper.children.add(child)
  child.parent = reaper
  child.parentTask = reaper.representative
  child.exitSignal = SIGCHLD
  child.orphan = true
  signalIfOrphaned(child, from, false)
  if (child.dead && child.leader.ptrace === undefined) tellOfEnd(child.leader)
}

/** The nearest ancestor that asked for orphans (PR_SET_CHILD_SUBREAPER), or the namespace's init. */
function findReaper(from: ThreadGroup): ThreadGroup | undefined {
  const { ns } = from.pid
  if (ns.init === from) return undefined
  for (let at = from.parent; at !== undefined && at.pid.ns === ns && at !== ns.init; at = at.parent) {
    if (at.isSubreaper && !at.exiting) return at
  }
  return ns.init !== undefined && !ns.init.dead ? ns.init : undefined
}
