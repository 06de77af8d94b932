/** getsockopt(2) and setsockopt(2) of the host's sockets: what goes through, what is ours, and what is refused. */
import {
  AF_INET,
  IP_IPSEC_POLICY,
  IP_OPTIONS,
  IP_TRANSPARENT,
  IP_XFRM_POLICY,
  IPV6_DSTOPTS,
  IPV6_HOPOPTS,
  IPV6_IPSEC_POLICY,
  IPV6_RTHDR,
  IPV6_RTHDRDSTOPTS,
  IPV6_TRANSPARENT,
  IPV6_XFRM_POLICY,
  SO_BINDTODEVICE,
  SO_BINDTOIFINDEX,
  SO_DETACH_FILTER,
  SO_ERROR,
  SO_LINGER,
  SO_MARK,
  SO_RCVBUFFORCE,
  SO_RCVLOWAT,
  SO_RCVMARK,
  SO_RCVTIMEO,
  SO_RCVTIMEO_NEW,
  SO_SNDBUFFORCE,
  SO_SNDTIMEO,
  SO_SNDTIMEO_NEW,
  SO_TXTIME,
  SO_ZEROCOPY,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  TCP_REPAIR,
  TCP_ULP,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOPROTOOPT, EOPNOTSUPP, EPERM } from '../../abi/errno.ts'
import { LINGER } from '../../abi/layout.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { HostSocket } from './host-socket.ts'
import { PASSED_OPTIONS } from './option-table.ts'

const readable = byLevel(options => [...options.both, ...options.read])
const settable = byLevel(options => [...options.both, ...options.set])

function byLevel(
  names: (options: (typeof PASSED_OPTIONS)[number]) => readonly number[],
): ReadonlyMap<number, ReadonlySet<number>> {
  return new Map(PASSED_OPTIONS.map(options => [options.level, new Set(names(options))]))
}

/** What net/options.ts does for all sockets. */
const OURS: ReadonlySet<number> = new Set([SO_RCVTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO, SO_SNDTIMEO_NEW])

/** Setting these takes a capability over the host's network, which a guest never has. */
const PRIVILEGED: ReadonlyMap<number, ReadonlySet<number>> = new Map([
  [
    SOL_SOCKET,
    new Set([
      SO_MARK,
      SO_RCVMARK,
      SO_BINDTODEVICE,
      SO_BINDTOIFINDEX,
      SO_SNDBUFFORCE,
      SO_RCVBUFFORCE,
      SO_TXTIME,
    ]),
  ],
  [SOL_IP, new Set([IP_OPTIONS, IP_TRANSPARENT, IP_IPSEC_POLICY, IP_XFRM_POLICY])],
  [
    SOL_IPV6,
    new Set([
      IPV6_TRANSPARENT,
      IPV6_HOPOPTS,
      IPV6_RTHDR,
      IPV6_RTHDRDSTOPTS,
      IPV6_DSTOPTS,
      IPV6_IPSEC_POLICY,
      IPV6_XFRM_POLICY,
    ]),
  ],
  [SOL_TCP, new Set([TCP_REPAIR])],
])

/** No option's value is longer. */
const MAX_VALUE = 4096

/** Undefined: net/options.ts knows. */
export function getHostOption(
  socket: HostSocket,
  level: number,
  name: number,
  length: number,
): OrErrno<Uint8Array> | undefined {
  if (level === SOL_SOCKET) {
    if (OURS.has(name) || name === SO_LINGER) return undefined
    if (name === SO_ERROR && socket.error !== 0) return undefined
  }
  const names = readable.get(level)
  // ip(7) alone says it so.
  if (names === undefined && socket.family === AF_INET) return -EOPNOTSUPP
  if (!names?.has(name)) return -ENOPROTOOPT
  return socket.network.sockets.getOption(socket.fd, level, name, Math.min(length, MAX_VALUE))
}

/** Undefined: net/options.ts knows. */
export function setHostOption(
  socket: HostSocket,
  level: number,
  name: number,
  value: Uint8Array,
): Status | undefined {
  if (level === SOL_SOCKET) {
    if (OURS.has(name)) return undefined
    if (value.length < 4 && name !== SO_BINDTODEVICE) return -EINVAL
    if (name === SO_LINGER) return setLinger(socket, value)
    // There never is one.
    if (name === SO_DETACH_FILTER) return -ENOENT
    if (name === SO_ZEROCOPY) return -EOPNOTSUPP
  }
  // As of a kernel without the module.
  if (level === SOL_TCP && name === TCP_ULP) return -ENOENT
  if (PRIVILEGED.get(level)?.has(name)) return -EPERM
  if (!settable.get(level)?.has(name)) return -ENOPROTOOPT
  const status = pass(socket, level, name, value)
  if (status === 0 && level === SOL_SOCKET && name === SO_RCVLOWAT) noteLowat(socket)
  return status
}

function pass(socket: HostSocket, level: number, name: number, value: Uint8Array): Status {
  return socket.network.sockets.setOption(socket.fd, level, name, value)
}

/** The host learns of the reset at close only: waiting for the peer would hold up the sentry. */
function setLinger(socket: HostSocket, value: Uint8Array): Status {
  if (value.length < LINGER.size) return -EINVAL
  const { options } = socket
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  options.lingerOn = view.getInt32(LINGER.l_onoff, true) !== 0
  if (options.lingerOn) options.lingerTime = view.getInt32(LINGER.l_linger, true)
  const reset = new Uint8Array(LINGER.size)
  if (options.lingerOn && options.lingerTime === 0) reset[LINGER.l_onoff] = 1
  return pass(socket, SOL_SOCKET, SO_LINGER, reset)
}

/** The host bounds it; the calls that wait for so much must know. */
function noteLowat(socket: HostSocket): void {
  const value = socket.network.sockets.getOption(socket.fd, SOL_SOCKET, SO_RCVLOWAT, 4)
  if (typeof value === 'number' || value.length < 4) return
  socket.options.rcvLowat = new DataView(value.buffer, value.byteOffset, 4).getInt32(0, true)
}
