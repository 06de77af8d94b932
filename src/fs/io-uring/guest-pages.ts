/**
 * Memory of a guest's own that the kernel uses as rings: IORING_SETUP_NO_MMAP. Linux pins its pages; here they are looked
 * up at each access, and what has been unmapped reads as zeros, as all does when the process that made the ring has ended.
 */
import { EFAULT, EINVAL } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { GuestAddr, Mm } from '../../mm/mm.ts'
import { PAGE_SIZE, VM_WRITE } from '../../mm/vma.ts'
import type { RingMemory } from './rings.ts'

class GuestPages implements RingMemory {
  readonly #mm: Mm
  readonly #at: GuestAddr

  constructor(mm: Mm, at: GuestAddr) {
    this.#mm = mm
    this.#at = at
  }

  u32(offset: number): number {
    return this.#mm.u32(this.#at + offset) ?? 0
  }
  putU32(offset: number, value: number): void {
    this.#mm.putU32(this.#at + offset, value)
  }
  read(into: Uint8Array, offset: number): void {
    this.#mm.copyIn(this.#at + offset, into)
  }
  write(from: Uint8Array, offset: number): void {
    this.#mm.copyOut(this.#at + offset, from)
  }
  release(): void {}
}

export function guestPages(mm: Mm, at: GuestAddr, size: number): OrErrno<RingMemory> {
  if (at % PAGE_SIZE !== 0) return -EINVAL
  return mm.accessible(at, size, VM_WRITE) === size ? new GuestPages(mm, at) : -EFAULT
}
