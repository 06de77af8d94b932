/**
 * inotify(7): file system events as a byte stream.
 *
 * An InotifyFile owns Watches, each on one inode; the watches of an inode, of all instances, are among its marks
 * (vfs/marks.ts), which vfs/notify.ts tells of every event. A Watch goes by inotify_rm_watch, with its inode (or its file
 * system), by IN_ONESHOT's first event, or with the instance; all but the last leave IN_IGNORED in the queue.
 */
import {
  FIONREAD,
  IN_ALL_EVENTS,
  IN_EXCL_UNLINK,
  IN_IGNORED,
  IN_ISDIR,
  IN_MASK_ADD,
  IN_MASK_CREATE,
  IN_ONESHOT,
  IN_Q_OVERFLOW,
  IN_UNMOUNT,
  O_NONBLOCK,
  O_RDONLY,
  POLLIN,
  POLLRDNORM,
} from '../../abi/constants.ts'
import { EAGAIN, EEXIST, EINVAL, ENOSPC } from '../../abi/errno.ts'
import { INOTIFY_EVENT } from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst } from '../../base/io.ts'
import type { Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import type { Inode } from '../../vfs/inode.ts'
import { addMark, type Mark, marksOf, removeMark } from '../../vfs/marks.ts'
import type { Path } from '../../vfs/path.ts'

/** /proc/sys/fs/inotify. */
export interface InotifyLimits {
  maxQueuedEvents: number
  maxUserInstances: number
  maxUserWatches: number
}

/** How many instances and watches a user has. */
export interface InotifyUsage {
  instances: number
  watches: number
}

interface InotifyEvent {
  wd: number
  mask: number
  cookie: number
  name: string
}

/**
 * One watch. It does not hold its inode's dentry, or IN_DELETE_SELF would never come and no file system could be
 * unmounted; the dentry cache keeps what is watched as long as it has a name.
 */
class Watch implements Mark {
  readonly owner: InotifyFile
  readonly wd: number
  readonly inode: Inode
  mask: number

  constructor(owner: InotifyFile, wd: number, path: Path, mask: number) {
    this.owner = owner
    this.wd = wd
    this.inode = path.dentry.inode!
    this.mask = mask
  }

  event(mask: number, cookie: number, name: string | undefined, unlinked: boolean): void {
    if (unlinked && name !== undefined && (this.mask & IN_EXCL_UNLINK) !== 0) return
    this.owner.report(this.wd, mask, cookie, name ?? '')
    if ((this.mask & IN_ONESHOT) !== 0) this.owner.forget(this)
  }
  inodeGone(): void {
    this.owner.forget(this)
  }
}

export class InotifyFile extends File {
  readonly #queue = new WaitQueue()
  readonly #limits: InotifyLimits
  readonly #usage: InotifyUsage
  readonly #watches = new Map<number, Watch>()
  #lastWd = 0
  #events: InotifyEvent[] = []
  /** Events before this index were read. */
  #head = 0
  #overflowed = false

  constructor(path: Path, flags: number, cred: Credentials, limits: InotifyLimits, usage: InotifyUsage) {
    super(path, O_RDONLY | (flags & O_NONBLOCK), cred)
    this.#limits = limits
    this.#usage = usage
    usage.instances++
  }

  override get waitQueue(): WaitQueue {
    return this.#queue
  }
  override get canSignal(): boolean {
    return true
  }
  override poll(): number {
    return this.#head < this.#events.length ? POLLIN | POLLRDNORM : 0
  }

  /** It has no position, but seeking is no error. */
  override seek(): number {
    return 0
  }

  /** Whole events, as many as fit; -EINVAL when not even the first does. */
  override read(into: IoDst): number {
    if (this.#head === this.#events.length) return -EAGAIN
    let done = 0
    while (this.#head < this.#events.length) {
      const event = this.#events[this.#head]
      if (eventSize(event) > into.remaining) return done > 0 ? done : -EINVAL
      const n = into.put(encode(event))
      if (n < 0) return done > 0 ? done : n
      this.#head++
      if (event.mask === IN_Q_OVERFLOW) this.#overflowed = false
      done += n
    }
    this.#events = []
    this.#head = 0
    return done
  }

  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request !== FIONREAD) return super.ioctl(context, request, argument)
    let size = 0
    for (let i = this.#head; i < this.#events.length; i++) size += eventSize(this.#events[i])
    const out = new DataView(new ArrayBuffer(4))
    out.setInt32(0, size, true)
    return context.copyOut(argument, new Uint8Array(out.buffer))
  }

  /** inotify_add_watch(2): the watch descriptor. `mask` was checked. */
  addWatch(path: Path, mask: number): number {
    const inode = path.dentry.inode!
    const bits = mask & (IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT)
    const old = this.#watchOf(inode)
    if (old !== undefined) {
      if ((mask & IN_MASK_CREATE) !== 0) return -EEXIST
      old.mask = (mask & IN_MASK_ADD) !== 0 ? old.mask | bits : bits
      return old.wd
    }
    if (this.#usage.watches >= this.#limits.maxUserWatches) return -ENOSPC
    const watch = new Watch(this, this.#newWd(), path, bits)
    addMark(inode, watch)
    this.#watches.set(watch.wd, watch)
    this.#usage.watches++
    return watch.wd
  }

  /** inotify_rm_watch(2). */
  removeWatch(wd: number): Status {
    const watch = this.#watches.get(wd)
    if (watch === undefined) return -EINVAL
    this.forget(watch)
    return 0
  }

  /** Queues an event, unless it equals the last one that is still unread. */
  report(wd: number, mask: number, cookie: number, name: string): void {
    const last = this.#head < this.#events.length ? this.#events[this.#events.length - 1] : undefined
    if (last !== undefined && last.wd === wd && last.mask === mask && last.name === name) {
      if (mask !== IN_IGNORED) return
    }
    if (this.#events.length - this.#head >= this.#limits.maxQueuedEvents) {
      if (this.#overflowed) return
      this.#overflowed = true
      this.#events.push({ wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: '' })
    } else this.#events.push({ wd, mask, cookie, name })
    this.#queue.wake(POLLIN | POLLRDNORM)
  }

  /** Ends a watch, and says so. */
  forget(watch: Watch): void {
    if (!this.#watches.delete(watch.wd)) return
    this.#usage.watches--
    removeMark(watch.inode, watch)
    this.report(watch.wd, IN_IGNORED, 0, '')
  }

  override release(): void {
    for (const watch of this.#watches.values()) removeMark(watch.inode, watch)
    this.#usage.watches -= this.#watches.size
    this.#usage.instances--
    this.#watches.clear()
  }

  override fdinfo(): string {
    let text = ''
    for (const { wd, inode, mask } of this.#watches.values()) {
      text += `inotify wd:${wd.toString(16)} ino:${inode.ino.toString(16)} sdev:${inode.sb.dev.toString(16)}`
      text += ` mask:${(mask >>> 0).toString(16)} ignored_mask:0 \n`
    }
    return text
  }

  #watchOf(inode: Inode): Watch | undefined {
    for (const mark of marksOf(inode)) if (mark instanceof Watch && mark.owner === this) return mark
    return undefined
  }

  #newWd(): number {
    do this.#lastWd = this.#lastWd === 0x7fffffff ? 1 : this.#lastWd + 1
    while (this.#watches.has(this.#lastWd))
    return this.#lastWd
  }
}

/** The name is padded with NULs to a multiple of the header's size, at least one of them. */
function nameRoom(name: string): number {
  if (name === '') return 0
  return Math.ceil((name.length + 1) / INOTIFY_EVENT.size) * INOTIFY_EVENT.size
}

function eventSize(event: InotifyEvent): number {
  return INOTIFY_EVENT.size + nameRoom(event.name)
}

function encode(event: InotifyEvent): Uint8Array {
  const bytes = new Uint8Array(eventSize(event))
  const view = new DataView(bytes.buffer)
  view.setInt32(INOTIFY_EVENT.wd, event.wd, true)
  view.setUint32(
    INOTIFY_EVENT.mask,
    (event.mask & (IN_ALL_EVENTS | IN_ISDIR | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED)) >>> 0,
    true,
  )
  view.setUint32(INOTIFY_EVENT.cookie, event.cookie, true)
  view.setUint32(INOTIFY_EVENT.len, nameRoom(event.name), true)
  for (let i = 0; i < event.name.length; i++) bytes[INOTIFY_EVENT.name + i] = event.name.charCodeAt(i)
  return bytes
}
