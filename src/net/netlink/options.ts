/** getsockopt(2) and setsockopt(2) of level SOL_NETLINK. */
import {
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_BROADCAST_ERROR,
  NETLINK_CAP_ACK,
  NETLINK_DROP_MEMBERSHIP,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  NETLINK_LIST_MEMBERSHIPS,
  NETLINK_LISTEN_ALL_NSID,
  NETLINK_NO_ENOBUFS,
  NETLINK_PKTINFO,
  SOL_NETLINK,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { EINVAL, ENOPROTOOPT, EPERM } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { ReceiveRequest } from '../socket.ts'
import { viewOf } from './message.ts'
import type { NetlinkSocket } from './socket.ts'

const SWITCHES: ReadonlySet<number> = new Set([
  NETLINK_PKTINFO,
  NETLINK_BROADCAST_ERROR,
  NETLINK_NO_ENOBUFS,
  NETLINK_LISTEN_ALL_NSID,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
])

/** Undefined: net/options.ts knows. */
export function getNetlinkOption(
  socket: NetlinkSocket,
  level: number,
  name: number,
  length: number,
): OrErrno<Uint8Array> | undefined {
  if (level === SOL_SOCKET) return undefined
  if (level !== SOL_NETLINK) return -ENOPROTOOPT
  if (name === NETLINK_LIST_MEMBERSHIPS) return memberships(socket)
  if (!SWITCHES.has(name)) return -ENOPROTOOPT
  if (length < 4) return -EINVAL
  return new Uint8Array([socket.switches.has(name) ? 1 : 0, 0, 0, 0])
}

export function setNetlinkOption(
  socket: NetlinkSocket,
  task: Task,
  level: number,
  name: number,
  value: Uint8Array,
): Status | undefined {
  if (level === SOL_SOCKET) return undefined
  if (level !== SOL_NETLINK) return -ENOPROTOOPT
  // What is too short is 0.
  const number = value.length < 4 ? 0 : viewOf(value).getUint32(0, true)
  if (name === NETLINK_ADD_MEMBERSHIP) return socket.join(task, number)
  if (name === NETLINK_DROP_MEMBERSHIP) {
    if (number < 1 || number > socket.groupCount) return -EINVAL
    socket.groups.delete(number)
    return 0
  }
  if (!SWITCHES.has(name)) return -ENOPROTOOPT
  if (name === NETLINK_LISTEN_ALL_NSID && !socket.capable(task)) return -EPERM
  if (number !== 0) socket.switches.add(name)
  else socket.switches.delete(name)
  return 0
}

/** A bit for each group, in words of 32. */
function memberships(socket: NetlinkSocket): Uint8Array {
  if (socket.groups.size === 0) return new Uint8Array(0)
  const view = new DataView(new ArrayBuffer(socket.groupCount / 8))
  for (const group of socket.groups) {
    const at = ((group - 1) >>> 5) * 4
    view.setUint32(at, (view.getUint32(at, true) | (1 << ((group - 1) & 31))) >>> 0, true)
  }
  return new Uint8Array(view.buffer)
}

/** NETLINK_PKTINFO: struct nl_pktinfo, the group. */
export function packetInfo(socket: NetlinkSocket, group: number, request: ReceiveRequest): void {
  if (!socket.switches.has(NETLINK_PKTINFO)) return
  const data = new Uint8Array(4)
  viewOf(data).setUint32(0, group, true)
  request.control.push({ level: SOL_NETLINK, type: NETLINK_PKTINFO, data })
}
