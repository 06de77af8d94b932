/**
 * Tuple: what tells one direction of a connection from all others: addresses, protocol, and two numbers of the protocol's:
 * ports; for ICMP the identifier, and type and code; for protocols without any, zero. And the zone that it was seen in, if rules
 * have said so: networks with the same addresses can stand beside each other there.
 */
import {
  IPPROTO_DCCP,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_SCTP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPPROTO_UDPLITE,
} from '../../../abi/constants.ts'
import type { IpAddress } from '../../address.ts'
import { inverseType } from './icmp-types.ts'

export class Tuple {
  readonly source: IpAddress
  readonly destination: IpAddress
  readonly protocol: number
  /** The source port, or an ICMP identifier. */
  readonly from: number
  /** The destination port, or ICMP's type * 256 + code. */
  readonly to: number
  readonly zone: number

  constructor(
    source: IpAddress,
    destination: IpAddress,
    protocol: number,
    from: number,
    to: number,
    zone = 0,
  ) {
    this.source = source
    this.destination = destination
    this.protocol = protocol
    this.from = from
    this.to = to
    this.zone = zone
  }

  equals(other: Tuple): boolean {
    return (
      this.from === other.from &&
      this.to === other.to &&
      this.protocol === other.protocol &&
      this.zone === other.zone &&
      this.source.equals(other.source) &&
      this.destination.equals(other.destination)
    )
  }

  /** Of the packets that answer, in the same zone; undefined: nothing answers an ICMP message of this type. */
  invert(): Tuple | undefined {
    const { source, destination, protocol, from, to, zone } = this
    if (!isIcmp(protocol)) return new Tuple(destination, source, protocol, to, from, zone)
    const type = inverseType(protocol, to >> 8)
    if (type < 0) return undefined
    return new Tuple(destination, source, protocol, from, (type << 8) | (to & 0xff), zone)
  }
  in(zone: number): Tuple {
    if (zone === this.zone) return this
    const { source, destination, protocol, from, to } = this
    return new Tuple(source, destination, protocol, from, to, zone)
  }
}

/**
 * Of a packet whose transport header, `length` bytes of which are there, stands at `at`; undefined where it is too short.
 */
export function readTuple(
  view: DataView,
  at: number,
  length: number,
  protocol: number,
  source: IpAddress,
  destination: IpAddress,
): Tuple | undefined {
  if (hasPorts(protocol)) {
    if (length < 4) return undefined
    return new Tuple(source, destination, protocol, view.getUint16(at), view.getUint16(at + 2))
  }
  if (!isIcmp(protocol)) return new Tuple(source, destination, protocol, 0, 0)
  if (length < 8) return undefined
  return new Tuple(source, destination, protocol, view.getUint16(at + 4), view.getUint16(at))
}

export function hasPorts(protocol: number): boolean {
  return (
    protocol === IPPROTO_TCP ||
    protocol === IPPROTO_UDP ||
    protocol === IPPROTO_SCTP ||
    protocol === IPPROTO_DCCP ||
    protocol === IPPROTO_UDPLITE
  )
}

export function isIcmp(protocol: number): boolean {
  return protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6
}
