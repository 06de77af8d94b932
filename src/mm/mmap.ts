/** mmap(2): new mappings. The checks are in the order of do_mmap, which decides the errno. */
import {
  MAP_32BIT,
  MAP_ANONYMOUS,
  MAP_DENYWRITE,
  MAP_DROPPABLE,
  MAP_EXECUTABLE,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_HUGE_1GB,
  MAP_HUGE_2MB,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_SHARED_VALIDATE,
  MAP_STACK,
  MAP_TYPE,
  MAP_UNINITIALIZED,
  MS_NOEXEC,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  READ_IMPLIES_EXEC,
} from '../abi/constants.ts'
import { EACCES, EAGAIN, EEXIST, EINVAL, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM } from '../abi/errno.ts'
import type { File, MapSource } from '../vfs/file.ts'
import { fileGet } from '../vfs/file-ref.ts'
import { deniesExec } from './deny-write-exec.ts'
import { unmapAreas } from './fault-area.ts'
import { getUnmappedArea, MMAP_MIN_ADDR, PMD_SIZE } from './layout.ts'
import { canLock, lockFits, mayExpand } from './limits.ts'
import { lockPages } from './mlock.ts'
import { MAX_MAP_COUNT, type Mm } from './mm.ts'
import { cutStackReserve, releaseStackReserve } from './stack.ts'
import {
  PAGE_SIZE,
  pageCeil,
  pageFloor,
  protFlags,
  type SharedMemory,
  VM_ACCESS,
  VM_ACCOUNT,
  VM_DONTDUMP,
  VM_DROPPABLE,
  VM_GROWSDOWN,
  VM_LOCKED,
  VM_MAYALL,
  VM_MAYEXEC,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_NOHUGEPAGE,
  VM_NORESERVE,
  VM_SEALED,
  VM_SHARED,
  VM_WIPEONFORK,
  VM_WRITE,
  Vma,
} from './vma.ts'
import { addVma, carve } from './vma-edit.ts'

const MAP_ABOVE4G = 0x80

/** What MAP_SHARED_VALIDATE lets pass. */
const LEGACY_MAP_MASK =
  MAP_SHARED |
  MAP_PRIVATE |
  MAP_FIXED |
  MAP_ANONYMOUS |
  MAP_DENYWRITE |
  MAP_EXECUTABLE |
  MAP_UNINITIALIZED |
  MAP_GROWSDOWN |
  MAP_LOCKED |
  MAP_NORESERVE |
  MAP_POPULATE |
  MAP_NONBLOCK |
  MAP_STACK |
  MAP_HUGETLB |
  MAP_32BIT |
  MAP_ABOVE4G |
  MAP_HUGE_2MB |
  MAP_HUGE_1GB

/** What of the flags is for the host as well. */
const HOST_FLAGS = MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK

/** Offsets from here on overflow the host's loff_t when a length is added. */
const MAX_OFFSET = 2 ** 63

/** The parts of a mapping that its flags and file decide. */
interface Region {
  flags: number
  hostFlags: number
  file: File | undefined
  source: MapSource | undefined
  offset: number
  shared: SharedMemory | undefined
}

/**
 * Maps `length` bytes of `file` from `offset` on (undefined: anonymous memory) and returns the address. `prot` and
 * `flags` are mmap's; limits are those of mm.limits. The file's reference stays the caller's. Without `locks` the caller makes
 * the pages present and locks them, should the mapping be VM_LOCKED.
 */
export function mmap(
  mm: Mm,
  hint: number,
  length: number,
  prot: number,
  flags: number,
  file: File | undefined,
  offset: number,
  locks = true,
): number {
  if (length === 0) return -EINVAL
  if ((mm.personality & READ_IMPLIES_EXEC) !== 0 && (prot & PROT_READ) !== 0) {
    if (file === undefined || !isNoexec(file)) prot |= PROT_EXEC
  }
  const fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0
  if (!fixed && hint !== 0) hint = Math.max(pageFloor(hint), MMAP_MIN_ADDR)
  const size = pageCeil(length)
  if (size > mm.context.addressLimit) return -ENOMEM
  if (offset + size > MAX_OFFSET) return -EOVERFLOW
  if (mm.vmas.count > MAX_MAP_COUNT) return -ENOMEM

  const areaFlags = fixed ? flags | MAP_FIXED : flags
  const align = file === undefined && hint === 0 && size % PMD_SIZE === 0 ? PMD_SIZE : PAGE_SIZE
  const address = getUnmappedArea(mm, hint, size, areaFlags, align)
  if (address < 0) return address
  if ((flags & MAP_FIXED_NOREPLACE) !== 0 && mm.vmas.intersecting(address, address + size) !== undefined) {
    return -EEXIST
  }

  const region = classify(mm, address, size, prot, flags, file, offset)
  if (typeof region === 'number') return region
  const result = mapRegion(mm, address, size, region)
  if (result < 0) return result
  // Secret memory counts as locked, but is not made present.
  if (locks && (region.flags & VM_LOCKED) !== 0 && !region.file?.secret)
    lockPages(mm, address, size, region.flags)
  return result
}

/** A new private anonymous mapping at a place of the kernel's choice, replacing nothing: vm_brk and the loader's bss. */
export function mapAnonymous(mm: Mm, start: number, length: number, flags: number): number {
  const account = (flags & VM_WRITE) !== 0 ? VM_ACCOUNT : 0
  return mapRegion(mm, start, length, {
    flags: flags | account,
    hostFlags: MAP_PRIVATE,
    file: undefined,
    source: undefined,
    offset: start,
    shared: undefined,
  })
}

/** The vma flags and the source of bytes: the middle part of do_mmap. */
function classify(
  mm: Mm,
  address: number,
  size: number,
  prot: number,
  flags: number,
  file: File | undefined,
  offset: number,
): Region | number {
  let vmFlags = protFlags(prot) | mm.defFlags | VM_MAYALL
  if ((flags & MAP_GROWSDOWN) !== 0) vmFlags |= VM_GROWSDOWN
  if ((flags & MAP_STACK) !== 0) vmFlags |= VM_NOHUGEPAGE
  if ((flags & MAP_LOCKED) !== 0) {
    vmFlags |= VM_LOCKED
    if (!canLock(mm)) return -EPERM
  }
  if (!lockFits(mm, vmFlags, size)) return -EAGAIN
  const type = flags & MAP_TYPE
  const region: Region = {
    flags: vmFlags,
    hostFlags: flags & HOST_FLAGS,
    file,
    source: undefined,
    offset,
    shared: undefined,
  }
  const status =
    file === undefined
      ? anonymous(mm, region, address, size, type)
      : fromFile(mm, region, file, size, prot, flags)
  if (status < 0) return status
  if ((flags & MAP_NORESERVE) !== 0) region.flags |= VM_NORESERVE
  if ((region.flags & (VM_NORESERVE | VM_SHARED | VM_WRITE)) === VM_WRITE) region.flags |= VM_ACCOUNT
  return region
}

function anonymous(mm: Mm, region: Region, address: number, size: number, type: number): number {
  if (type === MAP_SHARED) {
    if ((region.flags & VM_GROWSDOWN) !== 0) return -EINVAL
    region.flags |= VM_SHARED | VM_MAYSHARE
    region.hostFlags |= MAP_SHARED
    region.offset = 0
    region.shared = { ino: mm.context.nextSharedInode(), size }
    return 0
  }
  if (type === MAP_DROPPABLE) {
    if ((region.flags & (VM_LOCKED | VM_GROWSDOWN)) !== 0) return -EINVAL
    region.flags |= VM_DROPPABLE | VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP
  } else if (type !== MAP_PRIVATE) return -EINVAL
  region.hostFlags |= type
  region.offset = address
  return 0
}

function fromFile(mm: Mm, region: Region, file: File, size: number, prot: number, flags: number): number {
  const type = flags & MAP_TYPE
  if (type === MAP_SHARED || type === MAP_SHARED_VALIDATE) {
    if (type === MAP_SHARED_VALIDATE && (flags & ~LEGACY_MAP_MASK) !== 0) return -EOPNOTSUPP
    if ((prot & PROT_WRITE) !== 0 && !file.writable) return -EACCES
    region.flags |= VM_SHARED | VM_MAYSHARE
    if (!file.writable) region.flags &= ~(VM_MAYWRITE | VM_SHARED)
  } else if (type !== MAP_PRIVATE) return -EINVAL
  if (!file.readable) return -EACCES
  if (isNoexec(file)) {
    if ((prot & PROT_EXEC) !== 0) return -EPERM
    region.flags &= ~VM_MAYEXEC
  }
  const source = file.mapping(region.offset, size, prot, flags)
  if (typeof source === 'number') return source
  if ((region.flags & VM_GROWSDOWN) !== 0) return -EINVAL
  if (file.secret) {
    if (type === MAP_PRIVATE) return -EINVAL
    region.flags |= VM_LOCKED | VM_DONTDUMP
    if (!lockFits(mm, region.flags, size)) return -EAGAIN
  }
  region.hostFlags |= type === MAP_PRIVATE ? MAP_PRIVATE : MAP_SHARED
  if (source.hostFd === undefined && type !== MAP_PRIVATE) {
    // /dev/zero, shared: Linux puts a new unlinked file in its place.
    region.file = undefined
    region.offset = 0
    region.shared = { ino: mm.context.nextSharedInode(), size }
  } else region.source = source
  return 0
}

/** Maps on the host and keeps the books: mmap_region. What was in the range goes. */
function mapRegion(mm: Mm, start: number, length: number, region: Region): number {
  if (deniesExec(mm, region.flags, region.flags)) return -EACCES
  const end = start + length
  const replaced = replacedBytes(mm, start, end)
  if (replaced < 0) return replaced
  if (!mayExpand(mm, region.flags, length - replaced)) return -ENOMEM
  if (mm.reservedIn(start, end) !== undefined) return -ENOMEM
  cutStackReserve(mm, start, end)
  if (replaced > 0) releaseStackReserve(mm, start, end)

  const hostFd = region.source?.hostFd ?? -1
  const hostFlags = region.hostFlags | MAP_FIXED | (hostFd < 0 ? MAP_ANONYMOUS : 0)
  const hostOffset = hostFd < 0 ? 0 : region.offset + region.source!.offset
  const status = mm.space.map(start, length, region.flags & VM_ACCESS, hostFlags, hostFd, hostOffset)
  if (status < 0) {
    // Older hosts have unmapped what was there before they refuse.
    if (replaced > 0 && mm.space.incore(start, PAGE_SIZE, new Uint8Array(1)) === -ENOMEM) {
      mm.space.unmap(start, length)
      carve(mm.vmas, start, end)
      unmapAreas(mm, start, end)
    }
    return status
  }
  // First: what is replaced may be all that holds the file.
  if (region.file !== undefined) fileGet(region.file)
  if (replaced > 0) {
    carve(mm.vmas, start, end)
    unmapAreas(mm, start, end)
  }
  addVma(mm.vmas, new Vma(start, end, region.flags, region.file, region.offset, region.shared))
  return start
}

/** How many bytes of [start, end) are mapped; -EPERM if some of them are sealed. */
function replacedBytes(mm: Mm, start: number, end: number): number {
  let bytes = 0
  for (let vma = mm.vmas.intersecting(start, end); vma !== undefined && vma.start < end; vma = vma.next) {
    if ((vma.flags & VM_SEALED) !== 0) return -EPERM
    bytes += Math.min(vma.end, end) - Math.max(vma.start, start)
  }
  return bytes
}

function isNoexec(file: File): boolean {
  return (file.path.mount.flags & MS_NOEXEC) !== 0 || file.secret
}
