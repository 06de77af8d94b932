/**
 * HashLimit: rates that rules (`hashlimit`) keep for each address or port by itself, under a name that rules share: the first
 * rule says how. Packets that find no room for theirs are dropped, as in Linux.
 */
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { FilterRoom } from './room.ts'
import { Shared } from './shared.ts'

const NSEC_PER_MSEC = 1e6
/** However large a rule wants the table. */
const MAX_ENTRIES = 0xffff

export interface HashLimitConfig {
  /** XT_HASHLIMIT_*: of what addresses and ports a key is made. */
  readonly mode: number
  /** How many bits of the addresses count. */
  readonly sourceLength: number
  readonly destinationLength: number
  /** ns for one unit: a packet, or some bytes. */
  readonly cost: number
  /** The most that can be saved up (ns). */
  readonly cap: number
  /** Of bytes: how often the whole is given once more. */
  readonly refills: number
  /** 0: as many as there is room for. */
  readonly max: number
  /** Milliseconds without packets after which one is forgotten. */
  readonly expire: number
}

class Bucket {
  credit: number
  refills: number
  /** Monotonic ns. */
  last: number

  constructor({ cap, refills }: HashLimitConfig, now: number) {
    this.credit = cap
    this.refills = refills
    this.last = now
  }
}

export class HashLimit {
  readonly config: HashLimitConfig
  /** The longest unused first. */
  readonly #buckets = new Map<string, Bucket>()
  readonly #room: FilterRoom

  constructor(config: HashLimitConfig, room: FilterRoom) {
    this.config = config
    this.#room = room
  }

  /** Whether so many units are within the rate of `key`; undefined: there is no room for it. */
  allows(key: string, units: number, now: number): boolean | undefined {
    const { cap, cost: each } = this.config
    const bucket = this.#bucket(key, now)
    if (bucket === undefined) return undefined
    bucket.credit = Math.min(bucket.credit + now - bucket.last, cap)
    bucket.last = now
    const cost = Math.min(units * each, cap)
    if (bucket.credit < cost) {
      if (bucket.refills === 0) return false
      bucket.refills--
      bucket.credit = cap
    }
    bucket.credit -= cost
    return true
  }

  #bucket(key: string, now: number): Bucket | undefined {
    const oldest = now - this.config.expire * NSEC_PER_MSEC
    let bucket = this.#buckets.get(key)
    if (bucket !== undefined && bucket.last >= oldest) {
      this.#buckets.delete(key)
    } else {
      for (const [other, { last }] of this.#buckets) {
        if (last >= oldest) break
        this.#buckets.delete(other)
        this.#room.give(1)
      }
      const most = Math.min(this.config.max || MAX_ENTRIES, MAX_ENTRIES)
      if (this.#buckets.size >= most || !this.#room.take(1)) return undefined
      bucket = new Bucket(this.config, now)
    }
    this.#buckets.set(key, bucket)
    return bucket
  }

  clear(): void {
    this.#room.give(this.#buckets.size)
    this.#buckets.clear()
  }
}

export class HashLimits {
  readonly #limits = new Shared<HashLimit>()
  readonly #room: FilterRoom

  constructor(room: FilterRoom) {
    this.#room = room
  }

  use(name: string, config: HashLimitConfig): HashLimit {
    return this.#limits.use(name, () => new HashLimit(config, this.#room))
  }
  unuse(name: string): void {
    this.#limits.unuse(name)
  }
  clear(): void {
    this.#limits.clear()
  }
}

/** Of what `--hashlimit-above 1mb/s` gives: the fraction (of 2^32) of a second that 16 bytes take. */
export function costOfChunk(average: number): number {
  return (average * NSEC_PER_SEC) / 2 ** 32
}
