/** flower: by fields of headers: tc-flower(8), cls_flower.c. Of Ethernet, IPv4, IPv6, ARP, and the ports, flags and types above. */
import {
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  TC_ACT_OK,
  TC_ACT_UNSPEC,
  TCA_CLS_FLAGS_NOT_IN_HW,
  TCA_FLOWER_ACT,
  TCA_FLOWER_CLASSID,
  TCA_FLOWER_FLAGS,
  TCA_FLOWER_KEY_ARP_OP,
  TCA_FLOWER_KEY_ARP_OP_MASK,
  TCA_FLOWER_KEY_ARP_SIP,
  TCA_FLOWER_KEY_ARP_SIP_MASK,
  TCA_FLOWER_KEY_ARP_TIP,
  TCA_FLOWER_KEY_ARP_TIP_MASK,
  TCA_FLOWER_KEY_ETH_DST,
  TCA_FLOWER_KEY_ETH_DST_MASK,
  TCA_FLOWER_KEY_ETH_SRC,
  TCA_FLOWER_KEY_ETH_SRC_MASK,
  TCA_FLOWER_KEY_ETH_TYPE,
  TCA_FLOWER_KEY_ICMPV4_CODE,
  TCA_FLOWER_KEY_ICMPV4_CODE_MASK,
  TCA_FLOWER_KEY_ICMPV4_TYPE,
  TCA_FLOWER_KEY_ICMPV4_TYPE_MASK,
  TCA_FLOWER_KEY_ICMPV6_CODE,
  TCA_FLOWER_KEY_ICMPV6_CODE_MASK,
  TCA_FLOWER_KEY_ICMPV6_TYPE,
  TCA_FLOWER_KEY_ICMPV6_TYPE_MASK,
  TCA_FLOWER_KEY_IP_PROTO,
  TCA_FLOWER_KEY_IP_TOS,
  TCA_FLOWER_KEY_IP_TOS_MASK,
  TCA_FLOWER_KEY_IP_TTL,
  TCA_FLOWER_KEY_IP_TTL_MASK,
  TCA_FLOWER_KEY_IPV4_DST,
  TCA_FLOWER_KEY_IPV4_DST_MASK,
  TCA_FLOWER_KEY_IPV4_SRC,
  TCA_FLOWER_KEY_IPV4_SRC_MASK,
  TCA_FLOWER_KEY_IPV6_DST,
  TCA_FLOWER_KEY_IPV6_DST_MASK,
  TCA_FLOWER_KEY_IPV6_SRC,
  TCA_FLOWER_KEY_IPV6_SRC_MASK,
  TCA_FLOWER_KEY_SCTP_DST,
  TCA_FLOWER_KEY_SCTP_DST_MASK,
  TCA_FLOWER_KEY_SCTP_SRC,
  TCA_FLOWER_KEY_SCTP_SRC_MASK,
  TCA_FLOWER_KEY_TCP_DST,
  TCA_FLOWER_KEY_TCP_DST_MASK,
  TCA_FLOWER_KEY_TCP_FLAGS,
  TCA_FLOWER_KEY_TCP_FLAGS_MASK,
  TCA_FLOWER_KEY_TCP_SRC,
  TCA_FLOWER_KEY_TCP_SRC_MASK,
  TCA_FLOWER_KEY_UDP_DST,
  TCA_FLOWER_KEY_UDP_DST_MASK,
  TCA_FLOWER_KEY_UDP_SRC,
  TCA_FLOWER_KEY_UDP_SRC_MASK,
} from '../../../abi/constants.ts'
import { EEXIST, EINVAL, ENOSPC, EOPNOTSUPP } from '../../../abi/errno.ts'
import type { OrErrno, Status } from '../../../base/result.ts'
import type { Attributes, MessageWriter } from '../../netlink/message.ts'
import type { ActionList } from '../actions/action.ts'
import type { Classifier, Filter, FilterChange, Frame } from '../filter.ts'

/** Where the headers of a packet are, -1 for what it doesn't have. */
interface Places {
  readonly link: number
  readonly v4: number
  readonly v6: number
  readonly arp: number
  readonly protocol: number
  readonly transport: number
}

interface Field {
  readonly key: number
  /** Undefined: it is matched as a whole. */
  readonly mask: number | undefined
  readonly length: number
  /** Its offset in the packet, -1: the packet has no such field. */
  at(places: Places): number
}

const beyond = (start: number, offset: number): number => (start < 0 ? -1 : start + offset)
const above = (places: Places, protocol: number, offset: number): number =>
  places.protocol === protocol ? beyond(places.transport, offset) : -1
const field = (key: number, mask: number | undefined, length: number, at: Field['at']): Field => ({
  key,
  mask,
  length,
  at,
})

const FIELDS: readonly Field[] = [
  field(TCA_FLOWER_KEY_ETH_DST, TCA_FLOWER_KEY_ETH_DST_MASK, 6, p => beyond(p.link, 0)),
  field(TCA_FLOWER_KEY_ETH_SRC, TCA_FLOWER_KEY_ETH_SRC_MASK, 6, p => beyond(p.link, 6)),
  field(TCA_FLOWER_KEY_IPV4_SRC, TCA_FLOWER_KEY_IPV4_SRC_MASK, 4, p => beyond(p.v4, 12)),
  field(TCA_FLOWER_KEY_IPV4_DST, TCA_FLOWER_KEY_IPV4_DST_MASK, 4, p => beyond(p.v4, 16)),
  field(TCA_FLOWER_KEY_IPV6_SRC, TCA_FLOWER_KEY_IPV6_SRC_MASK, 16, p => beyond(p.v6, 8)),
  field(TCA_FLOWER_KEY_IPV6_DST, TCA_FLOWER_KEY_IPV6_DST_MASK, 16, p => beyond(p.v6, 24)),
  field(TCA_FLOWER_KEY_TCP_SRC, TCA_FLOWER_KEY_TCP_SRC_MASK, 2, p => above(p, IPPROTO_TCP, 0)),
  field(TCA_FLOWER_KEY_TCP_DST, TCA_FLOWER_KEY_TCP_DST_MASK, 2, p => above(p, IPPROTO_TCP, 2)),
  field(TCA_FLOWER_KEY_TCP_FLAGS, TCA_FLOWER_KEY_TCP_FLAGS_MASK, 2, p => above(p, IPPROTO_TCP, 12)),
  field(TCA_FLOWER_KEY_UDP_SRC, TCA_FLOWER_KEY_UDP_SRC_MASK, 2, p => above(p, IPPROTO_UDP, 0)),
  field(TCA_FLOWER_KEY_UDP_DST, TCA_FLOWER_KEY_UDP_DST_MASK, 2, p => above(p, IPPROTO_UDP, 2)),
  field(TCA_FLOWER_KEY_SCTP_SRC, TCA_FLOWER_KEY_SCTP_SRC_MASK, 2, p => above(p, IPPROTO_SCTP, 0)),
  field(TCA_FLOWER_KEY_SCTP_DST, TCA_FLOWER_KEY_SCTP_DST_MASK, 2, p => above(p, IPPROTO_SCTP, 2)),
  field(TCA_FLOWER_KEY_ICMPV4_TYPE, TCA_FLOWER_KEY_ICMPV4_TYPE_MASK, 1, p => above(p, IPPROTO_ICMP, 0)),
  field(TCA_FLOWER_KEY_ICMPV4_CODE, TCA_FLOWER_KEY_ICMPV4_CODE_MASK, 1, p => above(p, IPPROTO_ICMP, 1)),
  field(TCA_FLOWER_KEY_ICMPV6_TYPE, TCA_FLOWER_KEY_ICMPV6_TYPE_MASK, 1, p => above(p, IPPROTO_ICMPV6, 0)),
  field(TCA_FLOWER_KEY_ICMPV6_CODE, TCA_FLOWER_KEY_ICMPV6_CODE_MASK, 1, p => above(p, IPPROTO_ICMPV6, 1)),
  field(TCA_FLOWER_KEY_IP_TOS, TCA_FLOWER_KEY_IP_TOS_MASK, 1, p => beyond(p.v4, 1)),
  field(TCA_FLOWER_KEY_IP_TTL, TCA_FLOWER_KEY_IP_TTL_MASK, 1, p => (p.v4 >= 0 ? p.v4 + 8 : beyond(p.v6, 7))),
  field(TCA_FLOWER_KEY_ARP_OP, TCA_FLOWER_KEY_ARP_OP_MASK, 1, p => beyond(p.arp, 7)),
  field(TCA_FLOWER_KEY_ARP_SIP, TCA_FLOWER_KEY_ARP_SIP_MASK, 4, p => beyond(p.arp, 14)),
  field(TCA_FLOWER_KEY_ARP_TIP, TCA_FLOWER_KEY_ARP_TIP_MASK, 4, p => beyond(p.arp, 24)),
]
/** Those that are no field of the table. */
const OTHERS: ReadonlySet<number> = new Set([
  TCA_FLOWER_CLASSID,
  TCA_FLOWER_ACT,
  TCA_FLOWER_FLAGS,
  TCA_FLOWER_KEY_ETH_TYPE,
  TCA_FLOWER_KEY_IP_PROTO,
])
const KNOWN: ReadonlySet<number> = new Set([...OTHERS, ...FIELDS.flatMap(({ key, mask }) => [key, mask!])])

interface Wanted {
  readonly field: Field
  readonly value: Uint8Array
  readonly mask: Uint8Array
}

class FlowerFilter implements Filter {
  readonly handle: number
  classId = 0
  etherType = 0
  /** -1: any. */
  protocol = -1
  wanted: readonly Wanted[] = []
  actions!: ActionList
  /** What keyOf gives, once it is filled. */
  key = ''

  constructor(handle: number) {
    this.handle = handle
  }

  /** Equal filters match the same. */
  keyOf(): string {
    const fields = this.wanted.map(({ field: { key }, value, mask }) => `${key} ${value} ${mask}`)
    return [this.etherType, this.protocol, ...fields].join(';')
  }

  matches(frame: Frame, places: Places): boolean {
    if (this.etherType !== 0 && this.etherType !== frame.protocol) return false
    if (this.protocol >= 0 && this.protocol !== places.protocol) return false
    const { bytes, end } = frame.packet
    for (const { field: each, value, mask } of this.wanted) {
      const at = each.at(places)
      if (at < 0 || at + each.length > end) return false
      for (let i = 0; i < each.length; i++) if (((bytes[at + i] ^ value[i]) & mask[i]) !== 0) return false
    }
    return true
  }

  write(writer: MessageWriter): void {
    if (this.classId !== 0) writer.u32(TCA_FLOWER_CLASSID, this.classId)
    for (const { field: each, value, mask } of this.wanted) {
      writer.bytes(each.key, value)
      if (each.mask !== undefined) writer.bytes(each.mask, mask)
    }
    if (this.etherType !== 0) writer.be16(TCA_FLOWER_KEY_ETH_TYPE, this.etherType)
    if (this.protocol >= 0) writer.u8(TCA_FLOWER_KEY_IP_PROTO, this.protocol)
    writer.u32(TCA_FLOWER_FLAGS, TCA_CLS_FLAGS_NOT_IN_HW)
    this.actions.write(writer, TCA_FLOWER_ACT)
  }
}

export class Flower implements Classifier {
  readonly #filters = new Map<number, FlowerFilter>()
  readonly #byKey = new Map<string, FlowerFilter>()

  get size(): number {
    return this.#filters.size
  }

  change(handle: number, options: Attributes, change: FilterChange): OrErrno<Filter> {
    for (const { type } of options.list) if (!KNOWN.has(type)) return -EOPNOTSUPP
    const known = this.#filters.get(handle)
    if (known !== undefined && change.exclusive) return -EEXIST
    let number = handle
    if (number === 0) for (number = 1; this.#filters.has(number); ) number++
    if (number > 0xffff && handle === 0) return -ENOSPC
    const filter = new FlowerFilter(number)
    const wanted = readFields(options)
    if (typeof wanted === 'number') return wanted
    filter.wanted = wanted
    filter.etherType = options.be16(TCA_FLOWER_KEY_ETH_TYPE) ?? 0
    filter.protocol = options.u8(TCA_FLOWER_KEY_IP_PROTO) ?? -1
    filter.classId = options.u32(TCA_FLOWER_CLASSID) ?? 0
    filter.key = filter.keyOf()
    const same = this.#byKey.get(filter.key)
    if (same !== undefined && same !== known) return -EEXIST
    const actions = change.actions(options, TCA_FLOWER_ACT, 0)
    if (typeof actions === 'number') return actions
    filter.actions = actions
    if (known !== undefined) {
      known.actions.release()
      this.#byKey.delete(known.key)
    }
    this.#filters.set(number, filter)
    this.#byKey.set(filter.key, filter)
    return filter
  }

  classify(frame: Frame): number {
    const places = placesOf(frame)
    for (const filter of this.#filters.values()) {
      if (!filter.matches(frame, places)) continue
      frame.classId = filter.classId
      return filter.actions.actions.length === 0 ? TC_ACT_OK : filter.actions.run(frame)
    }
    return TC_ACT_UNSPEC
  }

  find(handle: number): Filter | undefined {
    return this.#filters.get(handle)
  }
  filters(): Iterable<Filter> {
    return this.#filters.values()
  }
  remove(filter: FlowerFilter): Status {
    filter.actions.release()
    this.#filters.delete(filter.handle)
    this.#byKey.delete(filter.key)
    return 0
  }
}

function readFields(options: Attributes): OrErrno<Wanted[]> {
  const wanted: Wanted[] = []
  for (const each of FIELDS) {
    const value = options.get(each.key)
    if (value === undefined) continue
    if (value.length < each.length) return -EINVAL
    const mask = each.mask === undefined ? undefined : options.get(each.mask)
    if (mask !== undefined && mask.length < each.length) return -EINVAL
    const whole = each.key === TCA_FLOWER_KEY_TCP_FLAGS ? Uint8Array.of(0x0f, 0xff) : undefined
    wanted.push({
      field: each,
      value: value.slice(0, each.length),
      mask: mask?.slice(0, each.length) ?? whole ?? new Uint8Array(each.length).fill(0xff),
    })
  }
  return wanted
}

function placesOf({ packet, protocol, network, link }: Frame): Places {
  const { bytes, end } = packet
  const none = { link, v4: -1, v6: -1, arp: -1, protocol: -1, transport: -1 }
  if (protocol === ETH_P_IP && end - network >= 20) {
    const fragment = (((bytes[network + 6] << 8) | bytes[network + 7]) & 0x1fff) !== 0
    const transport = fragment ? -1 : network + (bytes[network] & 15) * 4
    return { ...none, v4: network, protocol: bytes[network + 9], transport }
  }
  if (protocol === ETH_P_IPV6 && end - network >= 40)
    return { ...none, v6: network, protocol: bytes[network + 6], transport: network + 40 }
  return protocol === ETH_P_ARP && end - network >= 28 ? { ...none, arp: network } : none
}
