/** bind(2) of the internet families: which addresses and ports may be taken: ip(7), ipv6(7). __inet_bind, __inet6_bind. */
import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  CAP_NET_BIND_SERVICE,
  IPV6_V6ONLY,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
} from '../../abi/constants.ts'
import { EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, ENODEV } from '../../abi/errno.ts'
import { SOCKADDR_IN } from '../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { addressType4 } from '../ip/routing4.ts'
import { addressFamily, parseSocketAddress, type SocketAddress, v4Address } from './address.ts'
import type { InetSocket } from './socket.ts'

/** The address to bind to, or why not. The port is still to be looked at by the protocol. */
export function checkBind(socket: InetSocket, task: Task, bytes: Uint8Array): OrErrno<SocketAddress> {
  const parsed = parse(socket, bytes)
  if (failed(parsed)) return parsed
  // Bound already, be it by connect(2).
  if (socket.localPort !== 0) return -EINVAL
  const status = checkAddress(socket, parsed)
  if (status < 0) return status
  const { port } = parsed
  const { net } = socket
  if (port !== 0 && port < net.ns.unprivilegedPortStart && !net.capable(task, CAP_NET_BIND_SERVICE))
    return -EACCES
  return parsed
}

function parse(socket: InetSocket, bytes: Uint8Array): OrErrno<SocketAddress> {
  if (socket.family === AF_INET) {
    if (bytes.length < SOCKADDR_IN.size) return -EINVAL
    const family = addressFamily(bytes)
    const parsed = v4Address(new DataView(bytes.buffer, bytes.byteOffset, bytes.length))
    if (family === AF_INET) return parsed
    // Old programs leave the family out where they bind to any address.
    return family === AF_UNSPEC && parsed.address.isAny ? parsed : -EAFNOSUPPORT
  }
  const parsed = parseSocketAddress(bytes, AF_INET6)
  if (!failed(parsed) && parsed.address.isV4 && socket.settings.v6(IPV6_V6ONLY) !== 0) return -EINVAL
  return parsed
}

/** Whether the address is one of ours, or one that may be bound to without being that. */
export function checkAddress(socket: InetSocket, { address, scope }: SocketAddress): Status {
  const { ip } = socket.net
  const free = socket.settings.freeBind
  if (address.isV4) {
    if (address.isAny || free || ip.sysctls.ipv4.ip_nonlocal_bind !== 0) return 0
    const type = addressType4(ip, address)
    return type === RTN_LOCAL || type === RTN_MULTICAST || type === RTN_BROADCAST ? 0 : -EADDRNOTAVAIL
  }
  if (address.isAny) return 0
  let device = socket.boundDevice
  if (address.needsScope) {
    if (scope !== 0) device = socket.boundDevice || scope
    // A link-local address means nothing without its link.
    if (device === 0) return -EINVAL
    if (ip.devices.byIndex(device) === undefined) return -ENODEV
  }
  if (address.isMulticast || free || ip.sysctls.ipv6.ip_nonlocal_bind !== 0) return 0
  const found = ip.devices.byIndex(device)
  return ip.addresses.isLocal(address, address.needsScope ? found : undefined) ? 0 : -EADDRNOTAVAIL
}

/** The device that a link-local address is on; 0 for others. */
export function scopeDevice({ address, scope }: SocketAddress): number {
  return address.needsScope ? scope : 0
}
