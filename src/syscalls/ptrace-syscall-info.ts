/** PTRACE_GET_SYSCALL_INFO and PTRACE_SET_SYSCALL_INFO: what a tracee's stop has to do with a call. */
import {
  AUDIT_ARCH_X86_64,
  PTRACE_EVENT_SECCOMP,
  PTRACE_EVENTMSG_SYSCALL_ENTRY,
  PTRACE_SYSCALL_INFO_ENTRY,
  PTRACE_SYSCALL_INFO_EXIT,
  PTRACE_SYSCALL_INFO_NONE,
  PTRACE_SYSCALL_INFO_SECCOMP,
  SIGTRAP,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, ERANGE } from '../abi/errno.ts'
import { PTRACE_SYSCALL_INFO } from '../abi/layout.ts'
import type { Status } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import {
  REG_R8,
  REG_R9,
  REG_R10,
  REG_RAX,
  REG_RDI,
  REG_RDX,
  REG_RIP,
  REG_RSI,
  REG_RSP,
} from '../platform/platform.ts'

const ARGUMENTS = [REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9]
const MAX_ERRNO = 4095
/** Between `op` and `arch`: reserved, and flags of which there are none. */
const RESERVED = [1, 2, 3]

/** PTRACE_SYSCALL_INFO_*: the kind of the stop. */
function kindOf(target: Task): number {
  const code = target.halt!.info?.code ?? 0
  if (code === (SIGTRAP | (PTRACE_EVENT_SECCOMP << 8))) return PTRACE_SYSCALL_INFO_SECCOMP
  if (code !== (SIGTRAP | 0x80)) return PTRACE_SYSCALL_INFO_NONE
  const entry = target.ptrace!.message === PTRACE_EVENTMSG_SYSCALL_ENTRY
  return entry ? PTRACE_SYSCALL_INFO_ENTRY : PTRACE_SYSCALL_INFO_EXIT
}

/** As much as fits into `room` bytes: how much there is. */
export function getSyscallInfo(task: Task, target: Task, room: number, data: GuestAddr): number {
  const { regs } = target.thread
  const out = task.mm.out(PTRACE_SYSCALL_INFO.size)
  const copy = (at: number, reg: number): void => {
    out.setInt32(at, regs.lo(reg), true)
    out.setInt32(at + 4, regs.hi(reg), true)
  }
  const kind = kindOf(target)
  out.setUint8(PTRACE_SYSCALL_INFO.op, kind)
  out.setUint32(PTRACE_SYSCALL_INFO.arch, AUDIT_ARCH_X86_64, true)
  copy(PTRACE_SYSCALL_INFO.instruction_pointer, REG_RIP)
  copy(PTRACE_SYSCALL_INFO.stack_pointer, REG_RSP)
  let length: number = PTRACE_SYSCALL_INFO.nr
  if (kind === PTRACE_SYSCALL_INFO_ENTRY || kind === PTRACE_SYSCALL_INFO_SECCOMP) {
    out.setInt32(PTRACE_SYSCALL_INFO.nr, target.callNumber, true)
    out.setInt32(PTRACE_SYSCALL_INFO.nr + 4, target.callNumber < 0 ? -1 : 0, true)
    ARGUMENTS.forEach((reg, i) => {
      copy(PTRACE_SYSCALL_INFO.args + 8 * i, reg)
    })
    length = PTRACE_SYSCALL_INFO.args + 8 * ARGUMENTS.length
    if (kind === PTRACE_SYSCALL_INFO_SECCOMP) {
      out.setUint32(PTRACE_SYSCALL_INFO.ret_data, target.ptrace!.message, true)
      length = PTRACE_SYSCALL_INFO.ret_data + 4
    }
  } else if (kind === PTRACE_SYSCALL_INFO_EXIT) {
    copy(PTRACE_SYSCALL_INFO.rval, REG_RAX)
    const value = regs.lo(REG_RAX) | 0
    const isError = (regs.hi(REG_RAX) | 0) === -1 && value < 0 && value >= -MAX_ERRNO
    out.setUint8(PTRACE_SYSCALL_INFO.is_error, isError ? 1 : 0)
    length = PTRACE_SYSCALL_INFO.is_error + 1
  }
  const { access } = task.mm.context
  access.outLength = Math.min(length, room)
  return task.mm.commit(data) < 0 ? -EFAULT : length
}

/** Another call in its place, or another result; the kind of the stop can't be changed. */
export function setSyscallInfo(task: Task, target: Task, size: number, data: GuestAddr): Status {
  if (size < PTRACE_SYSCALL_INFO.size) return -EINVAL
  const view = task.mm.view(data, PTRACE_SYSCALL_INFO.size)
  if (view === undefined) return -EFAULT
  for (const at of RESERVED) if (view.getUint8(at) !== 0) return -EINVAL
  const kind = kindOf(target)
  if (kind === PTRACE_SYSCALL_INFO_NONE || view.getUint8(PTRACE_SYSCALL_INFO.op) !== kind) return -EINVAL
  const { regs } = target.thread
  const put = (reg: number, at: number): void =>
    regs.set(reg, view.getInt32(at, true), view.getInt32(at + 4, true))
  if (kind === PTRACE_SYSCALL_INFO_EXIT) {
    put(REG_RAX, PTRACE_SYSCALL_INFO.rval)
    return 0
  }
  const nr = view.getInt32(PTRACE_SYSCALL_INFO.nr, true)
  if (view.getInt32(PTRACE_SYSCALL_INFO.nr + 4, true) !== (nr < 0 ? -1 : 0)) return -ERANGE
  target.callNumber = nr
  // A call that is not made has no arguments, and its tracer may have none either.
  if (nr === -1) return 0
  ARGUMENTS.forEach((reg, i) => {
    put(reg, PTRACE_SYSCALL_INFO.args + 8 * i)
  })
  return 0
}
