/** What all tmpfs inodes share: attributes, times, extended attributes; and the kinds that hold no data. */
import {
  FS_APPEND_FL,
  FS_IMMUTABLE_FL,
  FS_NOATIME_FL,
  FS_NODUMP_FL,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../abi/constants.ts'
import { EEXIST, EINVAL, ENODATA, ENOSPC, EOPNOTSUPP } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { isAclName } from '../../vfs/acl.ts'
import { type AttrChange, Inode } from '../../vfs/inode.ts'
import type { TmpfsSuper } from './super.ts'

/** Bytes of extended attributes, names included, that one inode may have. */
const XATTR_LIMIT = 128 * 1024
const SETTABLE_FLAGS = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL
/** Those that what is made in a directory has too. */
export const INHERITED_FLAGS = FS_NODUMP_FL | FS_NOATIME_FL
const XATTR_PREFIXES = ['user.', 'trusted.', 'security.']

export abstract class TmpfsInode extends Inode {
  declare readonly sb: TmpfsSuper
  #xattrs: Map<string, Uint8Array> | undefined = undefined
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
    const supported = this.sb.xattrs ? checkXattrName(name) : -EOPNOTSUPP
    if (supported < 0) return supported
    return this.#xattrs?.get(name) ?? -ENODATA
  }
  override setxattr(name: string, value: Uint8Array, flags: number): Status {
    const supported = this.sb.xattrs ? checkXattrName(name) : -EOPNOTSUPP
    if (supported < 0) return supported
    const old = this.#xattrs?.get(name)
    if (old !== undefined && (flags & XATTR_CREATE) !== 0) return -EEXIST
    if (old === undefined && (flags & XATTR_REPLACE) !== 0) return -ENODATA
    let total = name.length + value.length
    if (this.#xattrs !== undefined)
      for (const [key, bytes] of this.#xattrs) if (key !== name) total += key.length + bytes.length
    if (total > XATTR_LIMIT) return -ENOSPC
    this.#xattrs ??= new Map()
    this.#xattrs.set(name, value.slice())
    this.touchChanged()
    return 0
  }
  override listxattr(): string[] {
    return this.#xattrs === undefined ? [] : [...this.#xattrs.keys()]
  }
  override removexattr(name: string): Status {
    const supported = this.sb.xattrs ? checkXattrName(name) : -EOPNOTSUPP
    if (supported < 0) return supported
    if (this.#xattrs === undefined || !this.#xattrs.delete(name)) return -ENODATA
    this.touchChanged()
    return 0
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

function checkXattrName(name: string): Status {
  if (isAclName(name)) return 0
  for (const prefix of XATTR_PREFIXES)
    if (name.startsWith(prefix)) return name.length > prefix.length ? 0 : -EINVAL
  return -EOPNOTSUPP
}
