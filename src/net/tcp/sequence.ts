/**
 * Sequence numbers: RFC 9293 §3.4. Kept as signed 32-bit integers (`| 0`), which V8 holds without a box; all arithmetic
 * wraps, and order means 'less than 2^31 ahead'.
 */

/** A sequence number: an int32. */
export type Seq = number

export function seqAdd(seq: Seq, n: number): Seq {
  return (seq + n) | 0
}
/** How far `a` is ahead of `b`: negative when behind. */
export function seqDiff(a: Seq, b: Seq): number {
  return (a - b) | 0
}
export function seqBefore(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) < 0
}
export function seqAfter(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) > 0
}
export function seqMax(a: Seq, b: Seq): Seq {
  return ((a - b) | 0) >= 0 ? a : b
}
export function seqMin(a: Seq, b: Seq): Seq {
  return ((a - b) | 0) <= 0 ? a : b
}
/** Whether low <= seq <= high. */
export function seqWithin(seq: Seq, low: Seq, high: Seq): boolean {
  return (high - low) >>> 0 >= (seq - low) >>> 0
}
