/**
 * BufferGroup: buffers that the guest has provided for requests with IOSQE_BUFFER_SELECT. A request looks at the next
 * one when it could use it (`peek`) and takes it when it has (`consume`). With IORING_RECVSEND_BUNDLE it does so with
 * several at once (`peekMany`, `consumeMany`).
 */

import { IOU_PBUF_RING_INC } from '../../abi/constants.ts'
import { ENOMEM, EOVERFLOW } from '../../abi/errno.ts'
import { IO_URING_BUF } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Mm } from '../../mm/mm.ts'
import type { SharedPages } from '../memfd/shared-pages.ts'

/** In the first entry of a buffer ring, where its `resv` would be: the guest's tail. */
const TAIL_AT = IO_URING_BUF.resv

export interface ProvidedBuffer {
  readonly address: number
  readonly length: number
  readonly id: number
}

export interface BufferGroup {
  /** Undefined: there is none. */
  peek(mm: Mm): ProvidedBuffer | undefined
  /** `used` bytes of what `peek` gave are in use; whether more of it is left to use. */
  consume(buffer: ProvidedBuffer, used: number): boolean
  /** The next ones, as many as `length` bytes need; just one of a list. */
  peekMany(mm: Mm, length: number): ProvidedBuffer[]
  /** The same for what `peekMany` gave: whether more of the last of them is left to use. */
  consumeMany(buffers: readonly ProvidedBuffer[], used: number): boolean
  /** Memory of the kernel's for the guest to map. */
  readonly pages?: SharedPages
  release(): void
}

/** What one list holds at most: with more than there are ids nobody could tell them apart. */
const MAX_LISTED = 65535
/** What all lists hold together. Linux charges the memory to the cgroup. */
const MAX_LISTED_IN_ALL = 1 << 20
/** Most buffers of one bundle. */
const MAX_BUNDLE = 256

/** IORING_OP_PROVIDE_BUFFERS: the kernel keeps the list. */
export class BufferList implements BufferGroup {
  readonly #kernel: Kernel
  #buffers: ProvidedBuffer[] = []
  /** Those before it are used. */
  #first = 0

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  get count(): number {
    return this.#buffers.length - this.#first
  }
  add(buffer: ProvidedBuffer): Status {
    if (this.count === MAX_LISTED) return -EOVERFLOW
    if (this.#kernel.uring.listedBuffers >= MAX_LISTED_IN_ALL) return -ENOMEM
    this.#kernel.uring.listedBuffers++
    this.#buffers.push(buffer)
    return 0
  }
  peek(): ProvidedBuffer | undefined {
    return this.#buffers[this.#first]
  }
  consume(): boolean {
    this.#kernel.uring.listedBuffers--
    // A list that is never empty must not keep those that are used.
    if (++this.#first * 2 >= this.#buffers.length) {
      this.#buffers = this.#buffers.slice(this.#first)
      this.#first = 0
    }
    return false
  }
  peekMany(): ProvidedBuffer[] {
    const next = this.peek()
    return next === undefined ? [] : [next]
  }
  consumeMany(): boolean {
    return this.consume()
  }
  release(): void {
    this.#kernel.uring.listedBuffers -= this.count
    this.#buffers = []
    this.#first = 0
  }
}

/** IORING_REGISTER_PBUF_RING: a ring in memory, which the guest fills. */
export class BufferRing implements BufferGroup {
  readonly entries: number
  readonly pages: SharedPages | undefined
  readonly #address: number
  readonly #partly: boolean
  head = 0
  /** IOU_PBUF_RING_INC: how much of the buffer at the head is used. */
  #used = 0
  readonly #entry = new DataView(new ArrayBuffer(IO_URING_BUF.size))
  readonly #entryBytes = new Uint8Array(this.#entry.buffer)

  /** The ring is at `address` in the guest, or in `pages` (whose reference is taken over). */
  constructor(address: number, pages: SharedPages | undefined, entries: number, flags: number) {
    this.#address = address
    this.pages = pages
    this.entries = entries
    this.#partly = (flags & IOU_PBUF_RING_INC) !== 0
  }

  peek(mm: Mm): ProvidedBuffer | undefined {
    return this.#filled(mm) === 0 ? undefined : this.#look(mm, 0)
  }
  peekMany(mm: Mm, length: number): ProvidedBuffer[] {
    const buffers: ProvidedBuffer[] = []
    const most = Math.min(this.#filled(mm), MAX_BUNDLE)
    let left = length
    while (buffers.length < most && left > 0) {
      const buffer = this.#look(mm, buffers.length)
      if (buffer === undefined) break
      // One that would be used in part is only used alone, or where the rest of it stays.
      if (buffers.length > 0 && buffer.length > left && !this.#partly) break
      buffers.push(buffer)
      left -= buffer.length
    }
    return buffers
  }

  /** How many buffers the guest has put there: the tail is in the first entry. */
  #filled(mm: Mm): number {
    if (!this.#read(mm, 0)) return 0
    return Math.min((this.#entry.getUint16(TAIL_AT, true) - this.head) & 0xffff, this.entries)
  }

  /** One that the tail has passed, so that its words are good. */
  #look(mm: Mm, ahead: number): ProvidedBuffer | undefined {
    if (!this.#read(mm, (this.head + ahead) & (this.entries - 1))) return undefined
    const used = ahead === 0 ? this.#used : 0
    return {
      address: take64(this.#entry, IO_URING_BUF.addr) + used,
      length: Math.max(this.#entry.getUint32(IO_URING_BUF.len, true) - used, 0),
      id: this.#entry.getUint16(IO_URING_BUF.bid, true),
    }
  }

  consume(buffer: ProvidedBuffer, used: number): boolean {
    if (this.#partly && used < buffer.length) {
      this.#used += used
      return true
    }
    this.#used = 0
    this.head = (this.head + 1) & 0xffff
    return false
  }
  consumeMany(buffers: readonly ProvidedBuffer[], used: number): boolean {
    let left = used
    for (const buffer of buffers) {
      if (this.consume(buffer, left)) return true
      left -= buffer.length
      if (left <= 0) break
    }
    return false
  }

  release(): void {
    this.pages?.release()
  }

  #read(mm: Mm, index: number): boolean {
    const at = index * IO_URING_BUF.size
    if (this.pages === undefined) return mm.copyIn(this.#address + at, this.#entryBytes) === 0
    this.pages.read(this.#entryBytes, at)
    return true
  }
}
