/** prio: sch_prio.c. Bands, of which the first that has something is served. */
import { TC_ACT_QUEUED, TC_ACT_SHOT, TC_ACT_STOLEN, TC_ACT_TRAP } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { TC_PRIO_QOPT } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { type MessageWriter, viewOf } from '../netlink/message.ts'
import type { Packet } from '../packet.ts'
import { Fifo, PRIORITY_MASK, writeBands } from './fifo.ts'
import { FilterBlock } from './filter.ts'
import { type ClassfulQdisc, major, minor, Qdisc, type TrafficClass } from './qdisc.ts'

const MAX_BANDS = 16
const LEAST_BANDS = 2

export class Prio extends Qdisc implements ClassfulQdisc {
  override readonly kind = 'prio'
  #bands: Qdisc[] = []
  #priorities: number[] = []
  readonly #filters = new FilterBlock(this.control.runtime.queueRoom)

  override configure(options: Uint8Array | undefined): Status {
    if (options === undefined || options.length < TC_PRIO_QOPT.size) return -EINVAL
    const count = viewOf(options).getInt32(TC_PRIO_QOPT.bands, true)
    if (count > MAX_BANDS || count < LEAST_BANDS) return -EINVAL
    const priorities = [...options.subarray(TC_PRIO_QOPT.priomap, TC_PRIO_QOPT.priomap + PRIORITY_MASK + 1)]
    if (priorities.some(band => band >= count)) return -EINVAL
    while (this.#bands.length > count) {
      const band = this.#bands.pop()!
      this.length -= band.length
      this.backlog -= band.backlog
      band.close()
    }
    while (this.#bands.length < count) this.#bands.push(this.#fresh(this.#bands.length))
    this.#priorities = priorities
    return 0
  }

  #fresh(band: number): Qdisc {
    const made = new Fifo('pfifo', this.control)
    made.parent = this.handle + band + 1
    return made
  }

  override enqueue(packet: Packet, now: number): boolean {
    const band = this.#classify(packet, now)
    if (typeof band === 'boolean') return band
    const { length, backlog } = band
    const done = band.enqueue(packet, now)
    this.length += band.length - length
    this.backlog += band.backlog - backlog
    if (!done) this.statistics.drops++
    return done
  }

  /** prio_classify. True: a filter has taken the packet; false: dropped. */
  #classify(packet: Packet, now: number): Qdisc | boolean {
    const bands = this.#bands
    let band = packet.priority
    if (major(packet.priority) !== this.handle) {
      const { frame } = this.control.stack.traffic
      frame.leaving(packet, this.control.device, now)
      const verdict = this.#filters.classify(frame)
      if (verdict === TC_ACT_STOLEN || verdict === TC_ACT_QUEUED) return true
      if (verdict === TC_ACT_SHOT || verdict === TC_ACT_TRAP) return this.drop(packet)
      if (verdict < 0) {
        const priority = major(band) !== 0 ? 0 : band
        return bands[this.#priorities[priority & PRIORITY_MASK]]
      }
      band = frame.classId
    }
    return bands[minor(band) - 1] ?? bands[this.#priorities[0]]
  }

  override dequeue(now: number): Packet | undefined {
    this.due = Number.POSITIVE_INFINITY
    for (const band of this.#bands) {
      if (band.length === 0) continue
      const { length, backlog } = band
      const packet = band.dequeue(now)
      this.length -= length - band.length
      this.backlog -= backlog - band.backlog
      if (packet !== undefined) {
        this.statistics.sent(packet)
        return packet
      }
      this.due = Math.min(this.due, band.due)
    }
    return undefined
  }

  override reset(): void {
    for (const band of this.#bands) band.reset()
    this.length = this.backlog = 0
  }
  override close(): void {
    for (const band of this.#bands) band.close()
    this.#filters.clear()
  }
  override writeOptions(writer: MessageWriter): void {
    writeBands(writer, this.#bands.length, this.#priorities)
  }

  filtersOf(parent: number): FilterBlock | undefined {
    return minor(parent) === 0 ? this.#filters : undefined
  }
  *classes(): Iterable<TrafficClass> {
    for (let i = 1; i <= this.#bands.length; i++) yield this.findClass(i)!
  }
  findClass(id: number): TrafficClass | undefined {
    const leaf = this.#bands[minor(id) - 1]
    if (leaf === undefined) return undefined
    return { id: this.handle + minor(id), parent: this.handle, leaf, statistics: leaf.statistics }
  }
  graft(id: number, child: Qdisc | undefined): Qdisc | undefined {
    const band = minor(id) - 1
    const before = this.#bands[band]
    this.length -= before.length
    this.backlog -= before.backlog
    before.reset()
    const made = child ?? this.#fresh(band)
    made.parent = this.handle + band + 1
    this.#bands[band] = made
    return before
  }
  writeClassOptions(): void {}
}
