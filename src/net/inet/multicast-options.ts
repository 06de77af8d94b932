/** Options that join and leave multicast groups: ip(7), ipv6(7), RFC 3678. */
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
  MCAST_JOIN_GROUP,
  MCAST_JOIN_SOURCE_GROUP,
  MCAST_LEAVE_GROUP,
  MCAST_LEAVE_SOURCE_GROUP,
  MCAST_MSFILTER,
  MCAST_UNBLOCK_SOURCE,
} from '../../abi/constants.ts'
import { EADDRNOTAVAIL, EINVAL, ENODEV, ENOPROTOOPT } from '../../abi/errno.ts'
import { IP_MREQ, IP_MREQN, IPV6_MREQ } from '../../abi/layout.ts'
import { failed, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { IpAddress } from '../address.ts'
import { Flow } from '../ip/flow.ts'
import type { NetDevice } from '../link/device.ts'
import { parseSocketAddress } from './address.ts'
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
/** struct ip_msfilter and struct group_filter without any source. */
const IP_MSFILTER_SIZE = 16
const GROUP_FILTER_SIZE = 144
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
  if (name === IP_MSFILTER || name === MCAST_MSFILTER) return getMulticastFilter(name, value.length)
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
  if (!group.isMulticast) return -EINVAL
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

/** All sources of a group at once can be neither asked for nor set. What is too short for that is told so, as on Linux. */
export function getMulticastFilter(name: number, length: number): Status {
  const least = name === IP_MSFILTER ? IP_MSFILTER_SIZE : GROUP_FILTER_SIZE
  return length < least ? -EINVAL : -ENOPROTOOPT
}
