/** mremap(2): grows, shrinks and moves mappings. Pages move by the host's mremap, so nothing is copied. */
import {
  MAP_FIXED,
  MAP_SHARED,
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
} from '../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, ENOMEM, EPERM } from '../abi/errno.ts'
import { fileGet } from '../vfs/file-ref.ts'
import { extendArea, moveAreas, restoreRights } from './fault-area.ts'
import { getUnmappedArea } from './layout.ts'
import { lockFits, mayExpand } from './limits.ts'
import { lockPages } from './mlock.ts'
import { MAX_MAP_COUNT, type Mm } from './mm.ts'
import { unmapRange } from './munmap.ts'
import { cutStackReserve, refreshStack, releaseStackReserve } from './stack.ts'
import {
  PAGE_SIZE,
  pageCeil,
  VM_DONTEXPAND,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_MAYSHARE,
  VM_SEALED,
  VM_SHARED,
  Vma,
} from './vma.ts'
import { addVma, carve, mergeVma, modifyVma } from './vma-edit.ts'
import { startGap } from './vma-tree.ts'

/** The new address. `newAddress` counts with MREMAP_FIXED only (and is a hint with MREMAP_DONTUNMAP). */
export function mremap(
  mm: Mm,
  address: number,
  oldLength: number,
  newLength: number,
  flags: number,
  newAddress: number,
): number {
  const limit = mm.context.addressLimit
  if ((flags & ~(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP)) !== 0) return -EINVAL
  if ((flags & MREMAP_FIXED) !== 0 && (flags & MREMAP_MAYMOVE) === 0) return -EINVAL
  if ((flags & MREMAP_DONTUNMAP) !== 0 && ((flags & MREMAP_MAYMOVE) === 0 || oldLength !== newLength))
    return -EINVAL
  if (address % PAGE_SIZE !== 0) return -EINVAL
  const oldSize = pageCeil(oldLength)
  const newSize = pageCeil(newLength)
  if (newSize === 0 || newSize > limit) return -EINVAL
  const placed = (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) !== 0
  if (placed) {
    if (newAddress % PAGE_SIZE !== 0 || newAddress > limit - newSize) return -EINVAL
    if (address + oldSize > newAddress && newAddress + newSize > address) return -EINVAL
  }
  if (mm.vmas.count + 2 >= MAX_MAP_COUNT - 3) return -ENOMEM
  if (mm.stackReserveTouches(address, address + Math.max(oldSize, 1))) refreshStack(mm)
  // A move that keeps the size may take several mappings at once.
  if (placed && oldSize === newSize) return moveAll(mm, address, oldSize, flags, newAddress)

  const vma = mm.vmas.at(address)
  if (vma === undefined) return -EFAULT
  if ((vma.flags & VM_SEALED) !== 0) return -EPERM
  if (!placed && oldSize >= newSize) {
    if (oldSize === newSize) return address
    const status = unmapRange(mm, address + newSize, address + oldSize)
    return status < 0 ? status : address
  }
  const status = checkResize(mm, vma, address, oldSize, newSize, flags)
  if (status < 0) return status
  if (placed) return moveTo(mm, address, oldSize, newSize, flags, newAddress)
  if (oldSize === vma.end - address && canGrow(mm, vma, newSize - oldSize)) {
    return growInPlace(mm, vma, address, oldSize, newSize)
  }
  if ((flags & MREMAP_MAYMOVE) === 0) return -ENOMEM
  const mapFlags = (vma.flags & VM_MAYSHARE) !== 0 ? MAP_SHARED : 0
  const target = getUnmappedArea(mm, 0, newSize, mapFlags)
  return target < 0 ? target : moveVma(mm, vma, address, oldSize, newSize, target, flags)
}

/** remap_move: each mapping in the range by itself; the gaps between them stay as wide. What was moved stays moved. */
function moveAll(mm: Mm, start: number, size: number, flags: number, newAddress: number): number {
  const end = start + size
  let result = -EFAULT
  let target = newAddress
  let vma = mm.vmas.find(start)
  if (vma === undefined || vma.start > start) return -EFAULT
  for (let at = start; ; ) {
    const from = Math.max(vma.start, at)
    const length = Math.min(vma.end, end) - from
    if ((vma.flags & VM_SEALED) !== 0) return -EPERM
    const status = checkResize(mm, vma, from, length, length, flags)
    const moved = status < 0 ? status : moveTo(mm, from, length, length, flags, target + (from - at))
    if (moved < 0) return moved
    if (from === start) result = moved
    target = moved + length
    at = from + length
    vma = at < end ? mm.vmas.find(at) : undefined
    if (vma === undefined || vma.start >= end) return result
  }
}

/** MREMAP_FIXED and MREMAP_DONTUNMAP: mremap_to. The source was checked. */
function moveTo(
  mm: Mm,
  address: number,
  oldSize: number,
  newSize: number,
  flags: number,
  newAddress: number,
): number {
  if ((flags & MREMAP_FIXED) !== 0) {
    const status = unmapRange(mm, newAddress, newAddress + newSize)
    if (status < 0) return status
  }
  if (oldSize > newSize) {
    const status = unmapRange(mm, address + newSize, address + oldSize)
    if (status < 0) return status
    oldSize = newSize
  }
  // The target may have been cut off the source's mapping.
  const vma = mm.vmas.at(address)
  if (vma === undefined) return -EFAULT
  if ((flags & MREMAP_DONTUNMAP) !== 0 && !mayExpand(mm, vma.flags, oldSize)) return -ENOMEM
  const mapFlags =
    ((flags & MREMAP_FIXED) !== 0 ? MAP_FIXED : 0) | ((vma.flags & VM_MAYSHARE) !== 0 ? MAP_SHARED : 0)
  const target = getUnmappedArea(mm, newAddress, newSize, mapFlags)
  if (target < 0) return target
  if (mm.reservedIn(target, target + newSize) !== undefined) return -ENOMEM
  cutStackReserve(mm, target, target + newSize)
  return moveVma(mm, vma, address, oldSize, newSize, target, flags)
}

/** check_prep_vma: whether a mapping can be moved or grown. */
function checkResize(
  mm: Mm,
  vma: Vma,
  address: number,
  oldSize: number,
  newSize: number,
  flags: number,
): number {
  // The old size 0 asks for a second mapping of the same pages, which only shared ones can have.
  if (oldSize === 0 && (vma.flags & (VM_SHARED | VM_MAYSHARE)) === 0) return -EINVAL
  if ((flags & MREMAP_DONTUNMAP) !== 0 && (vma.flags & VM_DONTEXPAND) !== 0) return -EINVAL
  // Of a mapping that shrinks as it moves only what is kept must be one.
  if (Math.min(oldSize, newSize) > vma.end - address) return -EFAULT
  if (newSize === oldSize) return 0
  if ((vma.flags & VM_DONTEXPAND) !== 0) return -EFAULT
  if (newSize < oldSize) return 0
  if (!lockFits(mm, vma.flags, newSize - oldSize)) return -EAGAIN
  return mayExpand(mm, vma.flags, newSize - oldSize) ? 0 : -ENOMEM
}

/** vma_expandable: whether the mapping can have `delta` more bytes at its end. */
function canGrow(mm: Mm, vma: Vma, delta: number): boolean {
  const end = vma.end + delta
  if (end > mm.context.addressLimit) return false
  if (vma.next !== undefined && startGap(vma.next) < end) return false
  return mm.reservedIn(vma.end, end) === undefined && !mm.stackReserveTouches(vma.end, end)
}

function growInPlace(mm: Mm, vma: Vma, address: number, oldSize: number, newSize: number): number {
  const status = mm.space.remap(address, oldSize, newSize, 0, 0)
  if (status < 0) return status
  const grown = vma.end
  mm.vmas.resize(vma, vma.start, address + newSize)
  const area = mm.faultAreas?.at(grown - 1)
  if (area !== undefined) extendArea(mm, area, address + newSize)
  const whole = mergeVma(mm.vmas, vma)
  if ((whole.flags & VM_LOCKED) !== 0) lockPages(mm, grown, newSize - oldSize, whole.flags)
  return address
}

/** move_vma: `target` is free, on the host too. */
function moveVma(
  mm: Mm,
  vma: Vma,
  address: number,
  oldSize: number,
  newSize: number,
  target: number,
  flags: number,
): number {
  const keep = (flags & MREMAP_DONTUNMAP) !== 0
  const { flags: vmFlags, file, shared, name } = vma
  const offset = vma.offset + (address - vma.start)
  if (oldSize > 0) releaseStackReserve(mm, address, address + oldSize)
  const hostFlags = MREMAP_MAYMOVE | MREMAP_FIXED | (keep ? MREMAP_DONTUNMAP : 0)
  const served = oldSize > 0 && (mm.faultAreas?.within(address, address + oldSize).length ?? 0) > 0
  // The host moves what has the same rights all over; nothing may come into absent pages on the way.
  if (served) mm.space.protect(address, oldSize, PROT_NONE)
  const status = mm.space.remap(address, oldSize, newSize, hostFlags, target)
  if (status < 0) {
    if (served) restoreRights(mm, address, address + oldSize)
    return status
  }

  // First: the old place may be all that holds the file.
  if (file !== undefined) fileGet(file)
  if (oldSize > 0 && !keep) carve(mm.vmas, address, address + oldSize)
  else if (keep && (vmFlags & VM_LOCKED) !== 0) {
    // The pages that were locked have gone.
    modifyVma(mm.vmas, vma, address, address + oldSize, vmFlags & ~(VM_LOCKED | VM_LOCKONFAULT))
  }
  const moved = new Vma(target, target + newSize, vmFlags, file, offset, shared)
  moved.name = name
  addVma(mm.vmas, moved)
  if (served) moveAreas(mm, address, target, oldSize, newSize, keep)
  if ((vmFlags & VM_LOCKED) !== 0) lockPages(mm, target + oldSize, newSize - oldSize, vmFlags)
  return target
}
