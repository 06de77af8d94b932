/** The names that Linux has for the protocols of sockets: /proc/net/protocols, and sockfs's extended attribute. */
import {
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  AF_UNIX,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_UDPLITE,
  SOCK_RAW,
  SOCK_STREAM,
} from '../abi/constants.ts'
import type { Socket } from './socket.ts'

export function protocolNameOf({ family, type, protocol }: Socket): string {
  if (family === AF_UNIX) return type === SOCK_STREAM ? 'UNIX-STREAM' : 'UNIX'
  if (family === AF_NETLINK) return 'NETLINK'
  if (family === AF_PACKET) return 'PACKET'
  const isV6 = family === AF_INET6
  if (protocol === IPPROTO_UDPLITE && type !== SOCK_RAW) return isV6 ? 'UDPLITEv6' : 'UDP-Lite'
  return `${internetName(type, protocol)}${isV6 ? 'v6' : ''}`
}

function internetName(type: number, protocol: number): string {
  if (type === SOCK_STREAM) return 'TCP'
  if (type === SOCK_RAW) return 'RAW'
  return protocol === IPPROTO_ICMP || protocol === IPPROTO_ICMPV6 ? 'PING' : 'UDP'
}
