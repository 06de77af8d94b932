/** process_vm_readv(2), process_vm_writev(2), process_madvise(2). */
import {
  CAP_SYS_ADMIN,
  CAP_SYS_NICE,
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_PAGEOUT,
  MADV_WILLNEED,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { OrErrno } from '../base/result.ts'
import { PidFdFile } from '../fs/pidfd/pidfd.ts'
import { mayInspect } from '../kernel/credentials.ts'
import { ENDED, type Task } from '../kernel/task.ts'
import { madvise } from '../mm/madvise.ts'
import type { GuestAddr, Mm } from '../mm/mm.ts'
import { reachable } from '../mm/remote-access.ts'
import { addr, fd as fdArg, hex, int, pid, type SyscallRows, size } from './args.ts'
import { fileOf } from './at.ts'

const CHUNK = 64 << 10
/** What is moved before others have their turn. */
const SHARE = 4 << 20

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
  into.skip(movedBefore(task))
  return eachPiece(task, pidNumber, remote, remoteCount, (mm, address, room) => {
    const bytes = new Uint8Array(Math.min(reachable(mm, address, room), into.remaining))
    if (bytes.length === 0) return -EFAULT
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
  from.skip(movedBefore(task))
  return eachPiece(task, pidNumber, remote, remoteCount, (mm, address, room) => {
    const bytes = new Uint8Array(Math.min(reachable(mm, address, room), from.remaining))
    if (bytes.length === 0) return -EFAULT
    const taken = from.take(bytes)
    return taken <= 0 ? taken : mm.write(address, bytes.subarray(0, taken))
  })
}

/** How many bytes earlier tries of the call have moved. */
class Moved {
  readonly bytes: number
  constructor(bytes: number) {
    this.bytes = bytes
  }
}
function movedBefore(task: Task): number {
  return task.progress instanceof Moved ? task.progress.bytes : 0
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
  if (typeof mm === 'number') return movedBefore(task) || mm
  const before = movedBefore(task)
  let total = before
  let passed = before
  for (let i = 0; i < segments.length; i += 2) {
    const length = segments[i + 1]!
    const skipped = Math.min(passed, length)
    passed -= skipped
    for (let done = skipped; done < length; ) {
      if (total - before >= SHARE) {
        task.progress = new Moved(total)
        return task.yieldCall()
      }
      const room = Math.min(CHUNK, length - done)
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

/** What may be advised to another process: hints, which change nothing that it could see. */
const REMOTE_ADVICE: ReadonlySet<number> = new Set([MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE])

/** How many bytes were advised, or the errno of the first piece if none was. */
export function process_madvise(
  task: Task,
  pidFd: number,
  iov: GuestAddr,
  count: number,
  advice: number,
  how: number,
): number {
  if (how !== 0) return -EINVAL
  const segments = task.mm.importIovec(iov, count)
  if (typeof segments === 'number') return segments
  const file = fileOf(task, pidFd)
  if (!(file instanceof PidFdFile)) return -EBADF
  const target = file.task
  if (target === undefined || target.ended) return -ESRCH
  if (!mayInspect(task, target, true)) return -EPERM
  const { mm } = target
  if (mm !== task.mm) {
    if (!REMOTE_ADVICE.has(advice)) return -EINVAL
    if (!task.cred.capable(CAP_SYS_NICE, task.kernel.userNs)) return -EPERM
  }
  const admin = task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs)
  let done = 0
  for (let i = 0; i < segments.length; i += 2) {
    let status = madvise(mm, segments[i]!, segments[i + 1]!, advice, admin)
    // All threads of the other process run: nobody can pass the hint on.
    if (status === -ESRCH && mm !== task.mm) status = 0
    if (status < 0) return done > 0 ? done : status
    done += segments[i + 1]!
  }
  return done
}

export const processVmCalls = {
  process_madvise: {
    nr: NR.process_madvise,
    run: process_madvise,
    args: [fdArg, addr, size, int, hex],
    partial: 'hints to another process reach the host only while one of its threads is in a call',
  },
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
