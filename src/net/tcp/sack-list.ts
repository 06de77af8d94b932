/**
 * The SACK blocks that this side reports: RFC 2018 §4, RFC 2883. At most four ranges, the one that changed last first, so
 * that the sender hears of each at least three times; before them, once, a duplicate that came in (D-SACK).
 */
import { writeSackHead } from './options.ts'
import { type Seq, seqAfter, seqBefore, seqMax, seqMin } from './sequence.ts'

const MAX_BLOCKS = 4

export class SackList {
  readonly #start = new Int32Array(MAX_BLOCKS)
  readonly #end = new Int32Array(MAX_BLOCKS)
  count = 0
  /** A duplicate to report with the next acknowledgement. */
  duplicate = false
  #dupStart: Seq = 0
  #dupEnd: Seq = 0

  /** Blocks that the next acknowledgement has. */
  get blocks(): number {
    return this.count + (this.duplicate ? 1 : 0)
  }

  addDuplicate(start: Seq, end: Seq): void {
    if (this.duplicate && !seqAfter(start, this.#dupEnd) && !seqBefore(end, this.#dupStart)) {
      this.#dupStart = seqMin(this.#dupStart, start)
      this.#dupEnd = seqMax(this.#dupEnd, end)
      return
    }
    this.duplicate = true
    this.#dupStart = start
    this.#dupEnd = end
  }

  /** start..end has arrived out of order. */
  add(start: Seq, end: Seq): void {
    let kept = 0
    for (let i = 0; i < this.count; i++) {
      const s = this.#start[i]
      const e = this.#end[i]
      if (!seqAfter(start, e) && !seqBefore(end, s)) {
        start = seqMin(start, s)
        end = seqMax(end, e)
      } else {
        this.#start[kept] = s
        this.#end[kept++] = e
      }
    }
    kept = Math.min(kept, MAX_BLOCKS - 1)
    this.#start.copyWithin(1, 0, kept)
    this.#end.copyWithin(1, 0, kept)
    this.#start[0] = start
    this.#end[0] = end
    this.count = kept + 1
  }

  /** Everything before `seq` is in order now. */
  advance(seq: Seq): void {
    let kept = 0
    for (let i = 0; i < this.count; i++) {
      if (!seqAfter(this.#end[i], seq)) continue
      this.#start[kept] = seqMax(this.#start[i], seq)
      this.#end[kept++] = this.#end[i]
    }
    this.count = kept
  }

  clear(): void {
    this.count = 0
    this.duplicate = false
  }

  /** Writes an option of at most `limit` blocks (at least one) and forgets the duplicate: the next offset. */
  write(view: DataView, at: number, limit: number): number {
    const blocks = Math.min(this.blocks, limit)
    at = writeSackHead(view, at, blocks)
    let left = blocks
    if (this.duplicate) {
      view.setInt32(at, this.#dupStart)
      view.setInt32(at + 4, this.#dupEnd)
      this.duplicate = false
      at += 8
      left--
    }
    for (let i = 0; i < left; i++) {
      view.setInt32(at, this.#start[i])
      view.setInt32(at + 4, this.#end[i])
      at += 8
    }
    return at
  }
}
