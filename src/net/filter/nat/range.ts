/** What a NAT rule lets a connection become, and the choice of something that no other connection is yet. RFC 4787. */
import {
  NF_NAT_RANGE_MAP_IPS,
  NF_NAT_RANGE_NETMAP,
  NF_NAT_RANGE_PERSISTENT,
  NF_NAT_RANGE_PROTO_OFFSET,
  NF_NAT_RANGE_PROTO_RANDOM_ALL,
  NF_NAT_RANGE_PROTO_SPECIFIED,
} from '../../../abi/constants.ts'
import { compareAddresses, IpAddress } from '../../address.ts'
import type { Conntrack } from '../conntrack/conntrack.ts'
import { hasPorts, isIcmp, Tuple } from '../conntrack/tuple.ts'

/** How many ports are tried before the connection is given up. */
const MAX_TRIES = 128

export interface NatRange {
  /** NF_NAT_RANGE_* */
  readonly flags: number
  /** With NF_NAT_RANGE_MAP_IPS. */
  readonly minAddress?: IpAddress
  readonly maxAddress?: IpAddress
  /** With NF_NAT_RANGE_PROTO_SPECIFIED. */
  readonly minPort?: number
  readonly maxPort?: number
  /** With NF_NAT_RANGE_PROTO_OFFSET. */
  readonly basePort?: number
}

/** Leaves the connection as it is, unless another one is like that. */
export function sameAddress(address: IpAddress): NatRange {
  return { flags: NF_NAT_RANGE_MAP_IPS, minAddress: address, maxAddress: address }
}

/** What the packets of a connection that now look like `original` are to look like. */
export function chooseTuple(conntrack: Conntrack, original: Tuple, range: NatRange, source: boolean): Tuple {
  const random = (range.flags & NF_NAT_RANGE_PROTO_RANDOM_ALL) !== 0
  if (source && !random && inRange(original, range) && isFree(conntrack, original)) return original
  const tuple = withAddress(original, chooseAddress(original, range, source), source)
  if (!random) {
    if ((range.flags & NF_NAT_RANGE_PROTO_SPECIFIED) !== 0) {
      const { minPort = 0, maxPort = 0 } = range
      const fits = (range.flags & NF_NAT_RANGE_PROTO_OFFSET) === 0 && portIn(tuple, source, minPort, maxPort)
      if (fits && (minPort === maxPort || isFree(conntrack, tuple))) return tuple
    } else if (isFree(conntrack, tuple)) {
      return tuple
    }
  }
  return choosePort(conntrack, tuple, range, source)
}

function isFree(conntrack: Conntrack, tuple: Tuple): boolean {
  const answer = tuple.invert()
  return answer === undefined || conntrack.table.find(answer) === undefined
}

function inRange(tuple: Tuple, range: NatRange): boolean {
  const { flags, minAddress, maxAddress, minPort = 0, maxPort = 0 } = range
  if ((flags & NF_NAT_RANGE_MAP_IPS) !== 0) {
    if (minAddress === undefined || maxAddress === undefined) return false
    if (compareAddresses(tuple.source, minAddress) < 0 || compareAddresses(tuple.source, maxAddress) > 0)
      return false
  }
  return (flags & NF_NAT_RANGE_PROTO_SPECIFIED) === 0 || portIn(tuple, true, minPort, maxPort)
}

function portIn(tuple: Tuple, source: boolean, min: number, max: number): boolean {
  if (isIcmp(tuple.protocol)) return tuple.from >= min && tuple.from <= max
  if (!hasPorts(tuple.protocol)) return true
  const port = source ? tuple.from : tuple.to
  return port >= min && port <= max
}

/** One of the range's addresses: always the same for one pair of addresses, or for one source where it is to persist. */
function chooseAddress(tuple: Tuple, range: NatRange, source: boolean): IpAddress {
  const own = source ? tuple.source : tuple.destination
  const { flags, minAddress, maxAddress } = range
  if ((flags & NF_NAT_RANGE_MAP_IPS) === 0 || minAddress === undefined || maxAddress === undefined) return own
  if (minAddress.equals(maxAddress)) return minAddress
  const min = minAddress.w3
  const size = maxAddress.w3 - min + 1
  if (size <= 0) return minAddress
  if ((flags & NF_NAT_RANGE_NETMAP) !== 0) return withHost(minAddress, min + (((own.w3 - min) >>> 0) % size))
  const other = (flags & NF_NAT_RANGE_PERSISTENT) !== 0 ? 0 : tuple.destination.w3
  const hash = Math.imul(tuple.source.w3 ^ Math.imul(other, 0x9e3779b1), 0x85ebca6b) >>> 0
  return withHost(minAddress, min + (hash % size))
}

/** The same network, another last word. */
function withHost({ w0, w1, w2 }: IpAddress, w3: number): IpAddress {
  return new IpAddress(w0, w1, w2, w3)
}

function choosePort(conntrack: Conntrack, tuple: Tuple, range: NatRange, source: boolean): Tuple {
  const { flags, minPort = 0, maxPort = 0, basePort = 0 } = range
  const icmp = isIcmp(tuple.protocol)
  if (!icmp && !hasPorts(tuple.protocol)) return tuple
  const specified = (flags & NF_NAT_RANGE_PROTO_SPECIFIED) !== 0
  // Where a connection goes is not ours to change; of ICMP only the identifier of questions is.
  if (!specified && !source) return tuple
  const current = icmp || source ? tuple.from : tuple.to
  let min = minPort
  let size = maxPort - minPort + 1
  if (!specified) [min, size] = likePort(current, icmp)
  else if (size <= 0) [min, size] = [maxPort, minPort - maxPort + 1]
  const { random } = conntrack.runtime
  const start =
    (flags & NF_NAT_RANGE_PROTO_OFFSET) !== 0
      ? current - basePort
      : (flags & NF_NAT_RANGE_PROTO_RANDOM_ALL) !== 0 || source
        ? random.below(size)
        : current
  let chosen = tuple
  for (let i = 0; i < Math.min(size, MAX_TRIES); i++) {
    const port = min + ((((start + i) % size) + size) % size)
    chosen = withPort(tuple, port, icmp || source)
    if (isFree(conntrack, chosen)) return chosen
  }
  // Taken, too: the connection will be refused when it is to be confirmed.
  return chosen
}

/** RFC 4787 §4.2.1: privileged ports stay privileged. First, and how many. */
function likePort(port: number, icmp: boolean): [number, number] {
  if (icmp) return [0, 65536]
  if (port < 512) return [1, 511]
  if (port < 1024) return [600, 424]
  return [1024, 64512]
}

function withAddress(tuple: Tuple, address: IpAddress, source: boolean): Tuple {
  const { protocol, from, to, zone } = tuple
  return source
    ? new Tuple(address, tuple.destination, protocol, from, to, zone)
    : new Tuple(tuple.source, address, protocol, from, to, zone)
}

function withPort(tuple: Tuple, port: number, source: boolean): Tuple {
  const { destination, protocol, from, to, zone } = tuple
  return new Tuple(tuple.source, destination, protocol, source ? port : from, source ? to : port, zone)
}
