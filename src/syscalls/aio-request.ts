/** The requests of io_submit(2): one iocb each. Made when it is accepted; over when its event is in the ring. */
import {
  IOCB_CMD_FDSYNC,
  IOCB_CMD_FSYNC,
  IOCB_CMD_POLL,
  IOCB_CMD_PREAD,
  IOCB_CMD_PREADV,
  IOCB_CMD_PWRITE,
  IOCB_CMD_PWRITEV,
  POLLERR,
  POLLHUP,
  RWF_APPEND,
  RWF_DSYNC,
  RWF_HIPRI,
  RWF_NOAPPEND,
  RWF_NOWAIT,
  RWF_SYNC,
} from '../abi/constants.ts'
import { EBADF, ECANCELED, EFAULT, EINVAL, EISDIR, EOPNOTSUPP } from '../abi/errno.ts'
import { IO_EVENT, IOCB } from '../abi/layout.ts'
import type { OrErrno } from '../base/result.ts'
import type { WaitEntry } from '../base/wait-queue.ts'
import { put64 } from '../base/words.ts'
import type { AioContext } from '../fs/aio/context.ts'
import { EventFdFile } from '../fs/eventfd/eventfd.ts'
import { Operation } from '../kernel/operation.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { segmentsDst, segmentsSrc } from '../mm/user-access.ts'
import type { File } from '../vfs/file.ts'
import { fileGet, filePut } from '../vfs/file-ref.ts'
import { fileOf } from './at.ts'
import { OWN_POSITION, readTo, writeOf } from './read-write.ts'

const RWF_KNOWN = RWF_HIPRI | RWF_NOWAIT | RWF_DSYNC | RWF_SYNC | RWF_APPEND | RWF_NOAPPEND

/** struct iocb, read once. */
export interface Iocb {
  readonly at: GuestAddr
  /** aio_data, which comes back in the event. */
  readonly data: Uint8Array
  readonly rwFlags: number
  readonly opcode: number
  readonly fd: number
  readonly buffer: GuestAddr
  readonly length: number
  readonly offset: number
  /** IOCB_FLAG_RESFD. */
  readonly eventFd: number | undefined
}

export abstract class AioRequest extends Operation {
  readonly iocb: Iocb
  override readonly file: File
  readonly #context: AioContext
  readonly #eventFd: EventFdFile | undefined
  /** The result in its event when io_cancel(2) ends it. */
  readonly cancelled: number = -ECANCELED

  constructor(task: Task, context: AioContext, iocb: Iocb, file: File, eventFd: EventFdFile | undefined) {
    super(task)
    this.#context = context
    this.iocb = iocb
    this.file = fileGet(file)
    this.#eventFd = eventFd
    if (eventFd !== undefined) fileGet(eventFd)
  }

  protected override finished(result: number): void {
    const event = new DataView(new ArrayBuffer(IO_EVENT.size))
    const bytes = new Uint8Array(event.buffer)
    bytes.set(this.iocb.data, IO_EVENT.data)
    put64(event, IO_EVENT.obj, this.iocb.at)
    event.setInt32(IO_EVENT.res, result, true)
    event.setInt32(IO_EVENT.res + 4, result < 0 ? -1 : 0, true)
    this.#context.active.delete(this)
    this.#context.complete(bytes)
    if (this.#eventFd !== undefined) {
      this.#eventFd.signal()
      filePut(this.#eventFd)
    }
    filePut(this.file)
  }
}

/** Where its bytes go or come from: base and length by turns, as it was when the request was accepted. */
class TransferRequest extends AioRequest {
  readonly #segments: readonly number[]
  readonly #write: boolean

  constructor(
    task: Task,
    context: AioContext,
    iocb: Iocb,
    file: File,
    eventFd: EventFdFile | undefined,
    segments: readonly number[],
    write: boolean,
  ) {
    super(task, context, iocb, file, eventFd)
    this.#segments = segments
    this.#write = write
  }

  protected override run(task: Task): number {
    const { file, iocb } = this
    const offset = file.seekable ? iocb.offset : OWN_POSITION
    if (this.#write) {
      return writeOf(task, file, segmentsSrc(task.mm, this.#segments), offset, iocb.rwFlags, file.nonblocking)
    }
    const n = readTo(task, file, segmentsDst(task.mm, this.#segments), offset, iocb.rwFlags, file.nonblocking)
    // What has no such way of reading, directories among it.
    return n === -EISDIR ? -EINVAL : n
  }
}

class SyncRequest extends AioRequest {
  protected override run(): number {
    return this.file.fsync(this.iocb.opcode === IOCB_CMD_FDSYNC)
  }
}

/** One event of a file. It needs nothing of its task, and outlives it. */
class PollRequest extends AioRequest {
  override readonly cancelled = 0
  /** What the wake-up said that ended the waiting: it is the result as it is. */
  #told = 0

  protected override get endsWithTask(): boolean {
    return false
  }
  override woken(entry: WaitEntry, events: number): void {
    this.#told = events
    super.woken(entry, events)
  }
  protected override run(): number {
    if (this.#told !== 0) return this.#told
    const wanted = this.iocb.buffer | POLLERR | POLLHUP
    const events = this.file.poll() & wanted
    const queue = this.file.waitQueue
    return events !== 0 || queue === undefined ? events : this.block(queue, wanted)
  }
}

/** Checks an iocb in Linux's order. The request is to be tried. */
export function prepareIocb(task: Task, context: AioContext, iocb: Iocb): OrErrno<AioRequest> {
  const file = fileOf(task, iocb.fd)
  if (file === undefined) return -EBADF
  let eventFd: EventFdFile | undefined
  if (iocb.eventFd !== undefined) {
    const found = fileOf(task, iocb.eventFd)
    if (found === undefined) return -EBADF
    if (!(found instanceof EventFdFile)) return -EINVAL
    eventFd = found
  }
  if (task.mm.putU32(iocb.at + IOCB.aio_key, 0) < 0) return -EFAULT
  switch (iocb.opcode) {
    case IOCB_CMD_PREAD:
    case IOCB_CMD_PREADV:
    case IOCB_CMD_PWRITE:
    case IOCB_CMD_PWRITEV:
      return prepareTransfer(task, context, iocb, file, eventFd)
    case IOCB_CMD_FSYNC:
    case IOCB_CMD_FDSYNC:
      if (iocb.buffer !== 0 || iocb.offset !== 0 || iocb.length !== 0 || iocb.rwFlags !== 0) return -EINVAL
      return file.inode.isRegular || file.inode.isDir
        ? new SyncRequest(task, context, iocb, file, eventFd)
        : -EINVAL
    case IOCB_CMD_POLL:
      if (iocb.buffer > 0xffff || iocb.offset !== 0 || iocb.length !== 0 || iocb.rwFlags !== 0) return -EINVAL
      return new PollRequest(task, context, iocb, file, eventFd)
    default:
      return -EINVAL
  }
}

function prepareTransfer(
  task: Task,
  context: AioContext,
  iocb: Iocb,
  file: File,
  eventFd: EventFdFile | undefined,
): OrErrno<AioRequest> {
  const { opcode, buffer, length, rwFlags } = iocb
  const write = opcode === IOCB_CMD_PWRITE || opcode === IOCB_CMD_PWRITEV
  if ((rwFlags & ~RWF_KNOWN) !== 0) return -EOPNOTSUPP
  if (write ? !file.writable : !file.readable) return -EBADF
  if (file.inode.isDir) return -EINVAL
  const vector = opcode === IOCB_CMD_PREADV || opcode === IOCB_CMD_PWRITEV
  if (!vector && !task.mm.accessOk(buffer, length)) return -EFAULT
  const segments = vector ? task.mm.importIovec(buffer, length) : [buffer, length]
  if (typeof segments === 'number') return segments
  if (file.seekable && iocb.offset < 0) return -EINVAL
  return new TransferRequest(task, context, iocb, file, eventFd, segments, write)
}
