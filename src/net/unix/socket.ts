/**
 * UnixSocket: what unix sockets of all types share (unix_sock): names, connections, shutdown, polling; unix(7).
 *
 * A socket starts CLOSED. `bind` names it: by an inode of type socket, whose `special` field points back here, or in
 * the table of abstract names. A connection-based one becomes LISTEN by `listen`, or ESTABLISHED by `connect`, which makes
 * the other end at once and puts it into the listener's backlog: accept(2) only takes it from there. Datagram sockets
 * only remember a default peer.
 *
 * `peer` outlives the peer's release (`dead`): getpeername still names it, and sending says EPIPE or ECONNREFUSED.
 * Data is in the receiver's inbox and charged to the sender (`wmem`) until read.
 */
import {
  AF_UNIX,
  FIONREAD,
  LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
  S_IFMT,
  S_IFSOCK,
  SIOCOUTQ,
  SO_PASSRIGHTS,
  SOCK_DGRAM,
  SOL_SOCKET,
  SOMAXCONN,
} from '../../abi/constants.ts'
import {
  EADDRINUSE,
  EAGAIN,
  ECONNREFUSED,
  ECONNRESET,
  EEXIST,
  EINVAL,
  EISCONN,
  ENOTCONN,
  EOPNOTSUPP,
  EPERM,
  EPROTOTYPE,
} from '../../abi/errno.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { domainOf } from '../../kernel/landlock/domain.ts'
import type { Pid } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { LOOKUP_FOLLOW, lookup } from '../../vfs/namei.ts'
import { createNode, unlink } from '../../vfs/operations.ts'
import { dropPath, holdPath, type Path } from '../../vfs/path.ts'
import { MAY_WRITE, permissionAt } from '../../vfs/permission.ts'
import { intBytes } from '../inet/option-bytes.ts'
import { BOTH_SHUTDOWN, RCV_SHUTDOWN, SEND_SHUTDOWN, Socket } from '../socket.ts'
import { isAbstract, parseUnixAddress, unixAddress } from './address.ts'
import { Inbox, type UnixMessage } from './message.ts'
import { getUnixOption, inheritUnixOptions, setUnixOption } from './options.ts'
import { collectGarbage, discard } from './rights.ts'
import type { UnixTable } from './table.ts'

export const CLOSED = 7
export const LISTEN = 10
export const ESTABLISHED = 1

/** SO_PEERCRED: who made the other end, as it was then. */
export interface PeerCred {
  readonly pid: Pid
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
}

export function peerCredOf(task: Task): PeerCred {
  const { euid, egid, groups } = task.cred
  return { pid: task.group.pid, uid: euid, gid: egid, groups }
}

export abstract class UnixSocket extends Socket {
  readonly table: UnixTable
  /** CLOSED, LISTEN or ESTABLISHED, with TCP's numbers, as /proc/net/unix shows them. */
  state: number = CLOSED
  /** Its name; undefined if unbound. An accepted socket has its listener's. */
  boundName: string | undefined = undefined
  /** The socket's node in the file system, held. */
  #node: Path | undefined = undefined
  peer: UnixSocket | undefined = undefined
  /** Released: nobody will read from it any more. */
  dead = false
  readonly inbox = new Inbox<UnixMessage>()
  /** What its unread messages cost (sk_wmem_alloc). */
  wmem = 0
  peerCred: PeerCred | undefined = undefined
  /** Of the listener: what a connecting peer will see. */
  #listenCred: PeerCred | undefined = undefined
  /** Connections that nobody has accepted yet. */
  readonly #backlog = new Inbox<UnixSocket>()
  #maxBacklog = 0
  /** Those who wait for room in the inbox or the backlog. */
  readonly roomQueue = new WaitQueue()
  /** References to its File held by messages. */
  inFlight = 0
  /** SO_INQ: a read is told how much is left. */
  tellsRest = false

  constructor(type: number, table: UnixTable) {
    super(AF_UNIX, type, 0)
    this.table = table
    table.sockets.add(this)
  }

  /** SO_PASSRIGHTS off: messages with Files can't be sent to it. */
  get refusesFiles(): boolean {
    return this.options.values.get(SO_PASSRIGHTS) === 0
  }

  /** Another socket of this type: the far end of a connection. */
  protected abstract sibling(): UnixSocket

  get connectionBased(): boolean {
    return this.type !== SOCK_DGRAM
  }
  override get listening(): boolean {
    return this.state === LISTEN
  }
  /** Whether poll says that there is room to send: a quarter of the buffer is the mark, as in Linux. */
  get writable(): boolean {
    return this.state !== LISTEN && this.wmem * 4 <= this.options.sndbuf
  }

  override poll(): number {
    let events = 0
    if (this.error !== 0) events |= POLLERR
    if (this.shutdownMask === BOTH_SHUTDOWN) events |= POLLHUP
    if ((this.shutdownMask & RCV_SHUTDOWN) !== 0) events |= POLLRDHUP | POLLIN | POLLRDNORM
    if (this.inbox.size > 0 || this.#backlog.size > 0) events |= POLLIN | POLLRDNORM
    if (this.connectionBased && this.state === CLOSED) events |= POLLHUP
    if (this.writable) events |= POLLOUT | POLLWRNORM | POLLWRBAND
    return events
  }

  // Names.

  override bind(task: Task, address: Uint8Array): Status {
    const name = parseUnixAddress(address)
    if (failed(name)) return name
    if (name === '') return this.autobind()
    if (!isAbstract(name)) return this.#bindPath(task, name)
    if (this.boundName !== undefined) return -EINVAL
    const status = this.table.claim(name, this)
    if (status === 0) this.boundName = name
    return status
  }

  /** Gives an unbound socket an abstract name of its own. */
  autobind(): Status {
    if (this.boundName !== undefined) return 0
    const name = this.table.autobind(this)
    if (failed(name)) return name
    this.boundName = name
    return 0
  }

  #bindPath(task: Task, name: string): Status {
    const node = createNode(task.walk, undefined, name, S_IFSOCK | 0o777, 0)
    if (failed(node)) return node === -EEXIST ? -EADDRINUSE : node
    if (this.boundName !== undefined) {
      unlink(task.walk, undefined, name)
      return -EINVAL
    }
    this.#node = holdPath(node)
    node.dentry.inode!.special = this
    this.boundName = name
    return 0
  }

  override name(ofPeer: boolean): OrErrno<Uint8Array> {
    if (!ofPeer) return unixAddress(this.boundName)
    if (this.peer === undefined) return -ENOTCONN
    return unixAddress(this.peer.boundName)
  }

  /** The socket that an address names, for `connect` and `sendto`. */
  protected findPeer(task: Task, address: Uint8Array): OrErrno<UnixSocket> {
    const name = parseUnixAddress(address)
    if (failed(name)) return name
    if (name === '') return -EINVAL
    if (isAbstract(name)) {
      const found = this.table.find(name, this.type)
      if (found === undefined) return -ECONNREFUSED
      const domain = domainOf(task.cred)
      if (domain === undefined || found.file === undefined) return found
      const scoped = domain.isScopedFrom(domainOf(found.file.cred), LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
      return scoped ? -EPERM : found
    }
    const path = lookup(task.walk, undefined, name, LOOKUP_FOLLOW)
    if (failed(path)) return path
    const inode = path.dentry.inode!
    const status = permissionAt(task.cred, path, MAY_WRITE)
    if (status < 0) return status
    if ((inode.mode & S_IFMT) !== S_IFSOCK) return -ECONNREFUSED
    const socket = inode.special
    if (!(socket instanceof UnixSocket)) return -ECONNREFUSED
    return socket.type === this.type ? socket : -EPROTOTYPE
  }

  // Connections (streams and sequenced packets).

  override listen(task: Task, backlog: number): Status {
    if (!this.connectionBased) return -EOPNOTSUPP
    if (this.boundName === undefined) return -EINVAL
    if (this.state !== CLOSED && this.state !== LISTEN) return -EINVAL
    const limit = backlog >>> 0 > SOMAXCONN ? SOMAXCONN : backlog
    const grew = limit > this.#maxBacklog
    this.#maxBacklog = limit
    this.state = LISTEN
    this.#listenCred = peerCredOf(task)
    if (grew) this.roomQueue.wakeAll()
    return 0
  }

  /** connect(2) of a connection-based socket: complete at once, or -EAGAIN while the listener's backlog is full. */
  protected connectStream(task: Task, address: Uint8Array): Status {
    if (this.options.passesSender && this.boundName === undefined) {
      const status = this.autobind()
      if (status < 0) return status
    }
    const listener = this.findPeer(task, address)
    if (failed(listener)) return listener
    if (listener.state !== LISTEN || listener.dead) return -ECONNREFUSED
    if ((listener.shutdownMask & RCV_SHUTDOWN) !== 0) return -ECONNREFUSED
    if (listener.#backlog.size > listener.#maxBacklog) {
      this.#connecting = listener
      return -EAGAIN
    }
    if (this.state === ESTABLISHED) return -EISCONN
    if (this.state !== CLOSED) return -EINVAL
    const far = listener.sibling()
    far.boundName = listener.boundName
    far.peerCred = peerCredOf(task)
    this.peerCred = listener.#listenCred
    tie(this, far)
    listener.#backlog.push(far)
    listener.waitQueue.wake(POLLIN | POLLRDNORM)
    return 0
  }
  #connecting: UnixSocket | undefined = undefined
  override get connectWait(): WaitQueue {
    return this.#connecting?.roomQueue ?? this.waitQueue
  }

  override accept(): OrErrno<Socket> {
    if (!this.connectionBased) return -EOPNOTSUPP
    if (this.state !== LISTEN) return -EINVAL
    const socket = this.#backlog.shift()
    if (socket === undefined) return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? -EINVAL : -EAGAIN
    this.roomQueue.wake(POLLOUT)
    inheritUnixOptions(socket.options, this.options)
    return socket
  }

  /** socketpair(2). */
  pairWith(other: UnixSocket, task: Task): void {
    this.peerCred = other.peerCred = peerCredOf(task)
    tie(this, other)
  }

  override shutdown(mask: number): Status {
    this.shutdownMask |= mask
    const peer = this.peer
    if (peer !== undefined && this.connectionBased) {
      if ((mask & RCV_SHUTDOWN) !== 0) peer.shutdownMask |= SEND_SHUTDOWN
      if ((mask & SEND_SHUTDOWN) !== 0) peer.shutdownMask |= RCV_SHUTDOWN
      peer.waitQueue.wakeAll()
    }
    this.waitQueue.wakeAll()
    return 0
  }

  override release(): void {
    if (this.dead) return
    this.dead = true
    this.table.sockets.delete(this)
    this.#forgetName()
    this.shutdownMask = BOTH_SHUTDOWN
    const wasListening = this.state === LISTEN
    const unread = this.inbox.size > 0
    this.state = CLOSED
    const peer = this.peer
    if (peer !== undefined && this.connectionBased && !peer.dead) {
      peer.shutdownMask = BOTH_SHUTDOWN
      if (unread || this.#neverAccepted) peer.error = ECONNRESET
      peer.waitQueue.wakeAll()
    }
    this.peerGone()
    this.roomQueue.wakeAll()
    for (let message = this.inbox.shift(); message !== undefined; message = this.inbox.shift()) {
      discard(message)
      message.sender.uncharge(message.charge)
    }
    if (wasListening) {
      for (let far = this.#backlog.shift(); far !== undefined; far = this.#backlog.shift()) {
        far.#neverAccepted = true
        far.release()
      }
    }
    collectGarbage(this)
  }
  #neverAccepted = false
  /** Released: forget what ties it to a peer. */
  protected peerGone(): void {}

  #forgetName(): void {
    const node = this.#node
    if (node !== undefined) {
      const inode = node.dentry.inode
      if (inode?.special === this) inode.special = undefined
      this.#node = undefined
      dropPath(node)
    } else if (this.boundName !== undefined) this.table.forget(this.boundName, this)
  }

  /** The inboxes that live by this socket: its own, and those of connections in its backlog. */
  *inboxes(): Generator<Inbox<UnixMessage>> {
    yield this.inbox
    for (const far of this.#backlog) yield far.inbox
  }

  /** A message of ours was read or thrown away. */
  uncharge(charge: number): void {
    this.wmem -= charge
    if (this.writable) this.waitQueue.wake(POLLOUT | POLLWRNORM | POLLWRBAND)
  }

  // Options and ioctls.

  override getOption(
    task: Task,
    level: number,
    name: number,
    length: number,
  ): OrErrno<Uint8Array> | undefined {
    return level === SOL_SOCKET ? getUnixOption(this, task, name, length) : undefined
  }
  override setOption(_task: Task, level: number, name: number, value: Uint8Array): Status | undefined {
    return level === SOL_SOCKET ? setUnixOption(this, name, value) : undefined
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    let value: number
    if (request === SIOCOUTQ) value = this.wmem
    else if (request === FIONREAD) {
      if (this.state === LISTEN) return -EINVAL
      value = this.readableBytes
    } else return super.ioctl(context, request, argument)
    return context.copyOut(argument, intBytes(value))
  }

  /** Of a listener: how many wait to be accepted, and how many may. */
  get accepting(): { readonly waiting: number; readonly limit: number } {
    return { waiting: this.#backlog.size, limit: this.#maxBacklog }
  }

  /** SIOCINQ: all bytes of a connection, the next datagram's otherwise. */
  get readableBytes(): number {
    if (!this.connectionBased) return this.inbox.first?.length ?? 0
    let total = 0
    for (const message of this.inbox) total += message.length
    return total
  }
}

/** Makes the two ends of a connection. */
function tie(a: UnixSocket, b: UnixSocket): void {
  a.peer = b
  b.peer = a
  a.state = b.state = ESTABLISHED
}
