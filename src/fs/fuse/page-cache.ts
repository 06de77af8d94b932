/**
 * PageCache: what is known of the bytes of a FUSE file, in a memfd that reads, writes and mappings share.
 *
 * Made by the first cached read, mapping or program of an inode; ends with the inode, and its pages go earlier when the
 * connection holds too many (`MAX_CACHED`). A page is there or not (`#present`). What is wanted and not there is asked for by
 * READs of the kernel's own, whose answers go straight into the memfd when they come; who wanted it waits on `queue` and
 * looks again. A write puts its bytes in as it sends them to the server.
 *
 * A page fault is the host's and can't ask a server. So a mapping has all pages of its file from the beginning on, and as
 * long as one is there (`#mappers`) they stay: what the server declares out of date is read anew at once, over the old bytes.
 * How the server learns what a shared mapping writes is in write-back.ts.
 */
import { FUSE_READ } from '../../abi/constants.ts'
import { EFBIG, EIO, ENOMEM, ENOTCONN } from '../../abi/errno.ts'
import { FUSE_READ_IN } from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import { BufferDst, BufferSrc, type IoDst } from '../../base/io.ts'
import { failed, PENDING, type Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { File, MapSource } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { createSharedMemory } from '../memfd/memfd.ts'
import type { FileData } from '../tmpfs/file-data.ts'
import type { TmpfsRegular } from '../tmpfs/regular.ts'
import type { FuseFile } from './file.ts'
import type { FuseHandle } from './handle.ts'
import type { FuseInode } from './inode.ts'
import { PageSet } from './page-set.ts'
import type { Completion, FuseRequest } from './request.ts'
import { Message } from './wire.ts'
import { WriteBack } from './write-back.ts'

export const PAGE_SIZE = 4096
/** The largest file that is mapped, since a mapping needs all of it. */
const MAX_MAPPED = 1024 * 1024 * 1024
/** Pages that the files of one connection keep which nobody has mapped. */
export const MAX_CACHED = 16384
/** READs under way for one file: the server's other clients want answers too. */
const MAX_READS = 12

/** A READ under way for pages [first, end). */
class PageRead implements Completion {
  readonly cache: PageCache
  readonly handle: FuseHandle
  readonly first: number
  readonly end: number
  /** The pages were declared out of date meanwhile: the answer may be, too. */
  spoiled = false

  constructor(cache: PageCache, handle: FuseHandle, first: number, end: number) {
    this.cache = cache
    this.handle = handle
    this.first = first
    this.end = end
    handle.get()
  }
  completed(request: FuseRequest): void {
    this.handle.put()
    this.cache.arrived(this, request)
  }
}

export class PageCache {
  readonly node: FuseInode
  /** Woken when a READ was answered. */
  readonly queue = new WaitQueue()
  readonly writeBack: WriteBack
  #memory: File | undefined = undefined
  readonly #present = new PageSet()
  #count = 0
  readonly #reads = new Set<PageRead>()
  /** What the server said of a page, for the one who asked. */
  readonly #failures = new Map<number, number>()
  /** Files that were mapped, and may be still. */
  readonly #mappers = new Set<FuseFile>()

  constructor(node: FuseInode) {
    this.node = node
    this.writeBack = new WriteBack(this)
  }

  // Reading.

  /**
   * 0 when the bytes [start, end) are there, PENDING while they are read, or what the server says of the first that are not.
   * `ahead`: how much may be read beyond them at once.
   */
  fill(file: FuseFile, start: number, end: number, ahead = 0): Status {
    const begun = this.#begin(file.path.dentry.name, file.cred, start, end)
    if (begun < 0) return begun
    const last = pagesOf(end)
    let waits = false
    for (let page = this.#present.missing(Math.floor(start / PAGE_SIZE), last); page < last; ) {
      const failure = this.#failures.get(page)
      if (failure !== undefined && !waits) {
        this.#failures.delete(page)
        return failure
      }
      waits = true
      const read = this.#readOf(page)
      // Also those of calls that are over: their answers wake who waits.
      if (read === undefined && this.#reads.size >= MAX_READS) break
      const next = read === undefined ? this.#ask(file.handle, page, pagesOf(end + ahead)) : read.end
      if (next < 0) return next
      page = this.#present.missing(next, last)
    }
    if (!waits) return 0
    const { log } = this.node.connection
    if (log === undefined) return -EIO
    log.waitFor(this.queue)
    return PENDING
  }

  /** How far from `start` on the bytes are there, up to `end`. */
  presentUntil(start: number, end: number): number {
    return Math.min(end, this.#present.missing(Math.floor(start / PAGE_SIZE), pagesOf(end)) * PAGE_SIZE)
  }

  /** What `fill` has found to be there. */
  read(into: IoDst, offset: number, length: number): number {
    return this.#data?.read(into, offset, length) ?? 0
  }

  /** As much of `bytes` as there is from `offset` on; the rest is zeros. */
  copy(bytes: Uint8Array, offset: number): void {
    bytes.fill(0)
    this.#data?.read(new BufferDst(bytes), offset)
  }

  /** Asks for missing pages from `page` on, as many as one READ brings: where it ends. */
  #ask(handle: FuseHandle, page: number, wanted: number): number {
    const { connection, node } = this.node
    const most = Math.max(1, Math.floor(connection.readSize / PAGE_SIZE))
    const limit = Math.min(page + most, Math.max(wanted, page + 1), pagesOf(this.node.size))
    let end = page + 1
    while (end < limit && !this.#present.has(end) && this.#readOf(end) === undefined) end++
    const size = (end - page) * PAGE_SIZE
    const message = new Message(FUSE_READ_IN.size)
      .u64(FUSE_READ_IN.fh, handle.fh)
      .number(FUSE_READ_IN.offset, page * PAGE_SIZE)
      .u32(FUSE_READ_IN.size_, size)
      .u32(FUSE_READ_IN.flags, handle.openFlags)
    const read = new PageRead(this, handle, page, end)
    if (!connection.start(FUSE_READ, node, { min: 0, max: size }, message, read, true)) {
      handle.put()
      return -ENOTCONN
    }
    this.#reads.add(read)
    return end
  }

  /** The answer to a READ. */
  arrived(read: PageRead, request: FuseRequest): void {
    this.#reads.delete(read)
    if (!read.spoiled && this.#memory !== undefined) {
      const status = request.error < 0 ? request.error : this.#store(read, request)
      if (status < 0) this.#failures.set(read.first, status)
    }
    if (this.#mappers.size > 0) this.#refresh()
    this.queue.wakeAll()
  }

  #store(read: PageRead, request: FuseRequest): Status {
    const { node } = this
    const start = read.first * PAGE_SIZE
    const { buffer, byteOffset, byteLength } = request.reply
    // Less than was asked for: the file ends there, unless somebody has made it longer since.
    if (byteLength < Math.min(read.end * PAGE_SIZE, node.size) - start)
      node.endsAt(start + byteLength, request.version)
    const length = Math.max(0, Math.min(read.end * PAGE_SIZE, node.size) - start)
    let bytes = new Uint8Array(buffer, byteOffset, Math.min(byteLength, length))
    if (bytes.length < length) {
      const padded = new Uint8Array(length)
      padded.set(bytes)
      bytes = padded
    }
    if (!this.writeBack.tracks) {
      const status = this.#put(bytes, start)
      if (status === 0) this.#setPresent(read.first, read.end)
      return status
    }
    for (let page = read.first; page < read.end; page++) {
      const at = page * PAGE_SIZE - start
      const status = this.#renew(page, bytes.subarray(at, at + PAGE_SIZE))
      if (status < 0) return status
      this.#setPresent(page, page + 1)
    }
    return 0
  }

  /**
   * Gives a page that mappings may write the bytes that the server has. What the server does not know yet is newer; and since
   * the guest may write at any moment, only bytes that differ are put.
   */
  #renew(page: number, bytes: Uint8Array): Status {
    const start = page * PAGE_SIZE
    if (this.writeBack.isDirty(page)) return 0
    const before = new Uint8Array(bytes.length)
    this.copy(before, start)
    this.writeBack.knows(page, bytes)
    for (let from = 0; from < bytes.length; ) {
      if (bytes[from] === before[from]) {
        from++
        continue
      }
      let to = from + 1
      while (to < bytes.length && bytes[to] !== before[to]) to++
      const status = this.#put(bytes.subarray(from, to), start + from)
      if (status < 0) return status
      from = to
    }
    return 0
  }

  // Writing, and what makes pages old.

  /**
   * A write sends `bytes`: they are what the file has at `offset` now. Pages that are known in part only are left out; what
   * lies behind the end of a mapped file is zeros. `toEnd`: the file ends with them.
   */
  wrote(bytes: Uint8Array, offset: number, toEnd = false): void {
    if (this.#memory === undefined) return
    const end = offset + bytes.length
    for (let page = Math.floor(offset / PAGE_SIZE); page < pagesOf(end); page++) {
      const start = page * PAGE_SIZE
      const whole =
        (start >= offset && (start + PAGE_SIZE <= end || toEnd)) ||
        (this.#mappers.size > 0 && start >= this.node.size)
      if (!whole && !this.#present.has(page)) continue
      const piece = bytes.subarray(Math.max(0, start - offset), start + PAGE_SIZE - offset)
      this.writeBack.willWrite(page, piece, Math.max(0, offset - start))
      if (this.#put(piece, Math.max(start, offset)) < 0) this.#forget(page, page + 1)
      else this.#setPresent(page, page + 1)
    }
  }

  /** The server, as `cred`, gives bytes of its own accord (FUSE_NOTIFY_STORE). */
  stored(bytes: Uint8Array, offset: number, cred: Credentials): Status {
    const end = offset + bytes.length
    const begun = this.#begin('fuse', cred, offset, end)
    if (begun < 0) return begun
    this.wrote(bytes, offset, end === this.node.size)
    this.queue.wakeAll()
    return 0
  }

  /** What the file has in [start, end) is to be asked for again. */
  invalidate(start = 0, end = Number.POSITIVE_INFINITY): void {
    const first = Math.floor(start / PAGE_SIZE)
    const last = pagesOf(end)
    for (const read of this.#reads) if (read.first < last && read.end > first) read.spoiled = true
    this.#failures.clear()
    if (this.#memory === undefined) return
    this.#forget(first, last)
    if (this.#mappers.size > 0) this.#refresh()
    else if (this.#count === 0) this.#clear()
  }

  /** The file has another size. */
  resized(): void {
    const data = this.#data
    const { size } = this.node
    if (data === undefined || data.size === size) return
    for (const read of this.#reads) if (read.end * PAGE_SIZE > Math.min(size, data.size)) read.spoiled = true
    this.#forget(pagesOf(size))
    if (size < data.size) this.writeBack.cutting(size, () => data.truncate(size))
    else data.truncate(size)
    if (this.#mappers.size > 0) this.#refresh()
  }

  /**
   * A write has made the file longer: what of it no page was known of from `start` on is a hole, which mappings show at once.
   * Of one that is larger than what can be mapped at all, the server is asked.
   */
  hasHole(start: number): void {
    const { size } = this.node
    if (this.#mappers.size === 0 || size - start > MAX_MAPPED) return
    const last = pagesOf(size)
    for (let page = pagesOf(start); page < last; page++) {
      if (this.#present.has(page)) continue
      this.writeBack.knows(page, new Uint8Array(0))
      this.#setPresent(page, page + 1)
    }
  }

  /** Whether pages of [start, end) are on their way: a write must not overtake them. */
  isReading(start: number, end: number): boolean {
    for (const read of this.#reads)
      if (!read.spoiled && read.first * PAGE_SIZE < end && read.end * PAGE_SIZE > start) return true
    return false
  }

  // Mappings.

  /** All of the file is there to be mapped: 0, or PENDING. */
  load(file: FuseFile): Status {
    const fresh = this.node.getattr()
    if (fresh < 0) return fresh
    if (this.node.size > MAX_MAPPED) return -EFBIG
    this.#mappers.add(file)
    const status = this.fill(file, 0, this.node.size)
    if (status < 0 && status !== PENDING) this.unmapped(file)
    return status
  }

  /** After a `load`. `writes`: the mapping may write to the file. */
  source(file: FuseFile, writes: boolean): MapSource | number {
    const data = this.#data
    if (data === undefined) return -ENOMEM
    const fd = data.map(writes)
    if (fd < 0) return fd
    if (writes) this.writeBack.track(file)
    return { hostFd: fd, offset: 0 }
  }

  /** The last reference to a File is gone, and so are its mappings. */
  unmapped(file: FuseFile): void {
    this.writeBack.untrack(file)
    this.#mappers.delete(file)
  }

  get pages(): number {
    return this.#count
  }
  /** Whether its pages can go when others need room. */
  get isIdle(): boolean {
    return this.#mappers.size === 0 && this.#reads.size === 0 && !this.writeBack.tracks
  }

  /** The inode is gone, or its pages must make room. */
  drop(): void {
    for (const read of this.#reads) read.spoiled = true
    this.#clear()
  }

  // Pages.

  get #data(): FileData | undefined {
    return this.#memory === undefined ? undefined : (this.#memory.inode as TmpfsRegular).data
  }

  /** Bytes [start, end) are going to be there. `name` and `cred` are for the memfd. */
  #begin(name: string, cred: Credentials, start: number, end: number): Status {
    const { connection, size } = this.node
    connection.used(this)
    if (this.#memory === undefined) {
      const memory = createSharedMemory(connection.kernel, name, 0o700, cred)
      if (failed(memory)) return memory
      this.#memory = memory
    }
    const data = this.#data!
    const status = data.size < size ? data.truncate(size) : 0
    if (status === 0 && this.#count > MAX_CACHED && this.isIdle) this.#keepOnly(start, end)
    return status
  }

  #put(bytes: Uint8Array, offset: number): Status {
    if (bytes.length === 0) return 0
    const n = this.#data!.write(new BufferSrc(bytes), offset, bytes.length)
    return n === bytes.length ? 0 : -ENOMEM
  }

  #readOf(page: number): PageRead | undefined {
    for (const read of this.#reads) if (!read.spoiled && read.first <= page && read.end > page) return read
    return undefined
  }

  #setPresent(first: number, end: number): void {
    const added = this.#present.add(first, end)
    this.#count += added
    this.node.connection.cached(added)
  }

  #forget(first: number, end?: number): void {
    const gone = this.#present.delete(first, end)
    this.#count -= gone
    this.node.connection.cached(-gone)
  }

  /** A file that is larger than what may be kept is read through it piece by piece. */
  #keepOnly(start: number, end: number): void {
    const first = Math.floor(start / PAGE_SIZE)
    const last = pagesOf(end)
    this.#forget(0, first)
    this.#forget(last)
    if (first > 0) this.#data!.punchHole(0, first * PAGE_SIZE)
    const rest = this.#data!.size - last * PAGE_SIZE
    if (rest > 0) this.#data!.punchHole(last * PAGE_SIZE, rest)
  }

  /** Mapped pages that are not there are read again, by any handle that can. */
  #refresh(): void {
    const [mapper] = this.#mappers
    const last = pagesOf(this.node.size)
    for (let page = this.#present.missing(0, last); page < last && this.#reads.size < MAX_READS; ) {
      const read = this.#readOf(page)
      // Nobody waits: where the server has failed it is not asked over and over.
      if (read === undefined && this.#failures.has(page)) return
      const next = read === undefined ? this.#ask(mapper.handle, page, last) : read.end
      if (next < 0) return
      page = this.#present.missing(next, last)
    }
  }

  #clear(): void {
    this.#forget(0)
    this.#failures.clear()
    this.node.connection.gone(this)
    if (this.#memory !== undefined) filePut(this.#memory)
    this.#memory = undefined
  }
}

export function pagesOf(size: number): number {
  return Math.ceil(size / PAGE_SIZE)
}
