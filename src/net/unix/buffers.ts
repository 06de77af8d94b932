/** Buffers of messages under way: making a large one costs more than filling it, so those that were read are used again. */

/** Smaller messages get a buffer of their own, which the collector takes. */
const POOLED_SIZE = 4096
/** What the pool holds at most, in bytes. */
const POOL_LIMIT = 2 << 20

export class BufferPool {
  /** Free buffers by the binary logarithm of their length. */
  readonly #free: ArrayBuffer[][] = []
  #held = 0

  /** `size` bytes, of any content. */
  take(size: number): Uint8Array {
    if (size < POOLED_SIZE) return new Uint8Array(size)
    const rank = 32 - Math.clz32(size - 1)
    const buffer = this.#free[rank]?.pop()
    if (buffer === undefined) return new Uint8Array(new ArrayBuffer(2 ** rank), 0, size)
    this.#held -= buffer.byteLength
    return new Uint8Array(buffer, 0, size)
  }

  /** Gives back what `take` gave; nobody looks at it any more. */
  give(bytes: Uint8Array): void {
    const length = bytes.buffer.byteLength
    if (bytes.length < POOLED_SIZE || this.#held + length > POOL_LIMIT) return
    const rank = 31 - Math.clz32(length)
    this.#free[rank] ??= []
    this.#free[rank].push(bytes.buffer as ArrayBuffer)
    this.#held += length
  }
}
