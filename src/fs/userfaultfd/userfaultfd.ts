/**
 * userfaultfd(2): a descriptor by which a process hears of page faults in a part of an address space, and answers them.
 *
 * Made for the caller's mm, and stays that one's wherever the descriptor goes. UFFDIO_API opens it, UFFDIO_REGISTER gives it
 * memory (mm/fault-area.ts). Each fault that nobody has served yet is a wait: pending until it is read, and then known,
 * until it is woken by a range that has its address. It ends with its last descriptor: then all who wait go on, and find
 * memory as any other. The requests are in requests.ts.
 */
import {
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
  POLLERR,
  POLLIN,
  POLLRDNORM,
  RLIMIT_NOFILE,
  UFFD_API,
  UFFD_EVENT_FORK,
  UFFD_EVENT_PAGEFAULT,
  UFFD_EVENT_REMAP,
  UFFD_EVENT_REMOVE,
  UFFD_EVENT_UNMAP,
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_EVENT_REMAP,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_UNMAP,
  UFFD_FEATURE_EXACT_ADDRESS,
  UFFD_FEATURE_SIGBUS,
  UFFD_FEATURE_THREAD_ID,
  UFFD_USER_MODE_ONLY,
} from '../../abi/constants.ts'
import { EAGAIN, EINVAL } from '../../abi/errno.ts'
import { UFFD_MSG } from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst } from '../../base/io.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { put64 } from '../../base/words.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { PageNotice, PageServer, PageWait } from '../../kernel/page-wait.ts'
import type { Task } from '../../kernel/task.ts'
import { type FaultServer, removeAreas } from '../../mm/fault-area.ts'
import type { Mm } from '../../mm/mm.ts'
import { pageFloor } from '../../mm/vma.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { SUPPORTED_FEATURES, serveRequest } from './requests.ts'

/** One fault, and the task that waits. */
class Fault implements PageWait {
  readonly queue = new WaitQueue()
  readonly address: number
  readonly message: Uint8Array
  readonly #faults: Set<Fault>
  /** Somebody has read of it. */
  told = false

  constructor(faults: Set<Fault>, address: number, message: Uint8Array) {
    this.#faults = faults
    this.address = address
    this.message = message
    faults.add(this)
  }

  end(): void {
    this.#faults.delete(this)
  }
}

/** An event that is no fault. Who caused it waits until it is read. */
class Notice implements PageNotice {
  readonly queue = new WaitQueue()
  readonly message: DataView
  /** UFFD_EVENT_FORK: of the child; its reference is the notice's until somebody has read it. */
  readonly child: UserfaultFile | undefined
  read = false

  constructor(event: number, words: Readonly<Record<number, number>>, child?: UserfaultFile) {
    this.message = newMessage(event, words)
    this.child = child
  }
}

/** `words`: 64-bit values by their offset. */
function newMessage(event: number, words: Readonly<Record<number, number>>): DataView {
  const view = new DataView(new ArrayBuffer(UFFD_MSG.size))
  view.setUint8(UFFD_MSG.event, event)
  for (const [at, value] of Object.entries(words)) put64(view, Number(at), value)
  return view
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer)
}

export class UserfaultFile extends File implements PageServer {
  readonly mm: Mm
  readonly userModeOnly: boolean
  /** UFFD_FEATURE_* that were agreed on; undefined before UFFDIO_API. */
  features: number | undefined = undefined
  closed = false
  readonly #queue = new WaitQueue()
  /** In the order in which they came. */
  readonly #faults = new Set<Fault>()
  /** Not read yet. */
  readonly #notices: Notice[] = []
  readonly #kernel: Kernel
  readonly #flags: number

  /** `flags` are those of the call. */
  constructor(kernel: Kernel, flags: number, cred: Credentials, mm: Mm) {
    super(kernel.anonFs.path('anon_inode:[userfaultfd]', 0o600), O_RDONLY | (flags & O_NONBLOCK), cred)
    this.userModeOnly = (flags & UFFD_USER_MODE_ONLY) !== 0
    this.mm = mm
    this.#kernel = kernel
    this.#flags = flags
  }

  has(feature: number): boolean {
    return ((this.features ?? 0) & feature) !== 0
  }
  get raisesBus(): boolean {
    return this.has(UFFD_FEATURE_SIGBUS)
  }

  get follows(): boolean {
    return this.has(UFFD_FEATURE_EVENT_REMAP)
  }
  /** Something has happened to the memory that nobody has read of yet: what is done to it now may be meant for what it was. */
  get changing(): boolean {
    return this.#notices.length > 0
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }

  /** Who polls must not block in read: the fault may be served by then. */
  override poll(): number {
    if (this.features === undefined || !this.nonblocking) return POLLERR
    if (this.#notices.length > 0) return POLLIN | POLLRDNORM
    for (const fault of this.#faults) if (!fault.told) return POLLIN | POLLRDNORM
    return 0
  }

  /** It has no position, but seeking is no error. */
  override seek(): number {
    return 0
  }

  /** As many messages as fit. */
  override read(into: IoDst): number {
    if (this.features === undefined) return -EINVAL
    if (into.remaining < UFFD_MSG.size) return -EINVAL
    let done = 0
    for (const fault of this.#faults) {
      if (fault.told) continue
      if (into.remaining < UFFD_MSG.size) break
      const put = into.put(fault.message)
      if (put < 0) return done > 0 ? done : put
      fault.told = true
      done += put
    }
    while (this.#notices.length > 0 && into.remaining >= UFFD_MSG.size) {
      const put = this.#readNotice(this.#notices[0], into)
      if (put < 0) return done > 0 ? done : put
      done += put
    }
    return done > 0 ? done : -EAGAIN
  }

  /** The child's descriptor is the reader's. */
  #readNotice(notice: Notice, into: IoDst): number {
    const { child, message } = notice
    const task = this.#kernel.current
    if (child !== undefined) {
      if (task === undefined) return -EAGAIN
      const limit = task.group.rlimits.soft(RLIMIT_NOFILE)
      const fd = task.fds.install(child, (this.#flags & O_CLOEXEC) !== 0, 0, limit)
      if (fd < 0) return fd
      message.setUint32(UFFD_MSG.ufd, fd, true)
    }
    const put = into.put(bytesOf(message))
    this.#settle(notice)
    return put
  }

  #settle(notice: Notice): void {
    this.#notices.splice(this.#notices.indexOf(notice), 1)
    notice.read = true
    notice.queue.wakeAll()
  }

  #tell(feature: number, event: number, words: Readonly<Record<number, number>>): void {
    if (!this.closed && this.has(feature)) this.#post(new Notice(event, words))
  }

  #post(notice: Notice): void {
    const task = this.#kernel.current
    this.#notices.push(notice)
    if (task !== undefined) {
      task.pageNotices ??= { unread: [], result: undefined }
      task.pageNotices.unread.push(notice)
    }
    this.#queue.wake(POLLIN | POLLRDNORM)
  }

  unmapped(start: number, end: number): void {
    const words = { [UFFD_MSG.start]: start, [UFFD_MSG.end]: end }
    this.#tell(UFFD_FEATURE_EVENT_UNMAP, UFFD_EVENT_UNMAP, words)
  }
  removed(start: number, end: number): void {
    const words = { [UFFD_MSG.start]: start, [UFFD_MSG.end]: end }
    this.#tell(UFFD_FEATURE_EVENT_REMOVE, UFFD_EVENT_REMOVE, words)
  }
  moved(from: number, to: number, length: number): void {
    const words = { [UFFD_MSG.from]: from, [UFFD_MSG.to]: to, [UFFD_MSG.len]: length }
    this.#tell(UFFD_FEATURE_EVENT_REMAP, UFFD_EVENT_REMAP, words)
  }
  get inherits(): boolean {
    return !this.closed && this.has(UFFD_FEATURE_EVENT_FORK)
  }
  inherited(child: Mm): FaultServer {
    const file = new UserfaultFile(this.#kernel, this.#flags, this.cred, child)
    file.features = this.features
    this.#post(new Notice(UFFD_EVENT_FORK, {}, file))
    return file
  }

  /** A task faults at `address`. */
  serve(task: Task, address: number, flags: number): PageWait {
    const shown = this.has(UFFD_FEATURE_EXACT_ADDRESS) ? address : pageFloor(address)
    const message = newMessage(UFFD_EVENT_PAGEFAULT, { [UFFD_MSG.flags]: flags, [UFFD_MSG.address]: shown })
    if (this.has(UFFD_FEATURE_THREAD_ID)) message.setUint32(UFFD_MSG.ptid, task.tid, true)
    const fault = new Fault(this.#faults, address, bytesOf(message))
    this.#queue.wake(POLLIN | POLLRDNORM)
    return fault
  }

  /** Who waits for a page of [start, end) looks again. */
  wakeRange(start: number, end: number): void {
    for (const fault of [...this.#faults]) {
      if (fault.address >= start && fault.address < end) fault.queue.wakeAll()
    }
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    return serveRequest(this, context, request, argument)
  }

  override fdinfo(): string {
    const faults = [...this.#faults]
    const pending = faults.filter(fault => !fault.told).length + this.#notices.length
    const [api, features, all] = [UFFD_API, this.features ?? 0, SUPPORTED_FEATURES].map(n => n.toString(16))
    return `pending:\t${pending}\ntotal:\t${faults.length + this.#notices.length}\nAPI:\t${api}:${features}:${all}\n`
  }

  /** Where no thread of the mm stands still now, its next fault finds that this is closed. */
  override release(): void {
    const areas = this.mm.faultAreas?.of(this) ?? []
    for (const { start, end } of areas) removeAreas(this.mm, start, end, this)
    this.closed = true
    this.wakeRange(0, Number.POSITIVE_INFINITY)
    for (const notice of [...this.#notices]) {
      this.#settle(notice)
      if (notice.child !== undefined) filePut(notice.child)
    }
  }
}
