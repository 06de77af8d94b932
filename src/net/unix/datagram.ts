/** Messages with borders: SOCK_DGRAM and SOCK_SEQPACKET of unix(7). */
import {
  AF_UNSPEC,
  MSG_DONTWAIT,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
} from '../../abi/constants.ts'
import {
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
} from '../../abi/errno.ts'
import { NSEC_PER_SEC } from '../../base/clock.ts'
import { failed, type Status } from '../../base/result.ts'
import type { WaitEntry, Waiter } from '../../base/wait-queue.ts'
import type { Task } from '../../kernel/task.ts'
import { RCV_SHUTDOWN, type ReceiveRequest, SEND_SHUTDOWN, type SendRequest } from '../socket.ts'
import { pushStamps, wantsStamps } from '../stamps.ts'
import { familyOf, parseUnixAddress, unixAddress } from './address.ts'
import { UnixMessage } from './message.ts'
import {
  type Attachment,
  copyFiles,
  credOf,
  describe,
  discard,
  land,
  launch,
  parseControl,
} from './rights.ts'
import { CLOSED, ESTABLISHED, UnixSocket } from './socket.ts'

const SEND_EVENTS = POLLOUT | POLLWRNORM | POLLWRBAND

export class UnixDatagram extends UnixSocket implements Waiter {
  /** Our place in the peer's room queue, while somebody polls us and the peer's inbox is full. */
  #relay: WaitEntry | undefined = undefined

  constructor(table: UnixSocket['table'], type = SOCK_DGRAM) {
    super(type, table)
  }
  protected override sibling(): UnixSocket {
    return new UnixDatagram(this.table, this.type)
  }
  /** Whether the inbox takes no more; -EAGAIN for those that it doesn't send back to. */
  get inboxFull(): boolean {
    return this.inbox.size > this.table.maxDatagrams
  }

  /** connect(2): a datagram socket gets a default peer, or none with AF_UNSPEC. */
  override connect(task: Task, address: Uint8Array): Status {
    if (this.type === SOCK_SEQPACKET) return this.connectStream(task, address)
    if (address.length < 2) return -EINVAL
    if (familyOf(address) === AF_UNSPEC) {
      this.#setPeer(undefined)
      return 0
    }
    if (this.options.passesSender && this.boundName === undefined) {
      const status = this.autobind()
      if (status < 0) return status
    }
    const peer = this.findPeer(task, address)
    if (failed(peer)) return peer
    if (!maySend(this, peer)) return -EPERM
    this.#setPeer(peer)
    return 0
  }

  #setPeer(peer: UnixSocket | undefined): void {
    const old = this.peer
    this.#unrelay()
    this.peer = peer
    this.state = peer === undefined ? CLOSED : ESTABLISHED
    if (old === undefined || old === peer) return
    // What the old peer sent is not for the new conversation; the old peer learns that we left.
    for (let message = this.inbox.shift(); message !== undefined; message = this.inbox.shift()) {
      discard(message)
      message.sender.uncharge(message.charge)
    }
    this.roomQueue.wakeAll()
    if (!old.dead && old.peer === this) {
      old.error = ECONNRESET
      old.waitQueue.wakeAll()
    }
  }

  protected override peerGone(): void {
    this.#unrelay()
    // A datagram peer that was tied to us learns of it when it sends.
    const peer = this.peer
    if (!this.connectionBased && peer !== undefined && peer.peer === this && !peer.dead)
      peer.waitQueue.wakeAll()
  }

  override poll(): number {
    const events = super.poll() & ~SEND_EVENTS
    return this.writable && !this.#peerFull() ? events | SEND_EVENTS : events
  }

  /** Whether the peer has no room; if so, its room queue will tell those who poll us. */
  #peerFull(): boolean {
    const peer = this.peer
    if (peer === undefined || peer.peer === this || peer.dead || !(peer as UnixDatagram).inboxFull)
      return false
    this.#relay ??= peer.roomQueue.add(this, 0)
    return true
  }
  /** Waiter: the peer's inbox has room again. */
  woken(): void {
    this.#unrelay()
    this.waitQueue.wake(SEND_EVENTS)
  }
  #unrelay(): void {
    if (this.#relay === undefined) return
    this.#relay.queue.remove(this.#relay)
    this.#relay = undefined
  }

  override send(task: Task, request: SendRequest): number {
    if ((request.flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    if (this.type === SOCK_SEQPACKET) {
      const error = this.takeError()
      if (error < 0) return error
      if (this.state !== ESTABLISHED) return -ENOTCONN
    }
    const attachment = parseControl(task, request.control)
    if (failed(attachment)) return attachment
    const address = this.type === SOCK_SEQPACKET ? undefined : request.address
    const name = address === undefined ? '' : parseUnixAddress(address)
    if (failed(name)) return name
    if (address === undefined && this.peer === undefined) return -ENOTCONN
    if (this.options.passesSender && this.boundName === undefined) {
      const status = this.autobind()
      if (status < 0) return status
    }
    const length = request.src.remaining
    if (length > this.options.sndbuf - 32) return -EMSGSIZE
    const error = this.takeError()
    if (error < 0) return error
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE
    if (this.wmem >= this.options.sndbuf) return -EAGAIN
    const target = address === undefined ? this.peer! : this.findPeer(task, address)
    if (failed(target)) return target
    return this.#deliver(task, target as UnixDatagram, request, attachment)
  }

  #deliver(task: Task, target: UnixDatagram, request: SendRequest, attachment: Attachment): number {
    if (!maySend(this, target)) return -EPERM
    if (target.dead) {
      if (this.type === SOCK_SEQPACKET) return -EPIPE
      if (this.peer === target) this.#setPeer(undefined)
      return -ECONNREFUSED
    }
    if ((target.shutdownMask & RCV_SHUTDOWN) !== 0) return -EPIPE
    // Two sockets tied to each other are only held back by the send buffer.
    if (target !== this && target.peer !== this && target.inboxFull) {
      request.waitOn = target.roomQueue
      return -EAGAIN
    }
    const bytes = this.table.buffers.take(request.src.remaining)
    if (bytes.length > 0) {
      const n = request.src.take(bytes)
      if (n < bytes.length) return -EFAULT
    }
    const wantsCred = this.options.passesSender || target.options.passesSender
    const cred = attachment.cred ?? (wantsCred ? credOf(task) : undefined)
    if (attachment.files !== undefined && target.refusesFiles) return -EPERM
    // The sender isn't told.
    if (target.filter?.passes(bytes) === false) return bytes.length
    const files = attachment.files === undefined ? undefined : launch(task, attachment.files)
    const message = new UnixMessage(this, bytes, cred, files)
    if (wantsStamps(target)) message.stamp = realtime(task)
    this.wmem += message.charge
    target.inbox.push(message)
    target.waitQueue.wake(POLLIN | POLLRDNORM)
    return bytes.length
  }

  override receive(task: Task, request: ReceiveRequest): number {
    if (this.type === SOCK_SEQPACKET && this.state !== ESTABLISHED) return -ENOTCONN
    if ((request.flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    const error = this.takeError()
    if (error < 0) return error
    const peek = (request.flags & MSG_PEEK) !== 0
    let skip = peek ? Math.max(this.options.peekOff, 0) : 0
    let index = 0
    while (skip > 0 && index < this.inbox.size && skip >= this.inbox.at(index)!.length) {
      skip -= this.inbox.at(index++)!.length
    }
    const message = this.inbox.at(index)
    if (message === undefined) return this.#nothing((request.flags & MSG_DONTWAIT) !== 0)
    const copied = copyOut(message, skip, request)
    // A message that can't be copied is gone all the same.
    if (!peek) this.inbox.shift()
    if (copied >= 0) {
      const sender = message.sender.boundName
      if (sender !== undefined) request.address = unixAddress(sender)
      if (wantsStamps(this)) pushStamps(this, message.stamp || realtime(task), request)
      const files = peek ? copyFiles(message) : land(message)
      describe(task, this.options, message.cred, files, request.control)
      if (this.options.peekOff >= 0)
        this.options.peekOff = peek ? this.options.peekOff + copied : movedBack(this, message)
    }
    if (!peek) {
      discard(message)
      this.table.buffers.give(message.bytes)
      message.sender.uncharge(message.charge)
      this.roomQueue.wakeAll(POLLOUT)
    }
    if (copied < 0) return copied
    return (request.flags & MSG_TRUNC) !== 0 ? message.length - skip : copied
  }

  /** An empty inbox: the end, where no more can come; a datagram socket says so only to those who would wait. */
  #nothing(dontWait: boolean): number {
    if ((this.shutdownMask & RCV_SHUTDOWN) === 0) return -EAGAIN
    return this.type === SOCK_DGRAM && dontWait ? -EAGAIN : 0
  }
}

function copyOut(message: UnixMessage, skip: number, request: ReceiveRequest): number {
  const length = message.length - skip
  if (length > request.dst.remaining) request.outFlags |= MSG_TRUNC
  if (length === 0 || request.dst.remaining === 0) return 0
  return request.dst.put(skip === 0 ? message.bytes : message.bytes.subarray(skip))
}

function movedBack(socket: UnixSocket, message: UnixMessage): number {
  return Math.max(socket.options.peekOff - message.length, 0)
}

/** A connected datagram socket hears only its peer. */
function maySend(from: UnixSocket, to: UnixSocket): boolean {
  return to.peer === undefined || to.peer === from
}

/** Wall-clock time in ns. */
function realtime(task: Task): number {
  const { sec, nsec } = task.kernel.clock.realtime()
  return sec * NSEC_PER_SEC + nsec
}
