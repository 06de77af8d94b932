/** netem, a network's faults: sch_netem.c. Packets are delayed, lost, doubled, spoilt, and let overtake each other. */
import {
  NETEM_LOSS_GE,
  TCA_NETEM_CORR,
  TCA_NETEM_CORRUPT,
  TCA_NETEM_DELAY_DIST,
  TCA_NETEM_ECN,
  TCA_NETEM_JITTER64,
  TCA_NETEM_LATENCY64,
  TCA_NETEM_LOSS,
  TCA_NETEM_RATE,
  TCA_NETEM_RATE64,
  TCA_NETEM_REORDER,
  TCA_NETEM_SLOT,
  TCA_OPTIONS,
} from '../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import {
  TC_NETEM_CORR,
  TC_NETEM_CORRUPT,
  TC_NETEM_QOPT,
  TC_NETEM_RATE,
  TC_NETEM_REORDER,
} from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import type { Random } from '../ip/runtime.ts'
import { Attributes, type MessageWriter, viewOf } from '../netlink/message.ts'
import type { Packet } from '../packet.ts'
import { setCongestionExperienced } from './congestion-mark.ts'
import type { FilterBlock } from './filter.ts'
import { type ClassfulQdisc, LeafQdisc, minor, type Qdisc, type TrafficClass, wireLength } from './qdisc.ts'
import { nsToTicks, ticksToNs } from './rate.ts'

const DISTRIBUTION_SCALE = 8192
const MAX_DISTRIBUTION = 16384
const MAX_JITTER = 0x7fffffff
/** struct tc_netem_gemodel: p, r, h, k1. */
const GILBERT_ELLIOT = 16

/** Random numbers of which each resembles the one before: get_crandom. */
class Correlated {
  rho = 0
  #last = 0

  next(random: Random): number {
    const value = random.u32()
    if (this.rho === 0) return value
    const share = (this.rho + 1) / 0x100000000
    this.#last = Math.floor(value * (1 - share) + this.#last * share)
    return this.#last
  }
}

interface Waiting {
  readonly packet: Packet
  /** Monotonic ns. */
  readonly at: number
}

export class Netem extends LeafQdisc implements ClassfulQdisc {
  override readonly kind = 'netem'
  /** ns */
  #latency = 0
  #jitter = 0
  #limit = 1000
  /** Chances of 2^32. */
  #loss = 0
  #duplicate = 0
  #gap = 0
  #reorder = 0
  #corrupt = 0
  readonly #delays = new Correlated()
  readonly #losses = new Correlated()
  readonly #duplicates = new Correlated()
  readonly #reorders = new Correlated()
  readonly #corrupts = new Correlated()
  /** Bytes a second, 0 for none. */
  #rate = 0
  #packetOverhead = 0
  #cellSize = 0
  #cellOverhead = 0
  #ecn = false
  #distribution: Int16Array | undefined = undefined
  #burstLoss: Uint32Array | undefined = undefined
  #bad = false
  /** Packets since the last one that overtook. */
  #counter = 0
  /** By time; those before #head have gone. */
  #queue: Waiting[] = []
  #head = 0
  #child: Qdisc | undefined = undefined
  #childPackets = 0
  #childBytes = 0

  override configure(options: Uint8Array | undefined): Status {
    if (options === undefined || options.length < TC_NETEM_QOPT.size) return -EINVAL
    const view = viewOf(options)
    const attributes = new Attributes(options, TC_NETEM_QOPT.size)
    if (attributes.has(TCA_NETEM_SLOT)) return -EOPNOTSUPP
    const loss = attributes.get(TCA_NETEM_LOSS)
    let burstLoss: Uint32Array | undefined
    if (loss !== undefined) {
      const model = new Attributes(loss).get(NETEM_LOSS_GE)
      if (model === undefined || model.length < GILBERT_ELLIOT) return -EINVAL
      burstLoss = Uint32Array.from([0, 4, 8, 12], at => viewOf(model).getUint32(at, true))
    }
    const distribution = attributes.get(TCA_NETEM_DELAY_DIST)
    if (distribution !== undefined) {
      if (distribution.length === 0 || distribution.length / 2 > MAX_DISTRIBUTION) return -EINVAL
      const values = viewOf(distribution)
      this.#distribution = Int16Array.from({ length: distribution.length >> 1 }, (_, i) =>
        values.getInt16(2 * i, true),
      )
    }
    this.#burstLoss = burstLoss
    this.#latency =
      signed64(attributes, TCA_NETEM_LATENCY64) ?? ticksToNs(view.getUint32(TC_NETEM_QOPT.latency, true))
    const jitter =
      signed64(attributes, TCA_NETEM_JITTER64) ?? ticksToNs(view.getUint32(TC_NETEM_QOPT.jitter, true))
    this.#jitter = Math.min(Math.abs(jitter), MAX_JITTER)
    this.#limit = view.getUint32(TC_NETEM_QOPT.limit, true)
    this.#gap = view.getUint32(TC_NETEM_QOPT.gap, true)
    this.#counter = 0
    this.#loss = view.getUint32(TC_NETEM_QOPT.loss, true)
    this.#duplicate = view.getUint32(TC_NETEM_QOPT.duplicate, true)
    if (this.#gap !== 0) this.#reorder = 0xffffffff
    this.#configureChances(attributes)
    this.#ecn = (attributes.u32(TCA_NETEM_ECN) ?? 0) !== 0
    return 0
  }

  #configureChances(attributes: Attributes): void {
    const words = (type: number, size: number): DataView | undefined => {
      const value = attributes.get(type)
      return value === undefined || value.length < size ? undefined : viewOf(value)
    }
    const correlation = words(TCA_NETEM_CORR, TC_NETEM_CORR.size)
    if (correlation !== undefined) {
      this.#delays.rho = correlation.getUint32(TC_NETEM_CORR.delay_corr, true)
      this.#losses.rho = correlation.getUint32(TC_NETEM_CORR.loss_corr, true)
      this.#duplicates.rho = correlation.getUint32(TC_NETEM_CORR.dup_corr, true)
    }
    const reorder = words(TCA_NETEM_REORDER, TC_NETEM_REORDER.size)
    if (reorder !== undefined) {
      this.#reorder = reorder.getUint32(TC_NETEM_REORDER.probability, true)
      this.#reorders.rho = reorder.getUint32(TC_NETEM_REORDER.correlation, true)
    }
    const corrupt = words(TCA_NETEM_CORRUPT, TC_NETEM_CORRUPT.size)
    if (corrupt !== undefined) {
      this.#corrupt = corrupt.getUint32(TC_NETEM_CORRUPT.probability, true)
      this.#corrupts.rho = corrupt.getUint32(TC_NETEM_CORRUPT.correlation, true)
    }
    const rate = words(TCA_NETEM_RATE, TC_NETEM_RATE.size)
    if (rate !== undefined) {
      const narrow = rate.getUint32(TC_NETEM_RATE.rate, true)
      this.#rate = Math.max(narrow, signed64(attributes, TCA_NETEM_RATE64) ?? 0)
      this.#packetOverhead = rate.getInt32(TC_NETEM_RATE.packet_overhead, true)
      this.#cellSize = rate.getUint32(TC_NETEM_RATE.cell_size, true)
      this.#cellOverhead = rate.getInt32(TC_NETEM_RATE.cell_overhead, true)
    }
  }

  override enqueue(packet: Packet, now: number): boolean {
    return this.#take(packet, now, this.#duplicate)
  }

  #take(packet: Packet, now: number, duplicate: number): boolean {
    const { random } = this.control.runtime
    let count = 1
    if (duplicate !== 0 && duplicate >= this.#duplicates.next(random)) count++
    if (this.#isLost(random)) {
      if (this.#ecn && setCongestionExperienced(packet, this.control.device.headerLength))
        this.statistics.drops++
      else count--
    }
    if (count === 0) {
      // Who sent it is not to know.
      this.drop(packet)
      return true
    }
    const copy = count > 1 ? packet.clone() : undefined
    if (this.#corrupt !== 0 && this.#corrupt >= this.#corrupts.next(random)) {
      packet.completeChecksum()
      packet.bytes[packet.start + random.below(packet.length)] ^= 1 << random.below(8)
    }
    if (this.#queue.length - this.#head >= this.#limit || !this.keep(packet)) {
      copy?.release()
      return this.drop(packet)
    }
    if (copy !== undefined) this.#take(copy, now, 0)
    this.#queueUp(packet, now, random)
    return true
  }

  #isLost(random: Random): boolean {
    const model = this.#burstLoss
    if (model === undefined) return this.#loss !== 0 && this.#loss >= this.#losses.next(random)
    const [toBad, toGood, passes, lost] = model
    if (this.#bad) {
      if (random.u32() < toGood) this.#bad = false
      return random.u32() > passes
    }
    if (random.u32() < toBad) this.#bad = true
    return random.u32() < lost
  }

  #queueUp(packet: Packet, now: number, random: Random): void {
    const queue = this.#queue
    if (this.#gap !== 0 && this.#counter >= this.#gap - 1 && this.#reorder >= this.#reorders.next(random)) {
      this.#counter = 0
      this.#insert({ packet, at: now }, true)
      return
    }
    let delay = this.#delay(random)
    let from = now
    if (this.#rate !== 0) {
      const last = queue[queue.length - 1]
      if (last !== undefined && queue.length > this.#head) {
        delay = Math.max(0, delay - (last.at - now))
        from = last.at
      }
      delay += this.#time(wireLength(packet))
    }
    this.#counter++
    this.#insert({ packet, at: from + delay }, false)
  }

  /** tabledist: around the latency, as the distribution or evenly. */
  #delay(random: Random): number {
    const sigma = this.#jitter
    if (sigma === 0) return Math.max(this.#latency, 0)
    const value = this.#delays.next(random)
    const table = this.#distribution
    const off =
      table === undefined
        ? (value % (2 * sigma)) - sigma
        : Math.trunc((sigma * table[value % table.length]) / DISTRIBUTION_SCALE)
    return Math.max(this.#latency + off, 0)
  }

  /** packet_time_ns */
  #time(bytes: number): number {
    let length = bytes + this.#packetOverhead
    if (this.#cellSize !== 0)
      length = Math.ceil(length / this.#cellSize) * (this.#cellSize + this.#cellOverhead)
    return Math.floor((Math.max(length, 0) * 1e9) / this.#rate)
  }

  #insert(waiting: Waiting, first: boolean): void {
    const queue = this.#queue
    let low = this.#head
    let high = first ? low : queue.length
    if (!first && high > low && queue[high - 1].at <= waiting.at) low = high
    while (low < high) {
      const middle = (low + high) >> 1
      if (queue[middle].at <= waiting.at) low = middle + 1
      else high = middle
    }
    queue.splice(low, 0, waiting)
  }

  override dequeue(now: number): Packet | undefined {
    for (;;) {
      const child = this.#child
      const next = this.#head < this.#queue.length ? this.#queue[this.#head] : undefined
      if (next === undefined || next.at > now) {
        this.due = next?.at ?? Number.POSITIVE_INFINITY
        if (child === undefined || child.length === 0) return undefined
        const packet = this.#fromChild(child, now)
        if (packet === undefined) this.due = Math.min(this.due, child.due)
        return packet
      }
      this.#head++
      if (this.#head === this.#queue.length || (this.#head > 64 && this.#head * 2 > this.#queue.length)) {
        this.#queue = this.#queue.slice(this.#head)
        this.#head = 0
      }
      this.leave(next.packet)
      if (child === undefined) {
        this.statistics.sent(next.packet)
        return next.packet
      }
      if (!child.enqueue(next.packet, now)) this.statistics.drops++
      this.#sync(child)
      const packet = this.#fromChild(child, now)
      if (packet !== undefined) return packet
    }
  }

  #fromChild(child: Qdisc, now: number): Packet | undefined {
    const packet = child.dequeue(now)
    this.#sync(child)
    if (packet !== undefined) this.statistics.sent(packet)
    return packet
  }
  /** What waits in the child waits here too. */
  #sync(child: Qdisc): void {
    this.length += child.length - this.#childPackets
    this.#childPackets = child.length
    this.backlog += child.backlog - this.#childBytes
    this.#childBytes = child.backlog
  }

  override reset(): void {
    for (const { packet } of this.#queue.slice(this.#head)) {
      this.leave(packet)
      packet.release()
    }
    this.#queue = []
    this.#head = 0
    if (this.#child === undefined) return
    this.#child.reset()
    this.#sync(this.#child)
  }
  override close(): void {
    this.reset()
    this.#child?.close()
  }

  override writeOptions(writer: MessageWriter): void {
    const nest = writer.nest(TCA_OPTIONS)
    const at = writer.struct(TC_NETEM_QOPT.size)
    writer.set32(at + TC_NETEM_QOPT.latency, nsToTicks(this.#latency))
    writer.set32(at + TC_NETEM_QOPT.jitter, nsToTicks(this.#jitter))
    writer.set32(at + TC_NETEM_QOPT.limit, this.#limit)
    writer.set32(at + TC_NETEM_QOPT.loss, this.#loss)
    writer.set32(at + TC_NETEM_QOPT.gap, this.#gap)
    writer.set32(at + TC_NETEM_QOPT.duplicate, this.#duplicate)
    writer.u64(TCA_NETEM_LATENCY64, this.#latency)
    writer.u64(TCA_NETEM_JITTER64, this.#jitter)
    this.#words(writer, TCA_NETEM_CORR, [this.#delays.rho, this.#losses.rho, this.#duplicates.rho])
    this.#words(writer, TCA_NETEM_REORDER, [this.#reorder, this.#reorders.rho])
    this.#words(writer, TCA_NETEM_CORRUPT, [this.#corrupt, this.#corrupts.rho])
    if (this.#rate > 0xffffffff) writer.u64(TCA_NETEM_RATE64, this.#rate)
    const rate = [Math.min(this.#rate, 0xffffffff), this.#packetOverhead, this.#cellSize, this.#cellOverhead]
    this.#words(writer, TCA_NETEM_RATE, rate)
    if (this.#ecn) writer.u32(TCA_NETEM_ECN, 1)
    if (this.#burstLoss !== undefined) {
      const loss = writer.nest(TCA_NETEM_LOSS)
      this.#words(writer, NETEM_LOSS_GE, [...this.#burstLoss])
      writer.close(loss)
    }
    writer.close(nest)
  }

  #words(writer: MessageWriter, type: number, words: readonly number[]): void {
    const at = writer.attribute(type, 4 * words.length)
    words.forEach((word, i) => {
      writer.set32(at + 4 * i, word)
    })
  }

  // Its class, which is there when a qdisc was put into it.

  *classes(): Iterable<TrafficClass> {
    if (this.#child !== undefined) yield this.findClass(this.handle + 1)!
  }
  findClass(id: number): TrafficClass | undefined {
    if (minor(id) !== 1) return undefined
    return { id: this.handle + 1, parent: this.handle, leaf: this.#child, statistics: undefined }
  }
  filtersOf(): FilterBlock | undefined {
    return undefined
  }
  graft(_id: number, child: Qdisc | undefined): Qdisc | undefined {
    const before = this.#child
    this.reset()
    this.#child = child
    if (child !== undefined) child.parent = this.handle + 1
    return before
  }
  writeClassOptions(): void {}
}

function signed64(attributes: Attributes, type: number): number | undefined {
  const value = attributes.get(type)
  if (value === undefined || value.length < 8) return undefined
  return Number(viewOf(value).getBigInt64(0, true))
}
