/** The pids controller: how many tasks (threads) a cgroup may have. A fork beyond the limit is EAGAIN. */
import { EAGAIN } from '../../abi/errno.ts'
import { Changes } from '../../base/changes.ts'
import type { Status } from '../../base/result.ts'

export class PidsController {
  readonly #parent: PidsController | undefined
  max = Number.POSITIVE_INFINITY
  /** Tasks here and below. */
  current = 0
  peak = 0
  /** pids.events: forks that the limit of this cgroup has refused, here and below. */
  refused = 0
  /** pids.events.local: by its own limit alone. */
  refusedHere = 0
  readonly changes = new Changes()

  constructor(parent: PidsController | undefined) {
    this.#parent = parent
  }

  /** Whether one more task may be made here. */
  mayFork(): Status {
    for (let at: PidsController | undefined = this; at !== undefined; at = at.#parent) {
      if (at.current + 1 <= at.max) continue
      at.refusedHere++
      for (let each: PidsController | undefined = at; each !== undefined; each = each.#parent) {
        each.refused++
        each.changes.changed()
      }
      return -EAGAIN
    }
    return 0
  }

  charge(count = 1): void {
    for (let at: PidsController | undefined = this; at !== undefined; at = at.#parent) {
      at.current += count
      at.peak = Math.max(at.peak, at.current)
    }
  }
  uncharge(count = 1): void {
    for (let at: PidsController | undefined = this; at !== undefined; at = at.#parent) at.current -= count
  }

  reset(): void {
    this.max = Number.POSITIVE_INFINITY
  }
}
