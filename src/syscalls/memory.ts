/** Memory mappings: mmap(2), mprotect(2), brk(2), mlock(2) and their kin. The work is in mm/. */
import {
  CAP_IPC_LOCK,
  CAP_SYS_ADMIN,
  MAP_32BIT,
  MAP_ANONYMOUS,
  MAP_DENYWRITE,
  MAP_EXECUTABLE,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_HUGE_MASK,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_STACK,
  MAP_SYNC,
  MCL_CURRENT,
  MCL_FUTURE,
  MCL_ONFAULT,
  MLOCK_ONFAULT,
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  MS_ASYNC,
  MS_INVALIDATE,
  MS_SYNC,
  O_PATH,
  PKEY_ACCESS_MASK,
  PROT_EXEC,
  PROT_GROWSDOWN,
  PROT_GROWSUP,
  PROT_READ,
  PROT_SEM,
  PROT_WRITE,
  RLIMIT_MEMLOCK,
} from '../abi/constants.ts'
import { EBADF, EINVAL, ENOMEM, ENOSPC } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { BLOCK } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import { brk as moveBrk } from '../mm/brk.ts'
import { madvise as advise } from '../mm/madvise.ts'
import {
  mlock as lock,
  mlockall as lockAll,
  lockPages,
  populateAdvice,
  munlock as unlock,
  munlockall as unlockAll,
} from '../mm/mlock.ts'
import type { GuestAddr, Mm } from '../mm/mm.ts'
import { mmap as map } from '../mm/mmap.ts'
import { mprotect as protect, mseal as seal } from '../mm/mprotect.ts'
import { mremap as remap } from '../mm/mremap.ts'
import { munmap as unmap } from '../mm/munmap.ts'
import { dropMirrors, remapShared } from '../mm/remap-pages.ts'
import { mincore as incore, msync as sync } from '../mm/residency.ts'
import { PAGE_SIZE, pageCeil, pageFloor, VM_LOCKED, VM_LOCKONFAULT, VM_SHARED } from '../mm/vma.ts'
import type { File } from '../vfs/file.ts'
import { addr, fd, flags, hex, int, type SyscallRows, size } from './args.ts'
import { memoryPolicyCalls } from './memory-policy.ts'
import { isLongAdvice, makePresent, PIECE, Population, populate } from './populate.ts'
import { processVmCalls } from './process-vm.ts'

/** MAP_HUGE_2MB's and MAP_HUGE_1GB's size fields: the sizes that the machine knows. */
const HUGE_2MB = 21
const HUGE_1GB = 30

/** The caller's mm, told whose limits count. */
export function enter(task: Task): Mm {
  const { mm } = task
  mm.limits = task.group.rlimits
  mm.lockUnlimited = task.cred.capable(CAP_IPC_LOCK, task.kernel.userNs)
  mm.personality = task.personality
  return mm
}

export function mmap(
  task: Task,
  hint: GuestAddr,
  length: number,
  prot: number,
  mapFlags: number,
  fdNumber: number,
  offset: number,
): number {
  if (task.progress instanceof Population) return populateMapping(task, task.progress)
  if (offset % PAGE_SIZE !== 0) return -EINVAL
  const huge = (mapFlags & MAP_HUGETLB) !== 0
  if ((mapFlags & MAP_ANONYMOUS) !== 0) {
    if (huge) return noHugePages(mapFlags)
    return mapAndPopulate(task, hint, length, prot, mapFlags, undefined, offset)
  }
  const file = task.fds.get(fdNumber)
  if (file === undefined || (file.flags & O_PATH) !== 0) return -EBADF
  return huge ? -EINVAL : mapAndPopulate(task, hint, length, prot, mapFlags, file, offset)
}

function mapAndPopulate(
  task: Task,
  hint: GuestAddr,
  length: number,
  prot: number,
  mapFlags: number,
  file: File | undefined,
  offset: number,
): number {
  const mm = enter(task)
  if (length <= PIECE) return map(mm, hint, length, prot, mapFlags, file, offset)
  const at = map(mm, hint, length, prot, mapFlags & ~MAP_POPULATE, file, offset, false)
  if (at < 0) return at
  const { flags } = mm.find(at)!
  const locked = file?.secret ? 0 : flags & (VM_LOCKED | VM_LOCKONFAULT)
  if ((locked & VM_LOCKONFAULT) !== 0) lockPages(mm, at, pageCeil(length), flags)
  const locks = locked === VM_LOCKED
  if (!locks && (mapFlags & (MAP_POPULATE | MAP_NONBLOCK)) !== MAP_POPULATE) return at
  const population = new Population(at, at + pageCeil(length), populateAdvice(flags), at)
  population.locks = locks
  return populateMapping(task, population)
}

function populateMapping(task: Task, population: Population): number {
  const { mm } = task
  const at = populate(task, population, (start, length, advice) => mm.space.advise(start, length, advice))
  if (at === BLOCK || !population.locks) return at
  // Others may have unmapped it meanwhile.
  const flags = mm.find(at)?.flags ?? 0
  if ((flags & VM_LOCKED) !== 0) lockPages(mm, at, population.end - at, flags)
  return at
}

/** As on a machine whose pool of huge pages is empty. */
function noHugePages(mapFlags: number): number {
  const shift = (mapFlags >>> MAP_HUGE_SHIFT) & MAP_HUGE_MASK
  return shift === 0 || shift === HUGE_2MB || shift === HUGE_1GB ? -ENOMEM : -EINVAL
}

export function munmap(task: Task, start: GuestAddr, length: number): number {
  const mm = enter(task)
  const status = unmap(mm, start, length)
  if (mm.mirrors !== undefined) dropMirrors(mm, mm.mirrors)
  return status
}

export function mprotect(task: Task, start: GuestAddr, length: number, prot: number): number {
  return protect(enter(task), start, length, prot)
}

export function mremap(
  task: Task,
  address: GuestAddr,
  oldLength: number,
  newLength: number,
  how: number,
  newAddress: GuestAddr,
): number {
  return remap(enter(task), address, oldLength, newLength, how, newAddress)
}

export function brk(task: Task, address: GuestAddr): number {
  return moveBrk(enter(task), address)
}

export function madvise(task: Task, start: GuestAddr, length: number, advice: number): number {
  const mm = enter(task)
  const admin = task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs)
  const end = start + length
  if (!isLongAdvice(advice, length) || start % PAGE_SIZE !== 0 || end > Number.MAX_SAFE_INTEGER)
    return advise(mm, start, length, advice, admin)
  const population =
    task.progress instanceof Population ? task.progress : new Population(start, pageCeil(end), advice)
  return populate(task, population, (at, size) => advise(mm, at, size, advice, admin))
}

export function msync(task: Task, start: GuestAddr, length: number, how: number): number {
  return sync(enter(task), start, length, how)
}

export function mincore(task: Task, start: GuestAddr, length: number, vector: GuestAddr): number {
  return incore(enter(task), start, length, vector)
}

export function mlock(task: Task, start: GuestAddr, length: number): number {
  return populateAndLock(task, start, length)
}

/** Made present first, so that little is left to do for the lock. */
function populateAndLock(task: Task, start: GuestAddr, length: number): number {
  const mm = enter(task)
  const end = pageCeil(start + length)
  if (length > PIECE && end <= mm.context.addressLimit && mayLock(mm, length)) {
    if (makePresent(task, mm, pageFloor(start), end) === BLOCK) return BLOCK
  }
  return lock(mm, start, length, false)
}

/** Whether it is worth while: what decides is in mm/mlock.ts. */
function mayLock(mm: Mm, length: number): boolean {
  return mm.lockUnlimited || length <= mm.limits.soft(RLIMIT_MEMLOCK)
}

export function mlock2(task: Task, start: GuestAddr, length: number, how: number): number {
  if ((how & ~MLOCK_ONFAULT) !== 0) return -EINVAL
  return how === 0 ? populateAndLock(task, start, length) : lock(enter(task), start, length, true)
}

export function munlock(task: Task, start: GuestAddr, length: number): number {
  return unlock(enter(task), start, length)
}

export function mlockall(task: Task, how: number): number {
  const mm = enter(task)
  if ((how & ~MCL_FUTURE) === MCL_CURRENT && mayLock(mm, mm.vmas.total)) {
    if (makePresent(task, mm, 0, mm.context.addressLimit) === BLOCK) return BLOCK
  }
  return lockAll(mm, how)
}

export function munlockall(task: Task): number {
  return unlockAll(enter(task))
}

export function mseal(task: Task, start: GuestAddr, length: number, how: number): number {
  return how !== 0 ? -EINVAL : seal(enter(task), start, length)
}

/** remap_file_pages(2), as Linux emulates it: a new mapping of another part of the file in place of the old one. */
export function remap_file_pages(
  task: Task,
  address: GuestAddr,
  length: number,
  prot: number,
  page: number,
  how: number,
): number {
  if (prot !== 0) return -EINVAL
  const mm = enter(task)
  const start = pageFloor(address)
  const bytes = pageFloor(length)
  const vma = mm.find(start)
  if (bytes === 0 || vma === undefined || (vma.flags & VM_SHARED) === 0) return -EINVAL
  // One call may span several mappings only of the same file, in order.
  let last = vma
  while (last.end < start + bytes) {
    const { next } = last
    if (next === undefined || next.start !== last.end || next.flags !== vma.flags) return -EINVAL
    if (next.file !== vma.file || next.shared !== vma.shared) return -EINVAL
    last = next
  }
  if (vma.shared !== undefined) return remapShared(mm, vma, vma.shared, start, bytes, page * PAGE_SIZE)
  const mapFlags = MAP_SHARED | MAP_FIXED | MAP_POPULATE | (how & MAP_NONBLOCK)
  const result = map(mm, start, bytes, vma.prot, mapFlags, vma.file, page * PAGE_SIZE)
  return Math.min(result, 0)
}

// Protection keys, as on a CPU without them.

export function pkey_alloc(_task: Task, how: number, rights: number): number {
  return how !== 0 || (rights & ~PKEY_ACCESS_MASK) !== 0 ? -EINVAL : -ENOSPC
}

export function pkey_free(_task: Task, _key: number): number {
  return -EINVAL
}

export function pkey_mprotect(
  task: Task,
  start: GuestAddr,
  length: number,
  prot: number,
  key: number,
): number {
  return key !== -1 && length !== 0 ? -EINVAL : protect(enter(task), start, length, prot)
}

const protNames = flags({ PROT_READ, PROT_WRITE, PROT_EXEC, PROT_SEM, PROT_GROWSDOWN, PROT_GROWSUP })
const mapNames = flags({
  MAP_SHARED,
  MAP_PRIVATE,
  MAP_FIXED,
  MAP_ANONYMOUS,
  MAP_32BIT,
  MAP_GROWSDOWN,
  MAP_DENYWRITE,
  MAP_EXECUTABLE,
  MAP_LOCKED,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_NONBLOCK,
  MAP_STACK,
  MAP_HUGETLB,
  MAP_SYNC,
  MAP_FIXED_NOREPLACE,
})
const mremapNames = flags({ MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP })
const msyncNames = flags({ MS_ASYNC, MS_INVALIDATE, MS_SYNC })
const mclNames = flags({ MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT })

export const memoryCalls = {
  mmap: { nr: NR.mmap, run: mmap, args: [addr, size, protNames, mapNames, fd, size], returns: 'addr' },
  mprotect: { nr: NR.mprotect, run: mprotect, args: [addr, size, protNames] },
  munmap: { nr: NR.munmap, run: munmap, args: [addr, size] },
  brk: { nr: NR.brk, run: brk, args: [addr], returns: 'addr' },
  mremap: { nr: NR.mremap, run: mremap, args: [addr, size, size, mremapNames, addr], returns: 'addr' },
  msync: { nr: NR.msync, run: msync, args: [addr, size, msyncNames] },
  mincore: { nr: NR.mincore, run: mincore, args: [addr, size, addr] },
  madvise: { nr: NR.madvise, run: madvise, args: [addr, size, int] },
  mlock: {
    nr: NR.mlock,
    run: mlock,
    args: [addr, size],
    partial: "beyond the host's limit for the stub process pages are made present, not pinned",
  },
  mlock2: { nr: NR.mlock2, run: mlock2, args: [addr, size, hex] },
  munlock: { nr: NR.munlock, run: munlock, args: [addr, size] },
  mlockall: { nr: NR.mlockall, run: mlockall, args: [mclNames] },
  munlockall: { nr: NR.munlockall, run: munlockall, args: [] },
  mseal: { nr: NR.mseal, run: mseal, args: [addr, size, size] },
  remap_file_pages: {
    nr: NR.remap_file_pages,
    run: remap_file_pages,
    args: [addr, size, protNames, size, mapNames],
  },
  pkey_alloc: {
    nr: NR.pkey_alloc,
    run: pkey_alloc,
    args: [size, size],
    partial: 'as on a CPU without protection keys',
  },
  pkey_free: { nr: NR.pkey_free, run: pkey_free, args: [int] },
  pkey_mprotect: { nr: NR.pkey_mprotect, run: pkey_mprotect, args: [addr, size, protNames, int] },
  ...memoryPolicyCalls,
  ...processVmCalls,
} satisfies SyscallRows
