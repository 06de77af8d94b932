/** mincore(2) and msync(2): what of the mappings is in memory, and what is on its way to the files. */
import { MS_ASYNC, MS_INVALIDATE, MS_SYNC } from '../abi/constants.ts'
import { EBUSY, EFAULT, EINVAL, ENOMEM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { Mm } from './mm.ts'
import { refreshStack } from './stack.ts'
import { PAGE_SIZE, pageCeil, VM_LOCKED, VM_SHARED } from './vma.ts'
import { mappedUntil } from './vma-edit.ts'

/** Pages asked for at once. */
const CHUNK = 4096

/** mincore: one byte a page to `vector` in guest memory. */
export function mincore(mm: Mm, start: number, length: number, vector: number): Status {
  // The last byte of all is none of a page's first ones; a double takes it for the next.
  if (start % PAGE_SIZE !== 0 || start === 2 ** 64) return -EINVAL
  if (!mm.accessOk(start, length)) return -ENOMEM
  const pages = Math.ceil(length / PAGE_SIZE)
  if (!mm.accessOk(vector, pages)) return -EFAULT
  const end = start + pages * PAGE_SIZE
  if (mm.stackReserveTouches(start, end)) refreshStack(mm)
  for (let at = start; at < end; ) {
    const to = mappedUntil(mm.vmas, at, Math.min(end, at + CHUNK * PAGE_SIZE))
    if (to === at) return -ENOMEM
    const resident = new Uint8Array((to - at) / PAGE_SIZE)
    const status = mm.space.incore(at, to - at, resident)
    if (status < 0) return status
    if (mm.copyOut(vector + (at - start) / PAGE_SIZE, resident) < 0) return -EFAULT
    at = to
  }
  return 0
}

/** msync: as much as fdatasync(2) of the files. Holes are passed over and make the result -ENOMEM. */
export function msync(mm: Mm, start: number, length: number, flags: number): Status {
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) !== 0 || start % PAGE_SIZE !== 0) return -EINVAL
  if ((flags & MS_ASYNC) !== 0 && (flags & MS_SYNC) !== 0) return -EINVAL
  const end = start + pageCeil(length)
  if (end > 2 ** 64) return -ENOMEM
  if (end === start) return 0
  let at = start
  let result = 0
  for (let vma = mm.vmas.intersecting(start, end); at < end; vma = vma.next) {
    if (vma === undefined || vma.start >= end) return -ENOMEM
    if (vma.start > at) {
      if (flags === MS_ASYNC) return -ENOMEM
      result = -ENOMEM
    }
    if ((flags & MS_INVALIDATE) !== 0 && (vma.flags & VM_LOCKED) !== 0) return -EBUSY
    if ((flags & MS_SYNC) !== 0 && vma.file !== undefined && (vma.flags & VM_SHARED) !== 0) {
      const status = vma.file.fsync(true)
      if (status < 0) return status
    }
    at = Math.min(vma.end, end)
  }
  return result
}
