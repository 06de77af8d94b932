/** NETLINK_SOCK_DIAG: what sockets there are: sock_diag(7), `ss`. */
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  AF_UNIX,
  NLM_F_DUMP,
  SOCK_DESTROY,
  SOCK_DIAG_BY_FAMILY,
} from '../../../abi/constants.ts'
import { EINVAL, ENOENT, EOPNOTSUPP, EPERM } from '../../../abi/errno.ts'
import type { Status } from '../../../base/result.ts'
import type { InetNetwork } from '../../inet/network.ts'
import type { Dump, NetlinkProtocol, NetlinkRequest } from '../protocol.ts'
import { destroyInet, inetDiag } from './inet.ts'
import { netlinkDiag, packetDiag } from './other.ts'
import { unixDiag } from './unix.ts'

/** TCPDIAG_GETSOCK and DCCPDIAG_GETSOCK: the interface before families. */
const OLD_TYPES: ReadonlySet<number> = new Set([18, 19])

export const diagProtocol: NetlinkProtocol = {
  groups: 4,
  anyoneListens: false,
  anyoneSends: false,

  receive(request: NetlinkRequest): Status | Dump {
    const { type, body, flags } = request
    if (OLD_TYPES.has(type)) return -ENOENT
    if (type !== SOCK_DIAG_BY_FAMILY && type !== SOCK_DESTROY) return -EINVAL
    if (body.length < 2) return -EINVAL
    const net = request.stack.own as InetNetwork
    const family = body[0]
    if (type === SOCK_DESTROY) {
      if (!request.socket.capable(request.task)) return -EPERM
      return family === AF_INET || family === AF_INET6 ? destroyInet(net, request) : -EOPNOTSUPP
    }
    const isDump = (flags & NLM_F_DUMP) !== 0
    switch (family) {
      case AF_INET:
      case AF_INET6:
        return inetDiag(net, request, isDump)
      case AF_UNIX:
        return unixDiag(request, isDump)
      case AF_NETLINK:
        return isDump ? netlinkDiag(net, request) : -EOPNOTSUPP
      case AF_PACKET:
        return isDump ? packetDiag(net, request) : -EINVAL
    }
    return -ENOENT
  },
}
