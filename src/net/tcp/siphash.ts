/**
 * SipHash-2-4 (Aumasson, Bernstein) over 32-bit words, in halves of 32 bits: the keyed hash behind initial sequence numbers,
 * timestamp offsets, SYN cookies and the connection table, so that nobody outside can foresee any of them.
 */
import type { IpAddress } from '../address.ts'

/** A key, and the result of the last hash in `low` and `high` (int32). */
export class SipHash {
  readonly #key: Int32Array
  /** v0..v3, low half first. */
  readonly #v = new Int32Array(8)
  low = 0
  high = 0

  /** `random`: 32 random bits. */
  constructor(random: () => number) {
    this.#key = Int32Array.from({ length: 4 }, () => random() | 0)
  }

  /** Hashes a pair of addresses, a pair of ports and one number more. */
  flow(
    source: IpAddress,
    destination: IpAddress,
    sourcePort: number,
    destinationPort: number,
    extra: number,
  ): number {
    this.#start()
    if (!source.isV4) {
      this.#word(source.w0, source.w1)
      this.#word(source.w2, source.w3)
      this.#word(destination.w0, destination.w1)
      this.#word(destination.w2, destination.w3)
    } else {
      this.#word(source.w3, destination.w3)
    }
    this.#word((sourcePort << 16) | destinationPort, extra)
    return this.#finish(source.isV4 ? 16 : 40)
  }

  #start(): void {
    const v = this.#v
    const k = this.#key
    v[0] = 0x70736575 ^ k[0]
    v[1] = 0x736f6d65 ^ k[1]
    v[2] = 0x6e646f6d ^ k[2]
    v[3] = 0x646f7261 ^ k[3]
    v[4] = 0x6e657261 ^ k[0]
    v[5] = 0x6c796765 ^ k[1]
    v[6] = 0x79746573 ^ k[2]
    v[7] = 0x74656462 ^ k[3]
  }

  #word(low: number, high: number): void {
    this.#v[6] ^= low
    this.#v[7] ^= high
    this.#round()
    this.#round()
    this.#v[0] ^= low
    this.#v[1] ^= high
  }

  #finish(length: number): number {
    this.#word(0, length << 24)
    const v = this.#v
    v[4] ^= 0xff
    for (let i = 0; i < 4; i++) this.#round()
    this.low = v[0] ^ v[2] ^ v[4] ^ v[6]
    this.high = v[1] ^ v[3] ^ v[5] ^ v[7]
    return this.low
  }

  #round(): void {
    const v = this.#v
    let v0l = v[0]
    let v0h = v[1]
    let v1l = v[2]
    let v1h = v[3]
    let v2l = v[4]
    let v2h = v[5]
    let v3l = v[6]
    let v3h = v[7]
    let t: number
    // v0 += v1; v1 <<<= 13; v1 ^= v0; v0 <<<= 32
    t = (v0l >>> 0) + (v1l >>> 0)
    v0h = (v0h + v1h + (t > 0xffffffff ? 1 : 0)) | 0
    v0l = t | 0
    t = (v1l << 13) | (v1h >>> 19)
    v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h
    v1l = t ^ v0l
    t = v0l
    v0l = v0h
    v0h = t
    // v2 += v3; v3 <<<= 16; v3 ^= v2
    t = (v2l >>> 0) + (v3l >>> 0)
    v2h = (v2h + v3h + (t > 0xffffffff ? 1 : 0)) | 0
    v2l = t | 0
    t = (v3l << 16) | (v3h >>> 16)
    v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h
    v3l = t ^ v2l
    // v0 += v3; v3 <<<= 21; v3 ^= v0
    t = (v0l >>> 0) + (v3l >>> 0)
    v0h = (v0h + v3h + (t > 0xffffffff ? 1 : 0)) | 0
    v0l = t | 0
    t = (v3l << 21) | (v3h >>> 11)
    v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h
    v3l = t ^ v0l
    // v2 += v1; v1 <<<= 17; v1 ^= v2; v2 <<<= 32
    t = (v2l >>> 0) + (v1l >>> 0)
    v2h = (v2h + v1h + (t > 0xffffffff ? 1 : 0)) | 0
    v2l = t | 0
    t = (v1l << 17) | (v1h >>> 15)
    v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h
    v1l = t ^ v2l
    t = v2l
    v2l = v2h
    v2h = t
    v[0] = v0l
    v[1] = v0h
    v[2] = v1l
    v[3] = v1h
    v[4] = v2l
    v[5] = v2h
    v[6] = v3l
    v[7] = v3h
  }
}
