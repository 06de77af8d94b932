/**
 * Pages of a private file mapping that are the process's own, since it has written to them. The host does not tell, so
 * memory and file are compared: a page that was written back to what it had been is not counted.
 */
import { BufferDst } from '../base/io.ts'
import type { Mm } from './mm.ts'
import { readRemote } from './remote-access.ts'
import { PAGE_SIZE, VM_EXEC, VM_WRITE, type Vma } from './vma.ts'

/**
 * What a linker makes read-only after it has written to it is smaller; text and constants that are larger were not written,
 * and of data that is larger all is counted.
 */
const COMPARED = 4 << 20
const PAGE_WORDS = PAGE_SIZE / 4

export function ownPages(mm: Mm, vma: Vma): number {
  const length = vma.end - vma.start
  if (vma.file === undefined || (vma.flags & VM_EXEC) !== 0) return 0
  if (length > COMPARED) return (vma.flags & VM_WRITE) !== 0 ? vma.pages : 0
  const memory = new Uint8Array(length)
  const file = new Uint8Array(length)
  const read = readRemote(mm, vma.start, memory)
  vma.file.readAt(new BufferDst(file), vma.offset)
  // By words, since a whole process easily has ten megabytes of this.
  const words = new Int32Array(memory.buffer)
  const fileWords = new Int32Array(file.buffer)
  let count = 0
  for (let page = 0; page < read / 4; page += PAGE_WORDS) {
    if (differ(words, fileWords, page, page + PAGE_WORDS)) count++
  }
  return count
}

function differ(left: Int32Array, right: Int32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (left[i] !== right[i]) return true
  return false
}
