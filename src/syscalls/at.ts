/** Paths in arguments: a directory descriptor and a name. What the *at() calls have in common. */
import { AT_FDCWD, O_PATH, RLIMIT_NOFILE } from '../abi/constants.ts'
import { EBADF, ENOENT } from '../abi/errno.ts'
import { failed, type OrErrno } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File } from '../vfs/file.ts'
import { LOOKUP_EMPTY, lookup } from '../vfs/namei.ts'
import type { Path } from '../vfs/path.ts'

/** In place of a descriptor, where an operation is tried: the File that it holds. No descriptor of the guest's is so. */
export const HELD_FILE = -0x7ffffff0

/**
 * Where the walk for `name` starts: undefined is the working directory (or does not matter); -EBADF. That a name is empty,
 * -ENOENT where it may not be, is seen before the descriptor is looked at.
 */
export function startOf(
  task: Task,
  dirfd: number,
  name: string,
  mayBeEmpty = false,
): Path | undefined | number {
  if (name === '' && !mayBeEmpty) return -ENOENT
  if (dirfd === AT_FDCWD || name.charCodeAt(0) === 0x2f) return undefined
  const file = task.fds.get(dirfd)
  return file === undefined ? -EBADF : file.path
}

/** The place that (dirfd, name) leads to. `flags` are LOOKUP_*: with LOOKUP_EMPTY an empty name is the descriptor's own place. */
export function lookupAt(task: Task, dirfd: number, nameAt: GuestAddr, flags: number): OrErrno<Path> {
  const mayBeEmpty = (flags & LOOKUP_EMPTY) !== 0
  const name = readName(task, nameAt, mayBeEmpty)
  if (failed(name)) return name
  const start = startOf(task, dirfd, name, mayBeEmpty)
  if (typeof start === 'number') return start
  return lookup(task.walk, start, name, flags)
}

/** getname(): with `mayBeEmpty` a null pointer is an empty name too. */
function readName(task: Task, nameAt: GuestAddr, mayBeEmpty: boolean): OrErrno<string> {
  return mayBeEmpty && nameAt === 0 ? '' : task.mm.readPath(nameAt)
}

/** fdget: the File of a descriptor that is not O_PATH. */
export function fileOf(task: Task, fd: number): File | undefined {
  if (fd === HELD_FILE) return task.operation?.file
  const file = task.fds.get(fd)
  return file === undefined || (file.flags & O_PATH) !== 0 ? undefined : file
}

/** The first descriptor number that this process may not have. */
export function fdLimit(task: Task): number {
  return task.group.rlimits.soft(RLIMIT_NOFILE)
}
