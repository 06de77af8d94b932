/**
 * The Internet checksum: RFC 1071, RFC 1624. Sums are ones' complement sums of big-endian 16-bit words, folded to
 * 16 bits unless said otherwise; a checksum is the complement of one.
 *
 * The loop reads 32 bits at a time in the machine's (little-endian) order: RFC 1071's byte order independence lets it
 * swap once at the end.
 */
import type { IpAddress } from './address.ts'

/** Words of 32 bits whose halves may be added before the two accumulators (below 2^32 each) have to be folded. */
const BLOCK = 32768

/** Sum of `length` bytes at `at`, plus `seed` (a folded sum). An odd last byte counts as if a zero followed it. */
export function sumView(view: DataView, at: number, length: number, seed = 0): number {
  let low = 0
  let high = 0
  const end = at + length
  let left = BLOCK
  while (at + 16 <= end) {
    const a = view.getUint32(at, true)
    const b = view.getUint32(at + 4, true)
    const c = view.getUint32(at + 8, true)
    const d = view.getUint32(at + 12, true)
    low = (low + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff)) | 0
    high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0
    at += 16
    left -= 4
    if (left === 0) {
      low = fold(low >>> 0)
      high = fold(high >>> 0)
      left = BLOCK
    }
  }
  let sum = fold(low >>> 0) + fold(high >>> 0)
  while (at + 2 <= end) {
    sum += view.getUint16(at, true)
    at += 2
  }
  if (at < end) sum += view.getUint8(at)
  return fold(swap16(fold(sum)) + seed)
}

/** As sumView, over a byte array. */
export function sumBytes(bytes: Uint8Array, seed = 0): number {
  return sumView(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length, seed)
}

/** A sum below 2^32 as 16 bits. */
export function fold(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16)
  return (sum & 0xffff) + (sum >>> 16)
}

/** The sum of a block that stands at an odd place in the whole. */
export function swap16(sum: number): number {
  return ((sum & 0xff) << 8) | (sum >>> 8)
}

/** The sum of two blocks, the second of which begins `offset` bytes into the whole. */
export function combineSums(sum: number, next: number, offset: number): number {
  return fold(sum + ((offset & 1) === 0 ? next : swap16(next)))
}

/** The checksum that a header with this sum (over itself with zero in its checksum field) has to carry. */
export function checksumOf(sum: number): number {
  return ~sum & 0xffff
}

/** The same for UDP, where zero means 'none': RFC 768. */
export function udpChecksumOf(sum: number): number {
  return ~sum & 0xffff || 0xffff
}

/** RFC 1624, equation 3: a checksum after one 16-bit word of what it covers has changed. */
export function updateChecksum16(checksum: number, before: number, after: number): number {
  return ~fold((~checksum & 0xffff) + (~before & 0xffff) + after) & 0xffff
}

/** The same for a 32-bit field. */
export function updateChecksum32(checksum: number, before: number, after: number): number {
  const first = updateChecksum16(checksum, before >>> 16, after >>> 16)
  return updateChecksum16(first, before & 0xffff, after & 0xffff)
}

/**
 * Sum of the pseudo header of TCP, UDP and ICMPv6: RFC 9293 §3.1, RFC 8200 §8.1. `length`: of transport header and data,
 * up to 2^32-1 (jumbo and unsegmented packets).
 */
export function pseudoHeaderSum(
  source: IpAddress,
  destination: IpAddress,
  protocol: number,
  length: number,
): number {
  let sum = halves(source.w3) + halves(destination.w3) + halves(length) + protocol
  if (!source.isV4) {
    sum += halves(source.w0) + halves(source.w1) + halves(source.w2)
    sum += halves(destination.w0) + halves(destination.w1) + halves(destination.w2)
  }
  return fold(sum)
}

function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff)
}
