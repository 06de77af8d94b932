/**
 * SHA-256 (FIPS 180-4) of a short text, for the names of sockets. Loading node:crypto takes as long as all else that
 * `start` does.
 */

/** The first 32 bits of the fractional parts of `root`s of the first primes. */
function fractions(count: number, root: (prime: number) => number): Int32Array {
  const words = new Int32Array(count)
  for (let at = 0, candidate = 2; at < count; candidate++) {
    if (!isPrime(candidate)) continue
    const value = root(candidate)
    words[at++] = (value - Math.floor(value)) * 2 ** 32
  }
  return words
}

function isPrime(candidate: number): boolean {
  for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) return false
  return true
}

function rotate(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}

/** In hexadecimal. */
export function sha256(text: string): string {
  const constants = fractions(64, Math.cbrt)
  const hash = fractions(8, Math.sqrt)
  const message = padded(new TextEncoder().encode(text))
  for (let at = 0; at < message.byteLength; at += 64) addBlock(hash, message, at, constants)
  return [...hash].map(word => (word >>> 0).toString(16).padStart(8, '0')).join('')
}

/** With a one bit, zeros and its length behind it, in blocks of 64 bytes. */
function padded(bytes: Uint8Array): DataView {
  const view = new DataView(new ArrayBuffer((Math.floor((bytes.length + 8) / 64) + 1) * 64))
  for (let i = 0; i < bytes.length; i++) view.setUint8(i, bytes[i])
  view.setUint8(bytes.length, 0x80)
  view.setUint32(view.byteLength - 4, bytes.length * 8)
  return view
}

function addBlock(hash: Int32Array, message: DataView, start: number, constants: Int32Array): void {
  const schedule = new Int32Array(64)
  for (let i = 0; i < 16; i++) schedule[i] = message.getInt32(start + 4 * i)
  for (let i = 16; i < 64; i++) {
    const [early, late] = [schedule[i - 15], schedule[i - 2]]
    const s0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3)
    const s1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10)
    schedule[i] = schedule[i - 16] + s0 + schedule[i - 7] + s1
  }
  let [a, b, c, d, e, f, g, h] = hash
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[i] + schedule[i]) | 0
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    ;[h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0]
  }
  for (const [i, word] of [a, b, c, d, e, f, g, h].entries()) hash[i] += word
}
