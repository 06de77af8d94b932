/** munmap(2). */
import { EINVAL, ENOMEM, EPERM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { unmapAreas } from './fault-area.ts'
import { MAX_MAP_COUNT, type Mm } from './mm.ts'
import { refreshStack, releaseStackReserve } from './stack.ts'
import { PAGE_SIZE, pageCeil, VM_SEALED, VM_SHARED } from './vma.ts'
import { carve, splitsFor } from './vma-edit.ts'

export function munmap(mm: Mm, start: number, length: number): Status {
  const limit = mm.context.addressLimit
  if (start % PAGE_SIZE !== 0 || start > limit || length > limit - start) return -EINVAL
  const end = start + pageCeil(length)
  if (end === start) return -EINVAL
  const flushed = flushShared(mm, start, end)
  return flushed < 0 ? flushed : unmapRange(mm, start, end)
}

/** Files of which somebody else keeps the bytes hear what was written to them: 0, or PENDING. */
function flushShared(mm: Mm, start: number, end: number): Status {
  for (let vma = mm.vmas.intersecting(start, end); vma !== undefined && vma.start < end; vma = vma.next) {
    if ((vma.flags & VM_SHARED) === 0 || vma.file === undefined) continue
    const status = vma.file.flushMapping()
    if (status < 0) return status
  }
  return 0
}

/** Unmaps what there is in [start, end), page borders both: do_vmi_munmap. -EPERM if some of it is sealed. */
export function unmapRange(mm: Mm, start: number, end: number): Status {
  if (mm.stackReserveTouches(start, end)) refreshStack(mm)
  const { vmas } = mm
  let vma = vmas.intersecting(start, end)
  if (vma === undefined) return 0
  if (vmas.count >= MAX_MAP_COUNT && vma.start < start && vma.end > end) return -ENOMEM
  for (let at = vmas.intersecting(start, end); at !== undefined && at.start < end; at = at.next) {
    if ((at.flags & VM_SEALED) !== 0) return -EPERM
  }
  releaseStackReserve(mm, start, end)

  // Run by run: between vmas there may be host memory that is not the guest's.
  while (vma !== undefined && vma.start < end) {
    const from = Math.max(vma.start, start)
    let to = vma.end
    while (vma.next !== undefined && vma.next.start === to && to < end) {
      vma = vma.next
      to = vma.end
    }
    to = Math.min(to, end)
    const status = mm.space.unmap(from, to - from)
    if (status < 0) return status
    carve(vmas, from, to)
    unmapAreas(mm, from, to)
    vma = vmas.intersecting(to, end)
  }
  return 0
}

/** Whether the borders of [start, end) can become borders of vmas. */
export function canSplit(mm: Mm, start: number, end: number): boolean {
  return mm.vmas.count + splitsFor(mm.vmas, start, end) <= MAX_MAP_COUNT
}
