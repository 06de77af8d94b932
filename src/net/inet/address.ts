/** Socket addresses of the internet families: struct sockaddr_in and sockaddr_in6, ip(7), ipv6(7). */
import { AF_INET, AF_INET6, AF_UNSPEC } from '../../abi/constants.ts'
import { EAFNOSUPPORT, EINVAL } from '../../abi/errno.ts'
import { SOCKADDR_IN, SOCKADDR_IN6 } from '../../abi/layout.ts'
import type { OrErrno } from '../../base/result.ts'
import { IpAddress } from '../address.ts'

/** SIN6_LEN_RFC2133: without a scope. */
const SOCKADDR_IN6_MIN = 24

export interface SocketAddress {
  readonly address: IpAddress
  readonly port: number
  /** sin6_scope_id; 0 for none. */
  readonly scope: number
  readonly flowInfo: number
}

/** sa_family; 0 (AF_UNSPEC) where there isn't even that. */
export function addressFamily(bytes: Uint8Array): number {
  return bytes.length < 2 ? AF_UNSPEC : bytes[0] | (bytes[1] << 8)
}

/** -EINVAL for one that is too short, -EAFNOSUPPORT for another family's. */
export function parseSocketAddress(bytes: Uint8Array, family: number): OrErrno<SocketAddress> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (family === AF_INET) {
    if (bytes.length < SOCKADDR_IN.size) return -EINVAL
    if (addressFamily(bytes) !== AF_INET) return -EAFNOSUPPORT
    return v4Address(view)
  }
  if (bytes.length < SOCKADDR_IN6_MIN) return -EINVAL
  if (addressFamily(bytes) !== AF_INET6) return -EAFNOSUPPORT
  return v6Address(view)
}

export function v4Address(view: DataView): SocketAddress {
  return {
    address: IpAddress.read(view, SOCKADDR_IN.sin_addr, true),
    port: view.getUint16(SOCKADDR_IN.sin_port),
    scope: 0,
    flowInfo: 0,
  }
}

function v6Address(view: DataView): SocketAddress {
  return {
    address: IpAddress.read(view, SOCKADDR_IN6.sin6_addr, false),
    port: view.getUint16(SOCKADDR_IN6.sin6_port),
    scope: view.byteLength < SOCKADDR_IN6.size ? 0 : view.getUint32(SOCKADDR_IN6.sin6_scope_id, true),
    flowInfo: view.getUint32(SOCKADDR_IN6.sin6_flowinfo),
  }
}

/** As a socket of `family` tells it: an IPv4 address on an AF_INET6 socket is a mapped one. */
export function socketAddress(
  family: number,
  address: IpAddress,
  port: number,
  scope = 0,
  flowInfo = 0,
): Uint8Array {
  if (family === AF_INET) {
    const bytes = new Uint8Array(SOCKADDR_IN.size)
    const view = new DataView(bytes.buffer)
    view.setUint16(SOCKADDR_IN.sin_family, AF_INET, true)
    view.setUint16(SOCKADDR_IN.sin_port, port)
    view.setUint32(SOCKADDR_IN.sin_addr, address.w3)
    return bytes
  }
  const bytes = new Uint8Array(SOCKADDR_IN6.size)
  const view = new DataView(bytes.buffer)
  view.setUint16(SOCKADDR_IN6.sin6_family, AF_INET6, true)
  view.setUint16(SOCKADDR_IN6.sin6_port, port)
  view.setUint32(SOCKADDR_IN6.sin6_flowinfo, flowInfo)
  address.writeV6(view, SOCKADDR_IN6.sin6_addr)
  if (address.needsScope) view.setUint32(SOCKADDR_IN6.sin6_scope_id, scope, true)
  return bytes
}
