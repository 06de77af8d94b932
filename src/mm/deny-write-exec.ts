/** PR_SET_MDWE: what is or was writable does not become executable. */
import type { Mm } from './mm.ts'
import { VM_EXEC, VM_WRITE } from './vma.ts'

/** map_deny_write_exec: whether a mapping may not go from `before` to `after`; a new one has no other rights before. */
export function deniesExec(mm: Mm, before: number, after: number): boolean {
  if (mm.denyWriteExec === 0 || (after & VM_EXEC) === 0) return false
  return (after & VM_WRITE) !== 0 || (before & VM_EXEC) === 0
}
