/** Mapping an ELF image into an address space: load_elf_binary's part that knows addresses. */
import { ADDR_NO_RANDOMIZE, MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_WRITE } from '../abi/constants.ts'
import { EEXIST, EFAULT, EINVAL, ENOMEM } from '../abi/errno.ts'
import type { OrErrno, Status } from '../base/result.ts'
import { getUnmappedArea, isFree, MMAP_MIN_ADDR } from '../mm/layout.ts'
import type { Mm } from '../mm/mm.ts'
import { mapAnonymous, mmap } from '../mm/mmap.ts'
import { PAGE_SIZE, pageCeil, pageFloor, VM_EXEC, VM_MAYALL, VM_READ, VM_WRITE } from '../mm/vma.ts'
import type { File } from '../vfs/file.ts'
import { type ElfImage, isSound, type Segment } from './elf.ts'

/** Random bits of a position-independent program's base, in pages. */
const BASE_RANDOM_PAGES = 2 ** 28

/** Where an image came to lie. */
export interface LoadedImage {
  /** Added to the file's addresses. */
  readonly bias: number
  readonly entry: number
  /** The end of the highest segment. */
  readonly end: number
  readonly startCode: number
  readonly endCode: number
  readonly startData: number
  readonly endData: number
}

/**
 * How an image is placed if it can go anywhere: as a program, far below the mappings, so that its heap has room; as a
 * library, where mmap would put it (interpreters, and static programs that relocate themselves).
 */
export type Placement = 'program' | 'library'

export function loadElf(mm: Mm, file: File, image: ElfImage, placement: Placement): OrErrno<LoadedImage> {
  if (!image.segments.every(isSound)) return -EINVAL
  const span = imageSpan(image)
  if (span === undefined) return -EINVAL
  const base = chooseBase(mm, image, span, placement)
  if (base < 0) return base
  const bias = base - span.start
  const limit = mm.context.addressLimit
  const loaded = {
    bias,
    entry: image.entry + bias,
    end: 0,
    startCode: limit,
    endCode: 0,
    startData: 0,
    endData: 0,
  }
  for (const segment of image.segments) {
    const start = segment.address + bias
    if (start >= limit || segment.memorySize > limit - start) return -EINVAL
    const status = loadSegment(mm, file, segment, start)
    if (status < 0) return status
    const fileEnd = start + segment.fileSize
    if ((segment.prot & PROT_EXEC) !== 0) {
      loaded.startCode = Math.min(loaded.startCode, start)
      loaded.endCode = Math.max(loaded.endCode, fileEnd)
    }
    loaded.startData = Math.max(loaded.startData, start)
    loaded.endData = Math.max(loaded.endData, fileEnd)
    loaded.end = Math.max(loaded.end, start + segment.memorySize)
  }
  if (loaded.entry >= limit) return -EINVAL
  return loaded
}

/** The page borders of all segments, in the file's addresses: total_mapping_size. */
function imageSpan(image: ElfImage): { start: number; length: number } | undefined {
  let start = Number.POSITIVE_INFINITY
  let end = 0
  for (const segment of image.segments) {
    start = Math.min(start, pageFloor(segment.address))
    end = Math.max(end, segment.address + segment.memorySize)
  }
  return end > start ? { start, length: pageCeil(end - start) } : undefined
}

/** Where the image's first page goes. */
function chooseBase(
  mm: Mm,
  image: ElfImage,
  span: { start: number; length: number },
  placement: Placement,
): number {
  const limit = mm.context.addressLimit
  if (span.length > limit) return -ENOMEM
  if (!image.relocatable) {
    if (span.start < MMAP_MIN_ADDR || span.start + span.length > limit) return -EINVAL
    return isFree(mm, span.start, span.start + span.length) ? span.start : -EEXIST
  }
  if (placement === 'program') {
    const random = (mm.personality & ADDR_NO_RANDOMIZE) === 0
    const shift = random
      ? mm.context.randomBelow(Math.min(BASE_RANDOM_PAGES, limit / PAGE_SIZE / 8)) * PAGE_SIZE
      : 0
    const base = alignDown(programBase(limit) + shift, image.alignment) + (span.start % image.alignment)
    if (isFree(mm, base, base + span.length)) return base
  }
  if (image.alignment === PAGE_SIZE) return getUnmappedArea(mm, 0, span.length, 0)
  const area = getUnmappedArea(mm, 0, span.length + image.alignment, 0)
  if (area < 0) return area
  const past = span.start % image.alignment
  return alignDown(area - past + image.alignment - 1, image.alignment) + past
}

/** Two thirds of the address space up: ELF_ET_DYN_BASE. */
export function programBase(limit: number): number {
  return pageFloor((limit / 3) * 2)
}

function loadSegment(mm: Mm, file: File, segment: Segment, start: number): Status {
  const { fileSize, memorySize, prot } = segment
  const into = start % PAGE_SIZE
  if (fileSize > 0) {
    const offset = segment.offset - into
    if (offset < 0 || offset % PAGE_SIZE !== 0) return -EINVAL
    const mapped = mmap(
      mm,
      start - into,
      pageCeil(fileSize + into),
      prot,
      MAP_PRIVATE | MAP_FIXED,
      file,
      offset,
    )
    if (mapped < 0) return mapped
  }
  if (memorySize === fileSize) return 0

  // What follows the file's bytes is zero: the rest of their last page, then pages of its own.
  const zeroStart = start + fileSize
  const pages = fileSize > 0 ? pageCeil(zeroStart) : pageFloor(zeroStart)
  if (fileSize > 0 && (prot & PROT_WRITE) !== 0) {
    const rest = Math.min(pages - zeroStart, PAGE_SIZE)
    if (rest > 0 && mm.copyOut(zeroStart, new Uint8Array(rest)) < 0) return -EFAULT
  }
  const end = pageCeil(start + memorySize)
  if (end <= pages) return 0
  const flags = VM_READ | VM_WRITE | VM_MAYALL | ((prot & PROT_EXEC) !== 0 ? VM_EXEC : 0)
  return Math.min(mapAnonymous(mm, pages, end - pages, flags), 0)
}

function alignDown(address: number, align: number): number {
  return Math.floor(address / align) * align
}
