/** The keys that a command of ipset(8) gives: one, or those of a range of addresses, networks or ports. */
import {
  IFNAMSIZ,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPSET_ATTR_CIDR,
  IPSET_ATTR_CIDR2,
  IPSET_ATTR_IFACE,
  IPSET_ATTR_IP,
  IPSET_ATTR_IP_TO,
  IPSET_ATTR_IP2,
  IPSET_ATTR_IP2_TO,
  IPSET_ATTR_IPADDR_IPV4,
  IPSET_ATTR_IPADDR_IPV6,
  IPSET_ATTR_PORT,
  IPSET_ATTR_PORT_TO,
  IPSET_ATTR_PROTO,
  IPSET_ERR_HASH_RANGE_UNSUPPORTED,
  IPSET_ERR_INVALID_CIDR,
  IPSET_ERR_INVALID_PROTO,
  IPSET_ERR_IPADDR_IPV4,
  IPSET_ERR_IPADDR_IPV6,
  IPSET_ERR_MISSING_PROTO,
  IPSET_ERR_PROTOCOL,
} from '../../../abi/constants.ts'
import { ERANGE } from '../../../abi/errno.ts'
import { failed, type OrErrno } from '../../../base/result.ts'
import { IpAddress } from '../../address.ts'
import { type Attributes, viewOf } from '../../netlink/message.ts'
import { hasPorts } from '../conntrack/tuple.ts'
import type { IpSet } from './set.ts'
import { type MemberKey, NO_KEY } from './types.ts'

/** How many elements one message may give: the kernel does nothing else meanwhile. */
export const MAX_RANGE = 1 << 17

/** An address of the set's family; IPSET_ERR_*. */
export function readAddress(attributes: Attributes, type: number, isV4: boolean): OrErrno<IpAddress> {
  const nested = attributes.nested(type)
  if (nested === undefined) return -IPSET_ERR_PROTOCOL
  const value = nested.get(isV4 ? IPSET_ATTR_IPADDR_IPV4 : IPSET_ATTR_IPADDR_IPV6)
  if (value === undefined || value.length !== (isV4 ? 4 : 16))
    return isV4 ? -IPSET_ERR_IPADDR_IPV4 : -IPSET_ERR_IPADDR_IPV6
  return IpAddress.read(viewOf(value), 0, isV4)
}

interface Piece {
  readonly address: IpAddress
  readonly length: number
}

/** `whole`: the first one only, for a question. */
export function readKeys(set: IpSet, attributes: Attributes, whole: boolean): OrErrno<MemberKey[]> {
  const { fields } = set.type
  let keys: MemberKey[] = [NO_KEY]
  let addresses = 0
  for (const field of fields) {
    let next: MemberKey[]
    if (field === 'port') {
      const ports = readPorts(set, attributes, whole)
      if (failed(ports)) return ports
      next = combine(keys, ports, (key, port) => ({ ...key, ...port }))
    } else if (field === 'device') {
      const device = attributes.string(IPSET_ATTR_IFACE)
      if (device === undefined || device.length >= IFNAMSIZ) return -IPSET_ERR_PROTOCOL
      next = keys.map(key => ({ ...key, device }))
    } else {
      const isFirst = addresses++ === 0
      const pieces = readPieces(set, attributes, isFirst, field === 'net', whole)
      if (failed(pieces)) return pieces
      next = combine(keys, pieces, (key, { address, length }) =>
        isFirst ? { ...key, address, length } : { ...key, address2: address, length2: length },
      )
    }
    if (next.length === 0) return -ERANGE
    keys = next
  }
  return keys
}

function combine<A, B>(some: readonly A[], others: readonly B[], join: (a: A, b: B) => A): A[] {
  if (some.length * others.length > MAX_RANGE) return []
  return some.flatMap(a => others.map(b => join(a, b)))
}

function readPorts(
  set: IpSet,
  attributes: Attributes,
  whole: boolean,
): OrErrno<{ protocol: number; port: number }[]> {
  const first = attributes.be16(IPSET_ATTR_PORT)
  if (first === undefined) return -IPSET_ERR_PROTOCOL
  let protocol = 0
  let isRange = true
  if (set.type.bitmap !== true) {
    const given = attributes.u8(IPSET_ATTR_PROTO)
    if (given === undefined) return -IPSET_ERR_MISSING_PROTO
    if (given === 0) return -IPSET_ERR_INVALID_PROTO
    protocol = given
    isRange = hasPorts(protocol)
    const hasType = protocol === (set.isV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)
    if (!isRange && !hasType) return [{ protocol, port: 0 }]
  }
  const last = attributes.be16(IPSET_ATTR_PORT_TO)
  if (whole || !isRange || last === undefined) return [{ protocol, port: first }]
  const low = Math.min(first, last)
  return Array.from({ length: Math.abs(last - first) + 1 }, (_, i) => ({ protocol, port: low + i }))
}

function readPieces(
  set: IpSet,
  attributes: Attributes,
  isFirst: boolean,
  isNet: boolean,
  whole: boolean,
): OrErrno<Piece[]> {
  const { isV4, addressBits, config } = set
  const address = readAddress(attributes, isFirst ? IPSET_ATTR_IP : IPSET_ATTR_IP2, isV4)
  if (failed(address)) return address
  const length = attributes.u8(isFirst ? IPSET_ATTR_CIDR : IPSET_ATTR_CIDR2)
  const toType = isFirst ? IPSET_ATTR_IP_TO : IPSET_ATTR_IP2_TO
  const mayBeAll = isNet && set.has('device')
  if (length !== undefined && (length > addressBits || (length === 0 && !mayBeAll)))
    return -IPSET_ERR_INVALID_CIDR
  if (isNet && !attributes.has(toType)) {
    const bits = length ?? addressBits
    return [{ address: address.masked(bits), length: bits }]
  }
  const one = (found: IpAddress): Piece => ({ address: found.masked(config.netmask), length: addressBits })
  if (whole || (length === undefined && !attributes.has(toType))) return [one(address)]
  // In the second place only networks may be ranges.
  if (!isV4 || (!isFirst && !isNet))
    return length === addressBits ? [one(address)] : -IPSET_ERR_HASH_RANGE_UNSUPPORTED
  let from = address.w3
  let to: number
  if (attributes.has(toType)) {
    const end = readAddress(attributes, toType, isV4)
    if (failed(end)) return end
    to = Math.max(from, end.w3)
    from = Math.min(from, end.w3)
  } else {
    from = address.masked(length!).w3
    to = from + 2 ** (addressBits - length!) - 1
  }
  if (isNet) return networksOf(from, to)
  const step = 2 ** (addressBits - config.netmask)
  from -= from % step
  const count = Math.floor((to - from) / step) + 1
  if (count > MAX_RANGE) return -ERANGE
  return Array.from({ length: count }, (_, i) => one(IpAddress.v4(from + i * step)))
}

/** The fewest networks that are just the addresses of a range. */
function networksOf(from: number, to: number): Piece[] {
  const pieces: Piece[] = []
  for (let at = from; at <= to; ) {
    let length = 32
    while (length > 1 && at % 2 ** (33 - length) === 0 && at + 2 ** (33 - length) - 1 <= to) length--
    pieces.push({ address: IpAddress.v4(at), length })
    at += 2 ** (32 - length)
  }
  return pieces
}
