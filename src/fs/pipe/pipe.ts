/**
 * Pipe: the ring of bytes behind pipe(2) and FIFOs (pipe_inode_info).
 *
 * Made by pipe(2), or by the first open of a FIFO, whose inode holds it; the PipeFiles at its ends count themselves
 * in `readers` and `writers`; it goes when the last of them does.
 *
 * As in Linux the unit is a slot of one page, not a byte: a pipe is full when all its slots hold something, a write of
 * up to PIPE_BUF bytes goes into one slot and is therefore atomic, and small writes are merged into the last slot
 * while they fit. What differs is the memory: slot `i` always is page `i` of one block, so that full neighbouring
 * slots are one run of bytes and a big read or write is one copy. The block starts with one page and grows as
 * needed; the ring is put back to its start whenever it runs empty.
 *
 * Always true: `#used <= maxSlots`; a slot in use holds 1..PAGE bytes from `#starts[slot]` on.
 */
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from '../../abi/constants.ts'
import { EAGAIN, EBUSY, EPIPE } from '../../abi/errno.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'

export const PIPE_PAGE = 4096
/** Slots of a new pipe: 64 KiB. */
export const PIPE_DEFAULT_SLOTS = 16

/** A later small write may be appended to the slot. */
const MERGE = 1
/** The slot is one packet (O_DIRECT): a read takes it alone and drops what does not fit. */
const PACKET = 2

export class Pipe {
  readers = 0
  writers = 0
  /** How often an end was ever opened: an open of a FIFO waits until the other side's number changes. */
  readerOpens = 0
  writerOpens = 0
  maxSlots: number
  readonly queue = new WaitQueue()
  /** Somebody polls: edge-triggered watchers want to hear of each write, not only of the first. */
  #polled = false

  #memory = new Uint8Array(0)
  /** Pages of the block, a power of two, or 0. */
  #pages = 0
  /** The oldest slot in use. */
  #head = 0
  #used = 0
  #starts = new Uint16Array(0)
  #lengths = new Uint16Array(0)
  #flags = new Uint8Array(0)

  constructor(slots = PIPE_DEFAULT_SLOTS) {
    this.maxSlots = slots
  }

  get empty(): boolean {
    return this.#used === 0
  }
  get full(): boolean {
    return this.#used >= this.maxSlots
  }
  get freeSlots(): number {
    return Math.max(this.maxSlots - this.#used, 0)
  }
  get usedSlots(): number {
    return this.#used
  }
  /** FIONREAD. */
  get bytes(): number {
    let total = 0
    for (let i = 0; i < this.#used; i++) total += this.#lengths[this.#slot(i)]
    return total
  }

  /** read(2): bytes taken, 0 at the end (empty and no writers), -EAGAIN when empty. */
  read(into: IoDst): number {
    if (into.remaining === 0) return 0
    if (this.#used === 0) return this.writers === 0 ? 0 : -EAGAIN
    const wasFull = this.full
    let done = 0
    while (this.#used > 0 && into.remaining > 0) {
      const packet = (this.#flags[this.#head] & PACKET) !== 0
      const n = into.put(this.readWindow(into.remaining))
      if (n < 0) {
        if (done === 0) done = n
        break
      }
      done += n
      if (packet) {
        this.#dropSlot()
        break
      }
      this.#take(n)
    }
    if (wasFull && !this.full) this.queue.wake(POLLOUT | POLLWRNORM)
    return done
  }

  /** write(2): bytes accepted (a part, when it fills up), -EAGAIN when full, -EPIPE without readers. */
  write(from: IoSrc, packets: boolean): number {
    const total = from.remaining
    if (total === 0) return 0
    if (this.readers === 0) return -EPIPE
    const wasEmpty = this.#used === 0
    let done = 0
    let bad = 0
    // As Linux: the part that would not fill a page of its own is tried first, at the end of the last slot.
    const odd = total % PIPE_PAGE
    if (odd !== 0 && !wasEmpty) {
      const n = this.#append(from, odd)
      if (n < 0) bad = n
      else done = n
    }
    while (bad === 0 && done < total && !this.full) {
      const window = this.writeWindow(total - done)
      const n = from.take(window)
      if (n <= 0) bad = n
      else this.#fill(n, packets ? PACKET : MERGE)
      if (n > 0) done += n
      if (n > 0 && n < window.length) break
    }
    if (done === 0) return bad < 0 ? bad : -EAGAIN
    if (wasEmpty || this.#polled) this.queue.wake(POLLIN | POLLRDNORM)
    return done
  }

  /** The POLL* bits for one end; `quietHangup` hides POLLHUP until a writer was there (nonblocking open of a FIFO). */
  poll(reading: boolean, writing: boolean, quietHangup: boolean): number {
    this.#polled = true
    let events = 0
    if (reading) {
      if (this.#used > 0) events |= POLLIN | POLLRDNORM
      if (this.writers === 0 && !quietHangup) events |= POLLHUP
    }
    if (writing) {
      if (!this.full) events |= POLLOUT | POLLWRNORM
      // Most operating systems also report POLLHUP here; Linux does not.
      if (this.readers === 0) events |= POLLERR
    }
    return events
  }

  /** An end opened. */
  opened(reading: boolean, writing: boolean): void {
    if (reading) {
      this.readers++
      this.readerOpens++
    }
    if (writing) {
      this.writers++
      this.writerOpens++
    }
    this.queue.wakeAll()
  }

  /** An end closed: the other side may have to see the end of file or EPIPE. */
  closed(reading: boolean, writing: boolean): void {
    if (reading) this.readers--
    if (writing) this.writers--
    if (this.readers === 0 && this.writers === 0) this.#layOut(0)
    else if (this.readers === 0 || this.writers === 0) this.queue.wakeAll()
  }

  /** F_SETPIPE_SZ in slots, a power of two: -EBUSY when more are in use. */
  resize(slots: number): Status {
    if (slots < this.#used) return -EBUSY
    const grew = slots > this.maxSlots
    this.maxSlots = slots
    if (this.#pages > slots) this.#layOut(slots)
    if (grew) this.queue.wake(POLLOUT | POLLWRNORM)
    return 0
  }

  // Windows: direct views of the ring, for splice.

  /** The oldest bytes, at most `max`, as far as they lie in one run. Empty when the pipe is. */
  readWindow(max: number): Uint8Array {
    if (this.#used === 0) return this.#memory.subarray(0, 0)
    const at = this.#head * PIPE_PAGE + this.#starts[this.#head]
    let length = this.#lengths[this.#head]
    if ((this.#flags[this.#head] & PACKET) === 0) {
      for (let i = 1; i < this.#used && length < max; i++) {
        const slot = this.#head + i
        // A run ends where the block does, at a gap between two slots, and at a packet.
        if (slot >= this.#pages || (at + length) % PIPE_PAGE !== 0) break
        if (this.#starts[slot] !== 0 || (this.#flags[slot] & PACKET) !== 0) break
        length += this.#lengths[slot]
      }
    }
    return this.#memory.subarray(at, at + Math.min(length, max))
  }

  /** Drops the first `n` bytes, and tells writers when there is room again. */
  consume(n: number): void {
    const wasFull = this.full
    this.#take(n)
    if (wasFull && !this.full) this.queue.wake(POLLOUT | POLLWRNORM)
  }

  /** Free room of at most `max` bytes in one run; the pipe must not be full. */
  writeWindow(max: number): Uint8Array {
    const wanted = Math.min(Math.ceil(max / PIPE_PAGE), this.freeSlots)
    this.#reserve(wanted)
    const first = this.#slot(this.#used)
    const run = Math.min(wanted, this.#pages - first, this.#pages - this.#used)
    const at = first * PIPE_PAGE
    return this.#memory.subarray(at, at + Math.min(max, run * PIPE_PAGE))
  }

  /** Takes the first `n` bytes of the last write window into the pipe, and tells readers. */
  commit(n: number): void {
    const wasEmpty = this.#used === 0
    this.#fill(n, 0)
    if (wasEmpty || this.#polled) this.queue.wake(POLLIN | POLLRDNORM)
  }

  /** The bytes of the `index`th slot in use, for tee. */
  peekSlot(index: number): Uint8Array {
    const slot = this.#slot(index)
    const at = slot * PIPE_PAGE + this.#starts[slot]
    return this.#memory.subarray(at, at + this.#lengths[slot])
  }

  /** Adds the bytes as one slot of their own (1..PIPE_PAGE of them); the pipe must not be full. */
  putSlot(bytes: Uint8Array): void {
    this.writeWindow(bytes.length).set(bytes)
    this.commit(bytes.length)
  }

  // The ring.

  #slot(index: number): number {
    return (this.#head + index) & (this.#pages - 1)
  }

  /** Appends `n` bytes to the last slot if it takes them whole: the count, 0 if it does not, -EFAULT. */
  #append(from: IoSrc, n: number): number {
    const slot = this.#slot(this.#used - 1)
    const end = this.#starts[slot] + this.#lengths[slot]
    if ((this.#flags[slot] & MERGE) === 0 || end + n > PIPE_PAGE) return 0
    const at = slot * PIPE_PAGE + end
    const taken = from.take(this.#memory.subarray(at, at + n))
    if (taken > 0) this.#lengths[slot] += taken
    return taken
  }

  /** Marks `n` bytes behind the last slot as in use. */
  #fill(n: number, flags: number): void {
    while (n > 0) {
      const slot = this.#slot(this.#used++)
      const length = Math.min(n, PIPE_PAGE)
      this.#starts[slot] = 0
      this.#lengths[slot] = length
      this.#flags[slot] = flags
      n -= length
    }
  }

  #take(n: number): void {
    while (n > 0) {
      const length = this.#lengths[this.#head]
      if (n < length) {
        this.#starts[this.#head] += n
        this.#lengths[this.#head] -= n
        return
      }
      n -= length
      this.#dropSlot()
    }
  }

  #dropSlot(): void {
    this.#head = --this.#used === 0 ? 0 : (this.#head + 1) & (this.#pages - 1)
  }

  /** Makes the block large enough for `more` further slots. */
  #reserve(more: number): void {
    const needed = this.#used + more
    if (needed <= this.#pages) return
    let pages = Math.max(this.#pages, 1)
    while (pages < needed) pages *= 2
    this.#layOut(pages)
  }

  /** Moves the slots in use to a new block of `pages` pages. */
  #layOut(pages: number): void {
    const memory = new Uint8Array(pages * PIPE_PAGE)
    const starts = new Uint16Array(pages)
    const lengths = new Uint16Array(pages)
    const flags = new Uint8Array(pages)
    const kept = Math.min(this.#used, pages)
    for (let i = 0; i < kept; i++) {
      const slot = this.#slot(i)
      const at = slot * PIPE_PAGE
      memory.set(this.#memory.subarray(at, at + this.#starts[slot] + this.#lengths[slot]), i * PIPE_PAGE)
      starts[i] = this.#starts[slot]
      lengths[i] = this.#lengths[slot]
      flags[i] = this.#flags[slot]
    }
    this.#memory = memory
    this.#pages = pages
    this.#starts = starts
    this.#lengths = lengths
    this.#flags = flags
    this.#head = 0
    this.#used = kept
  }
}
