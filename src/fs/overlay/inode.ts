/** What all inodes of the overlay share; this class alone serves everything that is not a directory. */
import { ACL_USER, O_ACCMODE, O_RDONLY, O_TRUNC } from '../../abi/constants.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { decodeAcl, encodeAcl, isAclName } from '../../vfs/acl.ts'
import type { File } from '../../vfs/file.ts'
import type { MountIdmap } from '../../vfs/idmap.ts'
import { type AttrChange, Inode } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { copyUp, fetchData } from './copy-up.ts'
import type { OverlayDir } from './directory.ts'
import type { OverlaySuper } from './super.ts'

/** Names of overlayfs itself that a layer may carry; the second ones with `userxattr`, and where the first can't be set. */
export const PRIVATE_XATTRS = ['trusted.overlay.', 'user.overlay.'] as const

export class OverlayInode extends Inode {
  declare readonly sb: OverlaySuper
  upper: Inode | undefined
  /** Of a directory: the topmost of those that it merges. */
  readonly lower: Inode | undefined
  /** What has its bytes, where its own layer has its attributes alone (metacopy). */
  data: Inode | undefined = undefined
  /** Where it is in the merged tree: where a copy goes. Undefined for the root and for what was removed. */
  parent: OverlayDir | undefined
  name: string
  /** Removed while it was in a lower layer only. */
  #whitedOut = false

  constructor(
    sb: OverlaySuper,
    upper: Inode | undefined,
    lower: Inode | undefined,
    parent: OverlayDir | undefined,
    name: string,
  ) {
    const real = upper ?? lower!
    const from = lower ?? real
    const ino = lower === undefined && sb.ownsUpper ? real.ino : sb.inoOf(from.dev, from.ino)
    super(sb, ino, real.mode, real.uid, real.gid, real)
    this.upper = upper
    this.lower = lower
    this.parent = parent
    this.name = name
    hold(upper)
    hold(lower)
    this.copyAttributes()
  }

  /** The inode that holds attributes and data now. */
  get real(): Inode {
    return this.upper ?? this.lower!
  }
  /** How the owners that its own layer keeps are to be understood. */
  protected get ownerMap(): MountIdmap | undefined {
    return this.upper === undefined ? this.sb.lowerIdmap : undefined
  }
  override get blocks(): number {
    return (this.data ?? this.real).blocks
  }

  /** Its bytes are in `data` from now on; undefined: in its own layer. */
  takeData(data: Inode | undefined): void {
    hold(data)
    drop(this.data)
    this.data = data
  }

  /** The link count to show. */
  protected countLinks(): number {
    return this.#whitedOut ? Math.max(0, this.real.nlink - 1) : this.real.nlink
  }

  copyAttributes(): void {
    const { real } = this
    this.mode = real.mode
    const { ownerMap } = this
    this.uid = ownerMap === undefined ? real.uid : ownerMap.uidSeen(real.uid)
    this.gid = ownerMap === undefined ? real.gid : ownerMap.gidSeen(real.gid)
    this.size = real.size
    this.rdev = real.rdev
    this.blksize = real.blksize
    this.nlink = this.countLinks()
    this.atime = real.atime
    this.mtime = real.mtime
    this.ctime = real.ctime
    this.btime = real.btime
    this.inodeFlags = real.inodeFlags
  }

  override getattr(): Status {
    const status = this.real.getattr()
    if (status === 0) this.copyAttributes()
    return status
  }

  override setattr(change: AttrChange): Status {
    // What a truncation cuts off is not copied first.
    let status = change.size === undefined ? this.copyUpAttributes() : this.copyUp(change.size)
    if (status === 0) status = this.upper!.setattr(change)
    if (status === 0) this.copyAttributes()
    return status
  }

  /** After it the inode has an upper one, with up to `length` bytes of data. */
  copyUp(length = Number.POSITIVE_INFINITY): Status {
    if (this.upper === undefined) return copyUp(this, length, false)
    return this.data === undefined ? 0 : fetchData(this, length)
  }
  /** After it the inode has an upper one; maybe without data, if the overlay allows that. */
  protected copyUpAttributes(): Status {
    return this.upper === undefined ? copyUp(this, Number.POSITIVE_INFINITY, this.sb.copiesLater) : 0
  }

  override readlink(): OrErrno<string> {
    return this.real.readlink()
  }

  /** A file open for reading stays with the lower inode when a later open copies it up, as on Linux. */
  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    const truncates = (flags & O_TRUNC) !== 0
    if (truncates || (flags & O_ACCMODE) !== O_RDONLY) {
      const status = this.copyUp(truncates ? 0 : undefined)
      if (status < 0) return status
    }
    return (this.data ?? this.real).open(path, flags, cred)
  }

  override get settableFlags(): number {
    return (this.upper ?? this.sb.root.upper)?.settableFlags ?? 0
  }
  override setFlags(flags: number): Status {
    const status = this.copyUpAttributes() || this.upper!.setFlags(flags)
    if (status === 0) this.copyAttributes()
    return status
  }

  override get aclHolder(): Inode | undefined {
    return this.upper?.aclHolder
  }
  override get aclSource(): Inode | undefined {
    const source = this.real.aclSource
    return source !== undefined && this.ownerMap !== undefined ? this : source
  }

  override getxattr(name: string): Uint8Array | number {
    const value = this.real.getxattr(name)
    const { ownerMap } = this
    if (ownerMap === undefined || typeof value === 'number' || !isAclName(name)) return value
    const acl = decodeAcl(value, (_tag, id) => id)
    if (typeof acl === 'number') return acl
    return encodeAcl(acl, (tag, id) => (tag === ACL_USER ? ownerMap.uidSeen(id) : ownerMap.gidSeen(id)))
  }
  override setxattr(name: string, value: Uint8Array, flags: number): Status {
    const status = this.copyUpAttributes()
    return status < 0 ? status : this.upper!.setxattr(name, value, flags)
  }
  override listxattr(): string[] | number {
    const names = this.real.listxattr()
    return typeof names === 'number' ? names : names.filter(name => !name.startsWith(PRIVATE_XATTRS[0]))
  }
  override removexattr(name: string): Status {
    const status = this.copyUpAttributes()
    return status < 0 ? status : this.upper!.removexattr(name)
  }

  place(parent: OverlayDir | undefined, name: string): void {
    this.parent = parent
    this.name = name
  }

  /** One of its names was removed. */
  unlinked(): void {
    if (this.upper === undefined) {
      this.#whitedOut = true
      this.parent = undefined
    }
    this.nlink = this.countLinks()
  }

  override release(): void {
    if (this.sb.ownsUpper && this.upper !== undefined && this.upper.nlink > 0) return
    this.sb.forget(this)
    drop(this.upper)
    drop(this.data)
    this.dropLower()
  }
  protected dropLower(): void {
    drop(this.lower)
  }
}

/** The overlay keeps an inode of a layer as a dentry would. */
export function hold(inode: Inode | undefined): void {
  if (inode !== undefined) inode.dentries++
}
export function drop(inode: Inode | undefined): void {
  if (inode !== undefined && --inode.dentries === 0) inode.release()
}
