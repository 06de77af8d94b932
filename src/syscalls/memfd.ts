/** memfd_create(2), memfd_secret(2). The seals are file operations: fcntl's F_ADD_SEALS and F_GET_SEALS. */
import {
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MFD_HUGETLB,
  MFD_NOEXEC_SEAL,
  O_CLOEXEC,
} from '../abi/constants.ts'
import { EINVAL, ENAMETOOLONG, ENOSYS } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { createMemfd } from '../fs/memfd/memfd.ts'
import { createSecretMemory } from '../fs/memfd/secret.ts'
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

/** What others can't read; the sandbox's own kernel can. */
export function memfdSecret(task: Task, flags: number): number {
  if ((flags & ~O_CLOEXEC) !== 0) return -EINVAL
  const file = createSecretMemory(task.kernel, task.cred)
  if (failed(file)) return file
  const fd = task.fds.install(file, (flags & O_CLOEXEC) !== 0, 0, fdLimit(task))
  if (fd < 0) filePut(file)
  return fd
}

export const memfdCalls = {
  memfd_secret: {
    nr: NR.memfd_secret,
    run: memfdSecret,
    args: [flagsArg({ O_CLOEXEC })],
    returns: 'fd',
    partial:
      'its bytes are hidden from other processes of the guest, not from the kernel, which is the sentry',
  },
  memfd_create: {
    nr: NR.memfd_create,
    run: memfdCreate,
    args: [string, flagsArg({ MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB, MFD_NOEXEC_SEAL, MFD_EXEC })],
    returns: 'fd',
  },
} satisfies SyscallRows
