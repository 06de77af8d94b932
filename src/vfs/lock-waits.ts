/** Who waits for a POSIX lock: the graph in which F_SETLKW looks for a deadlock. */
import type { InodeLocks, PosixLock } from './locks.ts'

/** One task in F_SETLKW. */
export interface LockWait {
  readonly locks: InodeLocks
  readonly lock: PosixLock
}

/** Linux gives up after as many steps, and then sees no deadlock. */
const MAX_STEPS = 10

export class LockWaits {
  readonly #waits = new Map<unknown, Set<LockWait>>()

  add(wait: LockWait): void {
    const owner = wait.lock.owner
    let waits = this.#waits.get(owner)
    if (waits === undefined) {
      waits = new Set()
      this.#waits.set(owner, waits)
    }
    waits.add(wait)
  }

  remove(wait: LockWait): void {
    const waits = this.#waits.get(wait.lock.owner)
    if (waits?.delete(wait) && waits.size === 0) this.#waits.delete(wait.lock.owner)
  }

  /** Whether `blocker`, for whom `owner` is about to wait, waits for `owner` itself, maybe through others. */
  wouldDeadlock(owner: unknown, blocker: unknown): boolean {
    for (let step = 0; step < MAX_STEPS; step++) {
      const next = this.#blockerOf(blocker)
      if (next === undefined) return false
      if (next === owner) return true
      blocker = next
    }
    return false
  }

  #blockerOf(owner: unknown): unknown {
    const waits = this.#waits.get(owner)
    if (waits === undefined) return undefined
    for (const wait of waits) {
      const conflict = wait.locks.findConflict(wait.lock)
      if (conflict !== undefined) return conflict.owner
    }
    return undefined
  }
}
