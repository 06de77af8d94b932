/** open(2): from a name to an open file description. Flags have been checked by the caller, as build_open_flags does. */
import {
  BPF_DEVCG_ACC_READ,
  BPF_DEVCG_ACC_WRITE,
  FAN_OPEN_PERM,
  LANDLOCK_ACCESS_FS_IOCTL_DEV,
  LANDLOCK_ACCESS_FS_READ_DIR,
  LANDLOCK_ACCESS_FS_READ_FILE,
  LANDLOCK_ACCESS_FS_TRUNCATE,
  LANDLOCK_ACCESS_FS_WRITE_FILE,
  MS_NODEV,
  O_ACCMODE,
  O_APPEND,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOATIME,
  O_NOCTTY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../abi/constants.ts'
import {
  EACCES,
  EAGAIN,
  EEXIST,
  EISDIR,
  ELOOP,
  ENOENT,
  ENOTDIR,
  ENXIO,
  EOVERFLOW,
  EPERM,
  EROFS,
  ESTALE,
  ETXTBSY,
} from '../abi/errno.ts'
import type { Credentials } from '../base/credentials.ts'
import { failed, type OrErrno, PENDING, type Status } from '../base/result.ts'
import { applyInherited, inheritedAcl } from './acl.ts'
import { resize } from './attributes.ts'
import { type Dentry, dropUnnamed, instantiate, unnamedDentry } from './dentry.ts'
import { type File, PathFile } from './file.ts'
import { filePut } from './file-ref.ts'
import { throughMount } from './idmap.ts'
import type { Inode } from './inode.ts'
import { askPermission, notifyCreate, notifyOpen } from './notify.ts'
import { type FsContext, holdPath, type Path } from './path.ts'
import {
  creationMode,
  creator,
  INODE_APPEND,
  knowsMaker,
  MAY_EXEC,
  MAY_READ,
  MAY_WRITE,
  ownerOrCapable,
  permission,
  wantWrite,
} from './permission.ts'
import { restrictedAccess, restrictionOf, rightToMake } from './restriction.ts'
import { LAST_NORM, LOOKUP_DIRECTORY, LOOKUP_FOLLOW, Walk, type WalkContext } from './walk.ts'

const TMPFILE_BIT = O_TMPFILE & ~O_DIRECTORY
const MAKES = O_CREAT | TMPFILE_BIT
/** What has been done when the inode's `open` is called; O_NOCTTY it sees, but does not keep. */
const TRANSIENT = O_CREAT | O_EXCL | O_TRUNC

/**
 * Opens (with O_CREAT: makes) `name`. `flags` without O_CLOEXEC; `mode` before the umask; `resolve` are RESOLVE_*.
 * The File has one reference, the caller's.
 */
export function openAt(
  ctx: WalkContext,
  start: Path | undefined,
  name: string,
  flags: number,
  mode: number,
  resolve = 0,
): OrErrno<File> {
  const file = openOnce(ctx, start, name, flags, mode, resolve)
  // A cached name proved to lead to a file that is no more: the file system believes it no longer, so walk again.
  return file === -ESTALE ? openOnce(ctx, start, name, flags, mode, resolve) : file
}

function openOnce(
  ctx: WalkContext,
  start: Path | undefined,
  name: string,
  flags: number,
  mode: number,
  resolve: number,
): OrErrno<File> {
  const made = (flags & MAKES) === 0 ? undefined : ctx.mountNs.vfs.callInHand()?.made
  if (made !== undefined) return openPath(ctx, made, flags, true)
  const walk = new Walk(ctx, start, resolve)
  if ((flags & TMPFILE_BIT) !== 0) return openUnnamed(walk, name, flags, mode)
  const lookup =
    ((flags & O_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0) | ((flags & O_DIRECTORY) !== 0 ? LOOKUP_DIRECTORY : 0)
  if ((flags & O_PATH) !== 0) {
    const status = walk.find(name, lookup)
    return status < 0 ? status : new PathFile(walk.path, flags, ctx.cred)
  }
  if ((flags & O_CREAT) !== 0) return openCreating(walk, name, flags, mode)
  const status = walk.find(name, lookup)
  return status < 0 ? status : openPath(ctx, walk.path, flags)
}

/**
 * Opens what stands at a place: the checks of may_open, truncation, and the File of whoever provides it. `allowed`: the
 * checks don't apply, since it was made just now or is to be executed. `quiet`: nobody hears of it.
 */
export function openPath(
  ctx: WalkContext,
  path: Path,
  flags: number,
  allowed = false,
  quiet = false,
): OrErrno<File> {
  const inode = path.dentry.inode!
  if (!allowed) {
    const status = mayOpen(ctx, path, inode, flags)
    if (status < 0) return status
  }
  const regular = inode.isRegular
  const writes = (flags & O_ACCMODE) === O_WRONLY || (flags & O_ACCMODE) === O_RDWR
  const truncates = (flags & O_TRUNC) !== 0 && regular && !allowed
  if ((writes || truncates) && (regular || inode.isDir)) {
    if (path.mount.readOnly) return -EROFS
    if (inode.writers < 0) return -ETXTBSY
  }
  const denied = ctx.cred.landlock === undefined ? 0 : deniedRights(ctx.cred, path, flags)
  if (denied < 0) return denied
  const asked = quiet ? 0 : askPermission(path, FAN_OPEN_PERM)
  if (asked !== 0) return asked
  if (inode.leases !== undefined && breakLeases(ctx, inode, writes || truncates)) return -EAGAIN
  const granted = (denied & LANDLOCK_ACCESS_FS_TRUNCATE) === 0
  const file = openInode(ctx, path, inode, (flags & ~TRANSIENT) | (truncates && granted ? O_TRUNC : 0))
  if (failed(file)) return file
  file.flags &= ~(O_NOCTTY | O_TRUNC)
  file.denied = denied
  file.created = allowed && (flags & MAKES) !== 0
  if (writes && regular) {
    file.countsAsWriter = true
    inode.writers++
    path.mount.writers++
  } else if (regular && file.readable) {
    file.countsAsReader = true
    inode.readers++
  }
  file.quiet = quiet
  notifyOpen(file)
  if (truncates) {
    const status = granted ? resize(ctx.cred, path, 0) : -EACCES
    if (status < 0) {
      filePut(file)
      return status
    }
  }
  return file
}

/** hook_file_open of Landlock: -EACCES, or which rights that only later calls need are not there. */
function deniedRights(cred: Credentials, path: Path, flags: number): number {
  const access = flags & O_ACCMODE
  const reading = path.dentry.inode!.isDir ? LANDLOCK_ACCESS_FS_READ_DIR : LANDLOCK_ACCESS_FS_READ_FILE
  const now =
    (access === O_RDONLY || access === O_RDWR ? reading : 0) |
    (access === O_WRONLY || access === O_RDWR ? LANDLOCK_ACCESS_FS_WRITE_FILE : 0)
  const later = LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV
  const denied = restrictionOf(cred)!.denied(path, now | later)
  return (denied & now) !== 0 ? -EACCES : denied
}

/** break_lease: whether there are leases that the open must wait for, which `vfs.leaseWait` then has. */
export function breakLeases(ctx: WalkContext, inode: Inode, write: boolean): boolean {
  const deadline = inode.leases?.breakFor(write) ?? 0
  if (deadline === 0) return false
  ctx.mountNs.vfs.leaseWait = { queue: inode.leases!.queue, deadline }
  return true
}

/** O_CREAT: the last component is found or made; a symbolic link there is followed (unless O_EXCL or O_NOFOLLOW). */
function openCreating(walk: Walk, name: string, flags: number, mode: number): OrErrno<File> {
  const ctx = walk.ctx
  if (name.length === 0) return -ENOENT
  for (;;) {
    const status = walk.parent(name)
    if (status < 0) return status
    if (walk.lastType !== LAST_NORM) return (flags & O_EXCL) !== 0 ? -EEXIST : -EISDIR
    if (walk.trailing) return -EISDIR
    const child = walk.child(walk.last)
    if (failed(child)) return child
    if (child.inode === undefined) return create(walk, child, flags, mode)
    if ((flags & O_EXCL) !== 0) return -EEXIST
    if (child.inode.isSymlink && (flags & O_NOFOLLOW) === 0) {
      const target = walk.follow(child)
      if (failed(target)) return target
      if (!walk.jumped) {
        if (target === '') return -ENOENT
        name = target
        continue
      }
    } else {
      const down = walk.down(child)
      if (down < 0) return down
    }
    if (walk.inode.isDir) return -EISDIR
    return openPath(ctx, walk.path, flags)
  }
}

function create(walk: Walk, child: Dentry, flags: number, mode: number): OrErrno<File> {
  const { fs } = walk.ctx
  const dir = walk.inode
  const writable = wantWrite(walk.path)
  if (writable < 0) return writable
  const allowed = mayMake(walk, S_IFREG)
  if (allowed < 0) return allowed
  const { cred } = walk
  const inherited = inheritedAcl(dir, S_IFREG | (mode & 0o7777))
  const bits = creationMode(cred, dir, inherited?.mode ?? S_IFREG | (mode & 0o7777 & ~umaskFor(fs, dir)))
  const inode = dir.create(child.name, bits & 0o7777, creator(cred, dir), flags)
  if (failed(inode)) return inode
  applyInherited(inode, inherited)
  instantiate(child, inode)
  notifyCreate(dir, child.name, false, inode)
  return openMade(walk.ctx, { mount: walk.mount, dentry: child }, flags)
}

/** Opens what was made just now. It can't be made again by the call's next try, where somebody is asked first who may. */
function openMade(ctx: WalkContext, path: Path, flags: number): OrErrno<File> {
  const file = openPath(ctx, path, flags, true)
  if (file !== PENDING) return file
  const call = ctx.mountNs.vfs.callInHand()
  if (call !== undefined) call.made = holdPath(path)
  return file
}

/** What of a mode the file system is not to see. */
export function umaskFor(fs: FsContext, dir: Inode): number {
  return dir.sb.appliesUmask ? fs.umask : 0
}

/** may_create: a directory that is gone takes no entries. */
export function mayCreate(cred: Credentials, dir: Inode): Status {
  if (dir.isDead) return -ENOENT
  if (!knowsMaker(dir.sb, cred)) return -EOVERFLOW
  return permission(cred, dir, MAY_WRITE | MAY_EXEC)
}

/** Whether the caller may make a file of that type in the directory where the walk stands. */
export function mayMake(walk: Walk, type: number): Status {
  const { ctx } = walk
  const restricted =
    ctx.cred.landlock === undefined ? 0 : restrictedAccess(ctx.cred, walk.path, rightToMake(type))
  return restricted < 0 ? restricted : mayCreate(walk.cred, walk.inode)
}

/** O_TMPFILE. */
function openUnnamed(walk: Walk, name: string, flags: number, mode: number): OrErrno<File> {
  const { fs } = walk.ctx
  const status = walk.find(name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY)
  if (status < 0) return status
  const writable = wantWrite(walk.path)
  if (writable < 0) return writable
  const dir = walk.inode
  const allowed = mayCreate(walk.cred, dir)
  if (allowed < 0) return allowed
  const { cred } = walk
  const inherited = inheritedAcl(dir, S_IFREG | (mode & 0o7777))
  const bits = creationMode(cred, dir, inherited?.mode ?? S_IFREG | (mode & 0o7777 & ~umaskFor(fs, dir)))
  const inode = dir.tmpfile(bits & 0o7777, creator(cred, dir), flags)
  if (failed(inode)) return inode
  applyInherited(inode, inherited)
  inode.linkable = (flags & O_EXCL) === 0
  const dentry = unnamedDentry(`#${inode.ino}`, walk.dentry, inode)
  const file = openMade(walk.ctx, { mount: walk.mount, dentry }, flags)
  dropUnnamed(dentry)
  return file
}

/** may_open: type against flags, then permission. */
function mayOpen(ctx: WalkContext, path: Path, inode: Inode, flags: number): Status {
  const mask = accessMask(flags)
  const type = inode.mode & S_IFMT
  if ((flags & O_DIRECTORY) !== 0 && type !== S_IFDIR) return -ENOTDIR
  if (type === S_IFLNK) return -ELOOP
  if (type === S_IFDIR && (mask & MAY_WRITE) !== 0) return -EISDIR
  if (type === S_IFBLK || type === S_IFCHR) {
    if ((path.mount.flags & MS_NODEV) !== 0 || inode.sb.noDevices) return -EACCES
    const access =
      ((mask & MAY_READ) !== 0 ? BPF_DEVCG_ACC_READ : 0) |
      ((mask & MAY_WRITE) !== 0 ? BPF_DEVCG_ACC_WRITE : 0)
    const usable = ctx.mountNs.vfs.mayUseDevice(type, inode.rdev, access)
    if (usable < 0) return usable
  }
  if ((flags & O_TRUNC) !== 0 && type === S_IFREG && path.mount.readOnly) return -EROFS
  const cred = throughMount(ctx.cred, path.mount)
  const status = permission(cred, inode, mask)
  if (status < 0) return status
  if ((inode.inodeFlags & INODE_APPEND) !== 0) {
    if ((mask & MAY_WRITE) !== 0 && (flags & O_APPEND) === 0) return -EPERM
    if ((flags & O_TRUNC) !== 0) return -EPERM
  }
  if ((flags & O_NOATIME) !== 0 && !ownerOrCapable(cred, inode)) return -EPERM
  return 0
}

/** ACC_MODE: O_ACCMODE 3 asks for both and gives neither. */
function accessMask(flags: number): number {
  const truncate = (flags & O_TRUNC) !== 0 ? MAY_WRITE : 0
  const access = flags & O_ACCMODE
  if (access === O_RDONLY) return MAY_READ | truncate
  return access === O_WRONLY ? MAY_WRITE : MAY_READ | MAY_WRITE
}

function openInode(ctx: WalkContext, path: Path, inode: Inode, flags: number): OrErrno<File> {
  const vfs = ctx.mountNs.vfs
  const type = inode.mode & S_IFMT
  if (inode.opensItself) return inode.open(path, flags, ctx.cred)
  if (type === S_IFCHR || type === S_IFBLK) {
    const open = vfs.devices.find(type, inode.rdev)
    return open === undefined ? -ENXIO : open(path, flags, ctx.cred)
  }
  if (type === S_IFIFO) return vfs.openFifo(path, flags, ctx.cred)
  if (type === S_IFSOCK) return -ENXIO
  return inode.open(path, flags, ctx.cred)
}
