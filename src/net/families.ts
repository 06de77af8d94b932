/** The address families that there are: what socket(2) and socketpair(2) ask. */
import { AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX } from '../abi/constants.ts'
import { EAFNOSUPPORT } from '../abi/errno.ts'
import type { OrErrno } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import { inet6Family, inetFamily } from './host/family.ts'
import { netlinkFamily } from './netlink/family.ts'
import type { Socket } from './socket.ts'
import { netStack } from './stack.ts'
import { unixFamily } from './unix/family.ts'

export interface SocketFamily {
  /** `type` is SOCK_* without flags. -EPROTONOSUPPORT, -ESOCKTNOSUPPORT where it isn't offered. */
  create(task: Task, type: number, protocol: number): OrErrno<Socket>
  /** Makes two fresh sockets each other's peers; absent where the family has no pairs (EOPNOTSUPP). */
  pair?(task: Task, a: Socket, b: Socket): void
}

/** By AF_*; the others are EAFNOSUPPORT. */
export const families: Readonly<Record<number, SocketFamily | undefined>> = {
  [AF_UNIX]: unixFamily,
  [AF_INET]: ownOr(AF_INET, inetFamily),
  [AF_INET6]: ownOr(AF_INET6, inet6Family),
  [AF_NETLINK]: ownOr(AF_NETLINK, netlinkFamily),
  [AF_PACKET]: ownOr(AF_PACKET, undefined),
}

/** Sockets of the kernel's own network where the caller's namespace has one; else those that pass through to the host. */
function ownOr(family: number, host: SocketFamily | undefined): SocketFamily {
  return {
    create(task, type, protocol) {
      const { own } = netStack(task.ns.net)
      if (own !== undefined) return own.create(task, family, type, protocol)
      return host === undefined ? -EAFNOSUPPORT : host.create(task, type, protocol)
    },
  }
}
