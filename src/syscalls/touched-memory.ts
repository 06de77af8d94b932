/**
 * What a call touches behind the memory that its arguments point to: strings to their ends, and what pointers in arrays and
 * structures lead to. Asked for only where a guest process serves page faults (kernel/page-wait.ts). Each function shows
 * what there is to `look`, the memory that it must read itself before it does, and ends when that says true.
 */
import { PATH_MAX, UIO_MAXIOV } from '../abi/constants.ts'
import { IOVEC, MMSGHDR, MSGHDR } from '../abi/layout.ts'
import type { MemoryLook } from '../kernel/kernel.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { PAGE_SIZE, pageFloor } from '../mm/vma.ts'
import { MAX_CONTROL, readMessageHeader } from './socket-message.ts'

/** Arguments and environment that are looked at: more are E2BIG, or nearly. */
const MAX_STRINGS = 1 << 16

/** Page by page, until one has the end. */
export function touchesString(task: Task, at: GuestAddr, look: MemoryLook): boolean {
  for (let from = at; from < at + PATH_MAX; ) {
    if (look(from, 1, false)) return true
    const next = pageFloor(from) + PAGE_SIZE
    const bytes = new Uint8Array(next - from)
    if (task.mm.copyIn(from, bytes) < 0 || bytes.includes(0)) return false
    from = next
  }
  return false
}

/** argv and envp. */
export function touchesStrings(task: Task, at: GuestAddr, look: MemoryLook): boolean {
  for (let i = 0; i < MAX_STRINGS; i++) {
    if (look(at + i * 8, 8, false)) return true
    const string = task.mm.u64(at + i * 8)
    if (string === undefined || string === 0) return false
    if (touchesString(task, string, look)) return true
  }
  return false
}

/** iovecs, which were looked at. */
export function touchesSegments(
  task: Task,
  at: GuestAddr,
  count: number,
  writes: boolean,
  look: MemoryLook,
): boolean {
  const segments = task.mm.importIovec(at, count)
  if (typeof segments === 'number') return false
  for (let i = 0; i < segments.length; i += 2) {
    if (segments[i + 1] > 0 && look(segments[i], segments[i + 1], writes)) return true
  }
  return false
}

/** struct msghdr: what is sent, or (`writes`) where it is received; then the header is written, too. */
export function touchesMessage(task: Task, at: GuestAddr, writes: boolean, look: MemoryLook): boolean {
  if (look(at, MSGHDR.size, writes)) return true
  const header = readMessageHeader(task, at)
  if (typeof header === 'number') return false
  const { nameAt, nameLength, controlAt, iovAt, iovCount } = header
  const controlLength = controlAt === 0 ? 0 : Math.min(header.controlLength, MAX_CONTROL)
  if (nameLength > 0 && look(nameAt, nameLength, writes)) return true
  if (controlLength > 0 && look(controlAt, controlLength, writes)) return true
  if (iovCount === 0) return false
  return look(iovAt, iovCount * IOVEC.size, false) || touchesSegments(task, iovAt, iovCount, writes, look)
}

/** struct mmsghdr, of which the lengths are written in any case. */
export function touchesMessages(
  task: Task,
  at: GuestAddr,
  count: number,
  writes: boolean,
  look: MemoryLook,
): boolean {
  for (let i = 0; i < Math.min(count, UIO_MAXIOV); i++) {
    const message = at + i * MMSGHDR.size
    if (look(message, MMSGHDR.size, true) || touchesMessage(task, message, writes, look)) return true
  }
  return false
}
