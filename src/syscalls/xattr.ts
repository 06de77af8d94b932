/** Extended attributes: xattr(7). What a name means to the file system is the inode's. */
import {
  ACL_USER,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  CAP_SETFCAP,
  CAP_SYS_ADMIN,
  S_ISVTX,
  XATTR_CREATE,
  XATTR_LIST_MAX,
  XATTR_NAME_MAX,
  XATTR_REPLACE,
  XATTR_SIZE_MAX,
} from '../abi/constants.ts'
import {
  E2BIG,
  EBADF,
  EFAULT,
  EINVAL,
  ENAMETOOLONG,
  ENODATA,
  EOPNOTSUPP,
  EPERM,
  ERANGE,
} from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import type { Credentials } from '../base/credentials.ts'
import { idInside, toKernelId } from '../base/id-map.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { decodeAcl, encodeAcl, isAclName, setAcl } from '../vfs/acl.ts'
import { throughMount } from '../vfs/idmap.ts'
import type { Inode } from '../vfs/inode.ts'
import type { Mount } from '../vfs/mount.ts'
import { LOOKUP_EMPTY, LOOKUP_FOLLOW } from '../vfs/namei.ts'
import { notifyAttrib } from '../vfs/notify.ts'
import type { Path } from '../vfs/path.ts'
import {
  INODE_APPEND,
  INODE_IMMUTABLE,
  MAY_READ,
  MAY_WRITE,
  ownerOrCapable,
  permission,
  wantWrite,
} from '../vfs/permission.ts'
import {
  addr,
  bufferIn,
  bufferOut,
  fd as fdArg,
  flags as flagsArg,
  path,
  type SyscallRows,
  size as sizeArg,
  string,
} from './args.ts'
import { fileOf, lookupAt } from './at.ts'
import { keptCapability, shownCapability, XATTR_CAPABILITY } from './file-capabilities.ts'

export function setxattr(
  task: Task,
  nameAt: GuestAddr,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  size: number,
  flags: number,
): number {
  return set(task, lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW), keyAt, valueAt, size, flags)
}
export function lsetxattr(
  task: Task,
  nameAt: GuestAddr,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  size: number,
  flags: number,
): number {
  return set(task, lookupAt(task, AT_FDCWD, nameAt, 0), keyAt, valueAt, size, flags)
}
export function fsetxattr(
  task: Task,
  fd: number,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  size: number,
  flags: number,
): number {
  return set(task, placeOf(task, fd), keyAt, valueAt, size, flags)
}

export function getxattr(
  task: Task,
  nameAt: GuestAddr,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  size: number,
): number {
  return get(task, lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW), keyAt, valueAt, size)
}
export function lgetxattr(
  task: Task,
  nameAt: GuestAddr,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  size: number,
): number {
  return get(task, lookupAt(task, AT_FDCWD, nameAt, 0), keyAt, valueAt, size)
}
export function fgetxattr(
  task: Task,
  fd: number,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  size: number,
): number {
  return get(task, placeOf(task, fd), keyAt, valueAt, size)
}

export function listxattr(task: Task, nameAt: GuestAddr, listAt: GuestAddr, size: number): number {
  return list(task, lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW), listAt, size)
}
export function llistxattr(task: Task, nameAt: GuestAddr, listAt: GuestAddr, size: number): number {
  return list(task, lookupAt(task, AT_FDCWD, nameAt, 0), listAt, size)
}
export function flistxattr(task: Task, fd: number, listAt: GuestAddr, size: number): number {
  return list(task, placeOf(task, fd), listAt, size)
}

export function removexattr(task: Task, nameAt: GuestAddr, keyAt: GuestAddr): number {
  return remove(task, lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW), keyAt)
}
export function lremovexattr(task: Task, nameAt: GuestAddr, keyAt: GuestAddr): number {
  return remove(task, lookupAt(task, AT_FDCWD, nameAt, 0), keyAt)
}
export function fremovexattr(task: Task, fd: number, keyAt: GuestAddr): number {
  return remove(task, placeOf(task, fd), keyAt)
}

/** struct xattr_args. */
const XATTR_ARGS = { size: 16, value: 0, length: 8, flags: 12 } as const

/** setxattrat(2), getxattrat(2), listxattrat(2), removexattrat(2): AT_EMPTY_PATH makes them act on the descriptor. */
export function setxattrat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  atFlags: number,
  keyAt: GuestAddr,
  argsAt: GuestAddr,
  argsSize: number,
): number {
  const args = readArgs(task, argsAt, argsSize)
  if (typeof args === 'number') return args
  if ((atFlags & ~AT_FLAGS) !== 0) return -EINVAL
  return set(task, placeAt(task, dirfd, nameAt, atFlags), keyAt, args.value, args.length, args.flags)
}
export function getxattrat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  atFlags: number,
  keyAt: GuestAddr,
  argsAt: GuestAddr,
  argsSize: number,
): number {
  const args = readArgs(task, argsAt, argsSize)
  if (typeof args === 'number') return args
  if (args.flags !== 0 || (atFlags & ~AT_FLAGS) !== 0) return -EINVAL
  return get(task, placeAt(task, dirfd, nameAt, atFlags), keyAt, args.value, args.length)
}
export function listxattrat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  atFlags: number,
  listAt: GuestAddr,
  size: number,
): number {
  if ((atFlags & ~AT_FLAGS) !== 0) return -EINVAL
  return list(task, placeAt(task, dirfd, nameAt, atFlags), listAt, size)
}
export function removexattrat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  atFlags: number,
  keyAt: GuestAddr,
): number {
  if ((atFlags & ~AT_FLAGS) !== 0) return -EINVAL
  return remove(task, placeAt(task, dirfd, nameAt, atFlags), keyAt)
}

const AT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH

function placeAt(task: Task, dirfd: number, nameAt: GuestAddr, atFlags: number): OrErrno<Path> {
  const follow = (atFlags & AT_SYMLINK_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0
  if ((atFlags & AT_EMPTY_PATH) === 0) return lookupAt(task, dirfd, nameAt, follow)
  // The descriptor itself must be open for more than its place.
  const name = nameAt === 0 ? '' : task.mm.readPath(nameAt)
  if (name === '' && dirfd >= 0) return placeOf(task, dirfd)
  return lookupAt(task, dirfd, nameAt, follow | LOOKUP_EMPTY)
}

function readArgs(
  task: Task,
  at: GuestAddr,
  size: number,
): { value: GuestAddr; length: number; flags: number } | number {
  if (size < XATTR_ARGS.size) return -EINVAL
  if (size > 4096) return -E2BIG
  const view = task.mm.view(at, size)
  if (view === undefined) return -EFAULT
  for (let i = XATTR_ARGS.size; i < size; i++) if (view.getUint8(i) !== 0) return -E2BIG
  return {
    value: take64(view, XATTR_ARGS.value),
    length: view.getUint32(XATTR_ARGS.length, true),
    flags: view.getUint32(XATTR_ARGS.flags, true),
  }
}

function placeOf(task: Task, fd: number): OrErrno<Path> {
  return fileOf(task, fd)?.path ?? -EBADF
}

function set(
  task: Task,
  place: OrErrno<Path>,
  keyAt: GuestAddr,
  valueAt: GuestAddr,
  size: number,
  flags: number,
): number {
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) !== 0) return -EINVAL
  const key = readKey(task, keyAt)
  if (failed(key)) return key
  if (size > XATTR_SIZE_MAX) return -E2BIG
  const value = new Uint8Array(size)
  if (size > 0) {
    const status = task.mm.copyIn(valueAt, value)
    if (status < 0) return status
  }
  if (failed(place)) return place
  const inode = place.dentry.inode!
  if (hasAcls(inode, key)) return changeAcl(task, place, key, value)
  let allowed = wantWrite(place)
  if (allowed < 0) return allowed
  const kept = key === XATTR_CAPABILITY ? keptCapability(task, place, value) : value
  if (typeof kept === 'number') return kept
  allowed = mayWrite(throughMount(task.cred, place.mount), inode, key)
  if (allowed < 0) return allowed
  const status = inode.setxattr(key, kept, flags)
  if (status === 0) notifyAttrib(place.dentry)
  return status
}

/** A size of 0 asks for the length. */
function get(task: Task, place: OrErrno<Path>, keyAt: GuestAddr, valueAt: GuestAddr, size: number): number {
  const key = readKey(task, keyAt)
  if (failed(key)) return key
  if (failed(place)) return place
  const inode = place.dentry.inode!
  const allowed = mayRead(throughMount(task.cred, place.mount), inode, key)
  if (allowed < 0) return allowed
  if (isAclName(key) && inode.isSymlink) return -EOPNOTSUPP
  const found = inode.getxattr(key)
  if (typeof found === 'number') return found
  let value: Uint8Array | number = found
  if (isAclName(key)) value = shownAcl(task, place.mount, found)
  else if (key === XATTR_CAPABILITY) value = shownCapability(task, place.mount, found)
  if (typeof value === 'number') return value
  if (size === 0) return value.length
  if (value.length > size) return -ERANGE
  const status = task.mm.copyOut(valueAt, value)
  return status < 0 ? status : value.length
}

function list(task: Task, place: OrErrno<Path>, listAt: GuestAddr, size: number): number {
  if (failed(place)) return place
  const names = place.dentry.inode!.listxattr()
  if (typeof names === 'number') return names
  const admin = task.cred.capable(CAP_SYS_ADMIN)
  const visible = names.filter(name => admin || !name.startsWith('trusted.'))
  const bytes = toBytes(visible.map(name => `${name}\0`).join(''))
  if (bytes.length > XATTR_LIST_MAX) return -E2BIG
  if (size === 0) return bytes.length
  if (bytes.length > size) return -ERANGE
  const status = task.mm.copyOut(listAt, bytes)
  return status < 0 ? status : bytes.length
}

function remove(task: Task, place: OrErrno<Path>, keyAt: GuestAddr): number {
  const key = readKey(task, keyAt)
  if (failed(key)) return key
  if (failed(place)) return place
  const inode = place.dentry.inode!
  if (hasAcls(inode, key)) return changeAcl(task, place, key, new Uint8Array(0))
  const allowed = wantWrite(place) || mayWrite(throughMount(task.cred, place.mount), inode, key)
  if (allowed < 0) return allowed
  const status = inode.removexattr(key)
  if (status === 0) notifyAttrib(place.dentry)
  return status
}

/** Whether the name means an access control list that is more than bytes to the kernel. */
function hasAcls(inode: Inode, key: string): boolean {
  return isAclName(key) && inode.sb.acls !== 'none'
}

/** The ids in a list are the caller's user namespace's; an empty list is none. */
function changeAcl(task: Task, place: Path, key: string, value: Uint8Array): number {
  const { userNs } = task.cred
  const { idmap } = place.mount
  const acl = decodeAcl(value, (tag, id) => {
    if (tag === ACL_USER) {
      const uid = toKernelId(userNs.uidMap, id)
      return idmap === undefined ? uid : idmap.uidKept(uid)
    }
    const gid = toKernelId(userNs.gidMap, id)
    return idmap === undefined ? gid : idmap.gidKept(gid)
  })
  if (failed(acl)) return acl
  const cred = throughMount(task.cred, place.mount)
  const status = wantWrite(place) || setAcl(cred, place.dentry.inode!, key, acl)
  if (status === 0) notifyAttrib(place.dentry)
  return status
}

function shownAcl(task: Task, { idmap }: Mount, value: Uint8Array): Uint8Array | number {
  const { userNs } = task.cred
  if (userNs.level === 0 && idmap === undefined) return value
  const acl = decodeAcl(value, (_tag, id) => id)
  if (failed(acl)) return acl
  return encodeAcl(acl, (tag, id) =>
    tag === ACL_USER
      ? idInside(userNs.uidMap, idmap?.uidSeen(id) ?? id)
      : idInside(userNs.gidMap, idmap?.gidSeen(id) ?? id),
  )
}

function readKey(task: Task, keyAt: GuestAddr): OrErrno<string> {
  const key = task.mm.readString(keyAt, XATTR_NAME_MAX + 1)
  if (key === -ENAMETOOLONG || key === '') return -ERANGE
  return key
}

/** xattr_permission: each prefix has its own rule. */
function mayWrite(cred: Credentials, inode: Inode, key: string): number {
  if ((inode.inodeFlags & (INODE_IMMUTABLE | INODE_APPEND)) !== 0) return -EPERM
  if (key.startsWith('security.')) {
    const needed = key === XATTR_CAPABILITY ? CAP_SETFCAP : CAP_SYS_ADMIN
    return cred.capable(needed) ? 0 : -EPERM
  }
  // What the host's file system means by others is not ours to know.
  if (key.startsWith('system.')) return inode.sb.acls === 'host' ? -EOPNOTSUPP : 0
  if (key.startsWith('trusted.')) return cred.capable(CAP_SYS_ADMIN) ? 0 : -EPERM
  if (key.startsWith('user.')) {
    if (!inode.isRegular && !inode.isDir) return -EPERM
    if (inode.isDir && (inode.mode & S_ISVTX) !== 0 && !ownerOrCapable(cred, inode)) return -EPERM
  }
  return permission(cred, inode, MAY_WRITE)
}

function mayRead(cred: Credentials, inode: Inode, key: string): number {
  if (key.startsWith('security.') || key.startsWith('system.')) return 0
  if (key.startsWith('trusted.')) return cred.capable(CAP_SYS_ADMIN) ? 0 : -ENODATA
  if (key.startsWith('user.') && !inode.isRegular && !inode.isDir) return -ENODATA
  return permission(cred, inode, MAY_READ)
}

const setFlags = flagsArg({ XATTR_CREATE, XATTR_REPLACE })
const atFlagsArg = flagsArg({ AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH })

export const xattrCalls = {
  setxattr: { nr: NR.setxattr, run: setxattr, args: [path, string, bufferIn(3), sizeArg, setFlags] },
  lsetxattr: { nr: NR.lsetxattr, run: lsetxattr, args: [path, string, bufferIn(3), sizeArg, setFlags] },
  fsetxattr: { nr: NR.fsetxattr, run: fsetxattr, args: [fdArg, string, bufferIn(3), sizeArg, setFlags] },
  getxattr: { nr: NR.getxattr, run: getxattr, args: [path, string, bufferOut(3), sizeArg] },
  lgetxattr: { nr: NR.lgetxattr, run: lgetxattr, args: [path, string, bufferOut(3), sizeArg] },
  fgetxattr: { nr: NR.fgetxattr, run: fgetxattr, args: [fdArg, string, bufferOut(3), sizeArg] },
  listxattr: { nr: NR.listxattr, run: listxattr, args: [path, addr, sizeArg] },
  llistxattr: { nr: NR.llistxattr, run: llistxattr, args: [path, addr, sizeArg] },
  flistxattr: { nr: NR.flistxattr, run: flistxattr, args: [fdArg, addr, sizeArg] },
  removexattr: { nr: NR.removexattr, run: removexattr, args: [path, string] },
  lremovexattr: { nr: NR.lremovexattr, run: lremovexattr, args: [path, string] },
  fremovexattr: { nr: NR.fremovexattr, run: fremovexattr, args: [fdArg, string] },
  setxattrat: { nr: NR.setxattrat, run: setxattrat, args: [fdArg, path, atFlagsArg, string, addr, sizeArg] },
  getxattrat: { nr: NR.getxattrat, run: getxattrat, args: [fdArg, path, atFlagsArg, string, addr, sizeArg] },
  listxattrat: { nr: NR.listxattrat, run: listxattrat, args: [fdArg, path, atFlagsArg, addr, sizeArg] },
  removexattrat: { nr: NR.removexattrat, run: removexattrat, args: [fdArg, path, atFlagsArg, string] },
} satisfies SyscallRows
