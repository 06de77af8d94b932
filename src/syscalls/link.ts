/** Names: mkdir, rmdir, link, symlink, unlink, rename, readlink, mknod and their *at() forms. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  CAP_DAC_READ_SEARCH,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
  S_IFDIR,
  S_IFMT,
} from '../abi/constants.ts'
import { EINVAL, ENOENT, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { failed } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { LOOKUP_EMPTY, LOOKUP_FOLLOW, lookup } from '../vfs/namei.ts'
import * as operations from '../vfs/operations.ts'
import type { Path } from '../vfs/path.ts'
import { decodeDev } from '../vfs/vfs.ts'
import {
  bufferOut,
  fd as fdArg,
  flags as flagsArg,
  hex,
  int,
  mode as modeArg,
  path,
  type SyscallRows,
  string,
  uint,
} from './args.ts'
import { lookupAt, startOf } from './at.ts'

export function mkdir(task: Task, nameAt: GuestAddr, mode: number): number {
  return mkdirat(task, AT_FDCWD, nameAt, mode)
}
export function mkdirat(task: Task, dirfd: number, nameAt: GuestAddr, mode: number): number {
  return withName(task, dirfd, nameAt, (start, name) => operations.mkdir(task.walk, start, name, mode))
}

export function mknod(task: Task, nameAt: GuestAddr, mode: number, dev: number): number {
  return mknodat(task, AT_FDCWD, nameAt, mode, dev)
}
export function mknodat(task: Task, dirfd: number, nameAt: GuestAddr, mode: number, dev: number): number {
  if ((mode & S_IFMT) === S_IFDIR) return -EPERM
  return withName(task, dirfd, nameAt, (start, name) =>
    operations.mknod(task.walk, start, name, mode, decodeDev(dev)),
  )
}

export function rmdir(task: Task, nameAt: GuestAddr): number {
  return withName(task, AT_FDCWD, nameAt, (start, name) => operations.rmdir(task.walk, start, name))
}
export function unlink(task: Task, nameAt: GuestAddr): number {
  return withName(task, AT_FDCWD, nameAt, (start, name) => operations.unlink(task.walk, start, name))
}
export function unlinkat(task: Task, dirfd: number, nameAt: GuestAddr, flags: number): number {
  if ((flags & ~AT_REMOVEDIR) !== 0) return -EINVAL
  const remove = (flags & AT_REMOVEDIR) !== 0 ? operations.rmdir : operations.unlink
  return withName(task, dirfd, nameAt, (start, name) => remove(task.walk, start, name))
}

export function symlink(task: Task, targetAt: GuestAddr, nameAt: GuestAddr): number {
  return symlinkat(task, targetAt, AT_FDCWD, nameAt)
}
export function symlinkat(task: Task, targetAt: GuestAddr, dirfd: number, nameAt: GuestAddr): number {
  const target = task.mm.readPath(targetAt)
  if (failed(target)) return target
  if (target === '') return -ENOENT
  return withName(task, dirfd, nameAt, (start, name) => operations.symlink(task.walk, target, start, name))
}

export function link(task: Task, oldAt: GuestAddr, newAt: GuestAddr): number {
  return linkat(task, AT_FDCWD, oldAt, AT_FDCWD, newAt, 0)
}
export function linkat(
  task: Task,
  oldDirfd: number,
  oldAt: GuestAddr,
  newDirfd: number,
  newAt: GuestAddr,
  flags: number,
): number {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL
  let how = (flags & AT_SYMLINK_FOLLOW) !== 0 ? LOOKUP_FOLLOW : 0
  if ((flags & AT_EMPTY_PATH) !== 0) how |= LOOKUP_EMPTY
  const old = lookupAt(task, oldDirfd, oldAt, how)
  if (failed(old)) return old
  if ((flags & AT_EMPTY_PATH) !== 0 && !mayLinkDescriptor(task, oldDirfd, old)) return -ENOENT
  return withName(task, newDirfd, newAt, (start, name) => operations.link(task.walk, old, start, name))
}

/** An object without a path may be given a name by who opened it, or with CAP_DAC_READ_SEARCH. */
function mayLinkDescriptor(task: Task, dirfd: number, old: Path): boolean {
  const file = task.fds.get(dirfd)
  if (file === undefined || file.path.dentry !== old.dentry) return true
  return file.cred === task.cred || task.cred.capable(CAP_DAC_READ_SEARCH)
}

export function rename(task: Task, oldAt: GuestAddr, newAt: GuestAddr): number {
  return renameat2(task, AT_FDCWD, oldAt, AT_FDCWD, newAt, 0)
}
export function renameat(
  task: Task,
  oldDirfd: number,
  oldAt: GuestAddr,
  newDirfd: number,
  newAt: GuestAddr,
): number {
  return renameat2(task, oldDirfd, oldAt, newDirfd, newAt, 0)
}
export function renameat2(
  task: Task,
  oldDirfd: number,
  oldAt: GuestAddr,
  newDirfd: number,
  newAt: GuestAddr,
  flags: number,
): number {
  const oldName = task.mm.readPath(oldAt)
  if (failed(oldName)) return oldName
  const newName = task.mm.readPath(newAt)
  if (failed(newName)) return newName
  const oldStart = startOf(task, oldDirfd, oldName)
  if (typeof oldStart === 'number') return oldStart
  const newStart = startOf(task, newDirfd, newName)
  if (typeof newStart === 'number') return newStart
  return operations.rename(task.walk, oldStart, oldName, newStart, newName, flags)
}

export function readlink(task: Task, nameAt: GuestAddr, buffer: GuestAddr, size: number): number {
  return readlinkat(task, AT_FDCWD, nameAt, buffer, size)
}
/** An empty name is the link that an O_PATH descriptor stands for. */
export function readlinkat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  buffer: GuestAddr,
  size: number,
): number {
  if (size <= 0) return -EINVAL
  const name = task.mm.readPath(nameAt)
  if (failed(name)) return name
  const start = startOf(task, dirfd, name, true)
  if (typeof start === 'number') return start
  const found = lookup(task.walk, start, name, LOOKUP_EMPTY)
  if (failed(found)) return found
  const inode = found.dentry.inode!
  if (!inode.isSymlink) return name === '' ? -ENOENT : -EINVAL
  const target = inode.readlink()
  if (failed(target)) return target
  const bytes = toBytes(target.slice(0, size))
  const status = task.mm.copyOut(buffer, bytes)
  return status < 0 ? status : bytes.length
}

/** Reads the name, finds where it starts, and goes on. */
function withName(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  then: (start: Path | undefined, name: string) => number,
): number {
  const name = task.mm.readPath(nameAt)
  if (failed(name)) return name
  const start = startOf(task, dirfd, name)
  return typeof start === 'number' ? start : then(start, name)
}

const renameFlags = flagsArg({ RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT })

export const linkCalls = {
  mkdir: { nr: NR.mkdir, run: mkdir, args: [path, modeArg] },
  mkdirat: { nr: NR.mkdirat, run: mkdirat, args: [fdArg, path, modeArg] },
  mknod: { nr: NR.mknod, run: mknod, args: [path, modeArg, uint] },
  mknodat: { nr: NR.mknodat, run: mknodat, args: [fdArg, path, modeArg, uint] },
  rmdir: { nr: NR.rmdir, run: rmdir, args: [path] },
  unlink: { nr: NR.unlink, run: unlink, args: [path] },
  unlinkat: { nr: NR.unlinkat, run: unlinkat, args: [fdArg, path, flagsArg({ AT_REMOVEDIR })] },
  symlink: { nr: NR.symlink, run: symlink, args: [string, path] },
  symlinkat: { nr: NR.symlinkat, run: symlinkat, args: [string, fdArg, path] },
  link: { nr: NR.link, run: link, args: [path, path] },
  linkat: { nr: NR.linkat, run: linkat, args: [fdArg, path, fdArg, path, hex] },
  rename: { nr: NR.rename, run: rename, args: [path, path] },
  renameat: { nr: NR.renameat, run: renameat, args: [fdArg, path, fdArg, path] },
  renameat2: { nr: NR.renameat2, run: renameat2, args: [fdArg, path, fdArg, path, renameFlags] },
  readlink: { nr: NR.readlink, run: readlink, args: [path, bufferOut(2), int] },
  readlinkat: { nr: NR.readlinkat, run: readlinkat, args: [fdArg, path, bufferOut(3), int] },
} satisfies SyscallRows
