/**
 * WriteBack: how the server learns what shared mappings write into a file's pages.
 *
 * The guest writes into the memfd, and nobody hears of it. So as long as a File is there that was mapped so (`track`), the
 * sum of each page as the server has it is kept, and a page whose bytes have another sum is dirty. The sums have 64 bits and
 * a key of the sandbox's own: a change that keeps one does not happen by chance.
 *
 * A *round* goes through the pages once and sends a WRITE for each run of dirty ones, a few at a time. fsync(2), msync(2),
 * munmap(2) and close(2) wait for one (`sync`); the end of a File and a timer start one for which nobody waits. One round
 * goes on at a time, so that no two WRITEs of a page are under way.
 */
import { FUSE_WRITE, FUSE_WRITE_CACHE } from '../../abi/constants.ts'
import { EIO, ENOTCONN } from '../../abi/errno.ts'
import { FUSE_WRITE_IN, FUSE_WRITE_OUT } from '../../abi/layout.ts'
import { PENDING, type Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { LoggedRequest } from '../../kernel/request-log.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { FuseFile } from './file.ts'
import type { FuseHandle } from './handle.ts'
import { PAGE_SIZE, type PageCache, pagesOf } from './page-cache.ts'
import { PageSet } from './page-set.ts'
import type { AnswerShape, Completion, FuseRequest } from './request.ts'
import { Message } from './wire.ts'

const WRITE_ANSWER: AnswerShape = { min: FUSE_WRITE_OUT.size, max: FUSE_WRITE_OUT.size }
/** WRITEs of one round under way. */
const MAX_WRITES = 12
/** Pages whose sums are kept in one piece. */
const PIECE = 512
/** Pages that are dirty for longer are written: vm.dirty_expire_centisecs. */
const EXPIRE = 30e9

export class WriteBack implements Expiry {
  readonly #cache: PageCache
  /** Files whose shared mappings may write. */
  readonly #writers = new Set<FuseFile>()
  #sums: PageSums | undefined = undefined
  #round: Round | undefined = undefined
  /** A round that is to follow the one under way, and by which handle. */
  #next: FuseHandle | undefined = undefined
  /** What the server said of a WRITE, for who asks next (AS_EIO). */
  #error = 0
  readonly #timer: Timer
  readonly #page = new Uint8Array(PAGE_SIZE)

  constructor(cache: PageCache) {
    this.#cache = cache
    this.#timer = new Timer(this)
  }

  /** Whether sums are kept. */
  get tracks(): boolean {
    return this.#sums !== undefined
  }

  // Who may write.

  track(file: FuseFile): void {
    const { kernel } = this.#cache.node.connection
    this.#writers.add(file)
    if (this.#sums === undefined) {
      const key = new Uint32Array(2)
      kernel.host.random(new Uint8Array(key.buffer))
      this.#sums = new PageSums(key[0], key[1])
      for (let page = 0; page < pagesOf(this.#cache.node.size); page++)
        this.#sums.set(page, this.#bytes(page))
    }
    if (!this.#timer.armed) kernel.timers.add(this.#timer, kernel.now() + EXPIRE)
  }

  /** The File and its mappings are gone: what they have written is written back. */
  untrack(file: FuseFile): void {
    if (!this.#writers.has(file)) return
    this.start(file.handle)
    this.#writers.delete(file)
    this.#rest()
  }

  expired(): void {
    this.start()
    const { kernel } = this.#cache.node.connection
    if (this.#writers.size > 0) kernel.timers.add(this.#timer, kernel.now() + EXPIRE)
  }

  // Pages.

  isDirty(page: number): boolean {
    const sums = this.#sums
    return sums?.has(page) === true && !sums.is(page, this.#bytes(page))
  }

  /** The server has `bytes` in a page, and zeros behind them. */
  knows(page: number, bytes: Uint8Array): void {
    this.#sums?.set(page, padded(bytes))
  }

  /** A write is about to put `bytes` at `at` of a page, and the server will have them: a page that is dirty stays so. */
  willWrite(page: number, bytes: Uint8Array, at: number): void {
    const sums = this.#sums
    if (sums === undefined) return
    const before = this.#bytes(page)
    if (sums.has(page) && !sums.is(page, before) && bytes.length < PAGE_SIZE) return
    before.set(bytes, at)
    sums.set(page, before)
  }

  /** The file is about to be cut off at `size`, by `cut`: that makes no page dirty. */
  cutting(size: number, cut: () => void): void {
    const page = Math.floor(size / PAGE_SIZE)
    const dirty = this.isDirty(page)
    cut()
    this.#sums?.forget(pagesOf(size))
    if (!dirty && this.#sums?.has(page)) this.#sums.set(page, this.#bytes(page))
  }

  #bytes(page: number): Uint8Array {
    this.#cache.copy(this.#page, page * PAGE_SIZE)
    return this.#page
  }

  // Rounds.

  /**
   * The server has all that mappings have written to [start, end) before: 0; PENDING; or an error of the server's, also of
   * an earlier round that nobody has heard of.
   */
  sync(start = 0, end = Number.POSITIVE_INFINITY): Status {
    const { log } = this.#cache.node.connection
    if (this.#sums === undefined || log === undefined) return this.#takeError()
    let round = log.find(each => each instanceof Round && each.owner === this) as Round | undefined
    if (round === undefined) {
      if (this.#round !== undefined) {
        log.waitFor(this.#round.queue)
        return PENDING
      }
      round = this.#begin(this.#anyHandle(), start, end)
      if (round === undefined) return this.#takeError()
      // Also one that is done: the call's next try does not go through the pages again.
      log.add(round)
    }
    if (round.done) return this.#takeError()
    log.waitFor(round.queue)
    return PENDING
  }

  /** As `sync`, for whom nobody waits. */
  start(handle = this.#anyHandle()): void {
    if (this.#sums === undefined || handle === undefined) return
    if (this.#round === undefined) this.#begin(handle, 0, Number.POSITIVE_INFINITY)
    else if (this.#next === undefined) {
      this.#next = handle
      handle.get()
    }
  }

  /** Whether a round is under way: what else changes the file waits for its end, on this queue. */
  get busy(): WaitQueue | undefined {
    return this.#round?.queue
  }

  #begin(handle: FuseHandle | undefined, start: number, end: number): Round | undefined {
    if (handle === undefined) return undefined
    const { size } = this.#cache.node
    const round = new Round(this, handle, Math.floor(start / PAGE_SIZE), pagesOf(Math.min(end, size)))
    this.#round = round
    this.advance(round)
    return round
  }

  #anyHandle(): FuseHandle | undefined {
    for (const { handle } of this.#writers) return handle
    return undefined
  }

  /** Sends what may be sent. */
  advance(round: Round): void {
    while (round.page < round.limit && round.open < MAX_WRITES) {
      if (this.isDirty(round.page)) this.#send(round)
      else round.page = this.#sums?.next(round.page + 1, round.limit) ?? round.limit
    }
    if (round.open > 0 || round.page < round.limit) return
    round.finish()
    this.#round = undefined
    const next = this.#next
    this.#next = undefined
    if (next !== undefined) {
      this.#begin(next, 0, Number.POSITIVE_INFINITY)
      next.put()
    } else this.#rest()
  }

  /** The run of dirty pages at `round.page`, as far as one WRITE holds them. */
  #send(round: Round): void {
    const { connection, node, size } = this.#cache.node
    const offset = round.page * PAGE_SIZE
    const most = Math.max(1, Math.floor(connection.writeSize / PAGE_SIZE))
    const limit = Math.min(round.limit, round.page + most)
    let end = round.page + 1
    while (end < limit && this.isDirty(end)) end++
    const length = Math.min(end * PAGE_SIZE, size) - offset
    const message = new Message(FUSE_WRITE_IN.size, Math.max(0, length))
    const bytes = message.bytes.subarray(message.bytes.length - Math.max(0, length))
    this.#cache.copy(bytes, offset)
    for (let page = round.page; page < end; page++)
      this.knows(page, bytes.subarray((page - round.page) * PAGE_SIZE, (page + 1 - round.page) * PAGE_SIZE))
    round.page = end
    // The file has been cut off meanwhile.
    if (length <= 0) return
    message
      .u64(FUSE_WRITE_IN.fh, round.handle.fh)
      .number(FUSE_WRITE_IN.offset, offset)
      .u32(FUSE_WRITE_IN.size_, length)
      .u32(FUSE_WRITE_IN.write_flags, FUSE_WRITE_CACHE)
      .u32(FUSE_WRITE_IN.flags, round.handle.openFlags)
    if (connection.start(FUSE_WRITE, node, WRITE_ANSWER, message, round, false)) round.open++
    else this.failed(-ENOTCONN)
  }

  failed(error: number): void {
    this.#error = error
  }

  #takeError(): Status {
    const error = this.#error
    this.#error = 0
    return error
  }

  /** Without mappings that write and with nothing under way no sums are needed. */
  #rest(): void {
    if (this.#writers.size > 0 || this.#round !== undefined) return
    this.#sums = undefined
    this.#cache.node.connection.kernel.timers.cancel(this.#timer)
  }
}

/** One way through the pages. */
class Round implements LoggedRequest, Completion {
  readonly owner: WriteBack
  readonly handle: FuseHandle
  /** Where it is, and where it stops. */
  page: number
  readonly limit: number
  /** WRITEs without an answer. */
  open = 0
  readonly queue = new WaitQueue()
  done = false
  usedIn = 0

  constructor(owner: WriteBack, handle: FuseHandle, page: number, limit: number) {
    this.owner = owner
    this.handle = handle
    this.page = page
    this.limit = limit
    handle.get()
  }

  completed(request: FuseRequest): void {
    this.open--
    if (request.error < 0) this.owner.failed(request.error === -ENOTCONN ? -EIO : request.error)
    this.owner.advance(this)
  }

  finish(): void {
    this.done = true
    this.handle.put()
    this.queue.wakeAll()
  }

  interrupt(): void {}
  /** It goes on without the call that waits for it. */
  end(): void {}
}

/** Sums of pages' bytes. */
class PageSums {
  readonly #keyA: number
  readonly #keyB: number
  readonly #known = new PageSet()
  /** Two words for each page of a piece. */
  readonly #words = new Map<number, Int32Array>()
  #a = 0
  #b = 0

  constructor(keyA: number, keyB: number) {
    this.#keyA = keyA
    this.#keyB = keyB
  }

  has(page: number): boolean {
    return this.#known.has(page)
  }
  /** The next page of [page, last) that has one; `last` if none has. */
  next(page: number, last: number): number {
    return this.#known.next(page, last)
  }
  /** `bytes`: a whole page. */
  is(page: number, bytes: Uint8Array): boolean {
    const words = this.#words.get(Math.floor(page / PIECE))
    if (words === undefined) return false
    this.#sum(bytes)
    const at = 2 * (page % PIECE)
    return words[at] === this.#a && words[at + 1] === this.#b
  }
  set(page: number, bytes: Uint8Array): void {
    const index = Math.floor(page / PIECE)
    let words = this.#words.get(index)
    if (words === undefined) {
      words = new Int32Array(2 * PIECE)
      this.#words.set(index, words)
    }
    this.#sum(bytes)
    const at = 2 * (page % PIECE)
    words[at] = this.#a
    words[at + 1] = this.#b
    this.#known.add(page, page + 1)
  }

  /** From `page` on. */
  forget(page: number): void {
    this.#known.delete(page)
    for (const index of this.#words.keys()) if (index * PIECE >= page) this.#words.delete(index)
  }

  #sum(bytes: Uint8Array): void {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4)
    let a = this.#keyA | 0
    let b = this.#keyB | 0
    for (const word of words) {
      a = Math.imul(a ^ word, 0x9e3779b1)
      a ^= a >>> 15
      b = Math.imul(b + word, 0x85ebca6b)
      b ^= b >>> 13
    }
    this.#a = a
    this.#b = b
  }
}

function padded(bytes: Uint8Array): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE)
  page.set(bytes.subarray(0, PAGE_SIZE))
  return page
}
