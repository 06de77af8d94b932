/** process_vm_readv(2), process_vm_writev(2). */
import { EFAULT, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { OrErrno } from '../base/result.ts'
import { mayInspect } from '../kernel/credentials.ts'
import { ENDED, type Task } from '../kernel/task.ts'
import type { GuestAddr, Mm } from '../mm/mm.ts'
import { addr, pid, type SyscallRows, size } from './args.ts'

const CHUNK = 64 << 10

export function process_vm_readv(
  task: Task,
  pidNumber: number,
  local: GuestAddr,
  localCount: number,
  remote: GuestAddr,
  remoteCount: number,
  how: number,
): number {
  if (how !== 0) return -EINVAL
  const into = task.mm.dstVector(local, localCount)
  if (typeof into === 'number') return into
  if (into.remaining === 0) return 0
  return eachPiece(task, pidNumber, remote, remoteCount, (mm, address, room) => {
    const bytes = new Uint8Array(Math.min(room, into.remaining))
    const read = mm.read(address, bytes)
    return read <= 0 ? read : into.put(bytes.subarray(0, read))
  })
}

export function process_vm_writev(
  task: Task,
  pidNumber: number,
  local: GuestAddr,
  localCount: number,
  remote: GuestAddr,
  remoteCount: number,
  how: number,
): number {
  if (how !== 0) return -EINVAL
  const from = task.mm.srcVector(local, localCount)
  if (typeof from === 'number') return from
  if (from.remaining === 0) return 0
  return eachPiece(task, pidNumber, remote, remoteCount, (mm, address, room) => {
    const bytes = new Uint8Array(Math.min(room, from.remaining))
    const taken = from.take(bytes)
    return taken <= 0 ? taken : mm.write(address, bytes.subarray(0, taken))
  })
}

/**
 * Goes over the other process's segments: `move` moves up to `room` bytes at `address` there, and says how many; when
 * it moves fewer than the near side still has and the piece holds, that was all.
 */
function eachPiece(
  task: Task,
  pidNumber: number,
  remote: GuestAddr,
  remoteCount: number,
  move: (mm: Mm, address: GuestAddr, room: number) => number,
): number {
  const segments = task.mm.importIovec(remote, remoteCount)
  if (typeof segments === 'number') return segments
  if (segments.every((value, i) => i % 2 === 0 || value === 0)) return 0
  const mm = memoryOf(task, pidNumber)
  if (typeof mm === 'number') return mm
  let total = 0
  for (let i = 0; i < segments.length; i += 2) {
    for (let done = 0; done < segments[i + 1]!; ) {
      const room = Math.min(CHUNK, segments[i + 1]! - done)
      const moved = move(mm, segments[i]! + done, room)
      if (moved > 0) total += moved
      if (moved < room) return total > 0 || moved === 0 ? total : -EFAULT
      done += moved
    }
  }
  return total
}

/** mm_access: the memory of a process that the caller may look into and change. */
function memoryOf(task: Task, pidNumber: number): OrErrno<Mm> {
  const target = task.pidNs.task(pidNumber)
  if (target === undefined || target.state === ENDED) return -ESRCH
  return mayInspect(task, target, false) ? target.mm : -EPERM
}

export const processVmCalls = {
  process_vm_readv: {
    nr: NR.process_vm_readv,
    run: process_vm_readv,
    args: [pid, addr, size, addr, size, size],
  },
  process_vm_writev: {
    nr: NR.process_vm_writev,
    run: process_vm_writev,
    args: [pid, addr, size, addr, size, size],
  },
} satisfies SyscallRows
