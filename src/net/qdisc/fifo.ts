/** pfifo, bfifo and pfifo_fast: sch_fifo.c, and the one of sch_generic.c that devices of the host's are born with. */
import { TCA_OPTIONS } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { TC_FIFO_QOPT, TC_PRIO_QOPT } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { type MessageWriter, viewOf } from '../netlink/message.ts'
import { type Packet, PacketQueue } from '../packet.ts'
import { LeafQdisc, wireLength } from './qdisc.ts'
import type { TrafficControl } from './traffic-control.ts'

/** TC_PRIO_MAX: of SO_PRIORITY, which chooses a band. */
export const PRIORITY_MASK = 15
/** sch_default_prio2band. */
export const DEFAULT_PRIORITIES: readonly number[] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
const ETH_LINK_HEADER = 14

/** First in, first out, with room for so many packets or bytes. */
export class Fifo extends LeafQdisc {
  override readonly kind: 'pfifo' | 'bfifo'
  readonly #queue = new PacketQueue()
  limit: number

  constructor(kind: 'pfifo' | 'bfifo', control: TrafficControl) {
    super(control)
    this.kind = kind
    const { device } = control
    const packets = device.txQueueLength || 1
    this.limit = kind === 'pfifo' ? packets : packets * (device.mtu + ETH_LINK_HEADER)
  }

  override configure(options: Uint8Array | undefined): Status {
    if (options === undefined) return 0
    if (options.length < TC_FIFO_QOPT.size) return -EINVAL
    this.limit = viewOf(options).getUint32(TC_FIFO_QOPT.limit, true)
    return 0
  }

  /** Whether there is room for it, if another one took its room too. */
  fitsBeside(packet: Packet, other: Packet | undefined): boolean {
    if (this.kind === 'pfifo') return this.#queue.length + (other === undefined ? 0 : 1) < this.limit
    const bytes = wireLength(packet) + (other === undefined ? 0 : wireLength(other))
    return this.backlog + bytes <= this.limit
  }

  override enqueue(packet: Packet): boolean {
    if (!this.fitsBeside(packet, undefined) || !this.keep(packet)) return this.drop(packet)
    this.#queue.push(packet)
    return true
  }

  override dequeue(): Packet | undefined {
    const packet = this.#queue.shift()
    if (packet === undefined) return undefined
    this.leave(packet)
    this.statistics.sent(packet)
    return packet
  }

  override reset(): void {
    this.empty(this.#queue)
  }

  override writeOptions(writer: MessageWriter): void {
    writer.u32(TCA_OPTIONS, this.limit)
  }
}

/** noqueue: what is sent goes at once. */
export class NoQueue extends LeafQdisc {
  override readonly kind = 'noqueue'

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
}

/** Three bands by the packets' priority, each a queue of the device's length. */
export class PfifoFast extends LeafQdisc {
  override readonly kind = 'pfifo_fast'
  readonly #bands = [new PacketQueue(), new PacketQueue(), new PacketQueue()]

  override configure(options: Uint8Array | undefined): Status {
    return options === undefined ? 0 : -EINVAL
  }

  override enqueue(packet: Packet): boolean {
    const band = this.#bands[DEFAULT_PRIORITIES[packet.priority & PRIORITY_MASK]]
    if (band.length >= this.control.device.txQueueLength || !this.keep(packet)) return this.drop(packet)
    band.push(packet)
    return true
  }

  override dequeue(): Packet | undefined {
    for (const band of this.#bands) {
      const packet = band.shift()
      if (packet === undefined) continue
      this.leave(packet)
      this.statistics.sent(packet)
      return packet
    }
    return undefined
  }

  override reset(): void {
    for (const band of this.#bands) this.empty(band)
  }

  override writeOptions(writer: MessageWriter): void {
    writeBands(writer, this.#bands.length, DEFAULT_PRIORITIES)
  }
}

/** struct tc_prio_qopt. */
export function writeBands(writer: MessageWriter, bands: number, priorities: readonly number[]): void {
  const at = writer.attribute(TCA_OPTIONS, TC_PRIO_QOPT.size)
  writer.set32(at + TC_PRIO_QOPT.bands, bands)
  priorities.forEach((band, i) => {
    writer.set8(at + TC_PRIO_QOPT.priomap + i, band)
  })
}
