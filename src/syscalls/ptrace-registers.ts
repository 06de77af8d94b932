/** Requests of ptrace(2) about registers: struct user, register sets, the bases of FS and GS. */
import {
  ARCH_GET_FS,
  ARCH_GET_GS,
  ARCH_SET_FS,
  ARCH_SET_GS,
  NT_PRFPREG,
  NT_PRSTATUS,
  PTRACE_ARCH_PRCTL,
  PTRACE_GETFPREGS,
  PTRACE_GETREGS,
  PTRACE_GETREGSET,
  PTRACE_PEEKUSR,
  PTRACE_POKEUSR,
  PTRACE_SETFPREGS,
  PTRACE_SETREGS,
  PTRACE_SETREGSET,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, EIO, EPERM } from '../abi/errno.ts'
import { IOVEC, USER, USER_REGS } from '../abi/layout.ts'
import type { Status } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import { type RegisterSet, readUserRegs, registerSet, writeUserReg } from '../kernel/arch/x86-64/user-regs.ts'
import { DebugRegisters } from '../kernel/ptrace/debug-registers.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { REG_R10 } from '../platform/platform.ts'

/** The call's last argument with all of its bits, which a double has not. */
export function dataWord(task: Task): Int32Array {
  const { regs } = task.thread
  return new Int32Array([regs.lo(REG_R10), regs.hi(REG_R10)])
}

/** The request's result, or undefined for one that is not about registers. */
export function registerRequest(
  task: Task,
  target: Task,
  request: number,
  address: number,
  data: GuestAddr,
): number | undefined {
  switch (request) {
    case PTRACE_PEEKUSR:
      return peekUser(task, target, address, data)
    case PTRACE_POKEUSR:
      return pokeUser(task, target, address)
    case PTRACE_GETREGS:
      return getWhole(task, target, NT_PRSTATUS, data)
    case PTRACE_SETREGS:
      return setWhole(task, target, NT_PRSTATUS, data)
    case PTRACE_GETFPREGS:
      return getWhole(task, target, NT_PRFPREG, data)
    case PTRACE_SETFPREGS:
      return setWhole(task, target, NT_PRFPREG, data)
    case PTRACE_GETREGSET:
      return moveSet(task, target, address, data, getSet)
    case PTRACE_SETREGSET:
      return moveSet(task, target, address, data, setSet)
    case PTRACE_ARCH_PRCTL:
      return archPrctl(task, target, data, address)
  }
  return undefined
}

/** struct user: registers and debug registers; between them nothing that is known of a live task. */
function peekUser(task: Task, target: Task, at: number, data: GuestAddr): Status {
  if (at % 8 !== 0 || at >= USER.size) return -EIO
  if (at < USER_REGS.size) return task.mm.copyOut(data, readUserRegs(target).subarray(at, at + 8))
  const ptrace = target.ptrace!
  ptrace.debug ??= new DebugRegisters()
  return task.mm.putU64(data, ptrace.debug.get((at - USER.u_debugreg) / 8))
}

function pokeUser(task: Task, target: Task, at: number): Status {
  if (at % 8 !== 0 || at >= USER.size) return -EIO
  const [lo, hi] = dataWord(task)
  if (at < USER_REGS.size) return writeUserReg(target, at, lo, hi)
  if (at < USER.u_debugreg || at >= USER.error_code) return -EIO
  const ptrace = target.ptrace!
  ptrace.debug ??= new DebugRegisters()
  return ptrace.debug.set(target, (at - USER.u_debugreg) / 8, (hi >>> 0) * 2 ** 32 + (lo >>> 0))
}

function getWhole(task: Task, target: Task, type: number, data: GuestAddr): Status {
  const bytes = registerSet(type)!.read(target)
  return bytes === undefined ? -EIO : task.mm.copyOut(data, bytes)
}

function setWhole(task: Task, target: Task, type: number, data: GuestAddr): Status {
  const set = registerSet(type)!
  const bytes = new Uint8Array(set.size(target))
  return task.mm.copyIn(data, bytes) < 0 ? -EFAULT : set.write(target, bytes)
}

/** The struct iovec at `data` says where to and how much; its length becomes what was moved. */
function moveSet(
  task: Task,
  target: Task,
  type: number,
  data: GuestAddr,
  move: (task: Task, target: Task, set: RegisterSet, at: GuestAddr, length: number) => Status,
): Status {
  const view = task.mm.view(data, IOVEC.size)
  if (view === undefined) return -EFAULT
  const at = take64(view, IOVEC.iov_base)
  const room = take64(view, IOVEC.iov_len)
  const set = registerSet(type)
  if (set === undefined || room % set.unit !== 0) return -EINVAL
  const length = Math.min(room, set.size(target))
  const status = move(task, target, set, at, length)
  return status < 0 ? status : task.mm.putU64(data + IOVEC.iov_len, length)
}

function getSet(task: Task, target: Task, set: RegisterSet, at: GuestAddr, length: number): Status {
  const bytes = set.read(target)
  return bytes === undefined ? -EIO : task.mm.copyOut(at, bytes.subarray(0, length))
}

function setSet(task: Task, target: Task, set: RegisterSet, at: GuestAddr, length: number): Status {
  const bytes = new Uint8Array(length)
  return task.mm.copyIn(at, bytes) < 0 ? -EFAULT : set.write(target, bytes)
}

/** As arch_prctl(2) of the tracee, with addresses of the tracer's. */
function archPrctl(task: Task, target: Task, option: number, address: number): Status {
  const { thread, mm } = target
  switch (option) {
    case ARCH_SET_FS:
      if (address >= mm.context.addressLimit) return -EPERM
      thread.setFsBase(address)
      return 0
    case ARCH_SET_GS:
      if (address >= mm.context.addressLimit) return -EPERM
      return thread.setGsBase(address) < 0 ? -EPERM : 0
    case ARCH_GET_FS:
      return task.mm.putU64(address, thread.getFsBase())
    case ARCH_GET_GS:
      return task.mm.putU64(address, thread.getGsBase())
  }
  return -EINVAL
}
