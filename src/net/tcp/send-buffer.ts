/**
 * What the application has written and the peer has not acknowledged: bytes `start`..`end` of the sequence space in chunks
 * of one size, so that a byte's place is a division. Chunks come from the protocol's pool and go back as they are
 * acknowledged. Retransmissions read the same bytes again.
 */
import type { IoSrc } from '../../base/io.ts'
import { type Seq, seqAdd, seqDiff } from './sequence.ts'

export const CHUNK_SIZE = 32768
/** Free chunks that a pool keeps: 4 MiB. */
const POOL_CHUNKS = 128

/** Free chunks, shared by the connections of a protocol object. */
export class ChunkPool {
  readonly #free: Uint8Array[] = []
  /** Chunks that somebody holds: for tests of leaks. */
  taken = 0

  take(): Uint8Array {
    this.taken++
    return this.#free.pop() ?? new Uint8Array(CHUNK_SIZE)
  }
  give(chunk: Uint8Array): void {
    this.taken--
    if (this.#free.length < POOL_CHUNKS) this.#free.push(chunk)
  }
}

export class SendBuffer {
  readonly #pool: ChunkPool
  readonly #chunks: Uint8Array[] = []
  /** Bytes of the first chunk that are acknowledged. */
  #head = 0
  /** First byte kept. */
  start: Seq = 0
  /** The next byte to be written: Linux's write_seq. */
  end: Seq = 0

  constructor(pool: ChunkPool) {
    this.#pool = pool
  }

  get length(): number {
    return seqDiff(this.end, this.start)
  }

  /** Empty, at `seq`. */
  reset(seq: Seq): void {
    this.clear()
    this.start = this.end = seq
  }

  /** Takes up to `max` bytes: the count, or -EFAULT when there was not one. */
  append(src: IoSrc, max: number): number {
    let done = 0
    while (done < max) {
      const at = this.#head + this.length
      const index = Math.floor(at / CHUNK_SIZE)
      if (index === this.#chunks.length) this.#chunks.push(this.#pool.take())
      const from = at % CHUNK_SIZE
      const to = Math.min(CHUNK_SIZE, from + max - done)
      const n = src.take(this.#chunks[index].subarray(from, to))
      if (n <= 0) {
        if (from === 0) this.#pool.give(this.#chunks.pop()!)
        return done > 0 ? done : n
      }
      done += n
      this.end = seqAdd(this.end, n)
      if (n < to - from) return done
    }
    return done
  }

  /** Copies `length` bytes from `seq` on into `target` at `to`. */
  copy(seq: Seq, length: number, target: Uint8Array, to: number): void {
    let at = this.#head + seqDiff(seq, this.start)
    while (length > 0) {
      const chunk = this.#chunks[Math.floor(at / CHUNK_SIZE)]
      const from = at % CHUNK_SIZE
      const n = Math.min(length, CHUNK_SIZE - from)
      target.set(n === CHUNK_SIZE ? chunk : chunk.subarray(from, from + n), to)
      at += n
      to += n
      length -= n
    }
  }

  /** Drops all bytes before `seq`, which lies in start..end. */
  acknowledge(seq: Seq): void {
    this.#head += seqDiff(seq, this.start)
    this.start = seq
    while (this.#head >= CHUNK_SIZE) {
      this.#pool.give(this.#chunks.shift()!)
      this.#head -= CHUNK_SIZE
    }
    // An idle connection holds no chunk.
    if (this.start === this.end) this.clear()
  }

  clear(): void {
    for (const chunk of this.#chunks) this.#pool.give(chunk)
    this.#chunks.length = 0
    this.#head = 0
    this.start = this.end
  }
}
