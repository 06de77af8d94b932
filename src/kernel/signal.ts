/**
 * Sending signals (kernel/signal.c): whether it is ignored, which queue it goes to, which thread is woken. Senders of
 * other parts use `sendSignal`; permission was checked before. Delivery is in return-to-guest.ts.
 */
import {
  RLIMIT_SIGPENDING,
  SI_TKILL,
  SI_USER,
  SIG_DFL,
  SIG_IGN,
  SIGCONT,
  SIGKILL,
  SIGRTMIN,
  SIGSEGV,
} from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import { fromKernelId } from '../base/id-map.ts'
import type { Status } from '../base/result.ts'
import { continueGroup } from './job-control.ts'
import { kernelSignal, layoutOf, SigInfo } from './signal-info.ts'
import { CORE_SIGNALS, IGNORED_SIGNALS, inMask, KERNEL_ONLY, STOP_SIGNALS } from './signal-set.ts'
import type { PendingSignals } from './signal-state.ts'
import { BLOCKED, RUNNING, STOPPED, Task, TRACED } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

/** To one thread, or to a process. 0, or -EAGAIN when a queue limit is reached (real-time signals only). */
export function sendSignal(target: Task | ThreadGroup, info: SigInfo): Status {
  return target instanceof Task ? sendToTask(target, info) : sendToGroup(target, info)
}

export function sendToTask(task: Task, info: SigInfo): Status {
  return send(task, task.group, task.signals.pending, info, false)
}

/** `first`: the thread that gets it if it wants it. */
export function sendToGroup(group: ThreadGroup, info: SigInfo, first = group.leader): Status {
  return send(first, group, group.pending, info, true)
}

/** The signal that `sender` sends with kill(2) (or tgkill(2)), as `receiver` sees it. */
export function userSignal(sender: Task, receiver: Task, signo: number, code = SI_USER): SigInfo {
  const info = new SigInfo(signo, code)
  info.pid = sender.group.pid.in(receiver.pidNs)
  info.uid = fromKernelId(receiver.cred.userNs.uidMap, sender.cred.uid)
  return info
}

export function tkillSignal(sender: Task, receiver: Task, signo: number): SigInfo {
  return userSignal(sender, receiver, signo, SI_TKILL)
}

/**
 * A signal that can't be put off, for what the thread itself did (force_sig_info): where it is blocked or ignored
 * it takes its default action, even in init.
 */
export function forceSignal(task: Task, info: SigInfo): void {
  const group = task.group
  const action = group.handlers.action(info.signo)
  const blocked = task.signals.blocked.has(info.signo)
  const ignored = action.handler === SIG_IGN
  if (blocked || ignored) {
    group.handlers.setAction(info.signo, action.toDefault())
    if (blocked) task.signals.blocked.delete(info.signo)
  }
  // Who debugs a namespace's init does not want it dead.
  if ((blocked || ignored || action.handler === SIG_DFL) && task.ptrace === undefined)
    group.unkillable = false
  sendToTask(task, info)
}

/** A signal frame could not be written or read: SIGSEGV, which kills when it was SIGSEGV's own frame. */
export function forceSegv(task: Task, failed: number): void {
  if (failed === SIGSEGV) {
    const { handlers } = task.group
    handlers.setAction(SIGSEGV, handlers.action(SIGSEGV).toDefault())
  }
  forceSignal(task, kernelSignal(SIGSEGV))
}

/** Ends the process as SIGKILL does; nothing is queued. */
export function killGroup(group: ThreadGroup, status = SIGKILL): void {
  if (group.exiting || group.dead) {
    group.coreDump?.abort()
    return
  }
  group.exiting = true
  group.exitStatus = status
  group.stopsLeft = 0
  for (const task of group.tasks) killTask(task)
}

/** The task ends before it runs guest code again. */
export function killTask(task: Task): void {
  if (task.ended) return
  task.signals.killed = true
  task.signals.jobctl = 0
  wakeForSignal(task, true)
}

/** Makes a task look at its signals. */
export function wakeForSignal(task: Task, fatal: boolean): void {
  if (task.state === RUNNING) task.thread.kick()
  else if (task.state === BLOCKED) {
    if (fatal || !task.uninterruptible) task.kernel.makeRunnable(task)
  } else if ((task.state === STOPPED || task.state === TRACED) && fatal) task.kernel.makeRunnable(task)
}

/** Whether sending it to this process now has no effect at all. */
export function isIgnored(task: Task, signo: number, forced: boolean): boolean {
  // A blocked signal may be unblocked with another action in place.
  if (task.signals.blocked.has(signo)) return false
  // A tracer is shown even what is ignored.
  if (task.ptrace !== undefined && signo !== SIGKILL) return false
  const group = task.group
  if (group.unkillable && group.handlers.action(signo).handler === SIG_DFL) {
    if (!(forced && inMask(KERNEL_ONLY, signo))) return true
  }
  return group.handlers.ignores(signo)
}

function send(
  task: Task,
  group: ThreadGroup,
  queue: PendingSignals,
  info: SigInfo,
  toGroup: boolean,
): Status {
  const signo = info.signo
  if (group.exiting || group.dead || (!toGroup && task.ended)) {
    if (signo === SIGKILL) group.coreDump?.abort()
    return 0
  }
  const forced = info.fromKernel || (info.pid === 0 && carriesSender(info))
  takeStopEffects(group, signo)
  if (isIgnored(task, signo, forced)) return 0
  if (signo < SIGRTMIN && queue.set.has(signo)) return 0

  const account = group.kernel.users.of(task.cred.uid)
  const exempt = info.timer !== undefined || (signo < SIGRTMIN && (info.fromKernel || info.code >= 0))
  if (exempt || account.pendingSignals < group.rlimits.soft(RLIMIT_SIGPENDING)) {
    queue.add(signo, info, info.timer === undefined ? account : undefined)
  } else {
    if (signo >= SIGRTMIN && info.code !== SI_USER) return -EAGAIN
    queue.add(signo, undefined, undefined)
  }
  if (!group.handlers.queue.empty) group.handlers.queue.wakeAll()
  wakeOne(task, group, signo, toGroup)
  return 0
}

function carriesSender(info: SigInfo): boolean {
  const layout = layoutOf(info.signo, info.code)
  return layout === 'kill' || layout === 'queue'
}

/** SIGCONT cancels pending stops and the other way round; and it continues, whatever its action is. */
function takeStopEffects(group: ThreadGroup, signo: number): void {
  if (inMask(STOP_SIGNALS, signo)) {
    group.pending.flush(SIGCONT)
    for (const task of group.tasks) task.signals.pending.flush(SIGCONT)
  } else if (signo === SIGCONT) {
    group.pending.flushMask(STOP_SIGNALS)
    for (const task of group.tasks) task.signals.pending.flushMask(STOP_SIGNALS)
    continueGroup(group)
  }
}

/** Chooses the thread that takes it; a signal that ends the process for certain begins to do so now. */
function wakeOne(target: Task, group: ThreadGroup, signo: number, toGroup: boolean): void {
  let chosen: Task | undefined
  if (wants(target, signo)) chosen = target
  else if (toGroup) chosen = group.tasks.find(task => wants(task, signo))
  if (chosen === undefined) return
  const shown = chosen.ptrace !== undefined && signo !== SIGKILL
  if (isFatal(group, signo) && !shown && !chosen.signals.waitingFor.has(signo)) {
    if (signo === SIGKILL || !inMask(CORE_SIGNALS, signo)) {
      killGroup(group, signo)
      return
    }
  }
  wakeForSignal(chosen, false)
}

function wants(task: Task, signo: number): boolean {
  if (task.ended) return false
  const signals = task.signals
  if (signals.blocked.has(signo) && !signals.waitingFor.has(signo)) return false
  return signo === SIGKILL || !(task.signals.stopped || task.state === TRACED)
}

function isFatal(group: ThreadGroup, signo: number): boolean {
  if (inMask(IGNORED_SIGNALS, signo) || inMask(STOP_SIGNALS, signo)) return false
  return group.handlers.action(signo).handler === SIG_DFL
}
