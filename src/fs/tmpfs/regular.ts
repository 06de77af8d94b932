/** Regular files of tmpfs, and of memfd_create(2), which are the same with seals. */
import {
  F_SEAL_EXEC,
  F_SEAL_FUTURE_WRITE,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MAP_SHARED,
  MS_NOATIME,
  O_NOATIME,
  PROT_WRITE,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../abi/constants.ts'
import { EFBIG, EINVAL, ENXIO, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import type { Timespec } from '../../base/clock.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { File, type MapSource } from '../../vfs/file.ts'
import type { AttrChange } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { FileData, SMALL_LIMIT } from './file-data.ts'
import { TmpfsInode } from './inode.ts'
import { PAGE_SIZE } from './quota.ts'
import type { TmpfsSuper } from './super.ts'

const WRITE_SEALS = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
const DATA_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | WRITE_SEALS

export class TmpfsRegular extends TmpfsInode {
  readonly data: FileData
  /** Named files are born sealed against seals. */
  seals = F_SEAL_SEAL

  constructor(sb: TmpfsSuper, mode: number, uid: number, gid: number) {
    super(sb, mode, uid, gid)
    this.data = new FileData(sb.host, sb.quota, sb.chargeTo?.())
  }

  override get blocks(): number {
    return this.data.pages * (PAGE_SIZE / 512)
  }

  override setattr(change: AttrChange): Status {
    if (
      change.mode !== undefined &&
      (this.seals & F_SEAL_EXEC) !== 0 &&
      ((change.mode ^ this.mode) & 0o111) !== 0
    )
      return -EPERM
    const { size } = change
    if (size !== undefined) {
      if (size < this.size && (this.seals & F_SEAL_SHRINK) !== 0) return -EPERM
      if (size > this.size && (this.seals & F_SEAL_GROW) !== 0) return -EPERM
      const status = this.data.truncate(size)
      if (status < 0) return status
      this.size = size
      this.touchModified()
    }
    return super.setattr(change)
  }

  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    return new TmpfsFile(this, path, flags, cred)
  }

  /** F_ADD_SEALS of a file that is open for writing. */
  addSeals(seals: number): Status {
    if ((seals & ~(DATA_SEALS | F_SEAL_SEAL | F_SEAL_EXEC)) !== 0) return -EINVAL
    if ((this.seals & F_SEAL_SEAL) !== 0) return -EPERM
    // Executable and sealed so: the code must not change either.
    if ((seals & F_SEAL_EXEC) !== 0 && (this.mode & 0o111) !== 0) seals |= DATA_SEALS
    const status = this.data.seal(seals & DATA_SEALS)
    if (status < 0) return status
    this.seals |= seals
    return 0
  }

  protected override discardData(): void {
    this.data.close()
    this.size = 0
  }
}

/** An open tmpfs file. Its path may be an overlay's, so everything goes to `node` and not to the path's inode. */
export class TmpfsFile extends File {
  readonly node: TmpfsRegular

  constructor(node: TmpfsRegular, path: Path, flags: number, cred: Credentials) {
    super(path, flags, cred)
    this.node = node
  }

  override get seekable(): boolean {
    return true
  }

  override readAt(into: IoDst, offset: number): number {
    const n = this.node.data.read(into, offset)
    if (n >= 0) this.#accessed()
    return n
  }

  override writeAt(from: IoSrc, offset: number): number {
    const length = this.#writable(offset, from.remaining)
    return length < 0 ? length : this.#written(this.node.data.write(from, offset, length, this.readable))
  }

  override copyFrom(source: File, sourceOffset: number, offset: number, length: number): number {
    const fd = source.hostFd
    // What fits the small form does not need the host.
    if (fd === undefined || (this.hostFd === undefined && offset + length <= SMALL_LIMIT)) return -EOPNOTSUPP
    const allowed = this.#writable(offset, length)
    return allowed < 0 ? allowed : this.#written(this.node.data.copyFrom(fd, sourceOffset, offset, allowed))
  }

  protected override seekHole(offset: number, whence: number): number {
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL
    if (offset < 0) return -ENXIO
    const at = this.node.data.seek(offset, whence)
    if (at >= 0) this.pos = at
    return at
  }

  override mapping(_offset: number, _length: number, prot: number, flags: number): MapSource | number {
    const sharedWrite = (flags & MAP_SHARED) !== 0 && (prot & PROT_WRITE) !== 0
    if (sharedWrite && (this.node.seals & WRITE_SEALS) !== 0) return -EPERM
    const fd = this.node.data.map(this.writable)
    return fd < 0 ? fd : { hostFd: fd, offset: 0 }
  }

  override fsync(): Status {
    return 0
  }

  override fallocate(mode: number, offset: number, length: number): Status {
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0) return -EOPNOTSUPP
    const { node } = this
    if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
      if ((node.seals & WRITE_SEALS) !== 0) return -EPERM
      const status = node.data.punchHole(offset, length)
      if (status === 0) node.touchModified()
      return status
    }
    const end = offset + length
    if (end > Number.MAX_SAFE_INTEGER) return -EFBIG
    if (end > node.size && (mode & FALLOC_FL_KEEP_SIZE) === 0 && (node.seals & F_SEAL_GROW) !== 0)
      return -EPERM
    const status = node.data.allocate(offset, length, (mode & FALLOC_FL_KEEP_SIZE) === 0)
    node.size = node.data.size
    if (status === 0) node.touchModified()
    return status
  }

  /** Whether a large fallocate, which is done part by part, can end well: its last part should not be the one that fails. */
  mayAllocate(mode: number, offset: number, length: number): Status {
    if ((mode & ~FALLOC_FL_KEEP_SIZE) !== 0) return 0
    const { node } = this
    const grows = mode === 0 && offset + length > node.size
    return grows && (node.seals & F_SEAL_GROW) !== 0 ? -EPERM : node.data.hasRoom(offset, length)
  }

  override get hostFd(): number | undefined {
    return this.node.data.fd
  }

  override seals(): number {
    // An overlay's file is not a tmpfs one to the caller.
    return this.inode === this.node ? this.node.seals : -EINVAL
  }
  override addSeals(seals: number): Status {
    if (!this.writable) return -EPERM
    return this.inode === this.node ? this.node.addSeals(seals) : -EINVAL
  }

  /** relatime: the first access after a change. Accesses that follow, even a day later, leave the time as it is. */
  #accessed(): void {
    const { atime, mtime, ctime, sb } = this.node
    if (later(atime, mtime) && later(atime, ctime)) return
    if ((this.flags & O_NOATIME) !== 0 || ((this.path.mount.flags | sb.flags) & MS_NOATIME) !== 0) return
    atime.set(sb.now())
  }

  /** How much of a write of `length` bytes the seals and the largest file size allow. */
  #writable(offset: number, length: number): number {
    const { node } = this
    if ((node.seals & WRITE_SEALS) !== 0) return -EPERM
    if ((node.seals & F_SEAL_GROW) !== 0 && offset + length > node.size) {
      // Page by page: those that end within the file are still written.
      length = Math.floor(node.size / PAGE_SIZE) * PAGE_SIZE - offset
      if (length <= 0) return -EPERM
    }
    if (offset + length > Number.MAX_SAFE_INTEGER) {
      length = Number.MAX_SAFE_INTEGER - offset
      if (length <= 0) return -EFBIG
    }
    return length
  }

  #written(n: number): number {
    if (n > 0) {
      this.node.size = this.node.data.size
      this.node.touchModified()
    }
    return n
  }
}

function later(a: Timespec, b: Timespec): boolean {
  return a.sec > b.sec || (a.sec === b.sec && a.nsec > b.nsec)
}
