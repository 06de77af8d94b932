/**
 * ConnectionCount: how many connections there are of those that a rule has seen: nf_conncount. They are counted as long as they are
 * tracked; TCP's that are over are not.
 */
import { TCP_CONNTRACK_CLOSE, TCP_CONNTRACK_TIME_WAIT } from '../../../abi/constants.ts'
import type { Connection } from './connection.ts'

/** Connections that are known: when there are so many, those that are over are forgotten, whatever the limit. */
const MANY = 1024

export class ConnectionCount {
  readonly #known = new Set<Connection>()
  #many = MANY

  /** Whether there are more than `limit` with this one, whose packet is looked at now. */
  exceeds(limit: number, connection: Connection, now: number): boolean {
    this.#known.add(connection)
    // Only where it makes a difference are those taken out that are over.
    if (this.#known.size > Math.min(limit, this.#many)) this.#sweep(connection, now)
    return this.#known.size > limit
  }
  /** For who keeps many counts: whether all that it has counted are over. */
  isOver(now: number): boolean {
    this.#sweep(undefined, now)
    return this.#known.size === 0
  }

  /** Takes out those that are over, but not the `current` one. */
  #sweep(current: Connection | undefined, now: number): void {
    for (const connection of this.#known)
      if (connection !== current && isOver(connection, now)) this.#known.delete(connection)
    // So that each is looked at only once for each new one.
    this.#many = Math.max(MANY, 2 * this.#known.size)
  }
}

function isOver(connection: Connection, now: number): boolean {
  // What began with an earlier packet and isn't confirmed was dropped with it.
  if (!connection.confirmed || connection.dying || connection.expires <= now) return true
  const state = connection.tcp?.state
  return state === TCP_CONNTRACK_TIME_WAIT || state === TCP_CONNTRACK_CLOSE
}
