/**
 * IoUringFile: an io_uring(7) instance (io_ring_ctx): its rings, what is registered with it, and its requests.
 *
 * Made by io_uring_setup(2); lives as long as a descriptor, a mapping of its memory or a task that has it registered.
 * Then its requests are cancelled, and what it holds is given back. Requests are submitted by any task that has the
 * file, and are that task's (see request.ts).
 *
 * Completions that find the ring full wait in `#overflow`, as many as are sane; the guest is told by a flag, and makes
 * room before it waits the next time.
 */
import {
  IORING_CQ_EVENTFD_DISABLED,
  IORING_OFF_MMAP_MASK,
  IORING_OFF_PBUF_RING,
  IORING_OFF_PBUF_SHIFT,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_TASKRUN_FLAG,
  IORING_SQ_CQ_OVERFLOW,
  IORING_SQ_TASKRUN,
  O_RDWR,
  POLLIN,
  POLLOUT,
  POLLRDNORM,
  POLLWRNORM,
} from '../../abi/constants.ts'
import { EINVAL, ENOMEM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'
import { File, type MapSource } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { Path } from '../../vfs/path.ts'
import type { EventFdFile } from '../eventfd/eventfd.ts'
import type { BufferGroup } from './buffer-group.ts'
import type { UringRequest } from './request.ts'
import { RequestTable } from './request-table.ts'
import type { Rings } from './rings.ts'

/** More completions than this that nobody takes are only counted: of one ring, and of all together. */
const MAX_OVERFLOW = 65536
const MAX_OVERFLOW_IN_ALL = 1 << 20
/** Fixed files and buffers of all rings, empty places too. Linux charges the memory to the cgroup. */
const MAX_PLACES_IN_ALL = 1 << 22

/** A piece of guest memory. */
export interface GuestBuffer {
  readonly address: number
  readonly length: number
}

/** What IORING_REGISTER_RESTRICTIONS lets pass. */
export interface Restrictions {
  readonly operations: ReadonlySet<number>
  readonly registrations: ReadonlySet<number>
  readonly allowedFlags: number
  readonly requiredFlags: number
}

interface Completion {
  readonly userLo: number
  readonly userHi: number
  readonly result: number
  readonly flags: number
}

export interface Tag {
  readonly lo: number
  readonly hi: number
}

/**
 * A registered file or buffer (io_rsrc_node). The table holds it, and each request that uses it; when nobody does any
 * more its tag, if it has one, is told by a completion.
 */
export class Resource<T = unknown> {
  readonly value: T
  readonly tag: Tag | undefined
  users = 1

  constructor(value: T, tag?: Tag) {
    this.value = value
    this.tag = tag
  }
}

export class IoUringFile extends File {
  readonly rings: Rings
  readonly setupFlags: number
  /** IORING_SETUP_SINGLE_ISSUER: who may submit, once it is known. */
  submitter: Task | undefined = undefined
  /** IORING_SETUP_R_DISABLED and not yet enabled. */
  disabled: boolean
  restrictions: Restrictions | undefined = undefined

  // Registered.
  /** Fixed files; undefined when no table is registered. */
  files: (Resource<File> | undefined)[] | undefined = undefined
  /** Where a free place of the table is looked for: IORING_REGISTER_FILE_ALLOC_RANGE. */
  fileRange = { from: 0, to: 0 }
  buffers: (Resource<GuestBuffer> | undefined)[] | undefined = undefined
  readonly bufferGroups = new Map<number, BufferGroup>()
  readonly personalities = new Map<number, Credentials>()
  nextPersonality = 1
  /** IORING_REGISTER_IOWQ_MAX_WORKERS: the limits of workers that there are not. */
  workers: readonly number[] = [16, 4096]
  eventFd: EventFdFile | undefined = undefined
  /** IORING_REGISTER_CLOCK: points of time to wait for are CLOCK_BOOTTIME's. */
  waitsByBoottime = false

  /** Started and not over. */
  readonly requests = new RequestTable()
  /** Heads of chains that must not start yet, in order: IOSQE_IO_DRAIN. */
  readonly deferred = new Set<UringRequest>()
  /** A chain with IOSQE_IO_DRAIN runs. */
  draining = false
  startsDeferred = false
  /** Some request posted no completion, so that none can be counted: IOSQE_IO_DRAIN is refused from then on. */
  drainDisabled = false
  /** Timeouts that count completions, by what the count must reach. */
  readonly #counting = new Map<number, Set<UringRequest>>()
  /** Completions so far, those of timeouts not counted. */
  completions = 0
  /** And those. */
  timeouts = 0
  /** The last reference is gone. */
  closed = false

  readonly #queue = new WaitQueue()
  #overflow: Completion[] = []
  #work = new Set<UringRequest>()
  #lost = 0

  /** What all rings of the kernel hold. */
  readonly held: Kernel['uring']

  constructor(path: Path, cred: Credentials, held: Kernel['uring'], rings: Rings, setupFlags: number) {
    super(path, O_RDWR, cred)
    this.held = held
    this.rings = rings
    this.setupFlags = setupFlags
    this.disabled = (setupFlags & IORING_SETUP_R_DISABLED) !== 0
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }

  override poll(): number {
    let events = 0
    if (!this.rings.submissionFull) events |= POLLOUT | POLLWRNORM
    if (this.rings.completed > 0 || this.#overflow.length > 0 || this.hasWork) events |= POLLIN | POLLRDNORM
    return events
  }

  override get passable(): boolean {
    return false
  }

  /** Seeking is no error. */
  override seek(): number {
    return 0
  }

  override mapping(offset: number): MapSource | number {
    const base = offset - (offset % (IORING_OFF_MMAP_MASK & -IORING_OFF_MMAP_MASK))
    if (base >= IORING_OFF_PBUF_RING) {
      const group = this.bufferGroups.get(
        Math.floor((offset - IORING_OFF_PBUF_RING) / 2 ** IORING_OFF_PBUF_SHIFT),
      )
      const pages = group?.pages
      if (pages === undefined) return -EINVAL
      return { hostFd: pages.hostFd, offset: -offset }
    }
    const start = this.rings.region(base)
    return start < 0 ? start : { hostFd: this.rings.pages.hostFd!, offset: start - offset }
  }

  override fdinfo(): string {
    const { sqEntries, cqEntries } = this.rings.sizes
    let text = `SqMask:\t0x${(sqEntries - 1).toString(16)}\nCqMask:\t0x${(cqEntries - 1).toString(16)}\n`
    text += `UserFiles:\t${this.files?.length ?? 0}\nUserBufs:\t${this.buffers?.length ?? 0}\n`
    return `${text}PollList:\nCqOverflowList:\n`
  }

  // Work.

  /** IORING_SETUP_DEFER_TASKRUN: requests go on only when their submitter asks for completions. */
  get defersWork(): boolean {
    return (this.setupFlags & IORING_SETUP_DEFER_TASKRUN) !== 0
  }

  /** The request can go on: whoever waits, or watches the ring or its eventfd, is told. */
  addWork(request: UringRequest): void {
    this.#work.add(request)
    if (this.#work.size > 1) return
    if ((this.setupFlags & IORING_SETUP_TASKRUN_FLAG) !== 0) this.rings.setFlag(IORING_SQ_TASKRUN, true)
    this.#queue.wake(POLLIN | POLLRDNORM)
    this.#signalEventFd()
  }

  /** The request is over. */
  dropWork(request: UringRequest): void {
    this.#work.delete(request)
  }

  get hasWork(): boolean {
    return this.#work.size > 0
  }

  /**
   * What can go on does; what follows from that as well, but not for ever: requests that watch the ring wake each other as
   * long as the guest makes room for their completions.
   */
  runWork(): void {
    let left = this.rings.sizes.cqEntries
    while (this.hasWork && left > 0) {
      const requests = this.#work
      this.#work = new Set()
      left -= requests.size
      for (const request of requests) request.attempt()
    }
    if (!this.hasWork) this.rings.setFlag(IORING_SQ_TASKRUN, false)
  }

  // Completions.

  #signalEventFd(): void {
    if (this.eventFd === undefined) return
    if ((this.rings.completionFlags & IORING_CQ_EVENTFD_DISABLED) === 0) this.eventFd.signal()
  }

  /** Posts a completion, in order; wakes who waits. `counts`: it is not a timeout's. */
  post(userLo: number, userHi: number, result: number, flags: number, counts = true): void {
    if (this.closed) return
    if (this.#overflow.length > 0 || !this.rings.complete(userLo, userHi, result, flags)) {
      this.rings.setFlag(IORING_SQ_CQ_OVERFLOW, true)
      if (this.#overflow.length < MAX_OVERFLOW && this.held.overflow < MAX_OVERFLOW_IN_ALL) {
        this.#overflow.push({ userLo, userHi, result, flags })
        this.held.overflow++
      } else this.rings.countLost(++this.#lost)
    }
    this.#queue.wake(POLLIN | POLLRDNORM)
    this.#signalEventFd()
    if (counts) this.#count()
    else this.timeouts++
  }

  #count(): void {
    this.completions = (this.completions + 1) >>> 0
    const reached = this.#counting.get(this.completions)
    if (reached === undefined) return
    this.#counting.delete(this.completions)
    for (const timeout of reached) timeout.cancelSoon(0)
  }

  /** The timeout is over when `count` more requests are. */
  startCounting(timeout: UringRequest, count: number): void {
    const target = (this.completions + count) >>> 0
    timeout.countsTo = target
    const same = this.#counting.get(target)
    if (same !== undefined) same.add(timeout)
    else this.#counting.set(target, new Set([timeout]))
  }
  stopCounting(timeout: UringRequest): void {
    const target = timeout.countsTo
    if (target === undefined) return
    timeout.countsTo = undefined
    const same = this.#counting.get(target)
    same?.delete(timeout)
    if (same?.size === 0) this.#counting.delete(target)
  }

  /** Puts what did not fit into the ring, as far as there is room now. */
  flushOverflow(): void {
    if (this.#overflow.length === 0) return
    let done = 0
    for (const { userLo, userHi, result, flags } of this.#overflow) {
      if (!this.rings.complete(userLo, userHi, result, flags)) break
      done++
    }
    this.#overflow = this.#overflow.slice(done)
    this.held.overflow -= done
    if (this.#overflow.length === 0) this.rings.setFlag(IORING_SQ_CQ_OVERFLOW, false)
  }
  /** The next completion would find no room: a multishot request ends then. */
  get full(): boolean {
    return this.#overflow.length > 0 || this.rings.completionFull
  }

  // Resources.

  /** Room in the tables of all rings for `count` more: a status. */
  takePlaces(count: number): Status {
    if (this.held.places + count > MAX_PLACES_IN_ALL) return -ENOMEM
    this.held.places += count
    return 0
  }

  /** A user of a resource is done with it, its place in the table or a request. `tell`: its tag's completion is posted. */
  retire(resource: Resource | undefined, tell = true): void {
    if (resource === undefined || --resource.users > 0) return
    if (resource.value instanceof File) filePut(resource.value)
    if (tell && resource.tag !== undefined) this.post(resource.tag.lo, resource.tag.hi, 0, 0)
  }

  override release(): void {
    this.closed = true
    for (const request of [...this.deferred]) request.endUnstarted()
    for (const request of [...this.requests]) request.abandon()
    for (const file of this.files ?? []) this.retire(file)
    this.held.places -= (this.files?.length ?? 0) + (this.buffers?.length ?? 0)
    this.held.overflow -= this.#overflow.length
    this.files = undefined
    for (const group of this.bufferGroups.values()) group.release()
    if (this.eventFd !== undefined) filePut(this.eventFd)
    this.eventFd = undefined
    this.rings.pages.release()
  }
}
