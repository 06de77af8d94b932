/**
 * The way of bytes between the kernel and guest memory: scratch buffers and the guest's side of reads and writes.
 *
 * One UserAccess serves all address spaces of a kernel, since only one call is served at a time. Each buffer has
 * one use, named at its method; what is in it is good until the next use of the same kind.
 */

import { EFAULT } from '../abi/errno.ts'
import { IoDst, IoSrc } from '../base/io.ts'
import type { Status } from '../base/result.ts'
import { StringCache } from '../base/string-cache.ts'
import type { Mm } from './mm.ts'
import { PAGE_SIZE, VM_WRITE } from './vma.ts'

/** The largest struct that `view` and `out` can hold. */
export const SCRATCH_SIZE = 4096
/** What one window of a read or write holds at most. */
export const WINDOW_SIZE = 128 << 10
/** From this size on a transfer between a host file and guest memory does without windows. */
const DIRECT_SIZE = 64 << 10

/** Views up to this length are kept. */
const KEPT_VIEWS = 512

/** A buffer with ready-made views of each usual length, since making a view costs more than using it. */
class Scratch {
  readonly #buffer = new ArrayBuffer(SCRATCH_SIZE)
  readonly #bytes: (Uint8Array | undefined)[] = new Array(KEPT_VIEWS + 1).fill(undefined)
  readonly #views: (DataView | undefined)[] = new Array(KEPT_VIEWS + 1).fill(undefined)

  bytes(length: number): Uint8Array {
    if (length > KEPT_VIEWS) return new Uint8Array(this.#buffer, 0, length)
    this.#bytes[length] ??= new Uint8Array(this.#buffer, 0, length)
    return this.#bytes[length]!
  }
  view(length: number): DataView {
    if (length > KEPT_VIEWS) return new DataView(this.#buffer, 0, length)
    this.#views[length] ??= new DataView(this.#buffer, 0, length)
    return this.#views[length]!
  }
}

export class UserAccess {
  /** Structs from the guest (mm.view). */
  readonly structIn = new Scratch()
  /** Structs to the guest (mm.out and mm.commit). */
  readonly structOut = new Scratch()
  outLength = 0
  /** Single words. */
  readonly word = new Scratch()
  /** Strings. */
  readonly text = new Scratch()
  /** Strings that came along with calls. */
  readonly strings = new StringCache()
  #dst: Uint8Array | undefined
  #src: Uint8Array | undefined

  /** The window of the read in progress. */
  get dstWindow(): Uint8Array {
    this.#dst ??= new Uint8Array(WINDOW_SIZE)
    return this.#dst
  }
  /** The window of the write in progress. */
  get srcWindow(): Uint8Array {
    this.#src ??= new Uint8Array(WINDOW_SIZE)
    return this.#src
  }
}

/** A place in a list of guest memory segments. */
class Cursor {
  address: number
  /** Bytes left of the current segment; 0 only when nothing remains. */
  left: number
  remaining: number
  /** The further segments, as base and length by turns, from #next on. */
  readonly #more: readonly number[]
  #next: number

  constructor(address: number, length: number, remaining: number, more: readonly number[], next = 0) {
    this.address = address
    this.left = length
    this.remaining = remaining
    this.#more = more
    this.#next = next
    this.#skipEmpty()
  }

  clone(): Cursor {
    return new Cursor(this.address, this.left, this.remaining, this.#more, this.#next)
  }

  advance(n: number): void {
    while (n > 0 && this.remaining > 0) {
      const step = Math.min(n, this.left)
      this.address += step
      this.left -= step
      this.remaining -= step
      n -= step
      this.#skipEmpty()
    }
  }

  limit(max: number): void {
    this.remaining = Math.min(this.remaining, max)
    this.left = Math.min(this.left, this.remaining)
  }

  /** How many of the next `want` bytes lie in mappings that grant `access`, as far as the vmas tell. */
  reachable(mm: Mm, want: number, access: number): number {
    let done = Math.min(want, this.left)
    const first = mm.accessible(this.address, done, access)
    if (first < done) return first
    for (let i = this.#next; done < want; i += 2) {
      const part = Math.min(want - done, this.#more[i + 1]!)
      const reached = mm.accessible(this.#more[i]!, part, access)
      done += reached
      if (reached < part) break
    }
    return done
  }

  #skipEmpty(): void {
    while (this.left === 0 && this.remaining > 0) {
      this.address = this.#more[this.#next++]!
      this.left = Math.min(this.#more[this.#next++]!, this.remaining)
    }
  }
}

/** What the guest's process can move by itself: a stopped thread has to be there. */
function directBytes(mm: Mm, cursor: Cursor): number {
  return cursor.left >= DIRECT_SIZE && mm.space.active !== undefined ? cursor.left : 0
}

/** Guest memory as the target of a read. */
export class GuestDst extends IoDst {
  readonly #mm: Mm
  readonly #cursor: Cursor

  /** `total` bytes: the first segment, then those of `more` (base, length, base, …). */
  constructor(mm: Mm, address: number, length: number, total: number, more: readonly number[]) {
    super()
    this.#mm = mm
    this.#cursor = new Cursor(address, length, total, more)
  }

  override get remaining(): number {
    return this.#cursor.remaining
  }

  override window(max: number): Uint8Array {
    const cursor = this.#cursor
    let length = Math.min(max, cursor.remaining, WINDOW_SIZE)
    // What can't be put back once it was taken (from a pipe, a terminal) must have a place to go: the window ends
    // where the mappings end, so that commit fails only when not one byte could be put.
    if (length > cursor.left || (cursor.address % PAGE_SIZE) + length > PAGE_SIZE) {
      length = cursor.reachable(this.#mm, length, VM_WRITE) || Math.min(length, cursor.left)
    }
    return this.#mm.context.access.dstWindow.subarray(0, length)
  }

  override commit(n: number): Status {
    const window = this.#mm.context.access.dstWindow
    for (let done = 0; done < n; ) {
      const part = Math.min(n - done, this.#cursor.left)
      const written = this.#mm.write(this.#cursor.address, window.subarray(done, done + part))
      if (written > 0) this.#cursor.advance(written)
      if (written < part) return -EFAULT
      done += part
    }
    return 0
  }

  override skip(n: number): void {
    this.#cursor.advance(n)
  }
  override limit(max: number): void {
    this.#cursor.limit(max)
  }

  /** Without the window, which would be one copy more. */
  override put(bytes: Uint8Array): number {
    const cursor = this.#cursor
    let done = 0
    while (done < bytes.length && cursor.remaining > 0) {
      const part = Math.min(bytes.length - done, cursor.left)
      const written = this.#mm.write(
        cursor.address,
        part === bytes.length ? bytes : bytes.subarray(done, done + part),
      )
      if (written > 0) {
        cursor.advance(written)
        done += written
      }
      if (written < part) return done > 0 ? done : -EFAULT
    }
    return done
  }

  override get direct(): number {
    return directBytes(this.#mm, this.#cursor)
  }

  override readHost(hostFd: number, offset: number, max: number): number {
    const cursor = this.#cursor
    const length = Math.min(max, cursor.left)
    if (!this.#mm.accessOk(cursor.address, length)) return -EFAULT
    const done = this.#mm.space.readFile(hostFd, offset, cursor.address, length)
    if (done > 0) cursor.advance(Math.min(done, length))
    return done
  }
}

/** Guest memory as the source of a write. */
export class GuestSrc extends IoSrc {
  readonly #mm: Mm
  readonly #cursor: Cursor

  constructor(mm: Mm, address: number, length: number, total: number, more: readonly number[]) {
    super()
    this.#mm = mm
    this.#cursor = new Cursor(address, length, total, more)
  }

  override get remaining(): number {
    return this.#cursor.remaining
  }

  override window(max: number): Uint8Array | number {
    const window = this.#mm.context.access.srcWindow
    const length = Math.min(max, this.#cursor.remaining, WINDOW_SIZE)
    if (length <= this.#cursor.left) {
      const read = this.#mm.read(this.#cursor.address, window.subarray(0, length))
      return read < 0 ? read : window.subarray(0, read)
    }
    return this.#gather(window, length)
  }

  override consume(n: number): void {
    this.#cursor.advance(n)
  }
  override skip(n: number): void {
    this.#cursor.advance(n)
  }
  override limit(max: number): void {
    this.#cursor.limit(max)
  }

  override get direct(): number {
    return directBytes(this.#mm, this.#cursor)
  }

  override writeHost(hostFd: number, offset: number, max: number): number {
    const cursor = this.#cursor
    const length = Math.min(max, cursor.left)
    if (!this.#mm.accessOk(cursor.address, length)) return -EFAULT
    const done = this.#mm.space.writeFile(hostFd, offset, cursor.address, length)
    if (done > 0) cursor.advance(Math.min(done, length))
    return done
  }

  /** A window over several segments, so that a writev of small pieces reaches its file as one write. */
  #gather(window: Uint8Array, length: number): Uint8Array | number {
    const ahead = this.#cursor.clone()
    let done = 0
    while (done < length) {
      const part = Math.min(length - done, ahead.left)
      const read = this.#mm.read(ahead.address, window.subarray(done, done + part))
      if (read < 0) break
      done += read
      if (read < part) break
      ahead.advance(part)
    }
    return done === 0 && length > 0 ? -EFAULT : window.subarray(0, done)
  }
}

/** All bytes of segments (base and length by turns, as importIovec gives them) as the target of a read. */
export function segmentsDst(mm: Mm, segments: readonly number[]): GuestDst {
  return new GuestDst(mm, 0, 0, totalOf(segments), segments)
}
/** And as the source of a write. */
export function segmentsSrc(mm: Mm, segments: readonly number[]): GuestSrc {
  return new GuestSrc(mm, 0, 0, totalOf(segments), segments)
}

export function totalOf(segments: readonly number[]): number {
  let total = 0
  for (let i = 1; i < segments.length; i += 2) total += segments[i]!
  return total
}
