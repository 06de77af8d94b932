/** fq: sch_fq.c. Flows in turn, each held to a rate of its own if one is set. */
import {
  TCA_FQ_BUCKETS_LOG,
  TCA_FQ_FLOW_DEFAULT_RATE,
  TCA_FQ_FLOW_MAX_RATE,
  TCA_FQ_FLOW_PLIMIT,
  TCA_FQ_FLOW_REFILL_DELAY,
  TCA_FQ_HORIZON,
  TCA_FQ_HORIZON_DROP,
  TCA_FQ_INITIAL_QUANTUM,
  TCA_FQ_LOW_RATE_THRESHOLD,
  TCA_FQ_ORPHAN_MASK,
  TCA_FQ_PLIMIT,
  TCA_FQ_QUANTUM,
  TCA_FQ_RATE_ENABLE,
  TCA_FQ_TIMER_SLACK,
  TCA_OPTIONS,
} from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { Attributes, type MessageWriter } from '../netlink/message.ts'
import type { Packet } from '../packet.ts'
import { type FairFlow, FairQueue } from './fair-queue.ts'
import { wireLength } from './qdisc.ts'
import type { TrafficControl } from './traffic-control.ts'

const NO_RATE = 0xffffffff
const MOST_QUANTUM = 1 << 20
const MAX_BUCKETS_LOG = 18
const USEC = 1000

/** What is set and shown, by attribute; the units are the attributes'. */
const SETTINGS: readonly (readonly [number, number])[] = [
  [TCA_FQ_PLIMIT, 10000],
  [TCA_FQ_FLOW_PLIMIT, 100],
  [TCA_FQ_QUANTUM, 0],
  [TCA_FQ_INITIAL_QUANTUM, 0],
  [TCA_FQ_RATE_ENABLE, 1],
  [TCA_FQ_FLOW_MAX_RATE, NO_RATE],
  [TCA_FQ_FLOW_REFILL_DELAY, 40000],
  [TCA_FQ_ORPHAN_MASK, 1023],
  [TCA_FQ_LOW_RATE_THRESHOLD, 68750],
  [TCA_FQ_BUCKETS_LOG, 10],
  [TCA_FQ_TIMER_SLACK, 10 * USEC],
  [TCA_FQ_HORIZON, 10e6],
]

export class Fq extends FairQueue {
  override readonly kind = 'fq'
  readonly #values = new Map<number, number>(SETTINGS)
  #horizonDrop = 1

  constructor(control: TrafficControl) {
    super(control)
    this.#values.set(TCA_FQ_QUANTUM, 2 * this.quantum)
    this.#values.set(TCA_FQ_INITIAL_QUANTUM, 10 * this.quantum)
    this.quantum *= 2
  }

  #of(type: number): number {
    return this.#values.get(type)!
  }
  protected override get buckets(): number {
    return 1 << Math.min(this.#of(TCA_FQ_BUCKETS_LOG), 16)
  }
  protected override get firstQuantum(): number {
    return Math.max(this.#of(TCA_FQ_INITIAL_QUANTUM), 1)
  }

  override configure(options: Uint8Array | undefined): Status {
    if (options === undefined) return 0
    const attributes = new Attributes(options)
    const log = attributes.u32(TCA_FQ_BUCKETS_LOG)
    if (log !== undefined && (log < 1 || log > MAX_BUCKETS_LOG)) return -EINVAL
    const quantum = attributes.u32(TCA_FQ_QUANTUM)
    if (quantum !== undefined && (quantum === 0 || quantum > MOST_QUANTUM)) return -EINVAL
    if ((attributes.u32(TCA_FQ_RATE_ENABLE) ?? 0) > 1 || (attributes.u8(TCA_FQ_HORIZON_DROP) ?? 0) > 1)
      return -EINVAL
    for (const [type] of SETTINGS) {
      const value = attributes.u32(type)
      if (value !== undefined) this.#values.set(type, value)
    }
    this.quantum = this.#of(TCA_FQ_QUANTUM)
    this.#horizonDrop = attributes.u8(TCA_FQ_HORIZON_DROP) ?? this.#horizonDrop
    return 0
  }

  override enqueue(packet: Packet, now: number): boolean {
    if (this.length >= this.#of(TCA_FQ_PLIMIT)) return this.drop(packet)
    const flow = this.flowOf(packet)
    if (flow.length >= this.#of(TCA_FQ_FLOW_PLIMIT) || !this.put(flow, packet, now)) return this.drop(packet)
    return true
  }

  protected override next(flow: FairFlow, now: number): Packet | undefined {
    if (flow.length > 0 && flow.notBefore > now) {
      this.due = Math.min(this.due, flow.notBefore)
      return undefined
    }
    const packet = this.take(flow)
    const rate = this.#of(TCA_FQ_FLOW_MAX_RATE)
    if (packet !== undefined && rate !== NO_RATE && rate !== 0 && this.#of(TCA_FQ_RATE_ENABLE) !== 0)
      flow.notBefore = now + Math.floor((wireLength(packet) * 1e9) / rate)
    return packet
  }

  override writeOptions(writer: MessageWriter): void {
    const nest = writer.nest(TCA_OPTIONS)
    for (const [type] of SETTINGS) writer.u32(type, this.#of(type))
    writer.u32(TCA_FQ_FLOW_DEFAULT_RATE, 0)
    writer.u8(TCA_FQ_HORIZON_DROP, this.#horizonDrop)
    writer.close(nest)
  }
}
