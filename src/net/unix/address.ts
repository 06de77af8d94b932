/**
 * Addresses of unix sockets: unix(7). A name is the byte string of sun_path: a path without its NUL, or, for an
 * abstract address, a leading NUL and all bytes that the length covers.
 */
import { AF_UNIX } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import { SOCKADDR_UN } from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import type { OrErrno } from '../../base/result.ts'

/** The name in a sockaddr; '' when there is only a family (autobind). */
export function parseUnixAddress(address: Uint8Array): OrErrno<string> {
  if (address.length < SOCKADDR_UN.sun_path || address.length > SOCKADDR_UN.size) return -EINVAL
  if (familyOf(address) !== AF_UNIX) return -EINVAL
  if (address.length === SOCKADDR_UN.sun_path) return ''
  if (address[SOCKADDR_UN.sun_path] === 0) return fromBytes(address, SOCKADDR_UN.sun_path)
  const nul = address.indexOf(0, SOCKADDR_UN.sun_path)
  return fromBytes(address, SOCKADDR_UN.sun_path, nul < 0 ? address.length : nul)
}

export function familyOf(address: Uint8Array): number {
  return address[0] | (address[1] << 8)
}

export function isAbstract(name: string): boolean {
  return name.charCodeAt(0) === 0
}

/** The sockaddr of a name; undefined: of a socket without one. */
export function unixAddress(name: string | undefined): Uint8Array {
  if (name === undefined) return new Uint8Array([AF_UNIX, 0])
  const terminator = isAbstract(name) ? 0 : 1
  const bytes = new Uint8Array(SOCKADDR_UN.sun_path + name.length + terminator)
  bytes[0] = AF_UNIX
  for (let i = 0; i < name.length; i++) bytes[SOCKADDR_UN.sun_path + i] = name.charCodeAt(i)
  return bytes
}
