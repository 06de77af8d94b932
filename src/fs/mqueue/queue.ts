/**
 * POSIX message queues (mq_overview(7)): files of the mqueue file system. Messages wait by priority, then age; senders
 * wait for room and receivers for messages on the queue's one wait queue. One process at a time may ask to be told of the
 * first message that comes to the empty queue (mq_notify(3)).
 */
import {
  O_ACCMODE,
  O_RDONLY,
  O_WRONLY,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
  S_IFREG,
  SI_MESGQ,
  SIGEV_NONE,
  SIGEV_SIGNAL,
  SIGEV_THREAD,
} from '../../abi/constants.ts'
import { EBADF } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { fromKernelId } from '../../base/id-map.ts'
import type { IoDst } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { sendToGroup } from '../../kernel/signal.ts'
import { SigInfo } from '../../kernel/signal-info.ts'
import type { Task } from '../../kernel/task.ts'
import type { ThreadGroup } from '../../kernel/thread-group.ts'
import type { UserAccount } from '../../kernel/user-account.ts'
import { File } from '../../vfs/file.ts'
import { type AttrChange, Inode } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import type { MqueueSuper } from './super.ts'

export interface QueuedMessage {
  readonly priority: number
  readonly bytes: Uint8Array
}

/** Who is told of the next message, and how. */
export interface Notification {
  readonly group: ThreadGroup
  /** SIGEV_SIGNAL, SIGEV_NONE or SIGEV_THREAD. */
  readonly kind: number
  readonly signo: number
  readonly valueLo: number
  readonly valueHi: number
  /** SIGEV_THREAD: to whom it is told. */
  readonly notice: QueueNotice | undefined
}

/** One of the two happens, once. */
export interface QueueNotice {
  messageCame(): void
  removed(): void
}

/** Memory of a queue as Linux counts it: for each message, msg_msg and a node of the tree of priorities. */
const MESSAGE_OVERHEAD = 48
const PRIORITY_OVERHEAD = 48
const MAX_PRIORITIES = 32768

export function queueMemory(maxMessages: number, messageSize: number): number {
  const tree = maxMessages * MESSAGE_OVERHEAD + Math.min(maxMessages, MAX_PRIORITIES) * PRIORITY_OVERHEAD
  return tree + maxMessages * messageSize
}

export class MqueueInode extends Inode {
  readonly maxMessages: number
  readonly messageSize: number
  readonly waitQueue = new WaitQueue()
  /** Highest priority first, oldest first among equals. */
  readonly messages: QueuedMessage[] = []
  /** Receivers that sleep: they, not the notification, get the next message. */
  receivers = 0
  notification: Notification | undefined = undefined
  readonly #home: MqueueSuper
  readonly #account: UserAccount
  readonly #memory: number

  /** The caller has checked the limits. */
  constructor(
    sb: MqueueSuper,
    mode: number,
    cred: Credentials,
    maxMessages: number,
    messageSize: number,
    account: UserAccount,
  ) {
    super(sb, sb.newIno(), S_IFREG | mode, cred.fsuid, cred.fsgid)
    this.#home = sb
    this.maxMessages = maxMessages
    this.messageSize = messageSize
    this.size = 80
    this.#account = account
    this.#memory = queueMemory(maxMessages, messageSize)
    account.messageQueueBytes += this.#memory
    for (const time of [this.atime, this.mtime, this.ctime, this.btime]) time.set(sb.now())
  }

  get full(): boolean {
    return this.messages.length >= this.maxMessages
  }
  get bytes(): number {
    return this.messages.reduce((sum, message) => sum + message.bytes.length, 0)
  }

  /** There is room. `sender`: who the notification tells of. */
  put(message: QueuedMessage, sender: Task): void {
    let at = this.messages.length
    while (at > 0 && this.messages[at - 1].priority < message.priority) at--
    this.messages.splice(at, 0, message)
    this.touch()
    this.waitQueue.wakeAll(POLLIN | POLLRDNORM)
    if (this.messages.length === 1 && this.receivers === 0) this.#notify(sender)
  }

  take(): QueuedMessage | undefined {
    const message = this.messages.shift()
    if (message === undefined) return undefined
    this.touch()
    this.waitQueue.wakeAll(POLLOUT | POLLWRNORM)
    return message
  }

  /** Once: whoever wants to be told of more asks again. */
  #notify(sender: Task): void {
    const wanted = this.notification
    if (wanted === undefined) return
    this.notification = undefined
    wanted.notice?.messageCame()
    if (wanted.kind !== SIGEV_SIGNAL || wanted.group.dead) return
    const info = new SigInfo(wanted.signo, SI_MESGQ)
    const receiver = wanted.group.leader
    info.pid = sender.group.pid.in(receiver.pidNs)
    info.uid = fromKernelId(receiver.cred.userNs.uidMap, sender.cred.uid)
    info.valueLo = wanted.valueLo
    info.valueHi = wanted.valueHi
    sendToGroup(wanted.group, info)
  }

  /** The process does not want to be told any more. */
  forget(group: ThreadGroup): void {
    const wanted = this.notification
    if (wanted?.group !== group) return
    this.notification = undefined
    wanted.notice?.removed()
  }

  touch(): void {
    const now = this.#home.now()
    for (const time of [this.atime, this.mtime, this.ctime]) time.set(now)
  }

  override setattr(change: AttrChange): Status {
    if (change.mode !== undefined) this.mode = this.type | (change.mode & 0o7777)
    if (change.uid !== undefined) this.uid = change.uid
    if (change.gid !== undefined) this.gid = change.gid
    if (change.atime !== undefined) this.atime.set(change.atime)
    if (change.mtime !== undefined) this.mtime.set(change.mtime)
    this.ctime.set(change.ctime ?? this.#home.now())
    return 0
  }

  override open(path: Path, flags: number, cred: Credentials): File {
    return new MqueueFile(this.#home.kernel, this, path, flags, cred)
  }

  /** Nothing holds it: without a name it ends. */
  override release(): void {
    if (this.nlink > 0) return
    this.messages.length = 0
    this.#account.messageQueueBytes -= this.#memory
    this.nlink = Number.POSITIVE_INFINITY
  }
}

/** A message queue descriptor. */
export class MqueueFile extends File {
  readonly queue: MqueueInode
  readonly #kernel: Kernel

  constructor(kernel: Kernel, queue: MqueueInode, path: Path, flags: number, cred: Credentials) {
    super(path, flags, cred)
    this.queue = queue
    this.#kernel = kernel
  }

  override get seekable(): boolean {
    return true
  }
  override get waitQueue(): WaitQueue {
    return this.queue.waitQueue
  }
  override poll(): number {
    const ready = this.queue.messages.length > 0 ? POLLIN | POLLRDNORM : 0
    return this.queue.full ? ready : ready | POLLOUT | POLLWRNORM
  }

  /** What the queue holds and who is to be told, as text. */
  override readAt(into: IoDst, offset: number): number {
    const wanted = this.queue.notification
    const kind = wanted?.kind ?? 0
    const signo = wanted !== undefined && wanted.kind === SIGEV_SIGNAL ? wanted.signo : 0
    const reader = this.#kernel.current
    const pid = wanted === undefined || reader === undefined ? 0 : wanted.group.pid.in(reader.pidNs)
    const text =
      `QSIZE:${`${this.queue.bytes}`.padEnd(10)} NOTIFY:${`${kind}`.padEnd(5)} ` +
      `SIGNO:${`${signo}`.padEnd(5)} NOTIFY_PID:${`${pid}`.padEnd(6)}\n`
    const bytes = Uint8Array.from(text, each => each.charCodeAt(0)).subarray(offset)
    return bytes.length === 0 ? 0 : into.put(bytes.subarray(0, into.remaining))
  }
  override writeAt(): number {
    return -EBADF
  }

  /** A process that closes a descriptor of the queue is no longer told. */
  override flush(): Status {
    const closing = this.#kernel.current?.group
    if (closing !== undefined) this.queue.forget(closing)
    return 0
  }

  get sends(): boolean {
    return (this.flags & O_ACCMODE) !== O_RDONLY
  }
  get receives(): boolean {
    return (this.flags & O_ACCMODE) !== O_WRONLY
  }
}

export function isKnownNotification(kind: number): boolean {
  return kind === SIGEV_NONE || kind === SIGEV_SIGNAL || kind === SIGEV_THREAD
}
