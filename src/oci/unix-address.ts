/** struct sockaddr_un, for sockets that are made by system calls. */
import { AF_UNIX } from '../abi/constants.ts'
import { UserError } from '../sandbox/user-error.ts'

/** sizeof(struct sockaddr_un) less the family and a NUL. */
const MAX_PATH = 107

export function unixAddress(path: string): Buffer {
  const bytes = Buffer.from(path)
  if (bytes.length > MAX_PATH) {
    throw new UserError(`${path} is too long for a socket: a shorter directory is needed`)
  }
  const address = Buffer.alloc(3 + bytes.length)
  address.writeUInt16LE(AF_UNIX, 0)
  address.set(bytes, 2)
  return address
}
