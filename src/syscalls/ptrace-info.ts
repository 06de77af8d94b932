/** Requests of ptrace(2) about a stop and the tracee's signals and filters, which leave its registers and its course alone. */
import {
  CAP_SYS_ADMIN,
  PR_SYS_DISPATCH_OFF,
  PR_SYS_DISPATCH_ON,
  PTRACE_GET_RSEQ_CONFIGURATION,
  PTRACE_GET_SYSCALL_INFO,
  PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG,
  PTRACE_GETEVENTMSG,
  PTRACE_GETSIGINFO,
  PTRACE_GETSIGMASK,
  PTRACE_PEEKSIGINFO,
  PTRACE_PEEKSIGINFO_SHARED,
  PTRACE_SECCOMP_GET_FILTER,
  PTRACE_SECCOMP_GET_METADATA,
  PTRACE_SET_SYSCALL_INFO,
  PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG,
  PTRACE_SETSIGINFO,
  PTRACE_SETSIGMASK,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_MODE_FILTER,
} from '../abi/constants.ts'
import { EACCES, EFAULT, EINVAL, ENOENT } from '../abi/errno.ts'
import {
  PTRACE_PEEKSIGINFO_ARGS,
  PTRACE_RSEQ_CONFIGURATION,
  PTRACE_SUD_CONFIG,
  SECCOMP_METADATA,
  SIGINFO,
} from '../abi/layout.ts'
import type { OrErrno, Status } from '../base/result.ts'
import { put64, take64 } from '../base/words.ts'
import type { SeccompFilter } from '../kernel/seccomp/seccomp.ts'
import { SigInfo, writeSigInfo } from '../kernel/signal-info.ts'
import { setBlocked } from '../kernel/signal-state.ts'
import type { Task } from '../kernel/task.ts'
import { setUserDispatch } from '../kernel/user-dispatch.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { getSyscallInfo, setSyscallInfo } from './ptrace-syscall-info.ts'
import { readSigset, SIGSET_SIZE, writeSigset } from './signal.ts'

/** The request's result, or undefined for one that is not about this. */
export function stopInfo(
  task: Task,
  target: Task,
  request: number,
  address: number,
  data: GuestAddr,
): number | undefined {
  switch (request) {
    case PTRACE_GETEVENTMSG:
      return task.mm.putU64(data, target.ptrace!.message)
    case PTRACE_GETSIGINFO:
      return getSigInfo(task, target, data)
    case PTRACE_SETSIGINFO:
      return setSigInfo(task, target, data)
    case PTRACE_PEEKSIGINFO:
      return peekSigInfo(task, target, address, data)
    case PTRACE_GETSIGMASK: {
      if (address !== SIGSET_SIZE) return -EINVAL
      const { signals } = target
      const mask = signals.maskSaved ? signals.savedMask : signals.blocked
      return writeSigset(task, data, mask.lo, mask.hi)
    }
    case PTRACE_SETSIGMASK: {
      if (address !== SIGSET_SIZE) return -EINVAL
      const set = readSigset(task, data)
      if (typeof set === 'number') return set
      setBlocked(target.signals.blocked, set.lo, set.hi)
      target.signals.maskSaved = false
      return 0
    }
    case PTRACE_GET_SYSCALL_INFO:
      return getSyscallInfo(task, target, address, data)
    case PTRACE_SET_SYSCALL_INFO:
      return setSyscallInfo(task, target, address, data)
    case PTRACE_SECCOMP_GET_FILTER:
      return getFilter(task, target, address, data)
    case PTRACE_SECCOMP_GET_METADATA:
      return getFilterMetadata(task, target, address, data)
    case PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG:
      return getUserDispatch(task, target, address, data)
    case PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG:
      return setDispatchConfig(task, target, address, data)
    case PTRACE_GET_RSEQ_CONFIGURATION:
      return getRseq(task, target, address, data)
  }
  return undefined
}

/** Zeros if none is registered. */
function getRseq(task: Task, target: Task, room: number, data: GuestAddr): number {
  const { size } = PTRACE_RSEQ_CONFIGURATION
  const out = task.mm.out(size)
  if (target.rseq !== undefined) {
    const { address, length, signature } = target.rseq
    put64(out, PTRACE_RSEQ_CONFIGURATION.rseq_abi_pointer, address)
    out.setUint32(PTRACE_RSEQ_CONFIGURATION.rseq_abi_size, length, true)
    out.setUint32(PTRACE_RSEQ_CONFIGURATION.signature, signature, true)
  }
  task.mm.context.access.outLength = Math.min(room, size)
  return task.mm.commit(data) < 0 ? -EFAULT : size
}

function getUserDispatch(task: Task, target: Task, size: number, data: GuestAddr): Status {
  if (size !== PTRACE_SUD_CONFIG.size) return -EINVAL
  const { userDispatch } = target
  const out = task.mm.out(size)
  out.setUint32(
    PTRACE_SUD_CONFIG.mode,
    userDispatch === undefined ? PR_SYS_DISPATCH_OFF : PR_SYS_DISPATCH_ON,
    true,
  )
  put64(out, PTRACE_SUD_CONFIG.selector, userDispatch?.selector ?? 0)
  put64(out, PTRACE_SUD_CONFIG.offset, userDispatch?.offset ?? 0)
  put64(out, PTRACE_SUD_CONFIG.len, userDispatch?.length ?? 0)
  return task.mm.commit(data)
}

function setDispatchConfig(task: Task, target: Task, size: number, data: GuestAddr): Status {
  if (size !== PTRACE_SUD_CONFIG.size) return -EINVAL
  const view = task.mm.view(data, size)
  if (view === undefined) return -EFAULT
  return setUserDispatch(target, take64(view, PTRACE_SUD_CONFIG.mode), {
    selector: take64(view, PTRACE_SUD_CONFIG.selector),
    offset: take64(view, PTRACE_SUD_CONFIG.offset),
    length: take64(view, PTRACE_SUD_CONFIG.len),
  })
}

function getSigInfo(task: Task, target: Task, data: GuestAddr): Status {
  const { info } = target.halt!
  if (info === undefined) return -EINVAL
  writeSigInfo(info, task.mm.out(SIGINFO.size), 0)
  return task.mm.commit(data)
}

/** What the signal will carry, if the tracer lets it be delivered. */
function setSigInfo(task: Task, target: Task, data: GuestAddr): Status {
  const raw = new Uint8Array(SIGINFO.size)
  if (task.mm.copyIn(data, raw) < 0) return -EFAULT
  const halt = target.halt!
  if (halt.info === undefined) return -EINVAL
  const view = new DataView(raw.buffer)
  const info = new SigInfo(view.getInt32(SIGINFO.si_signo, true), view.getInt32(SIGINFO.si_code, true))
  info.raw = raw
  halt.info = info
  return 0
}

/** Signals of a queue, from the oldest, without taking them: how many were copied. */
function peekSigInfo(task: Task, target: Task, address: GuestAddr, data: GuestAddr): number {
  const view = task.mm.view(address, PTRACE_PEEKSIGINFO_ARGS.size)
  if (view === undefined) return -EFAULT
  const offset = view.getUint32(PTRACE_PEEKSIGINFO_ARGS.off, true)
  const offsetHigh = view.getUint32(PTRACE_PEEKSIGINFO_ARGS.off + 4, true)
  const flags = view.getUint32(PTRACE_PEEKSIGINFO_ARGS.flags, true)
  const count = view.getInt32(PTRACE_PEEKSIGINFO_ARGS.nr, true)
  if ((flags & ~PTRACE_PEEKSIGINFO_SHARED) !== 0 || count < 0) return -EINVAL
  if (offsetHigh !== 0) return 0
  const { pending } = (flags & PTRACE_PEEKSIGINFO_SHARED) !== 0 ? target.group : target.signals
  for (let i = 0; i < count; i++) {
    const info = pending.peek(offset + i)
    if (info === undefined) return i
    writeSigInfo(info, task.mm.out(SIGINFO.size), 0)
    if (task.mm.commit(data + i * SIGINFO.size) < 0) return i > 0 ? i : -EFAULT
  }
  return count
}

/** Filters are counted from the oldest; only who is free of them may look. */
function nthFilter(task: Task, target: Task, n: number): OrErrno<SeccompFilter> {
  if (!task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs) || task.seccomp !== undefined) return -EACCES
  if (target.seccomp?.mode !== SECCOMP_MODE_FILTER) return -EINVAL
  let filter = target.seccomp.filter
  let steps = (filter?.count ?? 0) - n - 1
  if (steps < 0) return -ENOENT
  while (steps-- > 0) filter = filter?.older
  return filter ?? -ENOENT
}

/** Its length in instructions. */
function getFilter(task: Task, target: Task, n: number, data: GuestAddr): number {
  const filter = nthFilter(task, target, n)
  if (typeof filter === 'number') return filter
  if (data !== 0 && task.mm.copyOut(data, filter.program.toBytes()) < 0) return -EFAULT
  return filter.program.length
}

function getFilterMetadata(task: Task, target: Task, room: number, data: GuestAddr): number {
  const allowed = nthFilter(task, target, 0)
  if (allowed === -EACCES) return allowed
  const size = Math.min(room, SECCOMP_METADATA.size)
  if (size < SECCOMP_METADATA.flags) return -EINVAL
  const n = task.mm.u64(data + SECCOMP_METADATA.filter_off)
  if (n === undefined) return -EFAULT
  const filter = nthFilter(task, target, n)
  if (typeof filter === 'number') return filter
  const bytes = new Uint8Array(SECCOMP_METADATA.size)
  const view = new DataView(bytes.buffer)
  view.setUint32(SECCOMP_METADATA.filter_off, n, true)
  view.setUint32(SECCOMP_METADATA.flags, filter.log ? SECCOMP_FILTER_FLAG_LOG : 0, true)
  return task.mm.copyOut(data, bytes.subarray(0, size)) < 0 ? -EFAULT : size
}
