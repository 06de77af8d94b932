/**
 * Leases of one inode (fcntl(2), 'Leases'): the holder is told before somebody opens the file in a way that conflicts.
 *
 * A lease is taken through an open description and ends with it. Whoever opens the file in conflict begins to break it
 * (`breakFor`): the holder gets its signal, and has `vfs.leaseBreakTime` to give way; the opener waits on `queue` until
 * the deadline, and asks again. What the holder has not done by then is done by who asks. Made at the first lease, kept
 * with the inode.
 */
import { CAP_LEASE, F_RDLCK, F_UNLCK, F_WRLCK, POLL_MSG } from '../abi/constants.ts'
import { EACCES, EAGAIN, EINVAL } from '../abi/errno.ts'
import { NSEC_PER_SEC } from '../base/clock.ts'
import type { Credentials } from '../base/credentials.ts'
import type { Status } from '../base/result.ts'
import { WaitQueue } from '../base/wait-queue.ts'
import type { File } from './file.ts'
import { seenUid } from './idmap.ts'
import type { Vfs } from './vfs.ts'

interface Lease {
  readonly file: File
  /** By which it was taken: what the signal tells. */
  readonly fd: number
  /** F_RDLCK or F_WRLCK. */
  type: number
  /** While it is being broken: what is left of it then, F_RDLCK or F_UNLCK. */
  breakTo: number | undefined
  /** Monotonic ns: when that is done without the holder. */
  deadline: number
}

export class InodeLeases {
  readonly #vfs: Vfs
  #leases: Lease[] = []
  /** Woken when a lease is given up or weakened. */
  readonly queue = new WaitQueue()

  constructor(vfs: Vfs) {
    this.#vfs = vfs
  }

  /** What `file` holds; of a lease that is being broken, what it is to become. */
  typeOf(file: File): number {
    this.#expire()
    const lease = this.#leases.find(each => each.file === file)
    return lease === undefined ? F_UNLCK : (lease.breakTo ?? lease.type)
  }

  /** Takes, changes or (F_UNLCK) gives up the lease of `file`. */
  set(file: File, fd: number, type: number): Status {
    this.#expire()
    const own = this.#leases.find(lease => lease.file === file)
    if (type === F_UNLCK) {
      if (own === undefined) return -EAGAIN
      this.drop(file)
      return 0
    }
    for (const lease of this.#leases) {
      if (lease === own) continue
      // A lease to write is the only one; and nobody joins in what is being broken.
      if (type === F_WRLCK || lease.type === F_WRLCK || lease.breakTo === F_UNLCK) return -EAGAIN
    }
    if (own === undefined) this.#leases.push({ file, fd, type, breakTo: undefined, deadline: 0 })
    else {
      own.type = type
      own.breakTo = undefined
      this.queue.wakeAll()
    }
    return 0
  }

  drop(file: File): void {
    const kept = this.#leases.filter(lease => lease.file !== file)
    if (kept.length === this.#leases.length) return
    this.#leases = kept
    this.queue.wakeAll()
  }

  /**
   * Somebody opens the file, to write or only to read: whether leases are in the way. Their holders have been told; the
   * monotonic time to wait until at most, 0 if there is nothing to wait for.
   */
  breakFor(write: boolean): number {
    this.#expire()
    const { clock, leaseBreakTime } = this.#vfs
    let until = 0
    for (const lease of this.#leases) {
      if (lease.type === F_RDLCK && !write) continue
      const target = write ? F_UNLCK : F_RDLCK
      if (lease.breakTo === undefined || (target === F_UNLCK && lease.breakTo !== F_UNLCK)) {
        lease.breakTo = target
        lease.deadline =
          leaseBreakTime === 0 ? Number.POSITIVE_INFINITY : clock.monotonic() + leaseBreakTime * NSEC_PER_SEC
        this.#vfs.signalOwner(lease.file, lease.fd, POLL_MSG)
      }
      until = Math.max(until, lease.deadline)
    }
    return until
  }

  /** time_out_leases. */
  #expire(): void {
    if (this.#leases.length === 0) return
    const now = this.#vfs.clock.monotonic()
    let changed = false
    for (const lease of [...this.#leases]) {
      if (lease.breakTo === undefined || now < lease.deadline) continue
      if (lease.breakTo === F_UNLCK) this.#leases.splice(this.#leases.indexOf(lease), 1)
      else lease.type = lease.breakTo
      lease.breakTo = undefined
      changed = true
    }
    if (changed) this.queue.wakeAll()
  }
}

/** fcntl(F_SETLEASE). */
export function setLease(vfs: Vfs, cred: Credentials, file: File, fd: number, type: number): Status {
  if (type !== F_RDLCK && type !== F_WRLCK && type !== F_UNLCK) return -EINVAL
  const { inode } = file
  if (type === F_UNLCK) return inode.leases?.set(file, fd, type) ?? -EAGAIN
  if (cred.fsuid !== seenUid(file.path.mount, inode) && !cred.capable(CAP_LEASE)) return -EACCES
  if (!inode.isRegular) return -EINVAL
  if (type === F_RDLCK && inode.writers > 0) return -EAGAIN
  if (type === F_WRLCK) {
    const writers = file.writable ? 1 : 0
    if (inode.writers !== writers || inode.readers !== 1 - writers) return -EAGAIN
  }
  inode.leases ??= new InodeLeases(vfs)
  return inode.leases.set(file, fd, type)
}
