/**
 * Where the bytes of a read go and the bytes of a write come from: guest iovecs or the kernel's own memory.
 * Objects (pipes, files, sockets) know only these two. A window is memory of the sentry, so that a host call
 * can fill or drain it in place; nothing in a window is trusted to stay the same between two looks.
 */
import { EFAULT } from '../abi/errno.ts'
import type { Status } from './result.ts'

/** The room that a read fills. */
export abstract class IoDst {
  /** Bytes that still fit. */
  abstract readonly remaining: number
  /** The next place to fill: 1..max bytes, empty when nothing remains. Valid until the next call on this object. */
  abstract window(max: number): Uint8Array
  /** Takes the first `n` bytes of the last window: 0, or -EFAULT (nothing more can be put then). */
  abstract commit(n: number): Status
  /** Leaves the next `n` bytes as they are: an earlier try of the same read has filled them. */
  abstract skip(n: number): void
  /** From now on there is room for `max` bytes at most. */
  abstract limit(max: number): void

  /**
   * How many of the next bytes `readHost` may be asked for; 0 where windows are the better way (small reads, kernel
   * memory).
   */
  get direct(): number {
    return 0
  }
  /**
   * Fills the next bytes straight from a host file, without a copy through the sentry, and commits them: pread's
   * result. Only when `direct` isn't 0; at most `direct` bytes.
   */
  readHost(_hostFd: number, _offset: number, _max: number): number {
    return -EFAULT
  }

  /** Copies as much of `bytes` as fits: the count, or -EFAULT when not even one byte got there. */
  put(bytes: Uint8Array): number {
    let done = 0
    while (done < bytes.length && this.remaining > 0) {
      const window = this.window(bytes.length - done)
      window.set(window.length === bytes.length ? bytes : bytes.subarray(done, done + window.length))
      const status = this.commit(window.length)
      if (status < 0) return done > 0 ? done : status
      done += window.length
    }
    return done
  }
}

/** The bytes that a write brings. */
export abstract class IoSrc {
  /** Bytes not yet consumed. */
  abstract readonly remaining: number
  /** The next bytes, 1..max of them, not consumed yet; -EFAULT where the guest's memory is not there. */
  abstract window(max: number): Uint8Array | number
  /** Drops the first `n` bytes of the last window. */
  abstract consume(n: number): void
  /** From now on these are `max` bytes at most. */
  abstract limit(max: number): void

  /** Drops the next `n` bytes: an earlier try of the same write has passed them on. */
  skip(n: number): void {
    while (n > 0 && this.remaining > 0) {
      const window = this.window(n)
      if (typeof window === 'number') return
      this.consume(window.length)
      n -= window.length
    }
  }

  /** As IoDst.direct, for `writeHost`. */
  get direct(): number {
    return 0
  }
  /** Writes the next bytes straight to a host file and consumes what was written: pwrite's result. */
  writeHost(_hostFd: number, _offset: number, _max: number): number {
    return -EFAULT
  }

  /** Fills `target` as far as bytes remain and consumes them: the count, or -EFAULT when there was not one. */
  take(target: Uint8Array): number {
    let done = 0
    while (done < target.length && this.remaining > 0) {
      const window = this.window(target.length - done)
      if (typeof window === 'number') return done > 0 ? done : window
      target.set(window, done)
      this.consume(window.length)
      done += window.length
    }
    return done
  }
}

/** Kernel memory as the target of a read. */
export class BufferDst extends IoDst {
  readonly bytes: Uint8Array
  #at = 0
  #end: number

  constructor(bytes: Uint8Array) {
    super()
    this.bytes = bytes
    this.#end = bytes.length
  }
  /** Bytes put so far. */
  get done(): number {
    return this.#at
  }
  override get remaining(): number {
    return this.#end - this.#at
  }
  override window(max: number): Uint8Array {
    return this.bytes.subarray(this.#at, Math.min(this.#end, this.#at + max))
  }
  override commit(n: number): Status {
    this.#at += n
    return 0
  }
  override skip(n: number): void {
    this.#at += n
  }
  override limit(max: number): void {
    this.#end = Math.min(this.#end, this.#at + max)
  }
}

/** Kernel memory as the source of a write. */
export class BufferSrc extends IoSrc {
  readonly bytes: Uint8Array
  #at = 0
  #end: number

  constructor(bytes: Uint8Array) {
    super()
    this.bytes = bytes
    this.#end = bytes.length
  }
  override get remaining(): number {
    return this.#end - this.#at
  }
  override window(max: number): Uint8Array {
    return this.bytes.subarray(this.#at, Math.min(this.#end, this.#at + max))
  }
  override consume(n: number): void {
    this.#at += n
  }
  override limit(max: number): void {
    this.#end = Math.min(this.#end, this.#at + max)
  }
}
