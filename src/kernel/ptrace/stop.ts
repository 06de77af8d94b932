/**
 * Stops of traced tasks: how one begins (ptrace_stop), how its tracer hears of it, and what is kept to go on.
 *
 * A stop leaves nothing on a stack: `Halt` names the place in the kernel where the task stands, and resume.ts goes on from
 * there. The result of the call that is over or interrupted is in the registers meanwhile, where the tracer sees and
 * changes it; the call's number is `task.callNumber`, which the tracer sees as orig_rax.
 */
import {
  CLD_STOPPED,
  CLD_TRAPPED,
  PTRACE_EVENT_STOP,
  PTRACE_O_TRACESYSGOOD,
  SA_NOCLDSTOP,
  SIG_IGN,
  SIGCHLD,
  SIGTRAP,
} from '../../abi/constants.ts'
import { EINTR, ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS } from '../../abi/errno.ts'
import { fromKernelId } from '../../base/id-map.ts'
import { REG_RAX } from '../../platform/platform.ts'
import { groupTotals } from '../cpu-time.ts'
import { leaveStopCount } from '../job-control.ts'
import { sendToGroup } from '../signal.ts'
import { SigInfo } from '../signal-info.ts'
import { JOBCTL_STOP_SIGNAL, JOBCTL_TRAP_NOTIFY, JOBCTL_TRAP_STOP } from '../signal-state.ts'
import { NO_RESULT, type Task, TRACED } from '../task.ts'

// Where a task stands, and what comes next.
/** A signal was taken from the queue: its action, if the tracer leaves it. */
export const AT_SIGNAL = 1
/** On its way to guest code: the next thing there. */
export const AT_RETURN = 2
/** A call has begun: the filters, then the call. */
export const AT_ENTRY = 3
/** A filter asks the tracer: the call. */
export const AT_FILTER = 4
/** Inside a call, which is tried again. */
export const AT_CALL = 5
/** A call is over: the way to guest code. */
export const AT_EXIT = 6
/** It ends. */
export const AT_END = 7
/** As AT_ENTRY, but the call is not made. */
export const AT_EMULATION = 8

export interface Halt {
  readonly at: number
  /** As wait(2) shows it: the signal, 0x80 with PTRACE_O_TRACESYSGOOD, PTRACE_EVENT_* << 8. */
  readonly code: number
  /** PTRACE_GETSIGINFO, PTRACE_SETSIGINFO; undefined in the stop of a process that is not seized. */
  info: SigInfo | undefined
  /** No wait has taken note of it. */
  unseen: boolean
  /** PTRACE_LISTEN: it stays, and shows itself only when something happens. */
  listening: boolean
  /** It was let go, and goes on in its turn; `signo` is what the tracer put in the place of the signal. */
  resumed: boolean
  signo: number
  /** The task was ending already: not even SIGKILL makes it go on. */
  readonly lasting: boolean
}

/** Whether a tracer may look into the task now. */
export function isHalted(task: Task): boolean {
  const { halt } = task
  return task.state === TRACED && halt !== undefined && !halt.resumed && !halt.listening
}

/**
 * Stops the task for its tracer: false if there is none, or if the task is to end. `info` as for Halt; `result`: what the
 * call gave that is over, NO_RESULT if none is.
 */
export function stop(
  task: Task,
  at: number,
  code: number,
  info: SigInfo | undefined,
  result = NO_RESULT,
  why = CLD_TRAPPED,
): boolean {
  const { ptrace, signals, thread } = task
  if (ptrace === undefined || (at !== AT_END && signals.fatalPending(task))) return false
  if (result !== NO_RESULT) thread.regs.put(REG_RAX, result)
  thread.space.setTraced?.(true)
  const lasting = signals.fatalPending(task)
  task.halt = { at, code, info, unseen: true, listening: false, resumed: false, signo: 0, lasting }
  task.state = TRACED
  ptrace.debug?.end(task, false)
  signals.jobctl &= ~JOBCTL_TRAP_STOP
  if (code >> 8 === PTRACE_EVENT_STOP) signals.jobctl &= ~JOBCTL_TRAP_NOTIFY
  thread.park()
  if (why === CLD_STOPPED) leaveStopCount(task)
  notifyTracer(task, why, why === CLD_TRAPPED ? code & 0x7f : inGroupStop(task) ? task.group.stopSignal : 0)
  return true
}

/** ptrace_notify: a stop that no signal causes; `code` as for Halt. */
export function notify(task: Task, at: number, code: number, message: number, result = NO_RESULT): boolean {
  if (task.ptrace === undefined) return false
  const info = ownInfo(task, SIGTRAP, code)
  const stopped = stop(task, at, code, info, result)
  if (stopped) task.ptrace.message = message
  return stopped
}

function ownInfo(task: Task, signo: number, code: number): SigInfo {
  const info = new SigInfo(signo, code)
  info.pid = task.tid
  info.uid = fromKernelId(task.cred.userNs.uidMap, task.cred.uid)
  return info
}

/** ptrace_event: whether the tracer wants to hear of PTRACE_EVENT_*. */
export function wants(task: Task, event: number): boolean {
  return task.ptrace !== undefined && (task.ptrace.options & (1 << event)) !== 0
}

/** The stop of a PTRACE_EVENT_*, if it is wanted. */
export function stopForEvent(task: Task, at: number, event: number, message: number): boolean {
  return wants(task, event) && notify(task, at, SIGTRAP | (event << 8), message)
}

/** ptrace_report_syscall. */
export function stopForCall(task: Task, at: number, message: number, result = NO_RESULT): boolean {
  const good = (task.ptrace!.options & PTRACE_O_TRACESYSGOOD) !== 0
  return notify(task, at, good ? SIGTRAP | 0x80 : SIGTRAP, message, result)
}

/** do_jobctl_trap: the process stops, or the tracer asked for a stop. */
export function enterTrap(task: Task, result: number): void {
  const { group, signals } = task
  const inStop = inGroupStop(task)
  let signo = signals.jobctl & JOBCTL_STOP_SIGNAL || group.stopSignal
  if (!task.ptrace!.seized) {
    stop(task, AT_RETURN, signo, undefined, result, CLD_STOPPED)
    return
  }
  if (!inStop) signo = SIGTRAP
  const code = signo | (PTRACE_EVENT_STOP << 8)
  task.ptrace!.message = 0
  stop(task, AT_RETURN, code, ownInfo(task, signo, code), result, CLD_STOPPED)
}

function inGroupStop({ group }: Task): boolean {
  return group.stopped || group.stopsLeft > 0
}

/** Something happened to the process that a seizing tracer is told of: a stop, or its end (ptrace_trap_notify). */
export function trapNotify(task: Task): void {
  task.signals.jobctl |= JOBCTL_TRAP_NOTIFY
  interruptListening(task)
}

/** One that listens stops anew. */
export function interruptListening(task: Task): void {
  if (task.halt?.listening === true) resumeStopped(task, 0)
}

/** Lets a stopped task go on in its turn. */
export function resumeStopped(task: Task, signo: number): void {
  const { halt } = task
  if (halt === undefined) return
  halt.signo = signo
  halt.resumed = true
  task.kernel.makeRunnable(task)
}

/**
 * What the registers say of the call that was over when the task stopped: that it is to be restarted or was interrupted,
 * unless the tracer has changed that; else NO_RESULT, since the result is in its place.
 */
export function resultOf(task: Task): number {
  if (task.callNumber < 0) return NO_RESULT
  const { regs } = task.thread
  const value = regs.lo(REG_RAX) | 0
  if ((regs.hi(REG_RAX) | 0) !== -1) return NO_RESULT
  const restarts =
    value === -ERESTARTSYS ||
    value === -ERESTARTNOINTR ||
    value === -ERESTARTNOHAND ||
    value === -ERESTART_RESTARTBLOCK
  task.restartsInGuest = restarts
  return restarts || value === -EINTR ? value : NO_RESULT
}

/** SIGCHLD to the tracer, and a wake for who waits (do_notify_parent_cldstop). */
export function notifyTracer(task: Task, why: number, status: number): void {
  const { tracer } = task.ptrace!
  const { group } = tracer
  const action = group.handlers.action(SIGCHLD)
  if (action.handler !== SIG_IGN && (action.flags & SA_NOCLDSTOP) === 0) {
    sendToGroup(group, tracerSignal(task, why, status))
  }
  group.childWait.wakeAll()
}

/** What a tracer is told about one of its threads. */
export function tracerSignal(task: Task, why: number, status: number): SigInfo {
  const { tracer } = task.ptrace!
  const info = new SigInfo(SIGCHLD, why)
  info.pid = task.pid.in(tracer.pidNs)
  info.uid = fromKernelId(tracer.cred.userNs.uidMap, task.cred.uid)
  info.status = status
  const totals = groupTotals(task.group)
  info.utime = Math.floor(totals.user / 1e7)
  info.stime = Math.floor(totals.system / 1e7)
  return info
}
