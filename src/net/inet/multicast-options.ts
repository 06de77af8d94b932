/** Options that join and leave multicast groups, and choose among their sources: ip(7), ipv6(7), RFC 3678. */
import {
  AF_INET,
  IP_ADD_MEMBERSHIP,
  IP_ADD_SOURCE_MEMBERSHIP,
  IP_BLOCK_SOURCE,
  IP_DROP_MEMBERSHIP,
  IP_DROP_SOURCE_MEMBERSHIP,
  IP_MSFILTER,
  IP_UNBLOCK_SOURCE,
  IPV6_ADD_MEMBERSHIP,
  IPV6_DROP_MEMBERSHIP,
  MCAST_BLOCK_SOURCE,
  MCAST_EXCLUDE,
  MCAST_INCLUDE,
  MCAST_JOIN_GROUP,
  MCAST_JOIN_SOURCE_GROUP,
  MCAST_LEAVE_GROUP,
  MCAST_LEAVE_SOURCE_GROUP,
  MCAST_MSFILTER,
  MCAST_UNBLOCK_SOURCE,
} from '../../abi/constants.ts'
import { EADDRNOTAVAIL, EFAULT, EINVAL, ENOBUFS, ENODEV, ENOPROTOOPT } from '../../abi/errno.ts'
import { GROUP_FILTER, IP_MREQ, IP_MREQN, IP_MSFILTER_HEAD, IPV6_MREQ } from '../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { IpAddress } from '../address.ts'
import { Flow } from '../ip/flow.ts'
import type { NetDevice } from '../link/device.ts'
import { parseSocketAddress, socketAddress } from './address.ts'
import type { InetSocket } from './socket.ts'

/** struct group_req: the index, and at 8 a sockaddr. */
const GROUP_REQ = { size: 136, index: 0, group: 8 }
/** struct group_source_req: the same, and a source. */
const GROUP_SOURCE_REQ = { size: 264, index: 0, group: 8, source: 136 }
/** Options for either family, by the IPv4 option that does the same. */
const SOURCE_CHANGES: ReadonlyMap<number, number> = new Map([
  [MCAST_JOIN_SOURCE_GROUP, IP_ADD_SOURCE_MEMBERSHIP],
  [MCAST_LEAVE_SOURCE_GROUP, IP_DROP_SOURCE_MEMBERSHIP],
  [MCAST_BLOCK_SOURCE, IP_BLOCK_SOURCE],
  [MCAST_UNBLOCK_SOURCE, IP_UNBLOCK_SOURCE],
])
/** struct ip_mreq_source: group, interface, source. */
const MREQ_SOURCE = { size: 12, group: 0, interface: 4, source: 8 }

/** `isV4`: the option's level. */
export function setMulticast(
  socket: InetSocket,
  _task: Task,
  isV4: boolean,
  name: number,
  value: Uint8Array,
): Status {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  if (isV4) {
    switch (name) {
      case IP_ADD_MEMBERSHIP:
      case IP_DROP_MEMBERSHIP: {
        if (value.length < IP_MREQ.size) return -EINVAL
        const index = value.length >= IP_MREQN.size ? view.getInt32(IP_MREQN.imr_ifindex, true) : 0
        const group = IpAddress.v4(view.getUint32(0))
        const address = IpAddress.v4(view.getUint32(4))
        return change(socket, name === IP_ADD_MEMBERSHIP, group, deviceFor(socket, group, index, address))
      }
      case IP_ADD_SOURCE_MEMBERSHIP:
      case IP_DROP_SOURCE_MEMBERSHIP:
      case IP_BLOCK_SOURCE:
      case IP_UNBLOCK_SOURCE: {
        if (value.length !== MREQ_SOURCE.size) return -EINVAL
        const group = IpAddress.v4(view.getUint32(MREQ_SOURCE.group))
        const address = IpAddress.v4(view.getUint32(MREQ_SOURCE.interface))
        const source = IpAddress.v4(view.getUint32(MREQ_SOURCE.source))
        return changeSource(socket, name, group, deviceFor(socket, group, 0, address), source)
      }
    }
  } else if (name === IPV6_ADD_MEMBERSHIP || name === IPV6_DROP_MEMBERSHIP) {
    if (value.length < IPV6_MREQ.size) return -EINVAL
    const group = IpAddress.read(view, 0, false)
    const index = view.getInt32(IPV6_MREQ.ipv6mr_ifindex, true)
    return change(socket, name === IPV6_ADD_MEMBERSHIP, group, deviceFor(socket, group, index))
  }
  if (name === MCAST_JOIN_GROUP || name === MCAST_LEAVE_GROUP) {
    if (value.length < GROUP_REQ.size) return -EINVAL
    const index = view.getUint32(GROUP_REQ.index, true)
    const parsed = parseSocketAddress(value.subarray(GROUP_REQ.group), isV4 ? AF_INET : socket.family)
    if (failed(parsed)) return isV4 ? -EINVAL : -EADDRNOTAVAIL
    return change(socket, name === MCAST_JOIN_GROUP, parsed.address, deviceFor(socket, parsed.address, index))
  }
  if (name === IP_MSFILTER || name === MCAST_MSFILTER) return setFilter(socket, isV4, name, value)
  const change4 = SOURCE_CHANGES.get(name)
  if (change4 === undefined) return -ENOPROTOOPT
  if (value.length < GROUP_SOURCE_REQ.size) return -EINVAL
  const family = isV4 ? AF_INET : socket.family
  const group = parseSocketAddress(value.subarray(GROUP_SOURCE_REQ.group, GROUP_SOURCE_REQ.source), family)
  const source = parseSocketAddress(value.subarray(GROUP_SOURCE_REQ.source), family)
  if (failed(group) || failed(source)) return -EADDRNOTAVAIL
  const index = view.getUint32(GROUP_SOURCE_REQ.index, true)
  const device = deviceFor(socket, group.address, index)
  return changeSource(socket, change4, group.address, device, source.address)
}

/** The one named by index or address, or where packets to the group go out. */
function deviceFor(
  socket: InetSocket,
  group: IpAddress,
  index: number,
  address?: IpAddress,
): NetDevice | undefined {
  const { ip } = socket.net
  if (index !== 0) return ip.devices.byIndex(index)
  if (address !== undefined && !address.isAny) return ip.addresses.find(address)?.device
  const flow = new Flow()
  flow.destination = group
  const route = ip.ip.routeFor(flow)
  return failed(route) ? undefined : route.device
}

function change(socket: InetSocket, join: boolean, group: IpAddress, device: NetDevice | undefined): Status {
  // What is left is looked up, which only IPv6 checks before.
  if (!group.isMulticast && (join || !group.isV4)) return -EINVAL
  if (device === undefined) return join ? -ENODEV : -EADDRNOTAVAIL
  return join ? socket.memberships.join(group, device) : socket.memberships.leave(group, device)
}

function changeSource(
  socket: InetSocket,
  name: number,
  group: IpAddress,
  device: NetDevice | undefined,
  source: IpAddress,
): Status {
  if (!group.isMulticast) return -EINVAL
  if (device === undefined) return -ENODEV
  switch (name) {
    case IP_ADD_SOURCE_MEMBERSHIP:
      return socket.memberships.joinSource(group, device, source)
    case IP_DROP_SOURCE_MEMBERSHIP:
      return socket.memberships.leaveSource(group, device, source)
    case IP_BLOCK_SOURCE:
      return socket.memberships.block(group, device, source)
  }
  return socket.memberships.unblock(group, device, source)
}

/** What IP_MSFILTER and MCAST_MSFILTER say and ask for, wherever it stands. */
interface WholeFilter {
  readonly group: IpAddress
  readonly device: NetDevice | undefined
  readonly exclude: boolean
  readonly count: number
  /** Where the first source stands, and the size of one. */
  readonly sourcesAt: number
  readonly stride: number
}

/** struct ip_msfilter, struct group_filter. */
function readFilter(
  socket: InetSocket,
  isV4: boolean,
  name: number,
  value: Uint8Array,
): WholeFilter | number {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const old = name === IP_MSFILTER
  if (value.length < (old ? IP_MSFILTER_HEAD.imsf_slist_flex : GROUP_FILTER.gf_slist_flex)) return -EINVAL
  const mode = view.getUint32(old ? IP_MSFILTER_HEAD.imsf_fmode : GROUP_FILTER.gf_fmode, true)
  const count = view.getUint32(old ? IP_MSFILTER_HEAD.imsf_numsrc : GROUP_FILTER.gf_numsrc, true)
  let group: OrErrno<IpAddress> = -EADDRNOTAVAIL
  let index = 0
  let address: IpAddress | undefined
  if (old) {
    group = IpAddress.v4(view.getUint32(IP_MSFILTER_HEAD.imsf_multiaddr))
    address = IpAddress.v4(view.getUint32(IP_MSFILTER_HEAD.imsf_interface))
  } else {
    const family = isV4 ? AF_INET : socket.family
    const parsed = parseSocketAddress(value.subarray(GROUP_FILTER.gf_group, GROUP_FILTER.gf_fmode), family)
    if (!failed(parsed)) group = parsed.address
    index = view.getUint32(GROUP_FILTER.gf_interface, true)
  }
  if (failed(group)) return group
  if (!group.isMulticast || (mode !== MCAST_INCLUDE && mode !== MCAST_EXCLUDE)) return -EINVAL
  return {
    group,
    device: deviceFor(socket, group, index, address),
    exclude: mode === MCAST_EXCLUDE,
    count,
    sourcesAt: old ? IP_MSFILTER_HEAD.imsf_slist_flex : GROUP_FILTER.gf_slist_flex,
    stride: old ? 4 : GROUP_FILTER.gf_fmode - GROUP_FILTER.gf_group,
  }
}

function setFilter(socket: InetSocket, isV4: boolean, name: number, value: Uint8Array): Status {
  const filter = readFilter(socket, isV4, name, value)
  if (typeof filter === 'number') return filter
  const { count, stride, sourcesAt } = filter
  if (count > socket.net.ip.sysctls.ipv4.igmp_max_msf) return -ENOBUFS
  if (sourcesAt + count * stride > value.length) return -EINVAL
  const sources: IpAddress[] = []
  for (let at = sourcesAt; sources.length < count; at += stride) {
    const source = readSource(socket, isV4, value.subarray(at, at + stride))
    if (failed(source)) return source
    sources.push(source)
  }
  if (filter.device === undefined) return -ENODEV
  return socket.memberships.setFilter(filter.group, filter.device, filter.exclude, sources)
}

function readSource(socket: InetSocket, isV4: boolean, bytes: Uint8Array): OrErrno<IpAddress> {
  if (bytes.length === 4) return IpAddress.v4(new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0))
  const parsed = parseSocketAddress(bytes, isV4 ? AF_INET : socket.family)
  return failed(parsed) ? -EADDRNOTAVAIL : parsed.address
}

/** getsockopt(2): the question, with room for so many sources, stands where the answer is to go. */
export function getMulticastFilter(
  socket: InetSocket,
  task: Task,
  isV4: boolean,
  name: number,
  length: number,
  at: GuestAddr,
): OrErrno<Uint8Array> {
  const head = name === IP_MSFILTER ? IP_MSFILTER_HEAD.imsf_slist_flex : GROUP_FILTER.gf_slist_flex
  if (length < head) return -EINVAL
  const question = new Uint8Array(head)
  if (task.mm.copyIn(at, question) < 0) return -EFAULT
  // How sources are told apart is the answer's to say.
  const modeAt = name === IP_MSFILTER ? IP_MSFILTER_HEAD.imsf_fmode : GROUP_FILTER.gf_fmode
  new DataView(question.buffer).setUint32(modeAt, MCAST_EXCLUDE, true)
  const asked = readFilter(socket, isV4, name, question)
  if (typeof asked === 'number') return asked === -EADDRNOTAVAIL ? -EINVAL : asked
  if (asked.device === undefined) return -ENODEV
  const member = socket.memberships.find(asked.group, asked.device)
  if (member === undefined) return -EADDRNOTAVAIL
  const { sources, exclude } = member
  const told = Math.min(sources.length, asked.count, Math.floor((length - head) / asked.stride))
  const answer = new Uint8Array(head + told * asked.stride)
  answer.set(question)
  const view = new DataView(answer.buffer)
  view.setUint32(modeAt, exclude ? MCAST_EXCLUDE : MCAST_INCLUDE, true)
  view.setUint32(modeAt + 4, sources.length, true)
  for (let i = 0; i < told; i++) {
    const to = head + i * asked.stride
    if (asked.stride === 4) view.setUint32(to, sources[i].w3)
    else answer.set(socketAddress(isV4 ? AF_INET : socket.family, sources[i], 0), to)
  }
  return answer
}
