/**
 * Rates of a link, in bits a second. What leaves by a device beyond its rate waits in a queue for its turn (a Shaper, as tc-tbf(8));
 * what comes in beyond it is dropped (a Policer, as the police action of tc(8)), whereupon its sender slows down.
 *
 * Both are a device's for its life. A packet may pass as long as there is any credit, and may leave a debt behind: so the
 * rate holds on the whole however large packets are.
 */
import { ENOBUFS } from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import { type Packet, PacketQueue } from '../packet.ts'
import type { NetDevice } from './device.ts'

export interface LinkRates {
  /** What the guest sends. */
  readonly egress?: number
  /** What it gets. */
  readonly ingress?: number
}

/** Below that a packet would take seconds. */
const LEAST_RATE = 8000
const MOST_RATE = 1e12
/** Seconds of the rate, and bytes at least: what may pass at once after a pause, and what may wait. */
const BURST = 0.01
const LEAST_BURST = 16 << 10
const POLICED_BURST = 0.1
const LEAST_POLICED_BURST = 128 << 10
const QUEUE = 0.1
const LEAST_QUEUE = 64 << 10
/** Small packets lie in larger buffers: how much more those may take. */
const BUFFERS = 4

/** '10mbit', '10M', '500kbit', '1000000': bits a second, or what is wrong with the text. */
export function parseRate(text: string): number | string {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)([kmg]?)(?:bit)?$/i.exec(text) ?? []
  if (digits === undefined) return `${text} is no rate such as 10mbit`
  const rate = Math.floor(Number(digits) * 1000 ** ' kmg'.indexOf(unit.toLowerCase() || ' '))
  return rate >= LEAST_RATE && rate <= MOST_RATE ? rate : `${text}: rates are 8kbit to 1000gbit`
}

class Credit {
  readonly #bytesPerNs: number
  readonly #most: number
  #bytes: number
  #at = 0

  constructor(rate: number, burst: number, least: number) {
    this.#bytesPerNs = rate / 8 / NSEC_PER_SEC
    this.#most = Math.max((rate / 8) * burst, least)
    this.#bytes = this.#most
  }

  /** ns until something may pass; 0: it may. */
  wait(now: number): number {
    this.#bytes = Math.min(this.#most, this.#bytes + (now - this.#at) * this.#bytesPerNs)
    this.#at = now
    return this.#bytes > 0 ? 0 : Math.ceil((1 - this.#bytes) / this.#bytesPerNs)
  }
  spend(bytes: number): void {
    this.#bytes -= bytes
  }
}

export class Shaper implements Expiry {
  readonly #device: NetDevice
  readonly #credit: Credit
  readonly #queue = new PacketQueue()
  readonly #room: number
  readonly #timer = new Timer(this)

  constructor(device: NetDevice, rate: number) {
    this.#device = device
    this.#credit = new Credit(rate, BURST, LEAST_BURST)
    this.#room = Math.max((rate / 8) * QUEUE, LEAST_QUEUE)
    // Packets that are longer than a burst would come in long intervals.
    const gsoMaxSize = Math.min(device.features.gsoMaxSize, Math.max((rate / 8) * BURST, device.mtu))
    device.features = { ...device.features, gsoMaxSize }
  }

  /** Owns the packet; the device's to send it is now or later. */
  send(packet: Packet, now: number): Status {
    const wait = this.#queue.length > 0 ? 1 : this.#credit.wait(now)
    if (wait === 0) return this.#pass(packet)
    const device = this.#device
    const { bytes, memory } = this.#queue
    if (bytes + packet.length > this.#room || memory + packet.bytes.length > BUFFERS * this.#room) {
      device.statistics.txDropped++
      packet.release()
      return -ENOBUFS
    }
    this.#queue.push(packet)
    if (!this.#timer.armed) device.stack!.timers.add(this.#timer, now + wait)
    return 0
  }

  expired(): void {
    const { stack, up } = this.#device
    // It was set down, or is gone.
    if (stack === undefined || !up) {
      this.#queue.clear()
      return
    }
    const now = stack.runtime.now()
    while (this.#queue.length > 0) {
      const wait = this.#credit.wait(now)
      if (wait > 0) {
        stack.timers.add(this.#timer, now + wait)
        return
      }
      this.#pass(this.#queue.shift()!)
    }
  }

  #pass(packet: Packet): Status {
    this.#credit.spend(packet.length)
    return this.#device.transmit(packet)
  }
}

export class Policer {
  readonly #credit: Credit

  constructor(rate: number) {
    this.#credit = new Credit(rate, POLICED_BURST, LEAST_POLICED_BURST)
  }

  /** Whether a frame may come in. */
  admits(length: number, now: number): boolean {
    if (this.#credit.wait(now) > 0) return false
    this.#credit.spend(length)
    return true
  }
}
