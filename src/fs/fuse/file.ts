/**
 * An open file of a FUSE file system. The server has the data: writes go to it at once, reads by way of the inode's
 * pages (page-cache.ts), but for files that the server has opened with FOPEN_DIRECT_IO, whose every read goes to it. A
 * transfer of many requests is one call of the kernel's.
 */

import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
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
import { WaitQueue } from '../../base/wait-queue.ts'
import { take64 } from '../../base/words.ts'
import type { LoggedRequest, RequestLog } from '../../kernel/request-log.ts'
import { File, type IoctlContext, type MapSource } from '../../vfs/file.ts'
import type { LockServer } from '../../vfs/locks.ts'
import type { Path } from '../../vfs/path.ts'
import { type FuseHandle, HandleUse } from './handle.ts'
import { FuseInode } from './inode.ts'
import { deviceControl } from './ioctl.ts'
import { FuseLocks } from './locks.ts'
import { FusePoll } from './poll.ts'
import { type AnswerShape, type Completion, NO_ANSWER } from './request.ts'
import { Message } from './wire.ts'

/** What a sequential reader is given ahead. */
const READAHEAD = 128 * 1024
/** What one read takes at most: a direct one's answers stay until it is whole. Longer ones are short. */
const MAX_READ = 16 * 1024 * 1024
/** Why a write ended that the server has cut short. */
const SHORT = 1
const WRITE_ANSWER: AnswerShape = { min: FUSE_WRITE_OUT.size, max: FUSE_WRITE_OUT.size }
const LSEEK_ANSWER: AnswerShape = { min: FUSE_LSEEK_OUT.size, max: FUSE_LSEEK_OUT.size }

/** A write, in the log of its call: how far it has come. What was answered needs no request any more. */
class Transfer implements LoggedRequest, Completion {
  readonly file: FuseFile
  readonly offset: number
  bytes = 0
  /** Where in the file the WRITE ends that has no answer yet. */
  sentTo = 0
  /** Why it goes no further. */
  error = 0
  readonly done = true
  readonly queue = new WaitQueue()
  usedIn = 0
  #over = false

  constructor(file: FuseFile, offset: number) {
    this.file = file
    this.offset = offset
  }
  interrupt(): void {}
  /** The writer may have been killed before the answer: the pages have bytes then that the server may never have. */
  end(): void {
    this.#over = true
    this.#disown()
  }
  completed(): void {
    if (this.#over) this.#disown()
  }

  #disown(): void {
    const { node } = this.file
    const start = this.offset + this.bytes
    if (this.sentTo <= start) return
    node.cache?.invalidate(start, this.sentTo)
    node.invalidate(false)
  }
}

export class FuseFile extends File {
  readonly node: FuseInode
  readonly handle: FuseHandle
  /** Where the next read begins, if the reader is sequential. */
  #expected = 0
  #locks: FuseLocks | undefined = undefined
  #poll: FusePoll | undefined = undefined
  /** The call in which a write has synced already. */
  #syncedBy: unknown = undefined
  /** The execve(2) that has all pages, and can't ask again. */
  #preparedBy: RequestLog | undefined = undefined

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
  get #polls(): FusePoll {
    this.#poll ??= new FusePoll(this)
    return this.#poll
  }
  override get pollQueue(): WaitQueue {
    return this.#polls.queue
  }
  override poll(): number {
    return this.#polls.known()
  }
  override pollNow(wanted: number, waits: boolean): number {
    return this.node.connection.log === undefined ? this.poll() : this.#polls.now(wanted, waits)
  }
  get #direct(): boolean {
    return (this.handle.flags & FOPEN_DIRECT_IO) !== 0
  }
  get #isPrepared(): boolean {
    return (
      this.#preparedBy !== undefined && this.#preparedBy === this.node.connection.kernel.current?.requests
    )
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

  #readAt(into: IoDst, offset: number): number {
    this.#poll?.changed()
    if (this.#isPrepared) return this.node.pages.read(into, offset, this.node.size)
    return this.#direct ? this.#readDirect(into, offset) : this.#readCached(into, offset)
  }

  /** fuse_cache_read_iter. */
  #readCached(into: IoDst, offset: number): number {
    const { node } = this
    const { pages } = node
    const wanted = Math.min(into.remaining, MAX_READ)
    if (wanted === 0) return 0
    if (node.connection.autoInvalidates || offset + wanted > node.size) {
      const fresh = node.getattr()
      if (fresh < 0) return fresh
    }
    const end = Math.min(offset + wanted, node.size)
    if (offset >= end) return 0
    const ahead = offset === this.#expected ? READAHEAD : 0
    const status = pages.fill(this, offset, end, ahead)
    if (status === PENDING) return PENDING
    const got = status < 0 ? pages.presentUntil(offset, end) : Math.min(end, node.size)
    if (got <= offset) return Math.min(status, 0)
    const n = pages.read(into, offset, got - offset)
    if (n > 0) this.#expected = offset + n
    return n
  }

  /** Nothing is put before everything is there: some targets, such as a pipe, can't take the same twice. */
  #readDirect(into: IoDst, offset: number): number {
    const wanted = Math.min(into.remaining, MAX_READ)
    const written = this.node.cache?.writeBack.sync(offset, offset + wanted) ?? 0
    if (written < 0) return written
    const pieces: Uint8Array[] = []
    let got = 0
    for (let last = false; got < wanted && !last; ) {
      const size = Math.min(wanted - got, this.node.connection.readSize)
      const piece = this.#ask(offset + got, size)
      if (piece === PENDING || (typeof piece === 'number' && got === 0)) return piece
      if (typeof piece === 'number') break
      last = piece.length < size
      pieces.push(piece)
      got += piece.length
    }
    let done = 0
    for (const piece of pieces) {
      const n = into.put(piece)
      if (n < 0) return done > 0 ? done : n
      done += n
      if (n < piece.length) break
    }
    return done
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
    const { log } = connection
    const total = from.remaining
    if (total === 0) return 0
    if (log === undefined) return -EIO
    const locked = FuseInode.lock(node)
    if (locked < 0) return locked
    let transfer = log.find(
      each => each instanceof Transfer && each.file === this && each.offset === offset,
    ) as Transfer | undefined
    if (transfer === undefined) {
      const ready = this.#awaitOthers(log, offset, offset + total)
      if (ready < 0) return ready
      transfer = new Transfer(this, offset)
      log.add(transfer)
    }
    const done = this.#send(from, transfer, total, log)
    if (done < 0) return done
    // Before anything shows that it was written: from here on the call must not wait again.
    if ((this.flags & O_DSYNC) !== 0) {
      const synced = this.fsync((this.flags & O_SYNC) !== O_SYNC)
      if (synced < 0) return synced
      this.#syncedBy = log
    }
    this.#poll?.changed()
    if (this.#direct) node.cache?.invalidate(offset, offset + done)
    node.grown(offset + done)
    return done
  }

  /** A write must not overtake what is under way for the same pages. */
  #awaitOthers(log: RequestLog, start: number, end: number): Status {
    const { cache } = this.node
    if (cache === undefined) return 0
    if (this.#direct) return cache.writeBack.sync(start, end)
    const { busy } = cache.writeBack
    if (busy === undefined && !cache.isReading(start, end)) return 0
    log.waitFor(busy ?? cache.queue)
    return PENDING
  }

  /** WRITE by WRITE: how much the server has taken. */
  #send(from: IoSrc, transfer: Transfer, total: number, log: RequestLog): number {
    const { connection, cache, node } = this.node
    from.consume(transfer.bytes)
    while (transfer.bytes < total && transfer.error === 0) {
      const at = transfer.offset + transfer.bytes
      const size = Math.min(total - transfer.bytes, connection.writeSize)
      transfer.sentTo = at + size
      const message = (): Message | number => this.#writeMessage(from, at, size)
      const answer = connection.call(FUSE_WRITE, node, `${at}+${size}`, WRITE_ANSWER, message, transfer)
      if (answer === PENDING) return PENDING
      let taken = 0
      if (failed(answer)) transfer.error = answer
      else {
        taken = answer.reply.getUint32(FUSE_WRITE_OUT.size_, true)
        log.settle(answer)
        // Nothing more fits, or that is what a server says that has no sense.
        if (taken !== size) transfer.error = this.#direct && taken < size ? SHORT : -EIO
        if (taken > size) taken = 0
      }
      transfer.bytes += taken
      transfer.sentTo = at + taken
      from.consume(taken)
      if (taken < size && !this.#direct) cache?.invalidate(at, at + size)
    }
    // Mappings must not go on from bytes that the server has refused.
    if (transfer.error < 0 && cache?.isReading(transfer.offset, transfer.offset + total)) {
      log.waitFor(cache.queue)
      return PENDING
    }
    return transfer.bytes > 0 || transfer.error === SHORT ? transfer.bytes : transfer.error
  }

  #writeMessage(from: IoSrc, offset: number, size: number): Message | number {
    const message = new Message(FUSE_WRITE_IN.size, size)
      .u64(FUSE_WRITE_IN.fh, this.handle.fh)
      .number(FUSE_WRITE_IN.offset, offset)
      .u32(FUSE_WRITE_IN.size_, size)
      .u32(FUSE_WRITE_IN.flags, this.flags)
    const bytes = message.bytes.subarray(message.bytes.length - size)
    if (from.take(bytes) !== size) return -EFAULT
    if (!this.#direct) this.node.cache?.wrote(bytes, offset)
    return message
  }

  override copyFrom(source: File, sourceOffset: number, offset: number, length: number): number {
    const { node } = this
    const { connection } = node
    if (!(source instanceof FuseFile) || source.node.connection !== connection) return -EOPNOTSUPP
    if (connection.missing.has(FUSE_COPY_FILE_RANGE)) return -EOPNOTSUPP
    const locked = FuseInode.lock(node)
    if (locked < 0) return locked
    for (const each of [source.node, node]) {
      const written = each.cache?.writeBack.sync() ?? 0
      if (written < 0) return written
    }
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
    node.cache?.invalidate(offset, offset + n)
    node.grown(offset + n)
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
    this.pos = take64(answer.reply, FUSE_LSEEK_OUT.offset)
    return this.pos
  }

  override fallocate(mode: number, offset: number, length: number): Status {
    const { node } = this
    const { connection } = node
    if (connection.missing.has(FUSE_FALLOCATE)) return -EOPNOTSUPP
    const locked = FuseInode.lock(node)
    if (locked < 0) return locked
    const written = node.cache?.writeBack.sync() ?? 0
    if (written < 0) return written
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
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0) node.grown(offset + length)
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) !== 0)
      node.cache?.invalidate(offset, offset + length)
    node.changed()
    node.invalidate(false)
    return 0
  }

  override get lockServer(): LockServer | undefined {
    const { keepsRanges, keepsFlocks } = this.node.connection
    if (!keepsRanges && !keepsFlocks) return undefined
    this.#locks ??= new FuseLocks(this)
    return this.#locks
  }

  override fsync(dataOnly: boolean): Status {
    const { current } = this.node.connection.kernel
    if (current?.requests !== undefined && this.#syncedBy === current.requests) return 0
    const written = this.node.cache?.writeBack.sync() ?? 0
    if (written < 0) return written
    return syncHandle(this.node, this.handle, FUSE_FSYNC, dataOnly)
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    return deviceControl(this.node, this.handle, context, request, argument)
  }

  /** fuse_file_mmap. What a shared mapping writes reaches the server by write-back.ts. */
  override mapping(_offset: number, _length: number, _prot: number, flags: number): MapSource | number {
    const { pages } = this.node
    const shared = (flags & MAP_SHARED) !== 0
    if (shared && this.#direct) return -ENODEV
    const ready = this.#isPrepared ? 0 : pages.load(this)
    return ready < 0 ? ready : pages.source(this, shared && this.writable)
  }

  /** A shared mapping of it is about to go. */
  override flushMapping(): Status {
    const { cache } = this.node
    const status = cache?.writeBack.sync() ?? 0
    if (status === PENDING || status === 0) return status
    // Who syncs or closes will hear of it.
    cache?.writeBack.failed(status)
    return 0
  }

  override prepareProgram(): Status {
    const ready = this.node.pages.load(this)
    if (ready === 0) this.#preparedBy = this.node.connection.log
    return ready
  }

  /** close(2) waits for the server; the end of a process doesn't. */
  override flush(owner: object = this): Status {
    const { node, handle } = this
    const { connection } = node
    if ((handle.flags & FOPEN_NOFLUSH) !== 0) return 0
    const message = (): Message =>
      new Message(FUSE_FLUSH_IN.size)
        .u64(FUSE_FLUSH_IN.fh, handle.fh)
        .number(FUSE_FLUSH_IN.lock_owner, connection.ownerId(owner))
    if (connection.log === undefined) {
      node.cache?.writeBack.start()
      if (connection.missing.has(FUSE_FLUSH)) return 0
      // RELEASE must not overtake it.
      const use = new HandleUse(handle)
      if (!connection.post(FUSE_FLUSH, node.node, message(), use)) use.completed()
      return 0
    }
    const written = node.cache?.writeBack.sync() ?? 0
    if (written < 0 || connection.missing.has(FUSE_FLUSH)) return written
    const answer = connection.call(FUSE_FLUSH, node.node, 0, NO_ANSWER, message)
    if (answer !== -ENOSYS) return failed(answer) ? answer : 0
    connection.missing.add(FUSE_FLUSH)
    return 0
  }

  override release(): void {
    if (this.node.writing === this.handle) this.node.writing = undefined
    this.#poll?.release()
    this.node.cache?.unmapped(this)
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
