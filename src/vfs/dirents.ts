/**
 * Directory entries in the form that getdents64(2) has them: struct linux_dirent64 records back to back, each padded to 8
 * bytes. A listing that stays in this form from the host's getdents64 to the guest's costs a few nanoseconds per entry;
 * a string for each name costs a hundred.
 *
 * A Dirents is made for one listing and grows as entries are added. The `d_off` of a record is the position behind it,
 * which is the byte offset at which the next one begins.
 */

import { DIRENT64 } from '../abi/layout.ts'
import { fromBytes } from '../base/bytes.ts'
import { put64, take64 } from '../base/words.ts'
import type { DirSink } from './inode.ts'

const { d_ino: INO, d_off: OFF, d_reclen: RECLEN, d_type: TYPE, d_name: NAME } = DIRENT64
const DOT = 0x2e

export class Dirents {
  #bytes: Uint8Array
  #view: DataView
  #length = 0

  /** `capacity`: bytes that will do for most. */
  constructor(capacity = 512) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** Bytes in use. */
  get length(): number {
    return this.#length
  }

  /** The records, as they are until the next change. */
  get records(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  /** Adds an entry, with a `d_off` of the caller's if it has one. */
  add(name: string, ino: number, type: number, next?: number): void {
    const at = this.#length
    const end = at + recordLength(name)
    this.#reserve(end)
    const bytes = this.#bytes
    const view = this.#view
    put64(view, at + INO, ino)
    put64(view, at + OFF, next ?? end)
    view.setUint16(at + RECLEN, end - at, true)
    bytes[at + TYPE] = type
    let to = at + NAME
    for (let i = 0; i < name.length; i++) bytes[to++] = name.charCodeAt(i)
    while (to < end) bytes[to++] = 0
    this.#length = end
  }

  /** Adds `length` bytes of records that the host's getdents64 gave, without '.' and '..'. */
  addRaw(raw: Uint8Array, length: number): void {
    this.#reserve(this.#length + length)
    const start = this.#length
    // Runs of records are copied in one go.
    let run = 0
    for (let at = 0; at + NAME < length; ) {
      const end = at + (raw[at + RECLEN] | (raw[at + RECLEN + 1] << 8))
      if (end <= at + NAME || end > length) break
      if (isDots(raw, at + NAME)) {
        this.#append(raw, run, at)
        run = end
      }
      at = end
    }
    this.#append(raw, run, length)
    const view = this.#view
    for (let at = start; at < this.#length; ) {
      const end = at + view.getUint16(at + RECLEN, true)
      view.setUint32(at + OFF, end, true)
      view.setUint32(at + OFF + 4, 0, true)
      at = end
    }
  }

  /** Drops the entries from byte `start` on for which `keep` says no. */
  filter(start: number, keep: (name: string, type: number) => boolean): void {
    const end = this.#length
    let to = start
    for (let at = start; at < end; ) {
      const length = this.#view.getUint16(at + RECLEN, true)
      if (keep(this.nameAt(at), this.#bytes[at + TYPE])) {
        if (to !== at) this.#bytes.copyWithin(to, at, at + length)
        to += length
        put64(this.#view, to - length + OFF, to)
      }
      at += length
    }
    this.#length = to
  }

  /** Gives the entries from byte `start` on the numbers that `inoOf` says. */
  renumber(start: number, inoOf: (ino: number) => number): void {
    for (let at = start; at < this.#length; at = this.nextOf(at)) {
      put64(this.#view, at + INO, inoOf(this.inoAt(at)))
    }
  }

  /** Says `to` for the type of the entries from byte `start` on that have the type `from`. */
  retype(start: number, from: number, to: number): void {
    for (let at = start; at < this.#length; at = this.nextOf(at))
      if (this.#bytes[at + TYPE] === from) this.#bytes[at + TYPE] = to
  }

  /** Calls `sink` for the entries from position `cursor` on until it returns false. */
  walk(cursor: number, sink: DirSink): void {
    for (let at = this.seek(cursor); at < this.#length; ) {
      const next = this.nextOf(at)
      if (!sink(this.nameAt(at), this.inoAt(at), this.#bytes[at + TYPE], next)) return
      at = next
    }
  }

  /** Where the first record at or behind `position` begins. */
  seek(position: number): number {
    let at = 0
    while (at < position && at < this.#length) at = this.nextOf(at)
    return at
  }

  /** The end of the last record from `at` on that fits into `room` bytes. */
  fit(at: number, room: number): number {
    if (at + room >= this.#length) return this.#length
    let end = at
    for (let next = this.nextOf(end); next <= at + room; next = this.nextOf(end)) end = next
    return end
  }

  nextOf(at: number): number {
    return at + this.#view.getUint16(at + RECLEN, true)
  }
  inoAt(at: number): number {
    return take64(this.#view, at + INO)
  }
  nameAt(at: number): string {
    const from = at + NAME
    return fromBytes(this.#bytes, from, this.#bytes.indexOf(0, from))
  }

  #append(raw: Uint8Array, from: number, to: number): void {
    if (to <= from) return
    this.#bytes.set(from === 0 && to === raw.length ? raw : raw.subarray(from, to), this.#length)
    this.#length += to - from
  }

  #reserve(length: number): void {
    if (length <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(length, this.#length * 2))
    grown.set(this.records)
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}

/** The bytes of a record for `name`: with a NUL, padded to 8. */
export function recordLength(name: string): number {
  return (NAME + name.length + 8) & ~7
}

/** Whether the name at `at` is '.' or '..'. */
function isDots(bytes: Uint8Array, at: number): boolean {
  if (bytes[at] !== DOT) return false
  return bytes[at + 1] === 0 || (bytes[at + 1] === DOT && bytes[at + 2] === 0)
}
