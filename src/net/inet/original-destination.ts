/** SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST: where a connection that was redirected to us wanted to go. */
import { AF_INET, IPPROTO_TCP } from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOPROTOOPT } from '../../abi/errno.ts'
import { SOCKADDR_IN, SOCKADDR_IN6 } from '../../abi/layout.ts'
import type { OrErrno } from '../../base/result.ts'
import { Tuple } from '../filter/conntrack/tuple.ts'
import { socketAddress } from './address.ts'
import type { InetSocket } from './socket.ts'

/** A socket address of the family whose option was asked for, `length` bytes of which there is room for. */
export function originalDestination(socket: InetSocket, family: number, length: number): OrErrno<Uint8Array> {
  const { localAddress, localPort, remoteAddress, remotePort, protocol, net } = socket
  if (protocol !== IPPROTO_TCP) return -ENOPROTOOPT
  if (length < (family === AF_INET ? SOCKADDR_IN.size : SOCKADDR_IN6.size)) return -EINVAL
  if (remoteAddress === undefined || localAddress.isV4 !== (family === AF_INET)) return -ENOENT
  // What we send in this connection are its answers.
  const tuple = new Tuple(localAddress, remoteAddress, protocol, localPort, remotePort)
  const entry = net.usedNetfilter?.conntrack.table.find(tuple)
  if (entry === undefined) return -ENOENT
  const { destination, to } = entry.connection.original
  return socketAddress(family, destination, to)
}
