/**
 * Memory of another address space as ptrace(2) and /proc/PID/mem reach it (access_remote_vm with FOLL_FORCE): past the
 * protections of private mappings, whose pages a write makes the process's own.
 */
import { EIO } from '../abi/errno.ts'
import type { Mm } from './mm.ts'
import { PAGE_SIZE, VM_MAYSHARE, VM_READ, VM_WRITE } from './vma.ts'

/** How many of the bytes from `address` on others may reach: the pages of memfd_secret(2) are for their own processes alone. */
export function reachable(mm: Mm, address: number, length: number): number {
  const end = address + length
  for (let vma = mm.vmas.intersecting(address, end); vma !== undefined && vma.start < end; vma = vma.next) {
    if (vma.file?.secret) return Math.max(vma.start - address, 0)
  }
  return length
}

/** How many bytes could be read before the first that could not; -EIO if that is the first one. */
export function readRemote(mm: Mm, address: number, into: Uint8Array): number {
  into = into.subarray(0, reachable(mm, address, into.length))
  if (into.length > 0 && mm.space.read(address, into) === into.length) return into.length
  return eachPiece(address, into, (at, piece) => {
    const vma = mm.find(at)
    return mm.space.read(at, piece, vma !== undefined && (vma.flags & VM_READ) === 0)
  })
}

export function writeRemote(mm: Mm, address: number, from: Uint8Array): number {
  from = from.subarray(0, reachable(mm, address, from.length))
  return eachPiece(address, from, (at, piece) => {
    const vma = mm.find(at)
    const shared = vma !== undefined && (vma.flags & VM_MAYSHARE) !== 0
    return mm.space.write(at, piece, !(shared && (vma.flags & VM_WRITE) === 0))
  })
}

/** By pages, since protections differ. */
function eachPiece(
  address: number,
  bytes: Uint8Array,
  move: (at: number, piece: Uint8Array) => number,
): number {
  let done = 0
  while (done < bytes.length) {
    const at = address + done
    const room = PAGE_SIZE - (at % PAGE_SIZE)
    const piece = bytes.subarray(done, Math.min(bytes.length, done + room))
    const n = move(at, piece)
    if (n > 0) done += n
    if (n < piece.length) break
  }
  return done > 0 ? done : -EIO
}
