/** AF_INET and AF_INET6 for socket(2), where the network namespace has the host's. */
import {
  AF_INET,
  AF_INET6,
  CAP_NET_RAW,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import { EAFNOSUPPORT, EINVAL, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT } from '../../abi/errno.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { SocketFamily } from '../families.ts'
import type { Socket } from '../socket.ts'
import { netStack } from '../stack.ts'
import { EchoSocket } from './echo-socket.ts'
import { InetSocket } from './inet-socket.ts'

/** One more than the largest protocol number, that of MPTCP. */
const IPPROTO_MAX = 263

export const inetFamily: SocketFamily = {
  create: (task, type, protocol) => create(task, AF_INET, type, protocol),
}
export const inet6Family: SocketFamily = {
  create: (task, type, protocol) => create(task, AF_INET6, type, protocol),
}

function create(task: Task, family: number, type: number, protocol: number): OrErrno<Socket> {
  const network = netStack(task.ns.net).host
  if (network === undefined) return -EAFNOSUPPORT
  if (protocol < 0 || protocol >= IPPROTO_MAX) return -EINVAL
  const used = protocolOf(family, type, protocol)
  if (used < 0) return used
  if (type === SOCK_RAW && !task.cred.capable(CAP_NET_RAW, task.ns.net.userNs)) return -EPERM
  const fd = network.sockets.open(family, type, protocol)
  const isEcho = type === SOCK_RAW && used === (family === AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6)
  if (fd === -EPERM && isEcho) {
    // What ping(8) needs of a raw socket, the host has without privilege, if it lets us.
    const echo = EchoSocket.open(network, family, used)
    return failed(echo) ? fd : echo
  }
  return fd < 0 ? fd : new InetSocket(network, fd, family, type, used)
}

/** The protocol that a socket of the type speaks: what inetsw[] would say on a kernel with these protocols alone. */
function protocolOf(family: number, type: number, protocol: number): number {
  if (type === SOCK_STREAM) return protocol === 0 || protocol === IPPROTO_TCP ? IPPROTO_TCP : -EPROTONOSUPPORT
  if (type === SOCK_DGRAM) {
    if (protocol === 0 || protocol === IPPROTO_UDP) return IPPROTO_UDP
    return protocol === (family === AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6) ? protocol : -EPROTONOSUPPORT
  }
  if (type === SOCK_RAW) return protocol === 0 ? -EPROTONOSUPPORT : protocol
  return -ESOCKTNOSUPPORT
}
