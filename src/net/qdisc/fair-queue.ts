/**
 * FairQueue: what fq_codel, fq and sfq share. Packets are sorted into flows by a hash of addresses and ports under a random seed;
 * flows are served in turn, a quantum of bytes each, new ones first (RFC 8290 §4).
 */
import { ETH_P_IP, ETH_P_IPV6, IPPROTO_TCP, IPPROTO_UDP } from '../../abi/constants.ts'
import type { Packet } from '../packet.ts'
import { Frame } from './filter.ts'
import { LeafQdisc, wireLength } from './qdisc.ts'
import type { TrafficControl } from './traffic-control.ts'

/** Bytes of a turn at least: with fewer, one packet would take thousands of turns. */
const LEAST_TURN = 256

export class FairFlow {
  readonly key: number
  /** Those before `head` have gone, and are held no more. */
  packets: (Packet | undefined)[] = []
  /** When each came, monotonic ns. */
  times: number[] = []
  head = 0
  bytes = 0
  deficit = 0
  /** In one of the lists. */
  listed = false
  /** fq: not before then. */
  notBefore = 0
  // CoDel's.
  firstAbove = 0
  dropNext = 0
  count = 0
  lastCount = 0
  dropping = false

  constructor(key: number) {
    this.key = key
  }
  get length(): number {
    return this.packets.length - this.head
  }
}

export abstract class FairQueue extends LeafQdisc {
  protected readonly flows = new Map<number, FairFlow>()
  protected newFlows: FairFlow[] = []
  protected oldFlows: FairFlow[] = []
  protected quantum: number
  protected readonly frame = new Frame()
  #seed: number

  constructor(control: TrafficControl) {
    super(control)
    this.quantum = control.device.mtu + control.device.headerLength
    this.#seed = control.runtime.random.u32()
  }

  /** How many flows there may be. */
  protected abstract get buckets(): number
  /** The flow's next packet, as its rules say. Undefined: it has none, or (with `due` set) none now. */
  protected abstract next(flow: FairFlow, now: number): Packet | undefined
  /** Bytes that a flow may send in its first turn. */
  protected get firstQuantum(): number {
    return this.quantum
  }

  protected flowOf(packet: Packet): FairFlow {
    this.frame.leaving(packet, this.control.device, 0)
    const key = flowHash(this.frame, this.#seed) % this.buckets
    let flow = this.flows.get(key)
    if (flow === undefined) {
      flow = new FairFlow(key)
      this.flows.set(key, flow)
    }
    return flow
  }
  protected reseed(): void {
    this.#seed = this.control.runtime.random.u32()
  }

  /** False: there is no memory for it; it wasn't released. */
  protected put(flow: FairFlow, packet: Packet, now: number): boolean {
    if (!this.keep(packet)) return false
    flow.packets.push(packet)
    flow.times.push(now)
    flow.bytes += wireLength(packet)
    if (!flow.listed) {
      flow.listed = true
      flow.deficit = this.firstQuantum
      this.newFlows.push(flow)
    }
    return true
  }

  /** Takes the flow's first packet; when it came is flow.times[flow.head - 1] right after. */
  protected take(flow: FairFlow): Packet | undefined {
    if (flow.length === 0) return undefined
    const packet = flow.packets[flow.head]!
    flow.packets[flow.head++] = undefined
    flow.bytes -= wireLength(packet)
    this.leave(packet)
    return packet
  }
  #compact(flow: FairFlow): void {
    if (flow.head < 64 || flow.head * 2 < flow.packets.length) return
    flow.packets = flow.packets.slice(flow.head)
    flow.times = flow.times.slice(flow.head)
    flow.head = 0
  }

  override dequeue(now: number): Packet | undefined {
    this.due = Number.POSITIVE_INFINITY
    for (let waiting = 0; ; ) {
      const isNew = this.newFlows.length > 0
      const list = isNew ? this.newFlows : this.oldFlows
      const flow = list[0]
      if (flow === undefined || waiting > this.oldFlows.length) return undefined
      if (flow.deficit <= 0) {
        flow.deficit += Math.max(this.quantum, LEAST_TURN)
        list.shift()
        this.oldFlows.push(flow)
        continue
      }
      const packet = this.next(flow, now)
      if (packet !== undefined) {
        flow.deficit -= wireLength(packet)
        this.#compact(flow)
        this.statistics.sent(packet)
        return packet
      }
      list.shift()
      if (flow.length > 0) {
        // Held back for now.
        this.oldFlows.push(flow)
        waiting++
      } else if (isNew && this.oldFlows.length > 0) {
        // An empty new flow goes through the old ones once, so that it doesn't come first again and again.
        this.oldFlows.push(flow)
      } else {
        flow.listed = false
        if (flow.notBefore <= now) this.flows.delete(flow.key)
      }
    }
  }

  /** The flow that has the most bytes. */
  protected fattest(): FairFlow | undefined {
    let most: FairFlow | undefined
    for (const flow of this.flows.values()) if (most === undefined || flow.bytes > most.bytes) most = flow
    return most
  }

  override reset(): void {
    for (const flow of this.flows.values()) {
      for (let packet = this.take(flow); packet !== undefined; packet = this.take(flow)) packet.release()
    }
    this.flows.clear()
    this.newFlows = []
    this.oldFlows = []
  }
}

/** Of addresses, protocol and ports. */
export function flowHash({ packet, protocol, network }: Frame, seed: number): number {
  const { view, end } = packet
  let hash = seed ^ protocol
  const mix = (word: number) => {
    hash = Math.imul(hash ^ word, 0x9e3779b1)
    hash ^= hash >>> 15
  }
  let transport = -1
  let inner = 0
  if (protocol === ETH_P_IP && end - network >= 20) {
    inner = view.getUint8(network + 9)
    mix(view.getUint32(network + 12))
    mix(view.getUint32(network + 16))
    const fragment = (view.getUint16(network + 6) & 0x3fff) !== 0
    transport = fragment ? -1 : network + (view.getUint8(network) & 15) * 4
  } else if (protocol === ETH_P_IPV6 && end - network >= 40) {
    inner = view.getUint8(network + 6)
    for (let at = 8; at < 40; at += 4) mix(view.getUint32(network + at))
    transport = network + 40
  }
  mix(inner)
  if ((inner === IPPROTO_TCP || inner === IPPROTO_UDP) && transport >= 0 && end - transport >= 4)
    mix(view.getUint32(transport))
  return hash >>> 0
}
