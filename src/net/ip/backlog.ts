/**
 * Backlog: packets that devices have received and no stack has looked at yet (Linux's softnet queue). It keeps reception
 * out of transmission: what a loopback device sends comes in after the sender has finished its step, so that no endpoint
 * is entered twice.
 *
 * It is drained by who knows that a step is finished: the socket layer at the end of a call, a host link at the end of a
 * batch, and otherwise by a timer that is due at once.
 */
import type { Clock } from '../../base/clock.ts'
import { type Expiry, Timer, type Timers } from '../../kernel/timers.ts'
import type { NetDevice } from '../link/device.ts'
import { type Packet, PacketQueue } from '../packet.ts'

/** Packets of one drain; the rest waits for the next turn of the kernel's loop, so that guests go on running. */
const BUDGET = 4096

export class Backlog implements Expiry {
  readonly #clock: Clock
  readonly #timers: Timers
  readonly #queue = new PacketQueue()
  readonly #timer = new Timer(this)
  #draining = false
  /** A bug made a packet's processing throw: throws itself where that is not to be survived. */
  failed: (device: NetDevice, error: unknown) => void = (_device, error) => {
    throw error
  }
  /** For /proc/net/softnet_stat: packets given to stacks, those that there was no room for, and drains that had to end early. */
  processed = 0
  dropped = 0
  squeezed = 0

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock
    this.#timers = timers
  }

  get length(): number {
    return this.#queue.length
  }

  /** Takes a frame; drops it when `limit` are waiting already: false. */
  push(device: NetDevice, packet: Packet, limit: number): boolean {
    if (this.#queue.length >= limit) {
      this.dropped++
      device.statistics.rxDropped++
      packet.release()
      return false
    }
    packet.device = device
    this.#queue.push(packet)
    if (!this.#draining && !this.#timer.armed) this.#timers.add(this.#timer, this.#clock.monotonic())
    return true
  }

  /** Gives the packets to their stacks, and those that they cause meanwhile. Inside of itself it does nothing. */
  drain(): void {
    if (this.#draining || this.#queue.length === 0) return
    this.#draining = true
    try {
      for (let left = BUDGET; left > 0; left--) {
        const packet = this.#queue.shift()
        if (packet === undefined) break
        this.processed++
        this.#process(packet, packet.device!)
      }
    } finally {
      this.#draining = false
      if (this.#queue.length > 0) {
        this.squeezed++
        this.#timers.add(this.#timer, this.#clock.monotonic())
      } else this.#timers.cancel(this.#timer)
    }
  }

  #process(packet: Packet, device: NetDevice): void {
    const { stack } = device
    // The device may have gone meanwhile.
    if (stack === undefined) {
      packet.release()
      return
    }
    try {
      stack.process(packet)
    } catch (error) {
      // Whoever had it may have kept it: its memory is not used again.
      device.statistics.rxDropped++
      this.failed(device, error)
    }
  }

  expired(): void {
    this.drain()
  }
}
