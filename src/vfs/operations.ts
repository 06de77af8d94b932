/**
 * Making and removing names: the policy of mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2). The order of the
 * checks is Linux's, since it decides which errno wins. rename(2) is in rename.ts, attributes are in attributes.ts.
 */
import {
  BPF_DEVCG_ACC_MKNOD,
  CAP_MKNOD,
  IN_ATTRIB,
  LANDLOCK_ACCESS_FS_REMOVE_DIR,
  LANDLOCK_ACCESS_FS_REMOVE_FILE,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  S_ISGID,
  S_ISUID,
  S_IXGRP,
} from '../abi/constants.ts'
import {
  EBUSY,
  EEXIST,
  EINVAL,
  EISDIR,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EOVERFLOW,
  EPERM,
  EXDEV,
} from '../abi/errno.ts'
import { type Credentials, firstUserNs } from '../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { applyInherited, inheritedAcl } from './acl.ts'
import { type Dentry, deleteDentry, forgetChildren, instantiate } from './dentry.ts'
import type { Inode } from './inode.ts'
import { notifyCreate, notifyDelete } from './notify.ts'
import { mayCreate, mayMake, umaskFor } from './open.ts'
import { type Path, whileHeld } from './path.ts'
import {
  creationMode,
  creator,
  INODE_APPEND,
  INODE_IMMUTABLE,
  MAY_READ,
  MAY_WRITE,
  mayDelete,
  ownerOrCapable,
  ownersKnown,
  permission,
  wantWrite,
} from './permission.ts'
import { restrictedAccess, restrictionOf } from './restriction.ts'
import { LAST_DOT, LAST_DOTDOT, LAST_NORM, Walk, type WalkContext } from './walk.ts'

export { chmod, chown, setTimes, truncate, truncateFile } from './attributes.ts'
export { rename } from './rename.ts'

/** filename_create: the walk stands in the directory; the negative entry for a new name. */
function newName(walk: Walk, name: string, directory: boolean): OrErrno<Dentry> {
  if (name.length === 0) return -ENOENT
  const status = walk.parent(name)
  if (status < 0) return status
  if (walk.lastType !== LAST_NORM) return -EEXIST
  const child = walk.child(walk.last)
  if (failed(child)) return child
  if (child.inode !== undefined) return -EEXIST
  if (walk.trailing && !directory) return -ENOENT
  const writable = wantWrite(walk.path)
  return writable < 0 ? writable : child
}

/** The new entry's inode is in place. */
function created(walk: Walk, child: Dentry, inode: Inode): void {
  instantiate(child, inode)
  notifyCreate(walk.inode, child.name, inode.isDir, inode)
}

/** `mode` before the umask. */
export function mkdir(ctx: WalkContext, start: Path | undefined, name: string, mode: number): Status {
  const walk = new Walk(ctx, start)
  const child = newName(walk, name, true)
  if (failed(child)) return child
  const dir = walk.inode
  const allowed = mayMake(walk, S_IFDIR)
  if (allowed < 0) return allowed
  const inherited = inheritedAcl(dir, S_IFDIR | (mode & 0o1777))
  const own = S_IFDIR | (mode & 0o1777 & ~umaskFor(ctx.fs, dir))
  const bits = creationMode(walk.cred, dir, inherited?.mode ?? own)
  const inode = dir.mkdir(child.name, bits & 0o7777, creator(walk.cred, dir))
  if (failed(inode)) return inode
  applyInherited(inode, inherited)
  created(walk, child, inode)
  return 0
}

/** `mode` with its type, before the umask; `rdev` is (major << 20) | minor. */
export function mknod(
  ctx: WalkContext,
  start: Path | undefined,
  name: string,
  mode: number,
  rdev: number,
): Status {
  const path = createNode(ctx, start, name, mode, rdev)
  return failed(path) ? path : 0
}

/** mknod that tells the new place, for bind(2) of a unix socket. */
export function createNode(
  ctx: WalkContext,
  start: Path | undefined,
  name: string,
  mode: number,
  rdev: number,
): OrErrno<Path> {
  let type = mode & S_IFMT
  if (type === 0) type = S_IFREG
  if (type === S_IFDIR) return -EPERM
  if (type !== S_IFREG && type !== S_IFCHR && type !== S_IFBLK && type !== S_IFIFO && type !== S_IFSOCK)
    return -EINVAL
  const walk = new Walk(ctx, start)
  const child = newName(walk, name, false)
  if (failed(child)) return child
  const dir = walk.inode
  const allowed = mayMake(walk, type)
  if (allowed < 0) return allowed
  const device = type === S_IFCHR || type === S_IFBLK
  // A character device 0:0 is a whiteout, which everybody may make.
  if (device && !(type === S_IFCHR && rdev === 0)) {
    if (!ctx.cred.capable(CAP_MKNOD, firstUserNs(ctx.cred.userNs))) return -EPERM
    const usable = ctx.mountNs.vfs.mayUseDevice(type, rdev, BPF_DEVCG_ACC_MKNOD)
    if (usable < 0) return usable
  }
  const inherited = inheritedAcl(dir, type | (mode & 0o7777))
  const own = type | (mode & 0o7777 & ~umaskFor(ctx.fs, dir))
  const bits = creationMode(walk.cred, dir, inherited?.mode ?? own)
  const owner = creator(walk.cred, dir)
  const inode = dir.mknod(child.name, bits, device ? rdev : 0, owner)
  if (failed(inode)) return inode
  applyInherited(inode, inherited)
  created(walk, child, inode)
  return { mount: walk.mount, dentry: child }
}

export function symlink(ctx: WalkContext, target: string, start: Path | undefined, name: string): Status {
  if (target === '') return -ENOENT
  const walk = new Walk(ctx, start)
  const child = newName(walk, name, false)
  if (failed(child)) return child
  const dir = walk.inode
  const allowed = mayMake(walk, S_IFLNK)
  if (allowed < 0) return allowed
  const inode = dir.symlink(child.name, target, creator(walk.cred, dir))
  if (failed(inode)) return inode
  created(walk, child, inode)
  return 0
}

/** link(2): `old` gets one more name. */
export function link(ctx: WalkContext, old: Path, start: Path | undefined, name: string): Status {
  const walk = new Walk(ctx, start)
  const child = whileHeld(old, () => newName(walk, name, false))
  if (failed(child)) return child
  if (walk.mount !== old.mount) return -EXDEV
  if (!ownersKnown(walk.cred, old.dentry.inode!)) return -EOVERFLOW
  if (ctx.mountNs.vfs.protectedHardlinks && !mayLinkTo(walk.cred, old.dentry.inode!)) return -EPERM
  const dir = walk.inode
  const restriction = restrictionOf(ctx.cred)
  const from = { mount: old.mount, dentry: old.dentry.parent ?? old.dentry }
  const restricted = restriction?.mayRefer(from, old.dentry, walk.path, child, false, false) ?? 0
  if (restricted < 0) return restricted
  const allowed = mayCreate(walk.cred, dir)
  if (allowed < 0) return allowed
  const inode = old.dentry.inode!
  if (inode.sb !== dir.sb) return -EXDEV
  if ((inode.inodeFlags & (INODE_APPEND | INODE_IMMUTABLE)) !== 0) return -EPERM
  if (inode.isDir) return -EPERM
  const fresh = inode.getattr()
  if (fresh < 0) return fresh
  if (inode.nlink === 0 && !inode.linkable) return -ENOENT
  const linked = dir.link(child.name, inode)
  if (failed(linked) && linked < 0) return linked
  inode.linkable = false
  created(walk, child, failed(linked) ? inode : linked)
  inode.watches?.event(IN_ATTRIB, 0, undefined, false)
  return 0
}

/** may_linkat: what one could neither read nor write, or what gives privilege, only its owner may pin. */
function mayLinkTo(cred: Credentials, inode: Inode): boolean {
  if (ownerOrCapable(cred, inode)) return true
  if (!inode.isRegular || (inode.mode & S_ISUID) !== 0) return false
  if ((inode.mode & (S_ISGID | S_IXGRP)) === (S_ISGID | S_IXGRP)) return false
  return permission(cred, inode, MAY_READ | MAY_WRITE) === 0
}

export function unlink(ctx: WalkContext, start: Path | undefined, name: string): Status {
  const walk = new Walk(ctx, start)
  const status = name.length === 0 ? -ENOENT : walk.parent(name)
  if (status < 0) return status
  if (walk.lastType !== LAST_NORM) return -EISDIR
  const writable = wantWrite(walk.path)
  if (writable < 0) return writable
  const child = walk.child(walk.last)
  if (failed(child)) return child
  const inode = child.inode
  if (inode === undefined) return -ENOENT
  if (walk.trailing) return inode.isDir ? -EISDIR : -ENOTDIR
  const dir = walk.inode
  const allowed =
    restrictedAccess(ctx.cred, walk.path, LANDLOCK_ACCESS_FS_REMOVE_FILE) || mayDelete(walk.cred, dir, inode)
  if (allowed < 0) return allowed
  if (inode.isDir) return -EISDIR
  if (child.mounted > 0) return -EBUSY
  const result = dir.unlink(child.name, inode)
  if (result < 0) return result
  inode.watches?.event(IN_ATTRIB, 0, undefined, true)
  // With its last link the inode may go (IN_DELETE_SELF): the directory hears of it after that.
  deleteDentry(child)
  notifyDelete(dir, child.name, false, inode)
  return 0
}

export function rmdir(ctx: WalkContext, start: Path | undefined, name: string): Status {
  const walk = new Walk(ctx, start)
  const status = name.length === 0 ? -ENOENT : walk.parent(name)
  if (status < 0) return status
  if (walk.lastType === LAST_DOTDOT) return -ENOTEMPTY
  if (walk.lastType === LAST_DOT) return -EINVAL
  if (walk.lastType !== LAST_NORM) return -EBUSY
  const writable = wantWrite(walk.path)
  if (writable < 0) return writable
  const child = walk.child(walk.last)
  if (failed(child)) return child
  const inode = child.inode
  if (inode === undefined) return -ENOENT
  const dir = walk.inode
  const allowed =
    restrictedAccess(ctx.cred, walk.path, LANDLOCK_ACCESS_FS_REMOVE_DIR) || mayDelete(walk.cred, dir, inode)
  if (allowed < 0) return allowed
  if (!inode.isDir) return -ENOTDIR
  if (child.mounted > 0) return -EBUSY
  const result = dir.rmdir(child.name, inode)
  if (result < 0) return result
  inode.nlink = 0
  forgetChildren(child)
  deleteDentry(child)
  notifyDelete(dir, child.name, true, inode)
  return 0
}
