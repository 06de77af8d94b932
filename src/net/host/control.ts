/** Control messages (cmsg(3)) of the host's sockets: which may be sent, and how they are laid out. */
import {
  IP_PKTINFO,
  IP_PROTOCOL,
  IP_RETOPTS,
  IP_TOS,
  IP_TTL,
  IPV6_2292HOPLIMIT,
  IPV6_2292PKTINFO,
  IPV6_DONTFRAG,
  IPV6_DSTOPTS,
  IPV6_FLOWINFO,
  IPV6_HOPLIMIT,
  IPV6_HOPOPTS,
  IPV6_PKTINFO,
  IPV6_RTHDR,
  IPV6_RTHDRDSTOPTS,
  IPV6_TCLASS,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SO_MARK,
  SO_PRIORITY,
  SO_TIMESTAMPING,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_UDP,
  UDP_SEGMENT,
} from '../../abi/constants.ts'
import { EINVAL, EPERM } from '../../abi/errno.ts'
import { CMSGHDR } from '../../abi/layout.ts'
import type { ControlMessage, ReceiveRequest } from '../socket.ts'
import type { HostSocket } from './host-socket.ts'

/** By level: what is sent. Levels that are not here mean nothing to an internet socket, which skips them. */
const SENT: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [SOL_SOCKET, new Set([SO_TIMESTAMPING, SO_PRIORITY])],
  [SOL_IP, new Set([IP_PKTINFO, IP_TTL, IP_TOS, IP_PROTOCOL])],
  [
    SOL_IPV6,
    new Set([
      IPV6_PKTINFO,
      IPV6_2292PKTINFO,
      IPV6_HOPLIMIT,
      IPV6_2292HOPLIMIT,
      IPV6_TCLASS,
      IPV6_FLOWINFO,
      IPV6_DONTFRAG,
    ]),
  ],
  [SOL_UDP, new Set([UDP_SEGMENT])],
])
/** What takes a capability over the network. */
const PRIVILEGED: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [SOL_SOCKET, new Set([SO_MARK])],
  [SOL_IP, new Set([IP_RETOPTS])],
  [SOL_IPV6, new Set([IPV6_HOPOPTS, IPV6_DSTOPTS, IPV6_RTHDR, IPV6_RTHDRDSTOPTS])],
])
/** Only unix sockets know these; others take no notice. */
const UNIX_ONLY: ReadonlySet<number> = new Set([SCM_RIGHTS, SCM_CREDENTIALS])

/** What goes to the host; undefined for nothing, or a negative errno. */
export function encodeControl(
  socket: HostSocket,
  messages: readonly ControlMessage[],
): Uint8Array | undefined | number {
  if (messages.length === 0) return undefined
  const sent: ControlMessage[] = []
  for (const message of messages) {
    const { level, type } = message
    if (level === SOL_SOCKET && UNIX_ONLY.has(type)) continue
    if (PRIVILEGED.get(level)?.has(type)) return -EPERM
    const known = SENT.get(level)
    if (known === undefined) continue
    // A stream looks at SOL_SOCKET alone.
    if (!known.has(type) && (level === SOL_SOCKET || !socket.isStream)) return -EINVAL
    if (known.has(type)) sent.push(message)
  }
  return sent.length === 0 ? undefined : layOut(sent)
}

function layOut(messages: readonly ControlMessage[]): Uint8Array {
  const sizeOf = (message: ControlMessage) => align8(CMSGHDR.size + message.data.length)
  const bytes = new Uint8Array(messages.reduce((sum, message) => sum + sizeOf(message), 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const message of messages) {
    view.setUint32(at + CMSGHDR.cmsg_len, CMSGHDR.size + message.data.length, true)
    view.setInt32(at + CMSGHDR.cmsg_level, message.level, true)
    view.setInt32(at + CMSGHDR.cmsg_type, message.type, true)
    bytes.set(message.data, at + CMSGHDR.cmsg_data)
    at += sizeOf(message)
  }
  return bytes
}

/** Adds what the host's kernel sent along to a request. `bytes` is read at once. */
export function decodeControl(bytes: Uint8Array, request: ReceiveRequest): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; at + CMSGHDR.size <= bytes.length; ) {
    const size = view.getUint32(at + CMSGHDR.cmsg_len, true)
    if (size < CMSGHDR.size || at + size > bytes.length) return
    const level = view.getInt32(at + CMSGHDR.cmsg_level, true)
    const type = view.getInt32(at + CMSGHDR.cmsg_type, true)
    const data = bytes.slice(at + CMSGHDR.cmsg_data, at + size)
    request.control.push({ level, type, data })
    at += align8(size)
  }
}

function align8(length: number): number {
  return Math.ceil(length / 8) * 8
}
