/**
 * FileData: the bytes of one tmpfs file.
 *
 * It starts as a byte array of the sentry (most files are small, and a host descriptor each would be dear) and moves,
 * once and for good, to a host memfd when it grows above SMALL_LIMIT or is mapped: from then on `read`, `write` and the
 * guest's mappings see the same pages. Emptied, a file that was never mapped gives its memfd back. `close` ends it.
 *
 * Pages are charged to the file system's quota before they come to be. Only a mapping fills holes without the sentry
 * seeing it: files that were mapped are counted anew now and then, when the quota asks.
 */
import {
  F_ADD_SEALS,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  O_RDONLY,
  O_WRONLY,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../abi/constants.ts'
import { ENOSPC, ENXIO } from '../../abi/errno.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import type { MemoryController } from '../../kernel/cgroup/memory.ts'
import { type Host, newHostStat } from '../../platform/host.ts'
import { DIRECT_MIN, readHost, writeHost } from '../../platform/host-io.ts'
import { PAGE_SIZE, type Quota } from './quota.ts'

/** The largest file held in the sentry's own memory: 16 pages, so that one word tells which of them exist. */
export const SMALL_LIMIT = 16 * PAGE_SIZE

const EMPTY = new Uint8Array(0)

export class FileData {
  readonly #host: Host
  readonly #quota: Quota
  readonly #memory: MemoryController | undefined
  size = 0
  /** Small form: bytes [0, size), zero beyond. */
  #bytes = EMPTY
  /** Small form: one bit for each page that is not a hole. */
  #present = 0
  /** Large form: the memfd, and a read-only descriptor of it for mappings of files not open for writing. */
  #fd = -1
  #readOnlyFd = -1
  /** Large form: pages charged. While `#sparse` is false they are exactly the first `#pages` ones of the file. */
  #pages = 0
  #sparse = false
  /** Pages exist that SEEK_DATA does not show: allocated, never written. */
  #preallocated = false
  #mapped = false
  /** Mapped: holes as the quota has them, and whether there were more pages than charged when they were counted last. */
  #countedHoles = 0
  #grown = false
  #seals = 0

  /** `memory`: of the cgroup that its pages are charged to besides the quota. */
  constructor(host: Host, quota: Quota, memory: MemoryController | undefined) {
    this.#host = host
    this.#quota = quota
    this.#memory = memory
  }

  /** Pages in use. */
  get pages(): number {
    if (this.#fd < 0) return popCount(this.#present)
    return this.#mapped ? this.#hostPages() : this.#pages
  }

  /** The memfd, if the bytes are in one. */
  get fd(): number | undefined {
    return this.#fd < 0 ? undefined : this.#fd
  }

  /** At most `most` bytes. */
  read(into: IoDst, offset: number, most = Number.POSITIVE_INFINITY): number {
    const length = Math.min(into.remaining, most, this.size - offset)
    if (length <= 0) return 0
    if (this.#fd < 0) return into.put(this.#bytes.subarray(offset, offset + length))
    // The guest's process gets nothing that it could write by.
    const passed = Math.min(into.direct, length) < DIRECT_MIN ? -1 : this.#readOnly()
    return readHost(this.#host, this.#fd, into, offset, length, passed)
  }

  /**
   * Writes up to `length` bytes, as far as there is room. `readable`: who writes may read as well, and so may have a
   * descriptor that does.
   */
  write(from: IoSrc, offset: number, length: number, readable = true): number {
    if (length === 0) return 0
    if (this.#fd < 0 && offset + length > SMALL_LIMIT) {
      const status = this.moveOut()
      if (status < 0) return status
    }
    if (this.#fd < 0) return this.#writeSmall(from, offset, length)
    const room = this.#chargeRange(offset, length)
    if (room < 0) return room
    const passed = readable || from.direct < DIRECT_MIN ? this.#fd : this.#host.reopen(this.#fd, O_WRONLY)
    const n = writeHost(this.#host, this.#fd, from, offset, room, passed)
    if (passed >= 0 && passed !== this.#fd) this.#host.close(passed)
    this.#settle(offset, room, n)
    return n
  }

  /** As write, from a descriptor of the host: one step of copy_file_range(2). */
  copyFrom(sourceFd: number, sourceOffset: number, offset: number, length: number): number {
    const moved = this.moveOut()
    if (moved < 0) return moved
    const room = this.#chargeRange(offset, length)
    if (room < 0) return room
    const n = this.#host.copyFileRange(sourceFd, sourceOffset, this.#fd, offset, room)
    this.#settle(offset, room, n)
    return n
  }

  truncate(size: number): Status {
    if (this.#fd < 0 && size > SMALL_LIMIT) {
      const status = this.moveOut()
      if (status < 0) return status
    }
    if (this.#fd < 0) {
      if (size < this.size) this.#shrinkSmall(size)
      else this.#reserveSmall(size)
      this.size = size
      return 0
    }
    if (size === 0 && !this.#mapped) {
      this.close()
      return 0
    }
    const status = this.#host.ftruncate(this.#fd, size)
    if (status < 0) return status
    const grows = size > this.size
    this.size = size
    if (grows) this.#sparse = true
    else if (this.#sparse) this.#recount()
    else this.#chargeTo(Math.min(this.#pages, pagesOf(size)))
    this.#countHoles()
    return 0
  }

  /** fallocate(2) without PUNCH_HOLE: pages for [offset, offset + length); the size changes only if `grow`. */
  allocate(offset: number, length: number, grow: boolean): Status {
    const end = offset + length
    if (this.#fd < 0 && end > SMALL_LIMIT) {
      const status = this.moveOut()
      if (status < 0) return status
    }
    if (this.#fd < 0) {
      const missing = pageMask(offset, end) & ~this.#present
      const status = this.#charge(popCount(missing))
      if (status < 0) return status
      this.#present |= missing
      if (grow && end > this.size) {
        this.#reserveSmall(end)
        this.size = end
      }
      return 0
    }
    const missing = this.#missing(Math.floor(offset / PAGE_SIZE), pagesOf(end))
    const charged = this.#charge(missing)
    if (charged < 0) return charged
    this.#pages += missing
    const status = this.#host.fallocate(this.#fd, grow ? 0 : FALLOC_FL_KEEP_SIZE, offset, length)
    this.#sparse = this.#preallocated = true
    if (status === 0 && grow && end > this.size) this.size = end
    this.#recount()
    return status
  }

  /** Whether there is room for all pages of [offset, offset + length). */
  hasRoom(offset: number, length: number): Status {
    const moved = this.moveOut()
    if (moved < 0) return moved
    const missing = this.#missing(Math.floor(offset / PAGE_SIZE), pagesOf(offset + length))
    const status = this.#charge(missing)
    if (status === 0) this.#adjust(-missing)
    return status
  }

  punchHole(offset: number, length: number): Status {
    const end = offset + length
    if (this.#fd >= 0) {
      const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
      const status = this.#host.fallocate(this.#fd, mode, offset, length)
      if (status < 0) return status
      this.#sparse = true
      this.#recount()
      return 0
    }
    if (offset < this.#bytes.length) this.#bytes.fill(0, offset, Math.min(end, this.#bytes.length))
    const first = Math.ceil(offset / PAGE_SIZE)
    const last = Math.floor(Math.min(end, SMALL_LIMIT) / PAGE_SIZE)
    const gone = last > first ? bits(first, last) & this.#present : 0
    this.#present &= ~gone
    this.#adjust(-popCount(gone))
    return 0
  }

  /** SEEK_DATA and SEEK_HOLE; holes are whole pages. */
  seek(offset: number, whence: number): number {
    if (offset >= this.size) return -ENXIO
    if (this.#fd >= 0) return this.#host.lseek(this.#fd, offset, whence)
    const wanted = whence === SEEK_DATA ? 1 : 0
    let page = Math.floor(offset / PAGE_SIZE)
    while (page * PAGE_SIZE < this.size && ((this.#present >>> page) & 1) !== wanted) page++
    const at = Math.max(offset, page * PAGE_SIZE)
    if (at < this.size) return at
    return whence === SEEK_HOLE ? this.size : -ENXIO
  }

  /**
   * The descriptor to map, which from now on shares the file's pages with the guest. `writable`: the descriptor may
   * write, as may the file that is mapped.
   */
  map(writable: boolean): number {
    const moved = this.moveOut()
    if (moved < 0) return moved
    if (!this.#mapped) {
      this.#mapped = this.#sparse = true
      this.#quota.mapped.add(this)
      this.#memory?.mapped.add(this)
      this.#countHoles()
    }
    return writable ? this.#fd : this.#readOnly()
  }

  /** A descriptor that can't write, or a negative errno. */
  #readOnly(): number {
    if (this.#readOnlyFd < 0) this.#readOnlyFd = this.#host.reopen(this.#fd, O_RDONLY)
    return this.#readOnlyFd
  }

  /**
   * F_ADD_SEALS for the seals on the bytes (SHRINK, GROW, WRITE, FUTURE_WRITE). The memfd is sealed too, because the
   * host knows the guest's writable mappings (-EBUSY) and refuses later ones.
   */
  seal(seals: number): Status {
    if (this.#fd >= 0 && seals !== 0) {
      const status = this.#host.fcntl(this.#fd, F_ADD_SEALS, seals)
      if (status < 0) return status
    }
    this.#seals |= seals
    return 0
  }

  /** Into the large form. */
  moveOut(): Status {
    if (this.#fd >= 0) return 0
    const fd = this.#host.memfd('tmpfs', MFD_CLOEXEC | MFD_ALLOW_SEALING)
    // Out of descriptors: there is no errno for it among those that a write to tmpfs gives.
    if (fd < 0) return -ENOSPC
    const status = this.#copyOut(fd)
    if (status < 0) {
      this.#host.close(fd)
      return status
    }
    this.#fd = fd
    this.#pages = popCount(this.#present)
    this.#sparse = this.#present !== bits(0, this.#pages) || pagesOf(this.size) !== this.#pages
    this.#bytes = EMPTY
    this.#present = 0
    return 0
  }

  /** Gives everything back: an empty file. */
  close(): void {
    if (this.#readOnlyFd >= 0) this.#host.close(this.#readOnlyFd)
    if (this.#fd >= 0) this.#host.close(this.#fd)
    this.#adjust(-(this.#fd >= 0 ? this.#pages : popCount(this.#present)))
    this.#quota.mapped.delete(this)
    this.#memory?.mapped.delete(this)
    this.#quota.adjustHoles(-this.#countedHoles)
    this.#countedHoles = 0
    this.#grown = false
    this.#fd = this.#readOnlyFd = -1
    this.#pages = this.#present = this.size = 0
    this.#bytes = EMPTY
    this.#sparse = this.#preallocated = this.#mapped = false
  }

  #copyOut(fd: number): Status {
    for (let page = 0; page * PAGE_SIZE < this.size; page++) {
      if (((this.#present >>> page) & 1) === 0) continue
      const start = page * PAGE_SIZE
      const n = this.#host.pwrite(
        fd,
        this.#bytes.subarray(start, Math.min(start + PAGE_SIZE, this.size)),
        start,
      )
      if (n < 0) return n
    }
    const status = this.#host.ftruncate(fd, this.size)
    if (status < 0 || this.#seals === 0) return status
    return this.#host.fcntl(fd, F_ADD_SEALS, this.#seals)
  }

  #writeSmall(from: IoSrc, offset: number, length: number): number {
    let missing = pageMask(offset, offset + length) & ~this.#present
    for (;;) {
      const status = this.#charge(popCount(missing))
      if (status === 0) break
      if (status !== -ENOSPC) return status
      // Up to the last missing page that has no room.
      const last = 31 - Math.clz32(missing)
      missing &= ~(1 << last)
      length = last * PAGE_SIZE - offset
      if (length <= 0) return -ENOSPC
    }
    this.#reserveSmall(offset + length)
    const n = from.take(this.#bytes.subarray(offset, offset + length))
    const touched = n > 0 ? pageMask(offset, offset + n) : 0
    this.#adjust(-popCount(missing & ~touched))
    this.#present |= missing & touched
    if (n > 0 && offset + n > this.size) this.size = offset + n
    return n
  }

  /** Room for `size` bytes: grown by half, in steps, so that appending byte by byte is linear. */
  #reserveSmall(size: number): void {
    const capacity = this.#bytes.length
    if (size <= capacity) return
    const grown = new Uint8Array(Math.min(SMALL_LIMIT, Math.max(64, size, capacity === 0 ? 0 : capacity * 2)))
    grown.set(this.#bytes)
    this.#bytes = grown
  }

  #shrinkSmall(size: number): void {
    const kept = pageMask(0, size)
    this.#adjust(-popCount(this.#present & ~kept))
    this.#present &= kept
    if (size === 0) this.#bytes = EMPTY
    else if (size * 4 < this.#bytes.length) this.#bytes = this.#bytes.slice(0, size)
    else this.#bytes.fill(0, size)
  }

  /** Charges the pages that a write of [offset, offset + length) makes: how many bytes of it have room, or -ENOSPC. */
  #chargeRange(offset: number, length: number): number {
    const first = Math.floor(offset / PAGE_SIZE)
    if (first > this.#pages) this.#sparse = true
    let last = pagesOf(offset + length)
    let missing = this.#missing(first, last)
    const status = this.#charge(missing)
    if (status === 0) {
      this.#pages += missing
      return length
    }
    if (status !== -ENOSPC) return status
    // The last page up to which there is room for all.
    const free = this.#quota.freePages
    for (let low = first; low < last; ) {
      const middle = Math.ceil((low + last) / 2)
      if (this.#missing(first, middle) <= free) low = middle
      else last = middle - 1
    }
    const room = Math.min(length, last * PAGE_SIZE - offset)
    if (room <= 0) return -ENOSPC
    missing = this.#missing(first, last)
    const charged = this.#charge(missing)
    if (charged < 0) return charged
    this.#pages += missing
    return room
  }

  /** After a write: what was charged for bytes that did not get there is given back. */
  #settle(offset: number, charged: number, written: number): void {
    if (written > 0 && offset + written > this.size) this.size = offset + written
    if (written < charged || this.#preallocated) this.#recount()
  }

  /** How many of pages [first, last) don't exist. */
  #missing(first: number, last: number): number {
    return this.#sparse ? this.#holesAmong(first, last) : Math.max(0, last - Math.max(first, this.#pages))
  }

  /** Holes among pages [first, last), as the host knows them. */
  #holesAmong(first: number, last: number): number {
    let count = 0
    let page = first
    while (page < last) {
      const data = this.#host.lseek(this.#fd, page * PAGE_SIZE, SEEK_DATA)
      const from = data < 0 ? last : Math.min(last, Math.floor(data / PAGE_SIZE))
      count += from - page
      if (from >= last) break
      const hole = this.#host.lseek(this.#fd, from * PAGE_SIZE, SEEK_HOLE)
      page = hole < 0 ? last : Math.ceil(hole / PAGE_SIZE)
    }
    return count
  }

  /** New pages: -ENOSPC when the file system has no room for them, -ENOMEM when the cgroup has none. */
  #charge(pages: number): Status {
    const status = this.#quota.chargePages(pages)
    if (status < 0 || this.#memory === undefined) return status
    const charged = this.#memory.charge(pages)
    if (charged < 0) this.#quota.adjustPages(-pages)
    return charged
  }
  #adjust(pages: number): void {
    this.#quota.adjustPages(pages)
    this.#memory?.adjust(pages)
  }

  #chargeTo(pages: number): Status {
    if (pages > this.#pages) {
      const status = this.#charge(pages - this.#pages)
      if (status < 0) return status
    } else this.#adjust(pages - this.#pages)
    this.#pages = pages
    return 0
  }

  /** Mapped: what the guest has made itself is charged. How many pages there are. */
  recount(): number {
    if (this.#mapped) this.#recount()
    return this.#pages
  }

  takeGrowth(): boolean {
    const grown = this.#grown
    this.#grown = false
    return grown
  }

  /** Sets the charge to what the host says. */
  #recount(): void {
    const pages = this.#hostPages()
    if (this.#mapped && pages > this.#pages) this.#grown = true
    this.#adjust(pages - this.#pages)
    this.#pages = pages
    this.#countHoles()
  }

  #countHoles(): void {
    if (!this.#mapped) return
    const holes = Math.max(0, pagesOf(this.size) - this.#pages)
    this.#quota.adjustHoles(holes - this.#countedHoles)
    this.#countedHoles = holes
  }

  #hostPages(): number {
    const stat = newHostStat()
    if (this.#host.statx(this.#fd, '', 0, stat) < 0) return this.#pages
    return Math.ceil(stat.blocks / (PAGE_SIZE / 512))
  }
}

function pagesOf(size: number): number {
  return Math.ceil(size / PAGE_SIZE)
}

/** Bits first .. last - 1. */
function bits(first: number, last: number): number {
  return last <= first ? 0 : ((1 << last) - 1) & ~((1 << first) - 1)
}

/** The pages that [start, end) touches, in the small form. */
function pageMask(start: number, end: number): number {
  return end <= start ? 0 : bits(Math.floor(start / PAGE_SIZE), pagesOf(end))
}

function popCount(mask: number): number {
  let count = 0
  for (; mask !== 0; mask &= mask - 1) count++
  return count
}
