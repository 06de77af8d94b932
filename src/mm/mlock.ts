/**
 * mlock(2) and family. The host is asked to lock, as far as its own limit on the stub process goes; beyond that the
 * pages are made present but may be swapped by the host, which the guest can't observe.
 */
import {
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MCL_CURRENT,
  MCL_FUTURE,
  MCL_ONFAULT,
  MLOCK_ONFAULT,
  RLIMIT_MEMLOCK,
} from '../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { canLock } from './limits.ts'
import type { Mm } from './mm.ts'
import { canSplit } from './munmap.ts'
import { refreshStack } from './stack.ts'
import { pageCeil, pageFloor, VM_LOCKED, VM_LOCKONFAULT, VM_SHARED, VM_WRITE, type Vma } from './vma.ts'
import { modifyVma } from './vma-edit.ts'

const LOCK_FLAGS = VM_LOCKED | VM_LOCKONFAULT

/** mlock and mlock2; `onFault` is MLOCK_ONFAULT. */
export function mlock(mm: Mm, address: number, length: number, onFault: boolean): Status {
  if (!canLock(mm)) return -EPERM
  const start = pageFloor(address)
  const size = pageCeil(length + (address - start))
  if (start + size > mm.context.addressLimit) return size > 2 ** 63 ? -EINVAL : -ENOMEM
  if (!mm.lockUnlimited) {
    const limit = pageFloor(mm.limits.soft(RLIMIT_MEMLOCK))
    let locked = mm.vmas.locked + size
    if (locked > limit) locked -= lockedIn(mm, start, start + size)
    if (locked > limit) return -ENOMEM
  }
  const flags = VM_LOCKED | (onFault ? VM_LOCKONFAULT : 0)
  const status = applyLock(mm, start, start + size, flags)
  if (status < 0 || onFault) return status
  const populated = lockRange(mm, start, start + size)
  if (populated === -EFAULT) return -ENOMEM
  return populated === -ENOMEM ? -EAGAIN : populated
}

export function munlock(mm: Mm, address: number, length: number): Status {
  const start = pageFloor(address)
  const size = pageCeil(length + (address - start))
  return applyLock(mm, start, start + size, 0)
}

/** mlockall; `flags` are MCL_*. */
export function mlockall(mm: Mm, flags: number): Status {
  if (flags === 0 || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) !== 0 || flags === MCL_ONFAULT)
    return -EINVAL
  if (!canLock(mm)) return -EPERM
  if ((flags & MCL_CURRENT) !== 0 && !mm.lockUnlimited) {
    if (mm.vmas.total > pageFloor(mm.limits.soft(RLIMIT_MEMLOCK))) return -ENOMEM
  }
  const lock = VM_LOCKED | ((flags & MCL_ONFAULT) !== 0 ? VM_LOCKONFAULT : 0)
  mm.defFlags = (mm.defFlags & ~LOCK_FLAGS) | ((flags & MCL_FUTURE) !== 0 ? lock : 0)
  if ((flags & MCL_CURRENT) === 0) return 0
  lockAll(mm, lock)
  // Like Linux, what can't be made present is no error here.
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next)
    lockPages(mm, vma.start, vma.end - vma.start, vma.flags)
  return 0
}

export function munlockall(mm: Mm): Status {
  mm.defFlags &= ~LOCK_FLAGS
  lockAll(mm, 0)
  return 0
}

/** Locks the pages of a range with one set of vma flags on the host, or at least makes them present: mm_populate. */
export function lockPages(mm: Mm, start: number, length: number, flags: number): Status {
  const onFault = (flags & VM_LOCKONFAULT) !== 0
  const status = mm.space.lock(start, length, onFault ? MLOCK_ONFAULT : 0)
  if (status !== -EPERM && status !== -ENOMEM && status !== -EAGAIN) return status
  if (onFault) return 0
  const populated = mm.space.advise(start, length, populateAdvice(flags))
  // madvise says EINVAL where there is no right to touch the pages.
  return populated === -EINVAL ? -EFAULT : populated
}

/** What makes the pages of a mapping with these vma flags present, with copies of its own where it may write. */
export function populateAdvice(flags: number): number {
  return (flags & (VM_WRITE | VM_SHARED)) === VM_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ
}

/** apply_vma_lock_flags: marks [start, end) as locked or not; what is done before a hole stays done. */
function applyLock(mm: Mm, start: number, end: number, lock: number): Status {
  if (end === start) return 0
  if (mm.stackReserveTouches(start, end)) refreshStack(mm)
  let vma = mm.vmas.at(start)
  if (vma === undefined) return -ENOMEM
  for (let at = start; at < end; ) {
    if (vma === undefined || vma.start > at) return -ENOMEM
    const to: number = Math.min(vma.end, end)
    const status = setLock(mm, vma, at, to, lock)
    if (status < 0) return status
    at = to
    vma = mm.vmas.find(at)
  }
  return 0
}

function setLock(mm: Mm, vma: Vma, start: number, end: number, lock: number): Status {
  if (vma.file?.secret) return 0
  const flags = (vma.flags & ~LOCK_FLAGS) | lock
  if (flags === vma.flags) return 0
  if (!canSplit(mm, start, end)) return -ENOMEM
  if (lock === 0) mm.space.unlock(start, end - start)
  modifyVma(mm.vmas, vma, start, end, flags)
  return 0
}

function lockAll(mm: Mm, lock: number): void {
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    if ((vma.flags & LOCK_FLAGS) === lock || vma.file?.secret) continue
    if (lock === 0) mm.space.unlock(vma.start, vma.end - vma.start)
    vma = modifyVma(mm.vmas, vma, vma.start, vma.end, (vma.flags & ~LOCK_FLAGS) | lock)
  }
}

function lockRange(mm: Mm, start: number, end: number): Status {
  for (let vma = mm.vmas.intersecting(start, end); vma !== undefined && vma.start < end; vma = vma.next) {
    // Not even by the kernel.
    if (vma.file?.secret) return -EFAULT
    const from = Math.max(vma.start, start)
    const status = lockPages(mm, from, Math.min(vma.end, end) - from, vma.flags)
    if (status < 0) return status
  }
  return 0
}

/** count_mm_mlocked_page_nr, in bytes. */
function lockedIn(mm: Mm, start: number, end: number): number {
  let bytes = 0
  for (let vma = mm.vmas.intersecting(start, end); vma !== undefined && vma.start < end; vma = vma.next) {
    if ((vma.flags & VM_LOCKED) !== 0) bytes += Math.min(vma.end, end) - Math.max(vma.start, start)
  }
  return bytes
}
