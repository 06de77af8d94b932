/** What is said of a set when it is made, and of an element beside its key. */
import {
  IPSET_ATTR_BUCKETSIZE,
  IPSET_ATTR_BYTES,
  IPSET_ATTR_CADT_FLAGS,
  IPSET_ATTR_CIDR,
  IPSET_ATTR_COMMENT,
  IPSET_ATTR_HASHSIZE,
  IPSET_ATTR_INITVAL,
  IPSET_ATTR_IP,
  IPSET_ATTR_IP_TO,
  IPSET_ATTR_MAXELEM,
  IPSET_ATTR_NETMASK,
  IPSET_ATTR_PACKETS,
  IPSET_ATTR_PORT,
  IPSET_ATTR_PORT_TO,
  IPSET_ATTR_TIMEOUT,
  IPSET_ERR_BITMAP_RANGE_SIZE,
  IPSET_ERR_COMMENT,
  IPSET_ERR_COUNTER,
  IPSET_ERR_INVALID_CIDR,
  IPSET_ERR_INVALID_NETMASK,
  IPSET_ERR_PROTOCOL,
  IPSET_ERR_SKBINFO,
  IPSET_ERR_TIMEOUT,
  IPSET_FLAG_NOMATCH,
  IPSET_FLAG_WITH_COMMENT,
  IPSET_FLAG_WITH_COUNTERS,
  IPSET_FLAG_WITH_FORCEADD,
  IPSET_FLAG_WITH_SKBINFO,
  IPSET_MAX_COMMENT_SIZE,
} from '../../../abi/constants.ts'
import { failed, type OrErrno } from '../../../base/result.ts'
import { readAddress } from '../../filter/ipset/members.ts'
import type { IpSet, MemberOptions, SetConfig } from '../../filter/ipset/set.ts'
import type { SetType } from '../../filter/ipset/types.ts'
import { MOST_ELEMENTS } from '../../filter/room.ts'
import type { Random } from '../../ip/runtime.ts'
import { Attributes } from '../message.ts'

const DEFAULT_HASH_SIZE = 1024
const DEFAULT_MAX_ELEMENTS = 65536
const DEFAULT_BUCKET_SIZE = 12
/** IPSET_BITMAP_MAX_RANGE */
const MAX_BITMAP = 0xffff

export function readConfig(
  type: SetType,
  isV4: boolean,
  data: Attributes | undefined,
  random: Random,
): OrErrno<SetConfig> {
  const attributes = data ?? new Attributes(new Uint8Array(0))
  const flags = attributes.be32(IPSET_ATTR_CADT_FLAGS) ?? 0
  // Marks and priorities for the packets that a rule maps.
  if ((flags & IPSET_FLAG_WITH_SKBINFO) !== 0) return -IPSET_ERR_SKBINFO
  const bits = isV4 ? 32 : 128
  const netmask = attributes.u8(IPSET_ATTR_NETMASK) ?? bits
  if (netmask === 0 || netmask > bits) return -IPSET_ERR_INVALID_NETMASK
  const range = type.bitmap === true ? readRange(type, attributes) : ([0, 0] as const)
  if (failed(range)) return range
  return {
    hashSize: attributes.be32(IPSET_ATTR_HASHSIZE) ?? DEFAULT_HASH_SIZE,
    maxElements: Math.min(attributes.be32(IPSET_ATTR_MAXELEM) ?? DEFAULT_MAX_ELEMENTS, MOST_ELEMENTS),
    timeout: attributes.be32(IPSET_ATTR_TIMEOUT),
    counters: (flags & IPSET_FLAG_WITH_COUNTERS) !== 0,
    comments: (flags & IPSET_FLAG_WITH_COMMENT) !== 0,
    forceAdd: (flags & IPSET_FLAG_WITH_FORCEADD) !== 0,
    netmask,
    bucketSize: Math.min(Math.max(attributes.u8(IPSET_ATTR_BUCKETSIZE) ?? DEFAULT_BUCKET_SIZE, 2), 64),
    initialValue: attributes.be32(IPSET_ATTR_INITVAL) ?? random.u32(),
    range,
  }
}

function readRange({ fields }: SetType, attributes: Attributes): OrErrno<readonly [number, number]> {
  if (fields[0] === 'port') {
    const from = attributes.be16(IPSET_ATTR_PORT)
    const to = attributes.be16(IPSET_ATTR_PORT_TO)
    if (from === undefined || to === undefined) return -IPSET_ERR_PROTOCOL
    return [Math.min(from, to), Math.max(from, to)]
  }
  const from = readAddress(attributes, IPSET_ATTR_IP, true)
  if (failed(from)) return from
  const length = attributes.u8(IPSET_ATTR_CIDR)
  let range: [number, number]
  if (attributes.has(IPSET_ATTR_IP_TO)) {
    const to = readAddress(attributes, IPSET_ATTR_IP_TO, true)
    if (failed(to)) return to
    range = [Math.min(from.w3, to.w3), Math.max(from.w3, to.w3)]
  } else {
    if (length === undefined) return -IPSET_ERR_PROTOCOL
    if (length === 0 || length > 32) return -IPSET_ERR_INVALID_CIDR
    const first = from.masked(length).w3
    range = [first, first + 2 ** (32 - length) - 1]
  }
  return range[1] - range[0] > MAX_BITMAP ? -IPSET_ERR_BITMAP_RANGE_SIZE : range
}

export function readOptions({ config }: IpSet, attributes: Attributes): OrErrno<MemberOptions> {
  const timeout = attributes.be32(IPSET_ATTR_TIMEOUT)
  if (timeout !== undefined && config.timeout === undefined) return -IPSET_ERR_TIMEOUT
  const packets = attributes.be64(IPSET_ATTR_PACKETS)
  const bytes = attributes.be64(IPSET_ATTR_BYTES)
  if ((packets !== undefined || bytes !== undefined) && !config.counters) return -IPSET_ERR_COUNTER
  const comment = attributes.string(IPSET_ATTR_COMMENT)
  if (comment !== undefined && comment.length > IPSET_MAX_COMMENT_SIZE) return -IPSET_ERR_PROTOCOL
  if (comment !== undefined && !config.comments) return -IPSET_ERR_COMMENT
  const noMatch = ((attributes.be32(IPSET_ATTR_CADT_FLAGS) ?? 0) & IPSET_FLAG_NOMATCH) !== 0
  return { timeout, packets, bytes, comment, noMatch }
}
