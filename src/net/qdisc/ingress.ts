/** ingress and clsact: sch_ingress.c. They queue nothing: they hold filters for what comes in, clsact also for what leaves. */
import { TC_H_MIN_EGRESS, TC_H_MIN_INGRESS, TCA_OPTIONS } from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import type { MessageWriter } from '../netlink/message.ts'
import type { Packet } from '../packet.ts'
import { FilterBlock } from './filter.ts'
import { type ClassfulQdisc, minor, Qdisc, type TrafficClass } from './qdisc.ts'
import type { TrafficControl } from './traffic-control.ts'

export class IngressQdisc extends Qdisc implements ClassfulQdisc {
  override readonly kind: 'ingress' | 'clsact'
  readonly incoming = new FilterBlock(this.control.runtime.queueRoom)
  /** Of clsact. */
  readonly outgoing = new FilterBlock(this.control.runtime.queueRoom)

  constructor(kind: 'ingress' | 'clsact', control: TrafficControl) {
    super(control)
    this.kind = kind
  }

  override configure(): Status {
    return 0
  }
  override enqueue(packet: Packet): boolean {
    return this.drop(packet)
  }
  override dequeue(): undefined {
    return undefined
  }
  override reset(): void {}
  override close(): void {
    this.incoming.clear()
    this.outgoing.clear()
  }
  override writeOptions(writer: MessageWriter): void {
    writer.close(writer.nest(TCA_OPTIONS))
  }

  filtersOf(parent: number): FilterBlock | undefined {
    if (this.kind === 'ingress' || minor(parent) === TC_H_MIN_INGRESS) return this.incoming
    return minor(parent) === TC_H_MIN_EGRESS ? this.outgoing : undefined
  }
  classes(): Iterable<TrafficClass> {
    return []
  }
  findClass(): undefined {
    return undefined
  }
  writeClassOptions(): void {}
}
