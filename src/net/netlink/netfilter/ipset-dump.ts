/** `ipset list` and `ipset save`: sets with what they were made with, and their elements, some dozens in a message. */
import {
  IPPROTO_IP,
  IPSET_ATTR_ADT,
  IPSET_ATTR_BUCKETSIZE,
  IPSET_ATTR_BYTES,
  IPSET_ATTR_CADT_FLAGS,
  IPSET_ATTR_CIDR,
  IPSET_ATTR_CIDR2,
  IPSET_ATTR_COMMENT,
  IPSET_ATTR_DATA,
  IPSET_ATTR_ELEMENTS,
  IPSET_ATTR_FAMILY,
  IPSET_ATTR_HASHSIZE,
  IPSET_ATTR_IFACE,
  IPSET_ATTR_INDEX,
  IPSET_ATTR_INITVAL,
  IPSET_ATTR_IP,
  IPSET_ATTR_IP_TO,
  IPSET_ATTR_IP2,
  IPSET_ATTR_IPADDR_IPV4,
  IPSET_ATTR_IPADDR_IPV6,
  IPSET_ATTR_MAXELEM,
  IPSET_ATTR_MEMSIZE,
  IPSET_ATTR_NETMASK,
  IPSET_ATTR_PACKETS,
  IPSET_ATTR_PORT,
  IPSET_ATTR_PORT_TO,
  IPSET_ATTR_PROTO,
  IPSET_ATTR_PROTOCOL,
  IPSET_ATTR_REFERENCES,
  IPSET_ATTR_REVISION,
  IPSET_ATTR_SETNAME,
  IPSET_ATTR_TIMEOUT,
  IPSET_ATTR_TYPENAME,
  IPSET_FLAG_LIST_HEADER,
  IPSET_FLAG_LIST_SETNAME,
  IPSET_FLAG_NOMATCH,
  IPSET_FLAG_WITH_COMMENT,
  IPSET_FLAG_WITH_COUNTERS,
  IPSET_FLAG_WITH_FORCEADD,
  IPSET_PROTOCOL,
  NFNL_SUBSYS_IPSET,
  NFPROTO_IPV4,
  NLA_F_NET_BYTEORDER,
  NLM_F_MULTI,
} from '../../../abi/constants.ts'
import { IpAddress } from '../../address.ts'
import type { IpSet } from '../../filter/ipset/set.ts'
import { familyOf, type IpMember } from '../../filter/ipset/types.ts'
import { type MessageWriter, NESTED } from '../message.ts'
import type { Dump, NetlinkRequest } from '../protocol.ts'
import { startMessage } from './header.ts'

/** Elements in one message. */
const AT_ONCE = 64
/** About what an empty set and each element take, in bytes. */
const SET_MEMORY = 500
const MEMBER_MEMORY = 200

interface Part {
  readonly set: IpSet
  readonly isFirst: boolean
  readonly members: readonly IpMember[]
}

/** `flags`: IPSET_FLAG_LIST_*. */
export function dumpSets(request: NetlinkRequest, sets: readonly IpSet[], flags: number): Dump {
  const parts = partsOf(sets, flags)
  const write = (writer: MessageWriter, { set, isFirst, members }: Part) => {
    startMessage(writer, NFNL_SUBSYS_IPSET, request.type & 0xff, NLM_F_MULTI, request, NFPROTO_IPV4, 0)
    writer.u8(IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL)
    writer.string(IPSET_ATTR_SETNAME, set.name)
    if ((flags & IPSET_FLAG_LIST_SETNAME) === 0) {
      if (isFirst) writeHeader(writer, set)
      const list = writer.nest(IPSET_ATTR_ADT, NESTED)
      for (const member of members) writeMember(writer, set, member)
      writer.close(list)
    }
    writer.end()
  }
  return {
    next(writer) {
      const { value } = parts.next()
      if (value !== undefined) write(writer, value)
      return value !== undefined
    },
  }
}

/** Made as the asker reads: nothing is held for one who doesn't. What changes meanwhile is shown as it is then. */
function* partsOf(sets: readonly IpSet[], flags: number): Generator<Part, undefined> {
  const withMembers = (flags & (IPSET_FLAG_LIST_SETNAME | IPSET_FLAG_LIST_HEADER)) === 0
  for (const set of sets) {
    let isFirst = true
    let members: IpMember[] = []
    for (const member of withMembers ? set.members() : []) {
      members.push(member)
      if (members.length < AT_ONCE) continue
      yield { set, isFirst, members }
      isFirst = false
      members = []
    }
    if (isFirst || members.length > 0) yield { set, isFirst, members }
  }
  return undefined
}

function writeHeader(writer: MessageWriter, set: IpSet): void {
  const { type, config, isV4 } = set
  writer.string(IPSET_ATTR_TYPENAME, type.name)
  writer.u8(IPSET_ATTR_FAMILY, familyOf(type, isV4))
  writer.u8(IPSET_ATTR_REVISION, type.revision)
  writer.be16(IPSET_ATTR_INDEX | NLA_F_NET_BYTEORDER, set.index)
  const data = writer.nest(IPSET_ATTR_DATA, NESTED)
  if (type.bitmap === true) writeRange(writer, set)
  else {
    writer.be32(IPSET_ATTR_HASHSIZE | NLA_F_NET_BYTEORDER, config.hashSize)
    writer.be32(IPSET_ATTR_MAXELEM | NLA_F_NET_BYTEORDER, config.maxElements)
    if (config.netmask !== set.addressBits) writer.u8(IPSET_ATTR_NETMASK, config.netmask)
    writer.u8(IPSET_ATTR_BUCKETSIZE, config.bucketSize)
    writer.be32(IPSET_ATTR_INITVAL | NLA_F_NET_BYTEORDER, config.initialValue)
  }
  writer.be32(IPSET_ATTR_REFERENCES | NLA_F_NET_BYTEORDER, set.references)
  writer.be32(IPSET_ATTR_MEMSIZE | NLA_F_NET_BYTEORDER, SET_MEMORY + set.size * MEMBER_MEMORY)
  if (config.timeout !== undefined) writer.be32(IPSET_ATTR_TIMEOUT | NLA_F_NET_BYTEORDER, config.timeout)
  writer.be32(IPSET_ATTR_ELEMENTS | NLA_F_NET_BYTEORDER, set.size)
  const flags =
    (config.counters ? IPSET_FLAG_WITH_COUNTERS : 0) |
    (config.comments ? IPSET_FLAG_WITH_COMMENT : 0) |
    (config.forceAdd ? IPSET_FLAG_WITH_FORCEADD : 0)
  if (flags !== 0) writer.be32(IPSET_ATTR_CADT_FLAGS | NLA_F_NET_BYTEORDER, flags)
  writer.close(data)
}

function writeRange(writer: MessageWriter, set: IpSet): void {
  const [from, to] = set.config.range
  if (set.has('port')) {
    writer.be16(IPSET_ATTR_PORT | NLA_F_NET_BYTEORDER, from)
    writer.be16(IPSET_ATTR_PORT_TO | NLA_F_NET_BYTEORDER, to)
  } else {
    writeAddress(writer, IPSET_ATTR_IP, IpAddress.v4(from))
    writeAddress(writer, IPSET_ATTR_IP_TO, IpAddress.v4(to))
  }
}

function writeMember(writer: MessageWriter, set: IpSet, member: IpMember): void {
  const { config } = set
  const { address, length, protocol, port, address2, length2, device } = member.key
  const data = writer.nest(IPSET_ATTR_DATA, NESTED)
  if (address !== undefined) writeAddress(writer, IPSET_ATTR_IP, address)
  if (address2 !== undefined) writeAddress(writer, IPSET_ATTR_IP2, address2)
  if (set.has('net')) {
    const isFirst = set.type.fields[0] === 'net'
    writer.u8(isFirst ? IPSET_ATTR_CIDR : IPSET_ATTR_CIDR2, isFirst ? length : length2)
  }
  if (set.has('port')) writer.be16(IPSET_ATTR_PORT | NLA_F_NET_BYTEORDER, port)
  if (protocol !== IPPROTO_IP) writer.u8(IPSET_ATTR_PROTO, protocol)
  if (set.has('device')) writer.string(IPSET_ATTR_IFACE, device)
  if (member.noMatch) writer.be32(IPSET_ATTR_CADT_FLAGS | NLA_F_NET_BYTEORDER, IPSET_FLAG_NOMATCH)
  if (config.timeout !== undefined) writer.be32(IPSET_ATTR_TIMEOUT | NLA_F_NET_BYTEORDER, set.left(member))
  if (config.counters) {
    writer.be64(IPSET_ATTR_BYTES | NLA_F_NET_BYTEORDER, member.bytes)
    writer.be64(IPSET_ATTR_PACKETS | NLA_F_NET_BYTEORDER, member.packets)
  }
  if (member.comment !== '') writer.string(IPSET_ATTR_COMMENT, member.comment)
  writer.close(data)
}

function writeAddress(writer: MessageWriter, type: number, address: IpAddress): void {
  const nest = writer.nest(type, NESTED)
  writer.bytes(address.isV4 ? IPSET_ATTR_IPADDR_IPV4 : IPSET_ATTR_IPADDR_IPV6, address.bytes())
  writer.close(nest)
}
