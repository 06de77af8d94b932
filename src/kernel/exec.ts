/**
 * execve(2) from the file to the first instruction.
 *
 *   loadImage     opens, checks and loads the program into an address space of its own; an error leaves the caller as it was
 *   startExec     asks the process's other threads to end; the execing task waits for that
 *   commitExec    the point of no return: new thread and memory, new credentials, what exec resets
 */
import {
  FAN_OPEN_EXEC,
  FAN_OPEN_EXEC_PERM,
  LANDLOCK_ACCESS_FS_EXECUTE,
  MS_NOEXEC,
  O_RDONLY,
  RLIMIT_STACK,
  S_IFREG,
  SIGCHLD,
} from '../abi/constants.ts'
import { EACCES } from '../abi/errno.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { dropProgram, loadProgram, prepareProgram } from '../loader/program.ts'
import { Mm } from '../mm/mm.ts'
import type { PlatformThread } from '../platform/platform.ts'
import { REG_COUNT, REG_EFLAGS, REG_RIP, REG_RSP } from '../platform/platform.ts'
import type { File } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import { LOOKUP_FOLLOW, lookup, openPath, type WalkContext } from '../vfs/namei.ts'
import { askPermission, notifyFile } from '../vfs/notify.ts'
import type { Path } from '../vfs/path.ts'
import { MAY_EXEC, MAY_READ, permissionAt } from '../vfs/permission.ts'
import { restrictedAccess } from '../vfs/restriction.ts'
import { accountExec } from './cpu-time.ts'
import { commitCredentials } from './credentials.ts'
import { execCredentials } from './exec-credentials.ts'
import { PendingExec } from './exec-state.ts'
import { alone, completeVfork } from './exit.ts'
import type { Kernel } from './kernel.ts'
import { keyringsAtExec } from './keys/task-keyrings.ts'
import { inTimeOfChildren } from './namespace-copy.ts'
import type { TimeNamespace } from './namespaces.ts'
import { cancelOperations } from './operation.ts'
import { perfEventsAtExec } from './perf/perf-event.ts'
import { deletePosixTimers } from './posix-timer.ts'
import { unlink } from './ptrace/tracee.ts'
import type { Rlimits } from './rlimits.ts'
import { releaseFutexes } from './robust-list.ts'
import { leaveRseq } from './rseq.ts'
import { applyScheduling } from './scheduling.ts'
import { killTask } from './signal.ts'
import type { Task } from './task.ts'

/** Personality bits that a set-id program doesn't inherit. */
const PER_CLEAR_ON_SETID = 0x740000
const INITIAL_EFLAGS = 0x202

export interface ImageRequest {
  readonly file: File
  /** As the caller named it. */
  readonly path: string
  /** What the task is called then; cut to 15 bytes. */
  readonly comm: string
  readonly argv: readonly string[]
  readonly envp: readonly string[]
  readonly pathInaccessible: boolean
}

/** Whose exec it is; a Task, or what will become the first one. */
export interface ExecContext extends WalkContext {
  readonly kernel: Kernel
  readonly personality: number
  readonly rlimits: Rlimits
  /** Where the program will live. */
  readonly timeNs: TimeNamespace
  /** Privileges must not be gained: somebody outside shares root and working directory, or traces without the right to. */
  readonly unsafe: boolean
  /**
   * Set by loadImage when Linux would have given up the old program by now: an error after that is the end of the
   * process, though here the old one could go on.
   */
  pastReturn: boolean
}

/** open_exec: a regular file that may be executed, opened for the kernel's reading. */
export function openExecutable(
  ctx: WalkContext,
  start: Path | undefined,
  name: string,
  flags = LOOKUP_FOLLOW,
): OrErrno<File> {
  const path = lookup(ctx, start, name, flags)
  if (failed(path)) return path
  return openExecutablePath(ctx, path)
}

export function openExecutablePath(ctx: WalkContext, path: Path): OrErrno<File> {
  const inode = path.dentry.inode!
  const status = inode.getattr()
  if (status < 0) return status
  if (inode.type !== S_IFREG || (path.mount.flags & MS_NOEXEC) !== 0) return -EACCES
  const allowed = permissionAt(ctx.cred, path, MAY_EXEC)
  if (allowed < 0) return allowed
  const restricted = restrictedAccess(ctx.cred, path, LANDLOCK_ACCESS_FS_EXECUTE)
  if (restricted < 0) return restricted
  const asked = askPermission(path, FAN_OPEN_EXEC_PERM)
  if (asked !== 0) return asked
  // What may be executed may be read by the kernel, if not by the caller.
  const file = openPath(ctx, path, O_RDONLY, true)
  if (failed(file)) return file
  const ready = file.prepareProgram()
  if (ready === 0) {
    notifyFile(file, FAN_OPEN_EXEC)
    return file
  }
  filePut(file)
  return ready
}

/** Takes over the reference to `request.file`. */
export function loadImage(ctx: ExecContext, request: ImageRequest): OrErrno<PendingExec> {
  const { kernel } = ctx
  kernel.platform.expectProcess?.()
  const program = prepareProgram({
    file: request.file,
    path: request.path,
    argv: request.argv,
    envp: request.envp,
    stackLimit: ctx.rlimits.soft(RLIMIT_STACK),
    pathInaccessible: request.pathInaccessible,
    open: path => openExecutable(ctx, undefined, path),
  })
  if (failed(program)) return program
  const identity = execCredentials(ctx.cred, program.file, ctx.unsafe)
  if (failed(identity)) {
    dropProgram(program)
    return identity
  }
  const thread = kernel.platform.newProcess()
  if (failed(thread)) {
    dropProgram(program)
    return thread
  }
  const mm = new Mm(thread.space, kernel.mmContext)
  const { cred, secure } = identity
  const personality = secure ? ctx.personality & ~PER_CLEAR_ON_SETID : ctx.personality
  mm.limits = ctx.rlimits
  ctx.pastReturn = true
  const loaded = loadProgram(mm, program, {
    uid: cred.uid,
    euid: cred.euid,
    gid: cred.gid,
    egid: cred.egid,
    secure,
    personality,
    hwcap: kernel.platform.hwcap,
    hwcap2: kernel.platform.hwcap2,
    vdso: !ctx.timeNs.isShifted,
    minSignalStack: kernel.platform.minSignalStack,
    rseqFeatureSize: kernel.platform.rseqFeatureSize,
    rseqAlign: kernel.platform.rseqAlign,
  })
  if (failed(loaded)) {
    mm.put()
    return loaded
  }
  return new PendingExec(thread, mm, loaded, cred, secure, request.comm)
}

/** The last part of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** Whether the process has no other threads; if it has, they end, and `group.execWait` is woken when they have. */
export function startExec(task: Task): boolean {
  const { group } = task
  if (alone(task)) return true
  group.execTask = task
  for (const other of group.tasks) if (other !== task) killTask(other)
  return alone(task)
}

/** The old program is gone. The registers are those of the new one's first instruction. */
export function commitExec(task: Task, next: PendingExec): void {
  const { group } = task
  next.committed = true
  group.execTask = undefined
  if (group.leader !== task) becomeLeader(task)
  leaveRseq(task)
  releaseFutexes(task)
  cancelOperations(task)
  switchSpace(task, next)
  if (task.perfEvents !== undefined) perfEventsAtExec(task)
  completeVfork(task)

  if (task.fds.users > 1) {
    const shared = task.fds
    task.fds = shared.clone()
    shared.put()
  }
  task.fds.closeOnExec()
  if (group.handlers.users > 1) {
    group.handlers.users--
    group.handlers = group.handlers.clone()
  }
  group.handlers.resetHandlers()
  task.signals.resetAltStack()
  task.userDispatch = undefined
  deletePosixTimers(group)
  keyringsAtExec(task)
  group.exitSignal = SIGCHLD
  group.hasExeced = true
  group.waits = false
  if (next.secure) task.personality &= ~PER_CLEAR_ON_SETID
  task.dumpable = mayBeDumped(task) ? 1 : 0
  // Whoever changes identity, or gains capabilities, is not dumpable either.
  commitCredentials(task, next.cred)
  if (next.secure) task.parentDeathSignal = 0
  task.ns = inTimeOfChildren(task.ns)
  task.ns.time.frozen = true
  task.setComm(next.comm)
  setStartRegisters(next.thread, next.loaded.entry, next.loaded.stackPointer)
}

/** begin_new_exec: who acts as another, or runs what it can't read, leaves no copy of that. */
function mayBeDumped({ cred, mm }: Task): boolean {
  if (cred.euid !== cred.uid || cred.egid !== cred.gid) return false
  const program = mm.exeFile?.path
  return program === undefined || permissionAt(cred, program, MAY_READ) === 0
}

/** All registers of a new program's first instruction. */
export function setStartRegisters(thread: PlatformThread, entry: number, stackPointer: number): void {
  const { regs } = thread
  for (let reg = 0; reg < REG_COUNT; reg++) regs.set(reg, 0, 0)
  regs.put(REG_RIP, entry)
  regs.put(REG_RSP, stackPointer)
  regs.put(REG_EFLAGS, INITIAL_EFLAGS)
}

/** de_thread: an execing thread that is not the leader takes the leader's place and id; the old leader is gone. */
function becomeLeader(task: Task): void {
  const { group } = task
  const old = group.leader
  const ownPid = task.pid
  unlink(old)
  old.pid.task = undefined
  task.pid = group.pid
  group.pid.task = task
  ownPid.task = undefined
  ownPid.releaseIfUnused()
  group.leader = task
  group.tasks.splice(group.tasks.indexOf(old), 1)
}

function switchSpace(task: Task, next: PendingExec): void {
  const oldThread = task.thread
  const oldMm = task.mm
  accountExec(task)
  oldThread.owner = undefined
  oldMm.passFlags(next.mm)
  if (oldMm.users > 1) oldThread.exit()
  if (task.ptrace !== undefined) {
    next.thread.space.setTraced?.(true)
    task.ptrace.debug = undefined
    task.group.stepTurns = undefined
  }
  task.thread = next.thread
  next.thread.owner = task
  task.mm = next.mm
  applyScheduling(task)
  oldMm.put()
}
