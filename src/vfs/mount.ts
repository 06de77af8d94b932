/**
 * Mounts and mount namespaces: mount_namespaces(7).
 *
 * A Mount shows a super block, from the dentry `root` on, at a mountpoint: a dentry as seen through another mount. It is
 * made by mount(2), by a bind, or by the copy of a namespace; it stands in its namespace's list and in its parent's
 * `children`; it leaves both when unmounted and lives on unnoticed while `refs` (open files, working directories) hold
 * it. Mounting over a mount covers its root, so a (mount, dentry) pair never has two.
 */
import {
  IN_UNMOUNT,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_NOSYMFOLLOW,
  MS_RDONLY,
  MS_RELATIME,
} from '../abi/constants.ts'
import { EINVAL } from '../abi/errno.ts'
import { Changes } from '../base/changes.ts'
import type { UserNamespace } from '../base/credentials.ts'
import type { OrErrno } from '../base/result.ts'
import { type Dentry, dentryTree, dropDentry, holdDentry, isBelow, rootDentry } from './dentry.ts'
import type { MountIdmap } from './idmap.ts'
import type { InodeWatches } from './notify.ts'
import type { FsContext, Path } from './path.ts'
import type { PeerGroups } from './peer-groups.ts'
import type { SuperBlock } from './super-block.ts'
import type { Vfs } from './vfs.ts'

/** The flags that belong to a mount and not to its super block. */
export const MOUNT_FLAGS =
  MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_NOSYMFOLLOW

const ATIME_LOCK = MS_NOATIME | MS_NODIRATIME | MS_RELATIME

/** /proc/sys/fs/mount-max: as many mounts may be in a namespace. */
export const MOUNT_MAX = 100_000

/** Where unique ids begin. */
export const UNIQUE_ID_OFFSET = 2 ** 32

export class Mount {
  readonly id: number
  readonly sb: SuperBlock
  readonly root: Dentry
  /** MS_* of MOUNT_FLAGS. */
  flags: number
  /** Those that stay as they are, in a namespace that is less privileged than the one they were chosen in (MNT_LOCK_*). */
  lockedFlags = 0
  /** There it also stays where it is, so that nobody sees what it covers (MNT_LOCKED). */
  locked = false
  /** What it is mounted on; undefined for a namespace's root, detached mounts and those inside the kernel. */
  mountpoint: Path | undefined = undefined
  namespace: MountNamespace | undefined = undefined
  readonly children = new Map<Dentry, Mount>()
  readonly groups: PeerGroups
  #peerGroup = 0
  #masterGroup = 0
  /** How the owners of files look through it (MOUNT_ATTR_IDMAP); undefined: as they are. */
  idmap: MountIdmap | undefined = undefined
  /** Whether it can't be bound. */
  unbindable = false
  /** Open files, working directories and roots: umount says EBUSY. */
  refs = 0
  /** Marks on what is opened through it (fanotify). */
  watches: InodeWatches | undefined = undefined
  /** For good: who still holds it can't attach or change it. */
  unmounted = false
  /** MNT_EXPIRE was asked for once. */
  expiring = false
  /** Open files that may write: remounting it read-only says EBUSY. */
  writers = 0

  constructor(vfs: Vfs, sb: SuperBlock, root: Dentry = rootDentry(sb), flags = MS_RELATIME) {
    this.id = vfs.newMountId()
    this.groups = vfs.peerGroups
    this.sb = sb
    this.root = root
    this.flags = flags
    sb.mounts++
    holdDentry(root)
    root.inode?.mountRoot(true)
  }

  /** Propagation: the peer group it is shared in, and that which it is a slave of; 0: none. */
  get peerGroup(): number {
    return this.#peerGroup
  }
  set peerGroup(group: number) {
    const old = this.#peerGroup
    this.#peerGroup = group
    if (old !== group) this.groups.changePeer(this, old, group)
  }
  get masterGroup(): number {
    return this.#masterGroup
  }
  set masterGroup(group: number) {
    const old = this.#masterGroup
    this.#masterGroup = group
    if (old !== group) this.groups.changeMaster(this, old, group)
  }

  /** STATX_MNT_ID_UNIQUE: never that of another mount, and above all that `id` may be. */
  get uniqueId(): number {
    return UNIQUE_ID_OFFSET + this.id
  }
  get parent(): Mount | undefined {
    return this.mountpoint?.mount
  }
  get readOnly(): boolean {
    return ((this.flags | this.sb.flags) & MS_RDONLY) !== 0
  }
  get busy(): boolean {
    return this.refs > 0 || this.children.size > 0
  }

  /** A holder let go. */
  drop(): void {
    this.refs--
    this.#freeIfUnused()
  }

  /** Puts it there. The caller has checked that it may. */
  attach(namespace: MountNamespace | undefined, at: Path): void {
    this.#hook(at)
    setNamespace(this, namespace)
  }

  /** Takes it, with what is mounted below it, from its place. It stays usable for those who hold it. */
  detach(): void {
    if (this.mountpoint === undefined) return
    this.#unhook()
    setNamespace(this, undefined)
  }

  /** Hangs it elsewhere in its namespace: something came, or went, between it and what it stands on. */
  rehang(at: Path): void {
    this.#unhook()
    this.#hook(at)
  }

  #hook(at: Path): void {
    this.mountpoint = { mount: at.mount, dentry: at.dentry }
    holdDentry(at.dentry)
    at.dentry.mounted++
    at.mount.children.set(at.dentry, this)
  }
  #unhook(): void {
    const at = this.mountpoint!
    at.mount.children.delete(at.dentry)
    at.dentry.mounted--
    this.mountpoint = undefined
    dropDentry(at.dentry)
  }

  /**
   * Unmounts for good (umount): with what is below it, leaves first. Who still holds one of them is not to see what a locked
   * mount covered: that stays on its parent until the parent goes.
   */
  unmount(): void {
    const tree = mountTree(this)
    for (const mount of tree) mount.unmounted = true
    setNamespace(this, undefined)
    for (const mount of tree.reverse()) {
      mount.peerGroup = 0
      mount.masterGroup = 0
      if (mount === this || !mount.locked) mount.detach()
      mount.#freeIfUnused()
    }
  }

  #freed = false
  #freeIfUnused(): void {
    const unused: Mount[] = [this]
    for (let mount = unused.pop(); mount !== undefined; mount = unused.pop()) {
      if (!mount.#isUnused) continue
      for (const child of [...mount.children.values()]) {
        child.detach()
        unused.push(child)
      }
      mount.#free()
    }
  }
  get #isUnused(): boolean {
    if (this.refs > 0 || this.#freed || this.mountpoint !== undefined || this.namespace !== undefined)
      return false
    return this.unmounted || this.children.size === 0
  }
  #free(): void {
    this.#freed = true
    this.watches?.inodeGone()
    this.root.inode?.mountRoot(false)
    dropDentry(this.root)
    if (--this.sb.mounts > 0) return
    endWatches(this.root.sb.rootDentry!)
    this.sb.watches?.inodeGone()
    this.sb.dentries.shrinkAll()
    this.sb.release()
  }
}

/** The file system goes, and with it the watches on its inodes. */
function endWatches(root: Dentry): void {
  for (const dentry of dentryTree(root).reverse()) {
    const watches = dentry.inode?.watches
    watches?.event(IN_UNMOUNT, 0, undefined, false)
    watches?.inodeGone()
  }
}

/** The mount that covers this place, if any. */
export function mountOn(mount: Mount, dentry: Dentry): Mount | undefined {
  return dentry.mounted > 0 ? mount.children.get(dentry) : undefined
}

/** The mount and those below it, parents first. They may be as deep as a guest likes: no recursion. */
export function mountTree(mount: Mount): Mount[] {
  const tree: Mount[] = []
  const open = [mount]
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    tree.push(at)
    for (const child of [...at.children.values()].reverse()) open.push(child)
  }
  return tree
}

function setNamespace(mount: Mount, namespace: MountNamespace | undefined): void {
  for (const each of mountTree(mount)) {
    if (each.namespace === namespace) continue
    each.namespace?.remove(each)
    each.namespace = namespace
    namespace?.add(each)
  }
}

export class MountNamespace {
  readonly vfs: Vfs
  readonly inum: number
  readonly userNs: UserNamespace
  /** The mount that everything hangs on. */
  root: Mount
  /** In the order of mounting: /proc/mounts. */
  readonly mounts = new Set<Mount>()
  /** Tasks, and descriptors and mounts of /proc/PID/ns/mnt, that hold it; `put` unmounts all when the last one goes. */
  users = 1
  /** What poll(2) on /proc/PID/mounts and mountinfo tells of. */
  readonly changes = new Changes()

  constructor(vfs: Vfs, inum: number, userNs: UserNamespace, root: Mount) {
    this.vfs = vfs
    this.inum = inum
    this.userNs = userNs
    this.root = root
    setNamespace(root, this)
  }

  add(mount: Mount): void {
    this.mounts.add(mount)
    this.vfs.mounts.add(mount)
    this.changes.changed()
  }
  remove(mount: Mount): void {
    this.mounts.delete(mount)
    this.vfs.mounts.delete(mount)
    this.changes.changed()
  }

  /** pivot_root: the namespace hangs on another mount; the old one is attached elsewhere by the caller. */
  setRoot(mount: Mount): void {
    setNamespace(mount, this)
    this.root = mount
  }

  get rootPath(): Path {
    return topOf(this.root, this.root.root)
  }

  /**
   * CLONE_NEWNS: a copy of all mounts. With `fs`, its root and working directory move to the same places in the copy.
   * In a less privileged user namespace shared mounts become slaves, and all are locked.
   */
  clone(inum: number, userNs: UserNamespace, fs?: FsContext): MountNamespace {
    const copies = new Map<Mount, Mount>()
    const root = copyTree(this.vfs, this.root, this.root.root, copies, false)
    if (typeof root === 'number') throw new Error('a whole namespace can always be copied')
    if (userNs !== this.userNs) {
      for (const copy of copies.values()) makeSlave(copy)
      lockTree(root)
    }
    const clone = new MountNamespace(this.vfs, inum, userNs, root)
    if (fs !== undefined) {
      const newRoot = copies.get(fs.root.mount)
      if (newRoot !== undefined) fs.root = { mount: newRoot, dentry: fs.root.dentry }
      const newCwd = copies.get(fs.cwd.mount)
      if (newCwd !== undefined) fs.cwd = { mount: newCwd, dentry: fs.cwd.dentry }
    }
    return clone
  }

  get(): MountNamespace {
    this.users++
    return this
  }
  put(): void {
    if (--this.users > 0) return
    // What is mounted there may have held further namespaces, and so on: they end after it, not within.
    const { ending } = this.vfs
    ending.push(this)
    if (ending.length > 1) return
    for (const ns of ending) ns.#unmountAll()
    ending.length = 0
  }
  #unmountAll(): void {
    const root = this.root
    for (const child of [...root.children.values()]) child.unmount()
    setNamespace(root, undefined)
    root.unmount()
  }

  /**
   * mnt_ns_loop: whether `root` is the file of this namespace or of one made before it. Namespaces hold only younger ones by
   * mounts of their files: none can hold itself.
   */
  wouldHoldItself(root: Dentry): boolean {
    const held = root.inode?.mountNs
    return held !== undefined && this.inum >= held.inum
  }
}

/** Where a walk that comes to this place really is: on top of all mounts that cover it. */
export function topOf(mount: Mount, dentry: Dentry): Path {
  for (;;) {
    const cover = mountOn(mount, dentry)
    if (cover === undefined) return { mount, dentry }
    mount = cover
    dentry = cover.root
  }
}

/**
 * copy_tree: a detached copy of `mount`, as seen from `root` on, with all that is mounted below it. `copies` gets the
 * pairs. `bind`: unbindable mounts are left out (the first one is refused: -EINVAL), as a recursive bind does; otherwise
 * those of mount namespaces are.
 */
export function copyTree(
  vfs: Vfs,
  mount: Mount,
  root: Dentry,
  copies: Map<Mount, Mount>,
  bind: boolean,
): OrErrno<Mount> {
  const leftOut = (each: Mount, from: Dentry): boolean =>
    bind ? each.unbindable : from.inode?.mountNs !== undefined
  if (leftOut(mount, root)) return -EINVAL
  const top = copyMount(vfs, mount, root)
  copies.set(mount, top)
  for (const each of mountTree(mount)) {
    const at = each.mountpoint
    if (each === mount || at === undefined || leftOut(each, each.root)) continue
    // What stands on something that is left out is left out too.
    const parent = copies.get(at.mount)
    if (parent === undefined || (at.mount === mount && !isBelow(at.dentry, root))) continue
    const copy = copyMount(vfs, each, each.root)
    copies.set(each, copy)
    copy.attach(undefined, { mount: parent, dentry: at.dentry })
  }
  return top
}

/** clone_mnt: shared mounts stay in their peer group, slaves in their master's. */
export function copyMount(vfs: Vfs, mount: Mount, root: Dentry): Mount {
  const copy = new Mount(vfs, mount.sb, root, mount.flags)
  copy.peerGroup = mount.peerGroup
  copy.masterGroup = mount.masterGroup
  copy.unbindable = mount.unbindable
  copy.idmap = mount.idmap
  copy.lockedFlags = mount.lockedFlags
  copy.locked = mount.locked
  return copy
}

/** lock_mnt_tree: the tree has come into a less privileged namespace. What it hangs on itself is not locked. */
export function lockTree(root: Mount): void {
  for (const mount of mountTree(root)) {
    mount.lockedFlags |= (mount.flags & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)) | ATIME_LOCK
    mount.locked = mount !== root
  }
}

/** can_change_locked_flags */
export function mayHaveFlags(mount: Mount, flags: number): boolean {
  return ((mount.flags ^ flags) & mount.lockedFlags) === 0
}

/** A slave of the group that it was in; the last one of a group stays what it is without the group. */
export function makeSlave(mount: Mount): void {
  const group = mount.peerGroup
  if (group === 0) return
  mount.peerGroup = 0
  if (mount.groups.peersOf(group).size > 0) mount.masterGroup = group
}

export function makePrivate(mount: Mount): void {
  mount.peerGroup = 0
  mount.masterGroup = 0
  mount.unbindable = false
}

export function makeShared(mount: Mount): void {
  if (mount.peerGroup === 0) mount.peerGroup = mount.groups.newGroup()
  mount.unbindable = false
}
