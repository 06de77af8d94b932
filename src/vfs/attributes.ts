/** Changing attributes: the policy of chmod(2), chown(2), utimensat(2), truncate(2), access(2). */
import {
  CAP_CHOWN,
  IN_ACCESS,
  IN_ATTRIB,
  IN_MODIFY,
  LANDLOCK_ACCESS_FS_TRUNCATE,
  MS_NOEXEC,
  S_ISGID,
} from '../abi/constants.ts'
import { EACCES, EINVAL, EISDIR, EOVERFLOW, EPERM, EROFS, ETXTBSY } from '../abi/errno.ts'
import type { Timespec } from '../base/clock.ts'
import { type Credentials, firstUserNs } from '../base/credentials.ts'
import { INVALID_ID } from '../base/id-map.ts'
import type { Status } from '../base/result.ts'
import { aclAfterChmod } from './acl.ts'
import type { File } from './file.ts'
import { throughMount } from './idmap.ts'
import type { AttrChange, Inode } from './inode.ts'
import { notifyDentry } from './notify.ts'
import type { Path } from './path.ts'
import {
  capableOver,
  dropFileCapabilities,
  INODE_APPEND,
  INODE_IMMUTABLE,
  inGroupOrCapable,
  MAY_ACCESS,
  MAY_EXEC,
  MAY_WRITE,
  ownerOrCapable,
  ownersKnown,
  permission,
  permissionAt,
  privilegeBits,
  privilegeBitsOfChown,
  wantWrite,
} from './permission.ts'
import { restrictedAccess } from './restriction.ts'
import type { SuperBlock } from './super-block.ts'

export function chmod(caller: Credentials, path: Path, mode: number): Status {
  const writable = wantWrite(path)
  if (writable < 0) return writable
  const cred = throughMount(caller, path.mount)
  const inode = path.dentry.inode!
  if (isFixed(inode)) return -EPERM
  if (!ownersKnown(cred, inode)) return -EOVERFLOW
  if (!ownerOrCapable(cred, inode)) return -EPERM
  let bits = mode & 0o7777
  if ((bits & S_ISGID) !== 0 && !inGroupOrCapable(cred, inode)) bits &= ~S_ISGID
  return change(path, { mode: bits }, IN_ATTRIB) || aclAfterChmod(inode)
}

/** `uid` and `gid` are kernel-wide ids; undefined leaves one as it is. */
export function chown(
  caller: Credentials,
  path: Path,
  toUid: number | undefined,
  toGid: number | undefined,
): Status {
  const writable = wantWrite(path)
  if (writable < 0) return writable
  const inode = path.dentry.inode!
  if (isFixed(inode)) return -EPERM
  const { idmap } = path.mount
  const cred = throughMount(caller, path.mount)
  const uid = idmap === undefined || toUid === undefined ? toUid : idmap.uidKept(toUid)
  const gid = idmap === undefined || toGid === undefined ? toGid : idmap.gidKept(toGid)
  // What stays must be somebody, too.
  if (uid === INVALID_ID || gid === INVALID_ID) return -EOVERFLOW
  if (!cred.knowsUid(uid ?? inode.uid) || !cred.knowsGid(gid ?? inode.gid)) return -EOVERFLOW
  if (uid !== undefined && !mayChownUid(cred, inode, uid)) return -EPERM
  if (gid !== undefined && !mayChownGid(cred, inode, gid)) return -EPERM
  const changes: AttrChange = { uid, gid }
  if (!inode.isDir) dropFileCapabilities(inode)
  if (!inode.isDir && !inode.isSymlink) {
    const bits = privilegeBitsOfChown(cred, inode)
    if (bits !== 0) changes.mode = inode.mode & 0o7777 & ~bits
  }
  return change(path, changes, IN_ATTRIB)
}

function mayChownUid(cred: Credentials, inode: Inode, uid: number): boolean {
  if (cred.fsuid === inode.uid && uid === inode.uid) return true
  return capableOver(cred, inode, CAP_CHOWN) || (!cred.knowsUid(inode.uid) && ownsFileSystem(cred, inode.sb))
}

function mayChownGid(cred: Credentials, inode: Inode, gid: number): boolean {
  if (cred.fsuid === inode.uid && (gid === inode.gid || cred.inGroup(gid))) return true
  return capableOver(cred, inode, CAP_CHOWN) || (!cred.knowsGid(inode.gid) && ownsFileSystem(cred, inode.sb))
}

/** Who may give an owner to what has none. */
function ownsFileSystem(cred: Credentials, { userNs }: SuperBlock): boolean {
  return cred.capable(CAP_CHOWN, userNs ?? firstUserNs(cred.userNs))
}

/** A time to set; undefined leaves it. `now`: both were asked to be the current time, which a writer may do. */
export function setTimes(
  caller: Credentials,
  path: Path,
  atime: Timespec | undefined,
  mtime: Timespec | undefined,
  now: boolean,
): Status {
  const writable = wantWrite(path)
  if (writable < 0) return writable
  const inode = path.dentry.inode!
  const cred = throughMount(caller, path.mount)
  if ((inode.inodeFlags & INODE_IMMUTABLE) !== 0) return -EPERM
  if (now) {
    if (!ownerOrCapable(cred, inode)) {
      const status = permission(cred, inode, MAY_WRITE)
      if (status < 0) return status
    }
  } else if ((inode.inodeFlags & INODE_APPEND) !== 0 || !ownerOrCapable(cred, inode)) return -EPERM
  const mask = atime === undefined ? IN_MODIFY : mtime === undefined ? IN_ACCESS : IN_ATTRIB
  return change(path, { atime, mtime }, mask)
}

/** truncate(2). The caller has checked RLIMIT_FSIZE. */
export function truncate(cred: Credentials, path: Path, size: number): Status {
  const inode = path.dentry.inode!
  if (inode.isDir) return -EISDIR
  if (!inode.isRegular) return -EINVAL
  const writable = wantWrite(path)
  if (writable < 0) return writable
  const status = permissionAt(cred, path, MAY_WRITE)
  if (status < 0) return status
  if ((inode.inodeFlags & INODE_APPEND) !== 0) return -EPERM
  if (inode.writers < 0) return -ETXTBSY
  const restricted = restrictedAccess(cred, path, LANDLOCK_ACCESS_FS_TRUNCATE)
  return restricted < 0 ? restricted : resize(cred, path, size)
}

/** ftruncate(2). */
export function truncateFile(cred: Credentials, file: File, size: number): Status {
  if (!file.inode.isRegular || !file.writable) return -EINVAL
  if ((file.inode.inodeFlags & INODE_APPEND) !== 0) return -EPERM
  if ((file.denied & LANDLOCK_ACCESS_FS_TRUNCATE) !== 0) return -EACCES
  return resize(cred, file.path, size)
}

/** Changes the size after all checks: setuid and setgid bits go with it. */
export function resize(cred: Credentials, path: Path, size: number): Status {
  const inode = path.dentry.inode!
  dropFileCapabilities(inode)
  const changes: AttrChange = { size }
  const bits = privilegeBits(throughMount(cred, path.mount), inode)
  if (bits !== 0) changes.mode = inode.mode & 0o7777 & ~bits
  return change(path, changes, IN_MODIFY)
}

/** access(2) with the ids of `cred` as filesystem ids. `mask` of MAY_*, 0 for F_OK. */
export function access(cred: Credentials, path: Path, mask: number): Status {
  const inode = path.dentry.inode!
  if ((mask & MAY_EXEC) !== 0 && inode.isRegular && (path.mount.flags & MS_NOEXEC) !== 0) return -EACCES
  const status = permissionAt(cred, path, mask | MAY_ACCESS)
  if (status < 0 || (mask & MAY_WRITE) === 0) return status
  const special = !inode.isRegular && !inode.isDir && !inode.isSymlink
  return !special && path.mount.readOnly ? -EROFS : 0
}

function isFixed(inode: Inode): boolean {
  return (inode.inodeFlags & (INODE_IMMUTABLE | INODE_APPEND)) !== 0
}

function change(path: Path, changes: AttrChange, mask: number): Status {
  const status = path.dentry.inode!.setattr(changes)
  if (status === 0) notifyDentry(path.dentry, mask)
  return status
}
