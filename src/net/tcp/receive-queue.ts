/**
 * Received bytes that the application has not read: in order (ReceiveQueue), or waiting for what is missing before them
 * (OutOfOrderQueue, RFC 9293 §3.10.7.4). A chunk is the packet it came in, or a buffer into which small ones were copied:
 * what counts against the receive buffer is the memory held, not the payload.
 */
import type { IoDst } from '../../base/io.ts'
import type { Packet } from '../packet.ts'
import { type Seq, seqAdd, seqAfter, seqBefore, seqDiff } from './sequence.ts'

/** What a packet costs beside its buffer. */
const PACKET_OVERHEAD = 256
const COPY_BUFFER = 4096

export class ReceivedChunk {
  bytes: Uint8Array
  at: number
  length: number
  seq: Seq
  fin: boolean
  /** Whose buffer `bytes` is; undefined for a copy. */
  #packet: Packet | undefined

  constructor(
    bytes: Uint8Array,
    at: number,
    length: number,
    seq: Seq,
    fin: boolean,
    packet: Packet | undefined,
  ) {
    this.bytes = bytes
    this.at = at
    this.length = length
    this.seq = seq
    this.fin = fin
    this.#packet = packet
  }

  /** Owns the packet from here on. */
  static ofPacket(packet: Packet, at: number, length: number, seq: Seq, fin: boolean): ReceivedChunk {
    return new ReceivedChunk(packet.bytes, at, length, seq, fin, packet)
  }

  get end(): Seq {
    return seqAdd(this.seq, this.length + (this.fin ? 1 : 0))
  }
  /** Memory held. */
  get charge(): number {
    return this.bytes.length + PACKET_OVERHEAD
  }
  /** Little payload in much memory. */
  get sparse(): boolean {
    return this.length * 2 < this.bytes.length
  }
  /** Bytes that can be appended in place. */
  get room(): number {
    return this.#packet === undefined && !this.fin ? this.bytes.length - this.at - this.length : 0
  }

  trimFront(seq: Seq): void {
    const gone = seqDiff(seq, this.seq)
    this.at += gone
    this.length -= gone
    this.seq = seq
  }
  trimEnd(seq: Seq): void {
    this.fin = false
    this.length = seqDiff(seq, this.seq)
  }
  /** Appends the payload of the chunk that follows, and drops that. */
  absorb(next: ReceivedChunk): void {
    this.bytes.set(next.bytes.subarray(next.at, next.at + next.length), this.at + this.length)
    this.length += next.length
    this.fin = next.fin
    next.release()
  }
  /** The same bytes in a buffer that has room for more. */
  compact(): ReceivedChunk {
    const copy = new ReceivedChunk(new Uint8Array(COPY_BUFFER), 0, 0, this.seq, false, undefined)
    copy.absorb(this)
    return copy
  }
  release(): void {
    this.#packet?.release()
    this.#packet = undefined
  }
}

/** Moves sparse neighbours together. Each run that is in order: what stands alone stays where it is. */
function collapse(chunks: ReceivedChunk[]): ReceivedChunk[] {
  const out: ReceivedChunk[] = []
  for (const chunk of chunks) {
    const merged = chunk.sparse ? join(out[out.length - 1], chunk) : undefined
    if (merged !== undefined) out[out.length - 1] = merged
    else out.push(chunk)
  }
  return out
}

/** One chunk in place of two that follow each other, or undefined if they don't fit. */
function join(before: ReceivedChunk | undefined, chunk: ReceivedChunk): ReceivedChunk | undefined {
  if (before === undefined || before.fin || before.end !== chunk.seq) return undefined
  if (before.room < chunk.length) {
    if (!before.sparse || before.length + chunk.length > COPY_BUFFER / 2) return undefined
    before = before.compact()
  }
  before.absorb(chunk)
  return before
}

function chargeOf(chunks: ReceivedChunk[]): number {
  let sum = 0
  for (const chunk of chunks) sum += chunk.charge
  return sum
}

export class ReceiveQueue {
  #chunks: ReceivedChunk[] = []
  #head = 0
  /** Memory held. */
  charge = 0

  /** `chunk` follows the last one. */
  push(chunk: ReceivedChunk): void {
    const last = this.#chunks[this.#chunks.length - 1]
    if (last !== undefined && this.#head < this.#chunks.length && chunk.sparse) {
      if (last.room >= chunk.length) {
        last.absorb(chunk)
        return
      }
      // A reader who is behind: from now on small segments share buffers.
      if (chunk.length < COPY_BUFFER / 2) chunk = chunk.compact()
    }
    this.#chunks.push(chunk)
    this.charge += chunk.charge
  }

  /** Copies `length` bytes from `seq` on, without dropping them: the count, or -EFAULT when there was not one. */
  copy(seq: Seq, length: number, dst: IoDst): number {
    let done = 0
    for (let i = this.#head; i < this.#chunks.length && done < length; i++) {
      const chunk = this.#chunks[i]
      const skip = seqDiff(seq, chunk.seq)
      if (skip >= chunk.length) continue
      const n = Math.min(chunk.length - skip, length - done)
      const put = dst.put(chunk.bytes.subarray(chunk.at + skip, chunk.at + skip + n))
      if (put < 0) return done > 0 ? done : put
      done += put
      seq = seqAdd(seq, put)
      if (put < n) break
    }
    return done
  }

  /** Drops everything before `seq`. */
  drop(seq: Seq): void {
    while (this.#head < this.#chunks.length) {
      const chunk = this.#chunks[this.#head]
      if (seqAfter(seqAdd(chunk.seq, chunk.length), seq)) {
        if (seqAfter(seq, chunk.seq)) chunk.trimFront(seq)
        return
      }
      this.charge -= chunk.charge
      chunk.release()
      this.#head++
      if (this.#head === this.#chunks.length) {
        this.#chunks.length = 0
        this.#head = 0
      } else if (this.#head > 256 && this.#head * 2 > this.#chunks.length) {
        this.#chunks.splice(0, this.#head)
        this.#head = 0
      }
    }
  }

  collapse(): void {
    this.#chunks = collapse(this.#chunks.slice(this.#head))
    this.#head = 0
    this.charge = chargeOf(this.#chunks)
  }

  clear(): void {
    for (let i = this.#head; i < this.#chunks.length; i++) this.#chunks[i].release()
    this.#chunks.length = 0
    this.#head = 0
    this.charge = 0
  }
}

export class OutOfOrderQueue {
  /** Disjoint, by sequence. */
  #chunks: ReceivedChunk[] = []
  charge = 0
  /** What `insert` found to be there already: a D-SACK block, empty where start equals end. */
  duplicateStart: Seq = 0
  duplicateEnd: Seq = 0

  get empty(): boolean {
    return this.#chunks.length === 0
  }
  get first(): ReceivedChunk | undefined {
    return this.#chunks[0]
  }

  /** Whether anything of it was new. Owns the chunk either way. */
  insert(chunk: ReceivedChunk): boolean {
    this.duplicateStart = this.duplicateEnd = 0
    const chunks = this.#chunks
    let at = chunks.length
    while (at > 0 && seqAfter(chunks[at - 1].end, chunk.seq)) at--
    const left = chunks[at]
    if (left !== undefined && !seqAfter(left.seq, chunk.seq)) {
      if (!seqBefore(left.end, chunk.end)) {
        this.#duplicate(chunk.seq, chunk.end)
        chunk.release()
        return false
      }
      this.#duplicate(chunk.seq, left.end)
      chunk.trimFront(left.end)
      at++
    }
    let covered = 0
    for (let next = chunks[at]; next !== undefined && seqBefore(next.seq, chunk.end); ) {
      if (seqAfter(next.end, chunk.end)) {
        this.#duplicate(next.seq, chunk.end)
        chunk.trimEnd(next.seq)
        break
      }
      this.#duplicate(next.seq, next.end)
      this.charge -= next.charge
      next.release()
      covered++
      next = chunks[at + covered]
    }
    const before = chunks[at - 1]
    const charge = before?.charge ?? 0
    const merged = covered === 0 && chunk.sparse ? join(before, chunk) : undefined
    if (merged !== undefined) {
      chunks[at - 1] = merged
      this.charge += merged.charge - charge
      return true
    }
    if (chunk.length + (chunk.fin ? 1 : 0) <= 0) {
      chunk.release()
      chunks.splice(at, covered)
      return false
    }
    chunks.splice(at, covered, chunk)
    this.charge += chunk.charge
    return true
  }

  /** The first chunk, if it begins at or before `seq`: the caller's from here on. */
  takeUpTo(seq: Seq): ReceivedChunk | undefined {
    const first = this.#chunks[0]
    if (first === undefined || seqAfter(first.seq, seq)) return undefined
    this.#chunks.shift()
    this.charge -= first.charge
    return first
  }

  /** Drops from the far end until `limit` bytes of memory or less are held. */
  prune(limit: number): boolean {
    let dropped = false
    while (this.charge > limit && this.#chunks.length > 0) {
      const last = this.#chunks.pop()!
      this.charge -= last.charge
      last.release()
      dropped = true
    }
    return dropped
  }

  clear(): void {
    this.prune(-1)
  }

  #duplicate(start: Seq, end: Seq): void {
    if (this.duplicateStart === this.duplicateEnd) this.duplicateStart = start
    this.duplicateEnd = end
  }
}
