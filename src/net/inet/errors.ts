/** recvmsg(2) with MSG_ERRQUEUE: what IP_RECVERR and IPV6_RECVERR have kept, as bytes: ip(7). */
import {
  AF_INET,
  IP_RECVERR,
  IPV6_RECVERR,
  MSG_ERRQUEUE,
  MSG_TRUNC,
  SO_EE_ORIGIN_ZEROCOPY,
  SOL_IP,
  SOL_IPV6,
} from '../../abi/constants.ts'
import { EAGAIN } from '../../abi/errno.ts'
import { SOCK_EXTENDED_ERR, SOCKADDR_IN, SOCKADDR_IN6 } from '../../abi/layout.ts'
import { type ErrorQueue, type QueuedError, SO_EE_ORIGIN_LOCAL } from '../ip/error-queue.ts'
import type { ReceiveRequest } from '../socket.ts'
import { socketAddress } from './address.ts'

/** The number of bytes of the failed packet, or -EAGAIN. */
export function receiveError(queue: ErrorQueue, request: ReceiveRequest, family: number): number {
  const error = queue.shift()
  if (error === undefined) return -EAGAIN
  const payload = error.packet?.data() ?? new Uint8Array(0)
  const part = payload.subarray(0, request.dst.remaining)
  const done = part.length === 0 ? 0 : request.dst.put(part)
  request.outFlags |= MSG_ERRQUEUE | (part.length < payload.length ? MSG_TRUNC : 0)
  if (error.origin !== SO_EE_ORIGIN_ZEROCOPY)
    request.address = socketAddress(family, error.destination, error.port)
  const isV4 = family === AF_INET
  request.control.push({
    level: isV4 ? SOL_IP : SOL_IPV6,
    type: isV4 ? IP_RECVERR : IPV6_RECVERR,
    data: describe(error, family),
  })
  error.packet?.release()
  return done < 0 ? done : part.length
}

/** The errno that holds for the socket now that an entry is gone: the next one's, if the network has told of it. */
export function pendingOf(queue: ErrorQueue): number {
  const { first } = queue
  return first === undefined || first.origin === SO_EE_ORIGIN_LOCAL ? 0 : first.errno
}

/** struct sock_extended_err and the offender's address. */
function describe(error: QueuedError, family: number): Uint8Array {
  const size = family === AF_INET ? SOCKADDR_IN.size : SOCKADDR_IN6.size
  const bytes = new Uint8Array(SOCK_EXTENDED_ERR.size + size)
  const view = new DataView(bytes.buffer)
  view.setUint32(SOCK_EXTENDED_ERR.ee_errno, error.errno, true)
  view.setUint8(SOCK_EXTENDED_ERR.ee_origin, error.origin)
  view.setUint8(SOCK_EXTENDED_ERR.ee_type, error.type)
  view.setUint8(SOCK_EXTENDED_ERR.ee_code, error.code)
  view.setUint32(SOCK_EXTENDED_ERR.ee_info, error.info, true)
  view.setUint32(SOCK_EXTENDED_ERR.ee_data, error.data ?? 0, true)
  if (error.offender !== undefined) {
    bytes.set(socketAddress(family, error.offender, 0), SOCK_EXTENDED_ERR.size)
  }
  return bytes
}
