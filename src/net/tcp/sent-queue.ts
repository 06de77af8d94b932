/**
 * The scoreboard: what has been sent and not yet cumulatively acknowledged, in sequence order, each segment (of up to
 * 64 KiB: many of the wire's) with what is known of it: RFC 6675, RFC 8985. Segments not known to have arrived or to be lost
 * are also linked in the order of their last transmission, in which RACK looks for losses.
 *
 * The sums are in bytes of sequence space. In flight is `outstanding - sacked - lost + retransmitted`.
 */
import { type Seq, seqAfter, seqBefore, seqDiff } from './sequence.ts'

/** The receiver has it. */
export const SACKED = 1
/** Its latest transmission was a repeated one and is thought to be under way. */
export const RETRANSMITTED = 2
/** Its latest transmission is thought to be lost. */
export const LOST = 4
/** It has been sent more than once: no round-trip time may be taken from it without timestamps. */
export const EVER_RETRANSMITTED = 8

export class SentSegment {
  seq: Seq = 0
  /** One past its last sequence number: SYN and FIN count. */
  end: Seq = 0
  /** SYN, FIN, PSH: what its header carries besides ACK. */
  flags = 0
  marks = 0
  /** Time of the last transmission. */
  sentAt = 0
  /** State of the delivery-rate estimator when it was sent. */
  delivered = 0
  deliveredAt = 0
  firstSentAt = 0
  appLimited = false
  /** Neighbours in the order of transmission. */
  earlier: SentSegment | undefined = undefined
  later: SentSegment | undefined = undefined
  inFlightList = false

  get length(): number {
    return seqDiff(this.end, this.seq)
  }
  is(marks: number): boolean {
    return (this.marks & marks) !== 0
  }
}

export class SentQueue {
  readonly #items: SentSegment[] = []
  #head = 0
  readonly #free: SentSegment[] = []
  outstanding = 0
  sacked = 0
  lost = 0
  retransmitted = 0
  /** The longest ago transmitted of those in flight. */
  oldest: SentSegment | undefined = undefined
  #newest: SentSegment | undefined = undefined

  get size(): number {
    return this.#items.length - this.#head
  }
  get inFlight(): number {
    return this.outstanding - this.sacked - this.lost + this.retransmitted
  }
  at(index: number): SentSegment {
    return this.#items[this.#head + index]
  }
  get first(): SentSegment | undefined {
    return this.#items[this.#head]
  }
  get last(): SentSegment | undefined {
    return this.size > 0 ? this.#items[this.#items.length - 1] : undefined
  }

  /** A new last segment, not yet transmitted. */
  push(seq: Seq, end: Seq, flags: number): SentSegment {
    const segment = this.#make(seq, end, flags)
    this.#items.push(segment)
    this.outstanding += segment.length
    return segment
  }

  /** Index of the first segment that ends after `seq`; `size` if there is none. */
  find(seq: Seq): number {
    let low = 0
    let high = this.size
    while (low < high) {
      const middle = (low + high) >>> 1
      if (seqAfter(this.at(middle).end, seq)) high = middle
      else low = middle + 1
    }
    return low
  }

  /** Cuts the segment at `index` so that a new one begins at `seq`, which lies inside it. */
  split(index: number, seq: Seq, finFlags: number): SentSegment {
    const left = this.at(index)
    const right = this.#make(seq, left.end, left.flags)
    left.end = seq
    left.flags &= ~finFlags
    right.marks = left.marks
    right.sentAt = left.sentAt
    right.delivered = left.delivered
    right.deliveredAt = left.deliveredAt
    right.firstSentAt = left.firstSentAt
    right.appLimited = left.appLimited
    this.#items.splice(this.#head + index + 1, 0, right)
    if (left.inFlightList) this.#linkAfter(left, right)
    return right
  }

  /** It has been transmitted, for the first time or again. */
  transmitted(segment: SentSegment, now: number): void {
    segment.sentAt = now
    this.#unlink(segment)
    segment.earlier = this.#newest
    segment.later = undefined
    if (this.#newest === undefined) this.oldest = segment
    else this.#newest.later = segment
    this.#newest = segment
    segment.inFlightList = true
  }

  markSacked(segment: SentSegment): void {
    this.#unmark(segment, LOST | RETRANSMITTED)
    segment.marks |= SACKED
    this.sacked += segment.length
    this.#unlink(segment)
  }
  /** Its latest transmission is lost. */
  markLost(segment: SentSegment): void {
    if (segment.is(SACKED)) return
    this.#unmark(segment, RETRANSMITTED)
    this.#unlink(segment)
    if (segment.is(LOST)) return
    segment.marks |= LOST
    this.lost += segment.length
  }
  /** It was sent again: Linux keeps LOST (of the first copy) beside RETRANSMITTED, and so does this. */
  markRetransmitted(segment: SentSegment): void {
    if (!segment.is(RETRANSMITTED)) this.retransmitted += segment.length
    segment.marks |= RETRANSMITTED | EVER_RETRANSMITTED
  }
  /** It was not lost after all. */
  unmarkLost(segment: SentSegment): void {
    if (!segment.is(LOST)) return
    this.#unmark(segment, LOST)
    this.transmitted(segment, segment.sentAt)
  }
  /** The receiver has thrown away what it had acknowledged: RFC 2018 §8. */
  forgetSacks(): void {
    for (let i = 0; i < this.size; i++) {
      const segment = this.at(i)
      if (!segment.is(SACKED)) continue
      segment.marks &= ~SACKED
      this.sacked -= segment.length
    }
  }

  /** Drops the first segment, all of which is acknowledged. Its object may be used again from the next `push` on. */
  shift(): SentSegment {
    const segment = this.#items[this.#head++]
    this.#drop(segment)
    if (this.#head === this.#items.length) {
      this.#items.length = 0
      this.#head = 0
    } else if (this.#head > 256 && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head)
      this.#head = 0
    }
    return segment
  }

  /** The acknowledgement ends inside the first segment: only the rest of it counts any more. */
  trimFirst(seq: Seq): void {
    const segment = this.at(0)
    const gone = seqDiff(seq, segment.seq)
    this.outstanding -= gone
    if (segment.is(SACKED)) this.sacked -= gone
    if (segment.is(LOST)) this.lost -= gone
    if (segment.is(RETRANSMITTED)) this.retransmitted -= gone
    segment.seq = seq
  }

  clear(): void {
    while (this.size > 0) this.shift()
    this.#free.length = 0
  }

  /** Lowest segment from `from` on that is lost and has no copy under way: its index, -1 for none. */
  nextLost(from: Seq): number {
    for (let i = this.find(from); i < this.size; i++) {
      const segment = this.at(i)
      if ((segment.marks & (LOST | RETRANSMITTED | SACKED)) === LOST) return i
    }
    return -1
  }

  /** Whether `seq` lies before the first segment or between two, as a sanity check for tests. */
  consistent(): boolean {
    let outstanding = 0
    let sacked = 0
    let lost = 0
    let retransmitted = 0
    for (let i = 0; i < this.size; i++) {
      const segment = this.at(i)
      if (!seqBefore(segment.seq, segment.end)) return false
      if (i > 0 && this.at(i - 1).end !== segment.seq) return false
      outstanding += segment.length
      if (segment.is(SACKED)) sacked += segment.length
      if (segment.is(LOST)) lost += segment.length
      if (segment.is(RETRANSMITTED)) retransmitted += segment.length
    }
    return (
      outstanding === this.outstanding &&
      sacked === this.sacked &&
      lost === this.lost &&
      retransmitted === this.retransmitted
    )
  }

  #make(seq: Seq, end: Seq, flags: number): SentSegment {
    const segment = this.#free.pop() ?? new SentSegment()
    segment.seq = seq
    segment.end = end
    segment.flags = flags
    segment.marks = 0
    segment.earlier = segment.later = undefined
    segment.inFlightList = false
    return segment
  }

  #drop(segment: SentSegment): void {
    const { length } = segment
    this.outstanding -= length
    if (segment.is(SACKED)) this.sacked -= length
    if (segment.is(LOST)) this.lost -= length
    if (segment.is(RETRANSMITTED)) this.retransmitted -= length
    this.#unlink(segment)
    if (this.#free.length < 64) this.#free.push(segment)
  }

  #unmark(segment: SentSegment, marks: number): void {
    const had = segment.marks & marks
    if ((had & LOST) !== 0) this.lost -= segment.length
    if ((had & RETRANSMITTED) !== 0) this.retransmitted -= segment.length
    segment.marks &= ~had
  }

  #unlink(segment: SentSegment): void {
    if (!segment.inFlightList) return
    segment.inFlightList = false
    if (segment.earlier !== undefined) segment.earlier.later = segment.later
    else this.oldest = segment.later
    if (segment.later !== undefined) segment.later.earlier = segment.earlier
    else this.#newest = segment.earlier
    segment.earlier = segment.later = undefined
  }

  #linkAfter(left: SentSegment, right: SentSegment): void {
    right.earlier = left
    right.later = left.later
    if (left.later !== undefined) left.later.earlier = right
    else this.#newest = right
    left.later = right
    right.inFlightList = true
  }
}
