/**
 * PR_SET_VMA_ANON_NAME: allocators name their memory for who reads /proc/PID/maps, which shows `[anon:NAME]`. Neighbours
 * of different names are different mappings.
 */
import { EBADF, EINVAL, ENOMEM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { Mm } from './mm.ts'
import { canSplit } from './munmap.ts'
import { PAGE_SIZE, pageCeil } from './vma.ts'
import { nameVma } from './vma-edit.ts'

/** ANON_VMA_NAME_MAX_LEN, with the terminator. */
export const ANON_NAME_SIZE = 80

/** Printable ASCII, without what would confuse who parses the file. */
const VALID_NAME = /^[ -~]*$/
const CONFUSING = /[\\`$[\]]/

/** Names [start, start + length), undefined takes a name away. Holes are passed over and make the result -ENOMEM. */
export function setAnonName(mm: Mm, start: number, length: number, name: string | undefined): Status {
  if (name !== undefined && (!VALID_NAME.test(name) || CONFUSING.test(name))) return -EINVAL
  const size = pageCeil(length)
  if (start % PAGE_SIZE !== 0 || start + size > 2 ** 64) return -EINVAL
  const end = start + size
  let unmapped = false
  for (let at = start; at < end; ) {
    const vma = mm.vmas.intersecting(at, end)
    if (vma === undefined || vma.start > at) unmapped = true
    if (vma === undefined) break
    if (vma.file !== undefined) return -EBADF
    const from = Math.max(vma.start, at)
    at = Math.min(vma.end, end)
    if (!canSplit(mm, from, at)) return -ENOMEM
    nameVma(mm.vmas, vma, from, at, name)
  }
  return unmapped ? -ENOMEM : 0
}
