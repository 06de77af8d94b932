/**
 * File locks of one inode: byte ranges of processes (POSIX) and of open descriptions (OFD), fcntl_locking(2), and
 * flock(2). The two families do not see each other. Made at the first lock (`locksOf`), kept with the inode.
 *
 * Always true: the ranges of one owner are disjoint, sorted, and neighbours of one type are merged.
 */
import { F_UNLCK, F_WRLCK, LOCK_EX } from '../abi/constants.ts'
import { WaitQueue } from '../base/wait-queue.ts'
import type { File } from './file.ts'
import type { Inode } from './inode.ts'

/** The end of a range that reaches to the end of the file, whatever that becomes. */
export const LOCK_TO_END = Number.POSITIVE_INFINITY

export interface PosixLock {
  /** The descriptor table of the process, or the File of an OFD lock. */
  readonly owner: unknown
  /** F_RDLCK, F_WRLCK, or F_UNLCK as a request. */
  readonly type: number
  readonly start: number
  /** Exclusive. */
  readonly end: number
  /** For F_GETLK: the Pid of the process that set it; undefined for OFD locks. */
  readonly holder: unknown
}

export class InodeLocks {
  #ranges: PosixLock[] = []
  readonly #flocks = new Map<File, number>()
  /** Woken whenever a lock is given up or weakened. */
  readonly queue = new WaitQueue()

  get empty(): boolean {
    return this.#ranges.length === 0 && this.#flocks.size === 0
  }
  /** For /proc/locks. */
  get ranges(): readonly PosixLock[] {
    return this.#ranges
  }
  get flocks(): ReadonlyMap<File, number> {
    return this.#flocks
  }

  /** The first lock of another owner that does not go together with the request. */
  findConflict(request: PosixLock): PosixLock | undefined {
    for (const lock of this.#ranges) {
      if (lock.owner === request.owner || lock.end <= request.start || lock.start >= request.end) continue
      if (lock.type === F_WRLCK || request.type === F_WRLCK) return lock
    }
    return undefined
  }

  /** Sets or (F_UNLCK) drops the range. The caller has seen that nothing conflicts. */
  set(request: PosixLock): void {
    const others: PosixLock[] = []
    const own: PosixLock[] = []
    let { start, end } = request
    let weakened = false
    for (const lock of this.#ranges) {
      if (lock.owner !== request.owner) {
        others.push(lock)
        continue
      }
      if (lock.type === request.type && lock.start <= end && lock.end >= start) {
        start = Math.min(start, lock.start)
        end = Math.max(end, lock.end)
        continue
      }
      if (lock.end <= request.start || lock.start >= request.end) {
        own.push(lock)
        continue
      }
      if (lock.type === F_WRLCK || request.type === F_UNLCK) weakened = true
      if (lock.start < request.start) own.push({ ...lock, end: request.start })
      if (lock.end > request.end) own.push({ ...lock, start: request.end })
    }
    if (request.type !== F_UNLCK) own.push({ ...request, start, end })
    this.#ranges = others.concat(own).sort((a, b) => a.start - b.start)
    if (weakened) this.queue.wakeAll()
  }

  /** All ranges of the owner: the process closed a descriptor of the file, or the description went. */
  dropOwner(owner: unknown): void {
    const kept = this.#ranges.filter(lock => lock.owner !== owner)
    if (kept.length === this.#ranges.length) return
    this.#ranges = kept
    this.queue.wakeAll()
  }

  /** flock(2) with LOCK_SH or LOCK_EX: whether it is held now. A lock of the other kind is lost first, as in Linux. */
  flock(file: File, type: number): boolean {
    const old = this.#flocks.get(file)
    if (old === type) return true
    if (old !== undefined) this.unflock(file)
    for (const held of this.#flocks.values()) if (held === LOCK_EX || type === LOCK_EX) return false
    this.#flocks.set(file, type)
    return true
  }

  unflock(file: File): void {
    if (this.#flocks.delete(file)) this.queue.wakeAll()
  }
}

export function locksOf(inode: Inode): InodeLocks {
  inode.locks ??= new InodeLocks()
  return inode.locks
}

/** A descriptor of `file` was closed in the process that owns `table`. */
export function dropProcessLocks(file: File, table: unknown): void {
  file.path.dentry.inode?.locks?.dropOwner(table)
}

/** The open description is gone. */
export function dropFileLocks(file: File): void {
  const locks = file.path.dentry.inode?.locks
  if (locks === undefined) return
  locks.dropOwner(file)
  locks.unflock(file)
}
