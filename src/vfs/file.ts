/**
 * File: an open file description (struct file). Descriptors of many tasks may refer to one File; it is closed
 * when the last reference goes. Subclasses are what file systems and anonymous objects (pipes, sockets,
 * eventfds) put behind a descriptor; they implement as much as they can do and inherit Linux's errno for the rest.
 *
 * Nothing here ever waits: what can't be done now returns -EAGAIN, whatever O_NONBLOCK says, and the system call's
 * one wrapper sleeps on `waitQueue` and calls again.
 */
import {
  O_ACCMODE,
  O_APPEND,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
  SEEK_CUR,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  SEEK_SET,
} from '../abi/constants.ts'
import { EBADF, EINVAL, EISDIR, ENODEV, ENOTDIR, ENOTTY, ENXIO, EOPNOTSUPP, ESPIPE } from '../abi/errno.ts'
import type { Credentials } from '../base/credentials.ts'
import type { IoDst, IoSrc } from '../base/io.ts'
import type { Status } from '../base/result.ts'
import type { WaitQueue } from '../base/wait-queue.ts'
import type { DirSink, Inode } from './inode.ts'
import type { LockServer } from './locks.ts'
import { holdPath, type Path } from './path.ts'

/** Regular files: so much is read or written within some milliseconds, if its pages are not there. */
export const IO_SHARE = 4 << 20

/** Where the bytes of a mapping come from: a descriptor of the sentry, or undefined for anonymous memory (/dev/zero). */
export interface MapSource {
  hostFd: number | undefined
  /** Added to the file offset. */
  offset: number
}

/** What an ioctl may touch: the caller's memory and identity. Implemented by the kernel. */
export interface IoctlContext {
  readonly cred: Credentials
  copyIn(address: number, into: Uint8Array): Status
  copyOut(address: number, from: Uint8Array): Status
  /** The calling task, for terminals (sessions, process groups); typed by the kernel. */
  readonly task: unknown
}

/** Somebody who must know when a File's last reference goes, before its `release`: epoll. */
export interface ReleaseHook {
  fileReleased(file: File): void
}

export abstract class File {
  readonly path: Path
  /** O_* status flags; those that F_SETFL may change are changed in place. */
  flags: number
  pos = 0
  /** Counted by vfs/file-ref.ts. */
  refs = 1
  /** Who opened it: for SCM_RIGHTS, proc and signal permission of F_SETOWN. */
  readonly cred: Credentials
  /** This open made the file: F_CREATED_QUERY. */
  created = false
  /** Counted among the writers of its inode and mount. */
  countsAsWriter = false
  /** Counted among the readers of its inode. */
  countsAsReader = false
  /** Nobody hears of what is done with it: it is a listener's (fanotify). */
  quiet = false
  /** LANDLOCK_ACCESS_FS_* that its opener did not have, of those that are asked for later. */
  denied = 0
  /** F_SETOWN: the Pid (of the kernel) that is signalled, what of it (F_OWNER_*), and who said so. F_SETSIG. */
  owner: unknown = undefined
  ownerType = 0
  ownerCred: Credentials | undefined = undefined
  ownerSignal = 0
  /** Told by filePut when the last reference goes. Made on first use. */
  releaseHooks: ReleaseHook[] | undefined = undefined
  /** A call that goes on holds its position (f_pos_lock), and who else needs it waits here. */
  longCall: WaitQueue | undefined = undefined

  constructor(path: Path, flags: number, cred: Credentials) {
    this.path = holdPath(path)
    this.flags = flags
    this.cred = cred
  }

  get inode(): Inode {
    return this.path.dentry.inode!
  }
  get readable(): boolean {
    return (this.flags & (O_ACCMODE | O_PATH)) === O_RDONLY || (this.flags & (O_ACCMODE | O_PATH)) === O_RDWR
  }
  get writable(): boolean {
    return (this.flags & (O_ACCMODE | O_PATH)) === O_WRONLY || (this.flags & (O_ACCMODE | O_PATH)) === O_RDWR
  }
  get nonblocking(): boolean {
    return (this.flags & O_NONBLOCK) !== 0
  }

  /** Whether it has a position: lseek, pread and pwrite work. */
  get seekable(): boolean {
    return false
  }
  /** Where to wait for readiness; undefined for what is always ready (regular files, directories). */
  get waitQueue(): WaitQueue | undefined {
    return undefined
  }
  /** Whether a blocking write goes on until all is written (pipes, stream sockets), as far as no signal comes. */
  get writesAll(): boolean {
    return false
  }
  /** Whether a write may say PENDING after it took its bytes: they must be there again at the next try. */
  get writesLater(): boolean {
    return false
  }
  /** Whether a write that fails with EPIPE also sends SIGPIPE. */
  get signalsPipe(): boolean {
    return true
  }
  /** Whether O_ASYNC has an effect on it: what wakes its `waitQueue` is then signalled. */
  get canSignal(): boolean {
    return false
  }
  /** With O_ASYNC a terminal has an owner: its foreground group's Pid, if there is one, else the caller's. */
  get ownedWhenAsync(): boolean {
    return false
  }
  defaultOwner(): unknown {
    return undefined
  }
  /** Whether open(2) must still wait on `waitQueue` before it returns this file: FIFOs. */
  get openPending(): boolean {
    return false
  }
  /** Whether changes of what `poll` says are the host's to tell, which may take a moment. */
  get toldByHost(): boolean {
    return false
  }
  /** Whether only the processes that have it mapped reach its bytes: memfd_secret(2). */
  get secret(): boolean {
    return false
  }
  /** Whether it can go through a socket (SCM_RIGHTS). */
  get passable(): boolean {
    return true
  }
  /** F_SETOWN has given it an owner: a socket tells that one of urgent data. */
  owned(): void {}
  /**
   * How many bytes of one read or write are moved before others have their turn, where a read or write of more is as good as
   * several; 0: it comes in one piece, which is never so much.
   */
  get share(): number {
    return this.inode.isRegular ? IO_SHARE : 0
  }
  /** How long a blocking read or write waits at most, in ns (SO_RCVTIMEO, SO_SNDTIMEO); Infinity: for ever. */
  get readTimeout(): number {
    return Number.POSITIVE_INFINITY
  }
  get writeTimeout(): number {
    return Number.POSITIVE_INFINITY
  }
  /** What /proc/PID/fdinfo shows below the common lines: whole lines. */
  fdinfo(): string {
    return ''
  }
  /** The POLL* bits that hold now. */
  poll(): number {
    return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
  }
  /**
   * `poll` for a call that can wait for the answer: or PENDING. `wanted`: the bits that are asked for; `waits`: whether the
   * caller is going to sleep on `pollQueue` until one of them holds.
   */
  pollNow(_wanted: number, _waits: boolean): number {
    return this.poll()
  }
  /** What is woken when `poll` may say something else; undefined for what can't be watched by epoll. */
  get pollQueue(): WaitQueue | undefined {
    return this.waitQueue
  }

  /** read(2) at the file's own position. Seekable files implement `readAt` only. */
  read(into: IoDst): number {
    if (!this.seekable) return -EINVAL
    const n = this.readAt(into, this.pos)
    if (n > 0) this.pos += n
    return n
  }
  /** write(2); O_APPEND has meaning for seekable files only. */
  write(from: IoSrc): number {
    if (!this.seekable) return -EINVAL
    if ((this.flags & O_APPEND) !== 0) {
      const status = this.inode.getattr()
      if (status < 0) return status
      this.pos = this.inode.size
    }
    const n = this.writeAt(from, this.pos)
    if (n > 0) this.pos += n
    return n
  }
  readAt(_into: IoDst, _offset: number): number {
    return this.seekable ? -EINVAL : -ESPIPE
  }
  writeAt(_from: IoSrc, _offset: number): number {
    return this.seekable ? -EINVAL : -ESPIPE
  }

  /** lseek(2), SEEK_DATA and SEEK_HOLE are for those that know holes. */
  seek(offset: number, whence: number): number {
    if (!this.seekable) return -ESPIPE
    let at: number
    if (whence === SEEK_SET) at = offset
    else if (whence === SEEK_CUR) at = this.pos + offset
    else if (whence === SEEK_END) {
      const status = this.inode.getattr()
      if (status < 0) return status
      at = this.inode.size + offset
    } else return this.seekHole(offset, whence)
    if (at < 0 || at > Number.MAX_SAFE_INTEGER) return -EINVAL
    this.pos = at
    return at
  }
  /** As a file without holes: data to the end, and a hole there. */
  protected seekHole(offset: number, whence: number): number {
    if (!this.inode.isRegular || (whence !== SEEK_DATA && whence !== SEEK_HOLE)) return -EINVAL
    const status = this.inode.getattr()
    if (status < 0) return status
    const size = this.inode.size
    if (offset < 0 || offset >= size) return -ENXIO
    this.pos = whence === SEEK_DATA ? offset : size
    return this.pos
  }

  ioctl(_context: IoctlContext, _request: number, _argument: number): number {
    return -ENOTTY
  }
  /** What mmap(2) of it maps; -ENODEV when it can't be mapped. `flags` are MAP_*, `prot` PROT_*. */
  mapping(_offset: number, _length: number, _prot: number, _flags: number): MapSource | number {
    return -ENODEV
  }
  /** munmap(2) of a shared mapping: what was written by it is on its way to the file, or PENDING. */
  flushMapping(): Status {
    return 0
  }
  /** It is about to be read and mapped as a program, by who can't wait any more then. */
  prepareProgram(): Status {
    return 0
  }
  fsync(_dataOnly: boolean): Status {
    return -EINVAL
  }
  fallocate(_mode: number, _offset: number, _length: number): Status {
    return this.inode.isDir ? -EISDIR : -EOPNOTSUPP
  }
  /** Directories: entries from the position on, '.' and '..' included. */
  readdir(_sink: DirSink): Status {
    return -ENOTDIR
  }
  /**
   * As `readdir`, in the records of getdents64(2): as many as fit into `room` bytes, none at the end; -EINVAL when there
   * is no room for the next one. What it gives is to be used at once.
   */
  readDirents(_room: number): Uint8Array | number {
    return -ENOTDIR
  }
  /** A host descriptor whose bytes are this file's own at equal offsets (hostfs, memfd), for copies inside the host. */
  get hostFd(): number | undefined {
    return undefined
  }

  /**
   * copy_file_range(2) within the host: up to `length` bytes of `source` to `offset` of this file. -EOPNOTSUPP or -EXDEV
   * when the caller must read and write instead.
   */
  copyFrom(_source: File, _sourceOffset: number, _offset: number, _length: number): number {
    return -EOPNOTSUPP
  }

  /** F_GET_SEALS and F_ADD_SEALS: -EINVAL for what has no seals. */
  seals(): number {
    return -EINVAL
  }
  addSeals(_seals: number): Status {
    return -EINVAL
  }

  /** Who keeps the locks of it, if that is not the kernel. */
  get lockServer(): LockServer | undefined {
    return undefined
  }

  /** A descriptor of it was closed (flush), whose table was `owner`: POSIX locks go here. */
  flush(_owner?: object): Status {
    return 0
  }
  /** close(2) is about to let the last reference go: what it will wait for afterwards, undefined for nothing. */
  linger(): Lingering | undefined {
    return undefined
  }
  /** The last reference is gone. */
  release(): void {}
}

/** What is still going on of a File that is closed, and somebody waits for. */
export interface Lingering {
  readonly over: boolean
  readonly queue: WaitQueue
  /** Monotonic ns: who has waited so long goes on. */
  readonly deadline: number
  /** Nobody waits any more. */
  end(): void
}

/** O_PATH descriptors: a place, nothing more. */
export class PathFile extends File {
  override poll(): number {
    return 0
  }
  override read(): number {
    return -EBADF
  }
  override write(): number {
    return -EBADF
  }
  override seek(): number {
    return -EBADF
  }
}
