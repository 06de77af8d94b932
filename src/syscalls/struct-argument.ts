/** Structs that come with their size, since they grow from one version of Linux to the next: clone3(2), openat2(2). */
import { E2BIG, EFAULT } from '../abi/errno.ts'
import type { OrErrno } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'

const PAGE_SIZE = 4096

/**
 * copy_struct_from_user: a struct of `size` bytes, at most a page, of which `known` are known here. What an old program
 * does not give is 0; what a newer one gives beside must be 0, -E2BIG, which is seen first and before a page that is missing.
 */
export function copyStruct(task: Task, at: GuestAddr, size: number, known: number): OrErrno<DataView> {
  for (let offset = known; offset < size; ) {
    const address = at + offset
    const piece = Math.min(size - offset, PAGE_SIZE - (address % PAGE_SIZE))
    const view = task.mm.view(address, piece)
    if (view === undefined) return -EFAULT
    for (let i = 0; i < piece; i++) if (view.getUint8(i) !== 0) return -E2BIG
    offset += piece
  }
  const bytes = new Uint8Array(known)
  if (task.mm.copyIn(at, bytes.subarray(0, size)) < 0) return -EFAULT
  return new DataView(bytes.buffer)
}
