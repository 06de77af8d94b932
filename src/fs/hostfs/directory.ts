/** Directories of hostfs: lookups and listings by a cached descriptor, and the operations on names. */
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  DT_REG,
  DT_UNKNOWN,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  RENAME_EXCHANGE,
  S_IFBLK,
  S_IFCHR,
  S_IFMT,
  S_IFREG,
  SEEK_SET,
  XATTR_CREATE,
} from '../../abi/constants.ts'
import { EACCES, EBADF, ENOENT, EOPNOTSUPP, EPERM, ESTALE } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { HostStat } from '../../platform/host.ts'
import { Dirents } from '../../vfs/dirents.ts'
import type { File } from '../../vfs/file.ts'
import type { DirSink, Inode } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { SnapshotDirFile } from '../../vfs/snapshot-dir-file.ts'
import { major, minor } from '../../vfs/vfs.ts'
import {
  DEVICE_XATTR,
  type DeviceNode,
  decodeDevice,
  encodeDevice,
  MARK_XATTR,
  STAND_IN_MODE,
} from './device-node.ts'
import type { CachedFd } from './fd-cache.ts'
import { FollowedDir } from './followed.ts'
import { HostInode, NO_FOLLOW } from './inode.ts'
import { isComponent, isKernelFs, OPEN_DIR, OPEN_SAFELY, RESOLVE } from './safety.ts'

/** Names that are known, again, not to exist in a directory that was seen to change. */
const CONFIRMED_LIMIT = 4096

export class HostDir extends HostInode {
  #handle: CachedFd | undefined = undefined
  /** The descriptor was not read from yet. */
  #atStart = false
  /** A file system of the host's kernel is mounted here: nobody looks inside. */
  #barred = false
  /**
   * Undefined while the directory was never seen to change: every cached negative entry may be believed. Afterwards only
   * those looked up since the last change: these.
   */
  #confirmed: Set<string> | undefined = undefined
  /** What it knows because the host tells: in a shared tree, once something was found in it. */
  followed: FollowedDir | undefined = undefined

  /** Whether it is marked as one with files that stand for device nodes; undefined: ask. */
  #marked: boolean | undefined = undefined

  /** `followed`, where there is one to be had. */
  follow(): FollowedDir | undefined {
    const { changes } = this.sb
    if (changes !== undefined) this.followed ??= new FollowedDir(this, changes)
    return this.followed
  }

  protected override attributesHold(): boolean {
    if (this.parent !== undefined && !this.nameHolds) return false
    if (this.followed?.holdsItself() === true) return true
    this.follow()?.asks()
    return false
  }
  protected override watchedBy(): FollowedDir | undefined {
    return this.follow()
  }
  override settled(): void {
    this.sb.changes?.settle([this.followed?.watch, this.parent?.followed?.watch], ['', this.name])
  }

  override update(stat: HostStat): void {
    const changed = this.mtime.nsec !== stat.mtimeNsec || this.mtime.sec !== stat.mtimeSec
    if (changed && this.checkedAt !== Number.NEGATIVE_INFINITY) {
      this.#confirmed = new Set()
      if (this.#marked === false) this.#marked = undefined
    }
    super.update(stat)
  }

  /** A descriptor of it; valid until the next directory is opened. */
  dirFd(): number {
    if (this.#isOpen) return this.#use()
    // From the nearest directory above that has one; not recursive, as a tree may be deep.
    const closed: HostDir[] = []
    for (let at: HostDir | undefined = this; at !== undefined && !at.#isOpen; at = at.parent) closed.push(at)
    let fd = -ENOENT
    for (let dir = closed.pop(); dir !== undefined; dir = closed.pop()) {
      fd = dir.#openHere()
      if (fd < 0) break
    }
    return fd
  }

  get #isOpen(): boolean {
    return this.#handle !== undefined && !this.#handle.closed
  }
  #use(): number {
    this.sb.dirFds.touch(this.#handle!)
    return this.#handle!.fd
  }

  /** Opens it at its place, whose directory has a descriptor. */
  #openHere(): number {
    if (this.#barred) return -EACCES
    const { parent } = this
    // Removed.
    if (parent === undefined && this !== this.sb.root) return -ENOENT
    const fd =
      parent === undefined ? this.#openDir(this.sb.rootFd, '.') : this.#openDir(parent.#use(), this.name)
    if (fd < 0) return fd
    const status = this.#check(fd)
    if (status < 0) {
      this.sb.host.close(fd)
      return status
    }
    this.#handle = this.sb.dirFds.add(fd)
    this.#atStart = true
    return fd
  }

  /** What `open` gives, while the descriptor that `dirFd` gave stays. */
  #holding<T>(open: () => T): T {
    const handle = this.#handle!
    this.sb.dirFds.hold(handle)
    const result = open()
    this.sb.dirFds.drop(handle)
    return result
  }

  #openDir(at: number, name: string): number {
    const fd = this.sb.openBelow(at, name, O_RDONLY | OPEN_DIR)
    if (fd !== -EACCES) return fd
    // Not ours to list, but names in it may still be.
    return this.sb.openBelow(at, name, O_PATH | O_NOFOLLOW | O_DIRECTORY)
  }

  /** Whether the descriptor is of this directory, and of a file system with files in it. */
  #check(fd: number): Status {
    const { stat } = this.sb
    if (!this.justSeen && !this.heldSince()) {
      const status = this.sb.host.statx(fd, '', AT_EMPTY_PATH, stat)
      if (status < 0) return status
      if (!this.is(stat)) return -ESTALE
    }
    if (this.parent === undefined || this.parent.dev === this.dev) return 0
    const type = this.sb.typeOf(this.dev, fd)
    if (type >= 0 && !isKernelFs(type)) return 0
    this.#barred = true
    return -EACCES
  }

  override lookup(name: string): OrErrno<Inode> {
    const { sb } = this
    if (!isComponent(name)) return -ENOENT
    const fd = this.dirFd()
    if (fd < 0) return this.#barred ? -ENOENT : fd
    const status = sb.host.statx(fd, name, NO_FOLLOW, sb.stat)
    if (status === -ENOENT) this.#noteMissing(name)
    return status < 0 ? status : sb.inodeOf(sb.stat, this, name)
  }

  override revalidate(name: string, inode: Inode | undefined): boolean {
    const { sb } = this
    if (inode === undefined) return this.#missingStill(name)
    const node = inode as HostInode
    if (sb.shared ? this.followed?.holds(node, name) : sb.host.recent() - node.checkedAt < sb.nameTrust)
      return true
    this.followed?.asks()
    const fd = this.dirFd()
    if (fd < 0 || sb.host.statx(fd, name, NO_FOLLOW, sb.stat) < 0 || !node.is(sb.stat)) return false
    node.update(sb.stat)
    node.foundAt(this, name)
    return true
  }

  #missingStill(name: string): boolean {
    const { sb } = this
    if (sb.shared) {
      const followed = this.follow()
      if (followed?.isMissing(name)) return true
      followed?.asks()
      const fd = this.dirFd()
      if (fd < 0 || sb.host.statx(fd, name, NO_FOLLOW, sb.stat) !== -ENOENT) return false
      followed?.noteMissing(name)
      return true
    }
    if (this.getattr() < 0) return false
    return this.#confirmed === undefined || this.#confirmed.has(name)
  }

  #noteMissing(name: string): void {
    this.followed?.noteMissing(name)
    if (this.#confirmed === undefined) return
    if (this.#confirmed.size >= CONFIRMED_LIMIT) this.#confirmed.clear()
    this.#confirmed.add(name)
  }

  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    return new SnapshotDirFile(path, flags, cred)
  }

  /** Cursors are of this listing: whoever needs them stable takes a snapshot (SnapshotDirFile). */
  override readdir(cursor: number, sink: DirSink): Status {
    const all = new Dirents()
    const status = this.list(all)
    if (status === 0) all.walk(cursor, sink)
    return status
  }

  override list(into: Dirents): Status {
    const { host, direntBuffer } = this.sb
    const fd = this.dirFd()
    if (fd < 0) return this.#barred ? 0 : fd
    // EBADF: it could only be opened with O_PATH.
    if (!this.#atStart && host.lseek(fd, 0, SEEK_SET) < 0) return -EACCES
    this.#atStart = false
    const start = into.length
    for (;;) {
      const n = host.getdents(fd, direntBuffer)
      if (n < 0) return n === -EBADF ? -EACCES : n
      if (n === 0) break
      into.addRaw(direntBuffer, n)
    }
    this.#marked ??= typeof host.fgetxattr(fd, MARK_XATTR) !== 'number'
    if (this.#marked) into.retype(start, DT_REG, DT_UNKNOWN)
    return 0
  }

  /** `fd`: of it. Where that fails a listing is wrong about a type, no more. */
  #mark(fd: number): void {
    if (this.#marked === true) return
    const status = this.sb.host.fsetxattr(fd, MARK_XATTR, new Uint8Array(0), 0)
    this.#marked = status === 0 ? true : undefined
    this.touched()
  }

  override create(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    const { host } = this.sb
    const at = this.dirFd()
    if (at < 0) return at
    const fd = this.sb.openBelow(at, name, O_CREAT | O_EXCL | O_RDWR | OPEN_SAFELY, mode & 0o7777)
    if (fd < 0) return fd
    const node = this.#made(at, 0, name, mode, cred)
    if (typeof node === 'number') host.close(fd)
    else this.sb.keepCreated(node, fd)
    return node
  }

  override tmpfile(mode: number, cred: Credentials): OrErrno<Inode> {
    const { sb } = this
    const { host, stat } = sb
    const at = this.dirFd()
    if (at < 0) return at
    const fd = host.openat2(at, '.', O_TMPFILE | O_RDWR | O_NONBLOCK, mode & 0o7777, RESOLVE)
    if (fd < 0) return fd
    host.fchownat(fd, '', cred.fsuid, cred.fsgid, AT_EMPTY_PATH)
    host.fchmod(fd, mode & 0o7777)
    const status = host.statx(fd, '', AT_EMPTY_PATH, stat)
    if (status < 0) {
      host.close(fd)
      return status
    }
    const node = sb.inodeOf(stat, undefined, '')
    sb.keepCreated(node, fd)
    return node
  }

  override mkdir(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    const at = this.dirFd()
    return at < 0 ? at : this.#made(at, this.sb.host.mkdirat(at, name, mode & 0o7777), name, mode, cred)
  }

  override mknod(name: string, mode: number, rdev: number, cred: Credentials): OrErrno<Inode> {
    if ((mode & S_IFMT) === S_IFREG || (mode & S_IFMT) === 0) {
      const node = this.create(name, mode & 0o7777, cred)
      this.sb.dropCreated()
      return node
    }
    const at = this.dirFd()
    if (at < 0) return at
    const status = this.sb.host.mknodat(at, name, mode, major(rdev), minor(rdev))
    const device = (mode & S_IFMT) === S_IFCHR || (mode & S_IFMT) === S_IFBLK
    if (status === -EPERM && device) {
      const made = this.#standIn(at, name, { mode, rdev })
      if (made === 0) this.#mark(at)
      return this.#made(at, made, name, mode, cred)
    }
    return this.#made(at, status, name, mode, cred)
  }

  /** Makes the file that stands for a device node. */
  #standIn(at: number, name: string, device: DeviceNode): Status {
    const { host } = this.sb
    const fd = this.sb.openBelow(at, name, O_CREAT | O_EXCL | O_RDWR | OPEN_SAFELY, 0o600)
    if (fd < 0) return fd
    let status = host.fsetxattr(fd, DEVICE_XATTR, encodeDevice(device), XATTR_CREATE)
    if (status === 0) status = host.fchmod(fd, STAND_IN_MODE)
    host.close(fd)
    if (status === 0) return 0
    host.unlinkat(at, name, 0)
    // Where there are no attributes, there is no other way than the host's.
    return status === -EOPNOTSUPP ? -EPERM : status
  }

  /** The device node that the file of that name, which looks like it, stands for. */
  deviceAt(name: string): DeviceNode | undefined {
    const { host } = this.sb
    const at = this.dirFd()
    const fd = at < 0 ? at : this.sb.openBelow(at, name, O_RDONLY | OPEN_SAFELY)
    if (fd < 0) return undefined
    const value = host.fgetxattr(fd, DEVICE_XATTR)
    host.close(fd)
    return typeof value === 'number' ? undefined : decodeDevice(value)
  }

  override symlink(name: string, target: string, cred: Credentials): OrErrno<Inode> {
    const at = this.dirFd()
    return at < 0 ? at : this.#made(at, this.sb.host.symlinkat(target, at, name), name, undefined, cred)
  }

  override link(name: string, inode: Inode): Status {
    const node = inode as HostInode
    const at = this.dirFd()
    if (at < 0) return at
    const from = this.#holding(() => node.placeFd())
    if (from !== undefined && from < 0) return from
    const status =
      from === undefined ? this.#linkOpen(node, at, name) : this.sb.host.linkat(from, node.name, at, name, 0)
    if (status < 0) return status
    if (node.standsIn) this.#mark(this.dirFd())
    this.#changed(name)
    node.touched()
    return 0
  }

  /** Names what was made without a name: it can only be reached while it is open. */
  #linkOpen(node: HostInode, at: number, name: string): Status {
    const { openFd } = node
    if (openFd === undefined) return -ENOENT
    const status = this.sb.host.linkOpen(openFd, at, name)
    if (status === 0) node.foundAt(this, name)
    return status
  }

  override unlink(name: string, inode: Inode): Status {
    return this.#remove(name, inode as HostInode, 0)
  }
  override rmdir(name: string, inode: Inode): Status {
    return this.#remove(name, inode as HostInode, AT_REMOVEDIR)
  }

  override rename(
    name: string,
    inode: Inode,
    newDir: Inode,
    newName: string,
    target: Inode | undefined,
    flags: number,
  ): Status {
    const to = newDir as HostDir
    const from = this.dirFd()
    if (from < 0) return from
    const toFd = this.#holding(() => to.dirFd())
    if (toFd < 0) return toFd
    const status = this.sb.host.renameat2(from, name, toFd, newName, flags)
    if (status < 0) return status
    const node = inode as HostInode
    const other = target as HostInode | undefined
    if (node.standsIn) to.#mark(to.dirFd())
    if (other?.standsIn && (flags & RENAME_EXCHANGE) !== 0) this.#mark(this.dirFd())
    const moved = node instanceof HostDir ? node.followed?.watch : undefined
    this.sb.changes?.settle([this.followed?.watch, to.followed?.watch, moved], [name, newName, ''])
    if (other !== undefined) {
      other.goneFrom(to, newName)
      if ((flags & RENAME_EXCHANGE) !== 0) other.foundAt(this, name)
      else other.lostLink()
      other.doubted()
    }
    node.foundAt(to, newName)
    if ((flags & RENAME_EXCHANGE) === 0) this.followed?.noteMissing(name)
    node.doubted()
    this.touched()
    to.touched()
    return 0
  }

  #remove(name: string, node: HostInode, flags: number): Status {
    const at = this.dirFd()
    if (at < 0) return at
    const status = this.sb.host.unlinkat(at, name, flags)
    if (status < 0) return status
    this.#changed(name)
    node.goneFrom(this, name)
    node.lostLink()
    node.touched()
    this.followed?.noteMissing(name)
    return 0
  }

  /** An entry came or went by our own doing. */
  #changed(name: string): void {
    this.touched()
    if (this.followed?.watch !== undefined) this.sb.changes!.settle([this.followed.watch], [name])
  }

  /** The end of an operation that made a name: owner and mode as asked, as far as the host lets us. */
  #made(
    at: number,
    status: Status,
    name: string,
    mode: number | undefined,
    cred: Credentials,
  ): OrErrno<HostInode> {
    if (status < 0) return status
    const { host, stat } = this.sb
    this.#changed(name)
    const found = host.statx(at, name, NO_FOLLOW, stat)
    if (found < 0) return found
    const node = this.sb.inodeOf(stat, this, name)
    if (node.uid !== cred.fsuid || node.gid !== cred.fsgid) node.setattr({ uid: cred.fsuid, gid: cred.fsgid })
    if (mode !== undefined && (node.mode & 0o7777) !== (mode & 0o7777)) node.setattr({ mode: mode & 0o7777 })
    return node
  }

  override lostLink(): void {
    this.nlink = 0
    this.dropDescriptors()
  }

  protected override setMode(mode: number): Status {
    const fd = this.dirFd()
    return fd < 0 ? fd : this.sb.host.fchmod(fd, mode)
  }
  protected override borrowFd(): number {
    return this.dirFd()
  }
  protected override dropDescriptors(): void {
    if (this.#handle !== undefined) this.sb.dirFds.close(this.#handle)
    this.#handle = undefined
    this.followed?.end()
  }
}
