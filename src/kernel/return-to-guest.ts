/**
 * The one way back to guest code (exit_to_user_mode): whatever ends, stops, restarts or diverts a task happens here.
 *
 * Called with a call's result, or NO_RESULT after a fault, a kick or when the registers are new. Ends with the
 * thread resumed, stopped, put on the run queue for a restart, or ended. A traced task stops in the middle; then it comes
 * back here with the signal that its tracer has seen, if it is to have it.
 */
import { SA_RESETHAND, SA_RESTART, SIG_DFL, SIG_IGN, SIGKILL, SIGSTOP } from '../abi/constants.ts'
import { EINTR, ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { REG_RAX, REG_RIP } from '../platform/platform.ts'
import { pushSignalFrame } from './arch/x86-64/signal-frame.ts'
import { hold } from './cgroup/freezer.ts'
import { startCoreDump } from './core-dump/core-dump.ts'
import { endGroup, endTask } from './exit.ts'
import { beginGroupStop, enterStop } from './job-control.ts'
import { leaveKernel, stopAtHandler, stopAtSignal } from './ptrace/resume.ts'
import { forceSegv } from './signal.ts'
import type { SigInfo } from './signal-info.ts'
import { CORE_SIGNALS, IGNORED_SIGNALS, inMask, KERNEL_ONLY, STOP_SIGNALS } from './signal-set.ts'
import type { SigAction } from './signal-state.ts'
import { BLOCKED, IN_KERNEL, NO_RESULT, RUNNING, type Task } from './task.ts'

/** Length of the syscall instruction. */
const CALL_LENGTH = 2

export function returnToGuest(task: Task, result: number, shown?: SigInfo): void {
  const signals = task.signals
  // The mask of a call with its own (ppoll, sigsuspend) stays for the handler that interrupts it, no longer.
  if (signals.maskSaved && !isInterrupted(result)) signals.restoreMask()

  while (shown !== undefined || signals.pendingUnblocked(task)) {
    if (task.group.exiting || signals.killed) {
      endTask(task, task.group.exiting ? task.group.exitStatus : SIGKILL)
      return
    }
    let info = shown
    shown = undefined
    if (info === undefined) {
      if (signals.jobctl !== 0) {
        enterStop(task, result)
        return
      }
      info = dequeueSignal(task)
      if (info === undefined) continue
      if (task.ptrace !== undefined && stopAtSignal(task, info, result)) return
    }
    const action = task.group.handlers.action(info.signo)
    if (action.handler === SIG_IGN) continue
    task.kernel.trace?.signal(task, info)
    if (action.handler === SIG_DFL) {
      takeDefaultAction(task, info, result)
      // It may have ended, or stand still to tell its tracer that it will.
      if (task.state !== IN_KERNEL) return
    } else {
      divert(task, info, action, result)
      result = NO_RESULT
      if (task.ptrace !== undefined && stopAtHandler(task, task.ptrace)) return
    }
  }
  // Handlers that ran have taken the saved mask into their frame.
  if (signals.maskSaved) signals.restoreMask()

  if (task.group.holds !== 0) {
    hold(task, result)
    return
  }
  if (isRestart(result)) {
    if (!task.restartsInGuest) {
      restart(task, result)
      return
    }
    restartInGuest(task, result)
    result = NO_RESULT
  }
  task.callNumber = -1
  task.dropProgress()
  if (task.ptrace !== undefined && !leaveKernel(task, task.ptrace)) {
    task.result = result
    return
  }
  task.state = RUNNING
  if (result === NO_RESULT) task.thread.resume()
  else task.thread.resume(result)
}

/** Takes the next signal that may be delivered: own ones before the process's, faults before all. */
function dequeueSignal(task: Task): SigInfo | undefined {
  const { blocked, pending } = task.signals
  let queue = pending
  let signo = pending.nextFault(blocked) || pending.next(blocked)
  if (signo === 0) {
    queue = task.group.pending
    signo = queue.next(blocked)
    if (signo === 0) return undefined
  }
  return takeSignal(queue, signo)
}

/** Takes one instance from a queue; undefined when its timer has been deleted. Used by sigtimedwait and signalfd too. */
export function takeSignal(queue: { take(signo: number): SigInfo }, signo: number): SigInfo | undefined {
  const info = queue.take(signo)
  if (info.timer !== undefined && !info.timer.delivered(info)) return undefined
  return info
}

/** signal(7), 'Standard signals', column 'Action'. */
function takeDefaultAction(task: Task, info: SigInfo, result: number): void {
  const { group } = task
  const signo = info.signo
  if (inMask(IGNORED_SIGNALS, signo)) return
  // Init, for itself; SIGKILL and SIGSTOP got this far only because an ancestor's namespace sent them.
  if (group.unkillable && !inMask(KERNEL_ONLY, signo)) return
  if (inMask(STOP_SIGNALS, signo)) {
    // Nobody could continue an orphaned group, so the terminal's signals don't stop it.
    if (signo !== SIGSTOP && group.processGroup.orphaned()) return
    beginGroupStop(task, signo)
    return
  }
  if (!inMask(CORE_SIGNALS, signo) || !startCoreDump(task, info, result)) endGroup(task, signo)
}

/** Puts a handler's frame in front of what the task was doing. */
function divert(task: Task, info: SigInfo, action: SigAction, result: number): void {
  const { thread, signals } = task
  if (thread.materialize() < 0) {
    signals.killed = true
    return
  }
  task.restartsInGuest = false
  if (result !== NO_RESULT) {
    if (result === -ERESTARTNOINTR || (result === -ERESTARTSYS && (action.flags & SA_RESTART) !== 0)) {
      thread.regs.put(REG_RAX, task.callNumber)
      thread.regs.put(REG_RIP, thread.regs.get(REG_RIP) - CALL_LENGTH)
    } else {
      thread.regs.put(REG_RAX, isRestart(result) ? -EINTR : result)
    }
    task.callNumber = -1
    task.dropProgress()
  }
  const failed = pushSignalFrame(task, info, action) < 0
  if ((action.flags & SA_RESETHAND) !== 0) task.group.handlers.setAction(info.signo, action.toDefault())
  if (failed) {
    forceSegv(task, info.signo)
    return
  }
  signals.maskSaved = false
  action.blocks(info.signo, signals.blocked)
  signals.blocked.delete(SIGSTOP)
  signals.blocked.delete(SIGKILL)
}

/**
 * No handler ran: the call is tried again from its start, without the guest. Calls with a restart of their own
 * (ERESTART_RESTARTBLOCK) find their progress kept, deadlines included.
 */
function restart(task: Task, result: number): void {
  if (result !== -ERESTART_RESTARTBLOCK) task.dropProgress()
  task.state = BLOCKED
  task.kernel.makeRunnable(task)
}

/** The same with a tracer, which sees the call once more: as Linux does it always. */
function restartInGuest(task: Task, result: number): void {
  task.restartsInGuest = false
  const { regs } = task.thread
  let nr = task.callNumber
  if (result === -ERESTART_RESTARTBLOCK) {
    task.dropRestartBlock()
    task.restartBlock = { nr, args: [...task.args], progress: task.progress }
    task.progress = undefined
    nr = NR.restart_syscall
  }
  regs.put(REG_RAX, nr)
  regs.put(REG_RIP, regs.get(REG_RIP) - CALL_LENGTH)
}

function isRestart(result: number): boolean {
  return (
    result === -ERESTARTSYS ||
    result === -ERESTARTNOINTR ||
    result === -ERESTARTNOHAND ||
    result === -ERESTART_RESTARTBLOCK
  )
}

function isInterrupted(result: number): boolean {
  return result === -EINTR || isRestart(result)
}
