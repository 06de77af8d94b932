/**
 * File locks of one inode: byte ranges of processes (POSIX) and of open descriptions (OFD), fcntl_locking(2), and
 * flock(2). The two families do not see each other. Made at the first lock (`locksOf`), kept with the inode.
 *
 * Always true: the ranges of one owner are disjoint, sorted, and neighbours of one type are merged.
 *
 * A file of the host that others use, too, has OutsideLocks: there the sandbox holds, as one owner, the strongest of what
 * its owners hold. Nobody tells when a lock of others goes: who waits for it has to try again.
 */
import { F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_UN, O_PATH } from '../abi/constants.ts'
import { EAGAIN } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
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

/** The locks of one file of the host: of this sandbox as a whole, beside others that have the file. */
export interface OutsideLocks {
  /** Sets or (F_UNLCK) drops a range: 0, -EAGAIN where others are in the way, or another errno. */
  set(type: number, start: number, end: number): Status
  /** What of others is in the way. */
  conflict(type: number, start: number, end: number): PosixLock | undefined
  /** LOCK_SH, LOCK_EX or LOCK_UN, without waiting. */
  flock(file: File, operation: number): Status
  /** No range is held any more. */
  idle(): void
}

/** Who keeps the locks of a file in the kernel's place: a server whose clients may be on many machines (FUSE). */
export interface LockServer {
  /** Whether it keeps the ranges of fcntl(2), and the locks of flock(2): else they are InodeLocks. */
  readonly ranges: boolean
  readonly flocks: boolean
  /** F_GETLK: what is in the way, if anything is; or an errno. */
  test(request: PosixLock): PosixLock | undefined | number
  /** F_SETLK, or with `waits` F_SETLKW: 0, an errno, PENDING. */
  set(request: PosixLock, waits: boolean): Status
  /** LOCK_SH, LOCK_EX or LOCK_UN. */
  flock(operation: number, waits: boolean): Status
}

export class InodeLocks {
  #ranges: PosixLock[] = []
  /** Who also has to agree. */
  readonly outside: OutsideLocks | undefined
  readonly #flocks = new Map<File, number>()
  /** Woken whenever a lock is given up or weakened. */
  readonly queue = new WaitQueue()

  constructor(outside?: OutsideLocks) {
    this.outside = outside
  }

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

  /**
   * Sets or (F_UNLCK) drops the range. The caller has seen that nothing conflicts in here; -EAGAIN if something does
   * outside.
   */
  set(request: PosixLock): Status {
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
    const status = this.#replace(
      others.concat(own).sort((a, b) => a.start - b.start),
      request.start,
      request.end,
    )
    if (weakened) this.queue.wakeAll()
    return status
  }

  /** Puts other ranges in the place of those that are, which differ between `start` and `end` alone. */
  #replace(ranges: PosixLock[], start: number, end: number): Status {
    const { outside } = this
    if (outside !== undefined) {
      const status = change(outside, this.#ranges, ranges, start, end)
      if (status < 0) return status
      if (ranges.length === 0) outside.idle()
    }
    this.#ranges = ranges
    return 0
  }

  /** All ranges of the owner: the process closed a descriptor of the file, or the description went. */
  dropOwner(owner: unknown): void {
    const gone = this.#ranges.filter(lock => lock.owner === owner)
    if (gone.length === 0) return
    const kept = this.#ranges.filter(lock => lock.owner !== owner)
    this.#replace(kept, gone[0].start, gone[gone.length - 1].end)
    this.queue.wakeAll()
  }

  /**
   * flock(2) with LOCK_SH or LOCK_EX: 0 when it is held now, -EAGAIN while others are in the way. A lock of the other kind
   * is lost first, as in Linux.
   */
  flock(file: File, type: number): Status {
    const old = this.#flocks.get(file)
    if (old === type) return 0
    if (old !== undefined) this.unflock(file)
    for (const held of this.#flocks.values()) if (held === LOCK_EX || type === LOCK_EX) return -EAGAIN
    const status = this.outside?.flock(file, type) ?? 0
    if (status === 0) this.#flocks.set(file, type)
    return status
  }

  unflock(file: File): void {
    if (!this.#flocks.delete(file)) return
    this.outside?.flock(file, LOCK_UN)
    this.queue.wakeAll()
  }
}

const STRENGTH: ReadonlyMap<number, number> = new Map([
  [F_UNLCK, 0],
  [F_RDLCK, 1],
  [F_WRLCK, 2],
])

/** Makes what is held outside follow the change: first what becomes stronger, which can fail and is then taken back. */
function change(
  outside: OutsideLocks,
  before: readonly PosixLock[],
  after: readonly PosixLock[],
  start: number,
  end: number,
): Status {
  const pieces = piecesOf(before, after, start, end)
  const stronger = pieces.filter(({ from, to }) => STRENGTH.get(to)! > STRENGTH.get(from)!)
  for (let i = 0; i < stronger.length; i++) {
    const piece = stronger[i]
    const status = outside.set(piece.to, piece.start, piece.end)
    if (status === 0) continue
    for (let done = 0; done < i; done++)
      outside.set(stronger[done].from, stronger[done].start, stronger[done].end)
    return status
  }
  for (const { from, to, start, end } of pieces)
    if (STRENGTH.get(to)! < STRENGTH.get(from)!) outside.set(to, start, end)
  return 0
}

interface Piece {
  readonly start: number
  readonly end: number
  /** The strongest type that anybody had there, and has then. */
  readonly from: number
  readonly to: number
}

function piecesOf(
  before: readonly PosixLock[],
  after: readonly PosixLock[],
  start: number,
  end: number,
): readonly Piece[] {
  const borders = new Set([start, end])
  for (const lock of [...before, ...after]) {
    if (lock.start > start && lock.start < end) borders.add(lock.start)
    if (lock.end > start && lock.end < end) borders.add(lock.end)
  }
  const points = [...borders].sort((a, b) => a - b)
  return points.slice(1).map((to, i) => ({
    start: points[i],
    end: to,
    from: strongestAt(before, points[i]),
    to: strongestAt(after, points[i]),
  }))
}

function strongestAt(locks: readonly PosixLock[], offset: number): number {
  let type = F_UNLCK
  for (const lock of locks) {
    if (lock.start > offset || lock.end <= offset) continue
    if (lock.type === F_WRLCK) return F_WRLCK
    type = F_RDLCK
  }
  return type
}

export function locksOf(inode: Inode): InodeLocks {
  inode.locks ??= new InodeLocks(inode.outsideLocks())
  return inode.locks
}

/** A descriptor of `file` was closed in the process that owns `table`. O_PATH descriptors have never opened it. */
export function dropProcessLocks(file: File, table: unknown): void {
  if ((file.flags & O_PATH) !== 0) return
  file.path.dentry.inode?.locks?.dropOwner(table)
}

/** The open description is gone. */
export function dropFileLocks(file: File): void {
  const locks = file.path.dentry.inode?.locks
  if (locks === undefined) return
  locks.dropOwner(file)
  locks.unflock(file)
}
