/** mprotect(2) and mseal(2). */
import {
  PROT_EXEC,
  PROT_GROWSDOWN,
  PROT_GROWSUP,
  PROT_READ,
  PROT_SEM,
  PROT_WRITE,
  READ_IMPLIES_EXEC,
} from '../abi/constants.ts'
import { EACCES, EINVAL, ENOMEM, EPERM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { deniesExec } from './deny-write-exec.ts'
import { protectOnHost } from './fault-area.ts'
import { mayExpand } from './limits.ts'
import type { Mm } from './mm.ts'
import { canSplit } from './munmap.ts'
import { refreshStack, stackRoomBelow } from './stack.ts'
import {
  PAGE_SIZE,
  pageCeil,
  protFlags,
  VM_ACCESS,
  VM_ACCOUNT,
  VM_GROWSDOWN,
  VM_MAYEXEC,
  VM_NORESERVE,
  VM_SEALED,
  VM_SHARED,
  VM_WRITE,
  type Vma,
} from './vma.ts'
import { mappedUntil, modifyVma } from './vma-edit.ts'

/** Changes the rights of [start, start + length). What comes before the first obstacle is changed, as in Linux. */
export function mprotect(mm: Mm, start: number, length: number, prot: number): Status {
  const grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
  if (grows === (PROT_GROWSDOWN | PROT_GROWSUP) || start % PAGE_SIZE !== 0) return -EINVAL
  if (length === 0) return 0
  const end = start + pageCeil(length)
  prot &= ~grows
  if (end > mm.context.addressLimit) return -ENOMEM
  if ((prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM)) !== 0) return -EINVAL

  if (mm.stackReserveTouches(start, end)) refreshStack(mm)
  let vma = mm.vmas.find(start)
  if (vma === undefined) return -ENOMEM
  if (grows === PROT_GROWSDOWN) {
    if (vma.start >= end) return -ENOMEM
    if ((vma.flags & VM_GROWSDOWN) === 0) return -EINVAL
    start = vma.start
  } else {
    if (vma.start > start) return -ENOMEM
    // Nothing grows upwards on this machine.
    if (grows !== 0) return -EINVAL
  }
  const impliesExec = (mm.personality & READ_IMPLIES_EXEC) !== 0 && (prot & PROT_READ) !== 0

  for (let at = start; at < end; ) {
    if (vma === undefined || vma.start > at) return -ENOMEM
    const exec: number = impliesExec && (vma.flags & VM_MAYEXEC) !== 0 ? PROT_EXEC : 0
    const flags: number = (vma.flags & ~VM_ACCESS) | protFlags(prot | exec)
    // The MAY bits stand four above the rights.
    if ((flags & ~(flags >> 4) & VM_ACCESS) !== 0) return -EACCES
    if (deniesExec(mm, vma.flags, flags)) return -EACCES
    const to = Math.min(vma.end, end)
    const status = protectPart(mm, vma, at, to, flags)
    if (status < 0) return status
    at = to
    vma = mm.vmas.find(at)
  }
  return 0
}

/** mprotect_fixup: one vma's part. */
function protectPart(mm: Mm, vma: Vma, start: number, end: number, flags: number): Status {
  if ((vma.flags & VM_SEALED) !== 0) return -EPERM
  if (flags === vma.flags) return 0
  if ((flags & VM_WRITE) !== 0) {
    if (!mayExpand(mm, flags, end - start) && mayExpand(mm, vma.flags, end - start)) return -ENOMEM
    if ((vma.flags & (VM_WRITE | VM_SHARED | VM_NORESERVE)) === 0) flags |= VM_ACCOUNT
  }
  if (!canSplit(mm, start, end)) return -ENOMEM
  const from = start === vma.start ? stackRoomBelow(mm, start) : start
  const status = protectOnHost(mm, from, end, flags & VM_ACCESS)
  if (status < 0) return status
  modifyVma(mm.vmas, vma, start, end, flags)
  return 0
}

/** mseal(2): the mappings can't be unmapped, moved, replaced or protected any more. */
export function mseal(mm: Mm, start: number, length: number): Status {
  if (start % PAGE_SIZE !== 0) return -EINVAL
  const end = start + pageCeil(length)
  if (end === start) return 0
  if (mappedUntil(mm.vmas, start, end) < end) return -ENOMEM
  if (!canSplit(mm, start, end)) return -ENOMEM
  for (let vma = mm.vmas.at(start); vma !== undefined && vma.start < end; vma = vma.next) {
    vma = modifyVma(mm.vmas, vma, Math.max(vma.start, start), Math.min(vma.end, end), vma.flags | VM_SEALED)
  }
  return 0
}
