/** /proc/PID/maps, smaps and smaps_rollup: proc_pid_maps(5). */
import type { Mm } from '../../mm/mm.ts'
import { ownPages } from '../../mm/own-pages.ts'
import {
  PAGE_SIZE,
  VM_ACCOUNT,
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_DONTEXPAND,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_HUGEPAGE,
  VM_IO,
  VM_LOCKED,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_MERGEABLE,
  VM_NOHUGEPAGE,
  VM_NORESERVE,
  VM_RAND_READ,
  VM_READ,
  VM_SEQ_READ,
  VM_SHARED,
  VM_WIPEONFORK,
  VM_WRITE,
  type Vma,
} from '../../mm/vma.ts'
import type { Path } from '../../vfs/path.ts'
import { major, minor } from '../../vfs/vfs.ts'
import type { PseudoText } from '../pseudo/node.ts'
import { hex, pathText } from './text.ts'

/** Where the name begins. */
const NAME_COLUMN = 73

/** @param root as seen from which paths are written. */
export function* formatMaps(mm: Mm, root: Path): PseudoText {
  for (const vma of mappings(mm)) yield mapLine(mm, vma, root)
}

/** By address, since there may be others when the next is asked for. */
function* mappings(mm: Mm): Generator<Vma, void, void> {
  mm.refresh()
  let vma = mm.vmas.first
  while (vma !== undefined) {
    const { end } = vma
    yield vma
    if (mm.users === 0) return
    vma = mm.vmas.intersecting(end, Number.POSITIVE_INFINITY)
  }
}

function mapLine(mm: Mm, vma: Vma, root: Path): string {
  const inode = vma.file?.inode
  const dev = inode?.dev ?? (vma.shared !== undefined ? 1 : 0)
  const ino = inode?.ino ?? vma.shared?.ino ?? 0
  const name = vma.file !== undefined ? pathText(vma.file.path, root, '\n') : mm.vmaLabel(vma)
  const offset = inode !== undefined || vma.shared !== undefined ? vma.offset : 0
  const head = `${range(vma.start, vma.end)} ${permissions(vma)} ${hex(offset, 8)} ${hex(major(dev), 2)}:${hex(minor(dev), 2)} ${ino} `
  return name === undefined ? `${head}\n` : `${head.padEnd(NAME_COLUMN)}${name}\n`
}

function range(start: number, end: number): string {
  return `${hex(start, 8)}-${hex(end, 8)}`
}

function permissions(vma: Vma): string {
  return (
    ((vma.flags & VM_READ) !== 0 ? 'r' : '-') +
    ((vma.flags & VM_WRITE) !== 0 ? 'w' : '-') +
    ((vma.flags & VM_EXEC) !== 0 ? 'x' : '-') +
    ((vma.flags & VM_MAYSHARE) !== 0 ? 's' : 'p')
  )
}

/** Two letters a flag, in Linux's order. */
const FLAG_NAMES: readonly [number, string][] = [
  [VM_READ, 'rd'],
  [VM_WRITE, 'wr'],
  [VM_EXEC, 'ex'],
  [VM_SHARED, 'sh'],
  [VM_MAYREAD, 'mr'],
  [VM_MAYWRITE, 'mw'],
  [VM_MAYEXEC, 'me'],
  [VM_MAYSHARE, 'ms'],
  [VM_GROWSDOWN, 'gd'],
  [VM_IO, 'pf io'],
  [VM_LOCKED, 'lo'],
  [VM_SEQ_READ, 'sr'],
  [VM_RAND_READ, 'rr'],
  [VM_DONTCOPY, 'dc'],
  [VM_DONTEXPAND, 'de'],
  [VM_ACCOUNT, 'ac'],
  [VM_NORESERVE, 'nr'],
  [VM_WIPEONFORK, 'wf'],
  [VM_DONTDUMP, 'dd'],
  [VM_HUGEPAGE, 'hg'],
  [VM_NOHUGEPAGE, 'nh'],
  [VM_MERGEABLE, 'mg'],
]

export function* formatSmaps(mm: Mm, root: Path): PseudoText {
  const residency = new Residency(mm)
  for (const vma of mappings(mm)) {
    const size = vma.pages * 4
    let text = mapLine(mm, vma, root)
    text += field('Size', size) + field('KernelPageSize', 4) + field('MMUPageSize', 4)
    text += usage(useOf(mm, vma, residency))
    text += 'THPeligible:           0\n'
    text += `VmFlags: ${FLAG_NAMES.filter(([bit]) => (vma.flags & bit) !== 0)
      .map(([, name]) => `${name} `)
      .join('')}\n`
    yield text
  }
}

export function formatSmapsRollup(mm: Mm): string {
  mm.refresh()
  const residency = new Residency(mm)
  const sum = emptyUse()
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    const use = useOf(mm, vma, residency)
    for (const key of Object.keys(sum) as (keyof Use)[]) sum[key] += use[key]
  }
  const first = mm.vmas.first?.start ?? 0
  let end = first
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) end = vma.end
  const head = `${range(first, end)} ---p 00000000 00:00 0 `
  return `${head.padEnd(NAME_COLUMN)}[rollup]\n${usage(sum, true)}`
}

/** In KiB. */
export interface Use {
  rss: number
  anonymous: number
  shared: number
  locked: number
}

function emptyUse(): Use {
  return { rss: 0, anonymous: 0, shared: 0, locked: 0 }
}

/** Larger mappings are mostly reserved address space: asking the host page by page would take too long. */
const LARGEST_ASKED = 1 << 18

/**
 * What of a mapping is in memory, as far as the host's mincore tells: for files it counts the page cache, so only
 * anonymous memory is exact. Of a private file mapping, pages that differ from the file are anonymous.
 */
export function useOf(mm: Mm, vma: Vma, residency: Residency): Use {
  const use = emptyUse()
  if ((vma.flags & (VM_READ | VM_WRITE | VM_EXEC)) === 0 || vma.pages > LARGEST_ASKED) return use
  const pages = residency.of(vma)
  if (pages === undefined) return use
  for (const page of pages) if ((page & 1) !== 0) use.rss += 4
  if (vma.file === undefined) use.anonymous = use.rss
  else if ((vma.flags & VM_SHARED) === 0) use.anonymous = Math.min(use.rss, ownPages(mm, vma) * 4)
  if ((vma.flags & VM_SHARED) !== 0) use.shared = use.rss
  if ((vma.flags & VM_LOCKED) !== 0) use.locked = use.rss
  return use
}

/** Which pages are in memory. Neighbouring mappings are asked for together: each asking is a way to the process and back. */
export class Residency {
  readonly #mm: Mm
  #start = 0
  #end = 0
  #pages = new Uint8Array(0)

  constructor(mm: Mm) {
    this.#mm = mm
  }

  of(vma: Vma): Uint8Array | undefined {
    if (vma.start < this.#start || vma.end > this.#end) {
      const end = endOfNeighbours(vma)
      if (!this.#ask(vma.start, end) && !this.#ask(vma.start, vma.end)) return undefined
    }
    const first = (vma.start - this.#start) / PAGE_SIZE
    return this.#pages.subarray(first, first + vma.pages)
  }

  #ask(start: number, end: number): boolean {
    const pages = new Uint8Array((end - start) / PAGE_SIZE)
    if (this.#mm.space.incore(start, end - start, pages) < 0) return false
    this.#start = start
    this.#end = end
    this.#pages = pages
    return true
  }
}

function endOfNeighbours(vma: Vma): number {
  let end = vma.end
  for (let next = vma.next; next !== undefined && next.start === end; next = next.next) {
    if (next.end - vma.start > LARGEST_ASKED * PAGE_SIZE) break
    end = next.end
  }
  return end
}

function usage(use: Use, rollup = false): string {
  const privately = use.rss - use.shared
  const dirty = Math.min(use.anonymous, privately)
  const kinds = field('Pss_Anon', use.anonymous) + field('Pss_File', use.rss - use.anonymous)
  return (
    field('Rss', use.rss) +
    field('Pss', use.rss) +
    field('Pss_Dirty', use.anonymous) +
    (rollup ? kinds + field('Pss_Shmem', 0) : '') +
    field('Shared_Clean', use.shared) +
    field('Shared_Dirty', 0) +
    field('Private_Clean', privately - dirty) +
    field('Private_Dirty', dirty) +
    field('Referenced', use.rss) +
    field('Anonymous', use.anonymous) +
    NOT_THERE +
    field('Locked', use.locked)
  )
}

const NOT_THERE = ['KSM', 'LazyFree', 'AnonHugePages', 'ShmemPmdMapped', 'FilePmdMapped']
  .concat('Shared_Hugetlb', 'Private_Hugetlb', 'Swap', 'SwapPss')
  .map(name => field(name, 0))
  .join('')

function field(name: string, kib: number): string {
  return `${`${name}:`.padEnd(16)}${String(kib).padStart(8)} kB\n`
}
