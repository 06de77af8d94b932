/**
 * htb, hierarchical token buckets: sch_htb.c. A tree of classes, each with a rate that it has for itself and a ceiling up to which
 * it may borrow what its parent has to spare. Packets wait in the leaves' qdiscs.
 *
 * A leaf may send at the level of the first class on its way up that is within its rate, as long as all below that one are within
 * their ceilings. Who sends at a lower level goes first, then by priority, then in turn, a quantum of bytes each.
 */
import {
  TC_ACT_QUEUED,
  TC_ACT_SHOT,
  TC_ACT_STOLEN,
  TC_ACT_TRAP,
  TC_H_ROOT,
  TCA_HTB_CEIL64,
  TCA_HTB_DIRECT_QLEN,
  TCA_HTB_INIT,
  TCA_HTB_PARMS,
  TCA_HTB_RATE64,
  TCA_OPTIONS,
} from '../../abi/constants.ts'
import { EBUSY, EINVAL } from '../../abi/errno.ts'
import { TC_HTB_GLOB, TC_HTB_OPT, TC_HTB_XSTATS } from '../../abi/layout.ts'
import type { Status } from '../../base/result.ts'
import { Attributes, type MessageWriter, viewOf } from '../netlink/message.ts'
import { type Packet, PacketQueue } from '../packet.ts'
import { Fifo } from './fifo.ts'
import { FilterBlock } from './filter.ts'
import {
  type ClassfulQdisc,
  LeafQdisc,
  major,
  minor,
  type Qdisc,
  type QueueRoom,
  QueueStatistics,
  type TrafficClass,
  wireLength,
} from './qdisc.ts'
import { nsToTicks, Rate, readRate64, ticksToNs } from './rate.ts'

/** HTB_VER: 3 is its major part, by which tc knows it. */
const VERSION = 0x30011
const MAX_DEPTH = 8
const LAST_PRIORITY = 7
const LEAST_QUANTUM = 1000
const MOST_QUANTUM = 200000
/** ns that a class looks back at most. */
const MOST_CREDIT = 60e9

class HtbClass implements TrafficClass {
  readonly id: number
  readonly up: HtbClass | undefined
  readonly filters: FilterBlock
  readonly statistics = new QueueStatistics()
  children = 0
  level = 0
  leaf: Qdisc | undefined = undefined
  rate!: Rate
  ceil!: Rate
  buffer = 0
  ceilBuffer = 0
  priority = 0
  quantum = 0
  deficit = 0
  /** ns; below 0: it is beyond its rate, or its ceiling. */
  tokens = 0
  ceilTokens = 0
  checked = 0
  lends = 0
  borrows = 0

  constructor(id: number, up: HtbClass | undefined, room: QueueRoom) {
    this.id = id
    this.up = up
    this.filters = new FilterBlock(room)
  }

  get parent(): number {
    return this.up?.id ?? TC_H_ROOT
  }

  /** ns since the last packet, as far as they count. */
  since(now: number): number {
    return Math.min(now - this.checked, MOST_CREDIT)
  }

  /** htb_charge_class: one class on the way up of a packet that `level` has let through. */
  charge(bytes: number, level: number, now: number): void {
    const since = this.since(now)
    if (this.level >= level) {
      if (this.level === level) this.lends++
      const tokens = Math.min(this.tokens + since, this.buffer) - this.rate.time(bytes)
      this.tokens = Math.max(tokens, 1 - MOST_CREDIT)
    } else {
      this.borrows++
      this.tokens += since
    }
    const tokens = Math.min(this.ceilTokens + since, this.ceilBuffer) - this.ceil.time(bytes)
    this.ceilTokens = Math.max(tokens, 1 - MOST_CREDIT)
    this.checked = now
  }
}

export class Htb extends LeafQdisc implements ClassfulQdisc {
  override readonly kind = 'htb'
  readonly #classes = new Map<number, HtbClass>()
  readonly #filters = new FilterBlock(this.control.runtime.queueRoom)
  /** Leaves with something in them, in their turn. */
  readonly #active: HtbClass[] = []
  /** What is of no class goes past all of them. */
  readonly #direct = new PacketQueue()
  #directLimit = 0
  #directPackets = 0
  #rateToQuantum = 10
  #default = 0

  override configure(options: Uint8Array | undefined, isNew: boolean): Status {
    if (options === undefined || !isNew) return -EINVAL
    const attributes = new Attributes(options)
    const glob = attributes.get(TCA_HTB_INIT)
    if (glob === undefined || glob.length < TC_HTB_GLOB.size) return -EINVAL
    const view = viewOf(glob)
    if (view.getUint32(TC_HTB_GLOB.version, true) !== VERSION >> 16) return -EINVAL
    this.#directLimit = attributes.u32(TCA_HTB_DIRECT_QLEN) ?? this.control.device.txQueueLength
    this.#rateToQuantum = Math.max(view.getUint32(TC_HTB_GLOB.rate2quantum, true), 1)
    this.#default = view.getUint32(TC_HTB_GLOB.defcls, true)
    return 0
  }

  override enqueue(packet: Packet, now: number): boolean {
    const to = this.#classify(packet, now)
    if (typeof to === 'boolean') return to
    if (to === undefined) {
      if (this.#direct.length >= this.#directLimit || !this.keep(packet)) return this.drop(packet)
      this.#direct.push(packet)
      this.#directPackets++
      return true
    }
    const leaf = to.leaf!
    const { length, backlog } = leaf
    const done = leaf.enqueue(packet, now)
    this.length += leaf.length - length
    this.backlog += leaf.backlog - backlog
    if (!done) {
      this.statistics.drops++
      to.statistics.drops++
    }
    if (leaf.length > 0 && !this.#active.includes(to)) this.#active.push(to)
    return done
  }

  /** htb_classify. Undefined: none. True: a filter has taken the packet; false: dropped. */
  #classify(packet: Packet, now: number): HtbClass | undefined | boolean {
    if (packet.priority === this.handle) return undefined
    let found = this.#classes.get(packet.priority)
    if (found !== undefined && found.level === 0) return found
    const { frame } = this.control.stack.traffic
    for (let filters = found?.filters ?? this.#filters; !filters.empty; ) {
      frame.leaving(packet, this.control.device, now)
      const verdict = filters.classify(frame)
      if (verdict < 0) break
      if (verdict === TC_ACT_STOLEN || verdict === TC_ACT_QUEUED) return true
      if (verdict === TC_ACT_SHOT || verdict === TC_ACT_TRAP) return this.drop(packet)
      const { classId } = frame
      found = this.#classes.get(major(classId) === 0 ? this.handle + classId : classId)
      if (found === undefined) {
        if (classId === this.handle) return undefined
        break
      }
      if (found.level === 0) return found
      if (filters === found.filters) break
      filters = found.filters
    }
    found = this.#classes.get(this.handle + minor(this.#default))
    return found === undefined || found.level > 0 ? undefined : found
  }

  override dequeue(now: number): Packet | undefined {
    const packet = this.#direct.shift()
    if (packet !== undefined) {
      this.leave(packet)
      this.statistics.sent(packet)
      return packet
    }
    this.due = Number.POSITIVE_INFINITY
    /** Leaves that have nothing now, because their own qdiscs hold it back. */
    let held: Set<HtbClass> | undefined
    while (this.#active.length > 0) {
      let best: HtbClass | undefined
      let bestLevel = MAX_DEPTH
      for (const leaf of this.#active) {
        if (held?.has(leaf)) continue
        const level = this.#levelOf(leaf, now)
        if (level > bestLevel || level < 0) continue
        if (level === bestLevel && leaf.priority >= best!.priority) continue
        best = leaf
        bestLevel = level
      }
      if (best === undefined) {
        this.statistics.overlimits++
        return undefined
      }
      const found = this.#take(best, bestLevel, now)
      if (found !== undefined) return found
      held ??= new Set()
      held.add(best)
    }
    return undefined
  }

  /** At which level it may send, -1 for none now: then `due` says when to look again. */
  #levelOf(leaf: HtbClass, now: number): number {
    for (let at: HtbClass | undefined = leaf; at !== undefined; at = at.up) {
      const since = at.since(now)
      if (at.ceilTokens + since < 0) {
        this.due = Math.min(this.due, now + Math.ceil(-at.ceilTokens - since))
        return -1
      }
      if (at.tokens + since >= 0) return at.level
      this.due = Math.min(this.due, now + Math.ceil(-at.tokens - since))
    }
    return -1
  }

  #take(from: HtbClass, level: number, now: number): Packet | undefined {
    const leaf = from.leaf!
    const { length, backlog } = leaf
    const packet = leaf.dequeue(now)
    this.length -= length - leaf.length
    this.backlog -= backlog - leaf.backlog
    if (packet === undefined) {
      if (leaf.length === 0) this.#idle(from)
      this.due = Math.min(this.due, leaf.due)
      return undefined
    }
    const bytes = wireLength(packet)
    from.deficit -= bytes
    if (leaf.length === 0) this.#idle(from)
    else if (from.deficit < 0) {
      from.deficit += from.quantum
      this.#idle(from)
      this.#active.push(from)
    }
    for (let at: HtbClass | undefined = from; at !== undefined; at = at.up) {
      at.charge(bytes, level, now)
      at.statistics.sent(packet)
    }
    this.statistics.sent(packet)
    return packet
  }

  #idle(leaf: HtbClass): void {
    const at = this.#active.indexOf(leaf)
    if (at >= 0) this.#active.splice(at, 1)
  }

  override reset(): void {
    this.empty(this.#direct)
    for (const each of this.#classes.values()) each.leaf?.reset()
    this.#active.length = 0
    this.length = this.backlog = 0
  }
  override close(): void {
    this.reset()
    for (const each of this.#classes.values()) {
      each.leaf?.close()
      each.filters.clear()
    }
    this.#filters.clear()
  }

  override writeOptions(writer: MessageWriter): void {
    const nest = writer.nest(TCA_OPTIONS)
    const at = writer.attribute(TCA_HTB_INIT, TC_HTB_GLOB.size)
    writer.set32(at + TC_HTB_GLOB.version, VERSION)
    writer.set32(at + TC_HTB_GLOB.rate2quantum, this.#rateToQuantum)
    writer.set32(at + TC_HTB_GLOB.defcls, this.#default)
    writer.set32(at + TC_HTB_GLOB.direct_pkts, this.#directPackets)
    writer.u32(TCA_HTB_DIRECT_QLEN, this.#directLimit)
    writer.close(nest)
  }

  // Its classes.

  filtersOf(parent: number): FilterBlock | undefined {
    return minor(parent) === 0 ? this.#filters : this.#classes.get(parent)?.filters
  }
  classes(): Iterable<HtbClass> {
    return this.#classes.values()
  }
  findClass(id: number): HtbClass | undefined {
    return this.#classes.get(id)
  }

  graft(id: number, child: Qdisc | undefined): Qdisc | undefined {
    const holder = this.#classes.get(id)!
    const before = holder.leaf
    if (before !== undefined) {
      this.length -= before.length
      this.backlog -= before.backlog
      before.reset()
    }
    this.#idle(holder)
    holder.leaf = child ?? new Fifo('pfifo', this.control)
    holder.leaf.parent = id
    return before
  }

  changeClass(
    existing: TrafficClass | undefined,
    id: number,
    parent: number,
    options: Attributes,
  ): TrafficClass | Status {
    const parameters = options.get(TCA_HTB_PARMS)
    if (parameters === undefined || parameters.length < TC_HTB_OPT.size) return -EINVAL
    const view = viewOf(parameters)
    const rate = new Rate(view, TC_HTB_OPT.rate, readRate64(options, TCA_HTB_RATE64))
    const ceil = new Rate(view, TC_HTB_OPT.ceil, readRate64(options, TCA_HTB_CEIL64))
    if (rate.bytesPerSecond === 0 || ceil.bytesPerSecond === 0) return -EINVAL
    let changed = existing as HtbClass | undefined
    if (changed === undefined) {
      const up = parent === TC_H_ROOT ? undefined : this.#classes.get(parent)
      if (id === 0 || major(id) !== this.handle || this.#classes.has(id)) return -EINVAL
      if (up?.up !== undefined && up.up.level < 2) return -EINVAL
      if (up !== undefined) this.#becomeInner(up)
      changed = new HtbClass(id, up, this.control.runtime.queueRoom)
      changed.leaf = new Fifo('pfifo', this.control)
      changed.leaf.parent = id
      changed.checked = this.control.runtime.now()
      this.#classes.set(id, changed)
    }
    const isNew = existing === undefined
    changed.rate = rate
    changed.ceil = ceil
    changed.buffer = ticksToNs(view.getUint32(TC_HTB_OPT.buffer, true))
    changed.ceilBuffer = ticksToNs(view.getUint32(TC_HTB_OPT.cbuffer, true))
    if (isNew) {
      changed.tokens = changed.buffer
      changed.ceilTokens = changed.ceilBuffer
    }
    const quantum = view.getUint32(TC_HTB_OPT.quantum, true)
    if (changed.level === 0) {
      const usual = Math.floor(rate.bytesPerSecond / this.#rateToQuantum)
      changed.quantum = quantum || Math.min(Math.max(usual, LEAST_QUANTUM), MOST_QUANTUM)
      changed.priority = Math.min(view.getUint32(TC_HTB_OPT.prio, true), LAST_PRIORITY)
    }
    return changed
  }

  #becomeInner(up: HtbClass): void {
    up.children++
    if (up.level > 0) return
    if (up.leaf !== undefined) {
      this.length -= up.leaf.length
      this.backlog -= up.leaf.backlog
      this.#idle(up)
      up.leaf.close()
      up.leaf = undefined
    }
    up.level = (up.up?.level ?? MAX_DEPTH) - 1
    up.tokens = up.buffer
    up.ceilTokens = up.ceilBuffer
    up.checked = this.control.runtime.now()
  }

  deleteClass(existing: TrafficClass): Status {
    const gone = existing as HtbClass
    if (gone.children > 0) return -EBUSY
    if (gone.leaf !== undefined) {
      this.length -= gone.leaf.length
      this.backlog -= gone.leaf.backlog
      this.#idle(gone)
      gone.leaf.close()
    }
    gone.filters.clear()
    this.#classes.delete(gone.id)
    const { up } = gone
    if (up === undefined || --up.children > 0) return 0
    // The last child leaves a leaf behind.
    up.level = 0
    up.leaf = new Fifo('pfifo', this.control)
    up.leaf.parent = up.id
    up.tokens = up.buffer
    up.ceilTokens = up.ceilBuffer
    up.checked = this.control.runtime.now()
    return 0
  }

  writeClassOptions(writer: MessageWriter, existing: TrafficClass): void {
    const { rate, ceil, buffer, ceilBuffer, quantum, priority, level } = existing as HtbClass
    const nest = writer.nest(TCA_OPTIONS)
    const at = writer.attribute(TCA_HTB_PARMS, TC_HTB_OPT.size)
    rate.write(writer, at + TC_HTB_OPT.rate)
    ceil.write(writer, at + TC_HTB_OPT.ceil)
    writer.set32(at + TC_HTB_OPT.buffer, nsToTicks(buffer))
    writer.set32(at + TC_HTB_OPT.cbuffer, nsToTicks(ceilBuffer))
    writer.set32(at + TC_HTB_OPT.quantum, quantum)
    writer.set32(at + TC_HTB_OPT.prio, priority)
    writer.set32(at + TC_HTB_OPT.level, level)
    if (rate.is64) writer.u64(TCA_HTB_RATE64, rate.bytesPerSecond)
    if (ceil.is64) writer.u64(TCA_HTB_CEIL64, ceil.bytesPerSecond)
    writer.close(nest)
  }

  writeClassStatistics(writer: MessageWriter, existing: TrafficClass, type: number): void {
    const { lends, borrows, tokens, ceilTokens } = existing as HtbClass
    const at = writer.attribute(type, TC_HTB_XSTATS.size)
    writer.set32(at + TC_HTB_XSTATS.lends, lends)
    writer.set32(at + TC_HTB_XSTATS.borrows, borrows)
    writer.set32(at + TC_HTB_XSTATS.tokens, clamped(nsToTicks(tokens)))
    writer.set32(at + TC_HTB_XSTATS.ctokens, clamped(nsToTicks(ceilTokens)))
  }
}

function clamped(value: number): number {
  return Math.max(-0x80000000, Math.min(0x7fffffff, value))
}
