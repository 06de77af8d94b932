/**
 * epoll(7): an interest list and a ready list (eventpoll).
 *
 * Each watched (File, descriptor number) is an EpollItem. The item waits on the File's queue for as long as it is
 * in the interest list; a wake-up that fits its events puts it on the ready list and tells those who wait for the epoll
 * file itself. The ready list is a list of suspects: what is reported is what `poll()` says when events are
 * collected. A level-triggered item that was reported goes back to the end of the list, so that it is asked again next
 * time and everybody gets a turn; an edge-triggered one waits for the next wake-up.
 *
 * Items go by EPOLL_CTL_DEL, when the watched File's last reference goes (a dup of it keeps it watched, as on Linux),
 * and when the epoll file itself is released. An item holds no reference to its File.
 */
import {
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLWAKEUP,
  O_RDWR,
  POLLIN,
  POLLRDNORM,
} from '../../abi/constants.ts'
import { EEXIST, EINVAL, ELOOP, ENOENT, EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import { type WaitEntry, type Waiter, WaitQueue } from '../../base/wait-queue.ts'
import { File, type ReleaseHook } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

/** Bits of `events` that say how to report, not what: an item with only these is disabled (EPOLLONESHOT fired). */
const PRIVATE_BITS = (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE) >>> 0
/** What may stand beside EPOLLEXCLUSIVE. */
const EXCLUSIVE_OK = (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE) >>> 0
/** How deep epoll files may watch each other. */
const MAX_NESTS = 4

/** Receives one event; data is the guest's 64 bits. False: there is no place (EFAULT), stop. */
export type EventSink = (events: number, dataLo: number, dataHi: number) => boolean

export class EpollItem implements Waiter, ReleaseHook {
  readonly epoll: EpollFile
  readonly file: File
  readonly fd: number
  events: number
  dataLo: number
  dataHi: number
  entry: WaitEntry | undefined = undefined
  /** Links of the ready list. */
  next: EpollItem | undefined = undefined
  prev: EpollItem | undefined = undefined
  ready = false
  /** Another item of the same descriptor number, whose File it was before or after. */
  sameFd: EpollItem | undefined = undefined

  constructor(epoll: EpollFile, file: File, fd: number, events: number, dataLo: number, dataHi: number) {
    this.epoll = epoll
    this.file = file
    this.fd = fd
    this.events = events
    this.dataLo = dataLo
    this.dataHi = dataHi
  }

  get disabled(): boolean {
    return (this.events & ~PRIVATE_BITS) === 0
  }

  woken(_entry: WaitEntry, events: number): boolean {
    if (this.disabled) return false
    if (events !== 0 && (events & this.events) === 0) return false
    return this.epoll.suspect(this)
  }

  /** The watched File is gone. */
  fileReleased(): void {
    this.epoll.drop(this)
  }
}

export class EpollFile extends File {
  /** Those who wait in epoll_wait, as exclusive entries. */
  readonly waiters = new WaitQueue()
  /** Those who poll the epoll file. */
  readonly #queue = new WaitQueue()
  readonly #items = new Map<number, EpollItem>()
  /** Something was watched that the host tells of. */
  #toldByHost = false
  #first: EpollItem | undefined = undefined
  #last: EpollItem | undefined = undefined

  constructor(path: Path, cred: Credentials) {
    super(path, O_RDWR, cred)
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }

  /** It has no position, but seeking is no error. */
  override seek(): number {
    return 0
  }

  /** EPIOCSPARAMS and its kin are for polling network devices. */
  override ioctl(): number {
    return -EINVAL
  }

  /** Readable when an item of the ready list really is. */
  override poll(): number {
    for (let item = this.#first; item !== undefined; ) {
      const next: EpollItem | undefined = item.next
      if (pollItem(item) !== 0) return POLLIN | POLLRDNORM
      this.#unready(item)
      item = next
    }
    return 0
  }

  override get toldByHost(): boolean {
    return this.#toldByHost
  }

  /** Whether a collection could find something; cheaper than `poll`. */
  get hasSuspects(): boolean {
    return this.#first !== undefined
  }

  /** EPOLL_CTL_ADD. */
  add(file: File, fd: number, events: number, dataLo: number, dataHi: number): Status {
    if ((events & EPOLLEXCLUSIVE) !== 0) {
      if ((events & ~EXCLUSIVE_OK) !== 0 || file instanceof EpollFile) return -EINVAL
    }
    if (file instanceof EpollFile) {
      const status = this.#checkNesting(file)
      if (status < 0) return status
    }
    if (this.#find(file, fd) !== undefined) return -EEXIST
    const queue = file.pollQueue
    if (queue === undefined) return -EPERM
    const item = new EpollItem(this, file, fd, (events | EPOLLERR | EPOLLHUP) >>> 0, dataLo, dataHi)
    item.sameFd = this.#items.get(fd)
    this.#items.set(fd, item)
    item.entry = queue.add(item, 0, (events & EPOLLEXCLUSIVE) !== 0)
    file.releaseHooks ??= []
    file.releaseHooks.push(item)
    if (file.toldByHost) this.#toldByHost = true
    if (pollItem(item) !== 0) this.suspect(item)
    return 0
  }

  /** EPOLL_CTL_MOD. */
  modify(file: File, fd: number, events: number, dataLo: number, dataHi: number): Status {
    const item = this.#find(file, fd)
    // An exclusive item can neither be made nor be changed by MOD.
    if ((events & EPOLLEXCLUSIVE) !== 0) return -EINVAL
    if (item === undefined) return -ENOENT
    if ((item.events & EPOLLEXCLUSIVE) !== 0) return -EINVAL
    item.events = (events | EPOLLERR | EPOLLHUP) >>> 0
    item.dataLo = dataLo
    item.dataHi = dataHi
    if (pollItem(item) !== 0) this.suspect(item)
    return 0
  }

  /** EPOLL_CTL_DEL. */
  remove(file: File, fd: number): Status {
    const item = this.#find(file, fd)
    if (item === undefined) return -ENOENT
    this.drop(item)
    return 0
  }

  /** Puts an item on the ready list; whether somebody waits who will look at it. */
  suspect(item: EpollItem): boolean {
    if (!item.ready) this.#putLast(item)
    if (this.waiters.empty && this.#queue.empty) return false
    this.waiters.wake(POLLIN | POLLRDNORM)
    this.#queue.wake(POLLIN | POLLRDNORM)
    return true
  }

  /** Reports up to `max` events, at most one an item: how many the sink took. */
  collect(max: number, sink: EventSink): number {
    let count = 0
    // What is put back while collecting stands behind this one, and is not for this round.
    const end = this.#last
    let item = this.#first
    while (item !== undefined && count < max) {
      const next: EpollItem | undefined = item === end ? undefined : item.next
      this.#unready(item)
      const events = pollItem(item)
      if (events !== 0) {
        if (!sink(events, item.dataLo, item.dataHi)) {
          this.#putFirst(item)
          break
        }
        count++
        if ((item.events & EPOLLONESHOT) !== 0) item.events = (item.events & PRIVATE_BITS) >>> 0
        else if ((item.events & EPOLLET) === 0) this.#putLast(item)
      }
      item = next
    }
    // Another waiter may take what is left.
    if (this.#first !== undefined) this.waiters.wake(POLLIN | POLLRDNORM)
    return count
  }

  override release(): void {
    for (const head of [...this.#items.values()]) {
      for (let at: EpollItem | undefined = head; at !== undefined; ) {
        const next: EpollItem | undefined = at.sameFd
        this.drop(at)
        at = next
      }
    }
  }

  override fdinfo(): string {
    let text = ''
    for (const head of this.#items.values()) {
      for (let at: EpollItem | undefined = head; at !== undefined; at = at.sameFd) {
        const data = (BigInt(at.dataHi) << 32n) | BigInt(at.dataLo)
        const { pos, inode } = at.file
        text += `tfd: ${String(at.fd).padStart(8)} events: ${at.events.toString(16).padStart(8)}`
        text += ` data: ${data.toString(16).padStart(16)}  pos:${pos} ino:${inode.ino.toString(16)}`
        text += ` sdev:${inode.sb.dev.toString(16)}\n`
      }
    }
    return text
  }

  /** kcmp(2): what is watched under `fd`, the nth of the files that were it. */
  watched(fd: number, nth: number): File | undefined {
    let item = this.#items.get(fd)
    while (item !== undefined && nth-- > 0) item = item.sameFd
    return item?.file
  }

  #find(file: File, fd: number): EpollItem | undefined {
    let item = this.#items.get(fd)
    while (item !== undefined && item.file !== file) item = item.sameFd
    return item
  }

  /** Takes an item out of the interest list. */
  drop(item: EpollItem): void {
    this.#unready(item)
    item.entry!.queue.remove(item.entry!)
    const hooks = item.file.releaseHooks!
    hooks.splice(hooks.indexOf(item), 1)
    const head = this.#items.get(item.fd)
    if (head !== item) {
      let before = head
      while (before !== undefined && before.sameFd !== item) before = before.sameFd
      if (before !== undefined) before.sameFd = item.sameFd
    } else if (item.sameFd === undefined) this.#items.delete(item.fd)
    else this.#items.set(item.fd, item.sameFd)
  }

  #unready(item: EpollItem): void {
    if (!item.ready) return
    item.ready = false
    if (item.prev !== undefined) item.prev.next = item.next
    else this.#first = item.next
    if (item.next !== undefined) item.next.prev = item.prev
    else this.#last = item.prev
    item.next = item.prev = undefined
  }

  #putLast(item: EpollItem): void {
    item.ready = true
    item.prev = this.#last
    if (this.#last !== undefined) this.#last.next = item
    else this.#first = item
    this.#last = item
  }

  #putFirst(item: EpollItem): void {
    item.ready = true
    item.next = this.#first
    if (this.#first !== undefined) this.#first.prev = item
    else this.#last = item
    this.#first = item
  }

  /** ELOOP when watching `target` would close a cycle or nest too deep. */
  #checkNesting(target: EpollFile): Status {
    const below = nestingBelow(target, this, 0)
    if (below < 0) return -ELOOP
    return below + 1 + this.#nestingAbove() > MAX_NESTS ? -ELOOP : 0
  }

  /** The epoll files that this one watches. */
  *nested(): Generator<EpollFile> {
    for (const head of this.#items.values()) {
      for (let at: EpollItem | undefined = head; at !== undefined; at = at.sameFd) {
        if (at.file instanceof EpollFile) yield at.file
      }
    }
  }

  /** How many levels of epoll files watch this one. */
  #nestingAbove(): number {
    let deepest = 0
    for (const hook of this.releaseHooks ?? []) {
      if (hook instanceof EpollItem) deepest = Math.max(deepest, hook.epoll.#nestingAbove() + 1)
    }
    return deepest
  }
}

/** What an item has to report now. */
function pollItem(item: EpollItem): number {
  if (item.disabled) return 0
  return item.file.poll() & item.events
}

/** The levels of epoll files below `at`, or -1 when `root` is among them (or it is too deep). */
function nestingBelow(at: EpollFile, root: EpollFile, depth: number): number {
  if (at === root || depth > MAX_NESTS) return -1
  let deepest = 0
  for (const child of at.nested()) {
    const below = nestingBelow(child, root, depth + 1)
    if (below < 0) return -1
    deepest = Math.max(deepest, below + 1)
  }
  return deepest
}
