/**
 * An open file of a FUSE file system. The server has the data: each read and write goes to it, but for what a sequential
 * reader has been given ahead. A transfer of many requests is one call of the kernel's: its answers are put together when
 * the last one is there.
 */
import {
  FOPEN_DIRECT_IO,
  FOPEN_NOFLUSH,
  FOPEN_NONSEEKABLE,
  FOPEN_STREAM,
  FUSE_COPY_FILE_RANGE,
  FUSE_FALLOCATE,
  FUSE_FLUSH,
  FUSE_FSYNC,
  FUSE_FSYNC_FDATASYNC,
  FUSE_LSEEK,
  FUSE_READ,
  FUSE_WRITE,
  MAP_SHARED,
  O_APPEND,
  O_DSYNC,
  O_SYNC,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, EIO, ENODEV, ENOSYS, EOPNOTSUPP, ESPIPE } from '../../abi/errno.ts'
import {
  FUSE_COPY_FILE_RANGE_IN,
  FUSE_FALLOCATE_IN,
  FUSE_FLUSH_IN,
  FUSE_FSYNC_IN,
  FUSE_LSEEK_IN,
  FUSE_LSEEK_OUT,
  FUSE_READ_IN,
  FUSE_WRITE_IN,
  FUSE_WRITE_OUT,
} from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import { failed, PENDING, type Status } from '../../base/result.ts'
import { File, type IoctlContext, type MapSource } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import type { FuseHandle } from './handle.ts'
import { FuseInode } from './inode.ts'
import { deviceControl } from './ioctl.ts'
import { type AnswerShape, NO_ANSWER } from './request.ts'
import { Message, readNumber } from './wire.ts'

/** What a sequential reader is given ahead. */
const READAHEAD = 128 * 1024
const PAGE_SIZE = 4096
/** What one read takes at most: its answers stay until it is whole. Longer ones are short. */
const MAX_READ = 16 * 1024 * 1024
const WRITE_ANSWER: AnswerShape = { min: FUSE_WRITE_OUT.size, max: FUSE_WRITE_OUT.size }
const LSEEK_ANSWER: AnswerShape = { min: FUSE_LSEEK_OUT.size, max: FUSE_LSEEK_OUT.size }

/** Bytes that the server gave beyond what was read. */
interface Ahead {
  readonly start: number
  readonly bytes: Uint8Array
  readonly version: number
}

export class FuseFile extends File {
  readonly node: FuseInode
  readonly handle: FuseHandle
  #ahead: Ahead | undefined = undefined
  /** Where the next read begins, if the reader is sequential. */
  #expected = 0
  /** The call in which a write has synced already. */
  #syncedBy: unknown = undefined
  /** A program's file, which is read from the pages it is mapped by. */
  #mapped = false

  constructor(path: Path, flags: number, cred: Credentials, node: FuseInode, handle: FuseHandle) {
    super(path, flags, cred)
    this.node = node
    this.handle = handle
    handle.get()
    if (this.writable) node.writing = handle
  }

  override get writesLater(): boolean {
    return true
  }
  override get seekable(): boolean {
    return (this.handle.flags & (FOPEN_NONSEEKABLE | FOPEN_STREAM)) === 0
  }

  override read(into: IoDst): number {
    if (this.seekable) return super.read(into)
    const n = this.#readAt(into, this.pos)
    if (n > 0) this.pos += n
    return n
  }
  override write(from: IoSrc): number {
    if ((this.flags & O_APPEND) === 0 && this.seekable) return super.write(from)
    if (this.seekable) {
      // The end must not move between the question for it and the write.
      const locked = FuseInode.lock(this.node)
      return locked < 0 ? locked : super.write(from)
    }
    const n = this.#writeAt(from, this.pos)
    if (n > 0) this.pos += n
    return n
  }
  override readAt(into: IoDst, offset: number): number {
    return this.seekable ? this.#readAt(into, offset) : -ESPIPE
  }
  override writeAt(from: IoSrc, offset: number): number {
    return this.seekable ? this.#writeAt(from, offset) : -ESPIPE
  }

  /** Nothing is put before everything is there: some targets, such as a pipe, can't take the same twice. */
  #readAt(into: IoDst, offset: number): number {
    if (this.#mapped) return this.node.pages.readAt(into, offset)
    const { connection, dataVersion } = this.node
    const direct = (this.handle.flags & FOPEN_DIRECT_IO) !== 0
    const sequential = offset === this.#expected
    const wanted = Math.min(into.remaining, MAX_READ)
    const pieces: Uint8Array[] = []
    let got = 0
    for (let last = false; got < wanted && !last; ) {
      const at = offset + got
      let piece: Uint8Array | number | undefined = this.#givenAhead(at)
      if (piece === undefined) {
        let size = wanted - got
        if (!direct) size = Math.max(sequential ? READAHEAD : PAGE_SIZE, size)
        size = Math.min(size, connection.readSize)
        piece = this.#ask(at, size)
        if (piece === PENDING || (typeof piece === 'number' && got === 0)) return piece
        if (typeof piece === 'number') break
        last = piece.length < size
      }
      pieces.push(piece)
      got += piece.length
    }
    let done = 0
    for (const piece of pieces) {
      const n = into.put(piece)
      if (n < 0) return done > 0 ? done : n
      done += n
      if (n === piece.length) continue
      if (!direct) this.#ahead = { start: offset + done, bytes: piece.subarray(n), version: dataVersion }
      break
    }
    this.#expected = offset + done
    return done
  }

  #givenAhead(at: number): Uint8Array | undefined {
    const ahead = this.#ahead
    if (ahead === undefined || ahead.version !== this.node.dataVersion) return undefined
    const { start, bytes } = ahead
    return at >= start && at < start + bytes.length ? bytes.subarray(at - start) : undefined
  }

  #ask(offset: number, size: number): Uint8Array | number {
    const { connection, node } = this.node
    const { fh } = this.handle
    const answer = connection.call(FUSE_READ, node, `${offset}+${size}`, { min: 0, max: size }, () =>
      new Message(FUSE_READ_IN.size)
        .u64(FUSE_READ_IN.fh, fh)
        .number(FUSE_READ_IN.offset, offset)
        .u32(FUSE_READ_IN.size_, size)
        .u32(FUSE_READ_IN.flags, this.flags),
    )
    if (failed(answer)) return answer
    const { buffer, byteOffset, byteLength } = answer.reply
    return new Uint8Array(buffer, byteOffset, byteLength)
  }

  #writeAt(from: IoSrc, offset: number): number {
    const { node } = this
    const { connection } = node
    const total = from.remaining
    if (total === 0) return 0
    const locked = FuseInode.lock(node)
    if (locked < 0) return locked
    let done = 0
    while (done < total) {
      const at = offset + done
      const size = Math.min(total - done, connection.writeSize)
      const answer = connection.call(FUSE_WRITE, node.node, `${at}+${size}`, WRITE_ANSWER, () =>
        this.#writeMessage(from, at, size),
      )
      if (answer === PENDING) return PENDING
      if (failed(answer)) return done > 0 ? done : answer
      const n = answer.reply.getUint32(FUSE_WRITE_OUT.size_, true)
      if (n > size) return -EIO
      from.consume(n)
      done += n
      if (n < size) break
    }
    // Before anything shows that it was written: from here on the call must not wait again.
    if ((this.flags & O_DSYNC) !== 0) {
      const synced = this.fsync((this.flags & O_SYNC) !== O_SYNC)
      if (synced < 0) return synced
      this.#syncedBy = connection.kernel.current?.requests
    }
    node.size = Math.max(node.size, offset + done)
    node.invalidate(true)
    return done
  }

  #writeMessage(from: IoSrc, offset: number, size: number): Message | number {
    const message = new Message(FUSE_WRITE_IN.size, size)
      .u64(FUSE_WRITE_IN.fh, this.handle.fh)
      .number(FUSE_WRITE_IN.offset, offset)
      .u32(FUSE_WRITE_IN.size_, size)
      .u32(FUSE_WRITE_IN.flags, this.flags)
    return from.take(message.bytes.subarray(message.bytes.length - size)) === size ? message : -EFAULT
  }

  override copyFrom(source: File, sourceOffset: number, offset: number, length: number): number {
    const { node } = this
    const { connection } = node
    if (!(source instanceof FuseFile) || source.node.connection !== connection) return -EOPNOTSUPP
    if (connection.missing.has(FUSE_COPY_FILE_RANGE)) return -EOPNOTSUPP
    const locked = FuseInode.lock(node)
    if (locked < 0) return locked
    const layout = FUSE_COPY_FILE_RANGE_IN
    const key = `${sourceOffset} ${offset} ${length}`
    const answer = connection.call(FUSE_COPY_FILE_RANGE, source.node.node, key, WRITE_ANSWER, () =>
      new Message(layout.size)
        .u64(layout.fh_in, source.handle.fh)
        .number(layout.off_in, sourceOffset)
        .u64(layout.nodeid_out, node.node)
        .u64(layout.fh_out, this.handle.fh)
        .number(layout.off_out, offset)
        .number(layout.len, length),
    )
    if (answer === -ENOSYS) {
      connection.missing.add(FUSE_COPY_FILE_RANGE)
      return -EOPNOTSUPP
    }
    if (failed(answer)) return answer
    const n = answer.reply.getUint32(FUSE_WRITE_OUT.size_, true)
    if (n > length) return -EIO
    node.invalidate(true)
    return n
  }

  protected override seekHole(offset: number, whence: number): number {
    const { node } = this
    const { connection } = node
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) return -EINVAL
    if (connection.missing.has(FUSE_LSEEK)) return super.seekHole(offset, whence)
    const answer = connection.call(FUSE_LSEEK, node.node, `${offset} ${whence}`, LSEEK_ANSWER, () =>
      new Message(FUSE_LSEEK_IN.size)
        .u64(FUSE_LSEEK_IN.fh, this.handle.fh)
        .number(FUSE_LSEEK_IN.offset, offset)
        .u32(FUSE_LSEEK_IN.whence, whence),
    )
    if (answer === -ENOSYS) {
      connection.missing.add(FUSE_LSEEK)
      return super.seekHole(offset, whence)
    }
    if (failed(answer)) return answer
    this.pos = readNumber(answer.reply, FUSE_LSEEK_OUT.offset)
    return this.pos
  }

  override fallocate(mode: number, offset: number, length: number): Status {
    const { node } = this
    const { connection } = node
    if (connection.missing.has(FUSE_FALLOCATE)) return -EOPNOTSUPP
    const locked = FuseInode.lock(node)
    if (locked < 0) return locked
    const key = `${mode} ${offset} ${length}`
    const answer = connection.call(FUSE_FALLOCATE, node.node, key, NO_ANSWER, () =>
      new Message(FUSE_FALLOCATE_IN.size)
        .u64(FUSE_FALLOCATE_IN.fh, this.handle.fh)
        .number(FUSE_FALLOCATE_IN.offset, offset)
        .number(FUSE_FALLOCATE_IN.length, length)
        .u32(FUSE_FALLOCATE_IN.mode, mode),
    )
    if (answer === -ENOSYS) {
      connection.missing.add(FUSE_FALLOCATE)
      return -EOPNOTSUPP
    }
    if (failed(answer)) return answer
    node.invalidate(true)
    return 0
  }

  override fsync(dataOnly: boolean): Status {
    const { current } = this.node.connection.kernel
    if (current?.requests !== undefined && this.#syncedBy === current.requests) return 0
    return syncHandle(this.node, this.handle, FUSE_FSYNC, dataOnly)
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    return deviceControl(this.node, this.handle, context, request, argument)
  }

  /** A mapping shows the file as it was when it was made, so that one whose writes were to reach it can't be had. */
  override mapping(_offset: number, _length: number, _prot: number, flags: number): MapSource | number {
    if ((flags & MAP_SHARED) !== 0 && this.writable) return -ENODEV
    const ready = this.node.pages.load(this)
    if (ready < 0) return ready
    return this.node.pages.source()
  }

  override prepareProgram(): Status {
    const ready = this.node.pages.load(this)
    this.#mapped = ready === 0
    return ready
  }

  /** The whole of it, for pages.ts. */
  readForPages(offset: number): Uint8Array | number {
    return this.#ask(offset, this.node.connection.readSize)
  }

  /** close(2) waits for the server; the end of a process doesn't. */
  override flush(): Status {
    const { node, handle } = this
    const { connection } = node
    if ((handle.flags & FOPEN_NOFLUSH) !== 0 || connection.missing.has(FUSE_FLUSH)) return 0
    const message = (): Message => new Message(FUSE_FLUSH_IN.size).u64(FUSE_FLUSH_IN.fh, handle.fh)
    const task = connection.kernel.current
    if (task === undefined || task.ended) {
      connection.post(FUSE_FLUSH, node.node, message())
      return 0
    }
    const answer = connection.call(FUSE_FLUSH, node.node, 0, NO_ANSWER, message)
    if (answer !== -ENOSYS) return failed(answer) ? answer : 0
    connection.missing.add(FUSE_FLUSH)
    return 0
  }

  override release(): void {
    if (this.node.writing === this.handle) this.node.writing = undefined
    this.handle.put()
  }
}

/** FSYNC or FSYNCDIR: a server without it has nothing to write. */
export function syncHandle(node: FuseInode, handle: FuseHandle, opcode: number, dataOnly: boolean): Status {
  const { connection } = node
  if (connection.missing.has(opcode)) return 0
  const flags = dataOnly ? FUSE_FSYNC_FDATASYNC : 0
  const answer = connection.call(opcode, node.node, flags, NO_ANSWER, () =>
    new Message(FUSE_FSYNC_IN.size).u64(FUSE_FSYNC_IN.fh, handle.fh).u32(FUSE_FSYNC_IN.fsync_flags, flags),
  )
  if (answer !== -ENOSYS) return failed(answer) ? answer : 0
  connection.missing.add(opcode)
  return 0
}
