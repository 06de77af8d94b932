/** brk(2): the heap behind the program. */
import { RLIMIT_DATA } from '../abi/constants.ts'
import { isFree } from './layout.ts'
import { lockFits } from './limits.ts'
import { lockPages } from './mlock.ts'
import type { Mm } from './mm.ts'
import { mapAnonymous } from './mmap.ts'
import { unmapRange } from './munmap.ts'
import { PAGE_SIZE, pageCeil, VM_LOCKED, VM_MAYALL, VM_READ, VM_WRITE } from './vma.ts'

/** Moves the break; the result is the break that there is then, moved or not. */
export function brk(mm: Mm, address: number): number {
  if (address < mm.startBrk || address > mm.context.addressLimit) return mm.brk
  const data = address - mm.startBrk + (mm.endData - mm.startData)
  if (data > mm.limits.soft(RLIMIT_DATA)) return mm.brk
  const oldEnd = pageCeil(mm.brk)
  const newEnd = pageCeil(address)
  if (newEnd < oldEnd) {
    if (mm.vmas.intersecting(newEnd, oldEnd) === undefined) return mm.brk
    if (unmapRange(mm, newEnd, oldEnd) < 0) return mm.brk
  } else if (newEnd > oldEnd && !grow(mm, oldEnd, newEnd)) return mm.brk
  mm.brk = address
  return address
}

function grow(mm: Mm, start: number, end: number): boolean {
  // A page is kept free above the heap.
  if (!isFree(mm, start, end + PAGE_SIZE)) return false
  const flags = VM_READ | VM_WRITE | VM_MAYALL | mm.defFlags
  if (!lockFits(mm, flags, end - start)) return false
  if (mapAnonymous(mm, start, end - start, flags) < 0) return false
  if ((flags & VM_LOCKED) !== 0) lockPages(mm, start, end - start, flags)
  return true
}
