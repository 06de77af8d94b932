/** A bounded first-in first-out queue of bytes: what travels between the two ends of a terminal. */
export class ByteQueue {
  readonly capacity: number
  #bytes: Uint8Array
  #head = 0
  #size = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.#bytes = new Uint8Array(Math.min(capacity, 256))
  }

  get size(): number {
    return this.#size
  }
  get room(): number {
    return this.capacity - this.#size
  }

  /** Adds one byte; the caller has looked at `room`. */
  push(byte: number): void {
    if (this.#size === this.#bytes.length) this.#grow(this.#size + 1)
    let at = this.#head + this.#size
    if (at >= this.#bytes.length) at -= this.#bytes.length
    this.#bytes[at] = byte
    this.#size++
  }

  /** Adds as many of the bytes as there is room for: how many. */
  pushAll(from: Uint8Array): number {
    const n = Math.min(from.length, this.room)
    if (this.#size + n > this.#bytes.length) this.#grow(this.#size + n)
    const at = (this.#head + this.#size) % this.#bytes.length
    const first = Math.min(n, this.#bytes.length - at)
    this.#bytes.set(from.subarray(0, first), at)
    this.#bytes.set(from.subarray(first, n), 0)
    this.#size += n
    return n
  }

  /** The oldest byte; the queue isn't empty. */
  shift(): number {
    const byte = this.#bytes[this.#head]
    this.drop(1)
    return byte
  }

  /** The oldest bytes that lie together, at most `max`; valid until the next change. */
  peek(max: number): Uint8Array {
    const n = Math.min(max, this.#size, this.#bytes.length - this.#head)
    return this.#bytes.subarray(this.#head, this.#head + n)
  }

  /** Forgets the `n` oldest bytes. */
  drop(n: number): void {
    this.#size -= n
    this.#head = this.#size === 0 ? 0 : (this.#head + n) % this.#bytes.length
  }

  /** Forgets the newest bytes so that at most `size` stay. */
  truncate(size: number): void {
    this.#size = Math.min(this.#size, size)
  }

  clear(): void {
    this.drop(this.#size)
  }

  #grow(needed: number): void {
    let length = this.#bytes.length
    while (length < needed) length = Math.min(this.capacity, length * 2)
    const bytes = new Uint8Array(length)
    let done = 0
    while (done < this.#size) {
      const part = this.#bytes.subarray(
        (this.#head + done) % this.#bytes.length,
        Math.min(this.#bytes.length, ((this.#head + done) % this.#bytes.length) + this.#size - done),
      )
      bytes.set(part, done)
      done += part.length
    }
    this.#bytes = bytes
    this.#head = 0
  }
}
