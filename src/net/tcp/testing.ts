/**
 * A small network for TCP's own tests: hosts with one address each, joined by a link that loses, delays, reorders, duplicates and
 * corrupts packets by a seed, all in virtual time. Nothing here is part of the stack.
 */
import { type Clock, Timespec } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer, Timers } from '../../kernel/timers.ts'
import { IpAddress } from '../address.ts'
import { Counters } from '../ip/counters.ts'
import type { Flow } from '../ip/flow.ts'
import { NetRuntime, seededFill } from '../ip/runtime.ts'
import { Sysctls } from '../ip/sysctl.ts'
import type { IcmpError } from '../ip/transport.ts'
import { CHECKSUM_NONE, CHECKSUM_VERIFIED, type Packet, PacketQueue } from '../packet.ts'
import type { TcpNetwork, TcpRoute } from './network.ts'
import { TcpProtocol } from './protocol.ts'
import { FIN, PSH, startChecksum } from './segment.ts'

export class VirtualClock implements Clock {
  now = 1e9

  monotonic(): number {
    return this.now
  }
  boottime(): number {
    return this.now
  }
  realtime(): Timespec {
    return new Timespec(Math.floor(this.now / 1e9), this.now % 1e9)
  }
}

/** Clock, timers and everything that is under way. */
export class World {
  readonly clock = new VirtualClock()
  readonly timers = new Timers()
  readonly runtime: NetRuntime

  constructor(seed: number) {
    this.runtime = new NetRuntime(this.clock, this.timers, seededFill(seed))
  }

  /** Goes to the next timer and runs it; false when there is none before `limit`. */
  step(limit: number): boolean {
    const { next } = this.timers
    if (next > limit) return false
    this.clock.now = Math.max(this.clock.now, next)
    this.timers.expire(this.clock.now)
    return true
  }

  /** Lets `ms` pass. */
  advance(ms: number): void {
    const end = this.clock.now + ms * 1e6
    while (this.step(end));
    this.clock.now = end
  }
}

/** One direction of a link. Fractions are probabilities. */
export interface LinkOptions {
  /** One way, ms. */
  delay?: number
  /** Up to so many ms more, at random: reorders. */
  jitter?: number
  loss?: number
  duplicate?: number
  corrupt?: number
  /** Bytes per second; 0: unlimited. */
  rate?: number
  /** Bytes that may wait for the rate. */
  queue?: number
  /** Packets above it are lost in silence. */
  blackHole?: number
}

interface Flight {
  readonly at: number
  readonly packet: Packet
}

/** One direction: packets in flight by their time of arrival. */
export class Link implements Expiry {
  readonly #world: World
  readonly options: LinkOptions
  readonly #flights: Flight[] = []
  readonly #timer = new Timer(this)
  #busyUntil = 0
  to: TestHost | undefined = undefined
  sent = 0

  constructor(world: World, options: LinkOptions) {
    this.#world = world
    this.options = options
  }

  get idle(): boolean {
    return this.#flights.length === 0
  }

  send(packet: Packet): void {
    const { random } = this.#world.runtime
    const { loss = 0, duplicate = 0, corrupt = 0, blackHole = 0 } = this.options
    this.sent++
    packet.completeChecksum()
    packet.checksum = CHECKSUM_NONE
    if ((blackHole > 0 && packet.length > blackHole) || random.fraction() < loss) {
      packet.release()
      return
    }
    if (random.fraction() < duplicate) this.#launch(packet.clone())
    if (random.fraction() < corrupt) {
      const at = packet.start + random.below(packet.length)
      packet.bytes[at] ^= 1 << random.below(8)
    }
    this.#launch(packet)
  }

  #launch(packet: Packet): void {
    const { clock, runtime, timers } = this.#world
    const { delay = 0, jitter = 0, rate = 0, queue = 65536 } = this.options
    let at = clock.now
    if (rate > 0) {
      const waiting = Math.max(this.#busyUntil - clock.now, 0)
      if ((waiting / 1e9) * rate > queue) {
        packet.release()
        return
      }
      this.#busyUntil = Math.max(this.#busyUntil, clock.now) + (packet.length / rate) * 1e9
      at = this.#busyUntil
    }
    at += delay * 1e6 + (jitter > 0 ? runtime.random.fraction() * jitter * 1e6 : 0)
    let index = this.#flights.length
    while (index > 0 && this.#flights[index - 1].at > at) index--
    this.#flights.splice(index, 0, { at, packet })
    timers.add(this.#timer, this.#flights[0].at)
  }

  expired(): void {
    const { clock, timers } = this.#world
    while (this.#flights.length > 0 && this.#flights[0].at <= clock.now) {
      this.to!.receive(this.#flights.shift()!.packet)
    }
    if (this.#flights.length > 0) timers.add(this.#timer, this.#flights[0].at)
  }
}

/** A host with one address and one link. */
export class TestHost implements TcpNetwork {
  readonly runtime: NetRuntime
  readonly sysctl = new Sysctls()
  readonly counters = new Counters()
  readonly tcp: TcpProtocol
  readonly address: IpAddress
  mtu = 1500
  /** What becomes of a packet; by default: split and sent over `link`. */
  output: (packet: Packet) => void
  link: Link | undefined = undefined

  constructor(world: World, address: string) {
    this.runtime = world.runtime
    this.address = IpAddress.of(address)
    this.tcp = new TcpProtocol(this)
    this.output = packet => split(packet, one => this.link!.send(one))
  }

  routeFor(flow: Flow): TcpRoute {
    const mtu = this.mtu
    return {
      source: this.address,
      mtu,
      isLocal: flow.destination.equals(this.address),
      toMany: false,
      device: { index: 1, features: { gsoMaxSize: 65536 } },
      advmss: 0,
      initialWindow: 0,
      confirm() {},
    }
  }

  lowerMtu(error: IcmpError): void {
    this.mtu = Math.min(this.mtu, error.info)
  }

  send(packet: Packet, flow: Flow): Status {
    packet.source = flow.source
    packet.destination = flow.destination
    packet.tos = flow.tos
    packet.transport = packet.start
    this.output(packet)
    return 0
  }

  receive(packet: Packet): void {
    this.tcp.receive(packet)
  }
}

/** What the link below does with a packet of several segments. */
export function split(packet: Packet, send: (packet: Packet) => void): void {
  if (packet.gsoSize === 0) {
    send(packet)
    return
  }
  const { view, bytes, start, pool } = packet
  const header = (view.getUint8(start + 12) >>> 4) * 4
  const seq = view.getInt32(start + 4)
  const total = packet.end - start - header
  for (let at = 0; at < total; at += packet.gsoSize) {
    const length = Math.min(packet.gsoSize, total - at)
    const part = pool!.allocate(header + length)
    part.append(header + length)
    part.bytes.set(bytes.subarray(start, start + header), part.start)
    part.bytes.set(bytes.subarray(start + header + at, start + header + at + length), part.start + header)
    part.view.setInt32(part.start + 4, (seq + at) | 0)
    if (at + length < total) part.bytes[part.start + 13] &= ~(FIN | PSH)
    part.source = packet.source
    part.destination = packet.destination
    part.tos = packet.tos
    part.transport = part.start
    startChecksum(part, packet.source, packet.destination)
    send(part)
  }
  packet.release()
}

/** Two hosts and what joins them. */
export function connectHosts(
  world: World,
  a: TestHost,
  b: TestHost,
  there: LinkOptions,
  back: LinkOptions,
): void {
  a.link = new Link(world, there)
  b.link = new Link(world, back)
  a.link.to = b
  b.link.to = a
}

/** A link that takes no time and copies nothing: for measuring what TCP itself costs. `drain` delivers what was sent. */
export function connectDirectly(a: TestHost, b: TestHost): { drain(): void } {
  const queue = new PacketQueue()
  const output = (packet: Packet): void => {
    packet.checksum = CHECKSUM_VERIFIED
    queue.push(packet)
  }
  a.output = b.output = output
  return {
    drain(): void {
      for (let packet = queue.shift(); packet !== undefined; packet = queue.shift()) {
        const to = packet.destination.equals(a.address) ? a : b
        to.receive(packet)
      }
    },
  }
}
