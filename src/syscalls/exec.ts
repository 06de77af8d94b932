/** execve(2), execveat(2): the arguments. The work is in kernel/exec.ts. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  CAP_SYS_PTRACE,
  PATH_MAX,
  RLIMIT_STACK,
  SIGSEGV,
} from '../abi/constants.ts'
import { EBADF, EINVAL, ELOOP } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import {
  baseName,
  commitExec,
  type ExecContext,
  loadImage,
  openExecutablePath,
  startExec,
} from '../kernel/exec.ts'
import { PendingExec } from '../kernel/exec-state.ts'
import { endGroup } from '../kernel/exit.ts'
import { stopAtExec } from '../kernel/ptrace/resume.ts'
import { NO_RESULT, type Task } from '../kernel/task.ts'
import { argumentLimit, readStringArray } from '../loader/arguments.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { StringReader } from '../mm/string-reader.ts'
import { filePut } from '../vfs/file-ref.ts'
import { LOOKUP_EMPTY, LOOKUP_FOLLOW, lookup } from '../vfs/namei.ts'
import { argv as argvArg, fd as fdArg, hex, path as pathArg, type SyscallRows } from './args.ts'

export function execve(task: Task, path: GuestAddr, argv: GuestAddr, envp: GuestAddr): number {
  return execveat(task, AT_FDCWD, path, argv, envp, 0)
}

export function execveat(
  task: Task,
  dirfd: number,
  path: GuestAddr,
  argv: GuestAddr,
  envp: GuestAddr,
  flags: number,
): number {
  let image = task.progress
  if (!(image instanceof PendingExec)) {
    const prepared = prepare(task, dirfd, path, argv, envp, flags)
    if (failed(prepared)) return prepared
    task.progress = image = prepared
  }
  const next = image as PendingExec
  // A tracer that was told lets it go on here.
  if (next.committed) return NO_RESULT
  if (!startExec(task)) {
    task.uninterruptible = true
    return task.block(task.group.execWait)
  }
  const { ptrace } = task
  const oldPid = ptrace === undefined ? 0 : task.pid.in(ptrace.tracer.pidNs)
  commitExec(task, next)
  if (ptrace !== undefined) stopAtExec(task, ptrace, oldPid)
  return NO_RESULT
}

function prepare(
  task: Task,
  dirfd: number,
  pathAt: GuestAddr,
  argvAt: GuestAddr,
  envpAt: GuestAddr,
  flags: number,
): OrErrno<PendingExec> {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL
  const name = task.mm.readString(pathAt, PATH_MAX)
  if (failed(name)) return name
  const relative = dirfd !== AT_FDCWD && !name.startsWith('/')
  const start = relative ? task.fds.get(dirfd) : undefined
  if (relative && start === undefined) return -EBADF

  const lookupFlags =
    ((flags & AT_SYMLINK_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0) |
    ((flags & AT_EMPTY_PATH) !== 0 ? LOOKUP_EMPTY : 0)
  const place = lookup(task.walk, start?.path, name, lookupFlags)
  if (failed(place)) return place
  if (place.dentry.inode?.isSymlink) return -ELOOP
  const file = openExecutablePath(task.walk, place)
  if (failed(file)) return file

  const { rlimits } = task.group
  const budget = { left: argumentLimit(rlimits.soft(RLIMIT_STACK)) }
  const reader = new StringReader(task.mm)
  const argv = readStringArray(task.mm, reader, argvAt, budget)
  const envp = failed(argv) ? argv : readStringArray(task.mm, reader, envpAt, budget)
  if (failed(argv) || failed(envp)) {
    filePut(file)
    return envp as number
  }
  const path = !relative ? name : name === '' ? `/dev/fd/${dirfd}` : `/dev/fd/${dirfd}/${name}`
  const comm = name === '' ? place.dentry.name : baseName(name)
  const context = contextOf(task)
  const pathInaccessible = relative && task.fds.cloexec(dirfd)
  const image = loadImage(context, { file, path, comm, argv, envp, pathInaccessible })
  if (!failed(image) || !context.pastReturn) return image
  endGroup(task, SIGSEGV)
  return NO_RESULT
}

function contextOf(task: Task): ExecContext {
  const { kernel, fs, cred, mountNs, personality, group } = task
  let sharers = 0
  for (const each of group.tasks) if (!each.ended && each.fs === fs) sharers++
  return {
    kernel,
    fs,
    cred,
    mountNs,
    personality,
    rlimits: group.rlimits,
    timeNs: task.ns.timeForChildren,
    unsafe: fs.users > sharers || isTracedByLesser(task),
    pastReturn: false,
  }
}

/** ptracer_capable: who traces a program whose user it is not must have the capability for that. */
function isTracedByLesser({ ptrace, cred }: Task): boolean {
  return ptrace !== undefined && !ptrace.tracerCred.capable(CAP_SYS_PTRACE, cred.userNs)
}

export const execCalls = {
  execve: { nr: NR.execve, run: execve, args: [pathArg, argvArg, argvArg] },
  execveat: { nr: NR.execveat, run: execveat, args: [fdArg, pathArg, argvArg, argvArg, hex] },
} satisfies SyscallRows
