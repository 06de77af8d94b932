/**
 * The memory of an io_uring: both rings and the submission entries, shared with the guest.
 *
 * The guest owns the submission queue's tail and the completion queue's head, the kernel the other two, which it keeps
 * itself: what the guest writes over them has no effect. Indices are masked, and each word is read once.
 */
import {
  IORING_OFF_CQ_RING,
  IORING_OFF_SQ_RING,
  IORING_OFF_SQES,
  IORING_SETUP_CQE32,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_SQE128,
} from '../../abi/constants.ts'
import { EINVAL, ENOMEM } from '../../abi/errno.ts'
import { IO_CQRING_OFFSETS, IO_SQRING_OFFSETS, IO_URING_CQE, IO_URING_SQE } from '../../abi/layout.ts'
import { pageCeil } from '../../mm/vma.ts'

// Where what is, as Linux has it (struct io_rings): memory of the guest's own has room for no more.
const SQ_HEAD = 0
const SQ_TAIL = 4
const CQ_HEAD = 8
const CQ_TAIL = 12
const SQ_MASK = 16
const CQ_MASK = 20
const SQ_ENTRIES = 24
const CQ_ENTRIES = 28
const SQ_DROPPED = 32
const SQ_FLAGS = 36
const CQ_FLAGS = 40
const CQ_OVERFLOW = 44
const CQES = 64
const CACHE_LINE = 64

/** What the rings are in: SharedPages, or memory of the guest's. */
export interface RingMemory {
  u32(offset: number): number
  putU32(offset: number, value: number): void
  read(into: Uint8Array, offset: number): void
  write(from: Uint8Array, offset: number): void
  release(): void
  /** Of the kernel's own. */
  readonly hostFd?: number
}

export interface RingSizes {
  readonly sqEntries: number
  readonly cqEntries: number
  readonly sqeSize: number
  readonly cqeSize: number
  /** Where the index array of the submission queue is, 0 if there is none. */
  readonly arrayAt: number
  readonly ringsSize: number
  /** Where the submission entries are when one file has all. */
  readonly entriesAt: number
  readonly entriesSize: number
}

export function ringSizes(sqEntries: number, cqEntries: number, flags: number): RingSizes {
  const sqeSize = (flags & IORING_SETUP_SQE128) !== 0 ? 2 * IO_URING_SQE.size : IO_URING_SQE.size
  const cqeSize = (flags & IORING_SETUP_CQE32) !== 0 ? 2 * IO_URING_CQE.size : IO_URING_CQE.size
  const cqEnd = Math.ceil((CQES + cqEntries * cqeSize) / CACHE_LINE) * CACHE_LINE
  const arrayAt = (flags & IORING_SETUP_NO_SQARRAY) !== 0 ? 0 : cqEnd
  const ringsSize = arrayAt === 0 ? cqEnd : cqEnd + sqEntries * 4
  return {
    sqEntries,
    cqEntries,
    sqeSize,
    cqeSize,
    arrayAt,
    ringsSize,
    entriesAt: pageCeil(ringsSize),
    entriesSize: pageCeil(sqEntries * sqeSize),
  }
}

export class Rings {
  readonly pages: RingMemory
  readonly sizes: RingSizes
  readonly #entries: RingMemory
  readonly #entriesAt: number
  #sqHead = 0
  #cqTail = 0
  /** The guest's head as it was seen last; it can only have moved on. */
  #cqHead = 0
  #sqFlags = 0
  readonly #cqe: DataView
  readonly #cqeBytes: Uint8Array

  /** Takes over the references. The submission entries are in `entries`, from `entriesAt` on. */
  constructor(pages: RingMemory, entries: RingMemory, entriesAt: number, sizes: RingSizes) {
    this.pages = pages
    this.sizes = sizes
    this.#entries = entries
    this.#entriesAt = entriesAt
    this.#cqe = new DataView(new ArrayBuffer(sizes.cqeSize))
    this.#cqeBytes = new Uint8Array(this.#cqe.buffer)
    pages.putU32(SQ_MASK, sizes.sqEntries - 1)
    pages.putU32(CQ_MASK, sizes.cqEntries - 1)
    pages.putU32(SQ_ENTRIES, sizes.sqEntries)
    pages.putU32(CQ_ENTRIES, sizes.cqEntries)
  }

  /** Fills the offsets of struct io_uring_params. */
  describe(out: DataView, sqAt: number, cqAt: number): void {
    const sq = (field: number, value: number): void => out.setUint32(sqAt + field, value, true)
    const cq = (field: number, value: number): void => out.setUint32(cqAt + field, value, true)
    sq(IO_SQRING_OFFSETS.head, SQ_HEAD)
    sq(IO_SQRING_OFFSETS.tail, SQ_TAIL)
    sq(IO_SQRING_OFFSETS.ring_mask, SQ_MASK)
    sq(IO_SQRING_OFFSETS.ring_entries, SQ_ENTRIES)
    sq(IO_SQRING_OFFSETS.flags, SQ_FLAGS)
    sq(IO_SQRING_OFFSETS.dropped, SQ_DROPPED)
    sq(IO_SQRING_OFFSETS.array, this.sizes.arrayAt)
    cq(IO_CQRING_OFFSETS.head, CQ_HEAD)
    cq(IO_CQRING_OFFSETS.tail, CQ_TAIL)
    cq(IO_CQRING_OFFSETS.ring_mask, CQ_MASK)
    cq(IO_CQRING_OFFSETS.ring_entries, CQ_ENTRIES)
    cq(IO_CQRING_OFFSETS.overflow, CQ_OVERFLOW)
    cq(IO_CQRING_OFFSETS.cqes, CQES)
    cq(IO_CQRING_OFFSETS.flags, CQ_FLAGS)
  }

  /** Where in the pages a mapping at `offset` begins; -EINVAL for what is not there, -ENOMEM where the guest has it already. */
  region(offset: number): number {
    if (this.pages.hostFd === undefined) return -ENOMEM
    if (offset === IORING_OFF_SQ_RING || offset === IORING_OFF_CQ_RING) return 0
    return offset === IORING_OFF_SQES ? this.#entriesAt : -EINVAL
  }

  // Submission.

  /** How many entries the guest has put there. */
  get submitted(): number {
    const count = (this.pages.u32(SQ_TAIL) - this.#sqHead) >>> 0
    return Math.min(count, this.sizes.sqEntries)
  }
  get submissionFull(): boolean {
    return (this.pages.u32(SQ_TAIL) - this.#sqHead) >>> 0 === this.sizes.sqEntries
  }

  /** Takes the next entry, a copy: undefined for an index that is none, which is counted. */
  takeEntry(): DataView | undefined {
    const { sqEntries, sqeSize, arrayAt } = this.sizes
    let index = this.#sqHead & (sqEntries - 1)
    if (arrayAt !== 0) index = this.pages.u32(arrayAt + index * 4)
    this.#sqHead = (this.#sqHead + 1) >>> 0
    if (index >= sqEntries) {
      this.pages.putU32(SQ_DROPPED, (this.pages.u32(SQ_DROPPED) + 1) >>> 0)
      return undefined
    }
    const entry = new Uint8Array(sqeSize)
    this.#entries.read(entry, this.#entriesAt + index * sqeSize)
    return new DataView(entry.buffer)
  }

  /** Tells the guest how far its entries were taken. */
  commitHead(): void {
    this.pages.putU32(SQ_HEAD, this.#sqHead)
  }

  /** How many completions went for want of memory. */
  countLost(count: number): void {
    this.pages.putU32(CQ_OVERFLOW, count)
  }

  setFlag(flag: number, on: boolean): void {
    const flags = on ? this.#sqFlags | flag : this.#sqFlags & ~flag
    if (flags === this.#sqFlags) return
    this.#sqFlags = flags
    this.pages.putU32(SQ_FLAGS, flags)
  }

  // Completion.

  /** IORING_CQ_*: what the guest asks for. */
  get completionFlags(): number {
    return this.pages.u32(CQ_FLAGS)
  }

  /** Completions that the guest has not taken. */
  get completed(): number {
    this.#cqHead = this.pages.u32(CQ_HEAD)
    return (this.#cqTail - this.#cqHead) >>> 0
  }

  get completionFull(): boolean {
    const { cqEntries } = this.sizes
    return (this.#cqTail - this.#cqHead) >>> 0 >= cqEntries && this.completed >= cqEntries
  }

  /** False when there is no room. */
  complete(userLo: number, userHi: number, result: number, flags: number): boolean {
    const { cqEntries, cqeSize } = this.sizes
    if (this.completionFull) return false
    this.#cqe.setUint32(IO_URING_CQE.user_data, userLo, true)
    this.#cqe.setUint32(IO_URING_CQE.user_data + 4, userHi, true)
    this.#cqe.setInt32(IO_URING_CQE.res, result, true)
    this.#cqe.setUint32(IO_URING_CQE.flags, flags, true)
    this.pages.write(this.#cqeBytes, CQES + (this.#cqTail & (cqEntries - 1)) * cqeSize)
    this.#cqTail = (this.#cqTail + 1) >>> 0
    this.pages.putU32(CQ_TAIL, this.#cqTail)
    return true
  }
}
