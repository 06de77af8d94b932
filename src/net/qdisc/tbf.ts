/** tbf, a token bucket: sch_tbf.c. What goes out is held to a rate, with bursts as large as the bucket; its class 1 is what waits. */
import {
  TCA_OPTIONS,
  TCA_TBF_BURST,
  TCA_TBF_PARMS,
  TCA_TBF_PBURST,
  TCA_TBF_PRATE64,
  TCA_TBF_RATE64,
} from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { TC_TBF_QOPT } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { segments } from '../ip/segmentation.ts'
import { Attributes, type MessageWriter, viewOf } from '../netlink/message.ts'
import { GSO_NONE, type Packet } from '../packet.ts'
import { Fifo } from './fifo.ts'
import type { FilterBlock } from './filter.ts'
import { type ClassfulQdisc, minor, Qdisc, segmentCount, type TrafficClass, wireLength } from './qdisc.ts'
import { nsToTicks, Rate, readRate64, ticksToNs } from './rate.ts'

export class Tbf extends Qdisc implements ClassfulQdisc {
  override readonly kind = 'tbf'
  #limit = 0
  #rate: Rate | undefined = undefined
  #peak: Rate | undefined = undefined
  /** ns that the bucket holds, and for the peak rate. */
  #buffer = 0
  #mtu = 0
  #tokens = 0
  #peakTokens = 0
  /** Monotonic ns, of the last packet. */
  #checked = 0
  #longest = 0
  #child: Qdisc | undefined = undefined
  /** Taken from the child to see how long it is. */
  #next: Packet | undefined = undefined

  override configure(options: Uint8Array | undefined): Status {
    if (options === undefined) return -EINVAL
    const attributes = new Attributes(options)
    const parameters = attributes.get(TCA_TBF_PARMS)
    if (parameters === undefined || parameters.length < TC_TBF_QOPT.size) return -EINVAL
    const view = viewOf(parameters)
    const rate = new Rate(view, TC_TBF_QOPT.rate, readRate64(attributes, TCA_TBF_RATE64))
    if (rate.bytesPerSecond === 0) return -EINVAL
    const peakRate = new Rate(view, TC_TBF_QOPT.peakrate, readRate64(attributes, TCA_TBF_PRATE64))
    const peak = peakRate.bytesPerSecond === 0 ? undefined : peakRate
    if (peak !== undefined && peak.bytesPerSecond <= rate.bytesPerSecond) return -EINVAL
    const burst = attributes.u32(TCA_TBF_BURST)
    const peakBurst = attributes.u32(TCA_TBF_PBURST)
    let buffer = ticksToNs(view.getUint32(TC_TBF_QOPT.buffer, true))
    let mtu = ticksToNs(view.getUint32(TC_TBF_QOPT.mtu, true))
    let longest = burst ?? rate.bytes(buffer)
    if (burst !== undefined) buffer = rate.time(burst)
    if (peak !== undefined) {
      longest = Math.min(longest, peakBurst ?? peak.bytes(mtu))
      if (peakBurst !== undefined) mtu = peak.time(peakBurst)
    }
    if (longest === 0) return -EINVAL
    this.#limit = view.getUint32(TC_TBF_QOPT.limit, true)
    if (this.#child === undefined || this.#child instanceof Fifo) {
      const child = this.#child ?? new Fifo('bfifo', this.control)
      if (child.kind === 'bfifo') (child as Fifo).limit = this.#limit
      child.parent = this.handle + 1
      this.#child = child
    }
    this.#rate = rate
    this.#peak = peak
    this.#buffer = this.#tokens = buffer
    this.#mtu = this.#peakTokens = mtu
    this.#longest = longest
    this.#checked = this.control.runtime.now()
    return 0
  }

  override enqueue(packet: Packet, now: number): boolean {
    if (packet.gsoType !== GSO_NONE && wireLength(packet) > this.#longest) return this.#split(packet, now)
    if (wireLength(packet) > this.#longest) return this.drop(packet)
    return this.#put(packet, now)
  }

  /** tbf_segment: one by one it fits. */
  #split(packet: Packet, now: number): boolean {
    let any = false
    const { stack } = this.control
    for (const piece of segments(stack, packet)) {
      if (piece.length > this.#longest) this.drop(piece)
      else if (this.#put(piece, now)) any = true
    }
    packet.release()
    return any
  }

  #put(packet: Packet, now: number): boolean {
    const child = this.#child!
    // What was taken to be looked at waits as well.
    const next = this.#next
    if (next !== undefined && child instanceof Fifo && !child.fitsBeside(packet, next))
      return this.drop(packet)
    const done = child.enqueue(packet, now)
    this.#recount()
    if (!done) this.statistics.drops++
    return done
  }

  override dequeue(now: number): Packet | undefined {
    const child = this.#child!
    if (this.#next === undefined) {
      this.#next = child.dequeue(now)
      this.#recount()
      if (this.#next === undefined) {
        this.due = child.due
        return undefined
      }
    }
    const bytes = wireLength(this.#next)
    const since = Math.min(now - this.#checked, this.#buffer)
    let peakTokens = 0
    if (this.#peak !== undefined)
      peakTokens = Math.min(this.#mtu, since + this.#peakTokens) - this.#peak.time(bytes)
    const tokens = Math.min(this.#buffer, since + this.#tokens) - this.#rate!.time(bytes)
    if (tokens < 0 || peakTokens < 0) {
      this.due = now + Math.ceil(Math.max(-tokens, -peakTokens))
      this.statistics.overlimits++
      return undefined
    }
    const packet = this.#next
    this.#next = undefined
    this.#checked = now
    this.#tokens = tokens
    this.#peakTokens = peakTokens
    this.#recount()
    this.statistics.sent(packet)
    return packet
  }

  /** What waits in the child, which may have dropped some, and what was taken from it. */
  #recount(): void {
    const next = this.#next
    this.length = this.#child!.length + (next === undefined ? 0 : segmentCount(next))
    this.backlog = this.#child!.backlog + (next === undefined ? 0 : wireLength(next))
  }

  override reset(): void {
    this.#next?.release()
    this.#next = undefined
    this.#child?.reset()
    this.length = this.backlog = 0
    this.#tokens = this.#buffer
    this.#peakTokens = this.#mtu
  }
  override close(): void {
    this.reset()
    this.#child?.close()
  }

  override writeOptions(writer: MessageWriter): void {
    const nest = writer.nest(TCA_OPTIONS)
    const at = writer.attribute(TCA_TBF_PARMS, TC_TBF_QOPT.size)
    this.#rate!.write(writer, at + TC_TBF_QOPT.rate)
    this.#peak?.write(writer, at + TC_TBF_QOPT.peakrate)
    writer.set32(at + TC_TBF_QOPT.limit, this.#limit)
    writer.set32(at + TC_TBF_QOPT.buffer, nsToTicks(this.#buffer))
    writer.set32(at + TC_TBF_QOPT.mtu, nsToTicks(this.#mtu))
    if (this.#rate!.is64) writer.u64(TCA_TBF_RATE64, this.#rate!.bytesPerSecond)
    if (this.#peak?.is64) writer.u64(TCA_TBF_PRATE64, this.#peak.bytesPerSecond)
    writer.close(nest)
  }

  // Its class.

  *classes(): Iterable<TrafficClass> {
    yield this.#class()
  }
  findClass(id: number): TrafficClass | undefined {
    return minor(id) === 1 ? this.#class() : undefined
  }
  #class(): TrafficClass {
    return {
      id: this.handle + 1,
      parent: this.handle,
      leaf: this.#child,
      statistics: undefined,
    }
  }
  filtersOf(): FilterBlock | undefined {
    return undefined
  }
  graft(_id: number, child: Qdisc | undefined): Qdisc | undefined {
    const before = this.#child
    this.reset()
    if (child === undefined) {
      child = new Fifo('bfifo', this.control)
      ;(child as Fifo).limit = this.#limit
    }
    child.parent = this.handle + 1
    this.#child = child
    return before
  }
  writeClassOptions(): void {}
}
