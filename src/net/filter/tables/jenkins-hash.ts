/** Bob Jenkins' hash of bytes (lookup3), as the expression `hash` has it: the same for the same seed, on Linux too. */

const GOLDEN = 0xdeadbeef

export function jenkinsHash(view: DataView, at: number, length: number, seed: number): number {
  let a = (GOLDEN + length + seed) | 0
  let b = a
  let c = a
  const word = (offset: number, bytes: number): number => {
    let value = 0
    for (let i = Math.min(bytes, 4) - 1; i >= 0; i--) value = (value << 8) | view.getUint8(offset + i)
    return value
  }
  let left = length
  for (; left > 12; left -= 12, at += 12) {
    a = (a + word(at, 4)) | 0
    b = (b + word(at + 4, 4)) | 0
    c = (c + word(at + 8, 4)) | 0
    a = (a - c) ^ rotate(c, 4)
    c = (c + b) | 0
    b = (b - a) ^ rotate(a, 6)
    a = (a + c) | 0
    c = (c - b) ^ rotate(b, 8)
    b = (b + a) | 0
    a = (a - c) ^ rotate(c, 16)
    c = (c + b) | 0
    b = (b - a) ^ rotate(a, 19)
    a = (a + c) | 0
    c = (c - b) ^ rotate(b, 4)
    b = (b + a) | 0
  }
  if (left === 0) return c >>> 0
  a = (a + word(at, left)) | 0
  b = (b + word(at + 4, left - 4)) | 0
  c = (c + word(at + 8, left - 8)) | 0
  c = ((c ^ b) - rotate(b, 14)) | 0
  a = ((a ^ c) - rotate(c, 11)) | 0
  b = ((b ^ a) - rotate(a, 25)) | 0
  c = ((c ^ b) - rotate(b, 16)) | 0
  a = ((a ^ c) - rotate(c, 4)) | 0
  b = ((b ^ a) - rotate(a, 14)) | 0
  c = ((c ^ b) - rotate(b, 24)) | 0
  return c >>> 0
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}
