/** userfaultfd(2). */
import { CAP_SYS_PTRACE, O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY } from '../abi/constants.ts'
import { EINVAL, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { UserfaultFile } from '../fs/userfaultfd/userfaultfd.ts'
import type { Task } from '../kernel/task.ts'
import { flags as flagsArg, type SyscallRows } from './args.ts'
import { installFile } from './install.ts'

/** Who can hold up the kernel's own accesses, by vm.unprivileged_userfaultfd (0), needs the right to. */
export function userfaultfd(task: Task, flags: number): number {
  const userOnly = (flags & UFFD_USER_MODE_ONLY) !== 0
  if (!userOnly && !task.cred.capable(CAP_SYS_PTRACE, task.kernel.userNs)) return -EPERM
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)) !== 0) return -EINVAL
  const file = new UserfaultFile(task.kernel, flags, task.cred, task.mm)
  return installFile(task, file, (flags & O_CLOEXEC) !== 0)
}

export const userfaultfdCalls = {
  userfaultfd: {
    nr: NR.userfaultfd,
    run: userfaultfd,
    args: [flagsArg({ O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY })],
    returns: 'fd',
    partial:
      'missing pages and write protection, no minor faults; a call that finds an absent page by a pointer ' +
      'in a structure other than a message fails with EFAULT',
  },
} satisfies SyscallRows
