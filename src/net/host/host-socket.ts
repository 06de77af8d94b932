/**
 * HostSocket: a guest's socket that is a socket of the host's network stack.
 *
 * Made with a descriptor that never blocks, by a family's `create` or by `accept`; owns it until `release`. The host's
 * kernel has all of the state: each call goes through, each poll asks. What waiting there is, is the guest's: a call that
 * the host answers with EAGAIN sleeps on `waitQueue`, which the host's epoll set wakes. A socket is put into that set when
 * somebody looks at its queue for the first time, since most that are short-lived are never waited for.
 *
 * Timeouts (SO_RCVTIMEO, SO_SNDTIMEO) and lingering are the guest's too: the host's close would hold up the sentry, so a
 * socket that lingers with a time is closed at once, and the host sends what is left in the background.
 */
import {
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDBAND,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import type { Task } from '../../kernel/task.ts'
import { type ReceiveRequest, type SendRequest, Socket } from '../socket.ts'
import type { HostNetwork } from './network.ts'
import { getHostOption, setHostOption } from './options.ts'
import { receiveMessage, receiveStream, sendMessage, sendStream } from './transfer.ts'

const ALL_EVENTS =
  POLLIN |
  POLLPRI |
  POLLOUT |
  POLLERR |
  POLLHUP |
  POLLRDNORM |
  POLLRDBAND |
  POLLWRNORM |
  POLLWRBAND |
  POLLRDHUP

export abstract class HostSocket extends Socket {
  readonly network: HostNetwork
  /** Of the sentry. */
  readonly fd: number
  /** A send is making the connection (MSG_FASTOPEN) and waits for it. */
  opening = false
  #watched = false
  /** The host is still to tell what held when the watch began. */
  #fresh = false

  constructor(network: HostNetwork, fd: number, family: number, type: number, protocol: number) {
    super(family, type, protocol)
    this.network = network
    this.fd = fd
    network.open.add(this)
  }

  override get isStream(): boolean {
    return this.type === SOCK_STREAM
  }

  override get toldByHost(): boolean {
    return true
  }

  override get waitQueue(): WaitQueue {
    const queue = super.waitQueue
    if (!this.#watched) {
      const ready = (events: number) => this.ready(queue, events)
      this.#fresh = this.#watched = this.network.host.watch(this.fd, ALL_EVENTS, ready) === 0
    }
    return queue
  }
  /** The host's socket has changed: `events` hold now, among them what is new. */
  protected ready(queue: WaitQueue, events: number): void {
    queue.wake(events)
  }

  override poll(): number {
    // For who polls from now on that is no change.
    if (this.#fresh) {
      this.#fresh = false
      this.network.platform.lookAtHost?.()
    }
    const events = this.network.host.poll(this.fd, ALL_EVENTS)
    return Math.max(events, 0) | (this.error === 0 ? 0 : POLLERR)
  }

  override bind(_task: Task, address: Uint8Array): Status {
    return this.network.sockets.bind(this.fd, address)
  }
  override connect(_task: Task, address: Uint8Array): Status {
    return this.network.sockets.connect(this.fd, address)
  }
  override name(peer: boolean): OrErrno<Uint8Array> {
    return this.network.sockets.name(this.fd, peer)
  }

  override send(_task: Task, request: SendRequest): number {
    const error = this.takeError()
    if (error < 0) return error
    return this.isStream ? sendStream(this, request) : sendMessage(this, request)
  }
  override receive(_task: Task, request: ReceiveRequest): number {
    const error = this.takeError()
    if (error < 0) return error
    return this.isStream ? receiveStream(this, request) : receiveMessage(this, request)
  }

  override getOption(
    _task: Task,
    level: number,
    name: number,
    length: number,
  ): OrErrno<Uint8Array> | undefined {
    return getHostOption(this, level, name, length)
  }
  override setOption(_task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    return setHostOption(this, level, name, value)
  }

  override release(): void {
    this.network.open.delete(this)
    if (this.#watched) this.network.host.unwatch(this.fd)
    this.network.sockets.close(this.fd)
  }
}
