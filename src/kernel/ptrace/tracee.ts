/**
 * Tracee: that a task is traced, by whom and how (the ptrace fields of task_struct). ptrace(2) is the document.
 *
 * Made by PTRACE_TRACEME, PTRACE_ATTACH or PTRACE_SEIZE, or with a new task by a tracer that follows its parent; found as
 * `task.ptrace`, and in `tracees` of the tracer, which is a thread, not a process. It ends with PTRACE_DETACH, with the
 * tracer's end, or when the task is waited for: a traced thread stays a zombie until its tracer has seen that it ended.
 *
 * A traced task stops (stop.ts) where its tracer wants to look: state TRACED, its `halt` says what goes on there and
 * what is done when the tracer lets it go. While an address space has a traced task its text is the original one
 * (AddressSpace.setTraced), and all calls come to the kernel.
 */
import { PTRACE_O_EXITKILL, PTRACE_O_SUSPEND_SECCOMP, SIGKILL, SIGSTOP } from '../../abi/constants.ts'
import type { Credentials } from '../../base/credentials.ts'
import { forgetConstants } from '../constant-calls.ts'
import { tellOfEnd } from '../exit.ts'
import { sendToTask, wakeForSignal } from '../signal.ts'
import { kernelSignal } from '../signal-info.ts'
import { JOBCTL_STOP_SIGNAL, JOBCTL_TRAP_STOP } from '../signal-state.ts'
import { STOPPED, type Task, TRACED } from '../task.ts'
import type { DebugRegisters } from './debug-registers.ts'
import { enterTrap, resumeStopped } from './stop.ts'

// What Tracee.calls says.
export const CALLS_PASS = 0
/** PTRACE_SYSCALL: a stop at the entry and at the exit of each call. */
export const CALLS_STOP = 1
/** PTRACE_SYSEMU: a stop at the entry, and the call is not made. */
export const CALLS_EMULATE = 2

export class Tracee {
  readonly tracer: Task
  /**
   * In whose name the tracing began: whether an exec may give more than the tracer could have. With PTRACE_TRACEME that is
   * the task itself, whose parent had no say.
   */
  readonly tracerCred: Credentials
  /** PTRACE_SEIZE: no stop at attaching, and stops of the group that can be told from signals. */
  readonly seized: boolean
  /** PTRACE_O_*. */
  options: number
  /** PTRACE_GETEVENTMSG. */
  message = 0
  /** CALLS_*, as the last resume said. */
  calls = CALLS_PASS
  /** The last resume asked for one instruction. */
  stepping = false
  /** The trap flag is the tracer's doing, not the guest's. */
  forcedStep = false
  /** The flag was, when the thread stopped. */
  stepped = false
  /** Made when the tracer looks at one of them. */
  debug: DebugRegisters | undefined = undefined
  /** It has announced its end. */
  ending = false

  constructor(tracer: Task, tracerCred: Credentials, seized: boolean, options: number) {
    this.tracer = tracer
    this.tracerCred = tracerCred
    this.seized = seized
    this.options = options
  }

  /** The tracer is of another process than the parent's. */
  isReparented(task: Task): boolean {
    return this.tracer.group !== task.group.parent
  }
}

/** PTRACE_TRACEME, PTRACE_ATTACH, PTRACE_SEIZE: everything was checked. */
export function link(
  task: Task,
  tracer: Task,
  tracerCred: Credentials,
  seized: boolean,
  options: number,
): void {
  task.ptrace = new Tracee(tracer, tracerCred, seized, options)
  tracer.tracees ??= new Set()
  tracer.tracees.add(task)
  forgetConstants(task)
}

/** PTRACE_O_SUSPEND_SECCOMP: the tracee's filters are not asked. */
export function suspendsSeccomp(tracee: Tracee): boolean {
  return (tracee.options & PTRACE_O_SUSPEND_SECCOMP) !== 0
}

/** PTRACE_ATTACH, PTRACE_SEIZE: the first one asks for a stop; a task of a stopped process shows that stop. */
export function attach(task: Task, tracer: Task, seized: boolean, options: number): void {
  link(task, tracer, tracer.cred, seized, options)
  if (!seized) sendToTask(task, kernelSignal(SIGSTOP))
  if (task.state === STOPPED && task.signals.stopped) {
    task.signals.stopped = false
    task.signals.jobctl = (task.signals.jobctl & ~JOBCTL_STOP_SIGNAL) | JOBCTL_TRAP_STOP
    enterTrap(task, task.result)
  }
}

/** A new task of a traced one, before it runs: it belongs to the same tracer, and stops at its first instruction. */
export function followChild(parent: Task, child: Task): void {
  const { tracer, tracerCred, seized, options } = parent.ptrace!
  link(child, tracer, tracerCred, seized, options)
  child.callNumber = parent.callNumber
  if (seized) child.signals.jobctl |= JOBCTL_TRAP_STOP
  else child.signals.pending.add(SIGSTOP, undefined, undefined)
}

/** PTRACE_DETACH: the stopped task goes on, with a signal or without (0). */
export function detach(task: Task, signo: number): void {
  unlink(task)
  resumeStopped(task, signo)
}

/** __ptrace_unlink: nobody traces the task any more. A stop of its process holds for it again. */
export function unlink(task: Task): void {
  const { ptrace, group, signals } = task
  if (ptrace === undefined) return
  ptrace.tracer.tracees?.delete(task)
  task.ptrace = undefined
  ptrace.debug?.end(task, false)
  if (task.ended) return
  signals.jobctl = 0
  if (group.stopped || group.stopsLeft > 0) signals.jobctl = group.stopSignal
  if (ptrace.forcedStep && task.thread.stopped) task.thread.setStepping?.(false)
  const { space } = task.thread
  for (const other of task.kernel.tasks()) if (other.ptrace !== undefined && other.mm === task.mm) return
  space.setTraced?.(false)
}

/** exit_ptrace: a tracer ends. */
export function leaveTracees(tracer: Task): void {
  const { tracees } = tracer
  if (tracees === undefined) return
  tracer.tracees = undefined
  for (const task of tracees) {
    const kill = (task.ptrace!.options & PTRACE_O_EXITKILL) !== 0
    const reparented = task.ptrace!.isReparented(task)
    unlink(task)
    if (task.ended) {
      // Its own parent's wait finds it, unless nobody has told that one yet.
      if (task !== task.group.leader || reparented) tellOfEnd(task)
      continue
    }
    if (kill) sendToTask(task, kernelSignal(SIGKILL))
    if (task.state === TRACED) resumeStopped(task, 0)
    else if (task.signals.jobctl !== 0) wakeForSignal(task, false)
  }
}
