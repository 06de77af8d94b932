/** mount(2), umount2(2), pivot_root(2), statfs(2). */
import {
  AT_FDCWD,
  CAP_SYS_ADMIN,
  MNT_DETACH,
  MNT_EXPIRE,
  MNT_FORCE,
  MS_BIND,
  MS_MOVE,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_NOUSER,
  MS_PRIVATE,
  MS_RDONLY,
  MS_REC,
  MS_RELATIME,
  MS_REMOUNT,
  MS_SHARED,
  MS_SILENT,
  MS_SLAVE,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
  ST_NOATIME,
  ST_NODEV,
  ST_NODIRATIME,
  ST_NOEXEC,
  ST_NOSUID,
  ST_NOSYMFOLLOW,
  ST_RDONLY,
  ST_RELATIME,
  ST_SYNCHRONOUS,
  ST_VALID,
  UMOUNT_NOFOLLOW,
} from '../abi/constants.ts'
import { EBADF, EINVAL, ENAMETOOLONG, ENODEV, EPERM } from '../abi/errno.ts'
import { STATFS } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { put64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { newHostStatfs } from '../platform/host.ts'
import { FS_HAS_SUBTYPE, type MountContext } from '../vfs/fs-type.ts'
import * as operations from '../vfs/mount-operations.ts'
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, lookup } from '../vfs/namei.ts'
import { type Path, samePath, whileHeld } from '../vfs/path.ts'
import { mayChangeMounts } from '../vfs/restriction.ts'
import { encodeDev } from '../vfs/vfs.ts'
import {
  addr,
  fd as fdArg,
  flags as flagsArg,
  path,
  type SyscallRows,
  size,
  string,
  structOut,
  uint,
} from './args.ts'
import { lookupAt } from './at.ts'

const MAGIC = 0xc0ed0000
const MAGIC_MASK = 0xffff0000
const PROPAGATION = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE
const MAX_STRING = 4096
/** struct ustat; nothing fills the names. */
const USTAT = { size: 32, f_tfree: 0, f_tinode: 8 } as const

export function mount(
  task: Task,
  sourceAt: GuestAddr,
  targetAt: GuestAddr,
  typeAt: GuestAddr,
  flagBits: number,
  dataAt: GuestAddr,
): number {
  let flags = (flagBits % 2 ** 32) | 0
  const type = readOptional(task, typeAt)
  if (failed(type)) return type
  const source = readOptional(task, sourceAt)
  if (failed(source)) return source
  let data = readOptional(task, dataAt)
  if (failed(data)) return data
  const at = lookupAt(task, AT_FDCWD, targetAt, LOOKUP_FOLLOW)
  if (failed(at)) return at

  if ((flags & MAGIC_MASK) === (MAGIC | 0)) flags &= ~MAGIC_MASK
  if ((flags & MS_NOUSER) !== 0) return -EINVAL
  const ns = task.mountNs
  if (!mayMount(task)) return -EPERM
  if ((flags & (MS_REMOUNT | MS_BIND)) === (MS_REMOUNT | MS_BIND))
    return operations.remountBind(ns, at, flags)
  if ((flags & MS_REMOUNT) !== 0) return operations.remount(ns, task.cred, at, flags, data)
  if ((flags & MS_BIND) !== 0) {
    const from = whileHeld(at, () => sourcePath(task, source))
    return failed(from) ? from : operations.bind(ns, at, from, (flags & MS_REC) !== 0)
  }
  if ((flags & PROPAGATION) !== 0) {
    const kind = flags & ~(MS_REC | MS_SILENT)
    if ((kind & ~PROPAGATION) !== 0 || (kind & (kind - 1)) !== 0) return -EINVAL
    return operations.changePropagation(ns, at, kind, (flags & MS_REC) !== 0)
  }
  if ((flags & MS_MOVE) !== 0) {
    const from = whileHeld(at, () => sourcePath(task, source))
    return failed(from) ? from : operations.moveMount(ns, at, from)
  }
  if (type === '') return -EINVAL
  const [name, subtype] = splitType(type)
  const fsType = task.kernel.fsTypes.get(name)
  if (fsType === undefined) return -ENODEV
  if (subtype !== '') {
    if ((fsType.flags & FS_HAS_SUBTYPE) === 0) return -ENODEV
    data = data === '' ? `subtype=${subtype}` : `${data},subtype=${subtype}`
  }
  const { fs, cred } = task
  const context: MountContext = { fs, cred, mountNs: ns, vfs: ns.vfs, ns: task.ns }
  return operations.mountNew(context, at, fsType, source === '' ? 'none' : source, flags, data)
}

/** 'fuse.sshfs' is fuse, of a kind. */
function splitType(type: string): [name: string, subtype: string] {
  const dot = type.indexOf('.')
  return dot < 0 ? [type, ''] : [type.slice(0, dot), type.slice(dot + 1)]
}

function sourcePath(task: Task, source: string): OrErrno<Path> {
  return source === '' ? -EINVAL : lookup(task.walk, undefined, source, LOOKUP_FOLLOW)
}

function mayMount({ cred, mountNs }: Task): boolean {
  return cred.capable(CAP_SYS_ADMIN, mountNs.userNs) && mayChangeMounts(cred)
}

/** A string that may be left out. */
function readOptional(task: Task, address: GuestAddr): OrErrno<string> {
  if (address === 0) return ''
  const text = task.mm.readString(address, MAX_STRING)
  return text === -ENAMETOOLONG ? -EINVAL : text
}

export function umount2(task: Task, nameAt: GuestAddr, flags: number): number {
  if ((flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW)) !== 0) return -EINVAL
  const at = lookupAt(task, AT_FDCWD, nameAt, (flags & UMOUNT_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0)
  if (failed(at)) return at
  const ns = task.mountNs
  if (!mayMount(task)) return -EPERM
  return operations.umount(ns, task.fs, task.cred, at, flags)
}

export function pivot_root(task: Task, newRootAt: GuestAddr, putOldAt: GuestAddr): number {
  const ns = task.mountNs
  if (!mayMount(task)) return -EPERM
  const newRoot = lookupAt(task, AT_FDCWD, newRootAt, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
  if (failed(newRoot)) return newRoot
  const putOld = whileHeld(newRoot, () =>
    lookupAt(task, AT_FDCWD, putOldAt, LOOKUP_FOLLOW | LOOKUP_DIRECTORY),
  )
  if (failed(putOld)) return putOld
  const oldRoot = task.fs.root
  const status = operations.pivotRoot(ns, oldRoot, newRoot, putOld)
  if (status < 0) return status
  // chroot_fs_refs: whoever had the old root as root or working directory has the new one now.
  for (const { task: other } of task.kernel.pidNs.pids()) {
    if (other === undefined || other.ended) continue
    if (samePath(other.fs.root, oldRoot)) other.fs.root = newRoot
    if (samePath(other.fs.cwd, oldRoot)) other.fs.cwd = newRoot
  }
  return 0
}

export function statfs(task: Task, nameAt: GuestAddr, buffer: GuestAddr): number {
  const found = lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW)
  return failed(found) ? found : putStatfs(task, found, buffer)
}
export function fstatfs(task: Task, fd: number, buffer: GuestAddr): number {
  const file = task.fds.get(fd)
  return file === undefined ? -EBADF : putStatfs(task, file.path, buffer)
}

function putStatfs(task: Task, { mount, dentry }: Path, buffer: GuestAddr): number {
  const { flags } = mount
  // A memfd has a file system of its own, but no mount.
  const { sb } = dentry.inode!
  const info = newHostStatfs()
  const status = sb.statfs(info, dentry.inode!)
  if (status < 0) return status
  const out = task.mm.out(STATFS.size)
  put64(out, STATFS.f_type, info.type)
  put64(out, STATFS.f_bsize, info.bsize)
  put64(out, STATFS.f_blocks, info.blocks)
  put64(out, STATFS.f_bfree, info.bfree)
  put64(out, STATFS.f_bavail, info.bavail)
  put64(out, STATFS.f_files, info.files)
  put64(out, STATFS.f_ffree, info.ffree)
  out.setUint32(STATFS.f_fsid, encodeDev(sb.dev), true)
  put64(out, STATFS.f_namelen, info.namelen)
  put64(out, STATFS.f_frsize, info.frsize === 0 ? info.bsize : info.frsize)
  put64(out, STATFS.f_flags, statfsFlags(flags, sb.flags))
  return task.mm.commit(buffer)
}

function statfsFlags(mountFlags: number, superFlags: number): number {
  let flags = ST_VALID
  if (((mountFlags | superFlags) & MS_RDONLY) !== 0) flags |= ST_RDONLY
  if ((superFlags & MS_SYNCHRONOUS) !== 0) flags |= ST_SYNCHRONOUS
  if ((mountFlags & MS_NOSUID) !== 0) flags |= ST_NOSUID
  if ((mountFlags & MS_NODEV) !== 0) flags |= ST_NODEV
  if ((mountFlags & MS_NOEXEC) !== 0) flags |= ST_NOEXEC
  if ((mountFlags & MS_NOATIME) !== 0) flags |= ST_NOATIME
  if ((mountFlags & MS_NODIRATIME) !== 0) flags |= ST_NODIRATIME
  if ((mountFlags & MS_RELATIME) !== 0) flags |= ST_RELATIME
  if ((mountFlags & MS_NOSYMFOLLOW) !== 0) flags |= ST_NOSYMFOLLOW
  return flags
}

/** By device number: any mounted file system. */
export function ustat(task: Task, dev: number, buffer: GuestAddr): number {
  for (const { sb } of task.kernel.vfs.mounts) {
    if (encodeDev(sb.dev) !== dev) continue
    const info = newHostStatfs()
    const status = sb.statfs(info, sb.root)
    if (status < 0) return status
    const out = task.mm.out(USTAT.size)
    out.setUint32(USTAT.f_tfree, Math.min(info.bfree, 0x7fffffff), true)
    put64(out, USTAT.f_tinode, info.ffree)
    return task.mm.commit(buffer)
  }
  return -EINVAL
}

const umountFlags = flagsArg({ MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW })

export const mountCalls = {
  mount: { nr: NR.mount, run: mount, args: [string, path, string, size, addr] },
  umount2: { nr: NR.umount2, run: umount2, args: [path, umountFlags] },
  pivot_root: { nr: NR.pivot_root, run: pivot_root, args: [path, path] },
  statfs: { nr: NR.statfs, run: statfs, args: [path, structOut(STATFS)] },
  fstatfs: { nr: NR.fstatfs, run: fstatfs, args: [fdArg, structOut(STATFS)] },
  ustat: { nr: NR.ustat, run: ustat, args: [uint, structOut(USTAT)] },
} satisfies SyscallRows
