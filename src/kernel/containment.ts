/**
 * Containment: what becomes of a bug in the kernel (an exception) where no task is served that could pay for it.
 *
 * A timer's owner that belongs to a process says so (`Expiry.victim`): that process ends. A packet that was received is
 * dropped (net/ip/backlog.ts). Whatever else fails ends the sandbox, since nobody knows what was left half done, and so does one
 * bug too many. All of it is in the log.
 */
import { SIGSYS } from '../abi/constants.ts'
import type { Log } from './kernel.ts'
import { killGroup } from './signal.ts'
import type { Timer } from './timers.ts'

/** So many are logged in full; later ones only at each power of two. */
const LOGGED = 20
/** After so many there is no going on. */
const MOST = 1000

/** What is known of where it was thrown. */
export function traceOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

export class Containment {
  readonly #log: Log
  #count = 0

  constructor(log: Log) {
    this.#log = log
  }

  /** `what` has failed, and the kernel goes on. Throws if it does not. */
  survived(what: string, error: unknown): void {
    const count = ++this.#count
    if (count > MOST) throw error
    if (count > LOGGED && (count & (count - 1)) !== 0) return
    this.#log.error(`bug: ${what} failed in the kernel (number ${count} of such): ${traceOf(error)}`)
  }

  /** A timer's `expired` has thrown. */
  readonly timerFailed = (timer: Timer, error: unknown): void => {
    const group = timer.owner.victim?.()
    if (group === undefined) throw error
    this.survived(`a timer of ${group.leader.comm} (pid ${group.tgid})`, error)
    if (!group.dead) killGroup(group, SIGSYS)
  }
}
