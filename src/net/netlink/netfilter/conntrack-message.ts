/** A connection as ctnetlink writes it, and tuples as it reads them. */
import {
  CTA_COUNTERS_BYTES,
  CTA_COUNTERS_ORIG,
  CTA_COUNTERS_PACKETS,
  CTA_COUNTERS_REPLY,
  CTA_ID,
  CTA_IP_V4_DST,
  CTA_IP_V4_SRC,
  CTA_IP_V6_DST,
  CTA_IP_V6_SRC,
  CTA_LABELS,
  CTA_MARK,
  CTA_PROTO_DST_PORT,
  CTA_PROTO_ICMP_CODE,
  CTA_PROTO_ICMP_ID,
  CTA_PROTO_ICMP_TYPE,
  CTA_PROTO_ICMPV6_CODE,
  CTA_PROTO_ICMPV6_ID,
  CTA_PROTO_ICMPV6_TYPE,
  CTA_PROTO_NUM,
  CTA_PROTO_SRC_PORT,
  CTA_PROTOINFO,
  CTA_PROTOINFO_TCP,
  CTA_PROTOINFO_TCP_FLAGS_ORIGINAL,
  CTA_PROTOINFO_TCP_FLAGS_REPLY,
  CTA_PROTOINFO_TCP_STATE,
  CTA_PROTOINFO_TCP_WSCALE_ORIGINAL,
  CTA_PROTOINFO_TCP_WSCALE_REPLY,
  CTA_STATUS,
  CTA_TIMEOUT,
  CTA_TUPLE_IP,
  CTA_TUPLE_ORIG,
  CTA_TUPLE_PROTO,
  CTA_TUPLE_REPLY,
  CTA_TUPLE_ZONE,
  CTA_USE,
  CTA_ZONE,
  IPPROTO_ICMP,
  NFNL_SUBSYS_CTNETLINK,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from '../../../abi/constants.ts'
import { NF_CT_TCP_FLAGS } from '../../../abi/layout.ts'
import { NSEC_PER_SEC } from '../../../base/clock.ts'
import { IpAddress } from '../../address.ts'
import { type Connection, ORIGINAL, REPLY } from '../../filter/conntrack/connection.ts'
import { hasPorts, isIcmp, Tuple } from '../../filter/conntrack/tuple.ts'
import { type Attributes, type MessageWriter, NESTED, viewOf } from '../message.ts'
import { type Asker, startMessage } from './header.ts'

export function writeConnection(
  writer: MessageWriter,
  connection: Connection,
  type: number,
  flags: number,
  request: Asker,
  now: number,
): void {
  const { original, reply, status, dying, mark } = connection
  const family = original.source.isV4 ? NFPROTO_IPV4 : NFPROTO_IPV6
  startMessage(writer, NFNL_SUBSYS_CTNETLINK, type, flags, request, family, 0)
  // One of both directions is said once.
  const zone = original.zone === reply.zone ? original.zone : 0
  writeTuple(writer, CTA_TUPLE_ORIG, original, zone === 0 ? original.zone : 0)
  writeTuple(writer, CTA_TUPLE_REPLY, reply, zone === 0 ? reply.zone : 0)
  if (zone !== 0) writer.be16(CTA_ZONE, zone)
  writer.be32(CTA_STATUS, status)
  if (!dying) {
    writer.be32(CTA_TIMEOUT, Math.max(Math.floor((connection.expires - now) / NSEC_PER_SEC), 0))
    writeTcp(writer, connection)
  }
  writeCounters(writer, CTA_COUNTERS_ORIG, connection, ORIGINAL)
  writeCounters(writer, CTA_COUNTERS_REPLY, connection, REPLY)
  writer.be32(CTA_MARK, mark)
  if (connection.labels?.some(byte => byte !== 0)) writer.bytes(CTA_LABELS, connection.labels)
  writer.be32(CTA_ID, connection.id)
  writer.be32(CTA_USE, 1)
  writer.end()
}

function writeTuple(writer: MessageWriter, type: number, tuple: Tuple, zone: number): void {
  const { source, destination, protocol, from, to } = tuple
  const nest = writer.nest(type, NESTED)
  const addresses = writer.nest(CTA_TUPLE_IP, NESTED)
  writer.bytes(source.isV4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, source.bytes())
  writer.bytes(source.isV4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, destination.bytes())
  writer.close(addresses)
  const numbers = writer.nest(CTA_TUPLE_PROTO, NESTED)
  writer.u8(CTA_PROTO_NUM, protocol)
  if (hasPorts(protocol)) {
    writer.be16(CTA_PROTO_SRC_PORT, from)
    writer.be16(CTA_PROTO_DST_PORT, to)
  } else if (isIcmp(protocol)) {
    const isV4 = protocol === IPPROTO_ICMP
    writer.be16(isV4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID, from)
    writer.u8(isV4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE, to >> 8)
    writer.u8(isV4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE, to & 0xff)
  }
  writer.close(numbers)
  if (zone !== 0) writer.be16(CTA_TUPLE_ZONE, zone)
  writer.close(nest)
}

function writeTcp(writer: MessageWriter, { tcp }: Connection): void {
  if (tcp === undefined) return
  const nest = writer.nest(CTA_PROTOINFO, NESTED)
  const info = writer.nest(CTA_PROTOINFO_TCP, NESTED)
  writer.u8(CTA_PROTOINFO_TCP_STATE, tcp.state)
  writer.u8(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, tcp.sides[0].scale)
  writer.u8(CTA_PROTOINFO_TCP_WSCALE_REPLY, tcp.sides[1].scale)
  for (const direction of [ORIGINAL, REPLY]) {
    const isReply = direction === REPLY
    const at = writer.attribute(
      isReply ? CTA_PROTOINFO_TCP_FLAGS_REPLY : CTA_PROTOINFO_TCP_FLAGS_ORIGINAL,
      NF_CT_TCP_FLAGS.size,
    )
    writer.set8(at + NF_CT_TCP_FLAGS.flags, tcp.sides[direction].flags)
  }
  writer.close(info)
  writer.close(nest)
}

function writeCounters(
  writer: MessageWriter,
  type: number,
  { counters }: Connection,
  direction: number,
): void {
  if (counters === undefined) return
  const nest = writer.nest(type, NESTED)
  writer.be64(CTA_COUNTERS_PACKETS, counters[2 * direction])
  writer.be64(CTA_COUNTERS_BYTES, counters[2 * direction + 1])
  writer.close(nest)
}

/** Undefined: it is no whole tuple of the family. */
export function readTupleAttribute(attributes: Attributes, type: number, family: number): Tuple | undefined {
  const nested = attributes.nested(type)
  const addresses = nested?.nested(CTA_TUPLE_IP)
  const numbers = nested?.nested(CTA_TUPLE_PROTO)
  const isV4 = family === NFPROTO_IPV4
  if (!isV4 && family !== NFPROTO_IPV6) return undefined
  const source = readAddress(addresses?.get(isV4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC), isV4)
  const destination = readAddress(addresses?.get(isV4 ? CTA_IP_V4_DST : CTA_IP_V6_DST), isV4)
  const protocol = numbers?.u8(CTA_PROTO_NUM)
  if (source === undefined || destination === undefined) return undefined
  if (numbers === undefined || protocol === undefined) return undefined
  let from: number | undefined = 0
  let to: number | undefined = 0
  if (hasPorts(protocol)) {
    from = numbers.be16(CTA_PROTO_SRC_PORT)
    to = numbers.be16(CTA_PROTO_DST_PORT)
  } else if (isIcmp(protocol)) {
    const icmp4 = protocol === IPPROTO_ICMP
    from = numbers.be16(icmp4 ? CTA_PROTO_ICMP_ID : CTA_PROTO_ICMPV6_ID)
    const kind = numbers.u8(icmp4 ? CTA_PROTO_ICMP_TYPE : CTA_PROTO_ICMPV6_TYPE)
    const code = numbers.u8(icmp4 ? CTA_PROTO_ICMP_CODE : CTA_PROTO_ICMPV6_CODE)
    to = kind === undefined || code === undefined ? undefined : (kind << 8) | code
  }
  if (from === undefined || to === undefined) return undefined
  const zone = nested?.be16(CTA_TUPLE_ZONE) ?? attributes.be16(CTA_ZONE)
  return new Tuple(source, destination, protocol, from, to, zone)
}

function readAddress(value: Uint8Array | undefined, isV4: boolean): IpAddress | undefined {
  if (value === undefined || value.length < (isV4 ? 4 : 16)) return undefined
  return IpAddress.read(viewOf(value), 0, isV4)
}
