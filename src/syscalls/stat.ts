/** stat(2), statx(2) and family. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_NO_AUTOMOUNT,
  AT_STATX_SYNC_TYPE,
  AT_SYMLINK_NOFOLLOW,
  FS_NODUMP_FL,
  STATX__RESERVED,
  STATX_ATTR_APPEND,
  STATX_ATTR_IMMUTABLE,
  STATX_ATTR_MOUNT_ROOT,
  STATX_ATTR_NODUMP,
  STATX_BASIC_STATS,
  STATX_BTIME,
  STATX_MNT_ID,
  STATX_MNT_ID_UNIQUE,
} from '../abi/constants.ts'
import { EBADF, EINVAL } from '../abi/errno.ts'
import { STAT, STATX } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Timespec } from '../base/clock.ts'
import { fromKernelId } from '../base/id-map.ts'
import { failed } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { seenGid, seenUid } from '../vfs/idmap.ts'
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from '../vfs/namei.ts'
import type { Path } from '../vfs/path.ts'
import { INODE_APPEND, INODE_IMMUTABLE } from '../vfs/permission.ts'
import { encodeDev, major, minor } from '../vfs/vfs.ts'
import { fd as fdArg, hex, path, type SyscallRows, structOut } from './args.ts'
import { lookupAt } from './at.ts'

export function stat(task: Task, nameAt: GuestAddr, buffer: GuestAddr): number {
  return statAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW, buffer)
}
export function lstat(task: Task, nameAt: GuestAddr, buffer: GuestAddr): number {
  return statAt(task, AT_FDCWD, nameAt, 0, buffer)
}
export function fstat(task: Task, fd: number, buffer: GuestAddr): number {
  const file = task.fds.get(fd)
  return file === undefined ? -EBADF : putStat(task, file.path, buffer)
}
export function newfstatat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  buffer: GuestAddr,
  flags: number,
): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) !== 0)
    return -EINVAL
  return statAt(task, dirfd, nameAt, lookupFlags(flags), buffer)
}

function statAt(task: Task, dirfd: number, nameAt: GuestAddr, flags: number, buffer: GuestAddr): number {
  const found = lookupAt(task, dirfd, nameAt, flags)
  return failed(found) ? found : putStat(task, found, buffer)
}

/** LOOKUP_* for the AT_* flags of the calls that follow links unless told not to. */
export function lookupFlags(flags: number): number {
  return (
    ((flags & AT_SYMLINK_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0) |
    ((flags & AT_EMPTY_PATH) !== 0 ? LOOKUP_EMPTY : 0)
  )
}

function putStat(task: Task, { mount, dentry }: Path, buffer: GuestAddr): number {
  const inode = dentry.inode!
  const status = inode.getattr()
  if (status < 0) return status
  const ns = task.cred.userNs
  const out = task.mm.out(STAT.size)
  out.setUint32(STAT.st_dev, encodeDev(inode.dev), true)
  put64(out, STAT.st_ino, inode.ino)
  put64(out, STAT.st_nlink, inode.nlink)
  out.setUint32(STAT.st_mode, inode.mode, true)
  out.setUint32(STAT.st_uid, fromKernelId(ns.uidMap, seenUid(mount, inode)), true)
  out.setUint32(STAT.st_gid, fromKernelId(ns.gidMap, seenGid(mount, inode)), true)
  out.setUint32(STAT.st_rdev, encodeDev(inode.rdev), true)
  put64(out, STAT.st_size, inode.size)
  put64(out, STAT.st_blksize, inode.blksize)
  put64(out, STAT.st_blocks, inode.blocks)
  putTime(out, STAT.st_atime, inode.atime)
  putTime(out, STAT.st_mtime, inode.mtime)
  putTime(out, STAT.st_ctime, inode.ctime)
  return task.mm.commit(buffer)
}

export function statx(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  flags: number,
  mask: number,
  buffer: GuestAddr,
): number {
  if ((mask & STATX__RESERVED) !== 0) return -EINVAL
  if ((flags & AT_STATX_SYNC_TYPE) === AT_STATX_SYNC_TYPE) return -EINVAL
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) !== 0)
    return -EINVAL
  const found = lookupAt(task, dirfd, nameAt, lookupFlags(flags))
  if (failed(found)) return found
  const inode = found.dentry.inode!
  const status = inode.getattr()
  if (status < 0) return status
  const ns = task.cred.userNs
  const hasBtime = inode.btime.sec !== 0 || inode.btime.nsec !== 0
  let attributes = 0
  if (found.dentry === found.mount.root) attributes |= STATX_ATTR_MOUNT_ROOT
  if ((inode.inodeFlags & INODE_IMMUTABLE) !== 0) attributes |= STATX_ATTR_IMMUTABLE
  if ((inode.inodeFlags & INODE_APPEND) !== 0) attributes |= STATX_ATTR_APPEND
  if ((inode.inodeFlags & FS_NODUMP_FL) !== 0) attributes |= STATX_ATTR_NODUMP
  const unique = (mask & STATX_MNT_ID_UNIQUE) !== 0
  const mountId = unique ? STATX_MNT_ID_UNIQUE : STATX_MNT_ID
  const out = task.mm.out(STATX.size)
  out.setUint32(STATX.stx_mask, STATX_BASIC_STATS | mountId | (hasBtime ? STATX_BTIME : 0), true)
  out.setUint32(STATX.stx_blksize, inode.blksize, true)
  put64(out, STATX.stx_attributes, attributes)
  put64(out, STATX.stx_attributes_mask, STATX_ATTR_MOUNT_ROOT | STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)
  out.setUint32(STATX.stx_nlink, inode.nlink, true)
  out.setUint32(STATX.stx_uid, fromKernelId(ns.uidMap, seenUid(found.mount, inode)), true)
  out.setUint32(STATX.stx_gid, fromKernelId(ns.gidMap, seenGid(found.mount, inode)), true)
  out.setUint16(STATX.stx_mode, inode.mode, true)
  put64(out, STATX.stx_ino, inode.ino)
  put64(out, STATX.stx_size, inode.size)
  put64(out, STATX.stx_blocks, inode.blocks)
  putTime(out, STATX.stx_atime, inode.atime)
  if (hasBtime) putTime(out, STATX.stx_btime, inode.btime)
  putTime(out, STATX.stx_ctime, inode.ctime)
  putTime(out, STATX.stx_mtime, inode.mtime)
  out.setUint32(STATX.stx_rdev_major, major(inode.rdev), true)
  out.setUint32(STATX.stx_rdev_minor, minor(inode.rdev), true)
  out.setUint32(STATX.stx_dev_major, major(inode.dev), true)
  out.setUint32(STATX.stx_dev_minor, minor(inode.dev), true)
  put64(out, STATX.stx_mnt_id, unique ? found.mount.uniqueId : found.mount.id)
  return task.mm.commit(buffer)
}

function putTime(out: DataView, at: number, time: Timespec): void {
  put64(out, at, time.sec)
  out.setUint32(at + 8, time.nsec, true)
}

const statOut = structOut(STAT)

export const statCalls = {
  stat: { nr: NR.stat, run: stat, args: [path, statOut] },
  lstat: { nr: NR.lstat, run: lstat, args: [path, statOut] },
  fstat: { nr: NR.fstat, run: fstat, args: [fdArg, statOut] },
  newfstatat: { nr: NR.newfstatat, run: newfstatat, args: [fdArg, path, statOut, hex] },
  statx: { nr: NR.statx, run: statx, args: [fdArg, path, hex, hex, structOut(STATX)] },
} satisfies SyscallRows
