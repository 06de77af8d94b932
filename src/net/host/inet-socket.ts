/** InetSocket: AF_INET and AF_INET6 by way of the host: tcp(7), udp(7), raw(7), ip(7), ipv6(7). */
import {
  AF_INET,
  CAP_NET_BIND_SERVICE,
  FIONREAD,
  IPPROTO_TCP,
  IPPROTO_UDP,
  MSG_DONTWAIT,
  POLLPRI,
  SIOCATMARK,
  SIOCOUTQ,
  SIOCOUTQNSD,
} from '../../abi/constants.ts'
import { EACCES, EAGAIN } from '../../abi/errno.ts'
import { SOCKADDR_IN } from '../../abi/layout.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import type { NetNamespace } from '../../kernel/namespaces.ts'
import { signalUrgent } from '../../kernel/sigio.ts'
import type { Task } from '../../kernel/task.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { RCV_SHUTDOWN, type ReceiveRequest, type Socket } from '../socket.ts'
import { HostSocket } from './host-socket.ts'

/** Those that fill an int: how much is queued, whether what comes next was sent as urgent. */
export const COUNT_REQUESTS: readonly number[] = [FIONREAD, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK]

/** SIN6_LEN_RFC2133: without a scope. */
const SOCKADDR_IN6_MIN = 24

export class InetSocket extends HostSocket {
  #listening = false
  /** The owner was told of the urgent data that is there. */
  #urgent = false

  override get listening(): boolean {
    return this.#listening
  }

  override bind(task: Task, address: Uint8Array): Status {
    const { net } = task.ns
    // The host holds the sentry to its own such limit.
    if (this.#serviceIn(net, address) && !task.cred.capable(CAP_NET_BIND_SERVICE, net.userNs)) return -EACCES
    return super.bind(task, address)
  }

  /** Whether the address names one of the ports that are kept for services: TCP's and UDP's. */
  #serviceIn(net: NetNamespace, address: Uint8Array): boolean {
    if (this.protocol !== IPPROTO_TCP && this.protocol !== IPPROTO_UDP) return false
    if (address.length < (this.family === AF_INET ? SOCKADDR_IN.size : SOCKADDR_IN6_MIN)) return false
    const port = (address[SOCKADDR_IN.sin_port] << 8) | address[SOCKADDR_IN.sin_port + 1]
    return port !== 0 && port < net.unprivilegedPortStart
  }

  override listen(_task: Task, backlog: number): Status {
    const status = this.network.sockets.listen(this.fd, backlog)
    if (status === 0) this.#listening = true
    return status
  }

  override accept(): OrErrno<Socket> {
    const fd = this.network.sockets.accept(this.fd)
    if (fd < 0) return fd
    const made = new InetSocket(this.network, fd, this.family, this.type, this.protocol)
    made.options.inherit(this.options)
    return made
  }

  override shutdown(mask: number): Status {
    // SHUT_RD, SHUT_WR, SHUT_RDWR are one less than the masks.
    const status = this.network.sockets.shutdown(this.fd, mask - 1)
    if (status === 0) this.shutdownMask |= mask
    return status
  }

  override owned(): void {
    // Whose queue is looked at is watched.
    void this.waitQueue
  }
  protected override ready(queue: WaitQueue, events: number): void {
    super.ready(queue, events)
    const urgent = (events & POLLPRI) !== 0
    if (urgent && !this.#urgent && this.file !== undefined) signalUrgent(this.file)
    this.#urgent = urgent
  }
  override receive(task: Task, request: ReceiveRequest): number {
    const n = super.receive(task, request)
    // Once it was read, the next byte is news again.
    if (this.#urgent) this.#urgent = (this.poll() & POLLPRI) !== 0
    if (n !== -EAGAIN || (request.flags & MSG_DONTWAIT) !== 0 || this.isStream) return n
    // Who would wait for datagrams on a socket that takes no more is told of the end.
    return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? 0 : n
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (!COUNT_REQUESTS.includes(request)) return super.ioctl(context, request, argument)
    const word = new Uint8Array(4)
    return this.network.sockets.ioctl(this.fd, request, word) || context.copyOut(argument, word)
  }
}
