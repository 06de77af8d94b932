/**
 * remap_file_pages(2) of shared anonymous memory. The host knows such memory only by its mappings: before the first page
 * is mapped elsewhere, a second mapping of the whole is put where the guest can't reach it (a mirror), and pieces are
 * mapped anew from there. It stays until the guest has none of the memory mapped any more.
 */
import { MAP_SHARED, MREMAP_FIXED, MREMAP_MAYMOVE } from '../abi/constants.ts'
import { EINVAL } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { getUnmappedArea } from './layout.ts'
import type { Mm } from './mm.ts'
import { unmapRange } from './munmap.ts'
import { type SharedMemory, VM_ACCESS, Vma } from './vma.ts'
import { addVma } from './vma-edit.ts'

const MOVE = MREMAP_MAYMOVE | MREMAP_FIXED

/** Puts the bytes of `memory` from `offset` on at [start, start + length), in place of what `like` maps there. */
export function remapShared(
  mm: Mm,
  like: Vma,
  memory: SharedMemory,
  start: number,
  length: number,
  offset: number,
): Status {
  if (offset + length > memory.size) return -EINVAL
  const mirror = mm.mirrors?.get(memory) ?? makeMirror(mm, like, memory)
  if (mirror < 0) return mirror
  const { flags } = like
  const unmapped = unmapRange(mm, start, start + length)
  if (unmapped < 0) return unmapped
  const status = mm.space.remap(mirror + offset, 0, length, MOVE, start)
  if (status < 0) return status
  mm.space.protect(start, length, flags & VM_ACCESS)
  addVma(mm.vmas, new Vma(start, start + length, flags, undefined, offset, memory))
  return 0
}

/** Only from a mapping of the whole. */
function makeMirror(mm: Mm, vma: Vma, memory: SharedMemory): number {
  if (vma.offset !== 0 || vma.end - vma.start !== memory.size) return -EINVAL
  const at = getUnmappedArea(mm, 0, memory.size, MAP_SHARED)
  if (at < 0) return at
  const status = mm.space.remap(vma.start, 0, memory.size, MOVE, at)
  if (status < 0) return status
  mm.reserved.push({ start: at, end: at + memory.size })
  mm.mirrors ??= new Map()
  mm.mirrors.set(memory, at)
  return at
}

/** After an unmapping: mirrors of what is mapped nowhere any more go. */
export function dropMirrors(mm: Mm, mirrors: Map<SharedMemory, number>): void {
  const mapped = new Set<SharedMemory>()
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    if (vma.shared !== undefined) mapped.add(vma.shared)
  }
  for (const [memory, at] of mirrors) {
    if (mapped.has(memory)) continue
    mm.space.unmap(at, memory.size)
    mirrors.delete(memory)
    mm.reserved.splice(
      mm.reserved.findIndex(range => range.start === at),
      1,
    )
  }
}
