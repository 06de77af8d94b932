/** clone(2), clone3(2), fork(2), vfork(2): the arguments. The work is in kernel/fork.ts. */
import {
  CAP_CHECKPOINT_RESTORE,
  CAP_SYS_ADMIN,
  CLONE_ARGS_SIZE_VER0,
  CLONE_ARGS_SIZE_VER2,
  CLONE_DETACHED,
  CLONE_NEWTIME,
  CLONE_PARENT,
  CLONE_PARENT_SETTID,
  CLONE_PIDFD,
  CLONE_SIGHAND,
  CLONE_THREAD,
  CLONE_VFORK,
  CLONE_VM,
  PTRACE_EVENT_VFORK_DONE,
  SIGCHLD,
} from '../abi/constants.ts'
import { E2BIG, EBADF, EFAULT, EINVAL, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { CLONE_ARGS } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { birthCgroup } from '../fs/cgroup/super.ts'
import type { Cgroup } from '../kernel/cgroup/cgroup.ts'
import { type CloneRequest, cloneTask, followEvent } from '../kernel/fork.ts'
import { MAX_PID_NS_LEVEL } from '../kernel/pid.ts'
import { AT_CALL, stopForEvent } from '../kernel/ptrace/stop.ts'
import { NSIG } from '../kernel/signal-state.ts'
import { NO_RESULT, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, hex, type SyscallRows, size, structIn } from './args.ts'
import { copyStruct } from './struct-argument.ts'

/** The exit signal's place in clone's flags. */
const CSIGNAL = 0xff
/** clone3's own flags are above bit 31: CLONE_CLEAR_SIGHAND, CLONE_INTO_CGROUP. */
const HI_CLEAR_SIGHAND = 1
const HI_INTO_CGROUP = 2
const PAGE_SIZE = 4096

const FORK: CloneRequest = {
  flags: 0,
  clearHandlers: false,
  exitSignal: SIGCHLD,
  stackPointer: 0,
  tls: 0,
  parentTid: 0,
  childTid: 0,
  pidFd: 0,
  setTid: [],
}

/** A parent that waits for its vfork, or has stopped to tell its tracer of the child. */
interface CloneProgress {
  readonly child: Task
  readonly pid: number
  /** The child as its tracer knows it. */
  readonly tracedPid: number
  /** PTRACE_EVENT_VFORK_DONE is still to come. */
  vforks: boolean
}

export function fork(task: Task): number {
  return run(task, FORK)
}

export function vfork(task: Task): number {
  return run(task, { ...FORK, flags: CLONE_VFORK | CLONE_VM })
}

export function clone(
  task: Task,
  flags: number,
  stack: GuestAddr,
  parentTid: GuestAddr,
  childTid: GuestAddr,
  tls: GuestAddr,
): number {
  // The pidfd goes where the thread id would.
  if ((flags & CLONE_PIDFD) !== 0 && (flags & (CLONE_PARENT_SETTID | CLONE_DETACHED)) !== 0) return -EINVAL
  return run(task, {
    flags: flags & ~CSIGNAL,
    clearHandlers: false,
    exitSignal: (flags & CLONE_THREAD) !== 0 ? 0 : flags & CSIGNAL,
    stackPointer: stack,
    tls,
    parentTid,
    childTid,
    pidFd: parentTid,
    setTid: [],
  })
}

export function clone3(task: Task, args: GuestAddr, length: number): number {
  if (task.progress !== undefined) return run(task, FORK)
  const request = readCloneArgs(task, args, length)
  return failed(request) ? request : run(task, request)
}

function run(task: Task, request: CloneRequest): number {
  let progress = task.progress as CloneProgress | undefined
  if (progress === undefined) {
    const event = followEvent(task, request)
    const child = cloneTask(task, request)
    if (failed(child)) return child
    const tracedPid = task.ptrace === undefined ? 0 : child.pid.in(task.ptrace.tracer.pidNs)
    progress = {
      child,
      pid: child.pid.in(task.pidNs),
      tracedPid,
      vforks: (request.flags & CLONE_VFORK) !== 0,
    }
    task.progress = progress
    if (event !== 0 && stopForEvent(task, AT_CALL, event, tracedPid)) return NO_RESULT
  }
  if (!progress.vforks) return progress.pid
  if (!progress.child.vforkDone) {
    task.uninterruptible = true
    return task.block(progress.child.vforkWait)
  }
  progress.vforks = false
  if (stopForEvent(task, AT_CALL, PTRACE_EVENT_VFORK_DONE, progress.tracedPid)) return NO_RESULT
  return progress.pid
}

function readCloneArgs(task: Task, args: GuestAddr, length: number): OrErrno<CloneRequest> {
  if (length > PAGE_SIZE) return -E2BIG
  if (length < CLONE_ARGS_SIZE_VER0) return -EINVAL
  const view = copyStruct(task, args, length, CLONE_ARGS.size)
  if (failed(view)) return view
  const lo = (at: number): number => view.getUint32(at, true)
  const hi = (at: number): number => view.getUint32(at + 4, true)
  const u64 = (at: number): number => hi(at) * 0x100000000 + lo(at)

  const flags = lo(CLONE_ARGS.flags)
  const highFlags = hi(CLONE_ARGS.flags)
  const exitSignal = u64(CLONE_ARGS.exit_signal)
  const setTid = readSetTid(task, u64(CLONE_ARGS.set_tid), u64(CLONE_ARGS.set_tid_size))
  if (failed(setTid)) return setTid
  if (exitSignal > NSIG) return -EINVAL
  if ((highFlags & HI_INTO_CGROUP) !== 0 && length < CLONE_ARGS_SIZE_VER2) return -EINVAL

  if ((highFlags & ~(HI_CLEAR_SIGHAND | HI_INTO_CGROUP)) !== 0) return -EINVAL
  if ((flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME))) !== 0) return -EINVAL
  const clearHandlers = (highFlags & HI_CLEAR_SIGHAND) !== 0
  if (clearHandlers && (flags & CLONE_SIGHAND) !== 0) return -EINVAL
  if ((flags & (CLONE_THREAD | CLONE_PARENT)) !== 0 && exitSignal !== 0) return -EINVAL
  const stack = u64(CLONE_ARGS.stack)
  const stackSize = u64(CLONE_ARGS.stack_size)
  if ((stack === 0) !== (stackSize === 0)) return -EINVAL
  if (stack !== 0 && !task.mm.accessOk(stack, stackSize)) return -EINVAL
  const pidFd = u64(CLONE_ARGS.pidfd)
  const parentTid = u64(CLONE_ARGS.parent_tid)
  const both = CLONE_PIDFD | CLONE_PARENT_SETTID
  if ((flags & both) === both && pidFd === parentTid) return -EINVAL
  const cgroup =
    (highFlags & HI_INTO_CGROUP) !== 0 ? readCgroup(task, flags, u64(CLONE_ARGS.cgroup)) : undefined
  if (cgroup !== undefined && failed(cgroup)) return cgroup
  if (setTid.length > 0) {
    const { userNs } = task.ns.pidForChildren
    const { cred } = task
    if (!cred.capable(CAP_CHECKPOINT_RESTORE, userNs) && !cred.capable(CAP_SYS_ADMIN, userNs)) return -EPERM
  }
  return {
    flags,
    clearHandlers,
    exitSignal,
    stackPointer: stack + stackSize,
    tls: u64(CLONE_ARGS.tls),
    parentTid,
    childTid: u64(CLONE_ARGS.child_tid),
    pidFd,
    setTid,
    cgroup,
  }
}

/** CLONE_INTO_CGROUP: a descriptor of a cgroup's directory. */
function readCgroup(task: Task, flags: number, fd: number): OrErrno<Cgroup> {
  const file = fd > 0x7fffffff ? undefined : task.fds.get(fd)
  if (file === undefined) return -EBADF
  const cgroup = birthCgroup(task, file)
  const elsewhere = !failed(cgroup) && cgroup !== task.group.cgroup
  // Threads of a process are in one cgroup.
  return elsewhere && (flags & CLONE_THREAD) !== 0 ? -EOPNOTSUPP : cgroup
}

function readSetTid(task: Task, at: GuestAddr, count: number): OrErrno<number[]> {
  if (count > MAX_PID_NS_LEVEL || (at === 0) !== (count === 0)) return -EINVAL
  if (count === 0) return []
  const bytes = new Uint8Array(4 * count)
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  return [...new Int32Array(bytes.buffer)]
}

export const cloneCalls = {
  clone: { nr: NR.clone, run: clone, args: [hex, addr, addr, addr, addr] },
  clone3: {
    nr: NR.clone3,
    run: clone3,
    args: [structIn(CLONE_ARGS), size],
  },
  fork: { nr: NR.fork, run: fork, args: [] },
  vfork: { nr: NR.vfork, run: vfork, args: [] },
} satisfies SyscallRows
