/** memfd_create(2). Its seals are file operations: fcntl's F_ADD_SEALS and F_GET_SEALS. */
import { MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_EXEC, MFD_HUGETLB, MFD_NOEXEC_SEAL } from '../abi/constants.ts'
import { EINVAL, ENAMETOOLONG, ENOSYS } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { createMemfd } from '../fs/memfd/memfd.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { filePut } from '../vfs/file-ref.ts'
import { flags as flagsArg, type SyscallRows, string } from './args.ts'
import { fdLimit } from './at.ts'

const VALID_FLAGS = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_NOEXEC_SEAL | MFD_EXEC
/** The size of huge pages, above the flags. */
const HUGE_SIZE = 0xfc000000
/** NAME_MAX without 'memfd:'. */
const NAME_LIMIT = 249

export function memfdCreate(task: Task, nameAt: GuestAddr, flags: number): number {
  const known = (flags & MFD_HUGETLB) === 0 ? VALID_FLAGS : VALID_FLAGS | HUGE_SIZE
  if ((flags & ~known) !== 0) return -EINVAL
  if ((flags & MFD_EXEC) !== 0 && (flags & MFD_NOEXEC_SEAL) !== 0) return -EINVAL
  const name = task.mm.readString(nameAt, NAME_LIMIT + 1)
  if (failed(name)) return name === -ENAMETOOLONG ? -EINVAL : name
  // A kernel without CONFIG_HUGETLBFS.
  if ((flags & MFD_HUGETLB) !== 0) return -ENOSYS
  const file = createMemfd(task.kernel, name, flags, task.cred)
  if (failed(file)) return file
  const fd = task.fds.install(file, (flags & MFD_CLOEXEC) !== 0, 0, fdLimit(task))
  if (fd < 0) filePut(file)
  return fd
}

export const memfdCalls = {
  memfd_create: {
    nr: NR.memfd_create,
    run: memfdCreate,
    args: [string, flagsArg({ MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_NOEXEC_SEAL, MFD_EXEC })],
    returns: 'fd',
  },
} satisfies SyscallRows
