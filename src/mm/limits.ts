/** What an address space may grow to: RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK. */
import { RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK } from '../abi/constants.ts'
import type { Mm } from './mm.ts'
import { pageFloor, VM_GROWSDOWN, VM_LOCKED, VM_SHARED, VM_WRITE } from './vma.ts'

/** may_expand_vm: whether `length` more bytes with these VM_* flags fit into RLIMIT_AS and RLIMIT_DATA. */
export function mayExpand(mm: Mm, flags: number, length: number): boolean {
  if (mm.vmas.total + length > pageFloor(mm.limits.soft(RLIMIT_AS))) return false
  if ((flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN)) !== VM_WRITE) return true
  return mm.vmas.data + length <= pageFloor(mm.limits.soft(RLIMIT_DATA))
}

/** can_do_mlock: whether the caller may lock anything at all. */
export function canLock(mm: Mm): boolean {
  return mm.lockUnlimited || mm.limits.soft(RLIMIT_MEMLOCK) !== 0
}

/** mlock_future_ok: whether `length` more bytes with these flags fit into RLIMIT_MEMLOCK. */
export function lockFits(mm: Mm, flags: number, length: number): boolean {
  if ((flags & VM_LOCKED) === 0 || mm.lockUnlimited) return true
  return mm.vmas.locked + length <= pageFloor(mm.limits.soft(RLIMIT_MEMLOCK))
}
