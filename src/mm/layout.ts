/**
 * Where things go: mmap_base and the choice of a free range (arch_get_unmapped_area_topdown). Mappings are placed
 * downwards from a random base below the room for the stack; with an unlimited stack, upwards from a third of the
 * address space, as Linux does.
 */
import { ADDR_COMPAT_LAYOUT, ADDR_NO_RANDOMIZE, MAP_32BIT, MAP_FIXED } from '../abi/constants.ts'
import { EINVAL, ENOMEM, EPERM } from '../abi/errno.ts'
import type { Mm } from './mm.ts'
import { PAGE_SIZE, pageCeil, pageFloor } from './vma.ts'
import { STACK_GUARD_GAP, startGap } from './vma-tree.ts'

/** vm.mmap_min_addr: nothing is mapped below. */
export const MMAP_MIN_ADDR = 65536
/** The span of a huge page: large anonymous mappings are aligned to it. */
export const PMD_SIZE = 2 << 20

const MMAP_RANDOM_PAGES = 2 ** 28
const STACK_RANDOM_PAGES = 0x400000
const MIN_GAP = 128 << 20
/** Where MAP_32BIT looks. */
const LOW_START = 0x40000000
const LOW_END = 0x80000000
const LOW_RANDOM = 0x02000000

/** Chooses mmap_base for a new program: arch_pick_mmap_layout. */
export function pickMmapLayout(mm: Mm, stackLimit: number, personality: number): void {
  const limit = mm.context.addressLimit
  const random = (personality & ADDR_NO_RANDOMIZE) === 0
  const shift = random
    ? mm.context.randomBelow(Math.min(MMAP_RANDOM_PAGES, limit / PAGE_SIZE / 8)) * PAGE_SIZE
    : 0
  mm.topDown = (personality & ADDR_COMPAT_LAYOUT) === 0 && stackLimit !== Number.POSITIVE_INFINITY
  mm.legacyBase = pageFloor(limit / 3) + shift
  const pad = STACK_GUARD_GAP + (random ? (STACK_RANDOM_PAGES - 1) * PAGE_SIZE : 0)
  const gap = Math.min(Math.max(stackLimit + pad, MIN_GAP), pageFloor((limit / 6) * 5))
  mm.mmapBase = pageCeil(limit - gap - shift)
}

/** The top of a new program's stack, near the end of the address space, with `room` bytes below it free. */
export function randomStackTop(mm: Mm, room: number, personality: number): number {
  const limit = pageFloor(mm.context.addressLimit)
  const random = (personality & ADDR_NO_RANDOMIZE) === 0
  const pages = random ? mm.context.randomBelow(Math.min(STACK_RANDOM_PAGES, limit / PAGE_SIZE / 16)) : 0
  // Only the vDSO can be in the way.
  const hole = mm.vmas.highestHole(MMAP_MIN_ADDR, limit - pages * PAGE_SIZE, room + STACK_GUARD_GAP)
  return hole + room + STACK_GUARD_GAP
}

/**
 * The address for a new mapping of `length` bytes (whole pages): `hint` itself if MAP_FIXED is among `flags` or the
 * place is free, else the best free one. -ENOMEM; -EINVAL and -EPERM for bad fixed addresses.
 */
export function getUnmappedArea(
  mm: Mm,
  hint: number,
  length: number,
  flags: number,
  align = PAGE_SIZE,
): number {
  const limit = mm.context.addressLimit
  if (length > limit) return -ENOMEM
  if ((flags & MAP_FIXED) !== 0) {
    if (hint > limit - length) return -ENOMEM
    if (hint % PAGE_SIZE !== 0) return -EINVAL
    return hint < MMAP_MIN_ADDR ? -EPERM : hint
  }
  if (hint !== 0) {
    const at = Math.max(pageFloor(hint), MMAP_MIN_ADDR)
    if (at + length <= limit && isFree(mm, at, at + length)) return at
  }
  if ((flags & MAP_32BIT) !== 0) {
    const low = LOW_START + mm.context.randomBelow(LOW_RANDOM / PAGE_SIZE) * PAGE_SIZE
    return orNoMemory(lowest(mm, low, LOW_END, length))
  }
  if (align > PAGE_SIZE) {
    const at = searchFrom(mm, length + align)
    if (at >= 0) return alignWithin(at, align, mm.topDown)
  }
  return orNoMemory(searchFrom(mm, length))
}

/** Whether nothing is in [start, end), no stack could grow into it, and it isn't the kernel's own. */
export function isFree(mm: Mm, start: number, end: number): boolean {
  const vma = mm.vmas.find(start)
  if (vma !== undefined && startGap(vma) < end) return false
  return !mm.stackReserveTouches(start, end) && mm.reservedIn(start, end) === undefined
}

/** A hidden range of `length` bytes for the platform, within `reach` of `near`: its address or -ENOMEM. */
export function reserveNear(mm: Mm, near: number, length: number, reach: number): number {
  const size = pageCeil(length)
  // As far below as may be, where it is least in the way of the heap above and of new mappings next to the old ones.
  const low = Math.max(MMAP_MIN_ADDR, pageCeil(near - reach))
  const high = Math.min(mm.context.addressLimit, pageFloor(near + reach))
  const at = lowest(mm, low, high, size)
  if (at < 0) return -ENOMEM
  mm.reserved.push({ start: at, end: at + size })
  return at
}

function searchFrom(mm: Mm, length: number): number {
  if (mm.topDown) {
    const at = highest(mm, MMAP_MIN_ADDR, mm.mmapBase, length)
    if (at >= 0) return at
  }
  return lowest(mm, mm.legacyBase, mm.context.addressLimit, length)
}

function highest(mm: Mm, low: number, high: number, length: number): number {
  for (;;) {
    const at = mm.vmas.highestHole(low, high, length)
    if (at < 0) return at
    const obstacle = mm.reservedIn(at, at + length)
    if (obstacle === undefined && !mm.stackReserveTouches(at, at + length)) return at
    high = obstacle === undefined ? mm.stackFloor - STACK_GUARD_GAP : obstacle.start
  }
}

function lowest(mm: Mm, low: number, high: number, length: number): number {
  for (;;) {
    const at = mm.vmas.lowestHole(low, high, length)
    if (at < 0) return at
    const obstacle = mm.reservedIn(at, at + length)
    if (obstacle === undefined && !mm.stackReserveTouches(at, at + length)) return at
    low = obstacle === undefined ? mm.vmas.find(mm.stackFloor)!.end : obstacle.end
  }
}

/** The aligned address in a free range that is `align` longer than needed: __thp_get_unmapped_area. */
function alignWithin(at: number, align: number, topDown: boolean): number {
  const past = at % align
  if (past === 0) return topDown ? at + align : at
  return at + (align - past)
}

function orNoMemory(at: number): number {
  return at < 0 ? -ENOMEM : at
}
