/**
 * NetRuntime: what all network stacks of one kernel share: clock, timers, randomness, packet buffers, the backlog of
 * received packets, and the room that their filters have. Made by who makes the kernel, or by a test with a virtual clock and a seed.
 */
import type { Clock } from '../../base/clock.ts'
import type { Timers } from '../../kernel/timers.ts'
import { AddressCache } from '../address.ts'
import { FilterRoom } from '../filter/room.ts'
import { PacketPool } from '../packet.ts'
import { QueueRoom } from '../qdisc/qdisc.ts'
import { Backlog } from './backlog.ts'

export class NetRuntime {
  readonly clock: Clock
  readonly timers: Timers
  readonly random: Random
  readonly packets = new PacketPool()
  readonly addresses = new AddressCache()
  readonly backlog: Backlog
  readonly filterRoom = new FilterRoom()
  readonly queueRoom = new QueueRoom()
  /** How many tunnels the packet that is being sent is inside of: link/tunnel.ts. */
  tunnelDepth = 0

  /** `fill`: random bytes that no guest can guess. */
  constructor(clock: Clock, timers: Timers, fill: (into: Uint8Array) => void) {
    this.clock = clock
    this.timers = timers
    this.random = new Random(fill)
    this.backlog = new Backlog(clock, timers)
  }

  /** Monotonic ns. */
  now(): number {
    return this.clock.monotonic()
  }
}

/** Random numbers out of a buffer, so that one costs no call to the host. */
export class Random {
  readonly #fill: (into: Uint8Array) => void
  readonly #bytes = new Uint8Array(1024)
  readonly #words = new Uint32Array(this.#bytes.buffer)
  #at = this.#words.length

  constructor(fill: (into: Uint8Array) => void) {
    this.#fill = fill
  }

  /** 0..2^32-1. */
  u32(): number {
    if (this.#at === this.#words.length) {
      this.#fill(this.#bytes)
      this.#at = 0
    }
    const word = this.#words[this.#at]
    // What was given out is not left for a reader of memory.
    this.#words[this.#at++] = 0
    return word
  }
  /** 0..limit-1, for limits up to 2^32. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x100000000) * limit)
  }
  /** 0 <= x < 1 */
  fraction(): number {
    return this.u32() / 0x100000000
  }
}

/** A `fill` that gives the same bytes for the same seed: for tests only. */
export function seededFill(seed: number): (into: Uint8Array) => void {
  let state = seed >>> 0 || 1
  return into => {
    for (let i = 0; i < into.length; i++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      into[i] = (Math.imul(state, 0x9e3779b1) >>> 24) & 0xff
    }
  }
}
