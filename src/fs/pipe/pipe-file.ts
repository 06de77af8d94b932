/** The ends of a pipe as open file descriptions, and how FIFOs are opened: pipe(7), fifo(7). */
import {
  CAP_SYS_RESOURCE,
  FIONREAD,
  O_ACCMODE,
  O_DIRECT,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  S_IFIFO,
} from '../../abi/constants.ts'
import { EBADF, EINVAL, ENOMEM, ENXIO, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { OrErrno } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { type AnonFs, AnonInode } from '../../vfs/anon.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import { PIPE_DEFAULT_SLOTS, PIPE_PAGE, Pipe } from './pipe.ts'

/** The most that Linux can allocate in one piece: 4 MiB of struct pipe_buffer. */
const MAX_SLOTS = 65536

export class PipeFile extends File {
  readonly pipe: Pipe
  /** The number of writer opens at which POLLHUP stays hidden: those of before a nonblocking open. -1: not hidden. */
  #quietAt = -1
  /** What the other side's number of opens was when this open began to wait for it; -1: it does not wait. */
  #awaitedReader = -1
  #awaitedWriter = -1
  readonly #reading: boolean
  readonly #writing: boolean

  constructor(path: Path, flags: number, cred: Credentials, pipe: Pipe) {
    super(path, flags, cred)
    this.pipe = pipe
    this.#reading = this.readable
    this.#writing = this.writable
    pipe.opened(this.#reading, this.#writing)
  }

  override get waitQueue(): WaitQueue {
    return this.pipe.queue
  }
  override get canSignal(): boolean {
    return true
  }
  override get writesAll(): boolean {
    return true
  }
  override poll(): number {
    const quiet = this.#quietAt === this.pipe.writerOpens
    return this.pipe.poll(this.#reading, this.#writing, quiet)
  }
  override read(into: IoDst): number {
    return this.#reading ? this.pipe.read(into) : -EBADF
  }
  override write(from: IoSrc): number {
    return this.#writing ? this.pipe.write(from, (this.flags & O_DIRECT) !== 0) : -EBADF
  }
  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request !== FIONREAD) return super.ioctl(context, request, argument)
    const out = new Uint8Array(4)
    new DataView(out.buffer).setInt32(0, this.pipe.bytes, true)
    return context.copyOut(argument, out)
  }
  override release(): void {
    this.pipe.closed(this.#reading, this.#writing)
    if (this.pipe.readers === 0 && this.pipe.writers === 0 && this.inode.special === this.pipe) {
      this.inode.special = undefined
    }
  }

  /** F_GETPIPE_SZ. */
  get capacity(): number {
    return this.pipe.maxSlots * PIPE_PAGE
  }
  /** F_SETPIPE_SZ: the new capacity, rounded up to a power of two; `limit` is /proc/sys/fs/pipe-max-size. */
  setCapacity(bytes: number, cred: Credentials, limit: number): number {
    if (bytes > 0x80000000) return -EINVAL
    let size = PIPE_PAGE
    while (size < bytes) size *= 2
    const slots = size / PIPE_PAGE
    if (slots > this.pipe.maxSlots && size > limit && !cred.capable(CAP_SYS_RESOURCE)) return -EPERM
    if (slots > MAX_SLOTS) return -ENOMEM
    const status = this.pipe.resize(slots)
    return status < 0 ? status : size
  }

  /** Whether the open of a FIFO still waits for somebody at the other end: wait on `waitQueue` and ask again. */
  override get openPending(): boolean {
    if (this.#awaitedWriter >= 0 && this.pipe.writerOpens === this.#awaitedWriter) return true
    if (this.#awaitedReader >= 0 && this.pipe.readerOpens === this.#awaitedReader) return true
    this.#awaitedReader = this.#awaitedWriter = -1
    return false
  }
  awaitWriter(): void {
    this.#awaitedWriter = this.pipe.writerOpens
  }
  awaitReader(): void {
    this.#awaitedReader = this.pipe.readerOpens
  }
  hideHangup(): void {
    this.#quietAt = this.pipe.writerOpens
  }
}

/** pipe(2): the two ends. `flags`: O_NONBLOCK and O_DIRECT. */
export function makePipe(
  anonFs: AnonFs,
  flags: number,
  cred: Credentials,
): [reader: PipeFile, writer: PipeFile] {
  const path = anonFs.path(`pipe:[${anonFs.nextIno}]`, S_IFIFO | 0o600, cred.fsuid, cred.fsgid)
  const pipe = new Pipe(PIPE_DEFAULT_SLOTS)
  path.dentry.inode!.special = pipe
  const reader = new PipeFile(path, O_RDONLY | (flags & O_NONBLOCK), cred, pipe)
  const writer = new PipeFile(path, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT)), cred, pipe)
  return [reader, writer]
}

/** The pipe of a FIFO's inode, made by the first open. */
function fifoPipe(path: Path): Pipe {
  const inode = path.dentry.inode!
  if (!(inode.special instanceof Pipe)) inode.special = new Pipe(PIPE_DEFAULT_SLOTS)
  return inode.special as Pipe
}

/**
 * Opens a FIFO. The File counts as open at once; when `openPending` says so, open(2) must not return before it stops
 * to, and drops the File if a signal comes first.
 * A pipe's own inode, reached through /proc/PID/fd, never makes anybody wait. The kernel's `vfs.openFifo`.
 */
export function openFifo(path: Path, flags: number, cred: Credentials): OrErrno<PipeFile> {
  const anonymous = path.dentry.inode instanceof AnonInode
  const access = flags & O_ACCMODE
  const nonblocking = (flags & O_NONBLOCK) !== 0
  if (access !== O_RDONLY && access !== O_WRONLY && access !== O_RDWR) return -EINVAL
  const pipe = fifoPipe(path)
  if (access === O_WRONLY && nonblocking && !anonymous && pipe.readers === 0) return -ENXIO
  const file = new PipeFile(path, flags, cred, pipe)
  if (anonymous || access === O_RDWR) return file
  if (access === O_RDONLY && pipe.writers === 0) {
    if (nonblocking) file.hideHangup()
    else file.awaitWriter()
  }
  if (access === O_WRONLY && pipe.readers === 0) file.awaitReader()
  return file
}
