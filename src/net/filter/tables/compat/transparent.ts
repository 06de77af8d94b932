/** TPROXY and `socket`: connections to others that a program here answers in their place (IP_TRANSPARENT). */
import {
  IPPROTO_TCP,
  IPPROTO_UDP,
  NF_ACCEPT,
  NF_DROP,
  NF_INET_LOCAL_IN,
  NF_INET_PRE_ROUTING,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFPROTO_UNSPEC,
  XT_SOCKET_FLAGS_V1,
  XT_SOCKET_FLAGS_V2,
  XT_SOCKET_FLAGS_V3,
  XT_SOCKET_NOWILDCARD,
  XT_SOCKET_RESTORESKMARK,
  XT_SOCKET_TRANSPARENT,
} from '../../../../abi/constants.ts'
import { EINVAL } from '../../../../abi/errno.ts'
import { XT_SOCKET_MTINFO1, XT_TPROXY_TARGET_INFO, XT_TPROXY_TARGET_INFO_V1 } from '../../../../abi/layout.ts'
import { IpAddress } from '../../../address.ts'
import { proxyFor, socketOf } from '../../local-socket.ts'
import type { Extension, Match, Target } from './extension.ts'

/** Revision 0 is IPv4's alone. */
function tproxyTarget(revision: 0 | 1, family: number): Extension<Target> {
  const layout = revision === 0 ? XT_TPROXY_TARGET_INFO : XT_TPROXY_TARGET_INFO_V1
  return {
    ...{ name: 'TPROXY', revision, family, size: layout.size },
    tables: ['mangle'],
    points: [NF_INET_PRE_ROUTING],
    parse(info, { protocol }) {
      if (protocol !== IPPROTO_TCP && protocol !== IPPROTO_UDP) return -EINVAL
      const mask = info.getUint32(layout.mark_mask, true)
      const value = info.getUint32(layout.mark_value, true)
      const given = IpAddress.read(info, layout.laddr, family === NFPROTO_IPV4)
      const address = given.isAny ? undefined : given
      const port = info.getUint16(layout.lport)
      return {
        apply({ stack, packet }) {
          const socket = proxyFor(stack, packet, address, port)
          if (!socket?.flow.transparent) return NF_DROP
          packet.mark = ((packet.mark & ~mask) ^ value) >>> 0
          packet.assigned = socket.endpoint
          return NF_ACCEPT
        },
      }
    },
  }
}

/** What flags each revision knows; the first has none, and not even the struct. */
const SOCKET_FLAGS = [0, XT_SOCKET_FLAGS_V1, XT_SOCKET_FLAGS_V2, XT_SOCKET_FLAGS_V3]

function socketMatch(revision: number): Extension<Match> {
  return {
    ...{ name: 'socket', revision, family: revision === 0 ? NFPROTO_IPV4 : NFPROTO_UNSPEC },
    size: revision === 0 ? 0 : XT_SOCKET_MTINFO1.size,
    points: [NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN],
    parse(info) {
      const flags = revision === 0 ? 0 : info.getUint8(XT_SOCKET_MTINFO1.flags)
      if ((flags & ~SOCKET_FLAGS[revision]) !== 0) return -EINVAL
      return {
        matches({ stack, packet }) {
          const socket = socketOf(stack, packet)
          if (socket === undefined) return false
          const { transparent, mark } = socket.flow
          if (socket.wildcard && (flags & XT_SOCKET_NOWILDCARD) === 0) return false
          if ((flags & XT_SOCKET_TRANSPARENT) !== 0 && !transparent) return false
          if ((flags & XT_SOCKET_RESTORESKMARK) !== 0 && transparent) packet.mark = mark
          return true
        },
      }
    },
  }
}

export const transparentTargets = [
  tproxyTarget(0, NFPROTO_IPV4),
  tproxyTarget(1, NFPROTO_IPV4),
  tproxyTarget(1, NFPROTO_IPV6),
]
export const socketMatches = SOCKET_FLAGS.map((_, revision) => socketMatch(revision))
