/**
 * AioContext: what io_setup(2) makes (kioctx): a ring of events that the guest can see, and the requests whose events it
 * will get.
 *
 * It belongs to an mm and is named by the address at which its ring is mapped there. It ends by io_destroy(2) or with
 * the mm, and requests that still wait end with it. The ring's tail is the kernel's; the head is whoever's reads events: the
 * kernel's in io_getevents(2), or the guest's own, which libaio's users may move without a call. A request is only
 * accepted when its event is sure to find room.
 */
import { AIO_RING, IO_EVENT } from '../../abi/layout.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { PAGE_SIZE } from '../../mm/vma.ts'
import type { SharedPages } from '../memfd/shared-pages.ts'

const AIO_RING_MAGIC = 0xa10a10a1
const COMPAT_FEATURES = 1

/** The bytes of a ring with room for at least `events`, in whole pages. */
export function ringSize(events: number): number {
  return Math.ceil((AIO_RING.size + IO_EVENT.size * events) / PAGE_SIZE) * PAGE_SIZE
}

/** What the context knows of a request. */
export interface AioEntry {
  readonly iocb: { readonly at: number }
  readonly cancelled: number
  cancel(result?: number): boolean
}

export class AioContext {
  /** Where the ring was mapped: aio_context_t. */
  readonly id: number
  /** What counts in fs.aio-nr. */
  readonly maxRequests: number
  /** Places in the ring, one of which stays free. */
  readonly places: number
  readonly size: number
  /** Those who wait in io_getevents. */
  readonly waiters = new WaitQueue()
  /** Accepted and not over. */
  readonly active = new Set<AioEntry>()
  dead = false
  readonly #kernel: Kernel
  readonly #ring: SharedPages
  #tail = 0
  /** Accepted requests whose event is not in the ring. */
  #pending = 0

  /** Takes over the ring's reference. */
  constructor(kernel: Kernel, ring: SharedPages, id: number, size: number, maxRequests: number) {
    this.#kernel = kernel
    this.#ring = ring
    this.id = id
    this.size = size
    this.maxRequests = maxRequests
    this.places = Math.floor((size - AIO_RING.size) / IO_EVENT.size)
    kernel.aioRequests += maxRequests
    const header = new DataView(new ArrayBuffer(AIO_RING.size))
    header.setUint32(AIO_RING.nr, this.places, true)
    header.setUint32(AIO_RING.magic, AIO_RING_MAGIC, true)
    header.setUint32(AIO_RING.compat_features, COMPAT_FEATURES, true)
    header.setUint32(AIO_RING.header_length, AIO_RING.size, true)
    ring.write(new Uint8Array(header.buffer), 0)
  }

  /** Room for the event of one more request: false if there is none. */
  reserve(): boolean {
    if (this.places - 1 - this.#pending - this.#available(this.#head()) <= 0) return false
    this.#pending++
    return true
  }
  /** What was reserved is not needed after all. */
  unreserve(): void {
    this.#pending--
  }

  /** A request is over: `event` is its IO_EVENT. */
  complete(event: Uint8Array): void {
    this.#pending--
    if (this.dead) return
    this.#ring.write(event, AIO_RING.size + this.#tail * IO_EVENT.size)
    this.#tail = (this.#tail + 1) % this.places
    this.#ring.putU32(AIO_RING.tail, this.#tail)
    this.waiters.wake()
  }

  /** How many events there are. */
  get ready(): number {
    return this.#available(this.#head())
  }

  /**
   * Hands up to `max` events, in order and in pieces, to `sink`, which says whether it could take them: how many it
   * took, or what it returned in place of 0.
   */
  collect(max: number, sink: (events: Uint8Array, first: number) => number): number {
    let head = this.#head()
    let done = 0
    while (done < max) {
      const here = Math.min(max - done, this.#available(head), this.places - head)
      if (here === 0) break
      const events = new Uint8Array(here * IO_EVENT.size)
      this.#ring.read(events, AIO_RING.size + head * IO_EVENT.size)
      const status = sink(events, done)
      if (status < 0) return done > 0 ? done : status
      head = (head + here) % this.places
      this.#ring.putU32(AIO_RING.head, head)
      done += here
    }
    return done
  }

  /** io_destroy(2), or the end of the mm. */
  destroy(): void {
    if (this.dead) return
    this.dead = true
    for (const request of [...this.active]) request.cancel()
    this.#kernel.aioRequests -= this.maxRequests
    this.waiters.wakeAll()
    this.#ring.release()
  }

  /** The guest can write anything there. */
  #head(): number {
    return this.#ring.u32(AIO_RING.head) % this.places
  }
  #available(head: number): number {
    return (this.#tail - head + this.places) % this.places
  }
}
