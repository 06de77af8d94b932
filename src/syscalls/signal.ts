/** Signals: actions, masks, queues, waiting, alternate stacks. Sending by kill and its kin is in kill.ts. */
import {
  SA_EXPOSE_TAGBITS,
  SA_NOCLDSTOP,
  SA_NOCLDWAIT,
  SA_NODEFER,
  SA_ONSTACK,
  SA_RESETHAND,
  SA_RESTART,
  SA_RESTORER,
  SA_SIGINFO,
  SIG_BLOCK,
  SIG_SETMASK,
  SIG_UNBLOCK,
  SIGKILL,
  SIGSTOP,
  SS_AUTODISARM,
} from '../abi/constants.ts'
import { EAGAIN, EFAULT, EINTR, EINVAL, ERESTARTNOHAND } from '../abi/errno.ts'
import { SIGACTION, SIGINFO, STACK_T, TIMESPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { put64, take64 } from '../base/words.ts'
import { popSignalFrame, setAltStack } from '../kernel/arch/x86-64/signal-frame.ts'
import { takeSignal } from '../kernel/return-to-guest.ts'
import { forceSegv } from '../kernel/signal.ts'
import { type SigInfo, writeSigInfo } from '../kernel/signal-info.ts'
import { SignalSet } from '../kernel/signal-set.ts'
import { NSIG, SigAction, setBlocked } from '../kernel/signal-state.ts'
import { HeldProgress, NO_RESULT, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { REG_RSP } from '../platform/platform.ts'
import { addr, enumOf, type SyscallRows, signal as signalArg, size, structIn } from './args.ts'
import { readTimespec } from './time-args.ts'

/** sigsetsize: one bit a signal. */
export const SIGSET_SIZE = 8

const SA_KNOWN =
  SA_NOCLDSTOP |
  SA_NOCLDWAIT |
  SA_SIGINFO |
  SA_ONSTACK |
  SA_RESTART |
  SA_NODEFER |
  SA_RESETHAND |
  SA_EXPOSE_TAGBITS |
  SA_RESTORER

/** A signal set from the guest, SIGKILL and SIGSTOP left in; -EFAULT. */
export function readSigset(task: Task, at: GuestAddr): SignalSet | number {
  const view = task.mm.view(at, SIGSET_SIZE)
  return view === undefined ? -EFAULT : new SignalSet(view.getInt32(0, true), view.getInt32(4, true))
}

export function writeSigset(task: Task, at: GuestAddr, lo: number, hi: number): number {
  const out = task.mm.out(SIGSET_SIZE)
  out.setInt32(0, lo, true)
  out.setInt32(4, hi, true)
  return task.mm.commit(at)
}

export function rt_sigaction(
  task: Task,
  signo: number,
  actAt: GuestAddr,
  oldAt: GuestAddr,
  setSize: number,
): number {
  if (setSize !== SIGSET_SIZE) return -EINVAL
  const view = actAt === 0 ? undefined : task.mm.view(actAt, SIGACTION.size)
  if (actAt !== 0 && view === undefined) return -EFAULT
  if (signo < 1 || signo > NSIG) return -EINVAL
  if (actAt !== 0 && (signo === SIGKILL || signo === SIGSTOP)) return -EINVAL
  const old = task.group.handlers.action(signo)
  if (view !== undefined) {
    // Unknown flags are cleared, so that programs can find out what the kernel knows.
    const flags = view.getUint32(SIGACTION.flags, true) & SA_KNOWN
    const mask = new SignalSet()
    setBlocked(mask, view.getInt32(SIGACTION.mask, true), view.getInt32(SIGACTION.mask + 4, true))
    task.group.handlers.setAction(
      signo,
      new SigAction(
        take64(view, SIGACTION.handler),
        flags,
        take64(view, SIGACTION.restorer),
        mask.lo,
        mask.hi,
      ),
    )
    if (task.group.handlers.ignores(signo)) {
      task.group.pending.flush(signo)
      for (const each of task.group.tasks) each.signals.pending.flush(signo)
    }
  }
  if (oldAt === 0) return 0
  const out = task.mm.out(SIGACTION.size)
  put64(out, SIGACTION.handler, old.handler)
  put64(out, SIGACTION.flags, old.flags >>> 0)
  put64(out, SIGACTION.restorer, old.restorer)
  out.setInt32(SIGACTION.mask, old.maskLo, true)
  out.setInt32(SIGACTION.mask + 4, old.maskHi, true)
  return task.mm.commit(oldAt)
}

export function rt_sigprocmask(
  task: Task,
  how: number,
  setAt: GuestAddr,
  oldAt: GuestAddr,
  setSize: number,
): number {
  if (setSize !== SIGSET_SIZE) return -EINVAL
  const { blocked } = task.signals
  const { lo, hi } = blocked
  if (setAt !== 0) {
    const set = readSigset(task, setAt)
    if (typeof set === 'number') return set
    if (how === SIG_BLOCK) setBlocked(blocked, lo | set.lo, hi | set.hi)
    else if (how === SIG_UNBLOCK) setBlocked(blocked, lo & ~set.lo, hi & ~set.hi)
    else if (how === SIG_SETMASK) setBlocked(blocked, set.lo, set.hi)
    else return -EINVAL
  }
  return oldAt === 0 ? 0 : writeSigset(task, oldAt, lo, hi)
}

/** What is pending and blocked. */
export function rt_sigpending(task: Task, setAt: GuestAddr, setSize: number): number {
  if (setSize > SIGSET_SIZE) return -EINVAL
  const { blocked, pending } = task.signals
  const shared = task.group.pending.set
  const out = new Uint8Array(8)
  const view = new DataView(out.buffer)
  view.setInt32(0, (pending.set.lo | shared.lo) & blocked.lo, true)
  view.setInt32(4, (pending.set.hi | shared.hi) & blocked.hi, true)
  return task.mm.copyOut(setAt, out.subarray(0, setSize))
}

export function rt_sigsuspend(task: Task, setAt: GuestAddr, setSize: number): number {
  if (setSize !== SIGSET_SIZE) return -EINVAL
  if (task.progress === undefined) {
    const set = readSigset(task, setAt)
    if (typeof set === 'number') return set
    task.signals.setTemporaryMask(set.lo, set.hi)
    task.progress = true
  }
  return task.blockForSignal(-ERESTARTNOHAND)
}

export function pause(task: Task): number {
  return task.blockForSignal(-ERESTARTNOHAND)
}

class SigwaitProgress extends HeldProgress {
  readonly #task: Task
  readonly deadline: number

  constructor(task: Task, deadline: number) {
    super()
    this.#task = task
    this.deadline = deadline
  }
  override end(): void {
    this.#task.signals.waitingFor.set(0, 0)
  }
}

export function rt_sigtimedwait(
  task: Task,
  setAt: GuestAddr,
  infoAt: GuestAddr,
  timeoutAt: GuestAddr,
  setSize: number,
): number {
  if (setSize !== SIGSET_SIZE) return -EINVAL
  const set = readSigset(task, setAt)
  if (typeof set === 'number') return set
  const { signals } = task
  setBlocked(set, set.lo, set.hi)
  let progress = task.progress as SigwaitProgress | undefined
  let timeout = Number.POSITIVE_INFINITY
  if (progress === undefined && timeoutAt !== 0) {
    timeout = readTimespec(task, timeoutAt)
    if (timeout < 0) return timeout
  }
  const info = takeFrom(task, set)
  if (info !== undefined) {
    if (infoAt === 0) return info.signo
    writeSigInfo(info, task.mm.out(SIGINFO.size), 0)
    const status = task.mm.commit(infoAt)
    return status < 0 ? status : info.signo
  }
  if (progress === undefined) {
    progress = new SigwaitProgress(task, timeout === 0 ? 0 : task.kernel.now() + timeout)
    task.progress = progress
    signals.waitingFor.copy(set)
  }
  if (task.kernel.now() >= progress.deadline) return -EAGAIN
  task.blockForSignal(-EINTR)
  return task.blockUntil(progress.deadline)
}

/** The next pending signal of a set: the task's own first. Used by signalfd's kin as well. */
function takeFrom(task: Task, set: SignalSet): SigInfo | undefined {
  for (const queue of [task.signals.pending, task.group.pending]) {
    for (;;) {
      const signo = queue.nextIn(set.lo, set.hi)
      if (signo === 0) break
      const info = takeSignal(queue, signo)
      if (info !== undefined) return info
    }
  }
  return undefined
}

export function sigaltstack(task: Task, newAt: GuestAddr, oldAt: GuestAddr): number {
  const { signals } = task
  const sp = task.thread.regs.get(REG_RSP)
  const old = { sp: signals.altSp, size: signals.altSize, flags: signals.altStackFlags(sp) }
  old.flags |= signals.altFlags & SS_AUTODISARM
  if (newAt !== 0) {
    const view = task.mm.view(newAt, STACK_T.size)
    if (view === undefined) return -EFAULT
    const base = take64(view, STACK_T.ss_sp)
    const stackSize = take64(view, STACK_T.ss_size)
    const status = setAltStack(signals, sp, base, view.getInt32(STACK_T.ss_flags, true), stackSize)
    if (status < 0) return status
  }
  if (oldAt === 0) return 0
  const out = task.mm.out(STACK_T.size)
  put64(out, STACK_T.ss_sp, old.sp)
  out.setInt32(STACK_T.ss_flags, old.flags, true)
  put64(out, STACK_T.ss_size, old.size)
  return task.mm.commit(oldAt)
}

export function rt_sigreturn(task: Task): number {
  if (popSignalFrame(task) < 0) forceSegv(task, 0)
  return NO_RESULT
}

/**
 * Goes on with a call that has a restart of its own, where a tracer has seen that it was interrupted; else the kernel
 * does that itself, and the guest has nothing to restart.
 */
export function restart_syscall(task: Task): number {
  const block = task.restartBlock
  if (block === undefined) return -EINTR
  task.restartBlock = undefined
  task.callNumber = block.nr
  block.args.forEach((arg, i) => {
    task.args[i] = arg
  })
  task.progress = block.progress
  return task.kernel.syscalls.run(task, block.nr)
}

const how = enumOf({ SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK })

export const signalCalls = {
  rt_sigaction: {
    nr: NR.rt_sigaction,
    run: rt_sigaction,
    args: [signalArg, structIn(SIGACTION), addr, size],
  },
  rt_sigprocmask: { nr: NR.rt_sigprocmask, run: rt_sigprocmask, args: [how, addr, addr, size] },
  rt_sigpending: { nr: NR.rt_sigpending, run: rt_sigpending, args: [addr, size] },
  rt_sigsuspend: { nr: NR.rt_sigsuspend, run: rt_sigsuspend, args: [addr, size] },
  rt_sigtimedwait: {
    nr: NR.rt_sigtimedwait,
    run: rt_sigtimedwait,
    args: [addr, addr, structIn(TIMESPEC), size],
  },
  pause: { nr: NR.pause, run: pause, args: [] },
  sigaltstack: { nr: NR.sigaltstack, run: sigaltstack, args: [structIn(STACK_T), addr] },
  rt_sigreturn: { nr: NR.rt_sigreturn, run: rt_sigreturn, args: [], returns: 'none' },
  restart_syscall: { nr: NR.restart_syscall, run: restart_syscall, args: [] },
} satisfies SyscallRows
