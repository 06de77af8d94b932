/**
 * Syscall user dispatch (Documentation/admin-guide/syscall-user-dispatch.rst): a thread's calls from outside of one range of
 * its text come back to it as SIGSYS, whenever a byte of its memory says so. That is how emulators of other systems (Wine) see
 * the calls of the programs that they run.
 *
 * Belongs to one thread; neither its children nor the next program have it. A thread that has it answers no call by itself.
 */
import {
  AUDIT_ARCH_X86_64,
  PR_SYS_DISPATCH_OFF,
  PR_SYS_DISPATCH_ON,
  SIGSEGV,
  SIGSYS,
  SYS_USER_DISPATCH,
  SYSCALL_DISPATCH_FILTER_ALLOW,
  SYSCALL_DISPATCH_FILTER_BLOCK,
} from '../abi/constants.ts'
import { EFAULT, EINVAL } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { REG_RIP } from '../platform/platform.ts'
import { forgetConstants } from './constant-calls.ts'
import { startCoreDump } from './core-dump/core-dump.ts'
import { endGroup } from './exit.ts'
import { returnToGuest } from './return-to-guest.ts'
import { forceSignal } from './signal.ts'
import { kernelSignal, SigInfo } from './signal-info.ts'
import { NO_RESULT, type Task } from './task.ts'

/** Addresses are below 2^64, so that a range may end where they wrap around. */
const ADDRESSES = 2 ** 64

export interface UserDispatch {
  /** Calls from here are made. */
  readonly offset: number
  readonly length: number
  /** The byte that says what becomes of others; 0: they are always dispatched. */
  readonly selector: GuestAddr
}

/** prctl(PR_SET_SYSCALL_USER_DISPATCH), and by a tracer. */
export function setUserDispatch(task: Task, mode: number, dispatch: UserDispatch): Status {
  const { offset, length, selector } = dispatch
  switch (mode) {
    case PR_SYS_DISPATCH_OFF:
      if (offset !== 0 || length !== 0 || selector !== 0) return -EINVAL
      task.userDispatch = undefined
      return 0
    case PR_SYS_DISPATCH_ON:
      if (offset !== 0 && (length === 0 || offset + length >= ADDRESSES)) return -EINVAL
      if (selector !== 0 && !task.mm.accessOk(selector, 1)) return -EFAULT
      task.userDispatch = dispatch
      forgetConstants(task)
      return 0
  }
  return -EINVAL
}

/** Whether the call that the task has just begun is made; if not, the task is on its way to its handler, or has ended. */
export function passesDispatch(task: Task, { offset, length, selector }: UserDispatch): boolean {
  const from = task.thread.regs.get(REG_RIP)
  if (from >= offset && from - offset < length) return true
  if (selector !== 0) {
    const state = task.mm.view(selector, 1)?.getUint8(0)
    if (state === undefined) return end(task, SIGSEGV)
    if (state === SYSCALL_DISPATCH_FILTER_ALLOW) return true
    if (state !== SYSCALL_DISPATCH_FILTER_BLOCK) return end(task, SIGSYS)
  }
  const info = new SigInfo(SIGSYS, SYS_USER_DISPATCH)
  info.addr = from
  info.syscall = task.callNumber
  info.arch = AUDIT_ARCH_X86_64
  info.fromKernel = true
  task.kernel.trace?.exit(task, NO_RESULT)
  forceSignal(task, info)
  returnToGuest(task, NO_RESULT)
  return false
}

/** force_exit_sig: no handler is asked. */
function end(task: Task, signo: number): false {
  task.kernel.trace?.exit(task, NO_RESULT)
  if (!startCoreDump(task, kernelSignal(signo), NO_RESULT)) endGroup(task, signo)
  return false
}
