/** The policy of mount(2), umount2(2) and pivot_root(2). The caller has checked CAP_SYS_ADMIN over the namespace. */
import {
  CAP_SYS_ADMIN,
  MNT_DETACH,
  MNT_EXPIRE,
  MNT_FORCE,
  MS_LAZYTIME,
  MS_MANDLOCK,
  MS_NOATIME,
  MS_NODIRATIME,
  MS_RDONLY,
  MS_RELATIME,
  MS_SHARED,
  MS_SLAVE,
  MS_STRICTATIME,
  MS_SYNCHRONOUS,
  MS_UNBINDABLE,
} from '../abi/constants.ts'
import { EAGAIN, EBUSY, EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM } from '../abi/errno.ts'
import { type Credentials, firstUserNs, type UserNamespace } from '../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { type Dentry, isBelow } from './dentry.ts'
import { FS_USERNS_MOUNT, type FsType, type MountContext } from './fs-type.ts'
import {
  copyMount,
  copyTree,
  MOUNT_FLAGS,
  Mount,
  type MountNamespace,
  makePrivate,
  makeShared,
  makeSlave,
  mayHaveFlags,
  mountTree,
} from './mount.ts'
import { type FsContext, type Path, whileHeld } from './path.ts'
import { isReachable } from './path-string.ts'
import { attachTree, propagatedBusy, roomFor, unmountPropagated, wouldOvermount } from './propagation.ts'
import type { SuperBlock } from './super-block.ts'
import type { Vfs } from './vfs.ts'

const SUPER_FLAGS = MS_RDONLY | MS_SYNCHRONOUS | MS_MANDLOCK | MS_LAZYTIME
const ATIME_FLAGS = MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME

/** The flags of the mount among those of mount(2): relatime unless another choice was made. */
export function mountFlags(flags: number): number {
  let result = flags & MOUNT_FLAGS
  if ((flags & MS_NOATIME) === 0) result |= MS_RELATIME
  if ((flags & MS_STRICTATIME) !== 0) result &= ~(MS_NOATIME | MS_RELATIME)
  return result
}

/** vfs_get_tree: the super block of a new mount, which belongs to the user namespace of who made it. */
export function makeSuper(
  type: FsType,
  source: string,
  flags: number,
  options: string,
  context: MountContext,
): OrErrno<SuperBlock> {
  const { userNs } = context.cred
  // Not every file system is safe in the hands of those who are privileged only among themselves.
  if ((type.flags & FS_USERNS_MOUNT) === 0 && userNs.level > 0) return -EPERM
  const sb = type.mount(source, flags, options, context)
  if (!failed(sb) && sb.mounts === 0) sb.ownedBy(userNs)
  return sb
}

/** A new mount of a file system. */
export function mountNew(
  context: MountContext,
  at: Path,
  type: FsType,
  source: string,
  flags: number,
  options: string,
): Status {
  const { mountNs, vfs } = context
  const sb = whileHeld(at, () => makeSuper(type, source, flags & SUPER_FLAGS, options, context))
  if (failed(sb)) return sb
  const mount = new Mount(vfs, sb, type.rootOf?.(sb, context), mountFlags(flags))
  const status = mayAttach(mountNs, mount, at) || roomFor(mount, at, false)
  if (status === 0 && at.mount.sb === sb && at.dentry === at.mount.root) return abandon(mount, -EBUSY)
  if (status < 0) return abandon(mount, status)
  attachTree(vfs, mount, at)
  return 0
}

/** MS_BIND: what is at `source` appears at `at` too; with `recursive`, what is mounted below it as well. */
export function bind(ns: MountNamespace, at: Path, source: Path, recursive: boolean): Status {
  const { mount, dentry } = source
  if (mount.unbindable || ns.wouldHoldItself(dentry)) return -EINVAL
  // What holds a namespace is mounted nowhere, and may be bound all the same: ip-netns(8).
  const holdsNamespace = mount.sb.fsType === 'nsfs'
  if ((mount.namespace !== ns && !holdsNamespace) || at.mount.namespace !== ns) return -EINVAL
  const copy = copyToBind(ns.vfs, mount, dentry, recursive)
  if (failed(copy)) return copy
  const status = mayAttach(ns, copy, at) || roomFor(copy, at, false)
  if (status < 0) return abandon(copy, status)
  attachTree(ns.vfs, copy, at)
  return 0
}

/** A detached copy of what is at `dentry`. What locked mounts cover is not to be seen in it. */
export function copyToBind(vfs: Vfs, mount: Mount, dentry: Dentry, recursive: boolean): OrErrno<Mount> {
  if (recursive) {
    const below = [...mount.children].filter(([place]) => isBelow(place, dentry)).map(([, child]) => child)
    if (below.flatMap(child => mountTree(child)).some(each => each.locked && each.unbindable)) return -EPERM
  } else if (coversLocked(mount, dentry)) return -EINVAL
  const copy = recursive ? copyTree(vfs, mount, dentry, new Map(), true) : copyMount(vfs, mount, dentry)
  if (!failed(copy)) copy.locked = false
  return copy
}

/** has_locked_children: whether a locked mount covers something below `dentry`. */
function coversLocked(mount: Mount, dentry: Dentry): boolean {
  return [...mount.children].some(([place, child]) => child.locked && isBelow(place, dentry))
}

function abandon(mount: Mount, status: Status): Status {
  mount.unmount()
  return status
}

function mayAttach(ns: MountNamespace, mount: Mount, at: Path): Status {
  if (at.mount.namespace !== ns) return -EINVAL
  const target = at.dentry.inode!
  if (at.dentry.unhashed || (target.isDir && target.isDead)) return -ENOENT
  return target.isDir === mount.root.inode!.isDir ? 0 : -ENOTDIR
}

/** MS_REMOUNT | MS_BIND: the flags of this mount alone. */
export function remountBind(ns: MountNamespace, at: Path, flags: number): Status {
  const { mount } = at
  if (at.dentry !== mount.root || mount.namespace !== ns) return -EINVAL
  const wanted = keepAtime(mount, flags)
  if (!mayHaveFlags(mount, wanted)) return -EPERM
  if ((wanted & ~mount.flags & MS_RDONLY) !== 0 && mount.writers > 0) return -EBUSY
  mount.flags = wanted
  ns.changes.changed()
  return 0
}

/** MS_REMOUNT: the file system's own flags and options, and the mount's. */
export function remount(
  ns: MountNamespace,
  cred: Credentials,
  at: Path,
  flags: number,
  options: string,
): Status {
  const { mount } = at
  const { sb } = mount
  if (at.dentry !== mount.root || mount.namespace !== ns) return -EINVAL
  if (!mayHaveFlags(mount, keepAtime(mount, flags))) return -EPERM
  if (!mayReconfigure(cred, sb)) return -EPERM
  if ((flags & ~sb.flags & MS_RDONLY) !== 0 && writersOf(ns, sb) > 0) return -EBUSY
  const status = sb.remount(flags & SUPER_FLAGS, options)
  if (status < 0) return status
  sb.flags = (sb.flags & ~SUPER_FLAGS) | (flags & SUPER_FLAGS)
  mount.flags = keepAtime(mount, flags)
  ns.changes.changed()
  return 0
}

/** A file system is changed for all who have it mounted: by the owner's namespace alone. */
export function mayReconfigure(cred: Credentials, sb: SuperBlock): boolean {
  return cred.capable(CAP_SYS_ADMIN, sb.userNs ?? firstUserNs(cred.userNs))
}

/** A remount that says nothing about access times leaves them. */
function keepAtime(mount: Mount, flags: number): number {
  if ((flags & ATIME_FLAGS) !== 0) return mountFlags(flags)
  return (flags & MOUNT_FLAGS & ~ATIME_FLAGS) | (mount.flags & ATIME_FLAGS)
}

function writersOf(ns: MountNamespace, sb: SuperBlock): number {
  let writers = 0
  for (const mount of ns.vfs.mounts) if (mount.sb === sb) writers += mount.writers
  return writers
}

/** MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE. */
export function changePropagation(ns: MountNamespace, at: Path, type: number, recursive: boolean): Status {
  if (at.dentry !== at.mount.root || at.mount.namespace !== ns) return -EINVAL
  for (const mount of recursive ? mountTree(at.mount) : [at.mount]) setPropagation(mount, type)
  ns.changes.changed()
  return 0
}

export function setPropagation(mount: Mount, type: number): void {
  if (type === MS_SHARED) makeShared(mount)
  else if (type === MS_SLAVE) makeSlave(mount)
  else {
    makePrivate(mount)
    mount.unbindable = type === MS_UNBINDABLE
  }
}

/** MS_MOVE: the mount at `source` goes to `at`; with `fs`, the caller's, below what stands there (MOVE_MOUNT_BENEATH). */
export function moveMount(ns: MountNamespace, onto: Path, source: Path, beneath?: FsContext): Status {
  const { mount } = source
  let at = onto
  if (source.dentry !== mount.root || mount.parent === undefined) return -EINVAL
  if (mount.namespace !== ns || at.mount.namespace !== ns || mount.locked) return -EINVAL
  if (mount.root.inode!.isDir !== at.dentry.inode!.isDir) return -EINVAL
  if (mount.parent.peerGroup !== 0) return -EINVAL
  if (beneath !== undefined) {
    if (!mayGoBeneath(mount, onto, beneath) || wouldOvermount(onto.mount.mountpoint!, mount)) return -EINVAL
    at = onto.mount.mountpoint!
  }
  const tree = mountTree(mount)
  if (at.mount.peerGroup !== 0 && tree.some(each => each.unbindable)) return -EINVAL
  if (tree.some(each => ns.wouldHoldItself(each.root)) || tree.includes(at.mount)) return -ELOOP
  if (at.dentry.unhashed) return -ENOENT
  const room = roomFor(mount, at, true)
  if (room < 0) return room
  mount.detach()
  attachTree(ns.vfs, mount, at)
  return 0
}

/** can_move_mount_beneath: `onto` is the root of a mount that `mount` can be put under. */
function mayGoBeneath(mount: Mount, onto: Path, fs: FsContext): boolean {
  const above = onto.mount
  if (above.mountpoint === undefined || onto.dentry !== above.root || above.locked) return false
  if (mount.children.has(mount.root) || above === fs.root.mount) return false
  for (let each: Mount | undefined = mount; each !== undefined; each = each.parent)
    if (each === above) return false
  return !wouldOvermount(above.mountpoint, above)
}

/** move_mount(2) of a mount that was attached nowhere; with `beneath` as for `moveMount`. */
export function attachDetached(ns: MountNamespace, onto: Path, mount: Mount, beneath?: FsContext): Status {
  let at = onto
  if (at.mount.namespace !== ns || mount.root.inode!.isDir !== at.dentry.inode!.isDir) return -EINVAL
  if (beneath !== undefined) {
    if (!mayGoBeneath(mount, onto, beneath)) return -EINVAL
    at = onto.mount.mountpoint!
  }
  const target = at.dentry.inode!
  if (at.dentry.unhashed || (target.isDir && target.isDead)) return -ENOENT
  if (at.mount.peerGroup !== 0 && mountTree(mount).some(each => each.unbindable)) return -EINVAL
  const room = roomFor(mount, at, false)
  if (room < 0) return room
  attachTree(ns.vfs, mount, at)
  return 0
}

/** MOVE_MOUNT_SET_GROUP: the mount at `to` is shared, and receives, as the one at `from` does. */
export function setGroup(cred: Credentials, from: Path, to: Path): Status {
  const [mount, target] = [from.mount, to.mount]
  if (mount.unmounted || target.unmounted) return -EINVAL
  // Those that are attached nowhere are the caller's.
  const mayChange = ({ namespace }: Mount): boolean =>
    namespace === undefined || cred.capable(CAP_SYS_ADMIN, namespace.userNs)
  if (!mayChange(mount) || !mayChange(target)) return -EPERM
  if (from.dentry !== mount.root || to.dentry !== target.root || mount.sb !== target.sb) return -EINVAL
  if (!isBelow(target.root, mount.root) || coversLocked(mount, target.root)) return -EINVAL
  if (target.peerGroup !== 0 || target.masterGroup !== 0) return -EINVAL
  if (mount.peerGroup === 0 && mount.masterGroup === 0) return -EINVAL
  target.masterGroup = mount.masterGroup
  target.peerGroup = mount.peerGroup
  return 0
}

/** can_idmap_mount: whether owners may come to look otherwise, by the maps of `userNs`. */
export function mayIdmap(cred: Credentials, mount: Mount, userNs: UserNamespace): Status {
  if (mount.idmap !== undefined) return -EPERM
  const { sb } = mount
  const owner = sb.userNs ?? firstUserNs(cred.userNs)
  if (userNs === owner || !sb.idmappable) return -EINVAL
  if (!cred.capable(CAP_SYS_ADMIN, owner)) return -EPERM
  // Nobody may have seen it otherwise.
  return mount.namespace === undefined && !mount.unmounted ? 0 : -EINVAL
}

/** umount2(2). `flags` are MNT_*; `fs` of the caller, whose root is never unmounted but made read-only. */
export function umount(
  ns: MountNamespace,
  fs: FsContext,
  cred: Credentials,
  at: Path,
  flags: number,
): Status {
  const { mount } = at
  if (at.dentry !== mount.root || mount.namespace !== ns || mount.locked) return -EINVAL
  if ((flags & MNT_FORCE) !== 0 && !mayReconfigure(cred, mount.sb)) return -EPERM
  if ((flags & MNT_EXPIRE) !== 0) {
    if (mount === fs.root.mount || (flags & (MNT_FORCE | MNT_DETACH)) !== 0) return -EINVAL
    if (mount.busy) return -EBUSY
    if (!mount.expiring) {
      mount.expiring = true
      return -EAGAIN
    }
  }
  if (mount === fs.root.mount && (flags & MNT_DETACH) === 0) {
    if (!mayReconfigure(cred, mount.sb)) return -EPERM
    return mount.readOnly ? 0 : remount(ns, cred, at, mount.flags | mount.sb.flags | MS_RDONLY, '')
  }
  if (mount.parent === undefined) return -EINVAL
  const busy = (flags & MNT_DETACH) !== 0 ? 0 : propagatedBusy(mount)
  if (busy < 0) return busy
  unmountPropagated(mount)
  return 0
}

/**
 * pivot_root(2): `newRoot` becomes the root of the namespace, and the old root is mounted at `putOld`. Moving the
 * processes whose root it was is the caller's.
 */
export function pivotRoot(ns: MountNamespace, root: Path, newRoot: Path, putOld: Path): Status {
  const rootMount = root.mount
  const newMount = newRoot.mount
  const shared = (mount: Mount | undefined): boolean => mount !== undefined && mount.peerGroup !== 0
  if (shared(putOld.mount) || shared(newMount.parent) || shared(rootMount.parent)) return -EINVAL
  if (rootMount.namespace !== ns || newMount.namespace !== ns || newMount.locked) return -EINVAL
  if (newRoot.dentry.unhashed) return -ENOENT
  if (newMount === rootMount || putOld.mount === rootMount) return -EBUSY
  if (root.dentry !== rootMount.root || newRoot.dentry !== newMount.root) return -EINVAL
  if (newMount.mountpoint === undefined) return -EINVAL
  if (!isReachable(putOld, newRoot) || !isReachable(newRoot, root)) return -EINVAL
  newMount.detach()
  newMount.locked = rootMount.locked
  rootMount.locked = false
  const place = rootMount.mountpoint
  if (place !== undefined) {
    rootMount.detach()
    newMount.attach(ns, place)
  } else ns.setRoot(newMount)
  rootMount.attach(ns, putOld)
  return 0
}
