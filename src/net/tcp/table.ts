/**
 * ConnectionTable: who gets the segments of a four-tuple: a connection, a half-open request of a listener, or a connection in
 * TIME-WAIT. Open hashing over words with a key of its own, so that a segment costs no allocation and nobody outside can
 * make chains long.
 */
import type { IpAddress } from '../address.ts'
import type { Flow } from '../ip/flow.ts'

/** Kinds of entries. */
export const CONNECTION = 0
export const REQUEST = 1
export const TIME_WAIT = 2

export interface TableEntry {
  readonly kind: number
  readonly flow: Flow
  hash: number
  hashNext: TableEntry | undefined
}

export class ConnectionTable {
  #buckets: (TableEntry | undefined)[] = new Array(256).fill(undefined)
  readonly #seed: number
  size = 0

  constructor(seed: number) {
    this.#seed = seed | 0
  }

  find(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): TableEntry | undefined {
    const hash = this.#hash(local, localPort, remote, remotePort)
    let entry = this.#buckets[hash & (this.#buckets.length - 1)]
    while (entry !== undefined) {
      if (entry.hash === hash) {
        const { flow } = entry
        if (
          flow.destinationPort === remotePort &&
          flow.sourcePort === localPort &&
          flow.destination.equals(remote) &&
          flow.source.equals(local)
        ) {
          return entry
        }
      }
      entry = entry.hashNext
    }
    return undefined
  }

  add(entry: TableEntry): void {
    if (this.size >= this.#buckets.length) this.#grow()
    const { flow } = entry
    entry.hash = this.#hash(flow.source, flow.sourcePort, flow.destination, flow.destinationPort)
    this.#link(entry)
    this.size++
  }

  remove(entry: TableEntry): boolean {
    const index = entry.hash & (this.#buckets.length - 1)
    let previous: TableEntry | undefined
    for (let at = this.#buckets[index]; at !== undefined; previous = at, at = at.hashNext) {
      if (at !== entry) continue
      if (previous === undefined) this.#buckets[index] = entry.hashNext
      else previous.hashNext = entry.hashNext
      entry.hashNext = undefined
      this.size--
      return true
    }
    return false
  }

  *entries(): Generator<TableEntry> {
    for (const first of this.#buckets) {
      for (let at = first; at !== undefined; at = at.hashNext) yield at
    }
  }

  #hash(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): number {
    let h = this.#seed ^ local.w3
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b) ^ remote.w3
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) ^ ((localPort << 16) | remotePort)
    if (!remote.isV4) {
      h = Math.imul(h ^ (h >>> 15), 0x85ebca6b) ^ remote.w2
      h =
        Math.imul(h ^ (h >>> 15), 0xc2b2ae35) ^ remote.w1 ^ Math.imul(remote.w0, 31) ^ Math.imul(local.w2, 17)
    }
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d) ^ this.#seed
    return Math.imul(h ^ (h >>> 15), 0x846ca68b) ^ (h >>> 16)
  }

  #link(entry: TableEntry): void {
    const index = entry.hash & (this.#buckets.length - 1)
    entry.hashNext = this.#buckets[index]
    this.#buckets[index] = entry
  }

  #grow(): void {
    const all = [...this.entries()]
    this.#buckets = new Array(this.#buckets.length * 4).fill(undefined)
    for (const entry of all) this.#link(entry)
  }
}
