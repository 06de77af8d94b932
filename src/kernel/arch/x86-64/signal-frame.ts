/**
 * Signal frames of x86-64: what a handler finds on its stack, and how rt_sigreturn(2) goes back.
 *
 *   rsp before            (on the alternate stack: its top)
 *   128 bytes             red zone (not on the alternate stack)
 *   extended state        64-byte aligned; header, magic words as the CPU's XSAVE area
 *   struct rt_sigframe    pretcode (the restorer), ucontext, siginfo; rsp + 8 is 16-byte aligned
 *   new rsp               points to pretcode, as if the restorer had called the handler
 */
import {
  SA_ONSTACK,
  SA_RESTORER,
  SS_AUTODISARM,
  SS_DISABLE,
  SS_FLAG_BITS,
  SS_ONSTACK,
} from '../../../abi/constants.ts'
import { EFAULT, EINVAL, ENOMEM, EPERM } from '../../../abi/errno.ts'
import { FPSTATE, FPX_SW_BYTES, RT_SIGFRAME, UCONTEXT } from '../../../abi/layout.ts'
import type { Status } from '../../../base/result.ts'
import { put64, take64 } from '../../../base/words.ts'
import type { Mm } from '../../../mm/mm.ts'
import {
  REG_COUNT,
  REG_EFLAGS,
  REG_RAX,
  REG_RDI,
  REG_RDX,
  REG_RIP,
  REG_RSI,
  REG_RSP,
} from '../../../platform/platform.ts'
import { type SigInfo, writeSigInfo } from '../../signal-info.ts'
import { type SigAction, setBlocked, type TaskSignals } from '../../signal-state.ts'
import type { Task } from '../../task.ts'

const RED_ZONE = 128
const UC_FP_XSTATE = 1
const UC_SIGCONTEXT_SS = 2
const UC_STRICT_RESTORE_SS = 4
/** The selectors of 64-bit user code and data. */
const USER_CS = 0x33
const USER_SS = 0x2b
const FP_XSTATE_MAGIC1 = 0x46505853
const FXSAVE_SIZE = 512

const EFLAGS_CF = 0x1
const EFLAGS_PF = 0x4
const EFLAGS_AF = 0x10
const EFLAGS_ZF = 0x40
const EFLAGS_SF = 0x80
const EFLAGS_TF = 0x100
const EFLAGS_DF = 0x400
const EFLAGS_OF = 0x800
const EFLAGS_RF = 0x10000
const EFLAGS_AC = 0x40000
/** What sigreturn may change (FIX_EFLAGS). */
const EFLAGS_FIX =
  EFLAGS_AC |
  EFLAGS_OF |
  EFLAGS_DF |
  EFLAGS_TF |
  EFLAGS_SF |
  EFLAGS_ZF |
  EFLAGS_AF |
  EFLAGS_PF |
  EFLAGS_CF |
  EFLAGS_RF

/** MINSIGSTKSZ of the ABI; the platform's extended state may ask for more at delivery, not here. */
const MIN_STACK = 2048

/** Builds the frame and points the registers at the handler. `task.thread` is materialized. -EFAULT: no room. */
export function pushSignalFrame(task: Task, info: SigInfo, action: SigAction): Status {
  const { thread, signals } = task
  const { regs } = thread
  if ((action.flags & SA_RESTORER) === 0) return -EFAULT
  const oldSp = regs.get(REG_RSP)
  const wasOnAltStack = signals.onAltStack(oldSp)
  let sp = oldSp - RED_ZONE
  let entering = false
  if ((action.flags & SA_ONSTACK) !== 0 && signals.altStackFlags(oldSp) === 0) {
    sp = signals.altSp + signals.altSize
    entering = true
  }
  const stateSize = thread.extendedStateSize()
  const fpstate = alignDown(sp - stateSize, 64)
  const frame = alignDown(fpstate - RT_SIGFRAME.size, 16) - 8
  // Beyond exact numbers there is no memory.
  if (frame < 0 || sp > Number.MAX_SAFE_INTEGER) return -EFAULT
  // An alternate stack that overflows must not run on into what lies below it.
  if ((wasOnAltStack || entering) && frame <= signals.altSp) return -EFAULT

  const bytes = new Uint8Array(fpstate + stateSize - frame)
  const view = new DataView(bytes.buffer)
  put64(view, 0, action.restorer)
  writeContext(task, view, RT_SIGFRAME.uc, fpstate)
  writeSigInfo(info, view, RT_SIGFRAME.info)
  thread.readExtendedState(bytes.subarray(fpstate - frame))
  if (task.mm.copyOut(frame, bytes) < 0) return -EFAULT

  if ((signals.altFlags & SS_AUTODISARM) !== 0) signals.resetAltStack()
  regs.put(REG_RDI, info.signo)
  regs.put(REG_RAX, 0)
  regs.put(REG_RSI, frame + RT_SIGFRAME.info)
  regs.put(REG_RDX, frame + RT_SIGFRAME.uc)
  regs.put(REG_RIP, action.handler)
  regs.put(REG_RSP, frame)
  regs.set(REG_EFLAGS, regs.lo(REG_EFLAGS) & ~(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF), 0)
  thread.writeExtendedState(NO_STATE)
  return 0
}

/** An empty array stands for the initial state. */
const NO_STATE = new Uint8Array(0)

function writeContext(task: Task, view: DataView, uc: number, fpstate: number): void {
  const { signals } = task
  const { regs } = task.thread
  view.setUint32(uc + UCONTEXT.uc_flags, UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS, true)
  put64(view, uc + UCONTEXT.uc_stack_sp, signals.altSp)
  // Whether the thread runs on it is told by sp, so the flags are those that were set.
  view.setUint32(uc + UCONTEXT.uc_stack_flags, signals.altFlags >>> 0, true)
  put64(view, uc + UCONTEXT.uc_stack_size, signals.altSize)
  for (let reg = 0; reg < REG_COUNT; reg++) {
    view.setInt32(uc + UCONTEXT.uc_mcontext + 8 * reg, regs.lo(reg), true)
    view.setInt32(uc + UCONTEXT.uc_mcontext + 8 * reg + 4, regs.hi(reg), true)
  }
  view.setUint16(uc + UCONTEXT.cs, USER_CS, true)
  view.setUint16(uc + UCONTEXT.ss, USER_SS, true)
  put64(view, uc + UCONTEXT.err, task.errorCode)
  put64(view, uc + UCONTEXT.trapno, task.trapNumber)
  put64(view, uc + UCONTEXT.cr2, task.faultAddress)
  put64(view, uc + UCONTEXT.fpstate, fpstate)
  const mask = signals.maskSaved ? signals.savedMask : signals.blocked
  view.setInt32(uc + UCONTEXT.oldmask, mask.lo, true)
  view.setInt32(uc + UCONTEXT.oldmask + 4, mask.hi, true)
  view.setInt32(uc + UCONTEXT.uc_sigmask, mask.lo, true)
  view.setInt32(uc + UCONTEXT.uc_sigmask + 4, mask.hi, true)
}

/** From the frame's ucontext to the extended state behind the frame: pushSignalFrame leaves no other distance. */
const STATE_OFFSET = 448

/**
 * rt_sigreturn(2): everything as the frame says. -EFAULT: the frame is not readable or its state not the CPU's. The thread
 * need not be materialized, since all that it had is replaced.
 */
export function popSignalFrame(task: Task): Status {
  const { thread, signals, mm } = task
  const { regs } = thread
  task.callNumber = -1
  // The handler's return took pretcode off the stack.
  const uc = regs.get(REG_RSP) - 8 + RT_SIGFRAME.uc
  // One read for all, if the extended state is where it was put.
  const stateSize = thread.extendedStateSize()
  const bytes = new Uint8Array(STATE_OFFSET + stateSize)
  let whole = true
  if (mm.copyIn(uc, bytes) < 0) {
    whole = false
    if (mm.copyIn(uc, bytes.subarray(0, UCONTEXT.size)) < 0) return -EFAULT
  }
  const view = new DataView(bytes.buffer)

  setBlocked(
    signals.blocked,
    view.getInt32(UCONTEXT.uc_sigmask, true),
    view.getInt32(UCONTEXT.uc_sigmask + 4, true),
  )
  const eflags = regs.lo(REG_EFLAGS)
  for (let reg = 0; reg < REG_COUNT; reg++) {
    const at = UCONTEXT.uc_mcontext + 8 * reg
    regs.set(reg, view.getInt32(at, true), view.getInt32(at + 4, true))
  }
  const restored = view.getInt32(UCONTEXT.eflags, true) & EFLAGS_FIX
  regs.set(REG_EFLAGS, (eflags & ~EFLAGS_FIX) | restored, 0)
  if ((restored & EFLAGS_TF) !== 0) thread.setStepping?.(true)

  const fpstate = take64(view, UCONTEXT.fpstate)
  let state = bytes.subarray(STATE_OFFSET)
  if (fpstate === 0) state = NO_STATE
  else if (!whole || fpstate !== uc + STATE_OFFSET) {
    const status = readExtendedState(mm, fpstate, state)
    if (status < 0) return status
  }
  if (thread.writeExtendedState(state.subarray(0, usedSize(state))) < 0) return -EFAULT
  // As sigaltstack(2) at the place where the thread goes on; its errors don't count.
  setAltStack(
    signals,
    regs.get(REG_RSP),
    take64(view, UCONTEXT.uc_stack_sp),
    view.getInt32(UCONTEXT.uc_stack_flags, true),
    take64(view, UCONTEXT.uc_stack_size),
  )
  return 0
}

/** An extended state that the guest put elsewhere; it may be a plain fxsave image, with nothing behind it. */
function readExtendedState(mm: Mm, address: number, into: Uint8Array): Status {
  if (mm.copyIn(address, into.subarray(0, FXSAVE_SIZE)) < 0) return -EFAULT
  const size = usedSize(into)
  return size > FXSAVE_SIZE && mm.copyIn(address + FXSAVE_SIZE, into.subarray(FXSAVE_SIZE, size)) < 0
    ? -EFAULT
    : 0
}

/** How much of the image counts, as its software-reserved words say. */
function usedSize(state: Uint8Array): number {
  if (state.length <= FXSAVE_SIZE) return state.length
  const view = new DataView(state.buffer, state.byteOffset, state.length)
  if (view.getUint32(FPSTATE.sw_reserved + FPX_SW_BYTES.magic1, true) !== FP_XSTATE_MAGIC1) return FXSAVE_SIZE
  const size = view.getUint32(FPSTATE.sw_reserved + FPX_SW_BYTES.extended_size, true)
  return size < FXSAVE_SIZE || size > state.length ? FXSAVE_SIZE : size
}

/** sigaltstack(2)'s setting part; `sp` is where the thread's stack is now. */
export function setAltStack(
  signals: TaskSignals,
  sp: number,
  base: number,
  flags: number,
  size: number,
): Status {
  if (signals.onAltStack(sp)) return -EPERM
  const mode = flags & ~SS_FLAG_BITS
  if (mode !== SS_DISABLE && mode !== SS_ONSTACK && mode !== 0) return -EINVAL
  if (mode === SS_DISABLE) {
    signals.altSp = 0
    signals.altSize = 0
  } else {
    if (size < MIN_STACK) return -ENOMEM
    signals.altSp = base
    signals.altSize = size
  }
  signals.altFlags = flags
  return 0
}

function alignDown(value: number, to: number): number {
  return value - (value % to)
}
