/** fq_codel: sch_fq_codel.c, RFC 8290; each flow is held to a short queue by CoDel (RFC 8289). */
import {
  TCA_FQ_CODEL_CE_THRESHOLD,
  TCA_FQ_CODEL_DROP_BATCH_SIZE,
  TCA_FQ_CODEL_ECN,
  TCA_FQ_CODEL_FLOWS,
  TCA_FQ_CODEL_INTERVAL,
  TCA_FQ_CODEL_LIMIT,
  TCA_FQ_CODEL_MEMORY_LIMIT,
  TCA_FQ_CODEL_QUANTUM,
  TCA_FQ_CODEL_TARGET,
  TCA_OPTIONS,
} from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { Attributes, type MessageWriter } from '../netlink/message.ts'
import type { Packet } from '../packet.ts'
import { setCongestionExperienced } from './congestion-mark.ts'
import { type FairFlow, FairQueue } from './fair-queue.ts'

const USEC = 1000
const MSEC = 1e6
const MAX_FLOWS = 65536
const LEAST_QUANTUM = 256
const MOST_QUANTUM = 1 << 20
/** struct tc_fq_codel_xstats: type, maxpacket, drop_overlimit, ecn_mark, new_flow_count, two list lengths, ce_mark, memory. */
const XSTATS = {
  size: 40,
  maxpacket: 4,
  overlimit: 8,
  ecn: 12,
  newFlows: 16,
  newLength: 20,
  oldLength: 24,
  memory: 32,
}

export class FqCodel extends FairQueue {
  override readonly kind = 'fq_codel'
  #limit = 10240
  #flows = 1024
  #target = 5 * MSEC
  #interval = 100 * MSEC
  #ecn = true
  #ceThreshold: number | undefined = undefined
  #memoryLimit = 32 << 20
  #dropBatch = 64
  #marks = 0
  #overLimit = 0
  #longest = 256
  #newFlows = 0

  protected override get buckets(): number {
    return this.#flows
  }

  override configure(options: Uint8Array | undefined, isNew: boolean): Status {
    if (options === undefined) return 0
    const attributes = new Attributes(options)
    const flows = attributes.u32(TCA_FQ_CODEL_FLOWS)
    if (flows !== undefined && (!isNew || flows === 0 || flows > MAX_FLOWS)) return -EINVAL
    const quantum = attributes.u32(TCA_FQ_CODEL_QUANTUM)
    if (quantum !== undefined && quantum > MOST_QUANTUM) return -EINVAL
    const time = (type: number, otherwise: number) => {
      const value = attributes.u32(type)
      return value === undefined ? otherwise : value * USEC
    }
    this.#flows = flows ?? this.#flows
    if (quantum !== undefined) this.quantum = Math.max(quantum, LEAST_QUANTUM)
    this.#target = time(TCA_FQ_CODEL_TARGET, this.#target)
    this.#interval = time(TCA_FQ_CODEL_INTERVAL, this.#interval)
    if (attributes.has(TCA_FQ_CODEL_CE_THRESHOLD)) this.#ceThreshold = time(TCA_FQ_CODEL_CE_THRESHOLD, 0)
    this.#limit = attributes.u32(TCA_FQ_CODEL_LIMIT) ?? this.#limit
    const ecn = attributes.u32(TCA_FQ_CODEL_ECN)
    if (ecn !== undefined) this.#ecn = ecn !== 0
    this.#dropBatch = Math.max(1, attributes.u32(TCA_FQ_CODEL_DROP_BATCH_SIZE) ?? this.#dropBatch)
    this.#memoryLimit = attributes.u32(TCA_FQ_CODEL_MEMORY_LIMIT) ?? this.#memoryLimit
    return 0
  }

  override enqueue(packet: Packet, now: number): boolean {
    const flow = this.flowOf(packet)
    if (!flow.listed) this.#newFlows++
    this.#longest = Math.max(this.#longest, packet.length)
    if (!this.put(flow, packet, now)) return this.drop(packet)
    if (this.length <= this.#limit && this.backlog <= this.#memoryLimit) return true
    return this.#makeRoom() !== flow
  }

  /** fq_codel_drop: half of what the fattest flow has, at most a batch. */
  #makeRoom(): FairFlow | undefined {
    const flow = this.fattest()
    if (flow === undefined) return undefined
    const half = flow.bytes / 2
    for (let i = 0; i < this.#dropBatch && flow.bytes > half; i++) {
      const packet = this.take(flow)
      if (packet === undefined) break
      this.#overLimit++
      this.drop(packet)
    }
    return flow
  }

  /** codel_dequeue */
  protected override next(flow: FairFlow, now: number): Packet | undefined {
    let packet = this.take(flow)
    if (packet === undefined) {
      flow.dropping = false
      return undefined
    }
    let bad = this.#isSlow(flow, now)
    if (flow.dropping) {
      if (!bad) flow.dropping = false
      while (flow.dropping && now >= flow.dropNext) {
        flow.count++
        if (this.#mark(packet)) {
          flow.dropNext = this.#after(flow.dropNext, flow.count)
          return packet
        }
        this.drop(packet)
        packet = this.take(flow)
        if (packet === undefined) {
          flow.dropping = false
          return undefined
        }
        bad = this.#isSlow(flow, now)
        if (!bad) flow.dropping = false
        else flow.dropNext = this.#after(flow.dropNext, flow.count)
      }
    } else if (bad) {
      let marked = false
      if (this.#mark(packet)) marked = true
      else {
        this.drop(packet)
        packet = this.take(flow)
        if (packet !== undefined) this.#isSlow(flow, now)
      }
      flow.dropping = packet !== undefined || marked
      const delta = flow.count - flow.lastCount
      const recent = now - flow.dropNext < 16 * this.#interval
      flow.count = delta > 1 && recent ? delta : 1
      flow.lastCount = flow.count
      flow.dropNext = this.#after(now, flow.count)
      if (packet === undefined) return undefined
    }
    const came = flow.times[flow.head - 1]
    if (this.#ceThreshold !== undefined && now - came > this.#ceThreshold) this.#mark(packet)
    return packet
  }

  /** codel_should_drop: of the packet taken last. */
  #isSlow(flow: FairFlow, now: number): boolean {
    if (now - flow.times[flow.head - 1] < this.#target || this.backlog <= this.control.device.mtu) {
      flow.firstAbove = 0
      return false
    }
    if (flow.firstAbove === 0) {
      flow.firstAbove = now + this.#interval
      return false
    }
    return now > flow.firstAbove
  }
  #after(time: number, count: number): number {
    return time + this.#interval / Math.sqrt(count)
  }
  #mark(packet: Packet): boolean {
    if (!this.#ecn || !setCongestionExperienced(packet, this.control.device.headerLength)) return false
    this.#marks++
    return true
  }

  override writeOptions(writer: MessageWriter): void {
    const nest = writer.nest(TCA_OPTIONS)
    writer.u32(TCA_FQ_CODEL_TARGET, this.#target / USEC)
    writer.u32(TCA_FQ_CODEL_LIMIT, this.#limit)
    writer.u32(TCA_FQ_CODEL_INTERVAL, this.#interval / USEC)
    writer.u32(TCA_FQ_CODEL_ECN, this.#ecn ? 1 : 0)
    writer.u32(TCA_FQ_CODEL_QUANTUM, this.quantum)
    writer.u32(TCA_FQ_CODEL_DROP_BATCH_SIZE, this.#dropBatch)
    writer.u32(TCA_FQ_CODEL_MEMORY_LIMIT, this.#memoryLimit)
    writer.u32(TCA_FQ_CODEL_FLOWS, this.#flows)
    if (this.#ceThreshold !== undefined) writer.u32(TCA_FQ_CODEL_CE_THRESHOLD, this.#ceThreshold / USEC)
    writer.close(nest)
  }

  override writeOwnStatistics(writer: MessageWriter, type: number): void {
    const at = writer.attribute(type, XSTATS.size)
    writer.set32(at + XSTATS.maxpacket, this.#longest)
    writer.set32(at + XSTATS.overlimit, this.#overLimit)
    writer.set32(at + XSTATS.ecn, this.#marks)
    writer.set32(at + XSTATS.newFlows, this.#newFlows)
    writer.set32(at + XSTATS.newLength, this.newFlows.length)
    writer.set32(at + XSTATS.oldLength, this.oldFlows.length)
    writer.set32(at + XSTATS.memory, this.backlog)
  }
}
