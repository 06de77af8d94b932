/**
 * poll(2) on a FUSE file: the server says what holds, and promises to tell when that may have changed (FUSE_NOTIFY_POLL).
 *
 * A call that can wait for the answer asks each time (`now`). Who can't, as epoll that looks what woke it, gets what was last said
 * (`known`); if that is too old the server is asked, and `queue` woken by the answer.
 */
import {
  FUSE_POLL,
  FUSE_POLL_SCHEDULE_NOTIFY,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRNORM,
} from '../../abi/constants.ts'
import { ENOSYS } from '../../abi/errno.ts'
import { FUSE_POLL_IN, FUSE_POLL_OUT } from '../../abi/layout.ts'
import { failed, PENDING } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { FuseFile } from './file.ts'
import type { AnswerShape, Completion, FuseRequest } from './request.ts'
import { Message } from './wire.ts'

/** DEFAULT_POLLMASK: of a server that has no POLL. */
const ALWAYS = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
const ALL = ALWAYS | POLLPRI | POLLERR | POLLHUP | POLLRDHUP
const ANSWER: AnswerShape = { min: FUSE_POLL_OUT.size, max: FUSE_POLL_OUT.size }
/** What poll(2) knows of; epoll has flags of its own beyond. */
const EVENTS = 0xffff
/** How long `known` goes by what it has heard, in ns. */
const BELIEVED = 10e6

export class FusePoll implements Completion {
  /** Woken by the server. */
  readonly queue = new WaitQueue()
  readonly #file: FuseFile
  /** By what number the server tells of it: fuse_file.kh; 0 while it was not asked to. */
  #number = 0
  /** Counts what makes older answers out of date. */
  #changes = 0
  #events = 0
  #heardAt = Number.NEGATIVE_INFINITY
  #asking = false

  constructor(file: FuseFile) {
    this.#file = file
  }

  /** What holds of `wanted`, or PENDING. */
  now(wanted: number, waits: boolean): number {
    const { connection, node } = this.#file.node
    if (connection.missing.has(FUSE_POLL)) return ALWAYS
    const key = `${wanted} ${this.#changes}`
    const answer = connection.call(FUSE_POLL, node, key, ANSWER, () => this.#question(wanted, waits))
    return answer === PENDING ? PENDING : this.#eventsOf(answer)
  }

  known(): number {
    const { connection, node } = this.#file.node
    if (connection.missing.has(FUSE_POLL)) return ALWAYS
    if (!connection.connected) return POLLERR
    if (connection.kernel.now() - this.#heardAt < BELIEVED) return this.#events
    if (!this.#asking)
      this.#asking = connection.start(FUSE_POLL, node, ANSWER, this.#question(ALL, true), this, true)
    return 0
  }

  /** The answer to what `known` has asked. */
  completed(request: FuseRequest): void {
    this.#asking = false
    this.#events = this.#eventsOf(request.error < 0 ? request.error : request)
    this.#heardAt = this.#file.node.connection.kernel.now()
    if (this.#events !== 0) this.queue.wake(this.#events)
  }

  /** FUSE_NOTIFY_POLL; or the file was read or written. */
  changed(): void {
    this.#changes++
    this.#heardAt = Number.NEGATIVE_INFINITY
  }

  release(): void {
    this.#file.node.connection.polled.delete(this.#number)
  }

  #question(wanted: number, notify: boolean): Message {
    const { connection } = this.#file.node
    if (notify && this.#number === 0) {
      this.#number = connection.newPollNumber()
      connection.polled.set(this.#number, this)
    }
    return new Message(FUSE_POLL_IN.size)
      .u64(FUSE_POLL_IN.fh, this.#file.handle.fh)
      .number(FUSE_POLL_IN.kh, this.#number)
      .u32(FUSE_POLL_IN.flags, notify ? FUSE_POLL_SCHEDULE_NOTIFY : 0)
      .u32(FUSE_POLL_IN.events, wanted & EVENTS)
  }

  #eventsOf(answer: FuseRequest | number): number {
    if (answer === -ENOSYS) {
      this.#file.node.connection.missing.add(FUSE_POLL)
      return ALWAYS
    }
    if (failed(answer)) return POLLERR
    return (answer as FuseRequest).reply.getUint32(FUSE_POLL_OUT.revents, true) & EVENTS
  }
}
