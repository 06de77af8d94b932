/**
 * The main stack and other mappings that grow downwards.
 *
 * The host maps the whole room of the main stack (RLIMIT_STACK) when a program is loaded, so that it grows without a
 * trap; the vma covers the part that was used when somebody last asked (refreshStack), which is what the guest may
 * see. mm.stackFloor is where that room begins. Whatever else is mapped into the room takes it away up to there.
 * MAP_GROWSDOWN mappings have no such room: they grow when a fault below them is reported (growDown).
 */
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_STACK,
  RLIMIT_MEMLOCK,
  RLIMIT_STACK,
} from '../abi/constants.ts'
import { ENOMEM } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { MMAP_MIN_ADDR } from './layout.ts'
import { mayExpand } from './limits.ts'
import type { Mm } from './mm.ts'
import { PAGE_SIZE, pageFloor, VM_ACCESS, VM_GROWSDOWN, VM_LOCKED, Vma } from './vma.ts'
import { STACK_GUARD_GAP } from './vma-tree.ts'

/** The most room that is mapped in advance, whatever RLIMIT_STACK says. */
const MAX_ROOM = 256 << 20

const STACK_MAP_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE | MAP_STACK

/** How much room a stack gets that may grow to `limit` and uses `size` bytes at once. */
export function stackRoom(limit: number, size: number): number {
  return Math.max(Math.min(pageFloor(limit), MAX_ROOM), size)
}

/** Maps the main stack of a new program: room for `limit` bytes below `top`, of which `size` show as used. */
export function mapStack(mm: Mm, top: number, size: number, limit: number, flags: number): Status {
  const room = stackRoom(limit, size)
  const floor = Math.max(top - room, MMAP_MIN_ADDR)
  const status = mm.space.map(floor, top - floor, flags & VM_ACCESS, STACK_MAP_FLAGS, -1, 0)
  if (status < 0) return status
  const start = Math.max(top - size, floor)
  mm.vmas.insert(new Vma(start, top, flags | VM_GROWSDOWN, undefined, start))
  mm.stackFloor = floor
  return 0
}

/** Extends the stack's vma to the lowest page that was touched. */
export function refreshStack(mm: Mm): void {
  if (mm.stackFloor === 0) return
  const stack = mm.vmas.find(mm.stackFloor)
  if (stack === undefined || stack.start <= mm.stackFloor) return
  const resident = new Uint8Array((stack.start - mm.stackFloor) / PAGE_SIZE)
  if (mm.space.incore(mm.stackFloor, stack.start - mm.stackFloor, resident) < 0) return
  const lowest = resident.findIndex(page => (page & 1) !== 0)
  if (lowest >= 0) mm.vmas.resize(stack, mm.stackFloor + lowest * PAGE_SIZE, stack.end)
}

/**
 * Before [start, end) gets another mapping: what the stack has not used of it is taken from the stack's room, and
 * the guard gap above.
 */
export function cutStackReserve(mm: Mm, start: number, end: number): void {
  if (!mm.stackReserveTouches(start, end)) return
  refreshStack(mm)
  const stack = mm.vmas.find(mm.stackFloor)
  if (stack === undefined || start >= stack.start) return
  const floor = Math.min(Math.max(end, mm.stackFloor) + STACK_GUARD_GAP, stack.start)
  mm.space.unmap(mm.stackFloor, floor - mm.stackFloor)
  mm.stackFloor = floor < stack.start ? floor : 0
}

/** Before the lowest part of the main stack is unmapped or moved: it grows no more. */
export function releaseStackReserve(mm: Mm, start: number, end: number): void {
  if (mm.stackFloor === 0) return
  const stack = mm.vmas.find(mm.stackFloor)
  if (stack === undefined || stack.start >= end || stack.start < start) return
  if (stack.start > mm.stackFloor) mm.space.unmap(mm.stackFloor, stack.start - mm.stackFloor)
  mm.stackFloor = 0
}

/**
 * Where host memory of the stack begins whose vma starts at `start`: what is done to the lowest part of the stack
 * (mprotect, mlock) is done to its room as well, since Linux gives what grows the flags of what is there.
 */
export function stackRoomBelow(mm: Mm, start: number): number {
  if (mm.stackFloor === 0 || start <= mm.stackFloor) return start
  return mm.vmas.find(mm.stackFloor)?.start === start ? mm.stackFloor : start
}

/** A fault at an address that nothing maps: grows the mapping above, if it is one that grows. Whether it did. */
export function growDown(mm: Mm, address: number): boolean {
  const vma = mm.vmas.find(address)
  if (vma === undefined || address >= vma.start || (vma.flags & VM_GROWSDOWN) === 0) return false
  const start = pageFloor(address)
  if (start < MMAP_MIN_ADDR || mm.stackReserveTouches(start, vma.start)) return false
  const { prev } = vma
  if (prev !== undefined && (prev.flags & VM_ACCESS) !== 0 && (prev.flags & VM_GROWSDOWN) === 0) {
    if (start - prev.end < STACK_GUARD_GAP) return false
  }
  if (acctStackGrowth(mm, vma, start) < 0) return false
  if (mm.space.map(start, vma.start - start, vma.flags & VM_ACCESS, STACK_MAP_FLAGS, -1, 0) < 0) return false
  mm.vmas.resize(vma, start, vma.end)
  return true
}

/** The limits on a growing stack: acct_stack_growth. */
function acctStackGrowth(mm: Mm, vma: Vma, start: number): Status {
  const growth = vma.start - start
  if (mm.reservedIn(start, vma.start) !== undefined) return -ENOMEM
  if (!mayExpand(mm, vma.flags, growth)) return -ENOMEM
  if (vma.end - start > mm.limits.soft(RLIMIT_STACK)) return -ENOMEM
  if ((vma.flags & VM_LOCKED) !== 0 && mm.vmas.locked + growth > mm.limits.soft(RLIMIT_MEMLOCK))
    return -ENOMEM
  return 0
}
