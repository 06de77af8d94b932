/** AF_NETLINK for socket(2) where the network namespace has the host's network: routing sockets. */
import { AF_NETLINK, NETLINK_ROUTE, SOCK_DGRAM, SOCK_RAW } from '../../abi/constants.ts'
import { EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { SocketFamily } from '../families.ts'
import type { Socket } from '../socket.ts'
import { netStack } from '../stack.ts'
import { RouteSocket } from './route-socket.ts'

export const netlinkFamily: SocketFamily = {
  create(task: Task, type: number, protocol: number): OrErrno<Socket> {
    const network = netStack(task.ns.net).host
    if (network === undefined) return -EAFNOSUPPORT
    if (type !== SOCK_RAW && type !== SOCK_DGRAM) return -ESOCKTNOSUPPORT
    if (protocol !== NETLINK_ROUTE) return -EPROTONOSUPPORT
    const fd = network.sockets.open(AF_NETLINK, type, protocol)
    return fd < 0 ? fd : new RouteSocket(network, fd, AF_NETLINK, type, protocol)
  },
}
