/** Sums over an address space, in pages: for stat, statm and status. */
import type { Mm } from './mm.ts'
import { PAGE_SIZE, VM_EXEC, VM_GROWSDOWN, VM_LOCKED, VM_SHARED, VM_WRITE } from './vma.ts'

export interface MemoryUse {
  size: number
  resident: number
  /** The part of `resident` that belongs to files: an estimate, the host tells only the sum. */
  residentFile: number
  locked: number
  data: number
  stack: number
  /** The program's own code. */
  text: number
  /** The code of libraries. */
  libraries: number
  pageTables: number
}

export function memoryUse(mm: Mm): MemoryUse {
  mm.refresh()
  const use = {
    size: 0,
    resident: 0,
    residentFile: 0,
    locked: 0,
    data: 0,
    stack: 0,
    text: 0,
    libraries: 0,
    pageTables: 0,
  }
  let executable = 0
  let files = 0
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    use.size += vma.pages
    if ((vma.flags & VM_LOCKED) !== 0) use.locked += vma.pages
    if ((vma.flags & VM_GROWSDOWN) !== 0 || (vma.start <= mm.startStack && vma.end > mm.startStack))
      use.stack += vma.pages
    else if ((vma.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE) use.data += vma.pages
    else if ((vma.flags & (VM_EXEC | VM_WRITE)) === VM_EXEC && vma.file !== undefined) executable += vma.pages
    if (vma.file !== undefined) files += vma.pages
  }
  use.text = Math.ceil(mm.endCode / PAGE_SIZE) - Math.floor(mm.startCode / PAGE_SIZE)
  use.libraries = Math.max(0, executable - use.text)
  use.resident = mm.residentPages()
  use.residentFile = Math.min(files, Math.floor(use.resident / 2))
  use.pageTables = Math.ceil(use.resident / 512) + 8
  return use
}
