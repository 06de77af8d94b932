/**
 * RouteSocket: rtnetlink(7) by way of the host, read-only. Requests for what there is (RTM_GET*) go through, and so do the
 * host's answers and news of changes. A request to change something is answered here, as the host's kernel would answer
 * whoever lacks CAP_NET_ADMIN: with an error message, which waits in front of the host's answers.
 */
import {
  AF_NETLINK,
  MSG_PEEK,
  MSG_TRUNC,
  NLM_F_REQUEST,
  NLMSG_ERROR,
  NLMSG_MIN_TYPE,
  POLLIN,
  POLLRDNORM,
  SCM_CREDENTIALS,
  SO_PASSCRED,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { EINVAL, EMSGSIZE, EPERM } from '../../abi/errno.ts'
import { NLMSGERR, NLMSGHDR, SOCKADDR_NL, UCRED } from '../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { HostSocket } from '../host/host-socket.ts'
import { wholeMessage } from '../host/transfer.ts'
import type { ReceiveRequest, SendRequest } from '../socket.ts'

/** The longest request; they are short. */
const MAX_REQUEST = 65536
/** In the low bits of a rtnetlink message's type: RTM_NEW*, DEL, GET, SET. */
const KIND_MASK = 3
const KIND_GET = 2

export class RouteSocket extends HostSocket {
  /** Answers of ours, the oldest first. */
  readonly #answers: Uint8Array[] = []

  override poll(): number {
    return super.poll() | (this.#answers.length > 0 ? POLLIN | POLLRDNORM : 0)
  }

  /** Only the kernel may be spoken to. */
  override connect(task: Task, address: Uint8Array): Status {
    const status = checkPeer(address)
    return status < 0 ? status : super.connect(task, address)
  }

  override send(_task: Task, request: SendRequest): number {
    if (request.address !== undefined) {
      const status = checkPeer(request.address)
      if (status < 0) return status
    }
    const length = request.src.remaining
    if (length > MAX_REQUEST) return -EMSGSIZE
    const bytes = wholeMessage(request, length)
    if (failed(bytes)) return bytes
    const change = findChange(bytes)
    if (change !== undefined) return this.#refuse(change) || length
    return this.network.sockets.send(this.fd, bytes, 0, request.address, undefined)
  }

  /** NLMSG_ERROR with EPERM for `message`. */
  #refuse(message: Uint8Array): Status {
    const port = this.#port()
    if (port < 0) return port
    const answer = new Uint8Array(NLMSGHDR.size + NLMSGERR.msg + message.length)
    const view = new DataView(answer.buffer)
    view.setUint32(NLMSGHDR.nlmsg_len, answer.length, true)
    view.setUint16(NLMSGHDR.nlmsg_type, NLMSG_ERROR, true)
    answer.set(message.subarray(NLMSGHDR.nlmsg_seq, NLMSGHDR.nlmsg_seq + 4), NLMSGHDR.nlmsg_seq)
    view.setUint32(NLMSGHDR.nlmsg_pid, port, true)
    view.setInt32(NLMSGHDR.size + NLMSGERR.error, -EPERM, true)
    answer.set(message, NLMSGHDR.size + NLMSGERR.msg)
    this.#answers.push(answer)
    this.waitQueue.wake(POLLIN | POLLRDNORM)
    return 0
  }

  /** The socket's own address, which sending would have given it. */
  #port(): number {
    for (let tries = 0; tries < 2; tries++) {
      const name = this.name(false)
      if (failed(name)) return name
      const port = new DataView(name.buffer, name.byteOffset).getUint32(SOCKADDR_NL.nl_pid, true)
      if (port !== 0) return port
      const status = this.network.sockets.bind(this.fd, kernelAddress())
      if (status < 0) return status
    }
    return 0
  }

  override receive(task: Task, request: ReceiveRequest): number {
    const answer = this.#answers[0]
    const n = answer === undefined ? super.receive(task, request) : this.#give(answer, request)
    // All that comes is the kernel's.
    if (n >= 0 && this.options.passCred) {
      request.control.push({ level: SOL_SOCKET, type: SCM_CREDENTIALS, data: new Uint8Array(UCRED.size) })
    }
    return n
  }

  #give(answer: Uint8Array, request: ReceiveRequest): number {
    const { dst } = request
    const part = answer.subarray(0, dst.remaining)
    if ((request.flags & MSG_PEEK) === 0) this.#answers.shift()
    if (part.length < answer.length) request.outFlags |= MSG_TRUNC
    request.address = kernelAddress()
    if (part.length > 0) {
      const done = dst.put(part)
      if (done < 0) return done
    }
    return (request.flags & MSG_TRUNC) !== 0 ? answer.length : part.length
  }

  override getOption(
    task: Task,
    level: number,
    name: number,
    length: number,
  ): OrErrno<Uint8Array> | undefined {
    if (level === SOL_SOCKET && name === SO_PASSCRED) return undefined
    return super.getOption(task, level, name, length)
  }
  override setOption(task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    if (level === SOL_SOCKET && name === SO_PASSCRED) return undefined
    return super.setOption(task, level, name, value)
  }
}

function kernelAddress(): Uint8Array {
  const address = new Uint8Array(SOCKADDR_NL.size)
  address[SOCKADDR_NL.nl_family] = AF_NETLINK
  return address
}

/** Other sockets of the host's namespace are not for the guest. */
function checkPeer(address: Uint8Array): Status {
  if (address.length < SOCKADDR_NL.size) return -EINVAL
  const view = new DataView(address.buffer, address.byteOffset, address.length)
  // AF_UNSPEC, which takes a connection apart, names nobody.
  if (view.getUint16(SOCKADDR_NL.nl_family, true) !== AF_NETLINK) return 0
  const named = view.getUint32(SOCKADDR_NL.nl_pid, true) | view.getUint32(SOCKADDR_NL.nl_groups, true)
  return named === 0 ? 0 : -EPERM
}

/** The first of the requests in `bytes` that asks for a change, as netlink_rcv_skb would come to it. */
export function findChange(bytes: Uint8Array): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; bytes.length - at >= NLMSGHDR.size; ) {
    const length = view.getUint32(at + NLMSGHDR.nlmsg_len, true)
    if (length < NLMSGHDR.size || length > bytes.length - at) return undefined
    const type = view.getUint16(at + NLMSGHDR.nlmsg_type, true)
    const isRequest = (view.getUint16(at + NLMSGHDR.nlmsg_flags, true) & NLM_F_REQUEST) !== 0
    if (isRequest && type >= NLMSG_MIN_TYPE && (type & KIND_MASK) !== KIND_GET)
      return bytes.slice(at, at + length)
    at += Math.ceil(length / 4) * 4
  }
  return undefined
}
