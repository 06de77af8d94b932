/** May this identity do that with this inode? path_resolution(7), capabilities(7), credentials(7). */
import {
  CAP_DAC_OVERRIDE,
  CAP_DAC_READ_SEARCH,
  CAP_FOWNER,
  CAP_FSETID,
  MS_RDONLY,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  S_ISGID,
  S_ISUID,
  S_ISVTX,
  S_IXGRP,
} from '../abi/constants.ts'
import { EACCES, EOVERFLOW, EPERM, EROFS } from '../abi/errno.ts'
import { type Credentials, isMapped } from '../base/credentials.ts'
import type { Status } from '../base/result.ts'
import { aclPermission } from './acl.ts'
import { NO_OWNER, throughMount } from './idmap.ts'
import type { Inode } from './inode.ts'
import type { Path } from './path.ts'
import type { SuperBlock } from './super-block.ts'

export const MAY_EXEC = 1
export const MAY_WRITE = 2
export const MAY_READ = 4
/** What is asked for: access(2); chdir(2) and chroot(2). Only file systems that decide by themselves look at them. */
export const MAY_ACCESS = 16
export const MAY_CHDIR = 64

/** FS_IMMUTABLE_FL and FS_APPEND_FL of Inode.inodeFlags. */
export const INODE_IMMUTABLE = 0x10
export const INODE_APPEND = 0x20

/** inode_permission: `mask` of MAY_* for the filesystem ids of `cred`. */
export function permission(cred: Credentials, inode: Inode, mask: number): Status {
  if ((mask & MAY_WRITE) !== 0) {
    const type = inode.type
    if ((inode.sb.flags & MS_RDONLY) !== 0 && (type === S_IFREG || type === S_IFDIR || type === S_IFLNK))
      return -EROFS
    if ((inode.inodeFlags & INODE_IMMUTABLE) !== 0) return -EPERM
    // Its times would be written, and with them an owner who is nobody.
    if (!ownersKnown(cred, inode)) return -EACCES
  }
  const own = inode.permission(cred, mask)
  if (own !== undefined) return own
  return modePermission(cred, inode, mask & (MAY_READ | MAY_WRITE | MAY_EXEC))
}

/** `permission` for what stands at a place. */
export function permissionAt(cred: Credentials, { mount, dentry }: Path, mask: number): Status {
  return permission(throughMount(cred, mount), dentry.inode!, mask)
}

/** generic_permission: mode bits or access control list, then the capabilities that override them. */
export function modePermission(cred: Credentials, inode: Inode, mask: number): Status {
  const mode = inode.mode
  const owner = cred.fsuid === inode.uid
  // A list may have to be asked for: not where it decides nothing.
  if (!owner && (mode & 0o070) !== 0 && inode.aclSource !== undefined && !overrides(cred, inode, mask)) {
    const byAcl = aclPermission(cred, inode, mask & 7)
    if (byAcl !== undefined) return byAcl
  }
  const bits = owner ? mode >> 6 : cred.inGroup(inode.gid) ? mode >> 3 : mode
  if ((mask & ~bits & 7) === 0) return 0
  return overrides(cred, inode, mask) ? 0 : -EACCES
}

/** Whether a capability allows what mode or list may not. */
function overrides(cred: Credentials, inode: Inode, mask: number): boolean {
  const only = inode.isDir ? (mask & MAY_WRITE) === 0 : mask === MAY_READ
  if (only && capableOver(cred, inode, CAP_DAC_READ_SEARCH)) return true
  if (!inode.isDir && (mask & MAY_EXEC) !== 0 && (inode.mode & 0o111) === 0) return false
  return capableOver(cred, inode, CAP_DAC_OVERRIDE)
}

/** capable_wrt_inode_uidgid: a capability counts only over inodes whose ids exist in the holder's user namespace. */
export function capableOver(cred: Credentials, inode: Inode, cap: number): boolean {
  return cred.capable(cap) && cred.mapsUid(inode.uid) && cred.mapsGid(inode.gid)
}

/** inode_owner_or_capable: chmod, explicit times, O_NOATIME. */
export function ownerOrCapable(cred: Credentials, inode: Inode): boolean {
  if (cred.fsuid === inode.uid) return true
  // The group does not count here.
  return cred.mapsUid(inode.uid) && cred.capable(CAP_FOWNER)
}

/** in_group_or_capable: whether the setgid bit may stay. */
export function inGroupOrCapable(cred: Credentials, inode: Inode, gid = inode.gid): boolean {
  return cred.inGroup(gid) || capableOver(cred, inode, CAP_FSETID)
}

/** may_delete: `dir` lets `victim` go (or be replaced). */
export function mayDelete(cred: Credentials, dir: Inode, victim: Inode): Status {
  if (!ownersKnown(cred, victim)) return -EOVERFLOW
  const status = permission(cred, dir, MAY_WRITE | MAY_EXEC)
  if (status < 0) return status
  if ((dir.inodeFlags & INODE_APPEND) !== 0) return -EPERM
  if (isSticky(cred, dir, victim)) return -EPERM
  return (victim.inodeFlags & (INODE_IMMUTABLE | INODE_APPEND)) !== 0 ? -EPERM : 0
}

function isSticky(cred: Credentials, dir: Inode, victim: Inode): boolean {
  if ((dir.mode & S_ISVTX) === 0) return false
  if (victim.uid === cred.fsuid || dir.uid === cred.fsuid) return false
  return !capableOver(cred, victim, CAP_FOWNER)
}

/** fsuidgid_has_mapping: whether the file system can say of something new that it belongs to who makes it. */
export function knowsMaker({ userNs }: SuperBlock, { fsuid, fsgid }: Credentials): boolean {
  if (fsuid === NO_OWNER || fsgid === NO_OWNER) return false
  if (userNs === undefined || userNs.level === 0) return true
  return isMapped(userNs.uidMap, fsuid) && isMapped(userNs.gidMap, fsgid)
}

/** HAS_UNMAPPED_ID: false for what an id-mapped mount shows as nobody's. */
export function ownersKnown(cred: Credentials, inode: Inode): boolean {
  return cred.knowsUid(inode.uid) && cred.knowsGid(inode.gid)
}

/** mnt_want_write. */
export function wantWrite(path: Path): Status {
  return path.mount.readOnly ? -EROFS : 0
}

/**
 * The bits among setuid and setgid that a write, truncation or change of owner by `cred` clears. A setgid bit without
 * group execution stays for members of the group.
 */
export function privilegeBits(cred: Credentials, inode: Inode): number {
  if (!inode.isRegular || (inode.mode & (S_ISUID | S_ISGID)) === 0) return 0
  return privilegeBitsOfChown(cred, inode)
}

export function privilegeBitsOfChown(cred: Credentials, inode: Inode): number {
  let bits = inode.mode & S_ISUID
  if ((inode.mode & S_ISGID) !== 0 && ((inode.mode & S_IXGRP) !== 0 || !inGroupOrCapable(cred, inode)))
    bits |= S_ISGID
  return bits
}

/** cap_inode_killpriv: what changes is no longer the program that was trusted. The host does so itself with what is its. */
export function dropFileCapabilities(inode: Inode): void {
  inode.aclHolder?.removexattr('security.capability')
}

/** file_remove_privs: clears them after a write, unless the writer has CAP_FSETID. */
export function removePrivileges(cred: Credentials, { mount, dentry }: Path): Status {
  const inode = dentry.inode!
  dropFileCapabilities(inode)
  const bits = privilegeBits(throughMount(cred, mount), inode)
  if (bits === 0 || cred.capable(CAP_FSETID)) return 0
  return inode.setattr({ mode: inode.mode & 0o7777 & ~bits })
}

/**
 * The identity that a new inode in `dir` belongs to: below a setgid directory the group is the directory's. File
 * systems take fsuid and fsgid of what they are given.
 */
export function creator(cred: Credentials, dir: Inode): Credentials {
  if ((dir.mode & S_ISGID) === 0 || dir.gid === cred.fsgid) return cred
  const changed = cred.clone()
  changed.fsgid = dir.gid
  return changed
}

/** mode_strip_sgid, and inheritance of the bit by directories. `mode` has the umask applied. */
export function creationMode(cred: Credentials, dir: Inode, mode: number): number {
  if ((dir.mode & S_ISGID) === 0) return mode
  if ((mode & 0o170000) === S_IFDIR) return mode | S_ISGID
  if ((mode & (S_ISGID | S_IXGRP)) !== (S_ISGID | S_IXGRP)) return mode
  return inGroupOrCapable(cred, dir) ? mode : mode & ~S_ISGID
}
