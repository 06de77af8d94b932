/** argv and envp: reading them from the caller's memory, and how large they may be (E2BIG). */
import { E2BIG, EFAULT, ENAMETOOLONG } from '../abi/errno.ts'
import type { OrErrno } from '../base/result.ts'
import type { Mm } from '../mm/mm.ts'

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

/** Reads a NULL-terminated array of strings; a NULL array is an empty one. -EFAULT, or -E2BIG above `limit` bytes. */
export function readStringArray(mm: Mm, address: number, limit: number): OrErrno<string[]> {
  const strings: string[] = []
  if (address === 0) return strings
  let size = 0
  for (let at = address; ; at += POINTER) {
    const pointer = mm.u64(at)
    if (pointer === undefined) return -EFAULT
    if (pointer === 0) return strings
    const text = mm.readString(pointer, MAX_ARG_STRLEN)
    if (typeof text === 'number') return text === -ENAMETOOLONG ? -E2BIG : text
    size += text.length + 1 + POINTER
    if (size > limit) return -E2BIG
    strings.push(text)
  }
}
