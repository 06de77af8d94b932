/** Pipes as ends of a splice: their ring as the source or target of another file's read or write, without a buffer between. */
import { EFAULT } from '../../abi/errno.ts'
import { IoDst, IoSrc } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { PIPE_PAGE, type Pipe } from './pipe.ts'

/** What is in the pipe, at most `max` bytes of it: what is consumed leaves the pipe. */
export class PipeSrc extends IoSrc {
  readonly #pipe: Pipe
  #left: number

  constructor(pipe: Pipe, max: number) {
    super()
    this.#pipe = pipe
    this.#left = Math.min(pipe.bytes, max)
  }
  override get remaining(): number {
    return this.#left
  }
  override window(max: number): Uint8Array | number {
    const window = this.#pipe.readWindow(Math.min(max, this.#left))
    // Somebody else can't have emptied it within one call; the promise of `window` is 1..max bytes.
    return window.length > 0 ? window : -EFAULT
  }
  override consume(n: number): void {
    this.#left -= n
    this.#pipe.consume(n)
  }
  override limit(max: number): void {
    this.#left = Math.min(this.#left, max)
  }
}

/** A copy of what is in the pipe, at most `max` bytes of it. */
export function peekBytes(pipe: Pipe, max: number): Uint8Array {
  const bytes = new Uint8Array(Math.min(pipe.bytes, max))
  let done = 0
  for (let index = 0; done < bytes.length; index++) {
    const slot = pipe.peekSlot(index)
    bytes.set(slot.length <= bytes.length - done ? slot : slot.subarray(0, bytes.length - done), done)
    done += slot.length
  }
  return bytes
}

/** Takes `count` bytes out of the pipe, which has them. */
export function dropBytes(pipe: Pipe, count: number): void {
  for (let n = 0; count > 0; count -= n) {
    n = pipe.readWindow(count).length
    pipe.consume(n)
  }
}

/** The free room of a pipe that is not full, at most `max` bytes of it. */
export class PipeDst extends IoDst {
  readonly #pipe: Pipe
  #left: number

  constructor(pipe: Pipe, max: number) {
    super()
    this.#pipe = pipe
    this.#left = Math.min(pipe.freeSlots * PIPE_PAGE, max)
  }
  override get remaining(): number {
    return this.#pipe.full ? 0 : Math.min(this.#left, this.#pipe.freeSlots * PIPE_PAGE)
  }
  override window(max: number): Uint8Array {
    return this.#pipe.writeWindow(Math.min(max, this.remaining))
  }
  override commit(n: number): Status {
    this.#left -= n
    if (n > 0) this.#pipe.commit(n)
    return 0
  }
  override skip(_n: number): void {
    throw new Error('a splice never resumes a read')
  }
  override limit(max: number): void {
    this.#left = Math.min(this.#left, max)
  }
}

/** Moves (or, with `take` false, copies) whole slots while the target has room: the bytes moved. */
export function moveSlots(from: Pipe, to: Pipe, max: number, take: boolean): number {
  let done = 0
  for (let index = 0; done < max && !to.full && index < from.usedSlots; ) {
    const slot = from.peekSlot(index)
    const part = slot.length <= max - done ? slot : slot.subarray(0, max - done)
    to.putSlot(part)
    done += part.length
    if (take) from.consume(part.length)
    else index++
  }
  return done
}
