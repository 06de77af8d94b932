/** madvise(2): advice is kept in the vma's flags where it changes what the mm does, and passed on to the host. */
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DODUMP,
  MADV_DOFORK,
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_GUARD_INSTALL,
  MADV_GUARD_REMOVE,
  MADV_HUGEPAGE,
  MADV_HWPOISON,
  MADV_KEEPONFORK,
  MADV_MERGEABLE,
  MADV_NOHUGEPAGE,
  MADV_NORMAL,
  MADV_PAGEOUT,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_RANDOM,
  MADV_REMOVE,
  MADV_SEQUENTIAL,
  MADV_SOFT_OFFLINE,
  MADV_UNMERGEABLE,
  MADV_WILLNEED,
  MADV_WIPEONFORK,
} from '../abi/constants.ts'
import { EACCES, EINVAL, ENOMEM, EPERM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { discardPages } from './fault-area.ts'
import type { Mm } from './mm.ts'
import { canSplit } from './munmap.ts'
import { refreshStack } from './stack.ts'
import {
  PAGE_SIZE,
  pageCeil,
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_DROPPABLE,
  VM_HUGEPAGE,
  VM_LOCKED,
  VM_MAYWRITE,
  VM_MERGEABLE,
  VM_NOHUGEPAGE,
  VM_RAND_READ,
  VM_SEALED,
  VM_SEQ_READ,
  VM_SHARED,
  VM_WIPEONFORK,
  VM_WRITE,
  type Vma,
} from './vma.ts'
import { modifyVma } from './vma-edit.ts'

/** What an advice takes from the vma's flags and what it adds. */
interface FlagChange {
  readonly clear: number
  readonly set: number
}

const READ_AHEAD = VM_SEQ_READ | VM_RAND_READ

const flagChanges: ReadonlyMap<number, FlagChange> = new Map([
  [MADV_NORMAL, { clear: READ_AHEAD, set: 0 }],
  [MADV_RANDOM, { clear: READ_AHEAD, set: VM_RAND_READ }],
  [MADV_SEQUENTIAL, { clear: READ_AHEAD, set: VM_SEQ_READ }],
  [MADV_DONTFORK, { clear: 0, set: VM_DONTCOPY }],
  [MADV_DOFORK, { clear: VM_DONTCOPY, set: 0 }],
  [MADV_WIPEONFORK, { clear: 0, set: VM_WIPEONFORK }],
  [MADV_KEEPONFORK, { clear: VM_WIPEONFORK, set: 0 }],
  [MADV_DONTDUMP, { clear: 0, set: VM_DONTDUMP }],
  [MADV_DODUMP, { clear: VM_DONTDUMP, set: 0 }],
  [MADV_MERGEABLE, { clear: 0, set: VM_MERGEABLE }],
  [MADV_UNMERGEABLE, { clear: VM_MERGEABLE, set: 0 }],
  [MADV_HUGEPAGE, { clear: VM_NOHUGEPAGE, set: VM_HUGEPAGE }],
  [MADV_NOHUGEPAGE, { clear: VM_HUGEPAGE, set: VM_NOHUGEPAGE }],
])

/** Advice about the pages of the moment, which leaves nothing behind. */
const transient: ReadonlySet<number> = new Set([
  MADV_WILLNEED,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_REMOVE,
  MADV_COLD,
  MADV_PAGEOUT,
  MADV_COLLAPSE,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_GUARD_INSTALL,
  MADV_GUARD_REMOVE,
])

/** Advice that throws the contents of pages away. */
const discarding: ReadonlySet<number> = new Set([
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_REMOVE,
  MADV_DONTFORK,
  MADV_WIPEONFORK,
  MADV_GUARD_INSTALL,
])

/** Of these, what leaves pages that are not there. */
const DROPPING: ReadonlySet<number> = new Set([MADV_DONTNEED, MADV_DONTNEED_LOCKED])

/** `admin`: CAP_SYS_ADMIN. Holes are passed over and make the result -ENOMEM; the first refusal ends the walk. */
export function madvise(mm: Mm, start: number, length: number, advice: number, admin: boolean): Status {
  if (advice === MADV_HWPOISON || advice === MADV_SOFT_OFFLINE) return admin ? -EINVAL : -EPERM
  const change = flagChanges.get(advice)
  if (change === undefined && !transient.has(advice)) return -EINVAL
  const size = pageCeil(length)
  if (start % PAGE_SIZE !== 0 || start + size > 2 ** 64) return -EINVAL
  const end = start + size
  if (end === start) return 0

  if (mm.stackReserveTouches(start, end)) refreshStack(mm)
  let unmapped = false
  let at = start
  for (let vma = mm.vmas.intersecting(start, end); at < end; vma = mm.vmas.intersecting(at, end)) {
    if (vma === undefined || vma.start > at) {
      if (advice === MADV_POPULATE_READ || advice === MADV_POPULATE_WRITE) return -ENOMEM
      unmapped = true
    }
    if (vma === undefined) break
    const from = Math.max(vma.start, at)
    const to = Math.min(vma.end, end)
    const status = adviseVma(mm, vma, from, to, advice, change)
    if (status < 0) return status
    at = to
  }
  return unmapped ? -ENOMEM : 0
}

function adviseVma(
  mm: Mm,
  vma: Vma,
  start: number,
  end: number,
  advice: number,
  change: FlagChange | undefined,
): Status {
  const status = permitted(vma, advice)
  if (status < 0) return status
  if (change !== undefined) {
    if (!canSplit(mm, start, end)) return -ENOMEM
    const flags = (vma.flags & ~change.clear) | change.set
    if (flags === vma.flags) return 0
    // Core dumps are written by the kernel here, never by the host.
    if (advice !== MADV_DONTDUMP && advice !== MADV_DODUMP) {
      const result = mm.space.advise(start, end - start, advice)
      if (result < 0) return result
    }
    modifyVma(mm.vmas, vma, start, end, flags)
    return 0
  }
  if (advice === MADV_REMOVE || (vma.anonymous && DROPPING.has(advice))) {
    const result = discardPages(mm, start, end)
    if (result < 0) return result
  }
  return mm.space.advise(start, end - start, advice)
}

/** What the host can't check, or would check against flags that it does not have. */
function permitted(vma: Vma, advice: number): Status {
  if (
    discarding.has(advice) &&
    (vma.flags & VM_SEALED) !== 0 &&
    vma.anonymous &&
    (vma.flags & VM_WRITE) === 0
  )
    return -EPERM
  switch (advice) {
    case MADV_WIPEONFORK:
      return vma.anonymous && (vma.flags & VM_SHARED) === 0 ? 0 : -EINVAL
    case MADV_KEEPONFORK:
      return (vma.flags & VM_DROPPABLE) !== 0 ? -EINVAL : 0
    case MADV_DONTNEED:
    case MADV_FREE:
    case MADV_COLD:
    case MADV_PAGEOUT:
      return (vma.flags & VM_LOCKED) !== 0 ? -EINVAL : 0
    case MADV_REMOVE:
      if ((vma.flags & VM_LOCKED) !== 0 || vma.anonymous) return -EINVAL
      return (vma.flags & (VM_SHARED | VM_MAYWRITE)) === (VM_SHARED | VM_MAYWRITE) ? 0 : -EACCES
    default:
      return 0
  }
}
