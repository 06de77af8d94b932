/**
 * Regular files of hostfs. An open File has its own descriptor of the host, opened as the guest asked; but all Files that
 * only read have one in common, which stays open for the next ones (fd-cache.ts): in a shared tree only while the host
 * would tell of a change of the name (followed.ts). That is the same to them, because every access names its offset; the
 * first flock(2) gives a File a descriptor of its own.
 */
import {
  AT_EMPTY_PATH,
  F_SETFL,
  MAP_PRIVATE,
  MAP_TYPE,
  O_ACCMODE,
  O_APPEND,
  O_DSYNC,
  O_NONBLOCK,
  O_RDONLY,
  O_SYNC,
  O_WRONLY,
  S_ISGID,
  S_ISUID,
} from '../../abi/constants.ts'
import { EACCES, ENOSYS, EOPNOTSUPP, ESTALE } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { readHost, writeHost } from '../../platform/host-io.ts'
import { File, type MapSource } from '../../vfs/file.ts'
import type { OutsideLocks } from '../../vfs/locks.ts'
import type { Path } from '../../vfs/path.ts'
import type { CachedFd } from './fd-cache.ts'
import { HostInode } from './inode.ts'
import { HostLocks } from './outside-locks.ts'
import { isKernelFs, OPEN_SAFELY } from './safety.ts'

export class HostRegular extends HostInode {
  /** The Files with a descriptor of their own. Made when there is one. */
  #files: Set<HostFile> | undefined = undefined
  /** What the others read by. */
  #reader: CachedFd | undefined = undefined
  /** The guest can write to it through a mapping, of which the host does not tell. */
  #mapped = false
  /** The mtime since when it is known that reading changes the atime no more, or that it never does. */
  #readSince = Number.NaN

  override get openFd(): number | undefined {
    if (this.#reader !== undefined && this.#reader.users > 0) return this.#reader.fd
    if (this.#files !== undefined) for (const file of this.#files) return file.fd
    return undefined
  }

  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    const hostFlags = flags & (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC)
    if (hostFlags === O_RDONLY && (!this.sb.shared || this.nameHolds)) {
      const reader = this.#openReader()
      return typeof reader === 'number' ? reader : new HostFile(this, reader.fd, reader, path, flags, cred)
    }
    const fd = this.#openFor(hostFlags)
    return fd < 0 ? fd : new HostFile(this, fd, undefined, path, flags, cred)
  }

  override get isOpen(): boolean {
    return (this.#files?.size ?? 0) > 0 || (this.#reader?.users ?? 0) > 0
  }

  protected override attributesHold(): boolean {
    return !this.#mapped && super.attributesHold()
  }
  mappedForWriting(): void {
    this.#mapped = true
  }
  /** Under relatime the first read after a change is noted in the atime. */
  wasRead(): void {
    if (this.sb.changes === undefined) return
    const mtime = this.mtime.sec + this.mtime.nsec / 1e9
    if (mtime === this.#readSince || this.atime.sec > this.mtime.sec) return
    this.#readSince = mtime
    this.touched()
  }
  /** After a change of ours through a descriptor. */
  written(): void {
    this.touched()
    // Who watches inside has heard of it already.
    if (this.sb.changes?.hasPins) this.settled()
  }

  /** It may be gone, and the host is to have its space back. */
  override doubted(): void {
    super.doubted()
    this.#closeIdle()
  }
  override rewritten(): void {
    super.rewritten()
    this.#retireReader()
  }
  /**
   * On an overlay of the host's: a descriptor from before the copy-up maps the lower file. Those who have it keep it, as
   * they would on the host; who opens the file from now on must not get it.
   */
  #retireReader(): void {
    if (this.#reader === undefined || !this.sb.isOverlay(this.dev)) return
    this.#closeIdle()
    this.#reader = undefined
  }
  override notHeld(): void {
    this.#closeIdle()
  }
  #closeIdle(): void {
    if (this.#reader?.users === 0) this.dropDescriptors()
  }

  /** Locks of a shared tree hold for others, too. */
  override outsideLocks(): OutsideLocks | undefined {
    return this.sb.shared ? new HostLocks(this) : undefined
  }

  /** Another open description of it, which is the caller's. */
  openOther(flags: number): number {
    const fd = this.#openHost(flags)
    const { openFd } = this
    if (fd >= 0 || openFd === undefined) return fd
    return this.sb.host.reopen(openFd, flags | O_NONBLOCK)
  }

  opened(file: HostFile): void {
    this.pin()
    if (file.reader !== undefined) this.sb.fileFds.hold(file.reader)
    else {
      this.#files ??= new Set()
      this.#files.add(file)
    }
  }
  /** The File has a descriptor of its own from now on. */
  parted(file: HostFile, from: CachedFd): void {
    this.#files ??= new Set()
    this.#files.add(file)
    this.sb.fileFds.drop(from)
  }
  closed(file: HostFile): void {
    if (file.reader !== undefined) this.sb.fileFds.drop(file.reader)
    else {
      this.sb.host.close(file.fd)
      this.#files!.delete(file)
      if (file.writable && this.sb.changes?.hasPins) this.settled()
    }
    this.unpin()
  }

  override release(): void {
    this.locks?.outside?.idle()
    super.release()
  }

  protected override dropDescriptors(): void {
    if (this.#reader !== undefined) this.sb.fileFds.close(this.#reader)
    this.#reader = undefined
  }

  /**
   * The mode to restore after a write, 0 if there is nothing to restore. The host clears the set-id bits for whoever lacks
   * a capability of its first user namespace, as we do; which writers clear them in here was decided before, in vfs/.
   */
  privileges(): number {
    if ((this.mode & (S_ISUID | S_ISGID)) === 0 || this.refresh() < 0) return 0
    return (this.mode & (S_ISUID | S_ISGID)) === 0 ? 0 : this.mode & 0o7777
  }

  protected override setSize(size: number): Status {
    const mode = this.privileges()
    for (const file of this.#files ?? []) if (file.writable) return this.#truncate(file.fd, size, mode)
    const fd = this.#openFor(O_WRONLY)
    if (fd < 0) return fd
    const status = this.#truncate(fd, size, mode)
    this.sb.host.close(fd)
    return status
  }
  #truncate(fd: number, size: number, mode: number): Status {
    const status = this.sb.host.ftruncate(fd, size)
    if (mode !== 0) this.sb.host.fchmod(fd, mode)
    return status
  }

  protected override setMode(mode: number): Status {
    const fd = this.borrowFd()
    // A file that we may not open can still be ours to change.
    if (fd === -EACCES) return super.setMode(mode)
    if (fd < 0) return fd
    const status = this.sb.host.fchmod(fd, mode)
    this.returnFd(fd)
    return status
  }

  protected override borrowFd(): number {
    if (this.sb.shared) return this.openFd ?? this.#openHost(O_RDONLY)
    const reader = this.#openReader()
    return typeof reader === 'number' ? reader : reader.fd
  }
  protected override returnFd(fd: number): void {
    if (this.sb.shared && fd !== this.openFd) this.sb.host.close(fd)
  }

  #openReader(): CachedFd | number {
    if (this.#reader !== undefined && !this.#reader.closed) {
      if (this.#reader.users === 0) this.sb.fileFds.touch(this.#reader)
      return this.#reader
    }
    const fd = this.#openHost(O_RDONLY)
    if (fd < 0) return fd
    this.#reader = this.sb.fileFds.add(fd)
    return this.#reader
  }

  /** A descriptor for a File. The one that created the file serves the first File that may write. */
  #openFor(flags: number): number {
    if ((flags & O_ACCMODE) !== O_RDONLY) this.#retireReader()
    if ((flags & O_ACCMODE) !== O_RDONLY && (flags & (O_SYNC | O_DSYNC)) === 0) {
      const fd = this.sb.takeCreated(this)
      if (fd !== undefined) {
        if ((flags & O_APPEND) !== 0) this.sb.host.fcntl(fd, F_SETFL, O_APPEND)
        return fd
      }
    }
    return this.#openHost(flags)
  }

  #openHost(flags: number): number {
    const { host, stat } = this.sb
    const { parent } = this
    if (parent === undefined) return this.#reopen(flags)
    const at = parent.dirFd()
    if (at < 0) return at
    const fd = this.sb.openBelow(at, this.name, flags | OPEN_SAFELY)
    if (fd < 0) return fd
    let status = 0
    if (!this.justSeen && !this.heldSince()) {
      status = host.statx(fd, '', AT_EMPTY_PATH, stat)
      if (status === 0 && this.is(stat)) this.update(stat)
      else if (status === 0) {
        // Another file took the name: the next walk will find that one.
        this.touched()
        status = -ESTALE
      }
    }
    if (status === 0 && parent.dev !== this.dev) {
      const type = this.sb.typeOf(this.dev, fd)
      if (type < 0 || isKernelFs(type)) status = -EACCES
    }
    if (status < 0) {
      host.close(fd)
      return status
    }
    return fd
  }

  /** Without a name below a directory: through the donated descriptor, or one that is still open. */
  #reopen(flags: number): number {
    const { host, rootFd, root } = this.sb
    const fd = this === root ? rootFd : (this.openFd ?? this.sb.createdFd(this))
    if (fd === undefined) return -ESTALE
    const opened = host.reopen(fd, flags | O_NONBLOCK)
    return opened === -ENOSYS ? -EACCES : opened
  }
}

/** An open host file. Its path may be an overlay's, so everything goes to `node`. */
export class HostFile extends File {
  readonly node: HostRegular
  fd: number
  /** The descriptor, if others read by it too. */
  reader: CachedFd | undefined
  /** Whether the host's open description appends. */
  #appends: boolean

  constructor(
    node: HostRegular,
    fd: number,
    reader: CachedFd | undefined,
    path: Path,
    flags: number,
    cred: Credentials,
  ) {
    super(path, flags, cred)
    this.node = node
    this.fd = fd
    this.reader = reader
    this.#appends = (flags & O_APPEND) !== 0
    node.opened(this)
  }

  override get seekable(): boolean {
    return true
  }
  override get hostFd(): number | undefined {
    return this.fd
  }

  override readAt(into: IoDst, offset: number): number {
    const { node } = this
    let length = into.remaining
    // The end of a file that is believed to be what it was needs no asking. (Some that tell no size have bytes.)
    if (
      this.reader !== undefined &&
      node.size > 0 &&
      (!node.sb.shared || offset >= node.size) &&
      node.isFresh
    ) {
      if (offset >= node.size) return 0
      length = Math.min(length, node.size - offset)
    }
    const n = readHost(node.sb.host, this.fd, into, offset, length)
    if (n > 0) node.wasRead()
    return n
  }

  override writeAt(from: IoSrc, offset: number): number {
    this.#matchAppend()
    const mode = this.node.privileges()
    const n = writeHost(this.node.sb.host, this.fd, from, offset, from.remaining)
    if (mode !== 0) this.node.sb.host.fchmod(this.fd, mode)
    this.node.written()
    return n
  }

  override copyFrom(source: File, sourceOffset: number, offset: number, length: number): number {
    const fd = source.hostFd
    if (fd === undefined) return -EOPNOTSUPP
    this.#matchAppend()
    const mode = this.node.privileges()
    const n = this.node.sb.host.copyFileRange(fd, sourceOffset, this.fd, offset, length)
    if (mode !== 0) this.node.sb.host.fchmod(this.fd, mode)
    this.node.written()
    return n
  }

  protected override seekHole(offset: number, whence: number): number {
    const at = this.node.sb.host.lseek(this.fd, offset, whence)
    if (at >= 0) this.pos = at
    return at
  }

  override mapping(_offset: number, _length: number, _prot: number, flags: number): MapSource | number {
    if (this.writable && (flags & MAP_TYPE) !== MAP_PRIVATE) this.node.mappedForWriting()
    return { hostFd: this.fd, offset: 0 }
  }

  override fsync(dataOnly: boolean): Status {
    const { host, shared } = this.node.sb
    // Of a tree that only others change there is nothing of ours to be written out.
    if (!shared) return 0
    return dataOnly ? host.fdatasync(this.fd) : host.fsync(this.fd)
  }

  override fallocate(mode: number, offset: number, length: number): Status {
    const bits = this.node.privileges()
    const status = this.node.sb.host.fallocate(this.fd, mode, offset, length)
    if (bits !== 0) this.node.sb.host.fchmod(this.fd, bits)
    this.node.written()
    return status
  }

  override release(): void {
    this.node.closed(this)
  }

  /** Its descriptor, and no other File's: what flock(2) locks. A negative errno if there is none to be had. */
  ownFd(): number {
    if (this.reader === undefined) return this.fd
    const fd = this.node.openOther(O_RDONLY)
    if (fd < 0) return fd
    const shared = this.reader
    this.fd = fd
    this.reader = undefined
    this.node.parted(this, shared)
    return fd
  }

  /** F_SETFL may have changed O_APPEND; that the end is found and written at in one step is the host's to do. */
  #matchAppend(): void {
    const appends = (this.flags & O_APPEND) !== 0
    if (appends === this.#appends) return
    this.#appends = appends
    this.node.sb.host.fcntl(this.fd, F_SETFL, appends ? O_APPEND : 0)
  }
}
