/**
 * Data between guest memory and the host's sockets. The bytes pass through a window of the sentry's: one copy more than
 * the host's kernel alone would make.
 */
import {
  MSG_CONFIRM,
  MSG_DONTROUTE,
  MSG_DONTWAIT,
  MSG_EOR,
  MSG_ERRQUEUE,
  MSG_FASTOPEN,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINPROGRESS, EMSGSIZE } from '../../abi/errno.ts'
import { failed } from '../../base/result.ts'
import type { ReceiveRequest, SendRequest } from '../socket.ts'
import { decodeControl, encodeControl } from './control.ts'
import type { HostSocket } from './host-socket.ts'

const SEND_FLAGS = MSG_OOB | MSG_DONTROUTE | MSG_EOR | MSG_CONFIRM | MSG_MORE
const RECEIVE_FLAGS = MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE
/** No datagram is longer, nor any message of a routing socket's answers. */
const MAX_MESSAGE = 65536
const NOTHING = new Uint8Array(0)

/** A stream's send: bytes that the host took. */
export function sendStream(socket: HostSocket, request: SendRequest): number {
  const { src } = request
  // The call that began the connection goes on when it is there, without naming the peer again.
  const address = socket.opening ? undefined : request.address
  const fastOpen = socket.opening ? 0 : MSG_FASTOPEN
  let control = encodeControl(socket, request.control)
  if (typeof control === 'number') return control
  const flags = request.flags & (SEND_FLAGS | fastOpen)
  let done = 0
  do {
    const window = src.remaining === 0 ? NOTHING : src.window(src.remaining)
    if (typeof window === 'number') return done > 0 ? done : window
    const more = window.length < src.remaining ? MSG_MORE : 0
    const n = socket.network.sockets.send(socket.fd, window, flags | more, address, control)
    if (n < 0) {
      if (done > 0) return done
      socket.opening = n === -EAGAIN ? socket.opening : mustWait(n, request)
      return socket.opening ? -EAGAIN : n
    }
    if (socket.opening) {
      // For the host's kernel that connect is still to return.
      if (request.address !== undefined) socket.network.sockets.connect(socket.fd, request.address)
      socket.opening = false
    }
    if (n > 0) src.consume(n)
    done += n
    if (n < window.length) break
    control = undefined
  } while (src.remaining > 0)
  return done
}

/** TCP fast open without a cookie: the connection is being made, and has taken nothing. */
function mustWait(error: number, request: SendRequest): boolean {
  return error === -EINPROGRESS && (request.flags & MSG_DONTWAIT) === 0
}

/** A message's send: all of it or nothing. */
export function sendMessage(socket: HostSocket, request: SendRequest): number {
  const { src } = request
  const length = src.remaining
  if (length >= MAX_MESSAGE) return -EMSGSIZE
  const control = encodeControl(socket, request.control)
  if (typeof control === 'number') return control
  const bytes = wholeMessage(request, length)
  if (failed(bytes)) return bytes
  const flags = request.flags & SEND_FLAGS
  return socket.network.sockets.send(socket.fd, bytes, flags, request.address, control)
}

/** In a window where one holds it. */
export function wholeMessage({ src }: SendRequest, length: number): Uint8Array | number {
  if (length === 0) return NOTHING
  const window = src.window(length)
  if (typeof window === 'number' || window.length === length) return window
  const bytes = new Uint8Array(length)
  return src.take(bytes) < length ? -EFAULT : bytes
}

/** A stream's receive: what is there, 0 at its end. */
export function receiveStream(socket: HostSocket, request: ReceiveRequest): number {
  const { dst } = request
  const flags = request.flags & RECEIVE_FLAGS
  const { sockets } = socket.network
  let done = 0
  do {
    const window = dst.remaining === 0 ? NOTHING : dst.window(dst.remaining)
    const n = sockets.receive(socket.fd, window, flags, true)
    if (n < 0) return done > 0 ? done : n
    request.outFlags |= sockets.message.flags
    if (sockets.message.address.length > 0) request.address = sockets.message.address
    if (sockets.message.control.length > 0) decodeControl(sockets.message.control, request)
    if (n === 0) break
    const filled = Math.min(n, window.length)
    // MSG_TRUNC of a stream: read and thrown away.
    if ((flags & (MSG_TRUNC | MSG_ERRQUEUE)) === MSG_TRUNC) dst.skip(filled)
    else {
      const status = dst.commit(filled)
      if (status < 0) return done > 0 ? done : status
    }
    done += n
    if (n < window.length || request.control.length > 0) break
  } while (dst.remaining > 0 && (flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)) === 0)
  return done
}

/** A message's receive: with MSG_TRUNC its whole length, however much of it there was room for. */
export function receiveMessage(socket: HostSocket, request: ReceiveRequest): number {
  const { dst } = request
  const { sockets } = socket.network
  const room = Math.min(dst.remaining, MAX_MESSAGE)
  const window = room === 0 ? NOTHING : dst.window(room)
  // What doesn't fit into one window must not be cut off there.
  const bytes = window.length < room ? new Uint8Array(room) : window
  const n = sockets.receive(socket.fd, bytes, request.flags & RECEIVE_FLAGS, true)
  if (n < 0) return n
  const filled = Math.min(n, bytes.length)
  request.outFlags |= sockets.message.flags
  request.address = sockets.message.address
  if (sockets.message.control.length > 0) decodeControl(sockets.message.control, request)
  if (filled === 0) return n
  if (bytes === window) {
    const status = dst.commit(filled)
    return status < 0 ? status : n
  }
  return dst.put(bytes.subarray(0, filled)) < filled ? -EFAULT : n
}
