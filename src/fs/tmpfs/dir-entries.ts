/**
 * The names of one directory, with cursors for readdir that stay true while names come and go: an entry gets the next
 * number of a sequence when it is added, and keeps it.
 */
import type { TmpfsInode } from './inode.ts'

export interface DirEntry {
  readonly name: string
  readonly inode: TmpfsInode
  readonly cursor: number
  removed: boolean
}

export class DirEntries {
  readonly #byName = new Map<string, DirEntry>()
  /** By rising cursor; removed ones stay until they are half of all. */
  #order: DirEntry[] = []
  #nextCursor = 1

  get size(): number {
    return this.#byName.size
  }

  get(name: string): TmpfsInode | undefined {
    return this.#byName.get(name)?.inode
  }

  /** A name that is not there yet. */
  add(name: string, inode: TmpfsInode): void {
    const entry = { name, inode, cursor: this.#nextCursor++, removed: false }
    this.#byName.set(name, entry)
    this.#order.push(entry)
  }

  remove(name: string): void {
    const entry = this.#byName.get(name)
    if (entry === undefined) return
    this.#byName.delete(name)
    entry.removed = true
    if (this.#order.length > 16 && this.#byName.size * 2 < this.#order.length) {
      this.#order = this.#order.filter(each => !each.removed)
    }
  }

  replace(name: string, inode: TmpfsInode): void {
    this.remove(name)
    this.add(name, inode)
  }

  /** Calls `sink` for the entries behind `cursor` until it returns false. */
  walk(cursor: number, sink: (entry: DirEntry) => boolean): void {
    const order = this.#order
    for (let i = firstBehind(order, cursor); i < order.length; i++) {
      if (!order[i].removed && !sink(order[i])) return
    }
  }

  inodes(): TmpfsInode[] {
    return this.#order.filter(each => !each.removed).map(each => each.inode)
  }

  clear(): void {
    this.#byName.clear()
    this.#order = []
  }
}

function firstBehind(order: readonly DirEntry[], cursor: number): number {
  let low = 0
  let high = order.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (order[middle].cursor <= cursor) low = middle + 1
    else high = middle
  }
  return low
}
