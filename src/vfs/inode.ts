/**
 * Inodes: the objects that file systems provide. An inode is a file's identity and attributes; names lead to it
 * through dentries, and open file descriptions (File) are made by `open`. The file system keeps an inode as
 * long as it likes (tmpfs: while linked or open; hostfs: while a dentry or a File refers to it, and it is then
 * told by `release`). Operations act, they do not decide: permission checks, the sticky bit, name length,
 * read-only mounts, trailing slashes and the rest of the policy are done once, in vfs/.
 *
 * Every method returns a value or a negative errno, or PENDING where somebody else must be asked first: it is called again
 * then.
 */

import { O_RDWR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../abi/constants.ts'
import { EINVAL, ENOTDIR, ENXIO, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { Timespec } from '../base/clock.ts'
import type { Credentials } from '../base/credentials.ts'
import type { OrErrno, Status } from '../base/result.ts'
import type { WaitQueue } from '../base/wait-queue.ts'
import type { InodeAcls } from './acl.ts'
import { DirFile } from './dir-file.ts'
import type { Dirents } from './dirents.ts'
import type { File } from './file.ts'
import type { InodeLeases } from './leases.ts'
import type { InodeLocks, OutsideLocks } from './locks.ts'
import type { MountNamespace } from './mount.ts'
import type { InodeWatches } from './notify.ts'
import type { Path } from './path.ts'
import type { SuperBlock } from './super-block.ts'

/** What setattr changes: absent fields stay. */
export interface AttrChange {
  /** Permission bits only (07777). */
  mode?: number
  uid?: number
  gid?: number
  size?: number
  atime?: Timespec
  mtime?: Timespec
  ctime?: Timespec
}

/** Called for each directory entry; returning false stops before the entry is taken. */
export type DirSink = (name: string, ino: number, type: number, nextCursor: number) => boolean

/** The longest target of a link that is remembered: what guests can make the sentry hold is bounded by the inodes. */
export const KEPT_TARGET = 256

export abstract class Inode {
  readonly sb: SuperBlock
  ino: number
  /** Type and permission bits. */
  mode: number
  uid: number
  gid: number
  nlink = 1
  size = 0
  /** Device number of a device node: (major << 20) | minor. */
  rdev = 0
  blksize = 4096
  atime: Timespec
  mtime: Timespec
  ctime: Timespec
  btime: Timespec
  /** FS_IMMUTABLE_FL and the like, for statx and the FS_IOC ioctls. */
  inodeFlags = 0
  /** Dentries that lead here: vfs/dentry.ts calls `release` when it falls back to 0. */
  dentries = 0
  /** Open descriptions that may write (above 0), or executions that forbid it (below 0): ETXTBSY. */
  writers = 0
  /** Open descriptions that only read: for leases. */
  readers = 0
  /** Made by O_TMPFILE without O_EXCL: may be linked although it has no name. */
  linkable = false
  /** Its number in file handles, 0 if nobody has asked for one: vfs/handles.ts. */
  handle = 0
  /** A directory in which an overlay makes and removes names: cached dentries below it are compared with what is there. */
  changedElsewhere = false
  /** inotify and lock bookkeeping of vfs/, made on first use. */
  watches: InodeWatches | undefined = undefined
  /** A write that goes on holds it (i_rwsem), and other writes wait here. */
  longCall: WaitQueue | undefined = undefined
  locks: InodeLocks | undefined = undefined
  leases: InodeLeases | undefined = undefined
  /** Its access control lists as they were read last, where they are kept for vfs/acl.ts. */
  acls: InodeAcls | undefined = undefined
  /** What lives behind a FIFO (its pipe) or a socket's name (the bound socket); of fs/pipe and net. */
  special: unknown = undefined

  /** `real`: an inode that this one stands for; it shares that one's times. */
  constructor(sb: SuperBlock, ino: number, mode: number, uid: number, gid: number, real?: Inode) {
    this.sb = sb
    this.ino = ino
    this.mode = mode
    this.uid = uid
    this.gid = gid
    this.atime = real === undefined ? new Timespec() : real.atime
    this.mtime = real === undefined ? new Timespec() : real.mtime
    this.ctime = real === undefined ? new Timespec() : real.ctime
    this.btime = real === undefined ? new Timespec() : real.btime
  }

  get type(): number {
    return this.mode & S_IFMT
  }
  /** Of a directory: it was removed (S_DEAD). */
  get isDead(): boolean {
    return this.nlink === 0
  }
  get isDir(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR
  }
  get isRegular(): boolean {
    return (this.mode & S_IFMT) === S_IFREG
  }
  get isSymlink(): boolean {
    return (this.mode & S_IFMT) === S_IFLNK
  }

  /** st_dev; only a file system that shows more than one device of the host has others than its super block's. */
  get dev(): number {
    return this.sb.dev
  }
  /** 512-byte units. */
  get blocks(): number {
    return Math.ceil(this.size / 512)
  }

  /** Brings the attribute fields up to date; nothing to do where they are the truth. */
  getattr(): Status {
    return 0
  }
  /** Applies a checked change, size included (truncate). Sets ctime where the change does not. */
  setattr(_change: AttrChange): Status {
    return -EPERM
  }
  /** A permission rule of the file system's own (proc); undefined: the usual mode bits decide. `mask`: MAY_* bits. */
  permission(_cred: Credentials, _mask: number): Status | undefined {
    return undefined
  }

  // Directories.
  /** -ENOENT when there is no such name. */
  lookup(_name: string): OrErrno<Inode> {
    return -ENOTDIR
  }
  /** `flags` are the O_* flags of the open that follows at once. */
  create(_name: string, _mode: number, _cred: Credentials, _flags = O_RDWR): OrErrno<Inode> {
    return -EPERM
  }
  mkdir(_name: string, _mode: number, _cred: Credentials): OrErrno<Inode> {
    return -EPERM
  }
  /** Of a regular file too: with no intent to open it, unlike `create`. */
  mknod(name: string, mode: number, _rdev: number, cred: Credentials): OrErrno<Inode> {
    return (mode & S_IFMT) === S_IFREG ? this.create(name, mode & 0o7777, cred) : -EPERM
  }
  symlink(_name: string, _target: string, _cred: Credentials): OrErrno<Inode> {
    return -EPERM
  }
  /** 0 when the name leads to `inode` now; or the inode that it leads to, where the file system has one for each name. */
  link(_name: string, _inode: Inode): OrErrno<Inode> {
    return -EPERM
  }
  unlink(_name: string, _inode: Inode): Status {
    return -EPERM
  }
  rmdir(_name: string, _inode: Inode): Status {
    return -EPERM
  }
  /** RENAME_NOREPLACE has been checked; RENAME_EXCHANGE and RENAME_WHITEOUT are the file system's. */
  rename(
    _name: string,
    _inode: Inode,
    _newDir: Inode,
    _newName: string,
    _target: Inode | undefined,
    _flags: number,
  ): Status {
    return -EPERM
  }
  /** An unnamed regular file (O_TMPFILE); it has nlink 0 and may be linked later. */
  tmpfile(_mode: number, _cred: Credentials, _flags = 0): OrErrno<Inode> {
    return -EOPNOTSUPP
  }
  /**
   * Entries from `cursor` on (0 is the start; '.' and '..' are vfs/'s own). Cursors are opaque, positive, stable
   * against removals: an entry that stays is reported exactly once.
   */
  readdir(_cursor: number, _sink: DirSink): Status {
    return -ENOTDIR
  }
  /** Adds all entries: the way to a whole listing at once, which SnapshotDirFile takes. */
  list(into: Dirents): Status {
    return this.readdir(0, (name, ino, type) => {
      into.add(name, ino, type)
      return true
    })
  }
  /**
   * Whether cached dentries below this directory may be believed for `name` (hostfs asks the host); or the negative errno
   * with which the walk fails.
   */
  revalidate(_name: string, _inode: Inode | undefined): boolean | Status {
    return true
  }

  // Symbolic links.
  readlink(): OrErrno<string> {
    return -EINVAL
  }
  /** Whether readlink and following never lead through a name: RESOLVE_NO_MAGICLINKS refuses it. */
  get isMagic(): boolean {
    return false
  }
  /** A link of /proc that leads to an object, not to a name. */
  followMagic(_cred: Credentials): OrErrno<Path> | undefined {
    return undefined
  }

  // Open.
  /** Whether `open` is to be called even for a device node or FIFO (a pty of devpts). */
  get opensItself(): boolean {
    return false
  }
  /**
   * Makes the open file description; `flags` are the O_* flags, O_CREAT already done; with O_TRUNC the data goes right
   * after, by setattr. Called for regular files and directories; vfs/ opens device nodes, FIFOs and sockets itself,
   * unless `opensItself`.
   */
  open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    if (this.isDir) return new DirFile(path, flags, cred)
    return -ENXIO
  }

  /** FS_*_FL that may be set on it; 0: the file system knows no flags. */
  get settableFlags(): number {
    return 0
  }
  /** All of its flags, checked. */
  setFlags(_flags: number): Status {
    return -EOPNOTSUPP
  }

  // Extended attributes; names carry their prefix ('user.x').
  getxattr(_name: string): OrErrno<Uint8Array> | number {
    return -EOPNOTSUPP
  }
  /** XATTR_CREATE or XATTR_REPLACE or 0. */
  setxattr(_name: string, _value: Uint8Array, _flags: number): Status {
    return -EOPNOTSUPP
  }
  listxattr(): string[] | number {
    return []
  }
  removexattr(_name: string): Status {
    return -EOPNOTSUPP
  }

  /** The inode that keeps this one's access control lists for vfs/acl.ts, if it may have any that are not the host's. */
  get aclHolder(): Inode | undefined {
    return undefined
  }
  /** The inode whose lists count when permission is asked for: also one of the host's. */
  get aclSource(): Inode | undefined {
    return this.aclHolder
  }

  /** Who else has to agree to locks of it: of a file of the host that others have, too. */
  outsideLocks(): OutsideLocks | undefined {
    return undefined
  }

  /** It got the first of its `watches`, or lost the last: what others change, too, has to be asked for news. */
  watched(_on: boolean): void {}

  /** A mount of which it is the root came, or is gone. */
  mountRoot(_there: boolean): void {}
  /** The mount namespace that it is the file of (nsfs). */
  get mountNs(): MountNamespace | undefined {
    return undefined
  }

  /** The last dentry and File let go of it. */
  release(): void {}
}
