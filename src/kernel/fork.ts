/**
 * clone(2), clone3(2), fork(2), vfork(2): kernel/fork.c. Checks the flags as Linux does, makes the host thread (in the
 * same host process for CLONE_VM, in a forked one without), builds the Task and lets it run.
 *
 * What can fail comes first; from the host thread on everything succeeds or is undone here.
 */
import {
  CAP_SYS_ADMIN,
  CAP_SYS_RESOURCE,
  CLONE_CHILD_CLEARTID,
  CLONE_CHILD_SETTID,
  CLONE_FILES,
  CLONE_FS,
  CLONE_NEWIPC,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUSER,
  CLONE_PARENT,
  CLONE_PARENT_SETTID,
  CLONE_PIDFD,
  CLONE_PTRACE,
  CLONE_SETTLS,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_UNTRACED,
  CLONE_VFORK,
  CLONE_VM,
  PTRACE_EVENT_CLONE,
  PTRACE_EVENT_FORK,
  PTRACE_EVENT_VFORK,
  RLIMIT_NPROC,
  SIGCHLD,
} from '../abi/constants.ts'
import { EAGAIN, EINVAL, ENOMEM, ERESTARTNOINTR } from '../abi/errno.ts'
import type { Credentials } from '../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { mayCopyAreas } from '../mm/fault-area.ts'
import { type PlatformThread, REG_RSP } from '../platform/platform.ts'
import type { FsState } from '../vfs/path.ts'
import { type Cgroup, joinCgroup } from './cgroup/cgroup.ts'
import { watchCpuLimit } from './cpu-limit.ts'
import { endTask } from './exit.ts'
import { shareUndoList } from './ipc/sem.ts'
import { inheritKeyrings } from './keys/task-keyrings.ts'
import { domainOf } from './landlock/domain.ts'
import { copyNamespaces, newUserNamespace } from './namespace-copy.ts'
import type { NsProxy } from './namespaces.ts'
import { inheritPerfEvents } from './perf/perf-event.ts'
import type { Pid } from './pid.ts'
import { wants } from './ptrace/stop.ts'
import { followChild, unlink } from './ptrace/tracee.ts'
import { returnToGuest } from './return-to-guest.ts'
import { applyScheduling } from './scheduling.ts'
import { moveToProcessGroup } from './session.ts'
import { TaskSignals } from './signal-state.ts'
import { Task } from './task.ts'
import { ThreadGroup } from './thread-group.ts'

/** What clone3's struct clone_args says; clone, fork and vfork are put into this form. Addresses are 0 if absent. */
export interface CloneRequest {
  /** CLONE_* of the low word, without the exit signal. */
  readonly flags: number
  readonly clearHandlers: boolean
  readonly exitSignal: number
  /** The new stack pointer, 0: the parent's. */
  readonly stackPointer: number
  readonly tls: number
  readonly parentTid: number
  readonly childTid: number
  readonly pidFd: number
  /** From the child's namespace outwards. */
  readonly setTid: readonly number[]
  /** CLONE_INTO_CGROUP: where the child is born; absent: with its parent. */
  readonly cgroup?: Cgroup
}

/** The new task, which already runs; the caller waits for it if it is a vfork. */
export function cloneTask(parent: Task, request: CloneRequest): OrErrno<Task> {
  const { flags } = request
  const status = checkFlags(parent, flags)
  if (status < 0) return status
  if (parent.signalPending()) return -ERESTARTNOINTR
  if (processLimitReached(parent)) return -EAGAIN
  const cgroup = request.cgroup ?? parent.group.cgroup
  const mayFork = cgroup.pids.mayFork()
  if (mayFork < 0) return mayFork

  const cred = (flags & CLONE_NEWUSER) !== 0 ? newUserNamespace(parent) : parent.cred
  if (failed(cred)) return cred
  const fs = (flags & CLONE_FS) !== 0 ? parent.fs.share() : parent.fs.clone()
  const ns = copyNamespaces(parent, flags, cred, fs)
  if (failed(ns)) {
    fs.put()
    return ns
  }
  const pid = ns.pidForChildren.allocate(request.setTid)
  const thread = failed(pid) ? pid : copyThread(parent, flags)
  if (failed(pid) || failed(thread)) {
    if (!failed(pid)) pid.releaseIfUnused()
    fs.put()
    ns.mnt.put()
    return thread as number
  }
  return startChild(parent, request, { cred, fs, ns, pid, thread })
}

/** copy_process's first checks, in its order. */
function checkFlags(parent: Task, flags: number): Status {
  const has = (mask: number): boolean => (flags & mask) !== 0
  if (has(CLONE_NEWNS) && has(CLONE_FS)) return -EINVAL
  if (has(CLONE_NEWUSER) && has(CLONE_FS)) return -EINVAL
  if (has(CLONE_THREAD) && !has(CLONE_SIGHAND)) return -EINVAL
  if (has(CLONE_SIGHAND) && !has(CLONE_VM)) return -EINVAL
  if (has(CLONE_PARENT) && parent.group.unkillable) return -EINVAL
  if (has(CLONE_THREAD)) {
    if (has(CLONE_NEWUSER | CLONE_NEWPID) || parent.ns.pidForChildren !== parent.pidNs) return -EINVAL
  }
  if (has(CLONE_NEWIPC) && has(CLONE_SYSVSEM)) return -EINVAL
  return 0
}

function processLimitReached(parent: Task): boolean {
  const { cred, kernel } = parent
  const limit = parent.group.rlimits.soft(RLIMIT_NPROC)
  if (kernel.users.of(cred.uid).tasks < limit || cred.uid === 0) return false
  return !cred.capable(CAP_SYS_RESOURCE) && !cred.capable(CAP_SYS_ADMIN)
}

function copyThread(parent: Task, flags: number): OrErrno<PlatformThread> {
  const { platform } = parent.kernel
  if ((flags & CLONE_VM) !== 0) return platform.cloneThread(parent.thread)
  return mayCopyAreas(parent.mm) ? platform.fork(parent.thread) : -ENOMEM
}

interface Parts {
  readonly cred: Credentials
  readonly fs: FsState
  readonly ns: NsProxy
  readonly pid: Pid
  readonly thread: PlatformThread
}

function startChild(parent: Task, request: CloneRequest, parts: Parts): OrErrno<Task> {
  const { flags } = request
  const { kernel } = parent
  const { thread, pid } = parts
  const group = (flags & CLONE_THREAD) !== 0 ? parent.group : newProcess(parent, request, pid)
  const mm = (flags & CLONE_VM) !== 0 ? parent.mm.get() : parent.mm.fork(thread.space)
  const fds = (flags & CLONE_FILES) !== 0 ? parent.fds.share() : parent.fds.clone()
  const signals = new TaskSignals()
  signals.blocked.copy(parent.signals.blocked)
  if ((flags & (CLONE_VM | CLONE_VFORK)) !== CLONE_VM) copyAltStack(parent, signals)

  const child = new Task(kernel, group, pid, thread, mm, fds, parts.fs, parts.cred, parts.ns, signals)
  child.ns.time.frozen = true
  group.tasks.push(child)
  group.live++
  if (group.leader === undefined) {
    group.leader = child
    joinCgroup(group, request.cgroup ?? parent.group.cgroup)
  }
  group.cgroup.pids.charge()
  kernel.liveTasks++
  kernel.users.of(child.cred.uid).tasks++
  child.comm = parent.comm
  child.personality = parent.personality
  child.memoryFailure = parent.memoryFailure
  child.ioFlusher = parent.ioFlusher
  child.login = parent.login
  child.memoryPolicy = parent.memoryPolicy
  child.seccomp = parent.seccomp
  child.seccomp?.listener?.taskAdded()
  domainOf(child.cred)?.get()
  inheritKeyrings(parent, child, (flags & CLONE_THREAD) !== 0)
  child.scheduling = parent.scheduling.inherited()
  child.timerSlack = child.defaultTimerSlack = parent.timerSlack
  child.trapNumber = parent.trapNumber
  child.errorCode = parent.errorCode
  child.faultAddress = parent.faultAddress
  child.vforkDone = (flags & CLONE_VFORK) === 0
  if (parent.perfEvents !== undefined) inheritPerfEvents(parent, child)
  // The host thread has it with the copied memory.
  if ((flags & CLONE_VM) === 0) child.rseq = parent.rseq
  if (child === group.leader) watchCpuLimit(group)
  if ((flags & CLONE_SYSVSEM) !== 0) shareUndoList(parent, child)

  if (request.stackPointer !== 0) thread.regs.put(REG_RSP, request.stackPointer)
  if ((flags & CLONE_SETTLS) !== 0) thread.setFsBase(request.tls)
  if ((flags & CLONE_CHILD_CLEARTID) !== 0) child.clearChildTid = request.childTid
  if (parent.ptrace !== undefined) {
    if (followEvent(parent, request) !== 0 || (flags & CLONE_PTRACE) !== 0) followChild(parent, child)
    else if ((flags & CLONE_VM) === 0) thread.space.setTraced?.(false)
  }
  const status = publishIds(parent, child, request)
  if (status < 0) {
    discard(child)
    return status
  }
  applyScheduling(child)
  returnToGuest(child, 0)
  return child
}

/** The PTRACE_EVENT_* by which the parent's tracer wants to hear of such a child, and trace it; 0 if it does not. */
export function followEvent(parent: Task, { flags, exitSignal }: CloneRequest): number {
  if (parent.ptrace === undefined || (flags & CLONE_UNTRACED) !== 0) return 0
  const event =
    (flags & CLONE_VFORK) !== 0
      ? PTRACE_EVENT_VFORK
      : exitSignal !== SIGCHLD
        ? PTRACE_EVENT_CLONE
        : PTRACE_EVENT_FORK
  return wants(parent, event) ? event : 0
}

/** Undoes a child that never ran: nobody hears of it. */
function discard(child: Task): void {
  const { group } = child
  unlink(child)
  if (group.leader === child) {
    group.parent?.children.delete(group)
    group.parent = undefined
  }
  endTask(child, 0)
}

/** A process for the child: its place among its relatives, and what it inherits. */
function newProcess(parent: Task, request: CloneRequest, pid: Pid): ThreadGroup {
  const { flags } = request
  const from = parent.group
  const shared = (flags & CLONE_SIGHAND) !== 0
  const handlers = shared ? from.handlers : from.handlers.clone()
  if (shared) handlers.users++
  if (request.clearHandlers) handlers.resetHandlers()
  const sibling = (flags & CLONE_PARENT) !== 0
  const group = new ThreadGroup(
    parent.kernel,
    pid,
    handlers,
    from.rlimits.clone(),
    sibling ? from.exitSignal : request.exitSignal,
  )
  group.parent = sibling ? from.parent : from
  group.parentTask = sibling ? from.parentTask : parent
  group.parent?.children.add(group)
  group.ownsSpace = (flags & CLONE_VM) === 0
  group.oomScoreAdj = from.oomScoreAdj
  moveToProcessGroup(group, from.processGroup)
  const { ns } = pid
  if (ns.init === undefined && pid.numbers[ns.level] === 1) {
    ns.init = group
    group.unkillable = true
  }
  return group
}

function copyAltStack(parent: Task, signals: TaskSignals): void {
  signals.altSp = parent.signals.altSp
  signals.altSize = parent.signals.altSize
  signals.altFlags = parent.signals.altFlags
}

/** The id words and the pidfd. Only the pidfd can fail: Linux lets a bad tid address pass. */
function publishIds(parent: Task, child: Task, request: CloneRequest): Status {
  const { flags } = request
  if ((flags & CLONE_PIDFD) !== 0) {
    const fd = parent.kernel.makePidFd(parent, child, (flags & CLONE_THREAD) !== 0)
    if (fd < 0) return fd
    const status = parent.mm.putU32(request.pidFd, fd)
    if (status < 0) {
      parent.fds.close(fd)
      return status
    }
  }
  if ((flags & CLONE_PARENT_SETTID) !== 0) parent.mm.putU32(request.parentTid, child.pid.in(parent.pidNs))
  if ((flags & CLONE_CHILD_SETTID) !== 0) child.mm.putU32(request.childTid, child.tid)
  // A thread looks at its id before its maker may run again.
  if ((flags & CLONE_VM) !== 0) child.mm.space.flush?.()
  return 0
}
