/** Which memory is in a core dump: /proc/PID/coredump_filter, madvise(MADV_DONTDUMP) and core(5). */
import type { Mm } from '../../mm/mm.ts'
import { ownPages } from '../../mm/own-pages.ts'
import { readRemote } from '../../mm/remote-access.ts'
import { PAGE_SIZE, VM_DONTDUMP, VM_EXEC, VM_MAYSHARE, VM_READ, VM_WRITE, type Vma } from '../../mm/vma.ts'

// Bits of coredump_filter.
const ANON_PRIVATE = 1
const ANON_SHARED = 2
const MAPPED_PRIVATE = 4
const MAPPED_SHARED = 8
const ELF_HEADERS = 16

/** Pages asked about at once. */
const RESIDENCY_CHUNK = 1 << 16

export interface Segment {
  readonly start: number
  readonly end: number
  /** VM_READ, VM_WRITE, VM_EXEC. */
  readonly flags: number
  readonly vma: Vma
  /** Bytes that are in the file, from the start of the mapping. */
  readonly dumped: number
  /** Where they are; set when the headers are made. */
  offset: number
}

export function dumpedSegments(mm: Mm): Segment[] {
  const segments: Segment[] = []
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    const { start, end, flags } = vma
    segments.push({ start, end, flags, vma, dumped: dumpedSize(mm, vma), offset: 0 })
  }
  return segments
}

/** vma_dump_size. */
function dumpedSize(mm: Mm, vma: Vma): number {
  const whole = vma.end - vma.start
  const filter = mm.coredumpFilter
  const has = (bit: number): boolean => (filter & bit) !== 0
  if (vma.label === '[vdso]') return whole
  if ((vma.flags & VM_DONTDUMP) !== 0) return 0
  if ((vma.flags & VM_MAYSHARE) !== 0) {
    const anonymous = vma.file === undefined || vma.file.inode.nlink === 0
    return has(anonymous ? ANON_SHARED : MAPPED_SHARED) ? whole : 0
  }
  if (has(ANON_PRIVATE) && wasWritten(mm, vma)) return whole
  if (vma.file === undefined) return 0
  if (has(MAPPED_PRIVATE)) return whole
  const isHeader = has(ELF_HEADERS) && vma.offset === 0 && (vma.flags & VM_READ) !== 0
  return isHeader && ((vma.flags & VM_EXEC) !== 0 || isElf(mm, vma)) ? Math.min(PAGE_SIZE, whole) : 0
}

/** Whether it has pages of its own. */
function wasWritten(mm: Mm, vma: Vma): boolean {
  if (vma.file === undefined) return hasPages(mm, vma)
  return (vma.flags & VM_WRITE) !== 0 || ownPages(mm, vma) > 0
}

function hasPages(mm: Mm, vma: Vma): boolean {
  for (let at = vma.start; at < vma.end; at += RESIDENCY_CHUNK * PAGE_SIZE) {
    const length = Math.min(RESIDENCY_CHUNK * PAGE_SIZE, vma.end - at)
    const pages = new Uint8Array(length / PAGE_SIZE)
    // What the host does not tell may be there.
    if (mm.space.incore(at, length, pages) < 0 || pages.some(page => (page & 1) !== 0)) return true
  }
  return false
}

function isElf(mm: Mm, vma: Vma): boolean {
  const magic = new Uint8Array(4)
  return (
    readRemote(mm, vma.start, magic) === 4 &&
    magic[0] === 0x7f &&
    magic[1] === 0x45 &&
    magic[2] === 0x4c &&
    magic[3] === 0x46
  )
}
