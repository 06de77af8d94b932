/** set, SET: whether what a packet comes from or goes to is in a set of ipset(8), and putting it there. */
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPSET_COUNTER_EQ,
  IPSET_COUNTER_GT,
  IPSET_COUNTER_LT,
  IPSET_COUNTER_NE,
  IPSET_COUNTER_NONE,
  IPSET_DIM_MAX,
  IPSET_FLAG_EXIST,
  IPSET_FLAG_RETURN_NOMATCH,
  IPSET_FLAG_SKIP_COUNTER_UPDATE,
  IPSET_INV_MATCH,
  IPSET_INVALID_ID,
  IPSET_RETURN_NOMATCH,
  NFPROTO_UNSPEC,
  NFT_CONTINUE,
} from '../../../../abi/constants.ts'
import { EINVAL, ENOENT, ERANGE } from '../../../../abi/errno.ts'
import {
  IP_SET_COUNTER_MATCH,
  IP_SET_COUNTER_MATCH0,
  XT_SET_INFO,
  XT_SET_INFO_MATCH_V1,
  XT_SET_INFO_MATCH_V3,
  XT_SET_INFO_MATCH_V4,
  XT_SET_INFO_TARGET_V1,
  XT_SET_INFO_TARGET_V2,
  XT_SET_INFO_TARGET_V3,
} from '../../../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../../../base/result.ts'
import { take64 } from '../../../../base/words.ts'
import { hasPorts } from '../../conntrack/tuple.ts'
import type { IpSet } from '../../ipset/set.ts'
import type { IpSets } from '../../ipset/sets.ts'
import { type MemberKey, NO_KEY } from '../../ipset/types.ts'
import type { Evaluation } from '../evaluation.ts'
import type { Extension, Match, Target } from './extension.ts'

/** struct xt_set_info */
interface Reference {
  readonly index: number
  readonly dimensions: number
  /** Bit i: the i-th field is of where the packet comes from. */
  readonly flags: number
}

function readReference(info: DataView, at: number, sets: IpSets): OrErrno<Reference> {
  const index = info.getUint16(at + XT_SET_INFO.index, true)
  const dimensions = info.getUint8(at + XT_SET_INFO.dim)
  if (index !== IPSET_INVALID_ID && sets.at(index) === undefined) return -ENOENT
  if (dimensions > IPSET_DIM_MAX) return -ERANGE
  return { index, dimensions, flags: info.getUint8(at + XT_SET_INFO.flags) }
}

/** What the packet has for the fields of the set. Undefined: it doesn't have them, or the set is not of its family. */
function keyOf(run: Evaluation, set: IpSet, { dimensions, flags }: Reference): MemberKey | undefined {
  const { packet } = run
  const { fields } = set.type
  if (dimensions < fields.length) return undefined
  let key = NO_KEY
  for (const [i, field] of fields.entries()) {
    const isSource = (flags & (1 << (i + 1))) !== 0
    if (field === 'port') {
      const port = portOf(run, set, isSource)
      if (port < 0) return undefined
      key = { ...key, port, protocol: set.type.bitmap === true ? 0 : packet.transportProtocol }
    } else if (field === 'device') {
      const device = (isSource ? run.input : run.output)?.name
      if (device === undefined) return undefined
      key = { ...key, device }
    } else {
      if (run.isV4 !== set.isV4) return undefined
      const length = set.addressBits
      let address = isSource ? packet.source : packet.destination
      if (field === 'address') address = address.masked(set.config.netmask)
      key = i === 0 ? { ...key, address, length } : { ...key, address2: address, length2: length }
    }
  }
  return key
}

/** -1: there is none. Of ICMP it is the message's type and code. */
function portOf({ packet }: Evaluation, { type }: IpSet, isSource: boolean): number {
  const { view, transport, end, transportProtocol } = packet
  if (transport < 0 || transport + 4 > end) return -1
  if (hasPorts(transportProtocol)) return view.getUint16(transport + (isSource ? 0 : 2))
  if (type.bitmap === true) return -1
  const hasType = transportProtocol === IPPROTO_ICMP || transportProtocol === IPPROTO_ICMPV6
  return hasType ? view.getUint16(transport) : 0
}

/** What a rule wants of an element's packets or bytes. */
interface Counter {
  readonly operation: number
  readonly value: number
}
function satisfies(found: number, { operation, value }: Counter): boolean {
  switch (operation) {
    case IPSET_COUNTER_NONE:
      return true
    case IPSET_COUNTER_EQ:
      return found === value
    case IPSET_COUNTER_NE:
      return found !== value
    case IPSET_COUNTER_LT:
      return found < value
    case IPSET_COUNTER_GT:
      return found > value
  }
  return false
}

const NO_COUNTER: Counter = { operation: IPSET_COUNTER_NONE, value: 0 }

class SetMatch implements Match {
  readonly #sets: IpSets
  readonly #reference: Reference
  /** IPSET_FLAG_* */
  readonly #flags: number
  readonly #packets: Counter
  readonly #bytes: Counter

  constructor(sets: IpSets, reference: Reference, flags: number, packets: Counter, bytes: Counter) {
    this.#sets = sets
    this.#reference = reference
    this.#flags = flags
    this.#packets = packets
    this.#bytes = bytes
  }
  attach(): void {
    this.#sets.use(this.#reference.index)
  }
  detach(): void {
    this.#sets.unuse(this.#reference.index)
  }
  matches(run: Evaluation): boolean {
    return this.#isIn(run) !== ((this.#reference.flags & IPSET_INV_MATCH) !== 0)
  }

  #isIn(run: Evaluation): boolean {
    const set = this.#sets.at(this.#reference.index)
    const key = set === undefined ? undefined : keyOf(run, set, this.#reference)
    const member = key === undefined ? undefined : set!.find(key)
    if (member === undefined) return false
    if (member.noMatch !== ((this.#flags & IPSET_FLAG_RETURN_NOMATCH) !== 0)) return false
    if (!set!.config.counters) return true
    // The packet itself counts.
    if ((this.#flags & IPSET_FLAG_SKIP_COUNTER_UPDATE) === 0) {
      member.packets++
      member.bytes += run.packet.end - run.packet.network
    }
    return satisfies(member.packets, this.#packets) && satisfies(member.bytes, this.#bytes)
  }
}

const COUNTER0 = IP_SET_COUNTER_MATCH0
const COUNTER = IP_SET_COUNTER_MATCH

function matchOf(
  revision: number,
  size: number,
  counterAt?: { packets: number; bytes: number; flags: number },
  counter: { readonly op: number; readonly value: number } = COUNTER,
): Extension<Match> {
  return {
    ...{ name: 'set', revision, family: NFPROTO_UNSPEC, size },
    parse(info, { netfilter: { ipSets } }) {
      const reference = readReference(info, XT_SET_INFO_MATCH_V1.match_set, ipSets)
      if (failed(reference)) return reference
      if (reference.index === IPSET_INVALID_ID) return -ENOENT
      if (counterAt === undefined) {
        const returns = (reference.flags & IPSET_RETURN_NOMATCH) !== 0
        return new SetMatch(
          ipSets,
          reference,
          returns ? IPSET_FLAG_RETURN_NOMATCH : 0,
          NO_COUNTER,
          NO_COUNTER,
        )
      }
      const read = (at: number): Counter => ({
        operation: info.getUint8(at + counter.op),
        value: take64(info, at + counter.value),
      })
      const flags = info.getUint32(counterAt.flags, true)
      return new SetMatch(ipSets, reference, flags, read(counterAt.packets), read(counterAt.bytes))
    },
  }
}

export const setMatches: readonly Extension<Match>[] = [
  matchOf(1, XT_SET_INFO_MATCH_V1.size),
  matchOf(2, XT_SET_INFO_MATCH_V1.size),
  matchOf(3, XT_SET_INFO_MATCH_V3.size, XT_SET_INFO_MATCH_V3, COUNTER0),
  matchOf(4, XT_SET_INFO_MATCH_V4.size, XT_SET_INFO_MATCH_V4),
]

class SetTarget implements Target {
  readonly #sets: IpSets
  readonly #add: Reference
  readonly #remove: Reference
  readonly #exist: boolean
  readonly #timeout: number | undefined

  constructor(sets: IpSets, add: Reference, remove: Reference, exist: boolean, timeout: number | undefined) {
    this.#sets = sets
    this.#add = add
    this.#remove = remove
    this.#exist = exist
    this.#timeout = timeout
  }
  attach(): void {
    this.#sets.use(this.#add.index)
    this.#sets.use(this.#remove.index)
  }
  detach(): void {
    this.#sets.unuse(this.#add.index)
    this.#sets.unuse(this.#remove.index)
  }
  apply(run: Evaluation): number {
    this.#change(run, this.#add, (set, key) => {
      const { timeout } = set.config
      return set.add(networkOf(set, key), { timeout: this.#timeout ?? timeout }, this.#exist)
    })
    this.#change(run, this.#remove, (set, key) => set.remove(networkOf(set, key)))
    return NFT_CONTINUE
  }
  #change(run: Evaluation, reference: Reference, by: (set: IpSet, key: MemberKey) => Status): void {
    const set = this.#sets.at(reference.index)
    const key = set === undefined ? undefined : keyOf(run, set, reference)
    if (key !== undefined) by(set!, key)
  }
}

/** Of a set of networks: of the smallest size that there is in it. */
function networkOf(set: IpSet, key: MemberKey): MemberKey {
  if (!set.has('net')) return key
  const length = set.lengths()[0] ?? set.addressBits
  return set.type.fields[0] === 'net'
    ? { ...key, address: key.address!.masked(length), length }
    : { ...key, address2: key.address2!.masked(length), length2: length }
}

function targetOf(
  revision: number,
  size: number,
  layout: { add_set: number; del_set: number; map_set?: number; flags?: number; timeout?: number },
): Extension<Target> {
  return {
    ...{ name: 'SET', revision, family: NFPROTO_UNSPEC, size },
    parse(info, { netfilter: { ipSets } }) {
      const add = readReference(info, layout.add_set, ipSets)
      if (failed(add)) return add
      const remove = readReference(info, layout.del_set, ipSets)
      if (failed(remove)) return remove
      // No set has marks to give to packets.
      if (layout.map_set !== undefined && info.getUint16(layout.map_set, true) !== IPSET_INVALID_ID)
        return -EINVAL
      const flags = layout.flags === undefined ? 0 : info.getUint32(layout.flags, true)
      const timeout = layout.timeout === undefined ? NO_TIMEOUT : info.getUint32(layout.timeout, true)
      const exist = (flags & IPSET_FLAG_EXIST) !== 0
      return new SetTarget(ipSets, add, remove, exist, timeout === NO_TIMEOUT ? undefined : timeout)
    },
  }
}
/** IPSET_NO_TIMEOUT: the set's own. */
const NO_TIMEOUT = 0xffffffff

export const setTargets: readonly Extension<Target>[] = [
  targetOf(1, XT_SET_INFO_TARGET_V1.size, XT_SET_INFO_TARGET_V1),
  targetOf(2, XT_SET_INFO_TARGET_V2.size, XT_SET_INFO_TARGET_V2),
  targetOf(3, XT_SET_INFO_TARGET_V3.size, XT_SET_INFO_TARGET_V3),
]
