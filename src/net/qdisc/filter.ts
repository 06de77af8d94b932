/**
 * Filters: what chooses a class for a packet, or does something to it (actions/). A FilterBlock holds those of one qdisc,
 * class or hook, in chains; within a chain by preference, all of one preference of one kind and protocol (a FilterGroup, Linux's
 * tcf_proto).
 */
import {
  ETH_P_ALL,
  ETH_P_IP,
  ETH_P_IPV6,
  TC_ACT_GOTO_CHAIN,
  TC_ACT_RECLASSIFY,
  TC_ACT_UNSPEC,
} from '../../abi/constants.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { NetDevice } from '../link/device.ts'
import type { Attributes, MessageWriter } from '../netlink/message.ts'
import type { Packet } from '../packet.ts'
import type { ActionList } from './actions/action.ts'
import type { QueueRoom } from './qdisc.ts'

/** Filters of one block, in all. */
const MAX_FILTERS = 4096
/** Times that a packet may begin anew: of `reclassify` and `goto chain`. */
const MAX_RESTARTS = 16
const OPCODE_MASK = 0xf0000000
const VALUE_MASK = 0x0fffffff

/** A packet as filters see it, one object used again: where its headers are, and what was found. */
export class Frame {
  packet!: Packet
  device!: NetDevice
  /** It has come in; else it is about to leave. */
  ingress = false
  /** Offsets in packet.bytes; link is -1 on links without a header. */
  link = -1
  network = 0
  /** EtherType. */
  protocol = 0
  now = 0
  /** The class that the filter which matched has said; 0 for none. */
  classId = 0

  /** About to leave: a whole frame at packet.start. */
  leaving(packet: Packet, device: NetDevice, now: number): void {
    this.packet = packet
    this.device = device
    this.ingress = false
    this.now = now
    const { headerLength } = device
    this.link = headerLength > 0 ? packet.start : -1
    this.network = packet.start + headerLength
    this.protocol =
      headerLength > 0 && packet.length >= headerLength
        ? packet.view.getUint16(packet.start + headerLength - 2)
        : packet.networkProtocol || versionProtocol(packet)
  }
  /** Has come in, its link header pulled. */
  arriving(packet: Packet, device: NetDevice, now: number): void {
    this.packet = packet
    this.device = device
    this.ingress = true
    this.now = now
    this.link = device.headerLength > 0 ? packet.link : -1
    this.network = packet.start
    this.protocol = packet.networkProtocol
  }
}

function versionProtocol({ length, bytes, start }: Packet): number {
  return length > 0 && bytes[start] >> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP
}

/** What a kind of classifier (`tc filter … KIND`) has: struct tcf_proto_ops. */
export interface Classifier {
  /** Makes or changes a filter. `handle`: 0 for any. -EINVAL and the like. */
  change(handle: number, options: Attributes, change: FilterChange): OrErrno<Filter>
  /** The first that matches gives TC_ACT_*; TC_ACT_UNSPEC when none does. */
  classify(frame: Frame): number
  find(handle: number): Filter | undefined
  /** All, as a dump tells of them. */
  filters(): Iterable<Filter>
  remove(filter: Filter): Status
  /** All end, their actions released. */
  close?(): void
  readonly size: number
}

export interface Filter {
  readonly handle: number
  readonly actions?: ActionList
  /** What is in TCA_OPTIONS. */
  write(writer: MessageWriter): void
}

/** What goes with a request to make or change a filter. */
export interface FilterChange {
  readonly exclusive: boolean
  readonly create: boolean
  /** TCA_*_ACT and TCA_*_POLICE of this classifier, read. */
  actions(options: Attributes, act: number, police: number): OrErrno<ActionList>
  refuse(reason: string, errno: number): Status
}

export class FilterGroup {
  readonly kind: string
  readonly protocol: number
  readonly preference: number
  readonly classifier: Classifier

  constructor(kind: string, protocol: number, preference: number, classifier: Classifier) {
    this.kind = kind
    this.protocol = protocol
    this.preference = preference
    this.classifier = classifier
  }
}

export class FilterBlock {
  readonly chains = new Map<number, FilterGroup[]>()
  /** As whose its filters are shown: what the last one that was added has said. */
  parent = 0
  /** What classifiers of one kind have in common here: u32's tables. */
  readonly shared = new Map<string, unknown>()
  readonly #room: QueueRoom
  /** How many filters the kernel's room has been told of. */
  #settled = 0

  constructor(room: QueueRoom) {
    this.#room = room
  }

  /** Whether there may be one more. */
  admits(): boolean {
    return this.size < MAX_FILTERS && this.#room.admitsObject()
  }
  /** Some have come or gone: tells the kernel's room. */
  settle(): void {
    const { size } = this
    this.#room.objects += size - this.#settled
    this.#settled = size
  }

  get empty(): boolean {
    return this.chains.size === 0
  }
  get size(): number {
    let size = 0
    for (const groups of this.chains.values()) for (const group of groups) size += 1 + group.classifier.size
    return size
  }

  add(chain: number, group: FilterGroup): void {
    const groups = this.chains.get(chain) ?? []
    const at = groups.findIndex(other => other.preference > group.preference)
    groups.splice(at < 0 ? groups.length : at, 0, group)
    this.chains.set(chain, groups)
  }
  remove(chain: number, group: FilterGroup): void {
    this.#drop(chain, group)
    this.settle()
  }
  #drop(chain: number, group: FilterGroup): void {
    const groups = this.chains.get(chain)
    const at = groups?.indexOf(group) ?? -1
    if (groups === undefined || at < 0) return
    for (const filter of group.classifier.filters()) filter.actions?.release()
    group.classifier.close?.()
    groups.splice(at, 1)
    if (groups.length === 0) this.chains.delete(chain)
  }
  clear(): void {
    for (const [chain, groups] of [...this.chains]) for (const group of [...groups]) this.#drop(chain, group)
    this.settle()
  }

  /** tcf_classify: TC_ACT_*, and frame.classId. */
  classify(frame: Frame): number {
    let groups = this.chains.get(0)
    frame.classId = 0
    for (let restarts = 0; groups !== undefined && restarts < MAX_RESTARTS; restarts++) {
      const verdict = classifyChain(groups, frame)
      if (verdict === TC_ACT_RECLASSIFY) groups = this.chains.get(0)
      else if (verdict > 0 && (verdict & OPCODE_MASK) === TC_ACT_GOTO_CHAIN)
        groups = this.chains.get(verdict & VALUE_MASK)
      else return verdict
    }
    return TC_ACT_UNSPEC
  }
}

function classifyChain(groups: readonly FilterGroup[], frame: Frame): number {
  for (const { protocol, classifier } of groups) {
    if (protocol !== frame.protocol && protocol !== ETH_P_ALL) continue
    const verdict = classifier.classify(frame)
    if (verdict >= 0) return verdict
  }
  return TC_ACT_UNSPEC
}
