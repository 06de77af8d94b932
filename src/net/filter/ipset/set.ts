/**
 * IpSet: a set of ipset(8): addresses, networks, ports, or some of them together, that rules (`-m set`, `-j SET`) look up and
 * add to. Lives in IpSets (sets.ts) from `ipset create` to `ipset destroy`, which is refused while a rule refers to it.
 */
import {
  IPSET_ERR_BITMAP_RANGE,
  IPSET_ERR_EXIST,
  IPSET_ERR_HASH_ELEM,
  IPSET_ERR_HASH_FULL,
} from '../../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../../base/clock.ts'
import type { Status } from '../../../base/result.ts'
import type { NetRuntime } from '../../ip/runtime.ts'
import type { FilterRoom } from '../room.ts'
import { type Field, type IpMember, keyText, type MemberKey, type SetType } from './types.ts'

export interface SetConfig {
  readonly hashSize: number
  readonly maxElements: number
  /** Seconds, 0 for ever; undefined: elements have no timeouts. */
  readonly timeout: number | undefined
  readonly counters: boolean
  readonly comments: boolean
  /** A full set takes in new elements in the place of old ones. */
  readonly forceAdd: boolean
  /** Bits of each address that count: hash:ip. */
  readonly netmask: number
  readonly bucketSize: number
  readonly initialValue: number
  /** Of bitmaps: the first and the last. */
  readonly range: readonly [number, number]
}

/** What is said of an element beside its key; undefined: nothing is. */
export interface MemberOptions {
  readonly timeout?: number
  readonly packets?: number
  readonly bytes?: number
  readonly comment?: string
  readonly noMatch?: boolean
}

/** The most that a timeout can be, in seconds: IPSET_MAX_TIMEOUT. */
const MAX_TIMEOUT = Math.floor(0x7fffffff / 1000)

export class IpSet {
  name: string
  readonly type: SetType
  readonly isV4: boolean
  readonly config: SetConfig
  index = 0
  /** Rules that name it. */
  references = 0
  readonly #runtime: NetRuntime
  readonly #room: FilterRoom
  readonly #members = new Map<string, IpMember>()
  /** How many members there are whose networks have so many bits, of either field. */
  readonly #lengths = new Map<number, number>()
  /** Those lengths, the longest first; made anew for the first who asks after a change. */
  #sorted: readonly number[] | undefined = undefined
  /** No member's time is over before that (monotonic ns). */
  #soonest = Number.POSITIVE_INFINITY

  constructor(
    runtime: NetRuntime,
    room: FilterRoom,
    name: string,
    type: SetType,
    isV4: boolean,
    config: SetConfig,
  ) {
    this.#runtime = runtime
    this.#room = room
    this.name = name
    this.type = type
    this.isV4 = isV4
    this.config = config
  }

  get size(): number {
    return this.#members.size
  }
  has(field: Field): boolean {
    return this.type.fields.includes(field)
  }
  get addressBits(): number {
    return this.isV4 ? 32 : 128
  }
  /** Of the networks in it, the longest first. */
  lengths(): readonly number[] {
    this.#sorted ??= [...this.#lengths.keys()].sort((a, b) => b - a)
    return this.#sorted
  }

  /** Those whose time is not over. */
  *members(): IterableIterator<IpMember> {
    const now = this.#runtime.now()
    for (const [text, member] of this.#members) {
      if (member.expires > now) yield member
      else this.#remove(text, member)
    }
  }

  /** `replaces`: one that is there already gets these options (`-exist`). */
  add(key: MemberKey, options: MemberOptions, replaces: boolean): Status {
    const wrong = this.#check(key)
    if (wrong < 0) return wrong
    const text = keyText(key)
    const before = this.#find(text)
    if (before !== undefined && !replaces) return -IPSET_ERR_EXIST
    if (before === undefined && !this.#makeRoom()) return -IPSET_ERR_HASH_FULL
    const member: IpMember = {
      key,
      noMatch: options.noMatch === true,
      expires: this.#expiry(options.timeout),
      packets: options.packets ?? before?.packets ?? 0,
      bytes: options.bytes ?? before?.bytes ?? 0,
      comment: options.comment ?? '',
    }
    if (before === undefined) this.#count(key, 1)
    this.#members.set(text, member)
    this.#soonest = Math.min(this.#soonest, member.expires)
    return 0
  }

  remove(key: MemberKey): Status {
    const wrong = this.#check(key)
    if (wrong < 0) return wrong
    const text = keyText(key)
    const member = this.#find(text)
    if (member === undefined) return -IPSET_ERR_EXIST
    this.#remove(text, member)
    return 0
  }

  clear(): void {
    this.#room.give(this.#members.size)
    this.#members.clear()
    this.#lengths.clear()
    this.#sorted = undefined
    this.#soonest = Number.POSITIVE_INFINITY
  }

  /** The member that the key belongs to: itself, or, where whole addresses are given, the smallest network around it. */
  find(key: MemberKey): IpMember | undefined {
    const { fields } = this.type
    if (!fields.includes('net')) return this.#find(keyText(key))
    const isFirst = fields[0] === 'net'
    if ((isFirst ? key.length : key.length2) !== this.addressBits) return this.#find(keyText(key))
    for (const length of this.lengths()) {
      const network = isFirst
        ? { ...key, address: key.address!.masked(length), length }
        : { ...key, address2: key.address2!.masked(length), length2: length }
      const member = this.#find(keyText(network))
      if (member !== undefined) return member
    }
    return undefined
  }

  #find(text: string): IpMember | undefined {
    const member = this.#members.get(text)
    if (member === undefined || member.expires > this.#runtime.now()) return member
    this.#remove(text, member)
    return undefined
  }
  #remove(text: string, member: IpMember): void {
    this.#members.delete(text)
    this.#count(member.key, -1)
  }
  #count({ length, length2 }: MemberKey, by: number): void {
    this.#room.give(-by)
    const { fields } = this.type
    if (!fields.includes('net')) return
    const bits = fields[0] === 'net' ? length : length2
    const count = (this.#lengths.get(bits) ?? 0) + by
    if (count === by || count === 0) this.#sorted = undefined
    if (count === 0) this.#lengths.delete(bits)
    else this.#lengths.set(bits, count)
  }

  #check({ address, length, port }: MemberKey): Status {
    if (this.type.bitmap === true) {
      const [from, to] = this.config.range
      const number = address === undefined ? port : address.w3
      return number < from || number > to ? -IPSET_ERR_BITMAP_RANGE : 0
    }
    return this.type.name === 'hash:ip' && length > 0 && address?.isAny === true ? -IPSET_ERR_HASH_ELEM : 0
  }

  #makeRoom(): boolean {
    if (this.#hasRoom()) return true
    this.#expire()
    if (this.#hasRoom()) return true
    const first = this.#members.entries().next().value
    if (!this.config.forceAdd || first === undefined) return false
    this.#remove(...first)
    return true
  }

  #hasRoom(): boolean {
    const isFull = this.type.bitmap !== true && this.#members.size >= this.config.maxElements
    return !isFull && this.#room.left > 0
  }
  /** Takes out those whose time is over; a full set is not looked through for each packet that is to be added. */
  #expire(): void {
    if (this.#soonest > this.#runtime.now()) return
    this.#soonest = Number.POSITIVE_INFINITY
    for (const { expires } of this.members()) this.#soonest = Math.min(this.#soonest, expires)
  }

  #expiry(seconds: number | undefined): number {
    if (this.config.timeout === undefined) return Number.POSITIVE_INFINITY
    const timeout = Math.min(seconds ?? this.config.timeout, MAX_TIMEOUT)
    return timeout === 0 ? Number.POSITIVE_INFINITY : this.#runtime.now() + timeout * NSEC_PER_SEC
  }
  /** Seconds that a member has left, 0 for ever. */
  left({ expires }: IpMember): number {
    if (expires === Number.POSITIVE_INFINITY) return 0
    return Math.max(Math.floor((expires - this.#runtime.now()) / NSEC_PER_SEC), 1)
  }
}
