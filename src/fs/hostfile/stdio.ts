/**
 * Files over descriptors that the sandbox was started with: pipes, sockets, regular files. The host's description is
 * shared with whoever started the sandbox, so its flags are left alone: a blocking descriptor is asked by poll before
 * each transfer, and only as much is written as then can't wait.
 *
 * A HostStream is the descriptor, a HostStreamFile one open of it: /dev/stdin leads to the first, opened again it gives
 * another one, as for a pipe on Linux.
 */
import {
  AT_EMPTY_PATH,
  F_GETFL,
  FIONREAD,
  O_ACCMODE,
  O_APPEND,
  O_NONBLOCK,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  SEEK_CUR,
} from '../../abi/constants.ts'
import { EAGAIN, EINVAL, EPERM, ESPIPE } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { type Host, type HostStat, newHostStat } from '../../platform/host.ts'
import { AnonInode } from '../../vfs/anon.ts'
import { File, type IoctlContext, type MapSource } from '../../vfs/file.ts'
import type { AttrChange } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { makedev } from '../../vfs/vfs.ts'

/** A pipe that can be written to takes this much without waiting (PIPE_BUF). */
const SURE = 4096
const PIECE = 65536
const MOST = 1 << 20

/** How a host descriptor is taken. */
export interface HostStreamOptions {
  /** What /proc/PID/fd shows; by default the name of a pipe or a deleted file. */
  readonly name?: string
  /** The descriptor is closed when nobody has it open any more; otherwise it stays the caller's. */
  readonly owned?: boolean
  /** Who the guest sees as its owner, so that a process may open its /dev/stdout; the host's if absent. */
  readonly owner?: { readonly uid: number; readonly gid: number }
}

class HostStream {
  readonly host: Host
  readonly fd: number
  readonly regular: boolean
  readonly #queue = new WaitQueue()
  #watched = false

  constructor(host: Host, fd: number, regular: boolean) {
    this.host = host
    this.fd = fd
    this.regular = regular
  }

  /** Somebody is about to wait: the host tells of changes from here on. */
  get queue(): WaitQueue {
    if (!this.#watched) {
      this.#watched = true
      this.host.watch(this.fd, POLLIN | POLLOUT, events => {
        this.#queue.wakeAll(events | (events & POLLIN ? POLLRDNORM : 0) | (events & POLLOUT ? POLLWRNORM : 0))
      })
    }
    return this.#queue
  }

  poll(): number {
    const events = this.host.poll(this.fd, POLLIN | POLLOUT)
    if (events < 0) return POLLERR
    return events | (events & POLLIN ? POLLRDNORM : 0) | (events & POLLOUT ? POLLWRNORM : 0)
  }

  close(): void {
    if (this.#watched) this.host.unwatch(this.fd)
    this.host.close(this.fd)
  }
}

class HostStreamInode extends AnonInode {
  readonly stream: HostStream
  readonly #stat: HostStat = newHostStat()
  readonly #options: HostStreamOptions

  constructor(kernel: Kernel, stream: HostStream, options: HostStreamOptions) {
    super(kernel.anonFs, kernel.anonFs.nextIno, S_IFIFO | 0o600)
    this.stream = stream
    this.#options = options
    this.getattr()
  }
  override release(): void {
    if (this.#options.owned === true) this.stream.close()
  }
  override get opensItself(): boolean {
    return true
  }
  override open(path: Path, flags: number, cred: Credentials): File {
    return new HostStreamFile(path, flags, cred, this.stream)
  }

  override getattr(): Status {
    const stat = this.#stat
    const status = this.stream.host.statx(this.stream.fd, '', AT_EMPTY_PATH, stat)
    if (status < 0) return status
    this.ino = stat.ino
    // A socket of the host's can't be asked anything that a guest would ask a socket: it is shown as a pipe.
    const socket = (stat.mode & S_IFMT) === S_IFSOCK
    this.mode = socket ? (stat.mode & ~S_IFMT) | S_IFIFO : stat.mode
    this.uid = this.#options.owner?.uid ?? stat.uid
    this.gid = this.#options.owner?.gid ?? stat.gid
    this.size = stat.size
    this.rdev = makedev(stat.rdevMajor, stat.rdevMinor)
    this.nlink = stat.nlink
    this.atime.sec = stat.atimeSec
    this.atime.nsec = stat.atimeNsec
    this.mtime.sec = stat.mtimeSec
    this.mtime.nsec = stat.mtimeNsec
    this.ctime.sec = stat.ctimeSec
    this.ctime.nsec = stat.ctimeNsec
    return 0
  }

  /** The file is lent: its owner's attributes stay, its length may be changed by who may write it. */
  override setattr(change: AttrChange): Status {
    if (change.mode !== undefined || change.uid !== undefined || change.gid !== undefined) return -EPERM
    return change.size === undefined ? 0 : this.stream.host.ftruncate(this.stream.fd, change.size)
  }
}

export class HostStreamFile extends File {
  readonly #stream: HostStream

  constructor(path: Path, flags: number, cred: Credentials, stream: HostStream) {
    super(path, flags, cred)
    this.#stream = stream
  }

  override get seekable(): boolean {
    return this.#stream.regular
  }
  override get waitQueue(): WaitQueue | undefined {
    return this.#stream.regular ? undefined : this.#stream.queue
  }
  override get writesAll(): boolean {
    return !this.#stream.regular
  }
  override get hostFd(): number | undefined {
    return this.#stream.regular ? this.#stream.fd : undefined
  }
  override poll(): number {
    if (this.#stream.regular) return super.poll()
    const events = this.#stream.poll()
    const relevant =
      (this.readable ? POLLIN | POLLRDNORM | POLLHUP : 0) |
      (this.writable ? POLLOUT | POLLWRNORM : 0) |
      POLLERR |
      POLLHUP
    return events & relevant
  }

  override read(into: IoDst): number {
    const { host, fd, regular } = this.#stream
    if (into.remaining === 0) return 0
    let done = 0
    while (into.remaining > 0 && done < MOST) {
      if (!regular) {
        const events = host.poll(fd, POLLIN)
        if (events < 0) return events
        if ((events & (POLLIN | POLLHUP | POLLERR)) === 0) return done > 0 ? done : -EAGAIN
      }
      const window = into.window(PIECE)
      const n = host.pread(fd, window, -1)
      if (n <= 0) {
        if (done > 0) break
        return n
      }
      const status = into.commit(n)
      if (status < 0) return done > 0 ? done : status
      done += n
      // A terminal or socket gives what it has; only files are read on.
      if (n < window.length || !regular) break
    }
    this.#followPosition()
    return done
  }

  override write(from: IoSrc): number {
    const { host, fd, regular } = this.#stream
    let done = 0
    while (from.remaining > 0 && done < MOST) {
      if (!regular) {
        const events = host.poll(fd, POLLOUT)
        if (events < 0) return done > 0 ? done : events
        if ((events & (POLLOUT | POLLERR | POLLHUP)) === 0) return done > 0 ? done : -EAGAIN
      }
      const window = from.window(regular ? PIECE : SURE)
      if (typeof window === 'number') return done > 0 ? done : window
      const n = host.pwrite(fd, window, -1)
      if (n < 0) return done > 0 ? done : n
      from.consume(n)
      done += n
      if (n < window.length) break
    }
    this.#followPosition()
    return done
  }

  override readAt(into: IoDst, offset: number): number {
    if (!this.seekable) return -ESPIPE
    const window = into.window(Math.min(into.remaining, MOST))
    const n = this.#stream.host.pread(this.#stream.fd, window, offset)
    if (n <= 0) return n
    const status = into.commit(n)
    return status < 0 ? status : n
  }

  override writeAt(from: IoSrc, offset: number): number {
    if (!this.seekable) return -ESPIPE
    const window = from.window(Math.min(from.remaining, MOST))
    if (typeof window === 'number') return window
    const n = this.#stream.host.pwrite(this.#stream.fd, window, offset)
    if (n > 0) from.consume(n)
    return n
  }

  /** The position is that of the host's description, which others use too. */
  override seek(offset: number, whence: number): number {
    if (!this.seekable) return -ESPIPE
    const at = this.#stream.host.lseek(this.#stream.fd, offset, whence)
    if (at >= 0) this.pos = at
    return at
  }
  #followPosition(): void {
    if (!this.#stream.regular) return
    const at = this.#stream.host.lseek(this.#stream.fd, 0, SEEK_CUR)
    if (at >= 0) this.pos = at
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request !== FIONREAD || this.#stream.regular) return super.ioctl(context, request, argument)
    const count = new Uint8Array(4)
    const status = this.#stream.host.ioctl(this.#stream.fd, FIONREAD, count)
    return status < 0 ? status : context.copyOut(argument, count)
  }

  override mapping(offset: number, length: number, prot: number, flags: number): MapSource | number {
    if (!this.#stream.regular) return super.mapping(offset, length, prot, flags)
    return { hostFd: this.#stream.fd, offset: 0 }
  }
  override fsync(dataOnly: boolean): Status {
    const { host, fd, regular } = this.#stream
    if (!regular) return -EINVAL
    return dataOnly ? host.fdatasync(fd) : host.fsync(fd)
  }
  override fallocate(mode: number, offset: number, length: number): Status {
    if (!this.#stream.regular) return -ESPIPE
    return this.#stream.host.fallocate(this.#stream.fd, mode, offset, length)
  }
}

/** A file over a host descriptor. */
export function openHostStream(
  kernel: Kernel,
  fd: number,
  cred: Credentials,
  options: HostStreamOptions = {},
): HostStreamFile {
  const stat = newHostStat()
  kernel.host.statx(fd, '', AT_EMPTY_PATH, stat)
  const type = stat.mode & S_IFMT
  // /dev/null and its like never make anybody wait, and can be sought in.
  const memoryDevice = type === S_IFCHR && stat.rdevMajor === 1
  const regular = type === S_IFREG || memoryDevice
  const stream = new HostStream(kernel.host, fd, regular)
  const flags = Math.max(0, kernel.host.fcntl(fd, F_GETFL, 0)) & (O_ACCMODE | O_APPEND | O_NONBLOCK)
  const inode = new HostStreamInode(kernel, stream, options)
  const path = kernel.anonFs.pathOf(options.name ?? defaultName(stat), inode)
  const file = new HostStreamFile(path, flags & ~O_NONBLOCK, cred, stream)
  if (regular) file.pos = Math.max(0, kernel.host.lseek(fd, 0, SEEK_CUR))
  return file
}

function defaultName(stat: HostStat): string {
  const type = stat.mode & S_IFMT
  if (type === S_IFREG) return `/host-file:[${stat.ino}]`
  if (type !== S_IFCHR) return `pipe:[${stat.ino}]`
  return stat.rdevMajor === 1 && stat.rdevMinor === 3 ? '/dev/null' : `/host-device:[${stat.ino}]`
}
