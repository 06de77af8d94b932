/** pidfd_open(2), pidfd_getfd(2). */
import { PIDFD_NONBLOCK, PIDFD_THREAD } from '../abi/constants.ts'
import { EBADF, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { PidFdFile } from '../fs/pidfd/pidfd.ts'
import { mayInspect } from '../kernel/credentials.ts'
import type { Task } from '../kernel/task.ts'
import { fileGet } from '../vfs/file-ref.ts'
import { fd as fdArg, flags as flagsArg, pid as pidArg, type SyscallRows, uint } from './args.ts'
import { fileOf } from './at.ts'
import { installFile } from './install.ts'

export function pidfd_open(task: Task, nr: number, flags: number): number {
  if ((flags & ~(PIDFD_NONBLOCK | PIDFD_THREAD)) !== 0) return -EINVAL
  if (nr <= 0) return -EINVAL
  const pid = task.pidNs.find(nr)
  if (pid === undefined) return -ESRCH
  if ((flags & PIDFD_THREAD) !== 0) {
    if (pid.task === undefined) return -ESRCH
    return installFile(task, new PidFdFile(task, pid.task, flags), true)
  }
  // A thread that leads no process has no pidfd of the ordinary kind.
  if (pid.group === undefined) return pid.task === undefined ? -ESRCH : -EINVAL
  return installFile(task, new PidFdFile(task, pid.group.leader, flags), true)
}

/** A copy of another process's descriptor: what ptrace could get too. */
export function pidfd_getfd(task: Task, pidFd: number, targetFd: number, flags: number): number {
  if (flags !== 0) return -EINVAL
  const file = fileOf(task, pidFd)
  if (!(file instanceof PidFdFile)) return -EBADF
  const target = file.task
  if (target === undefined || target.ended) return -ESRCH
  if (!mayInspect(task, target, false)) return -EPERM
  const found = target.fds.get(targetFd)
  if (found === undefined) return -EBADF
  return installFile(task, fileGet(found), true)
}

/** Frees the memory of a process that is about to end, which it does here by itself. */
export function process_mrelease(task: Task, pidFd: number, flags: number): number {
  if (flags !== 0) return -EINVAL
  const file = fileOf(task, pidFd)
  if (!(file instanceof PidFdFile)) return -EBADF
  const target = file.task
  if (target === undefined || target.group.dead) return -ESRCH
  return target.group.exiting ? 0 : -EINVAL
}

export const pidfdCalls = {
  pidfd_open: {
    nr: NR.pidfd_open,
    run: pidfd_open,
    args: [pidArg, flagsArg({ PIDFD_NONBLOCK, PIDFD_THREAD })],
    returns: 'fd',
  },
  process_mrelease: { nr: NR.process_mrelease, run: process_mrelease, args: [fdArg, uint] },
  pidfd_getfd: { nr: NR.pidfd_getfd, run: pidfd_getfd, args: [fdArg, fdArg, uint], returns: 'fd' },
} satisfies SyscallRows
