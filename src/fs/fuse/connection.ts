/**
 * FuseConnection: the line between a mount and its server.
 *
 *   mount(2)      makes it over an open /dev/fuse, and puts INIT first into the queue
 *   INIT's answer says what both sides can do; until then nobody else is served
 *   call          an operation's request goes into `#waiting`; the server reads it (`take`), and it is in `#sent` until
 *                 the server has written the answer (`answer`)
 *   abort         the file system is unmounted, or the last descriptor of the device closed: what waits ends with an
 *                 error, and so does everything from then on
 *
 * Requests that nobody waits for (FORGET, RELEASE at the end of a File) go the same way without a log.
 */
import {
  FUSE_ASYNC_READ,
  FUSE_ATOMIC_O_TRUNC,
  FUSE_AUTO_INVAL_DATA,
  FUSE_BATCH_FORGET,
  FUSE_BIG_WRITES,
  FUSE_CACHE_SYMLINKS,
  FUSE_DO_READDIRPLUS,
  FUSE_DONT_MASK,
  FUSE_EXPLICIT_INVAL_DATA,
  FUSE_FLOCK_LOCKS,
  FUSE_FLUSH,
  FUSE_FORGET,
  FUSE_HAS_IOCTL_DIR,
  FUSE_INIT,
  FUSE_INTERRUPT,
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FUSE_MAX_PAGES,
  FUSE_NO_OPEN_SUPPORT,
  FUSE_NO_OPENDIR_SUPPORT,
  FUSE_NOTIFY_REPLY,
  FUSE_PARALLEL_DIROPS,
  FUSE_POSIX_ACL,
  FUSE_POSIX_LOCKS,
  FUSE_READDIRPLUS_AUTO,
  FUSE_SETXATTR_EXT,
} from '../../abi/constants.ts'
import { ECONNABORTED, EIO, ENOTCONN } from '../../abi/errno.ts'
import {
  FUSE_BATCH_FORGET_IN,
  FUSE_FORGET_IN,
  FUSE_FORGET_ONE,
  FUSE_INIT_IN,
  FUSE_INIT_OUT,
  FUSE_INTERRUPT_IN,
} from '../../abi/layout.ts'
import type { UserNamespace } from '../../base/credentials.ts'
import { fromKernelId } from '../../base/id-map.ts'
import { type OrErrno, PENDING } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { PidNamespace } from '../../kernel/pid.ts'
import { RequestLog } from '../../kernel/request-log.ts'
import type { Task } from '../../kernel/task.ts'
import type { FuseDevice } from './device.ts'
import type { FuseInode } from './inode.ts'
import { MAX_CACHED, type PageCache } from './page-cache.ts'
import type { FusePoll } from './poll.ts'
import { type AnswerShape, type Completion, FuseRequest, type Held, handleKey, NO_ANSWER } from './request.ts'
import type { FuseSuper } from './super.ts'
import { Message, toNumber, type U64, ZERO } from './wire.ts'

const PAGE_SIZE = 4096
/** Pages of one READ or WRITE: what all servers get, and what those that ask get at most. */
const DEFAULT_PAGES = 32
const MAX_PAGES = 256
const READAHEAD = 128 * 1024
/** The oldest protocol that is spoken: structs have had their size since then. */
const MIN_MINOR = 12
const OLD_INIT_SIZE = 24
/** A FORGET goes before the next request when so many wait. */
const MANY_FORGETS = 16
const MAX_BATCH = 256
/** Answers to the server that wait to be read, each of up to MAX_PAGES. */
const MAX_REPLIES = 64

const OFFERED =
  FUSE_ASYNC_READ |
  FUSE_ATOMIC_O_TRUNC |
  FUSE_AUTO_INVAL_DATA |
  FUSE_EXPLICIT_INVAL_DATA |
  FUSE_BIG_WRITES |
  FUSE_DO_READDIRPLUS |
  FUSE_READDIRPLUS_AUTO |
  FUSE_DONT_MASK |
  FUSE_HAS_IOCTL_DIR |
  FUSE_PARALLEL_DIROPS |
  FUSE_POSIX_LOCKS |
  FUSE_FLOCK_LOCKS |
  FUSE_MAX_PAGES |
  FUSE_NO_OPEN_SUPPORT |
  FUSE_NO_OPENDIR_SUPPORT |
  FUSE_CACHE_SYMLINKS |
  FUSE_POSIX_ACL |
  FUSE_SETXATTR_EXT

interface Forget {
  readonly node: U64
  readonly count: number
}

export class FuseConnection {
  readonly kernel: Kernel
  /** Whose ids the messages carry. */
  readonly userNs: UserNamespace
  readonly pidNs: PidNamespace
  connected = true
  /** While it is mounted. */
  sb: FuseSuper | undefined = undefined
  /** Open descriptions of /dev/fuse that serve it. */
  readonly devices = new Set<FuseDevice>()
  /** The server waits here for requests. */
  readonly queue = new WaitQueue()
  /** Every node that the server has told of and that is in use, by its id. */
  readonly nodes = new Map<number, FuseInode>()
  /** Operations that the server has said it does not have (ENOSYS): what they do then is theirs to know. */
  readonly missing = new Set<number>()

  /** Files whose server has promised to tell of changes, by the number that it was told. */
  readonly polled = new Map<number, FusePoll>()
  #lastPolled = 0

  /** Counts changes of attributes that the kernel made itself: fuse_conn.attr_version. */
  attrVersion = 0

  maxWrite = PAGE_SIZE
  maxPages = DEFAULT_PAGES
  maxRead: number
  /** Whether directories are read with what LOOKUP says of each entry: always, or where that seems to be wanted. */
  readdirPlus = false
  readdirPlusAuto = false
  /** Whether OPEN does what O_TRUNC asks for. */
  opensTruncate = false
  noOpen = false
  noOpendir = false
  /** Whether data is out of date when the server shows another time of change; when it shows another size. */
  autoInvalidates = false
  sizeInvalidates = true
  /** Whether the server keeps locks. */
  keepsRanges = false
  keepsFlocks = false
  /** Whether what a symbolic link leads to is kept until the server says otherwise. */
  cachesSymlinks = false
  /** Whether access control lists are obeyed here: else they are bytes that the server obeys, or not. */
  obeysAcls = false
  /** Whether SETXATTR has flags of its own. */
  setxattrFlags = false
  readonly #owners = new WeakMap<object, number>()
  #lastOwner = 0
  /** Files with cached pages, the one that was used last behind the others. */
  readonly #caches = new Set<PageCache>()
  #cachedPages = 0

  readonly #waiting: FuseRequest[] = []
  readonly #sent = new Map<number, FuseRequest>()
  /** How many of both were asked by a handle, and who waits for their end. */
  readonly #byHandle = new Map<string, { open: number; readonly late: Held[] }>()
  readonly #interrupts: FuseRequest[] = []
  readonly #forgets: Forget[] = []
  readonly #ready = new WaitQueue()
  #initialized = false
  #noInterrupt = false
  #lastUnique = 0

  constructor(kernel: Kernel, userNs: UserNamespace, pidNs: PidNamespace, maxRead: number) {
    this.kernel = kernel
    this.userNs = userNs
    this.pidNs = pidNs
    this.maxRead = maxRead
  }

  /** The most that one READ asks for, and one WRITE brings. */
  get readSize(): number {
    return Math.min(this.maxRead, this.maxPages * PAGE_SIZE)
  }
  get writeSize(): number {
    return Math.min(this.maxWrite, this.maxPages * PAGE_SIZE)
  }

  // Cached pages.

  /** A file is read: others' pages go first. */
  used(cache: PageCache): void {
    this.#caches.delete(cache)
    this.#caches.add(cache)
  }
  gone(cache: PageCache): void {
    this.#caches.delete(cache)
  }
  /** There are `pages` more. */
  cached(pages: number): void {
    this.#cachedPages += pages
    if (pages <= 0 || this.#cachedPages <= MAX_CACHED) return
    let left = this.#caches.size
    for (const cache of this.#caches) {
      if (--left === 0 || this.#cachedPages <= MAX_CACHED) return
      if (cache.isIdle) cache.drop()
    }
  }

  // The kernel's side.

  /** What the call in hand has asked; undefined for what the runtime does from outside, which nobody could wait for. */
  get log(): RequestLog | undefined {
    const task = this.kernel.current
    if (task === undefined || task.ended) return undefined
    task.requests ??= new RequestLog()
    return task.requests
  }

  /** The first message. */
  begin(): void {
    const message = new Message(FUSE_INIT_IN.size)
      .u32(FUSE_INIT_IN.major, FUSE_KERNEL_VERSION)
      .u32(FUSE_INIT_IN.minor, FUSE_KERNEL_MINOR_VERSION)
      .u32(FUSE_INIT_IN.max_readahead, READAHEAD)
      .u32(FUSE_INIT_IN.flags, OFFERED)
    const shape: AnswerShape = {
      min: OLD_INIT_SIZE,
      max: FUSE_INIT_OUT.size,
      take: (connection, reply) => connection.#negotiate(reply),
    }
    this.#queue(new FuseRequest(this, FUSE_INIT, ZERO, 0, shape, this.#newUnique(), message), ZERO, false)
  }

  /**
   * Asks the server in the name of the task whose call is served: the answered request, a negative errno (the server's), or
   * PENDING. `key` tells requests of one opcode and node apart; `make` is called for a new one only. `completion` hears of the
   * answer also when the call is over by then.
   */
  call(
    opcode: number,
    node: U64,
    key: string | number,
    shape: AnswerShape,
    make: () => Message | number,
    completion?: Completion,
  ): OrErrno<FuseRequest> {
    const { log } = this
    if (log === undefined) return -EIO
    const earlier = log.find(
      each => each instanceof FuseRequest && each.connection === this && each.asks(opcode, node, key),
    ) as FuseRequest | undefined
    if (earlier?.done) return earlier.error < 0 ? earlier.error : earlier
    if (earlier !== undefined) {
      log.waitFor(earlier)
      return PENDING
    }
    if (!this.connected) return -ENOTCONN
    if (!this.#initialized) {
      log.waitFor(this.#ready)
      return PENDING
    }
    const message = make()
    if (typeof message === 'number') return message
    const unique = this.#newUnique()
    const request = new FuseRequest(this, opcode, node, key, shape, unique, message, completion)
    log.add(request)
    this.#queue(request, node, true)
    return PENDING
  }

  /**
   * A request of the kernel's own, for which no call waits. `named`: in the name of the task whose call is served. False
   * when there is nobody to ask.
   */
  start(
    opcode: number,
    node: U64,
    shape: AnswerShape,
    message: Message,
    completion: Completion | undefined,
    named: boolean,
  ): boolean {
    if (!this.connected) return false
    const request = new FuseRequest(this, opcode, node, 0, shape, this.#newUnique(), message, completion)
    this.#queue(request, node, named)
    return true
  }

  /** Whether the server asks for more (FUSE_NOTIFY_RETRIEVE) while it does not read what it has got. */
  get tooManyReplies(): boolean {
    return this.#waiting.filter(({ opcode }) => opcode === FUSE_NOTIFY_REPLY).length >= MAX_REPLIES
  }

  /** What FUSE_NOTIFY_RETRIEVE has asked for, with the number that came along. */
  reply(node: U64, unique: U64, message: Message): void {
    const request = new FuseRequest(this, FUSE_NOTIFY_REPLY, node, 0, NO_ANSWER, 0, message)
    this.#queue(request, node, false)
    message.unique(unique)
  }

  /** A message whose answer no call waits for. False when there is nobody to tell. */
  post(opcode: number, node: U64, message: Message, completion?: Completion): boolean {
    return this.start(opcode, node, NO_ANSWER, message, completion, false)
  }

  /** The kernel no longer uses a node that it was told of `count` times. */
  forget(node: U64, count: number): void {
    if (!this.connected || count === 0) return
    this.#forgets.push({ node, count })
    this.queue.wake()
  }

  /** Who asked got a signal: the server is told, if it has begun. */
  interrupt(request: FuseRequest): void {
    if (this.#noInterrupt || request.device === undefined) return
    this.#interrupts.push(request)
    this.queue.wake()
  }

  newPollNumber(): number {
    return ++this.#lastPolled
  }

  /** By what number the server knows who holds locks: a table of descriptors, or a File. */
  ownerId(owner: object): number {
    let id = this.#owners.get(owner)
    if (id === undefined) {
      id = ++this.#lastOwner
      this.#owners.set(owner, id)
    }
    return id
  }

  /** The calling process, as the server knows it. */
  get callerTgid(): number {
    return this.kernel.current?.group.pid.numbers[this.pidNs.level] ?? 0
  }

  /** Nobody waits for it any more: what the server has not seen, it need not do, but for giving up locks. */
  abandon(request: FuseRequest): void {
    const at = request.opcode === FUSE_FLUSH ? -1 : this.#waiting.indexOf(request)
    if (at >= 0) {
      this.#waiting.splice(at, 1)
      request.leave()
      return
    }
    const inode = this.nodes.get(toNumber(request.node))
    if (inode !== undefined) request.orphaned(inode)
  }

  /** Whether the server is asked something by the handle, which RELEASE must not overtake: `handle` is put when it is not. */
  defers(node: U64, fh: U64, handle: Held): boolean {
    const key = handleKey(node, fh)
    const use = key === undefined ? undefined : this.#byHandle.get(key)
    use?.late.push(handle)
    return use !== undefined
  }
  /** It is answered, or never asked. */
  left({ handle }: FuseRequest): void {
    const use = handle === undefined ? undefined : this.#byHandle.get(handle)
    if (use === undefined || --use.open > 0) return
    this.#byHandle.delete(handle!)
    for (const each of use.late) each.put()
  }

  /** No more requests, and an end of those there are. `died`: the server is gone, rather than the mount. */
  abort(died: boolean): void {
    if (!this.connected) return
    this.connected = false
    const open = [...this.#waiting, ...this.#sent.values()]
    this.#waiting.length = this.#interrupts.length = this.#forgets.length = 0
    this.#sent.clear()
    const nothing = new DataView(new ArrayBuffer(0))
    for (const request of open) request.complete(died ? -ECONNABORTED : -ENOTCONN, nothing)
    this.#ready.wakeAll()
    this.queue.wakeAll()
    for (const poll of this.polled.values()) {
      poll.changed()
      poll.queue.wakeAll()
    }
  }

  // The server's side.

  /** Requests that are not answered yet. */
  get open(): number {
    return this.#waiting.length + this.#sent.size
  }

  get empty(): boolean {
    return this.#waiting.length === 0 && this.#interrupts.length === 0 && this.#forgets.length === 0
  }

  /** What the server shall read next. */
  next(): { bytes: Uint8Array; request?: FuseRequest } | undefined {
    const interrupted = this.#interrupts[0]
    if (interrupted !== undefined) {
      const message = new Message(FUSE_INTERRUPT_IN.size).number(FUSE_INTERRUPT_IN.unique, interrupted.unique)
      message.header(FUSE_INTERRUPT, interrupted.unique + 1, ZERO, 0, 0, 0)
      return { bytes: message.bytes }
    }
    const request = this.#waiting[0]
    if (this.#forgets.length > (request === undefined ? 0 : MANY_FORGETS))
      return { bytes: this.#forgetMessage() }
    return request === undefined ? undefined : { bytes: request.message!.bytes, request }
  }

  /** What `next` gave has been read. */
  taken(device: FuseDevice, request: FuseRequest | undefined): void {
    if (request === undefined) {
      if (this.#interrupts.length > 0) this.#interrupts.shift()
      else this.#forgets.splice(0, MAX_BATCH)
      return
    }
    this.#waiting.shift()
    request.message = undefined
    if (request.opcode === FUSE_NOTIFY_REPLY) return
    request.device = device
    this.#sent.set(request.unique, request)
    if (request.interrupted) this.interrupt(request)
  }

  /** What `next` gave is too large for who read: it fails. */
  refused(request: FuseRequest, error: number): void {
    this.#waiting.shift()
    request.complete(error, new DataView(new ArrayBuffer(0)))
  }

  sent(unique: number): FuseRequest | undefined {
    return this.#sent.get(unique)
  }
  answered(request: FuseRequest): void {
    this.#sent.delete(request.unique)
    const at = this.#interrupts.indexOf(request)
    if (at >= 0) this.#interrupts.splice(at, 1)
  }
  /** The server has no use for INTERRUPT. */
  ignoreInterrupts(): void {
    this.#noInterrupt = true
  }

  /** One of several devices is closed: what was read by it is lost. */
  deviceGone(device: FuseDevice): void {
    this.devices.delete(device)
    if (this.devices.size === 0) {
      this.abort(true)
      return
    }
    for (const request of [...this.#sent.values()]) {
      if (request.device !== device) continue
      this.answered(request)
      request.complete(-ECONNABORTED, new DataView(new ArrayBuffer(0)))
    }
  }

  #negotiate(reply: DataView): [] {
    const { major, minor, flags, max_write, max_pages } = FUSE_INIT_OUT
    const version = reply.getUint32(major, true)
    if (version !== FUSE_KERNEL_VERSION || reply.getUint32(minor, true) < MIN_MINOR) {
      this.abort(true)
      return []
    }
    const agreed = reply.getUint32(flags, true) & OFFERED
    this.readdirPlus = (agreed & FUSE_DO_READDIRPLUS) !== 0
    this.readdirPlusAuto = (agreed & FUSE_READDIRPLUS_AUTO) !== 0
    this.opensTruncate = (agreed & FUSE_ATOMIC_O_TRUNC) !== 0
    this.noOpen = (agreed & FUSE_NO_OPEN_SUPPORT) !== 0
    this.autoInvalidates = (agreed & FUSE_AUTO_INVAL_DATA) !== 0
    this.sizeInvalidates = this.autoInvalidates || (agreed & FUSE_EXPLICIT_INVAL_DATA) === 0
    this.keepsRanges = (agreed & FUSE_POSIX_LOCKS) !== 0
    this.keepsFlocks = (agreed & FUSE_FLOCK_LOCKS) !== 0
    this.noOpendir = (agreed & FUSE_NO_OPENDIR_SUPPORT) !== 0
    this.cachesSymlinks = (agreed & FUSE_CACHE_SYMLINKS) !== 0
    this.obeysAcls = (agreed & FUSE_POSIX_ACL) !== 0
    this.setxattrFlags = (agreed & FUSE_SETXATTR_EXT) !== 0
    if (this.obeysAcls && this.sb !== undefined) this.sb.acls = 'server'
    if ((agreed & FUSE_DONT_MASK) !== 0 && this.sb !== undefined) this.sb.appliesUmask = false
    this.maxWrite = Math.max(PAGE_SIZE, reply.getUint32(max_write, true))
    if (reply.byteLength >= FUSE_INIT_OUT.size) {
      if ((agreed & FUSE_MAX_PAGES) !== 0) {
        this.maxPages = Math.min(MAX_PAGES, Math.max(1, reply.getUint16(max_pages, true)))
      }
    }
    this.#initialized = true
    this.#ready.wakeAll()
    return []
  }

  #queue(request: FuseRequest, node: U64, named: boolean): void {
    const task = named ? this.kernel.current : undefined
    const { userNs } = this
    const uid = task === undefined ? 0 : fromKernelId(userNs.uidMap, task.cred.fsuid)
    const gid = task === undefined ? 0 : fromKernelId(userNs.gidMap, task.cred.fsgid)
    request.message!.header(request.opcode, request.unique, node, uid, gid, this.#pidOf(task))
    this.#waiting.push(request)
    if (request.handle !== undefined) {
      const use = this.#byHandle.get(request.handle)
      if (use === undefined) this.#byHandle.set(request.handle, { open: 1, late: [] })
      else use.open++
    }
    this.queue.wake()
  }

  /** In the namespace of who mounted; 0 where it has no number there. */
  #pidOf(task: Task | undefined): number {
    return task?.pid.numbers[this.pidNs.level] ?? 0
  }

  /** Even; INTERRUPT has the odd ones. */
  #newUnique(): number {
    this.#lastUnique += 2
    return this.#lastUnique
  }

  #forgetMessage(): Uint8Array {
    const some = this.#forgets.slice(0, MAX_BATCH)
    if (some.length === 1) {
      const message = new Message(FUSE_FORGET_IN.size).number(FUSE_FORGET_IN.nlookup, some[0].count)
      message.header(FUSE_FORGET, this.#newUnique(), some[0].node, 0, 0, 0)
      return message.bytes
    }
    const head = FUSE_BATCH_FORGET_IN.size
    const message = new Message(head, some.length * FUSE_FORGET_ONE.size)
    message.u32(FUSE_BATCH_FORGET_IN.count, some.length)
    some.forEach(({ node, count }, i) => {
      const at = head + i * FUSE_FORGET_ONE.size
      message.u64(at + FUSE_FORGET_ONE.nodeid, node).number(at + FUSE_FORGET_ONE.nlookup, count)
    })
    message.header(FUSE_BATCH_FORGET, this.#newUnique(), ZERO, 0, 0, 0)
    return message.bytes
  }
}
