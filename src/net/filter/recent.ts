/**
 * RecentList: addresses that rules (`recent`) have seen, each with the times when; the longest unseen one gives way when the
 * list is full. A list lives as long as a rule names it.
 */
import type { IpAddress } from '../address.ts'
import type { FilterRoom } from './room.ts'
import { Shared } from './shared.ts'

/** XT_RECENT_MAX_NSTAMPS */
export const MAX_STAMPS = 256
/** Times that are kept of an address where no rule asks for a number of them. */
const DEFAULT_STAMPS = 32
/** ip_list_tot */
const MAX_ENTRIES = 100

/** How many times are to be kept for a rule that asks for so many. */
export function stampsFor(hits: number): number {
  return hits === 0 ? DEFAULT_STAMPS : 2 ** Math.ceil(Math.log2(hits))
}

class RecentEntry {
  readonly address: IpAddress
  ttl: number
  /** Monotonic ns; a ring, `next` is the oldest once it is full. */
  readonly stamps: number[]
  next = 0

  constructor(address: IpAddress, ttl: number, now: number) {
    this.address = address
    this.ttl = ttl
    this.stamps = [now]
  }
  seenSince(since: number): number {
    let count = 0
    for (const stamp of this.stamps) if (stamp >= since) count++
    return count
  }
  get lastSeen(): number {
    return Math.max(...this.stamps)
  }
}

export class RecentList {
  readonly mask: IpAddress | undefined
  /** The longest unseen first. */
  readonly #entries = new Map<string, RecentEntry>()
  readonly #room: FilterRoom
  #stamps: number

  constructor(stamps: number, mask: IpAddress | undefined, room: FilterRoom) {
    this.#stamps = stamps
    this.mask = mask
    this.#room = room
  }

  /** A rule needs so many times of each address: if that is more than before, all is forgotten. */
  keepAtLeast(stamps: number): void {
    if (stamps <= this.#stamps) return
    this.clear()
    this.#stamps = stamps
  }
  masked(address: IpAddress): IpAddress {
    const { mask } = this
    return mask === undefined || mask.isV4 !== address.isV4 ? address : address.and(mask)
  }
  /** `ttl`: the only one that counts; 0: any. */
  find(address: IpAddress, ttl: number): RecentEntry | undefined {
    const entry = this.#entries.get(address.key)
    if (entry === undefined || (ttl !== 0 && entry.ttl !== 0 && entry.ttl !== ttl)) return undefined
    return entry
  }
  see(address: IpAddress, ttl: number, now: number): void {
    const { key } = address
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      if (this.#entries.size >= MAX_ENTRIES) this.#removeFirst()
      // Where other lists have taken the room, this one makes do with what it has.
      if (!this.#room.take(this.#size) && !(this.#removeFirst() && this.#room.take(this.#size))) return
      entry = new RecentEntry(address, ttl, now)
      entry.next = 1 % this.#stamps
    } else {
      this.#entries.delete(key)
      entry.ttl = ttl
      entry.stamps[entry.next] = now
      entry.next = (entry.next + 1) % this.#stamps
    }
    this.#entries.set(key, entry)
  }
  remove(address: IpAddress): void {
    this.#remove(address.key)
  }
  #remove(key: string): void {
    if (this.#entries.delete(key)) this.#room.give(this.#size)
  }
  #removeFirst(): boolean {
    for (const key of this.#entries.keys()) {
      this.#remove(key)
      return true
    }
    return false
  }
  /** How much of the room an address takes. */
  get #size(): number {
    return Math.ceil(this.#stamps / DEFAULT_STAMPS)
  }
  /** Forgets the longest unseen one where it was not seen since then. */
  reap(since: number, except: RecentEntry | undefined): void {
    for (const [key, entry] of this.#entries) {
      if (entry !== except && entry.lastSeen < since) this.#remove(key)
      return
    }
  }
  clear(): void {
    this.#room.give(this.#entries.size * this.#size)
    this.#entries.clear()
  }
}

export class RecentLists {
  readonly #lists = new Shared<RecentList>()
  readonly #room: FilterRoom

  constructor(room: FilterRoom) {
    this.#room = room
  }

  use(name: string, stamps: number, mask: IpAddress | undefined): RecentList {
    const list = this.#lists.use(name, () => new RecentList(stamps, mask, this.#room))
    list.keepAtLeast(stamps)
    return list
  }
  unuse(name: string): void {
    this.#lists.unuse(name)
  }
  clear(): void {
    this.#lists.clear()
  }
}
