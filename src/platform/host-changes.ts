/**
 * What the host's inotify tells of directories that others may change, too. While a directory is watched and nothing was
 * heard of it, what was once asked of its entries still holds: one read(2) per system call that finds the queue empty
 * takes the place of a statx(2) for each component of each path.
 *
 * There is one HostChanges for all trees of a sandbox; its inotify instance is opened before the jail closes. A directory
 * of hostfs asks for a DirectoryWatch (`watch`) when it was asked the same again and again, and hears of changes through
 * its DirectoryListener, always from within `sync`, `drain` or `settle`. The watch ends with `unwatch`, with the directory,
 * or when others need its place: then the listener is told by `watchLost`.
 *
 * Why that is enough: the host queues an event before the call that caused it returns. So whoever learns of a change in
 * any other way, and then asks us, finds the event in the queue. Not told of: writes through mappings, and writes to a
 * file by a name in another directory.
 */
import {
  IN_ATTRIB,
  IN_CLOSE_WRITE,
  IN_CREATE,
  IN_DELETE,
  IN_DELETE_SELF,
  IN_EXCL_UNLINK,
  IN_IGNORED,
  IN_MODIFY,
  IN_MOVE_SELF,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  IN_Q_OVERFLOW,
  POLLIN,
} from '../abi/constants.ts'
import { ENOSPC } from '../abi/errno.ts'
import { INOTIFY_EVENT } from '../abi/layout.ts'

/** What HostChanges needs of the host. */
export interface ChangeSource {
  /** Counts the system calls served. */
  readonly turn: number
  pread(fd: number, into: Uint8Array, offset: number): number
  inotifyInit(): number
  /** Of the file behind `target`. */
  inotifyAddWatch(fd: number, target: number, mask: number): number
  inotifyRmWatch(fd: number, wd: number): number
  watch(fd: number, events: number, ready: () => void): number
  unwatch(fd: number): void
}

export interface DirectoryListener {
  /**
   * An IN_* event of the entry `name`, or ('') of the directory itself. `own`: `settle` said that it is one of ours.
   * `cookie` joins the two events of a rename.
   */
  hostEvent(mask: number, cookie: number, name: string, own: boolean): void
  /** Nothing more is heard: nothing is known for sure any more. */
  watchLost(): void
}

export class DirectoryWatch {
  readonly listener: DirectoryListener
  readonly wd: number
  /** What was learnt before this moment of HostChanges.sequence may have changed unheard. */
  since: number
  alive = true
  /** Asked since the last search for one to end. */
  used = true
  /** Somebody inside wants the events themselves: it is not ended for others. */
  pinned = false

  constructor(listener: DirectoryListener, wd: number, since: number) {
    this.listener = listener
    this.wd = wd
    this.since = since
  }
}

/** Directories watched at once: the host lets a user have some thousands in all. */
const LIMIT = 1024
const MASK =
  IN_ATTRIB |
  IN_CREATE |
  IN_DELETE |
  IN_DELETE_SELF |
  IN_EXCL_UNLINK |
  IN_MODIFY |
  IN_MOVE_SELF |
  IN_MOVED_FROM |
  IN_MOVED_TO
/** Of interest to watchers inside alone. */
const PINNED_MASK = MASK | IN_CLOSE_WRITE

/** Room for some hundred events. */
const BUFFER = 8192
/** The longest event: a header and NAME_MAX + 1 bytes. */
const LONGEST = INOTIFY_EVENT.size + 256
/** Cookies shown inside are none that the guest's own renames have, and say nothing of the host's. */
const FIRST_COOKIE = 0x80000000

export class HostChanges {
  readonly #host: ChangeSource
  /** -1 where the host gives no instance: then nothing is ever watched. */
  readonly fd: number
  /** Grows with each beginning of a watch. */
  sequence = 0
  #limit = LIMIT
  #turn = -1
  #pins = 0
  #ownWatches: readonly (DirectoryWatch | undefined)[] = NONE
  #ownNames: readonly string[] = NONE
  #hostCookie = 0
  #cookies = 0
  /** What else is to be given back to the host in quiet times. */
  readonly whenQuiet = new Set<() => void>()
  readonly #byWd = new Map<number, DirectoryWatch[]>()
  /** Those that may be ended, in the order in which they are looked at. */
  readonly #order = new Set<DirectoryWatch>()
  readonly #bytes = Buffer.allocUnsafeSlow(BUFFER)
  readonly #words = new Int32Array(this.#bytes.buffer)

  constructor(host: ChangeSource) {
    this.#host = host
    this.fd = host.inotifyInit()
  }

  /** Directories watched: for tests and statistics. */
  get count(): number {
    return this.#byWd.size
  }
  /** Whether anybody inside wants to hear of events. */
  get hasPins(): boolean {
    return this.#pins > 0
  }

  /** After it, everything that had happened when the call in hand began has been told. */
  sync(): void {
    const { turn } = this.#host
    if (turn === this.#turn) return
    this.#turn = turn
    if (this.#byWd.size > 0) this.drain()
  }

  /** Tells what has happened up to now. */
  drain(): void {
    for (;;) {
      const length = this.#host.pread(this.fd, this.#bytes, -1)
      if (length <= 0) return
      this.#deliver(length)
      // With room for another one left, there was none.
      if (length <= BUFFER - LONGEST) return
    }
  }

  /** Nothing has happened inside for a while: the host need not keep for us what nobody may ask for again. */
  quiet(): void {
    if (this.#byWd.size > 0) this.drain()
    for (const act of this.whenQuiet) act()
  }

  /**
   * To be called after an operation of ours on entries (`names[i]` of the directory of `watches[i]`; '' is the directory
   * itself), before anything is asked of the host about them: what it tells of these names now is our own doing.
   */
  settle(watches: readonly (DirectoryWatch | undefined)[], names: readonly string[]): void {
    if (!watches.some(watch => watch !== undefined)) return
    this.#ownWatches = watches
    this.#ownNames = names
    this.drain()
    this.#ownWatches = this.#ownNames = NONE
  }

  /** Begins to watch the directory of `fd`; undefined where the host does not let us. */
  watch(fd: number, listener: DirectoryListener): DirectoryWatch | undefined {
    if (this.fd < 0) return undefined
    if (this.#order.size >= this.#limit) this.#endOne()
    let wd = this.#host.inotifyAddWatch(this.fd, fd, MASK)
    if (wd === -ENOSPC) {
      // Others of the same user have the rest.
      this.#limit = Math.max(1, this.#order.size - 1)
      this.#endOne()
      wd = this.#host.inotifyAddWatch(this.fd, fd, MASK)
    }
    if (wd < 0) return undefined
    const watch = new DirectoryWatch(listener, wd, ++this.sequence)
    // The same directory in another tree: one watch of the host's serves both.
    const others = this.#byWd.get(wd)
    if (others === undefined) this.#byWd.set(wd, [watch])
    else {
      others.push(watch)
      if (others.some(other => other.pinned)) this.#host.inotifyAddWatch(this.fd, fd, PINNED_MASK)
    }
    this.#order.add(watch)
    return watch
  }

  unwatch(watch: DirectoryWatch): void {
    if (!watch.alive) return
    this.#forget(watch)
    const left = this.#byWd.get(watch.wd)!.filter(other => other !== watch)
    if (left.length > 0) this.#byWd.set(watch.wd, left)
    else {
      this.#byWd.delete(watch.wd)
      this.#host.inotifyRmWatch(this.fd, watch.wd)
    }
  }

  /** Somebody inside watches the directory of `fd`, too: events are told as they come. */
  pin(watch: DirectoryWatch, fd: number): void {
    if (watch.pinned || !watch.alive) return
    watch.pinned = true
    this.#order.delete(watch)
    this.#host.inotifyAddWatch(this.fd, fd, PINNED_MASK)
    if (this.#pins++ === 0) this.#host.watch(this.fd, POLLIN, () => this.drain())
  }
  unpin(watch: DirectoryWatch): void {
    if (!watch.pinned) return
    watch.pinned = false
    if (watch.alive) this.#order.add(watch)
    if (--this.#pins === 0) this.#host.unwatch(this.fd)
  }

  /** Ends the first that was not used since the last search. */
  #endOne(): void {
    for (const watch of this.#order) {
      if (watch.used) {
        watch.used = false
        this.#order.delete(watch)
        this.#order.add(watch)
        continue
      }
      this.unwatch(watch)
      watch.listener.watchLost()
      return
    }
  }

  #forget(watch: DirectoryWatch): void {
    watch.alive = false
    this.unpin(watch)
    this.#order.delete(watch)
  }

  #deliver(length: number): void {
    for (let at = 0; at + INOTIFY_EVENT.size <= length; ) {
      const word = at >> 2
      const wd = this.#words[word + (INOTIFY_EVENT.wd >> 2)]
      const mask = this.#words[word + (INOTIFY_EVENT.mask >> 2)]
      const cookie = this.#words[word + (INOTIFY_EVENT.cookie >> 2)]
      const start = at + INOTIFY_EVENT.name
      const room = this.#words[word + (INOTIFY_EVENT.len >> 2)]
      at = start + room
      if ((mask & IN_Q_OVERFLOW) !== 0) this.#missedSome()
      const watches = this.#byWd.get(wd)
      // Of a watch that has ended: the queue still had it.
      if (watches === undefined) continue
      if ((mask & IN_IGNORED) !== 0) {
        this.#ended(wd, watches)
        continue
      }
      const name = room === 0 ? '' : nameAt(this.#bytes, start, at)
      const shown = cookie === 0 ? 0 : this.#cookieOf(cookie)
      // The list is replaced, never changed, when one leaves.
      for (const watch of watches) watch.listener.hostEvent(mask, shown, name, this.#isOwn(watch, name))
    }
  }

  #isOwn(watch: DirectoryWatch, name: string): boolean {
    for (let i = 0; i < this.#ownWatches.length; i++) {
      if (this.#ownWatches[i] === watch && this.#ownNames[i] === name) return true
    }
    return false
  }

  /** The host took the watch away: the directory is no more. */
  #ended(wd: number, watches: readonly DirectoryWatch[]): void {
    this.#byWd.delete(wd)
    for (const watch of watches) {
      this.#forget(watch)
      watch.listener.watchLost()
    }
  }

  /** The queue was full. */
  #missedSome(): void {
    const since = ++this.sequence
    for (const watches of this.#byWd.values()) for (const watch of watches) watch.since = since
  }

  #cookieOf(hostCookie: number): number {
    if (hostCookie !== this.#hostCookie) {
      this.#hostCookie = hostCookie
      this.#cookies = (this.#cookies + 1) % FIRST_COOKIE
    }
    return FIRST_COOKIE + this.#cookies
  }
}

const NONE: readonly never[] = []

/** NUL-terminated, and padded with more. */
function nameAt(bytes: Buffer, start: number, end: number): string {
  const stop = bytes.indexOf(0, start)
  return bytes.toString('latin1', start, stop < 0 || stop > end ? end : stop)
}
