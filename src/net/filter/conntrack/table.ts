/**
 * ConnectionTable: the confirmed connections of a namespace, found by the tuple of either direction. Chained buckets under
 * a hash that nobody outside can foretell; at most `limit` connections, and who needs room takes it from connections that
 * have not seen traffic in both directions. Those whose time is over are gone for who looks, and are swept out now and then.
 */
import { IPS_ASSURED, IPS_CONFIRMED, IPS_DYING } from '../../../abi/constants.ts'
import { NSEC_PER_SEC } from '../../../base/clock.ts'
import { type Expiry, Timer } from '../../../kernel/timers.ts'
import type { NetRuntime } from '../../ip/runtime.ts'
import { type Connection, ORIGINAL, REPLY, type TableEntry } from './connection.ts'
import type { Tuple } from './tuple.ts'

const MIN_BUCKETS = 256
const SWEEP_INTERVAL = 10 * NSEC_PER_SEC
/** Buckets that are looked through for a connection that can go. */
const EARLY_DROP_RANGE = 8

export class ConnectionTable implements Expiry {
  readonly #runtime: NetRuntime
  readonly #seed: number
  readonly #timer = new Timer(this)
  readonly #ended: (connection: Connection) => void
  #buckets: (TableEntry | undefined)[] = new Array(MIN_BUCKETS).fill(undefined)
  /** In the order of their confirmation. */
  readonly #all = new Set<Connection>()

  /** `ended`: told of each that leaves. */
  constructor(runtime: NetRuntime, ended: (connection: Connection) => void) {
    this.#runtime = runtime
    this.#seed = runtime.random.u32()
    this.#ended = ended
  }

  get size(): number {
    return this.#all.size
  }
  get buckets(): number {
    return this.#buckets.length
  }

  find(tuple: Tuple): TableEntry | undefined {
    let entry = this.#buckets[this.#hash(tuple) & (this.#buckets.length - 1)]
    while (entry !== undefined && !entry.tuple.equals(tuple)) entry = entry.next
    if (entry === undefined || entry.connection.expires > this.#runtime.now()) return entry
    this.remove(entry.connection)
    return undefined
  }

  /** False: one of its tuples is another connection's, or there is no room. */
  insert(connection: Connection, limit: number): boolean {
    if (this.find(connection.original) !== undefined || this.find(connection.reply) !== undefined)
      return false
    if (this.#all.size >= limit && !this.#dropEarly(this.#hash(connection.original))) return false
    if (this.#all.size > this.#buckets.length) this.#grow()
    this.#link(this.#entry(connection, ORIGINAL))
    this.#link(this.#entry(connection, REPLY))
    connection.status |= IPS_CONFIRMED
    this.#all.add(connection)
    if (!this.#timer.armed) this.#runtime.timers.add(this.#timer, this.#runtime.now() + SWEEP_INTERVAL)
    return true
  }

  remove(connection: Connection): void {
    if (!this.#all.delete(connection)) return
    this.#unlink(connection.original, connection)
    this.#unlink(connection.reply, connection)
    connection.status |= IPS_DYING
    this.#ended(connection)
  }

  /** Those whose time is not over. */
  *connections(): IterableIterator<Connection> {
    const now = this.#runtime.now()
    for (const connection of this.#all) if (connection.expires > now) yield connection
  }

  expired(): void {
    const now = this.#runtime.now()
    for (const connection of this.#all) if (connection.expires <= now) this.remove(connection)
    if (this.#all.size > 0) this.#runtime.timers.add(this.#timer, now + SWEEP_INTERVAL)
  }

  clear(): void {
    for (const connection of this.#all) this.remove(connection)
    this.#runtime.timers.cancel(this.#timer)
  }

  #entry(connection: Connection, direction: number): TableEntry {
    const tuple = connection.tuple(direction)
    return { tuple, connection, direction, hash: this.#hash(tuple), next: undefined }
  }

  #link(entry: TableEntry): void {
    const at = entry.hash & (this.#buckets.length - 1)
    entry.next = this.#buckets[at]
    this.#buckets[at] = entry
  }

  #unlink(tuple: Tuple, connection: Connection): void {
    const at = this.#hash(tuple) & (this.#buckets.length - 1)
    let before: TableEntry | undefined
    for (let entry = this.#buckets[at]; entry !== undefined; entry = entry.next) {
      if (entry.connection === connection && entry.tuple === tuple) {
        if (before === undefined) this.#buckets[at] = entry.next
        else before.next = entry.next
        return
      }
      before = entry
    }
  }

  #grow(): void {
    const old = this.#buckets
    this.#buckets = new Array(old.length * 2).fill(undefined)
    for (let entry of old) {
      while (entry !== undefined) {
        const { next } = entry
        this.#link(entry)
        entry = next
      }
    }
  }

  #dropEarly(hash: number): boolean {
    for (let i = 0; i < EARLY_DROP_RANGE; i++) {
      let entry = this.#buckets[(hash + i) & (this.#buckets.length - 1)]
      for (; entry !== undefined; entry = entry.next) {
        if ((entry.connection.status & IPS_ASSURED) !== 0) continue
        this.remove(entry.connection)
        return true
      }
    }
    return false
  }

  #hash({ source, destination, protocol, from, to, zone }: Tuple): number {
    let hash = this.#seed ^ protocol ^ (zone << 8)
    hash = mix(hash, source.w3)
    hash = mix(hash, destination.w3)
    if (!source.isV4) {
      hash = mix(hash, source.w0 ^ Math.imul(source.w1, 0x85ebca6b) ^ Math.imul(source.w2, 0xc2b2ae35))
      hash = mix(
        hash,
        destination.w0 ^ Math.imul(destination.w1, 0x85ebca6b) ^ Math.imul(destination.w2, 0xc2b2ae35),
      )
    }
    hash = mix(hash, (from << 16) | to)
    return (hash ^ (hash >>> 15)) >>> 0
  }
}

function mix(hash: number, word: number): number {
  hash = Math.imul(hash ^ word, 0x9e3779b1)
  return hash ^ (hash >>> 16)
}
