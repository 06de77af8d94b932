/**
 * Neighbours: who on a link has which link address. A Neighbour is made when a packet is first sent to its address (or by
 * netlink), goes through the states of RFC 4861 §7.3.2, which Linux uses for ARP too, and is collected when nobody has
 * used it for a while. ARP and NDP are the `resolver`s: they ask, and they call `update` with what they learn.
 *
 *     INCOMPLETE ─answer→ REACHABLE ─time→ STALE ─sent to→ DELAY ─time→ PROBE ─answer→ REACHABLE
 *          └─ no answer ─→ FAILED ←─────────────────────── no answer ─┘
 */
import {
  ETH_P_IP,
  ETH_P_IPV6,
  NUD_DELAY,
  NUD_FAILED,
  NUD_INCOMPLETE,
  NUD_NOARP,
  NUD_NONE,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
} from '../../abi/constants.ts'
import { EHOSTUNREACH, ENOBUFS } from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import type { Status } from '../../base/result.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpAddress } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { type Packet, PacketQueue } from '../packet.ts'
import { NeighbourProxies } from './neighbour-proxies.ts'
import { NSEC_PER_MSEC } from './numbers.ts'
import type { NeighConf } from './sysctl.ts'

/** States in which the link address is good enough to send to. */
const CONNECTED = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE
const VALID = CONNECTED | NUD_STALE | NUD_DELAY | NUD_PROBE
/** Memory of packets that wait for neighbours, in one table: who sends to many unknown ones gets no more. */
const MAX_WAITING = 8 << 20
const TIMED = NUD_INCOMPLETE | NUD_REACHABLE | NUD_DELAY | NUD_PROBE

export interface Resolver {
  /** Asks for a neighbour: all of the link, or only `to` when its address is to be confirmed. */
  solicit(neighbour: Neighbour, to: Uint8Array | undefined): void
  /** No answer: tells the sender of a packet that waited, and releases it. */
  unreachable(neighbour: Neighbour, packet: Packet): void
}

/** How `update` takes a link address that differs from the known one. */
export interface UpdateMode {
  /** The new address wins (an answer with the override flag). */
  override?: boolean
  /** The new address is not taken, but an address that was REACHABLE is doubted: RFC 4861 §7.2.5. */
  weak?: boolean
  /** Set or clear NTF_ROUTER; undefined: leave it. */
  router?: boolean
}

export class Neighbour implements Expiry {
  readonly table: NeighbourTable
  readonly device: NetDevice
  readonly address: IpAddress
  hardware = new Uint8Array(6)
  state = NUD_NONE
  isRouter = false
  /** NTF_PROXY, NTF_EXT_LEARNED: kept for netlink. */
  flags = 0
  /** Monotonic ns. */
  confirmed = 0
  used = 0
  updated = 0
  probes = 0
  reachableTime: number
  gone = false
  readonly #waiting = new PacketQueue()
  /** Of the packets that wait. */
  #memory = 0
  readonly #timer = new Timer(this)

  constructor(table: NeighbourTable, device: NetDevice, address: IpAddress) {
    this.table = table
    this.device = device
    this.address = address
    this.reachableTime = table.randomReachable(device)
  }

  get valid(): boolean {
    return (this.state & VALID) !== 0
  }

  /** Sends a packet (network header at its start) to this neighbour, now or when its link address is known. */
  output(packet: Packet): Status {
    const { stack } = this.table
    this.used = stack.runtime.now()
    const { state } = this
    if ((state & VALID) === 0) return this.#wait(packet)
    if (state === NUD_STALE) this.#enter(NUD_DELAY, this.used)
    return this.#send(packet)
  }

  /** A transport has had an answer from beyond it. */
  confirm(): void {
    this.confirmed = this.table.stack.runtime.now()
  }

  /** Asks without a packet to send: NTF_USE, or a router to be checked. */
  probe(): void {
    this.used = this.table.stack.runtime.now()
    if (this.state === NUD_STALE) this.#enter(NUD_DELAY, this.used)
    else if ((this.state & (NUD_NONE | NUD_FAILED)) !== 0 || this.state === NUD_NONE) this.#startResolving()
  }

  /** What ARP, NDP or netlink tells: `hardware` undefined for 'as before'. */
  update(hardware: Uint8Array | undefined, state: number, mode: UpdateMode = {}): void {
    const now = this.table.stack.runtime.now()
    const before = this.state
    if (mode.router !== undefined) this.isRouter = mode.router
    if ((state & VALID) === 0) {
      this.#fail(state)
      return
    }
    let changed = false
    if (hardware !== undefined && (before & VALID) !== 0 && !sameBytes(hardware, this.hardware)) {
      if (mode.override !== true) {
        if (mode.weak === true && before === NUD_REACHABLE) this.#enter(NUD_STALE, now)
        return
      }
      changed = true
    } else if (hardware !== undefined && (before & VALID) === 0) {
      changed = true
    }
    if (hardware === undefined && (before & VALID) === 0) return
    // A mere hint that an address is in use doesn't lower what is known to be reachable.
    if (state === NUD_STALE && !changed && (before & (CONNECTED | NUD_DELAY)) !== 0) return
    if ((state & CONNECTED) !== 0) this.confirmed = now
    if (changed) this.hardware = hardware!.slice()
    this.updated = now
    const different = changed || before !== state
    this.#enter(state, now)
    this.#flush()
    if (different) this.table.changed(this)
  }

  expired(): void {
    const now = this.table.stack.runtime.now()
    const conf = this.table.conf(this.device)
    const delay = conf.delay_first_probe_time * NSEC_PER_SEC
    switch (this.state) {
      case NUD_REACHABLE:
        if (now < this.confirmed + this.reachableTime) this.#arm(this.confirmed + this.reachableTime)
        else if (now <= this.used + delay) this.#enter(NUD_DELAY, now)
        else this.#enter(NUD_STALE, now)
        this.table.changed(this)
        return
      case NUD_DELAY:
        if (now <= this.confirmed + delay) {
          this.#enter(NUD_REACHABLE, now)
          this.table.changed(this)
          return
        }
        this.probes = 0
        this.state = NUD_PROBE
        this.#ask(now, conf)
        return
      case NUD_PROBE:
      case NUD_INCOMPLETE: {
        const limit = this.state === NUD_PROBE ? conf.ucast_solicit : conf.ucast_solicit + conf.mcast_solicit
        // An incomplete entry starts counting at ucast_solicit, as Linux's does.
        if (this.probes >= limit) this.#fail(NUD_FAILED)
        else this.#ask(now, conf)
      }
    }
  }

  /** Taken out of the table: nothing of it stays armed or queued. */
  end(): void {
    this.gone = true
    this.table.stack.timers.cancel(this.#timer)
    for (let packet = this.#next(); packet !== undefined; packet = this.#next()) packet.release()
  }

  #next(): Packet | undefined {
    const packet = this.#waiting.shift()
    if (packet === undefined) return undefined
    this.#memory -= packet.bytes.length
    this.table.waiting -= packet.bytes.length
    return packet
  }

  #wait(packet: Packet): Status {
    const conf = this.table.conf(this.device)
    if (this.state !== NUD_INCOMPLETE) {
      if (!this.#startResolving()) {
        packet.release()
        return -EHOSTUNREACH
      }
    }
    if ((this.state & VALID) !== 0) return this.#send(packet)
    const cost = packet.bytes.length
    // The oldest go first, as in Linux.
    while (this.#waiting.length > 0 && this.#memory + cost > conf.unres_qlen_bytes) this.#next()!.release()
    if (cost > conf.unres_qlen_bytes || this.table.waiting + cost > MAX_WAITING) {
      packet.release()
      return -ENOBUFS
    }
    this.#waiting.push(packet)
    this.#memory += cost
    this.table.waiting += cost
    return 0
  }

  #startResolving(): boolean {
    const conf = this.table.conf(this.device)
    if (conf.mcast_solicit === 0) return false
    this.probes = conf.ucast_solicit
    this.state = NUD_INCOMPLETE
    this.updated = this.table.stack.runtime.now()
    this.#ask(this.updated, conf)
    return true
  }

  #ask(now: number, conf: NeighConf): void {
    this.probes++
    this.#arm(now + conf.retrans_time_ms * NSEC_PER_MSEC)
    this.table.resolver.solicit(this, this.state === NUD_PROBE ? this.hardware : undefined)
  }

  #enter(state: number, now: number): void {
    this.state = state
    if ((state & TIMED) === 0) {
      this.table.stack.timers.cancel(this.#timer)
    } else if (state === NUD_REACHABLE) {
      this.reachableTime = this.table.randomReachable(this.device)
      this.#arm(Math.max(this.confirmed, now) + this.reachableTime)
    } else if (state === NUD_DELAY) {
      this.#arm(now + this.table.conf(this.device).delay_first_probe_time * NSEC_PER_SEC)
    } else {
      this.probes = 0
      this.#arm(now)
    }
  }

  #arm(deadline: number): void {
    if (!this.gone) this.table.stack.timers.add(this.#timer, deadline)
  }

  /** Those who waited are told; the entry stays for a while, and tries again when somebody sends. */
  #fail(state: number): void {
    this.state = state
    this.table.stack.timers.cancel(this.#timer)
    for (let packet = this.#next(); packet !== undefined; packet = this.#next()) {
      this.table.resolver.unreachable(this, packet)
    }
    this.table.changed(this)
  }

  #flush(): void {
    if ((this.state & VALID) === 0) return
    for (let packet = this.#next(); packet !== undefined; packet = this.#next()) {
      this.#send(packet)
    }
  }

  #send(packet: Packet): Status {
    return this.table.stack.transmitTo(
      this.device,
      packet,
      this.hardware,
      this.table.isV4 ? ETH_P_IP : ETH_P_IPV6,
    )
  }
}

/** All neighbours of one address family. */
export class NeighbourTable implements Expiry {
  readonly stack: IpStack
  readonly isV4: boolean
  readonly resolver: Resolver
  readonly proxies = new NeighbourProxies()
  /** By device index, then by address. */
  readonly #entries = new Map<number, Map<string, Neighbour>>()
  readonly #timer = new Timer(this)
  size = 0
  /** Memory of all packets that wait. */
  waiting = 0

  constructor(stack: IpStack, isV4: boolean, resolver: Resolver) {
    this.stack = stack
    this.isV4 = isV4
    this.resolver = resolver
  }

  conf(device: NetDevice): NeighConf {
    return (this.isV4 ? this.stack.sysctls.ipv4Neigh : this.stack.sysctls.ipv6Neigh).of(device.index)
  }

  /** RFC 4861 §6.3.4: 0.5 to 1.5 times the base, so that not all probe at once. */
  randomReachable(device: NetDevice): number {
    return this.conf(device).base_reachable_time_ms * NSEC_PER_MSEC * (0.5 + this.stack.random.fraction())
  }

  find(device: NetDevice, address: IpAddress): Neighbour | undefined {
    return this.#entries.get(device.index)?.get(address.key)
  }

  /** Finds or makes it; undefined when the table is full. */
  get(device: NetDevice, address: IpAddress): Neighbour | undefined {
    return this.find(device, address) ?? this.#make(device, address)
  }

  remove(neighbour: Neighbour): void {
    const map = this.#entries.get(neighbour.device.index)
    if (map?.get(neighbour.address.key) !== neighbour) return
    map.delete(neighbour.address.key)
    if (map.size === 0) this.#entries.delete(neighbour.device.index)
    this.size--
    neighbour.end()
    this.stack.listener?.neighbourChanged(neighbour, true)
  }

  /** All of a device's: it went down, or its own address changed. */
  flush(device: NetDevice): void {
    for (const neighbour of [...(this.#entries.get(device.index)?.values() ?? [])]) this.remove(neighbour)
  }

  *neighbours(): IterableIterator<Neighbour> {
    for (const map of this.#entries.values()) yield* map.values()
  }

  changed(neighbour: Neighbour): void {
    if (!neighbour.gone) this.stack.listener?.neighbourChanged(neighbour, false)
  }

  /** gc_interval: what nobody has used for gc_stale_time goes, once there are more than gc_thresh1. */
  expired(): void {
    const { defaults } = this.isV4 ? this.stack.sysctls.ipv4Neigh : this.stack.sysctls.ipv6Neigh
    const now = this.stack.runtime.now()
    if (this.size >= defaults.gc_thresh1) this.#collect(now, defaults.gc_stale_time * NSEC_PER_SEC)
    if (this.size > 0) this.stack.timers.add(this.#timer, now + defaults.gc_interval * NSEC_PER_SEC)
  }

  #make(device: NetDevice, address: IpAddress): Neighbour | undefined {
    const { defaults } = this.isV4 ? this.stack.sysctls.ipv4Neigh : this.stack.sysctls.ipv6Neigh
    const now = this.stack.runtime.now()
    if (this.size >= defaults.gc_thresh3) {
      // Full: entries unused for 5 s make room, whoever fills the table by scanning gets nothing.
      this.#collect(now, 5 * NSEC_PER_SEC)
      if (this.size >= defaults.gc_thresh3) return undefined
    }
    const neighbour = new Neighbour(this, device, address)
    neighbour.used = neighbour.updated = neighbour.confirmed = now
    if (!device.needsNeighbours) neighbour.state = NUD_NOARP
    let map = this.#entries.get(device.index)
    if (map === undefined) {
      map = new Map()
      this.#entries.set(device.index, map)
    }
    map.set(address.key, neighbour)
    this.size++
    if (!this.#timer.armed) this.stack.timers.add(this.#timer, now + defaults.gc_interval * NSEC_PER_SEC)
    return neighbour
  }

  #collect(now: number, unused: number): void {
    for (const neighbour of [...this.neighbours()]) {
      if ((neighbour.state & (NUD_PERMANENT | NUD_INCOMPLETE)) !== 0) continue
      const last = Math.max(neighbour.used, neighbour.state === NUD_FAILED ? 0 : neighbour.confirmed)
      if (neighbour.state === NUD_FAILED || last + unused <= now) this.remove(neighbour)
    }
  }

  /** With the stack: no timer stays. */
  close(): void {
    this.stack.timers.cancel(this.#timer)
    for (const neighbour of [...this.neighbours()]) this.remove(neighbour)
  }
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
