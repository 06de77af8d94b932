/** RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP: `ip nexthop`. Resilient groups and those of forwarding tables are refused. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  NEXTHOP_GRP_TYPE_MPATH,
  NHA_BLACKHOLE,
  NHA_ENCAP,
  NHA_ENCAP_TYPE,
  NHA_FDB,
  NHA_GATEWAY,
  NHA_GROUP,
  NHA_GROUP_TYPE,
  NHA_GROUPS,
  NHA_ID,
  NHA_OIF,
  NHA_RES_GROUP,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RTM_DELNEXTHOP,
  RTM_NEWNEXTHOP,
  RTN_LOCAL,
  RTNH_F_LINKDOWN,
  RTNH_F_ONLINK,
} from '../../../abi/constants.ts'
import {
  EEXIST,
  EINVAL,
  ENETDOWN,
  ENETUNREACH,
  ENODEV,
  ENOENT,
  ENOSPC,
  EOPNOTSUPP,
} from '../../../abi/errno.ts'
import { NEXTHOP_GRP, NHMSG } from '../../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../../base/result.ts'
import type { IpAddress } from '../../address.ts'
import { Flow } from '../../ip/flow.ts'
import type { GroupMember, NextHopObject, NextHopObjects } from '../../ip/next-hop-objects.ts'
import type { IpStack } from '../../ip-stack.ts'
import type { NetDevice } from '../../link/device.ts'
import { refuse } from '../kinds/kind.ts'
import { Attributes, MessageWriter, viewOf } from '../message.ts'
import { type Dump, ListDump, type NetlinkRequest } from '../protocol.ts'
import { readAddress } from './address.ts'

const MEMBER = 8
/** Members of one group. */
const MAX_MEMBERS = 256

export function newNextHop(stack: IpStack, request: NetlinkRequest): Status {
  const { body, flags } = request
  if (body.length < NHMSG.size) return -EINVAL
  const attributes = new Attributes(body, NHMSG.size)
  if (attributes.has(NHA_GROUPS)) return refuse(request, 'Invalid attributes', EINVAL)
  if ([NHA_ENCAP, NHA_ENCAP_TYPE, NHA_FDB, NHA_RES_GROUP].some(type => attributes.has(type)))
    return -EOPNOTSUPP
  const { nextHops } = stack
  const id = attributes.u32(NHA_ID) ?? 0
  if ((flags & NLM_F_REPLACE) !== 0 && id === 0) return refuse(request, 'Replace requires nexthop id', EINVAL)
  const object = parse(stack, request, attributes, id)
  if (typeof object === 'number') return object
  const known = nextHops.find(id)
  if (known !== undefined) {
    if ((flags & NLM_F_REPLACE) === 0 || (flags & NLM_F_EXCL) !== 0) return -EEXIST
    const reason = whyNotInstead(nextHops, known, object)
    if (reason !== undefined) return refuse(request, reason, EINVAL)
  } else if ((flags & NLM_F_CREATE) === 0) return refuse(request, 'Nexthop does not exist', ENOENT)
  if (!nextHops.hasRoomFor(object)) return -ENOSPC
  nextHops.set(id === 0 ? { ...object, id: nextHops.freeId() } : object)
  return 0
}

/** replace_nexthop: what speaks against it. */
function whyNotInstead(
  nextHops: NextHopObjects,
  known: NextHopObject,
  object: NextHopObject,
): string | undefined {
  if (known.group === undefined && object.group !== undefined)
    return 'Can not replace a nexthop with a nexthop group.'
  if (known.group !== undefined && object.group === undefined)
    return 'Can not replace a nexthop group with a nexthop.'
  if (nextHops.isOfIpv4(object) && nextHops.hasIpv6Routes(known.id))
    return 'IPv6 routes can not use an IPv4 nexthop'
  if (object.blackhole && nextHops.isShared(known.id))
    return 'Blackhole nexthop can not be a member of a group with more than one path'
  return undefined
}

/** rtm_to_nh_config. */
function parse(
  stack: IpStack,
  request: NetlinkRequest,
  attributes: Attributes,
  id: number,
): OrErrno<NextHopObject> {
  const { view } = request
  const family = view.getUint8(NHMSG.nh_family)
  const protocol = view.getUint8(NHMSG.nh_protocol)
  const flags = view.getUint32(NHMSG.nh_flags, true)
  if (view.getUint8(NHMSG.nh_scope) !== 0 || view.getUint8(NHMSG.resvd) !== 0)
    return refuse(request, 'Invalid values in ancillary header', EINVAL)
  const shared = { id, protocol, blackhole: false, device: undefined, gateway: undefined, group: undefined }
  const members = attributes.get(NHA_GROUP)
  if (members !== undefined) {
    if (family !== AF_UNSPEC) return refuse(request, 'Invalid family in ancillary header', EINVAL)
    if ((attributes.u16(NHA_GROUP_TYPE) ?? NEXTHOP_GRP_TYPE_MPATH) !== NEXTHOP_GRP_TYPE_MPATH)
      return -EOPNOTSUPP
    const group = readGroup(stack, request, members)
    return typeof group === 'number' ? group : { ...shared, family: AF_UNSPEC, scope: 0, flags: 0, group }
  }
  if (family !== AF_INET && family !== AF_INET6) return refuse(request, 'Invalid address family', EINVAL)
  if ((flags & ~RTNH_F_ONLINK) !== 0)
    return refuse(request, 'Invalid nexthop flags in ancillary header', EINVAL)
  if (attributes.has(NHA_BLACKHOLE)) {
    if (attributes.has(NHA_OIF) || attributes.has(NHA_GATEWAY))
      return refuse(request, 'Blackhole attribute can not be used with gateway, oif, encap or fdb', EINVAL)
    return { ...shared, family, scope: 0, flags: 0, blackhole: true }
  }
  const index = attributes.u32(NHA_OIF)
  if (index === undefined)
    return refuse(request, 'Device attribute required for non-blackhole and non-fdb nexthops', EINVAL)
  const device = stack.devices.byIndex(index)
  if (device === undefined) return refuse(request, 'Invalid device index', EINVAL)
  if (!device.up) return refuse(request, 'Nexthop device is not up', ENETDOWN)
  if (!device.carrier) return refuse(request, 'Carrier for nexthop device is down', ENETDOWN)
  const gateway = readAddress(attributes.get(NHA_GATEWAY), family)
  if (attributes.has(NHA_GATEWAY) && gateway === undefined) return refuse(request, 'Invalid gateway', EINVAL)
  if (gateway === undefined && (flags & RTNH_F_ONLINK) !== 0)
    return refuse(request, 'ONLINK flag can not be set for nexthop without a gateway', EINVAL)
  if (gateway !== undefined && (flags & RTNH_F_ONLINK) === 0 && !isReachable(stack, device, gateway))
    return refuse(request, 'Nexthop has invalid gateway', ENETUNREACH)
  const scope = gateway === undefined && family === AF_INET ? RT_SCOPE_HOST : RT_SCOPE_LINK
  return { ...shared, family, scope, flags, device, gateway }
}

function isReachable(stack: IpStack, device: NetDevice, gateway: IpAddress): boolean {
  if (gateway.isLinkLocal && !gateway.isV4) return true
  const flow = new Flow()
  flow.destination = gateway
  const route = stack.ip.routeFor(flow)
  return !failed(route) && route.type !== RTN_LOCAL && route.device === device && route.gateway === undefined
}

function readGroup(stack: IpStack, request: NetlinkRequest, bytes: Uint8Array): OrErrno<GroupMember[]> {
  const count = bytes.length / MEMBER
  if (count < 1 || count !== Math.floor(count) || count > MAX_MEMBERS)
    return refuse(request, 'Invalid length for nexthop group attribute', EINVAL)
  const view = viewOf(bytes)
  const members: GroupMember[] = []
  for (let at = 0; at < bytes.length; at += MEMBER) {
    const id = view.getUint32(at + NEXTHOP_GRP.id, true)
    const weight = view.getUint8(at + NEXTHOP_GRP.weight) + 1
    const member = stack.nextHops.find(id)
    if (member === undefined || id === 0) return refuse(request, 'Invalid nexthop id', EINVAL)
    if (members.some(other => other.id === id))
      return refuse(request, 'Nexthop id can not be used twice in a group', EINVAL)
    if (member.group !== undefined)
      return refuse(request, 'Nexthop group can not be a nexthop within a group', EINVAL)
    if (member.blackhole && count > 1)
      return refuse(request, 'Blackhole nexthop can not be used in a group with more than 1 path', EINVAL)
    members.push({ id, weight })
  }
  return members
}

function findOne(stack: IpStack, request: NetlinkRequest): OrErrno<NextHopObject> {
  if (request.body.length < NHMSG.size) return -EINVAL
  const id = new Attributes(request.body, NHMSG.size).u32(NHA_ID)
  if (id === undefined) return refuse(request, 'Nexthop id is missing', EINVAL)
  if (id === 0) return refuse(request, 'Invalid nexthop id', EINVAL)
  return stack.nextHops.find(id) ?? -ENOENT
}

export function deleteNextHop(stack: IpStack, request: NetlinkRequest): Status {
  const object = findOne(stack, request)
  if (typeof object === 'number') return object
  stack.nextHops.remove([object])
  return 0
}

export function getNextHops(stack: IpStack, request: NetlinkRequest): Status | Dump {
  const { sequence, port, body } = request
  if ((request.flags & NLM_F_DUMP) === 0) {
    const object = findOne(stack, request)
    if (typeof object === 'number') return object
    const writer = new MessageWriter()
    writeNextHop(writer, object, RTM_NEWNEXTHOP, 0, sequence, port)
    return request.answer(writer)
  }
  const attributes = new Attributes(body, Math.min(NHMSG.size, body.length))
  const device = attributes.u32(NHA_OIF) ?? 0
  if (device !== 0 && stack.devices.byIndex(device) === undefined) return -ENODEV
  const family = body[NHMSG.nh_family]
  const found = stack.nextHops.all().filter(object => {
    if (device !== 0 && object.device?.index !== device) return false
    if (attributes.has(NHA_GROUPS) && object.group === undefined) return false
    if (attributes.has(NHA_FDB)) return false
    return family === AF_UNSPEC || object.family === family
  })
  return new ListDump(found, (writer, object) =>
    writeNextHop(writer, object, RTM_NEWNEXTHOP, NLM_F_MULTI, sequence, port),
  )
}

function writeNextHop(
  writer: MessageWriter,
  object: NextHopObject,
  type: number,
  flags: number,
  sequence: number,
  port: number,
): void {
  const { id, family, protocol, scope, device, gateway, group } = object
  writer.start(type, flags, sequence, port)
  const at = writer.struct(NHMSG.size)
  writer.set8(at + NHMSG.nh_family, family)
  writer.set8(at + NHMSG.nh_protocol, protocol)
  writer.set8(at + NHMSG.nh_scope, scope)
  const linkDown = device?.up && !device.carrier ? RTNH_F_LINKDOWN : 0
  writer.set32(at + NHMSG.nh_flags, object.flags | linkDown)
  writer.u32(NHA_ID, id)
  if (group !== undefined) {
    writer.u16(NHA_GROUP_TYPE, NEXTHOP_GRP_TYPE_MPATH)
    const members = writer.attribute(NHA_GROUP, MEMBER * group.length)
    group.forEach((member, i) => {
      writer.set32(members + MEMBER * i + NEXTHOP_GRP.id, member.id)
      writer.set8(members + MEMBER * i + NEXTHOP_GRP.weight, member.weight - 1)
    })
  } else if (object.blackhole) {
    writer.attribute(NHA_BLACKHOLE, 0)
  } else {
    if (device !== undefined) writer.u32(NHA_OIF, device.index)
    if (gateway !== undefined) writer.bytes(NHA_GATEWAY, gateway.bytes())
  }
  writer.end()
}

export function announceNextHop(object: NextHopObject, gone: boolean): Uint8Array {
  const writer = new MessageWriter()
  writeNextHop(writer, object, gone ? RTM_DELNEXTHOP : RTM_NEWNEXTHOP, 0, 0, 0)
  return writer.take()
}
