/** argv and envp: reading them from the caller's memory, and how large they may be (E2BIG). */
import { E2BIG, EFAULT, ENAMETOOLONG } from '../abi/errno.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { take64 } from '../base/words.ts'
import type { GuestAddr, Mm } from '../mm/mm.ts'
import type { StringReader } from '../mm/string-reader.ts'
import { PAGE_SIZE } from '../mm/vma.ts'

/** The longest single string, its NUL included. */
export const MAX_ARG_STRLEN = 131072

/** What every program may have, whatever its stack limit is. */
const ARG_MAX = 131072
/** Three quarters of the usual stack. */
const MOST = 6 << 20
const POINTER = 8

/** Bytes that strings and pointers together may take: bprm_stack_limits. */
export function argumentLimit(stackLimit: number): number {
  return Math.max(Math.min(MOST, Math.floor(stackLimit / 4)), ARG_MAX)
}

/** What argv, envp and the file's name take of that. */
export function argumentSize(argv: readonly string[], envp: readonly string[], path: string): number {
  let size = path.length + 1 + (Math.max(argv.length, 1) + envp.length) * POINTER
  for (const text of argv) size += text.length + 1
  for (const text of envp) size += text.length + 1
  return size
}

/**
 * A NULL-terminated array of strings; a null array is an empty one. What it takes is taken from `budget`, in bytes:
 * -E2BIG where that is not enough.
 */
export function readStringArray(
  mm: Mm,
  reader: StringReader,
  array: GuestAddr,
  budget: { left: number },
): OrErrno<string[]> {
  const strings: string[] = []
  if (array === 0) return strings
  for (let at = array; ; ) {
    // Never across a page, behind which the array may have ended.
    const length = Math.max(POINTER, PAGE_SIZE - (at % PAGE_SIZE))
    const bytes = new Uint8Array(length - (length % POINTER))
    if (mm.copyIn(at, bytes) < 0) return -EFAULT
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < bytes.length; i += POINTER) {
      const pointer = take64(view, i)
      if (pointer === 0) return strings
      const text = reader.read(pointer, MAX_ARG_STRLEN)
      if (failed(text)) return text === -ENAMETOOLONG ? -E2BIG : text
      strings.push(text)
      budget.left -= text.length + 1 + POINTER
      if (budget.left < 0) return -E2BIG
    }
    at += bytes.length
  }
}
