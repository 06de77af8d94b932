/**
 * BufferGroup: buffers that the guest has provided for requests with IOSQE_BUFFER_SELECT. A request looks at the next
 * one when it could use it (`peek`) and takes it when it has (`consume`).
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
  consume(used: number): boolean
  /** Memory of the kernel's for the guest to map. */
  readonly pages?: SharedPages
  release(): void
}

/** What one list holds at most: with more than there are ids nobody could tell them apart. */
const MAX_LISTED = 65535
/** What all lists hold together. Linux charges the memory to the cgroup. */
const MAX_LISTED_IN_ALL = 1 << 20

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
  #peeked = 0
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
    // The tail is in the first entry. The words of the others are good once it has passed them.
    if (!this.#read(mm, 0)) return undefined
    if (this.#entry.getUint16(TAIL_AT, true) === this.head) return undefined
    if (!this.#read(mm, this.head & (this.entries - 1))) return undefined
    const address = take64(this.#entry, IO_URING_BUF.addr)
    const used = this.#partly ? this.#used : 0
    this.#peeked = Math.max(this.#entry.getUint32(IO_URING_BUF.len, true) - used, 0)
    return {
      address: address + used,
      length: this.#peeked,
      id: this.#entry.getUint16(IO_URING_BUF.bid, true),
    }
  }

  consume(used: number): boolean {
    if (this.#partly && used < this.#peeked) {
      this.#used += used
      return true
    }
    this.#used = 0
    this.head = (this.head + 1) & 0xffff
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
