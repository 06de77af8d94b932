/** What all tmpfs inodes share: attributes, times, extended attributes; and the kinds that hold no data. */
import { FS_APPEND_FL, FS_IMMUTABLE_FL, FS_NOATIME_FL, FS_NODUMP_FL } from '../../abi/constants.ts'
import { ENODATA, EOPNOTSUPP } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { isAclName } from '../../vfs/acl.ts'
import { type AttrChange, Inode } from '../../vfs/inode.ts'
import { checkXattrName, SimpleXattrs } from '../../vfs/simple-xattrs.ts'
import type { TmpfsSuper } from './super.ts'

const SETTABLE_FLAGS = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL
/** Those that what is made in a directory has too. */
export const INHERITED_FLAGS = FS_NODUMP_FL | FS_NOATIME_FL
const XATTR_PREFIXES = ['user.', 'trusted.', 'security.']

export abstract class TmpfsInode extends Inode {
  declare readonly sb: TmpfsSuper
  #xattrs: SimpleXattrs | undefined = undefined
  #evicted = false

  /** The caller has charged the inode to the quota. */
  constructor(sb: TmpfsSuper, mode: number, uid: number, gid: number) {
    super(sb, sb.nextIno++, mode, uid, gid)
    const now = sb.now()
    this.atime.set(now)
    this.mtime.set(now)
    this.ctime.set(now)
    this.btime.set(now)
  }

  override setattr(change: AttrChange): Status {
    if (change.mode !== undefined) this.mode = this.type | (change.mode & 0o7777)
    if (change.uid !== undefined) this.uid = change.uid
    if (change.gid !== undefined) this.gid = change.gid
    if (change.atime !== undefined) this.atime.set(change.atime)
    if (change.mtime !== undefined) this.mtime.set(change.mtime)
    this.ctime.set(change.ctime ?? this.sb.now())
    return 0
  }

  override get settableFlags(): number {
    return SETTABLE_FLAGS
  }
  override setFlags(flags: number): Status {
    this.inodeFlags = flags
    this.touchChanged()
    return 0
  }

  /** The content changed. */
  touchModified(): void {
    const now = this.sb.now()
    this.mtime.set(now)
    this.ctime.set(now)
  }
  touchChanged(): void {
    this.ctime.set(this.sb.now())
  }

  override get aclHolder(): Inode | undefined {
    return this.#xattrs === undefined ? undefined : this
  }

  override getxattr(name: string): Uint8Array | number {
    const supported = this.#supported(name)
    return supported < 0 ? supported : (this.#xattrs?.get(name) ?? -ENODATA)
  }
  override setxattr(name: string, value: Uint8Array, flags: number): Status {
    const supported = this.#supported(name)
    if (supported < 0) return supported
    const xattrs = this.#xattrs ?? new SimpleXattrs()
    const status = xattrs.set(name, value, flags)
    if (status < 0) return status
    this.#xattrs = xattrs
    this.touchChanged()
    return 0
  }
  override listxattr(): string[] {
    return this.#xattrs?.list() ?? []
  }
  override removexattr(name: string): Status {
    const supported = this.#supported(name)
    if (supported < 0) return supported
    const status = this.#xattrs?.remove(name) ?? -ENODATA
    if (status === 0) this.touchChanged()
    return status
  }
  #supported(name: string): Status {
    if (!this.sb.xattrs) return -EOPNOTSUPP
    return isAclName(name) ? 0 : checkXattrName(name, XATTR_PREFIXES)
  }

  /** Nothing holds the inode; without a name it ends here. */
  override release(): void {
    if (this.nlink === 0) this.evict()
  }

  /** The inode ends: gives back what it took. */
  evict(): void {
    if (this.#evicted) return
    this.#evicted = true
    this.sb.quota.releaseInode()
    this.discardData()
  }
  /** Gives back data. */
  protected discardData(): void {}
}

/** Device nodes, FIFOs and sockets: a name and attributes. What is behind them is opened by vfs/. */
export class TmpfsSpecial extends TmpfsInode {
  constructor(sb: TmpfsSuper, mode: number, uid: number, gid: number, rdev: number) {
    super(sb, mode, uid, gid)
    this.rdev = rdev
  }
  override get blocks(): number {
    return 0
  }
}

export class TmpfsSymlink extends TmpfsInode {
  readonly #target: string

  constructor(sb: TmpfsSuper, mode: number, uid: number, gid: number, target: string) {
    super(sb, mode, uid, gid)
    this.#target = target
    this.size = target.length
  }
  override readlink(): OrErrno<string> {
    return this.#target
  }
  override get blocks(): number {
    return 0
  }
}
