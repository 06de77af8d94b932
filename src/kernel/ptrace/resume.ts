/** Where a traced task goes on when its tracer, or its end, lets it go: by the place that its `halt` names. */
import {
  PTRACE_EVENT_EXEC,
  PTRACE_EVENT_EXIT,
  PTRACE_EVENT_SECCOMP,
  PTRACE_EVENTMSG_SYSCALL_ENTRY,
  PTRACE_EVENTMSG_SYSCALL_EXIT,
  SI_USER,
  SIGKILL,
  SIGTRAP,
  TRAP_BRKPT,
  TRAP_HWBKPT,
} from '../../abi/constants.ts'
import { ENOSYS } from '../../abi/errno.ts'
import { fromKernelId } from '../../base/id-map.ts'
import { REG_EFLAGS, REG_RAX, REG_RIP, STOP_FAULT, STOP_KICK } from '../../platform/platform.ts'
import { endTask } from '../exit.ts'
import { attempt, enterCall, finishCall } from '../loop.ts'
import { returnToGuest } from '../return-to-guest.ts'
import { forceSignal, sendToTask, userSignal } from '../signal.ts'
import { faultSignal, kernelSignal, SigInfo } from '../signal-info.ts'
import { IN_KERNEL, NO_RESULT, STOPPED, type Task } from '../task.ts'
import {
  AT_CALL,
  AT_EMULATION,
  AT_END,
  AT_ENTRY,
  AT_EXIT,
  AT_FILTER,
  AT_RETURN,
  AT_SIGNAL,
  notify,
  resultOf,
  stop,
  stopForCall,
  stopForEvent,
  wants,
} from './stop.ts'
import { CALLS_EMULATE, CALLS_PASS, CALLS_STOP, type Tracee } from './tracee.ts'

const EFLAGS_TF = 0x100

/** A stopped task's turn has come: it was let go, or is to end. */
export function resumeTraced(task: Task): void {
  const halt = task.halt!
  if (!halt.resumed && halt.lasting) return
  task.halt = undefined
  task.state = IN_KERNEL
  const signo = halt.resumed ? halt.signo : 0
  switch (halt.at) {
    case AT_SIGNAL:
      returnToGuest(task, resultOf(task), chosenSignal(task, halt.info!, signo))
      return
    case AT_RETURN:
      returnToGuest(task, resultOf(task))
      return
    case AT_ENTRY:
      inject(task, signo)
      goOnWithCall(task, false, false)
      return
    case AT_EMULATION:
      inject(task, signo)
      goOnWithCall(task, true, false)
      return
    case AT_FILTER:
      goOnWithCall(task, false, true)
      return
    case AT_CALL:
      attempt(task)
      return
    case AT_EXIT:
      inject(task, signo)
      returnToGuest(task, resultOf(task))
      return
    case AT_END:
      endTask(task, task.exitStatus)
  }
}

/** ptrace_signal: what becomes of the signal that was shown to the tracer, which may have put another in its place. */
function chosenSignal(task: Task, shown: SigInfo, signo: number): SigInfo | undefined {
  if (signo === 0) return undefined
  let info = shown
  if (signo !== shown.signo) {
    info = new SigInfo(signo, SI_USER)
    const sender = task.ptrace?.tracer ?? task.group.parentTask
    info.pid = sender?.pid.in(task.pidNs) ?? 0
    info.uid = fromKernelId(task.cred.userNs.uidMap, sender?.cred.uid ?? 0)
  }
  if (!task.signals.blocked.has(signo) && !task.signals.fatalPending(task)) return info
  sendToTask(task, info)
  return undefined
}

/** A signal that the tracer adds where none was. */
function inject(task: Task, signo: number): void {
  if (signo !== 0) sendToTask(task, kernelSignal(signo))
}

/** The call that the tracer has left, or put in its place: not made where its number is negative. */
function goOnWithCall(task: Task, skip: boolean, filtered: boolean): void {
  if (task.signals.fatalPending(task)) returnToGuest(task, NO_RESULT)
  else if (skip || task.callNumber < 0) finishCall(task, NO_RESULT)
  else enterCall(task, filtered)
}

/** A thread that is traced has stopped in guest code; `reason`: STOP_*. */
export function enterKernel(task: Task, ptrace: Tracee, reason: number): void {
  ptrace.stepped = ptrace.forcedStep
  if (ptrace.forcedStep) {
    ptrace.forcedStep = false
    task.thread.setStepping?.(false)
  }
  ptrace.debug?.end(task, reason === STOP_FAULT)
  if (reason === STOP_KICK || reason === STOP_FAULT) task.callNumber = -1
}

/** The trap behind a single step: the code of the tracer's signal; 0 if only the kernel looked, and the thread goes on. */
export function stepCode(task: Task, ptrace: Tracee, code: number): number {
  const { debug } = ptrace
  if (!ptrace.stepped || !debug?.watching) return code
  const hit = debug.hit(task, ptrace.stepping)
  return ptrace.stepping ? code : hit ? TRAP_HWBKPT : 0
}

/** A traced task makes a call: whether it has stopped. */
export function stopAtEntry(task: Task, ptrace: Tracee): boolean {
  task.thread.regs.put(REG_RAX, -ENOSYS)
  if (ptrace.calls === CALLS_PASS) return false
  const at = ptrace.calls === CALLS_EMULATE ? AT_EMULATION : AT_ENTRY
  return stopForCall(task, at, PTRACE_EVENTMSG_SYSCALL_ENTRY)
}

/** Its call is over: whether it has stopped. One that was stepped over is reported by a signal. */
export function stopAtExit(task: Task, ptrace: Tracee, result: number): boolean {
  if (ptrace.calls === CALLS_EMULATE) return false
  if (ptrace.stepping) {
    forceSignal(task, faultSignal(SIGTRAP, TRAP_BRKPT, task.thread.regs.get(REG_RIP)))
    return false
  }
  return ptrace.calls === CALLS_STOP && stopForCall(task, AT_EXIT, PTRACE_EVENTMSG_SYSCALL_EXIT, result)
}

/** A signal was taken from a queue: whether the task has stopped to show it. */
export function stopAtSignal(task: Task, info: SigInfo, result: number): boolean {
  return info.signo !== SIGKILL && stop(task, AT_SIGNAL, info.signo, info, result)
}

/** The registers are those of a handler's first instruction: a tracer that steps wants to see it. */
export function stopAtHandler(task: Task, ptrace: Tracee): boolean {
  return ptrace.stepping && notify(task, AT_RETURN, SIGTRAP, 0)
}

/** A filter asks the tracer about the call: whether it has stopped. */
export function stopAtFilter(task: Task, data: number): boolean {
  return stopForEvent(task, AT_FILTER, PTRACE_EVENT_SECCOMP, data)
}

/** A new program is there, and `oldPid` is what the tracer knew the thread by. Who did not ask for an event gets a signal. */
export function stopAtExec(task: Task, ptrace: Tracee, oldPid: number): void {
  if (stopForEvent(task, AT_CALL, PTRACE_EVENT_EXEC, oldPid)) return
  if (!wants(task, PTRACE_EVENT_EXEC) && !ptrace.seized) sendToTask(task, userSignal(task, task, SIGTRAP))
}

/** A traced task is about to end: whether it has stopped to say so. */
export function stopAtEnd(task: Task, ptrace: Tracee, status: number): boolean {
  if (ptrace.ending || !task.thread.space.alive) return false
  ptrace.ending = true
  task.exitStatus = status
  task.stopWaiting()
  return stopForEvent(task, AT_END, PTRACE_EVENT_EXIT, status)
}

/** Guest code is next: false if others of the process have to step first; then the task stands on its way. */
export function leaveKernel(task: Task, ptrace: Tracee): boolean {
  const watching = ptrace.debug?.watching === true
  if (watching && !ptrace.debug!.begin(task)) {
    task.state = STOPPED
    return false
  }
  // A flag that is the guest's own takes the same way out.
  const traps = (task.thread.regs.lo(REG_EFLAGS) & EFLAGS_TF) !== 0
  if (ptrace.stepping || watching || traps) ptrace.forcedStep = task.thread.setStepping?.(true) ?? false
  return true
}
