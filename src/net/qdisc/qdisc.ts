/**
 * Qdisc: a queueing discipline, tc(8): what decides which of the packets that a device is to send goes next, and when.
 *
 * A device has none as long as nobody has set one (NetDevice.traffic is undefined), and then sends at once. The one at its
 * root is made by RTM_NEWQDISC and held by the device's TrafficControl (traffic-control.ts). A classful one holds others, one
 * for each of its classes, which end with it or when another is put in their place.
 *
 *     TrafficControl.send ── enqueue ──▶ root ──▶ classes ──▶ leaves
 *                     run ◀── dequeue ── root ◀── … at once, and again at `due`
 *
 * Nothing here waits: `dequeue` gives a packet or says by `due` when to ask again. Whoever enqueues gives the packet away.
 * The packets that wait are counted against the kernel's QueueRoom, so that no guest fills the sentry's memory with them.
 */
import type { Status } from '../../base/result.ts'
import type { Attributes, MessageWriter } from '../netlink/message.ts'
import { GSO_NONE, GSO_UDP, type Packet, type PacketQueue } from '../packet.ts'
import type { FilterBlock } from './filter.ts'
import type { TrafficControl } from './traffic-control.ts'

/** Bytes of buffers that wait in all queues of one kernel. */
const ROOM = 64 << 20
/** Qdiscs and classes of one device. */
export const MAX_QUEUES = 4096

/** Qdiscs, classes and filters of one kernel, whose guests may have any number of devices: some kilobytes each. */
const MAX_OBJECTS = 1 << 17

/** What all qdiscs of one kernel hold. */
export class QueueRoom {
  memory = 0
  objects = 0

  admits(packet: Packet): boolean {
    return this.memory + packet.bytes.length <= ROOM
  }
  admitsObject(): boolean {
    return this.objects < MAX_OBJECTS
  }
}

/** What `tc -s` shows of a qdisc or class. Bytes and packets are counted when they leave. */
export class QueueStatistics {
  bytes = 0
  packets = 0
  drops = 0
  overlimits = 0
  requeues = 0

  sent(packet: Packet): void {
    this.bytes += wireLength(packet)
    this.packets += segmentCount(packet)
  }
}

export abstract class Qdisc {
  abstract readonly kind: string
  readonly control: TrafficControl
  /** Major number in the upper half; 0: made with its class. */
  handle = 0
  /** TC_H_ROOT, or the class that it is in. */
  parent = 0
  readonly statistics = new QueueStatistics()
  /** Packets and bytes that wait, those of its classes included. */
  length = 0
  backlog = 0
  /** Monotonic ns: when to call dequeue again, after it had nothing to give though packets wait. */
  due = Number.POSITIVE_INFINITY

  constructor(control: TrafficControl) {
    this.control = control
  }

  /** TCA_OPTIONS: of a new one (maybe none), or a change of one that is there. -EINVAL. */
  abstract configure(options: Uint8Array | undefined, isNew: boolean): Status
  /** Owns the packet. False: it was dropped, and released. */
  abstract enqueue(packet: Packet, now: number): boolean
  abstract dequeue(now: number): Packet | undefined
  /** Drops all that waits. */
  abstract reset(): void
  /** Writes TCA_OPTIONS, if it has any. */
  writeOptions(_writer: MessageWriter): void {}
  /** Writes a value of its own as `type` (TCA_STATS_APP, TCA_XSTATS). */
  writeOwnStatistics(_writer: MessageWriter, _type: number): void {}
  /** It ends. */
  close(): void {
    this.reset()
  }

  protected counted(packet: Packet): void {
    this.length += segmentCount(packet)
    this.backlog += wireLength(packet)
  }
  protected uncounted(packet: Packet): void {
    this.length -= segmentCount(packet)
    this.backlog -= wireLength(packet)
  }
  protected drop(packet: Packet): false {
    this.statistics.drops++
    packet.release()
    return false
  }
}

/** One that keeps packets itself. */
export abstract class LeafQdisc extends Qdisc {
  /** Counts what waits from now on. False: there is no room. */
  protected keep(packet: Packet): boolean {
    const { queueRoom } = this.control.runtime
    if (!queueRoom.admits(packet)) return false
    queueRoom.memory += packet.bytes.length
    this.counted(packet)
    return true
  }
  protected leave(packet: Packet): void {
    this.control.runtime.queueRoom.memory -= packet.bytes.length
    this.uncounted(packet)
  }
  protected empty(queue: PacketQueue): void {
    for (let packet = queue.shift(); packet !== undefined; packet = queue.shift()) {
      this.leave(packet)
      packet.release()
    }
  }
}

/** A class as RTM_NEWTCLASS tells of it. */
export interface TrafficClass {
  readonly id: number
  /** TC_H_ROOT, or a class. */
  readonly parent: number
  /** The qdisc in it. */
  readonly leaf: Qdisc | undefined
  /** Undefined: none are kept of it. */
  readonly statistics: QueueStatistics | undefined
}

/** One with classes, which filters choose among. */
export interface ClassfulQdisc extends Qdisc {
  /** Filters of the qdisc, or of a class. Undefined: there is no such class, or it has none. */
  filtersOf(parent: number): FilterBlock | undefined
  classes(): Iterable<TrafficClass>
  findClass(id: number): TrafficClass | undefined
  /** Puts a qdisc into a class; undefined: the one that it has by itself. Gives back the one that was there. */
  graft?(id: number, child: Qdisc | undefined): Qdisc | undefined
  /** Makes or changes a class; `existing` is undefined for a new one, whose id may be 0: any. */
  changeClass?(
    existing: TrafficClass | undefined,
    id: number,
    parent: number,
    options: Attributes,
  ): TrafficClass | Status
  deleteClass?(existing: TrafficClass): Status
  writeClassOptions(writer: MessageWriter, existing: TrafficClass): void
  writeClassStatistics?(writer: MessageWriter, existing: TrafficClass, type: number): void
}

export function isClassful(qdisc: Qdisc): qdisc is ClassfulQdisc {
  return 'classes' in qdisc
}

export function major(handle: number): number {
  return (handle & 0xffff0000) >>> 0
}
export function minor(handle: number): number {
  return handle & 0xffff
}

/** Into how many packets it will be split. */
export function segmentCount(packet: Packet): number {
  return packet.gsoType === GSO_NONE ? 1 : segments(packet, headersOf(packet))
}
/** Bytes that will go over the link: the headers of each segment too. */
export function wireLength(packet: Packet): number {
  if (packet.gsoType === GSO_NONE) return packet.length
  const headers = headersOf(packet)
  return packet.length + (segments(packet, headers) - 1) * headers
}
/** A link may have said anything, a size of 0 too. */
function segments({ length, gsoSize }: Packet, headers: number): number {
  return gsoSize > 0 ? Math.max(1, Math.ceil((length - headers) / gsoSize)) : 1
}
function headersOf({ start, transport, checksumStart, gsoType, view, end }: Packet): number {
  const at = transport >= start ? transport : checksumStart
  if (gsoType === GSO_UDP) return at - start + 8
  return at + 13 > end ? at - start + 20 : at - start + (view.getUint8(at + 12) >>> 4) * 4
}
