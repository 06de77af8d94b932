/** What all inodes of hostfs share: attributes from the host's statx, the place in the tree, extended attributes. */
import {
  AT_EMPTY_PATH,
  AT_NO_AUTOMOUNT,
  AT_SYMLINK_NOFOLLOW,
  O_RDONLY,
  S_IFMT,
  UTIME_OMIT,
  XATTR_REPLACE,
} from '../../abi/constants.ts'
import { EACCES, EBADF, ENODATA, EOPNOTSUPP, EPERM, ESTALE } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { HostStat } from '../../platform/host.ts'
import { ACL_ACCESS } from '../../vfs/acl.ts'
import { type AttrChange, Inode, KEPT_TARGET } from '../../vfs/inode.ts'
import { makedev } from '../../vfs/vfs.ts'
import { DEVICE_XATTR, type DeviceNode, encodeDevice, mayStandIn, OWN_XATTRS } from './device-node.ts'
import type { HostDir } from './directory.ts'
import type { FollowedDir } from './followed.ts'
import { OPEN_SAFELY } from './safety.ts'
import type { HostSuper } from './super.ts'

export const NO_FOLLOW = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT
const NEVER = Number.NEGATIVE_INFINITY

export abstract class HostInode extends Inode {
  declare readonly sb: HostSuper
  readonly #dev: number
  #blocks = 0
  /** One place where the host has it; the root of the mount has none, nor has what was removed. */
  parent: HostDir | undefined = undefined
  name = ''
  /** When the attributes were read: CLOCK_MONOTONIC, and the host's count of calls. */
  checkedAt = NEVER
  #checkedTurn = -1
  /** HostChanges.sequence when its name and attributes were read; -1: an event made them doubtful. */
  seen = -1
  /** Where it is watched for watchers inside. */
  #pinnedIn: FollowedDir | undefined = undefined
  /** Open files and children, for which it must stay what it is. */
  #pins = 0
  #inUse = true
  /** The device node that it is to the guest: device-node.ts. */
  protected device: DeviceNode | undefined

  constructor(sb: HostSuper, stat: HostStat, dev: number, device?: DeviceNode) {
    super(sb, stat.ino, stat.mode, stat.uid, stat.gid)
    this.#dev = dev
    this.device = device
    this.update(stat)
  }

  /** Whether it stands for a device node. */
  get standsIn(): boolean {
    return this.device !== undefined
  }
  override get dev(): number {
    return this.#dev
  }
  override get blocks(): number {
    return this.#blocks
  }

  /** Whether `stat` is of this very file: numbers are used again, birth times are not. */
  is(stat: HostStat): boolean {
    return (
      this.ino === stat.ino &&
      this.#dev === makedev(stat.devMajor, stat.devMinor) &&
      (this.device === undefined ? ((this.mode ^ stat.mode) & S_IFMT) === 0 : mayStandIn(stat)) &&
      ((this.btime.sec === stat.btimeSec && this.btime.nsec === stat.btimeNsec) ||
        this.sb.isOverlay(this.#dev))
    )
  }

  update(stat: HostStat): void {
    // Whatever changes a list changes this.
    if (stat.ctimeSec !== this.ctime.sec || stat.ctimeNsec !== this.ctime.nsec) this.acls = undefined
    this.mode = this.device?.mode ?? stat.mode
    this.uid = stat.uid
    this.gid = stat.gid
    this.nlink = stat.nlink
    this.size = stat.size
    this.#blocks = stat.blocks
    this.blksize = stat.blksize
    this.rdev = this.device?.rdev ?? makedev(stat.rdevMajor, stat.rdevMinor)
    this.atime.sec = stat.atimeSec
    this.atime.nsec = stat.atimeNsec
    this.mtime.sec = stat.mtimeSec
    this.mtime.nsec = stat.mtimeNsec
    this.ctime.sec = stat.ctimeSec
    this.ctime.nsec = stat.ctimeNsec
    this.btime.sec = stat.btimeSec
    this.btime.nsec = stat.btimeNsec
    this.checkedAt = this.sb.host.recent()
    const { changes } = this.sb
    if (changes === undefined) return
    this.#checkedTurn = this.sb.host.turn
    this.seen = changes.sequence
  }

  override getattr(): Status {
    return this.isFresh ? 0 : this.refresh()
  }

  /** The attributes may be believed. */
  get isFresh(): boolean {
    const { host, attrTrust, changes } = this.sb
    if (changes !== undefined) {
      if (this.#checkedTurn === host.turn && this.checkedAt !== NEVER) return true
      changes.sync()
    }
    if (host.recent() - this.checkedAt >= attrTrust) return false
    return changes === undefined || this.attributesHold()
  }
  /** Whether the host would have told of a change of the attributes. */
  protected attributesHold(): boolean {
    // Not of one by another name.
    return this.nlink === 1 && this.nameHolds
  }
  /** Whether the host would have told if its name led elsewhere now. */
  get nameHolds(): boolean {
    return this.parent?.followed?.holds(this, this.name) === true
  }
  /** Its name led here so short a time ago that what an open of that name gives needs no second look. */
  get justSeen(): boolean {
    const { host, openTrust } = this.sb
    return host.recent() - this.checkedAt < openTrust
  }

  /** Whether its name has led here all the time until now, so that what was opened by that name just now is this. */
  heldSince(): boolean {
    const followed = this.parent?.followed
    if (followed?.watch === undefined || this.seen < 0) return false
    this.sb.changes!.drain()
    return followed.holds(this, this.name)
  }

  /** Reads the attributes anew. */
  refresh(): Status {
    const { host, stat } = this.sb
    const open = this.openFd
    if (open !== undefined) {
      // What the name leads to now is another question.
      const { seen } = this
      const status = host.statx(open, '', AT_EMPTY_PATH, stat)
      if (status === 0) this.update(stat)
      this.seen = seen
      return status
    }
    const at = this.placeFd()
    // Removed, and not open: what was last known is all there is.
    if (at === undefined) return 0
    if (at < 0) return at
    const status = host.statx(at, this.name, this.placeFlags, stat)
    if (status < 0) return status
    if (!this.is(stat)) return -ESTALE
    this.update(stat)
    return 0
  }

  /** The attributes are no longer what the host would say. */
  touched(): void {
    this.checkedAt = NEVER
  }
  /** Others wrote to it. */
  rewritten(): void {
    this.touched()
  }
  /** Nor, maybe, is it what its name leads to. */
  doubted(): void {
    this.checkedAt = NEVER
    this.seen = -1
  }
  /** The host does not tell of it any more. */
  notHeld(): void {}
  /** Whether a File has it. */
  get isOpen(): boolean {
    return false
  }

  /** After a change of ours: the host tells of it as well, and that is heard before anything is asked. */
  settled(): void {
    const { changes } = this.sb
    if (changes !== undefined && this.parent?.followed?.watch !== undefined)
      changes.settle([this.parent.followed.watch], [this.name])
  }

  /** Somebody inside began to watch it: changes from outside are wanted, too. */
  override watched(on: boolean): void {
    this.#pinnedIn?.unpin()
    this.#pinnedIn = on ? this.watchedBy() : undefined
    this.#pinnedIn?.pin()
  }
  /** Whose events are about it. */
  protected watchedBy(): FollowedDir | undefined {
    return this.parent?.followed
  }

  override setattr(change: AttrChange): Status {
    let status = 0
    if (change.size !== undefined) status = this.setSize(change.size)
    if (status === 0 && (change.uid !== undefined || change.gid !== undefined)) {
      status = this.#setOwner(change.uid ?? -1, change.gid ?? -1)
    }
    if (status === 0 && change.mode !== undefined) {
      status = this.setMode(change.mode & 0o7777)
      // The time of change may be the same still.
      this.acls = undefined
    }
    if (status === 0 && (change.atime !== undefined || change.mtime !== undefined))
      status = this.#setTimes(change)
    if (status < 0) return status
    this.settled()
    return this.refresh()
  }

  protected setSize(_size: number): Status {
    return -EACCES
  }

  protected setMode(mode: number): Status {
    const at = this.#anchorFd()
    return at < 0 ? at : this.sb.host.fchmodat(at, this.name, mode, this.#anchorFlags)
  }

  #setOwner(uid: number, gid: number): Status {
    const at = this.#anchorFd()
    return at < 0 ? at : this.sb.host.fchownat(at, this.name, uid, gid, this.#anchorFlags)
  }

  #setTimes({ atime, mtime }: AttrChange): Status {
    const at = this.#anchorFd()
    if (at < 0) return at
    return this.sb.host.utimensat(
      at,
      this.name,
      atime?.sec ?? 0,
      atime?.nsec ?? UTIME_OMIT,
      mtime?.sec ?? 0,
      mtime?.nsec ?? UTIME_OMIT,
      this.#anchorFlags,
    )
  }

  /** A descriptor of the file itself that some open File has. */
  get openFd(): number | undefined {
    return undefined
  }

  /** The directory descriptor at which `name` is this file; undefined when it has no place. */
  placeFd(): number | undefined {
    if (this.parent !== undefined) return this.parent.dirFd()
    return this === this.sb.root ? this.sb.rootFd : undefined
  }
  get placeFlags(): number {
    return this.parent === undefined ? NO_FOLLOW | AT_EMPTY_PATH : NO_FOLLOW
  }

  /** For calls by (descriptor, name, flags): the open file itself if it has lost its place. */
  #anchorFd(): number {
    return this.placeFd() ?? this.openFd ?? -ESTALE
  }
  get #anchorFlags(): number {
    return this.parent === undefined ? AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH : AT_SYMLINK_NOFOLLOW
  }

  /** A lookup or an operation found it at this place. */
  foundAt(parent: HostDir | undefined, name: string): void {
    this.#inUse = true
    if (this.parent === parent && this.name === name) return
    this.parent?.followed?.remove(this.name, this)
    if (this.parent !== parent) {
      parent?.pin()
      this.parent?.unpin()
      this.parent = parent
    }
    this.name = name
    parent?.follow()?.add(name, this)
    if (this.#pinnedIn !== undefined) this.watched(true)
  }

  /** It is not at this place any more. */
  goneFrom(parent: HostDir, name: string): void {
    if (this.parent !== parent || this.name !== name) return
    parent.followed?.remove(name, this)
    this.parent = undefined
    this.name = ''
    parent.unpin()
  }

  /** One of its names was removed. */
  lostLink(): void {
    if (this.nlink > 0) this.nlink--
  }

  pin(): void {
    this.#pins++
  }
  unpin(): void {
    this.#pins--
    this.#forgetIfUnused()
  }
  override release(): void {
    this.#inUse = false
    this.#forgetIfUnused()
  }

  /** Up the tree as far as it was only for this one. */
  #forgetIfUnused(): void {
    let at: HostInode | undefined = this
    while (at !== undefined && !at.#inUse && at.#pins === 0 && at !== at.sb.root) {
      at.sb.forget(at)
      at.dropDescriptors()
      const parent: HostDir | undefined = at.parent
      parent?.followed?.remove(at.name, at)
      at.parent = undefined
      if (parent !== undefined) parent.#pins--
      at = parent
    }
  }
  protected dropDescriptors(): void {}

  /**
   * A descriptor for calls that need one (extended attributes), and whether to close it after; a negative errno if the
   * host does not open it.
   */
  protected borrowFd(): number {
    return -EOPNOTSUPP
  }
  protected returnFd(_fd: number): void {}

  override get aclSource(): Inode | undefined {
    return this.sb.withoutAcls.has(this.#dev) ? undefined : this
  }

  override getxattr(name: string): Uint8Array | number {
    if (name.startsWith(OWN_XATTRS)) return -ENODATA
    const fd = this.borrowFd()
    if (fd < 0) return fd === -EOPNOTSUPP || fd === -EACCES ? -ENODATA : fd
    const value = this.sb.host.fgetxattr(fd, name)
    this.returnFd(fd)
    if (value === -EOPNOTSUPP && name === ACL_ACCESS) this.sb.withoutAcls.add(this.#dev)
    // A directory that could only be opened with O_PATH.
    return value === -EBADF ? -ENODATA : value
  }
  override setxattr(name: string, value: Uint8Array, flags: number): Status {
    if (name.startsWith(OWN_XATTRS)) return -EPERM
    const fd = this.borrowFd()
    if (fd < 0) return fd
    const status = this.sb.host.fsetxattr(fd, name, value, flags)
    this.returnFd(fd)
    this.acls = undefined
    this.settled()
    this.touched()
    return status
  }
  override listxattr(): string[] | number {
    const fd = this.borrowFd()
    if (fd < 0) return fd === -EOPNOTSUPP || fd === -EACCES ? [] : fd
    const names = this.sb.host.flistxattr(fd)
    this.returnFd(fd)
    if (typeof names === 'number') return names === -EBADF ? [] : names
    return names.filter(name => !name.startsWith(OWN_XATTRS))
  }
  override removexattr(name: string): Status {
    if (name.startsWith(OWN_XATTRS)) return -ENODATA
    const fd = this.borrowFd()
    if (fd < 0) return fd
    const status = this.sb.host.fremovexattr(fd, name)
    this.returnFd(fd)
    this.acls = undefined
    this.settled()
    this.touched()
    return status
  }
}

/** Device nodes, FIFOs and sockets of the host, and what stands for device nodes: never opened there. */
export class HostSpecial extends HostInode {
  protected override setMode(mode: number): Status {
    if (this.device === undefined) return super.setMode(mode)
    const at = this.placeFd() ?? -ESTALE
    const fd = at < 0 ? at : this.sb.openBelow(at, this.name, O_RDONLY | OPEN_SAFELY)
    if (fd < 0) return fd
    const device = { ...this.device, mode: (this.mode & S_IFMT) | mode }
    const status = this.sb.host.fsetxattr(fd, DEVICE_XATTR, encodeDevice(device), XATTR_REPLACE)
    this.sb.host.close(fd)
    if (status === 0) this.device = device
    return status
  }
}

export class HostSymlink extends HostInode {
  /** Good as long as the attributes that were there with it. */
  #target: string | undefined = undefined
  #targetOf = -1

  override readlink(): OrErrno<string> {
    if (this.#target !== undefined && this.#targetOf === this.checkedAt && this.isFresh) return this.#target
    const at = this.placeFd()
    if (at === undefined) return -ESTALE
    if (at < 0) return at
    const target = this.sb.host.readlinkat(at, this.name)
    this.#target = typeof target === 'string' && target.length <= KEPT_TARGET ? target : undefined
    this.#targetOf = this.checkedAt
    return target
  }
}
