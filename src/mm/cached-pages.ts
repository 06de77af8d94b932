/**
 * How much of a file is in the host's page cache: cachestat(2). The host tells by mincore(2) of a mapping, so a process that
 * is in a call maps the file for a moment, where the guest has nothing and without any rights.
 */
import { MAP_PRIVATE, PROT_NONE } from '../abi/constants.ts'
import type { MapSource } from '../vfs/file.ts'
import { getUnmappedArea } from './layout.ts'
import type { Mm } from './mm.ts'
import { PAGE_SIZE } from './vma.ts'

/** The number, or an errno, of pages in [offset, offset + length), whole pages, that are cached. */
export function cachedPages(mm: Mm, source: MapSource, offset: number, length: number): number {
  const { space } = mm
  if (source.hostFd === undefined) return 0
  const at = getUnmappedArea(mm, 0, length, 0)
  if (at < 0) return at
  const mapped = space.map(at, length, PROT_NONE, MAP_PRIVATE, source.hostFd, source.offset + offset)
  if (mapped < 0) return mapped
  const resident = new Uint8Array(length / PAGE_SIZE)
  const status = space.incore(at, length, resident)
  space.unmap(at, length)
  if (status < 0) return status
  let count = 0
  for (const page of resident) count += page & 1
  return count
}
