/** fcntl's byte-range locks and flock(2). The locks themselves are in vfs/locks.ts. */
import {
  F_GETLK,
  F_OFD_GETLK,
  F_OFD_SETLKW,
  F_RDLCK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  LOCK_EX,
  LOCK_MAND,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  SEEK_CUR,
  SEEK_END,
  SEEK_SET,
} from '../abi/constants.ts'
import { EAGAIN, EBADF, EDEADLK, EFAULT, EINTR, EINVAL, EOVERFLOW, ERESTARTSYS } from '../abi/errno.ts'
import { FLOCK } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { BLOCK } from '../base/result.ts'
import { put64, takeSigned64 } from '../base/words.ts'
import { Pid } from '../kernel/pid.ts'
import { HeldProgress, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File } from '../vfs/file.ts'
import type { LockWait, LockWaits } from '../vfs/lock-waits.ts'
import { type InodeLocks, LOCK_TO_END, locksOf, type PosixLock } from '../vfs/locks.ts'
import { fd as fdArg, flags as flagsArg, type SyscallRows } from './args.ts'
import { fileOf } from './at.ts'

const OFFSET_MAX = 2 ** 63
/** How often a lock that somebody outside of the sandbox holds is asked for, in ns. */
const OUTSIDE_RETRY = 10e6

/** A task that waits for a POSIX lock stands in the graph of waits. */
class LockProgress extends HeldProgress {
  readonly request: PosixLock
  readonly #wait: LockWait
  readonly #waits: LockWaits

  constructor(waits: LockWaits, wait: LockWait) {
    super()
    this.request = wait.lock
    this.#wait = wait
    this.#waits = waits
    waits.add(wait)
  }
  override end(): void {
    this.#waits.remove(this.#wait)
  }
}

/** F_GETLK, F_SETLK, F_SETLKW and their OFD forms. */
export function lockFcntl(task: Task, file: File, command: number, address: GuestAddr): number {
  const ofd = command >= F_OFD_GETLK
  const earlier = task.progress instanceof LockProgress ? task.progress : undefined
  const request = earlier?.request ?? readLock(task, file, ofd, address)
  if (typeof request === 'number') return request
  if (command === F_GETLK || command === F_OFD_GETLK) return getLock(task, file, request, address)
  if (request.type === F_RDLCK && !file.readable) return -EBADF
  if (request.type === F_WRLCK && !file.writable) return -EBADF
  const waits = command === F_SETLKW || command === F_OFD_SETLKW
  if (file.lockServer?.ranges === true) return restartable(file.lockServer.set(request, waits))

  const locks = locksOf(file.inode)
  const conflict = request.type === F_UNLCK ? undefined : locks.findConflict(request)
  if (conflict === undefined) {
    const status = locks.set(request)
    if (status !== -EAGAIN) return status
  }
  if (!waits) return -EAGAIN
  const graph = task.mountNs.vfs.lockWaits
  if (conflict !== undefined && !ofd && graph.wouldDeadlock(request.owner, conflict.owner)) return -EDEADLK
  if (earlier === undefined) task.progress = new LockProgress(graph, { locks, lock: request })
  return waitFor(task, locks)
}

/** Who waited for a server, and got a signal, may wait again. */
function restartable(status: number): number {
  return status === -EINTR ? -ERESTARTSYS : status
}

/** Until a lock of the file goes. Of those that others hold outside nobody tells. */
function waitFor(task: Task, locks: InodeLocks): number {
  task.block(locks.queue, -ERESTARTSYS)
  return locks.outside === undefined ? BLOCK : task.blockUntil(task.kernel.now() + OUTSIDE_RETRY)
}

/** struct flock as a range. */
function readLock(task: Task, file: File, ofd: boolean, address: GuestAddr): PosixLock | number {
  const view = task.mm.view(address, FLOCK.size)
  if (view === undefined) return -EFAULT
  const type = view.getInt16(FLOCK.l_type, true)
  const whence = view.getInt16(FLOCK.l_whence, true)
  const offset = takeSigned64(view, FLOCK.l_start)
  const length = takeSigned64(view, FLOCK.l_len)
  const pid = view.getInt32(FLOCK.l_pid, true)
  if (ofd && pid !== 0) return -EINVAL
  let base: number
  if (whence === SEEK_SET) base = 0
  else if (whence === SEEK_CUR) base = file.pos
  else if (whence === SEEK_END) {
    const status = file.inode.getattr()
    if (status < 0) return status
    base = file.inode.size
  } else return -EINVAL
  let start = base + offset
  if (start >= OFFSET_MAX) return -EOVERFLOW
  if (start < 0) return -EINVAL
  let end = LOCK_TO_END
  if (length > 0) {
    end = start + length
    if (end > OFFSET_MAX) return -EOVERFLOW
    if (end === OFFSET_MAX) end = LOCK_TO_END
  } else if (length < 0) {
    if (start + length < 0) return -EINVAL
    end = start
    start += length
  }
  if (type !== F_RDLCK && type !== F_WRLCK && type !== F_UNLCK) return -EINVAL
  return { owner: ofd ? file : task.fds, type, start, end, holder: ofd ? undefined : task.group.pid }
}

/** Who is in the way of the lock, or F_UNLCK in its type. */
function getLock(task: Task, file: File, request: PosixLock, address: GuestAddr): number {
  if (request.type === F_UNLCK) return -EINVAL
  const conflict = inTheWay(file, request)
  if (typeof conflict === 'number') return conflict
  const view = task.mm.view(address, FLOCK.size)
  if (view === undefined) return -EFAULT
  const type = conflict === undefined ? F_UNLCK : conflict.type
  const words = [0, 4, 8, 12, 16, 20, 24, 28].map(at => view.getUint32(at, true))
  const out = task.mm.out(FLOCK.size)
  words.forEach((word, i) => {
    out.setUint32(i * 4, word, true)
  })
  out.setInt16(FLOCK.l_type, type, true)
  if (conflict !== undefined) {
    const length = conflict.end === LOCK_TO_END ? 0 : conflict.end - conflict.start
    out.setInt16(FLOCK.l_whence, SEEK_SET, true)
    put64(out, FLOCK.l_start, conflict.start)
    put64(out, FLOCK.l_len, length)
    out.setInt32(FLOCK.l_pid, pidOf(task, conflict), true)
  }
  return task.mm.commit(address)
}

function inTheWay(file: File, request: PosixLock): PosixLock | undefined | number {
  if (file.lockServer?.ranges === true) return file.lockServer.test(request)
  const locks = locksOf(file.inode)
  return locks.findConflict(request) ?? locks.outside?.conflict(request.type, request.start, request.end)
}

/** As Linux shows it: -1 for a lock of an open description, 0 for a process that isn't to be seen from here. */
function pidOf(task: Task, lock: PosixLock): number {
  if (lock.holder instanceof Pid) return lock.holder.in(task.pidNs)
  return lock.owner === undefined ? 0 : -1
}

/** Locks of the open description, shared by all its descriptors. */
export function flock(task: Task, fd: number, operation: number): number {
  // Mandatory locks, which were never any good.
  if ((operation & LOCK_MAND) !== 0) return 0
  const kind = operation & ~LOCK_NB
  if (kind !== LOCK_SH && kind !== LOCK_EX && kind !== LOCK_UN) return -EINVAL
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  const waits = (operation & LOCK_NB) === 0
  const server = file.lockServer?.flocks === true ? file.lockServer : undefined
  if (kind === LOCK_UN) {
    if (server !== undefined) return restartable(server.flock(kind, waits))
    file.inode.locks?.unflock(file)
    return 0
  }
  if (!file.readable && !file.writable) return -EBADF
  if (server !== undefined) return restartable(server.flock(kind, waits))
  const locks = locksOf(file.inode)
  const status = locks.flock(file, kind)
  return status === -EAGAIN && waits ? waitFor(task, locks) : status
}

export const fileLockCalls = {
  flock: { nr: NR.flock, run: flock, args: [fdArg, flagsArg({ LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN })] },
} satisfies SyscallRows
