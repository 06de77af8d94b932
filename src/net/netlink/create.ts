/** AF_NETLINK for socket(2) where the kernel has a network of its own: its protocols. */
import {
  NETLINK_GENERIC,
  NETLINK_KOBJECT_UEVENT,
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  NETLINK_SOCK_DIAG,
  NETLINK_USERSOCK,
  SOCK_DGRAM,
  SOCK_RAW,
} from '../../abi/constants.ts'
import { ECONNREFUSED, EPROTONOSUPPORT, ESOCKTNOSUPPORT } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Socket } from '../socket.ts'
import type { NetStack } from '../stack.ts'
import { diagProtocol } from './diag/protocol.ts'
import { genericProtocol } from './generic.ts'
import { netfilterProtocol } from './netfilter/protocol.ts'
import type { NetlinkProtocol } from './protocol.ts'
import { routeProtocol } from './route/protocol.ts'
import { NetlinkSocket } from './socket.ts'
import type { NetlinkTable } from './table.ts'
import { ueventProtocol } from './uevent.ts'

/** Messages among processes: the kernel isn't there. */
const userProtocol: NetlinkProtocol = {
  groups: 32,
  anyoneListens: false,
  anyoneSends: true,
  receive: () => -ECONNREFUSED,
}

/** By number. The others are refused as by a kernel without them: audit, connector, xfrm… */
const PROTOCOLS: ReadonlyMap<number, NetlinkProtocol> = new Map([
  [NETLINK_ROUTE, routeProtocol],
  [NETLINK_USERSOCK, userProtocol],
  [NETLINK_SOCK_DIAG, diagProtocol],
  [NETLINK_KOBJECT_UEVENT, ueventProtocol],
  [NETLINK_GENERIC, genericProtocol],
  [NETLINK_NETFILTER, netfilterProtocol],
])

export function createNetlink(
  stack: NetStack,
  table: NetlinkTable,
  type: number,
  protocol: number,
): OrErrno<Socket> {
  if (type !== SOCK_RAW && type !== SOCK_DGRAM) return -ESOCKTNOSUPPORT
  const kernelEnd = PROTOCOLS.get(protocol)
  if (kernelEnd === undefined) return -EPROTONOSUPPORT
  return new NetlinkSocket(stack, table, type, protocol, kernelEnd)
}
