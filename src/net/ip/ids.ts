/**
 * Identifications of packets that may be fragmented: RFC 6864, RFC 7739. One counter per hash of source, destination and
 * protocol, advanced by a random step, so that nobody can count how much we send to others.
 */
import type { IpAddress } from '../address.ts'
import type { Random } from './runtime.ts'

const BUCKETS = 2048

export class PacketIds {
  readonly #random: Random
  readonly #counters = new Uint32Array(BUCKETS)
  readonly #secret: number

  constructor(random: Random) {
    this.#random = random
    this.#secret = random.u32()
  }

  /** The first of `count` consecutive ones, 32 bits wide. */
  next(source: IpAddress, destination: IpAddress, protocol: number, count: number): number {
    let hash = this.#secret ^ destination.w3 ^ Math.imul(source.w3, 0x85ebca6b) ^ protocol
    hash ^= Math.imul(destination.w0 ^ destination.w1 ^ destination.w2, 0x9e3779b1)
    hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d)
    const bucket = (hash ^ (hash >>> 15)) & (BUCKETS - 1)
    if (this.#counters[bucket] === 0) this.#counters[bucket] = this.#random.u32()
    const id = this.#counters[bucket] + 1 + (this.#random.u32() & 3)
    this.#counters[bucket] = id + count - 1
    return id >>> 0
  }
}
