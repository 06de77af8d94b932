/**
 * The registers of a stopped task as ptrace(2) and core dumps have them: struct user_regs_struct, and the sets of NT_*.
 * Segments are those of 64-bit code and can't be others.
 */
import { NT_PRFPREG, NT_PRSTATUS, NT_X86_XSTATE } from '../../../abi/constants.ts'
import { EINVAL, EIO } from '../../../abi/errno.ts'
import { FPSTATE, USER_REGS } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import { put64 } from '../../../base/words.ts'
import {
  REG_EFLAGS,
  REG_R8,
  REG_R9,
  REG_R10,
  REG_R11,
  REG_R12,
  REG_R13,
  REG_R14,
  REG_R15,
  REG_RAX,
  REG_RBP,
  REG_RBX,
  REG_RCX,
  REG_RDI,
  REG_RDX,
  REG_RIP,
  REG_RSI,
  REG_RSP,
} from '../../../platform/platform.ts'
import type { Task } from '../../task.ts'

/** What fxsave writes. */
export const FP_SIZE = 512
const USER_CS = 0x33
const USER_SS = 0x2b
/** What a tracer may change of the flags (FLAG_MASK). */
const FLAG_MASK = 0x54dd5
/** The xsave header, behind what fxsave writes. */
const XSTATE_HEADER = 512
/** x87 and SSE in the header's first word. */
const XFEATURES_FPSSE = 3

/** By offset in user_regs_struct. */
const GENERAL = new Map<number, number>([
  [USER_REGS.r15, REG_R15],
  [USER_REGS.r14, REG_R14],
  [USER_REGS.r13, REG_R13],
  [USER_REGS.r12, REG_R12],
  [USER_REGS.rbp, REG_RBP],
  [USER_REGS.rbx, REG_RBX],
  [USER_REGS.r11, REG_R11],
  [USER_REGS.r10, REG_R10],
  [USER_REGS.r9, REG_R9],
  [USER_REGS.r8, REG_R8],
  [USER_REGS.rax, REG_RAX],
  [USER_REGS.rcx, REG_RCX],
  [USER_REGS.rdx, REG_RDX],
  [USER_REGS.rsi, REG_RSI],
  [USER_REGS.rdi, REG_RDI],
  [USER_REGS.rip, REG_RIP],
  [USER_REGS.rsp, REG_RSP],
])

/** All of user_regs_struct. */
export function readUserRegs(task: Task): Uint8Array {
  const bytes = new Uint8Array(USER_REGS.size)
  const view = new DataView(bytes.buffer)
  const { regs } = task.thread
  for (const [at, reg] of GENERAL) {
    view.setInt32(at, regs.lo(reg), true)
    view.setInt32(at + 4, regs.hi(reg), true)
  }
  view.setInt32(USER_REGS.orig_rax, task.callNumber, true)
  view.setInt32(USER_REGS.orig_rax + 4, task.callNumber < 0 ? -1 : 0, true)
  view.setUint32(USER_REGS.eflags, regs.lo(REG_EFLAGS), true)
  view.setUint32(USER_REGS.cs, USER_CS, true)
  view.setUint32(USER_REGS.ss, USER_SS, true)
  put64(view, USER_REGS.fs_base, task.thread.getFsBase())
  put64(view, USER_REGS.gs_base, task.thread.getGsBase())
  return bytes
}

/** Word by word, from the first: those in front of one that can't be set have been set. */
export function writeUserRegs(task: Task, bytes: Uint8Array): Status {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + 8 <= bytes.length; at += 8) {
    const status = writeUserReg(task, at, view.getInt32(at, true), view.getInt32(at + 4, true))
    if (status < 0) return status
  }
  return 0
}

/** putreg: a word of user_regs_struct. -EIO: it can't be. */
export function writeUserReg(task: Task, at: number, lo: number, hi: number): Status {
  const { thread } = task
  const { regs } = thread
  const general = GENERAL.get(at)
  if (general !== undefined) {
    regs.set(general, lo, hi)
    return 0
  }
  const value = (hi >>> 0) * 0x100000000 + (lo >>> 0)
  switch (at) {
    case USER_REGS.orig_rax:
      task.callNumber = lo
      return 0
    case USER_REGS.eflags:
      // The tracer's own step is not the guest's flag.
      regs.set(REG_EFLAGS, (regs.lo(REG_EFLAGS) & ~FLAG_MASK) | (lo & FLAG_MASK), 0)
      return 0
    case USER_REGS.fs_base:
      if (value >= task.mm.context.addressLimit) return -EIO
      if (value !== thread.getFsBase()) thread.setFsBase(value)
      return 0
    case USER_REGS.gs_base:
      if (value >= task.mm.context.addressLimit) return -EIO
      // Text is unpatched while somebody traces, so all but a new thread can have it at once.
      return value === thread.getGsBase() || thread.setGsBase(value) === 0 ? 0 : -EIO
  }
  const selector = lo & 0xffff
  if (at === USER_REGS.cs) return selector === USER_CS ? 0 : -EIO
  if (at === USER_REGS.ss) return selector === USER_SS ? 0 : -EIO
  return selector === 0 ? 0 : -EIO
}

/** The extended state as xsave writes it; the words for software name the features that there are. */
function readXstate(task: Task): Uint8Array | undefined {
  const { thread } = task
  if (thread.materialize() < 0) return undefined
  const frame = new Uint8Array(thread.extendedStateSize())
  thread.readExtendedState(frame)
  // A signal frame has a magic word more, and says where it is.
  const image = frame.subarray(0, frame.length - 4)
  const features = frame.slice(FPSTATE.sw_reserved + 8, FPSTATE.sw_reserved + 16)
  image.fill(0, FPSTATE.sw_reserved, FP_SIZE)
  image.set(features, FPSTATE.sw_reserved)
  return image
}

function readFp(task: Task): Uint8Array | undefined {
  const image = readXstate(task)?.slice(0, FP_SIZE)
  image?.fill(0, FPSTATE.sw_reserved, FP_SIZE)
  return image
}

/** x87 and SSE state; the rest stays. */
function writeFp(task: Task, bytes: Uint8Array): Status {
  if (bytes.length !== FP_SIZE) return -EINVAL
  const image = readXstate(task)
  if (image === undefined) return -EIO
  image.set(bytes)
  image[XSTATE_HEADER] |= XFEATURES_FPSSE
  return task.thread.writeExtendedState(image)
}

/** A register set of a stopped task. */
export interface RegisterSet {
  /** Bytes of one item: what is moved is a multiple. */
  readonly unit: number
  size(task: Task): number
  /** Undefined if the task is gone. */
  read(task: Task): Uint8Array | undefined
  write(task: Task, bytes: Uint8Array): Status
}

const SETS: Readonly<Record<number, RegisterSet>> = {
  [NT_PRSTATUS]: { unit: 8, size: () => USER_REGS.size, read: readUserRegs, write: writeUserRegs },
  [NT_PRFPREG]: { unit: 8, size: () => FP_SIZE, read: readFp, write: writeFp },
  [NT_X86_XSTATE]: {
    unit: 8,
    size: task => task.thread.extendedStateSize() - 4,
    read: readXstate,
    write: (task, bytes) =>
      bytes.length === task.thread.extendedStateSize() - 4 ? task.thread.writeExtendedState(bytes) : -EINVAL,
  },
}

/** The set of an NT_* type, if there is one. */
export function registerSet(type: number): RegisterSet | undefined {
  return SETS[type]
}
