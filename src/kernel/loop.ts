/**
 * The kernel's main loop: takes stopped threads from the platform, serves their calls, tries blocked calls again, and
 * fires timers. Everything that a guest makes happen begins here and ends in return-to-guest.ts.
 */
import { SEGV_ACCERR, SEGV_MAPERR, SIGKILL, SIGSYS } from '../abi/constants.ts'
import { BLOCK, PENDING } from '../base/result.ts'
import { growDown } from '../mm/stack.ts'
import {
  type PlatformThread,
  REG_RAX,
  STOP_DEAD,
  STOP_FAULT,
  STOP_INTERRUPTED,
  STOP_KICK,
  STOP_SYSCALL,
  STOP_WAITED,
} from '../platform/platform.ts'
import { isHeldWhole } from './cgroup/freezer.ts'
import { traceOf } from './containment.ts'
import { checkCpuAlarms } from './cpu-alarm.ts'
import { endGroup, endTask } from './exit.ts'
import { interruptedFutex } from './futex.ts'
import { accountIo } from './io-account.ts'
import type { Kernel } from './kernel.ts'
import { reportFault } from './log/fault-report.ts'
import { awaitNotices, awaitsPages, pageArrived, takePageFault } from './page-wait.ts'
import { enterKernel, resumeTraced, stepCode, stopAtEntry, stopAtExit } from './ptrace/resume.ts'
import { returnToGuest } from './return-to-guest.ts'
import { awaitReply } from './seccomp/notify.ts'
import { admitCall } from './seccomp/seccomp.ts'
import { forceSignal, killGroup } from './signal.ts'
import { faultSignal } from './signal-info.ts'
import {
  BLOCKED,
  DUMPING,
  IN_KERNEL,
  NATIVE_WAIT,
  NO_RESULT,
  RUNNING,
  STOPPED,
  type Task,
  TRACED,
} from './task.ts'
import { passesDispatch } from './user-dispatch.ts'

/** X86_TRAP_PF: the only trap that sets cr2. */
const PAGE_FAULT = 14
/** X86_TRAP_DB: a single step. */
const DEBUG_TRAP = 1

/**
 * One round: what is runnable runs, due timers fire, and one stopped thread is served, for which it waits until
 * `until` (monotonic ns) at most. False when no thread stopped: the caller may look after other things.
 */
export function turn(kernel: Kernel, until: number): boolean {
  runQueue(kernel)
  if (kernel.timers.next !== Number.POSITIVE_INFINITY)
    kernel.timers.expire(kernel.now(), kernel.containment.timerFailed)
  if (kernel.operations.length > 0) runOperations(kernel)
  if (kernel.liveTasks === 0) return false
  const { longCalls } = kernel
  const busy = kernel.runnable.length > 0 || kernel.operations.length > 0
  let deadline = busy ? 0 : Math.min(until, kernel.timers.next)
  if (deadline > 0 && longCalls.waiting) deadline = Math.min(deadline, longCalls.deadline)
  const thread = kernel.platform.next(deadline)
  if (thread !== undefined) serve(thread, kernel.platform.stopReason)
  if (longCalls.watching) longCalls.looked(thread === undefined)
  return thread !== undefined
}

/** Each task that is on the queue now gets one try; those that are queued meanwhile wait for the next round. */
function runQueue(kernel: Kernel): void {
  const { runnable } = kernel
  const count = runnable.length
  if (count === 0) return
  if (kernel.dormant.size > 0) wakeDormant(kernel)
  for (let i = 0; i < count; i++) {
    const task = runnable[i]
    task.queued = false
    try {
      runTask(task)
    } catch (error) {
      taskFailed(task, error)
    }
  }
  runnable.splice(0, count)
}

/** A task that was put on the queue: it was woken, continued, or has a piece of work to do. */
function runTask(task: Task): void {
  if (task.state === BLOCKED) {
    task.state = IN_KERNEL
    if (task.notification !== undefined) awaitReply(task)
    else if (task.pageWait !== undefined) pageArrived(task)
    else if (task.pageNotices?.result !== undefined) awaitNotices(task, task.pageNotices.result)
    else attempt(task)
  } else if (task.state === STOPPED && !task.signals.stopped) {
    task.state = IN_KERNEL
    returnToGuest(task, task.result)
  } else if (task.state === STOPPED && task.signals.fatalPending(task)) {
    task.state = IN_KERNEL
    returnToGuest(task, NO_RESULT)
  } else if (task.state === TRACED) resumeTraced(task)
  else if (task.state === DUMPING) stepDump(task)
}

function wakeDormant({ dormant }: Kernel): void {
  for (const each of dormant) each.wake()
}

/** The next piece of a core dump. */
function stepDump(task: Task): void {
  const { coreDump } = task.group
  try {
    coreDump?.step()
  } catch (error) {
    reportBug(task, 'a core dump', error)
    coreDump?.abort()
  }
}

/** Tries the operations that were woken; what they wake meanwhile is for the next round. */
function runOperations(kernel: Kernel): void {
  for (const operation of kernel.operations.splice(0)) {
    try {
      operation.attempt()
    } catch (error) {
      const { task } = operation
      reportBug(task, 'an operation', error)
      // Its threads may be running.
      if (!task.ended) killGroup(task.group, SIGSYS)
    }
  }
}

function serve(thread: PlatformThread, reason: number): void {
  const task = thread.owner as Task | undefined
  if (task === undefined || task.ended) return
  if (task.kernel.dormant.size > 0) wakeDormant(task.kernel)
  if (reason === STOP_DEAD) {
    spaceDied(task)
    return
  }
  task.state = IN_KERNEL
  try {
    serveStop(task, reason)
  } catch (error) {
    taskFailed(task, error)
  }
}

function serveStop(task: Task, reason: number): void {
  if (task.ptrace !== undefined) enterKernel(task, task.ptrace, reason)
  if (reason === STOP_KICK) checkCpuAlarms(task)
  if (reason === STOP_KICK || task.signals.fatalPending(task)) returnToGuest(task, NO_RESULT)
  else if (reason === STOP_SYSCALL) beginCall(task)
  else if (reason === STOP_FAULT) takeFault(task)
  else if (reason === STOP_INTERRUPTED) interruptedWait(task)
  else if (reason === STOP_WAITED) finishWait(task)
}

function beginCall(task: Task): void {
  const { kernel } = task
  const nr = task.thread.syscallNumber
  task.callNumber = nr
  kernel.syscalls.decode(task, nr)
  kernel.trace?.enter(task)
  if (task.userDispatch !== undefined && !passesDispatch(task, task.userDispatch)) return
  if (task.ptrace !== undefined && stopAtEntry(task, task.ptrace)) return
  if (task.seccomp !== undefined && !admitCall(task, task.seccomp, nr)) return
  attempt(task)
}

/** The call that a tracer has seen, and may have changed; `answered`: it was asked by a filter. */
export function enterCall(task: Task, answered: boolean): void {
  task.kernel.syscalls.decode(task, task.callNumber)
  if (task.seccomp !== undefined && !admitCall(task, task.seccomp, task.callNumber, answered)) return
  attempt(task)
}

/** One try of the call in progress. */
export function attempt(task: Task): void {
  const { kernel, signals } = task
  if (signals.fatalPending(task)) {
    returnToGuest(task, NO_RESULT)
    return
  }
  task.stopWaiting()
  if (task.mm.faultAreas !== undefined && awaitsPages(task)) return
  task.requests?.rewind()
  kernel.current = task
  task.thread.space.active = task.thread
  let result: number
  try {
    result = kernel.syscalls.run(task, task.callNumber)
    if (result === PENDING) result = task.requests!.wait(task)
  } finally {
    kernel.current = undefined
  }
  if (kernel.operations.length > 0) runOperations(kernel)
  // It may have ended, or stand still for its tracer.
  if (task.state !== IN_KERNEL) return
  if (result === BLOCK || result === NATIVE_WAIT) {
    if (task.uninterruptible ? !signals.fatalPending(task) : !signals.pendingUnblocked(task)) {
      if (result === NATIVE_WAIT) {
        waitNatively(task)
        return
      }
      if (!task.yielding) kernel.trace?.blocked(task)
      task.fallAsleep()
      return
    }
    result = task.interruptedResult
    task.stopWaiting()
  }
  if (task.pageNotices !== undefined) awaitNotices(task, result)
  else finishCall(task, result)
}

/** The call is over. */
export function finishCall(task: Task, result: number): void {
  accountIo(task, result)
  task.kernel.trace?.exit(task, result)
  if (task.ptrace !== undefined && stopAtExit(task, task.ptrace, result)) return
  returnToGuest(task, result)
}

/** The thread makes the call by itself. For the kernel it runs: what happens to it stops it, as it stops guest code. */
function waitNatively(task: Task): void {
  const { trace } = task.kernel
  trace?.blocked(task)
  task.dropProgress()
  task.state = RUNNING
  // Where a tracer has looked, something else is in its place.
  task.thread.regs.put(REG_RAX, task.callNumber)
  task.thread.native!.start(task.nativeCall!, trace !== undefined || task.ptrace !== undefined)
  task.nativeCall = undefined
  // Whoever holds the process counted on its threads' way back to guest code, which this is not.
  if (isHeldWhole(task.group.holds)) task.thread.kick()
}

/** A wait that the thread made by itself was interrupted, as the call of a blocked task is by a signal. */
function interruptedWait(task: Task): void {
  const nr = task.thread.syscallNumber
  task.callNumber = nr
  task.kernel.syscalls.decode(task, nr)
  const result = interruptedFutex(task)
  // Not every kick is for a signal: who traces is not told of those that change nothing.
  if (task.signalPending()) finishCall(task, result)
  else returnToGuest(task, result)
}

/** A wait is over, and somebody traces calls. */
function finishWait(task: Task): void {
  const { regs } = task.thread
  const result = regs.hi(REG_RAX) === 0 ? regs.lo(REG_RAX) : regs.lo(REG_RAX) | 0
  finishCall(task, result)
}

/** A bug in the kernel: the guest's process pays, the sandbox lives, the log says all that is known. */
function taskFailed(task: Task, error: unknown): void {
  const { callNumber, kernel } = task
  const call = `${kernel.syscalls.name(callNumber)}(${task.args.join(', ')})`
  reportBug(task, callNumber < 0 ? 'a stop' : call, error)
  if (task.ended) return
  // A thread that runs has to be stopped first.
  if (task.state === IN_KERNEL) endGroup(task, SIGSYS)
  else killGroup(task.group, SIGSYS)
}

function reportBug(task: Task, what: string, error: unknown): void {
  task.kernel.log.error(
    `bug: ${what} of ${task.comm} (pid ${task.tid}) failed in the kernel: ${traceOf(error)}`,
  )
}

/** A fault of the guest's: the signal is the thread's own and can't be put off. */
function takeFault(task: Task): void {
  const { fault } = task.thread
  const { signo, addr } = fault
  let { code } = fault
  if (fault.trapno === DEBUG_TRAP) {
    // A program that steps through itself must not get into code that is none of its own.
    task.thread.space.setTraced?.(true)
    if (task.ptrace !== undefined) code = stepCode(task, task.ptrace, code)
    if (code === 0) {
      returnToGuest(task, NO_RESULT)
      return
    }
  }
  task.trapNumber = fault.trapno
  task.errorCode = fault.err
  if (fault.trapno === PAGE_FAULT) {
    if (task.mm.faultAreas !== undefined && code === SEGV_ACCERR && takePageFault(task, addr, fault.err))
      return
    task.mm.limits = task.group.rlimits
    if (code === SEGV_MAPERR && growDown(task.mm, addr)) {
      returnToGuest(task, NO_RESULT)
      return
    }
    task.faultAddress = addr
  }
  reportFault(task, signo, addr)
  forceSignal(task, faultSignal(signo, code, addr))
  returnToGuest(task, NO_RESULT)
}

/** The host process of an address space is gone: everybody in it was killed. */
function spaceDied(task: Task): void {
  const { kernel, mm } = task
  kernel.log.warn(`the host process of ${task.comm} (pid ${task.tid}) died`)
  task.group.cgroup.memory.killedByHost()
  for (const each of kernel.tasks()) {
    if (each.mm !== mm) continue
    killGroup(each.group, SIGKILL)
    endTask(each, SIGKILL)
  }
}
