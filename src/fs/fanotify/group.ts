/**
 * fanotify(7): a group, which is what fanotify_init(2) makes.
 *
 * A FanotifyFile owns marks, each on an inode, a mount or a file system, which vfs/notify.ts tells of events as it tells those of
 * inotify. An event is queued when one of the group's marks that it concerns wants it and none ignores it; like events of one
 * process in a row become one. read(2) makes structs of them (event.ts), with a descriptor or with file handles. Events that
 * ask for permission are in permission.ts.
 */
import {
  FAN_CREATE,
  FAN_DELETE,
  FAN_EVENT_METADATA_LEN,
  FAN_EVENT_ON_CHILD,
  FAN_MODIFY,
  FAN_MOVED_FROM,
  FAN_MOVED_TO,
  FAN_ONDIR,
  FAN_Q_OVERFLOW,
  FAN_RENAME,
  FAN_REPORT_DIR_FID,
  FAN_REPORT_FID,
  FAN_REPORT_TID,
  FAN_UNLIMITED_QUEUE,
  FIONREAD,
  IN_ISDIR,
  O_NONBLOCK,
  O_RDWR,
  POLLIN,
  POLLRDNORM,
} from '../../abi/constants.ts'
import { EAGAIN, EINVAL } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import { PENDING, type Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { File, type IoctlContext } from '../../vfs/file.ts'
import { addMark, type Mark, removeMark, type Watched } from '../../vfs/marks.ts'
import type { EventSource } from '../../vfs/notify.ts'
import { dropPath, holdPath, type Path, samePath } from '../../vfs/path.ts'
import { encodeEvent, type FanotifyEvent, type RenameSides, recordsOf } from './event.ts'
import { type PermissionRequest, PermissionRequests } from './permission.ts'

/** Events on a directory's entries, of which the directory is the subject. */
export const DIRENT_EVENTS = FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_RENAME
export const FID_FLAGS = FAN_REPORT_FID | FAN_REPORT_DIR_FID
/** How far back a like event is looked for. */
const MERGE_DEPTH = 128

/** What a user's groups and marks count against. */
export interface FanotifyUsage {
  groups: number
  marks: number
}

export class FanotifyMark implements Mark {
  readonly owner: FanotifyFile
  readonly object: Watched
  /** FAN_* events and flags. */
  mask = 0
  ignored = 0
  /** The ignored events stay so when the file is modified. */
  survivesModify = false

  constructor(owner: FanotifyFile, object: Watched) {
    this.owner = owner
    this.object = object
  }

  event(
    mask: number,
    _cookie: number,
    name: string | undefined,
    _unlinked: boolean,
    source?: EventSource,
  ): void {
    this.owner.report(mask, name, source, this.object)
  }
  permit(mask: number, source: EventSource): Status {
    return this.owner.ask(mask, source)
  }
  inodeGone(): void {
    this.owner.removeMark(this.object)
  }
}

export class FanotifyFile extends File {
  readonly kernel: Kernel
  /** FAN_* of fanotify_init. */
  readonly initFlags: number
  /** What descriptors in events are opened with. */
  readonly eventFlags: number
  /** Without CAP_SYS_ADMIN: events tell no process ids but one's own. */
  readonly unprivileged: boolean
  readonly permissions = new PermissionRequests(request => this.#withdraw(request))
  readonly #queue = new WaitQueue()
  readonly #usage: FanotifyUsage
  readonly #marks = new Map<Watched, FanotifyMark>()
  #events: FanotifyEvent[] = []
  #overflowed = false

  constructor(
    kernel: Kernel,
    path: Path,
    cred: Credentials,
    initFlags: number,
    eventFlags: number,
    options: { nonblocking: boolean; unprivileged: boolean; usage: FanotifyUsage },
  ) {
    super(path, O_RDWR | (options.nonblocking ? O_NONBLOCK : 0), cred)
    this.kernel = kernel
    this.initFlags = initFlags
    this.eventFlags = eventFlags
    this.unprivileged = options.unprivileged
    this.#usage = options.usage
    this.#usage.groups++
  }

  get usesHandles(): boolean {
    return (this.initFlags & FID_FLAGS) !== 0
  }
  override get waitQueue(): WaitQueue {
    return this.#queue
  }
  override poll(): number {
    return this.#events.length > 0 ? POLLIN | POLLRDNORM : 0
  }

  /** It has no position, but seeking is no error. */
  override seek(): number {
    return 0
  }

  markOf(object: Watched): FanotifyMark | undefined {
    return this.#marks.get(object)
  }
  get marks(): readonly FanotifyMark[] {
    return [...this.#marks.values()]
  }
  get markCount(): number {
    return this.#usage.marks
  }

  /** The mark on the object, a new one if there is none. */
  addMark(object: Watched): FanotifyMark {
    let mark = this.#marks.get(object)
    if (mark !== undefined) return mark
    mark = new FanotifyMark(this, object)
    this.#marks.set(object, mark)
    this.#usage.marks++
    addMark(object, mark)
    return mark
  }
  removeMark(object: Watched): void {
    const mark = this.#marks.get(object)
    if (mark === undefined) return
    this.#marks.delete(object)
    this.#usage.marks--
    removeMark(object, mark)
  }

  /** Which of the events in `mask` the group wants to hear, by all of its marks that they concern. */
  #wanted(mask: number, source: EventSource): number {
    const isDir = (mask & IN_ISDIR) !== 0
    const dirent = (mask & DIRENT_EVENTS) !== 0
    let wanted = 0
    let ignored = 0
    const consider = (mark: FanotifyMark | undefined, asChild: boolean): void => {
      if (mark === undefined) return
      if (asChild && (mark.mask & FAN_EVENT_ON_CHILD) === 0) return
      if ((mask & FAN_MODIFY) !== 0 && !mark.survivesModify) mark.ignored = 0
      ignored |= mark.ignored
      if (!isDir || (mark.mask & FAN_ONDIR) !== 0) wanted |= mark.mask
    }
    if (!dirent) consider(this.#marks.get(source.inode), false)
    if (source.dir !== undefined) consider(this.#marks.get(source.dir), !dirent)
    if (source.to !== undefined) consider(this.#marks.get(source.to.dir), false)
    consider(this.#marks.get(source.inode.sb), false)
    if (source.path !== undefined) consider(this.#marks.get(source.path.mount), false)
    return mask & ~IN_ISDIR & wanted & ~ignored
  }

  report(mask: number, name: string | undefined, source: EventSource | undefined, object: Watched): void {
    // What the file system tells of an inode by itself has no more to it.
    const known = source ?? sourceOf(object)
    if (known === undefined) return
    const wanted = this.#wanted(mask, known)
    if (wanted === 0) return
    // A descriptor can only be given of what was opened.
    if (!this.usesHandles && known.path === undefined) return
    const dir = this.usesHandles ? mask & FAN_ONDIR : 0
    const sides = known.to === undefined ? undefined : this.#sides(mask, known, known.to.dir)
    const all = wanted | dir
    const records = this.usesHandles ? recordsOf(this, { mask: all, source: known, name, sides }) : []
    const path = this.usesHandles ? undefined : known.path
    this.#push({ mask: all, pid: this.#actor(), path, records })
  }

  /** Of a rename: which directories the group watches. */
  #sides(mask: number, { inode, dir }: EventSource, newDir: Watched): RenameSides {
    const watches = (object: Watched | undefined) => {
      const mark = object === undefined ? undefined : this.#marks.get(object)
      if (mark === undefined || (mark.mask & FAN_RENAME) === 0) return false
      return (mask & IN_ISDIR) === 0 || (mark.mask & FAN_ONDIR) !== 0
    }
    const all = watches(inode.sb)
    return { old: all || watches(dir), new: all || watches(newDir) }
  }

  /** Before an open or a read: FAN_OPEN_PERM and its like. */
  ask(mask: number, source: EventSource): Status {
    const wanted = this.#wanted(mask, source)
    const task = this.kernel.current
    if (wanted === 0 || source.path === undefined || task === undefined) return 0
    return this.permissions.ask(task, source.path, wanted, request => {
      this.#push({ mask: wanted, pid: this.#actor(), path: source.path, records: [], request })
    })
  }

  #actor(): FanotifyEvent['pid'] {
    const task = this.kernel.current
    return (this.initFlags & FAN_REPORT_TID) !== 0 ? task?.pid : task?.group.pid
  }

  #push(event: FanotifyEvent): void {
    if (event.request === undefined && this.#merge(event)) return
    const limited = (this.initFlags & FAN_UNLIMITED_QUEUE) === 0 && event.request === undefined
    if (limited && this.#events.length >= this.kernel.fanotifyLimits.maxQueuedEvents) {
      if (this.#overflowed) return
      this.#overflowed = true
      this.#events.push({ mask: FAN_Q_OVERFLOW, pid: undefined, path: undefined, records: [] })
    } else {
      if (event.path !== undefined) holdPath(event.path)
      this.#events.push(event)
    }
    this.#queue.wake(POLLIN | POLLRDNORM)
  }

  /** fanotify_merge: an unread event of the same process about the same file takes this one in. */
  #merge(event: FanotifyEvent): boolean {
    const from = Math.max(0, this.#events.length - MERGE_DEPTH)
    for (let i = this.#events.length - 1; i >= from; i--) {
      const old = this.#events[i]
      if (old.request !== undefined || old.pid !== event.pid || old.mask === FAN_Q_OVERFLOW) continue
      if (((old.mask ^ event.mask) & (FAN_ONDIR | FAN_RENAME)) !== 0) continue
      if (!isAlike(old, event)) continue
      old.mask |= event.mask
      return true
    }
    return false
  }

  /** Nobody waits for the answer to this one any more. */
  #withdraw(request: PermissionRequest): void {
    const at = this.#events.findIndex(event => event.request === request)
    if (at < 0) return
    dropPath(this.#events[at].path!)
    this.#events.splice(at, 1)
  }

  /** Whole events, as many as fit; -EINVAL when not even the first does. */
  override read(into: IoDst): number {
    if (this.#events.length === 0) return -EAGAIN
    // Who reads gets descriptors: a ring of requests has no table of its own.
    const reader = this.kernel.current
    if (reader === undefined) return -EINVAL
    let done = 0
    while (this.#events.length > 0) {
      const event = this.#events[0]
      const encoded = encodeEvent(this, reader, event, into.remaining)
      // A file whose server is asked to open it first: the event stays until then.
      if (encoded === undefined || encoded === PENDING) return done > 0 ? done : (encoded ?? -EINVAL)
      this.#events.shift()
      if (event.mask === FAN_Q_OVERFLOW) this.#overflowed = false
      const n = typeof encoded === 'number' ? encoded : into.put(encoded)
      if (event.path !== undefined) dropPath(event.path)
      if (n < 0) {
        event.request?.answer(false)
        return done > 0 ? done : n
      }
      done += n
    }
    return done
  }

  /** struct fanotify_response. */
  override write(from: IoSrc): number {
    return this.permissions.respond(from)
  }

  /** FIONREAD: as much as events without records would take. */
  override ioctl(context: IoctlContext, request: number, argument: number): number {
    if (request !== FIONREAD) return super.ioctl(context, request, argument)
    const bytes = new Uint8Array(4)
    new DataView(bytes.buffer).setInt32(0, this.#events.length * FAN_EVENT_METADATA_LEN, true)
    return context.copyOut(argument, bytes)
  }

  override release(): void {
    for (const mark of this.marks) this.removeMark(mark.object)
    this.#usage.groups--
    for (const event of this.#events) if (event.path !== undefined) dropPath(event.path)
    this.#events = []
    this.permissions.answerAll()
  }
}

function isAlike(a: FanotifyEvent, b: FanotifyEvent): boolean {
  if (a.path !== undefined || b.path !== undefined)
    return a.path !== undefined && b.path !== undefined && samePath(a.path, b.path)
  return (
    a.records.length === b.records.length &&
    a.records.every((record, i) => {
      const { type, dev, handle, name } = b.records[i]
      return record.type === type && record.dev === dev && record.handle === handle && record.name === name
    })
  )
}

/** What is known of an event that an inode's watches alone were told of. */
function sourceOf(object: Watched): EventSource | undefined {
  if (!('sb' in object) || !('isDir' in object)) return undefined
  return { inode: object as EventSource['inode'], dentry: undefined, dir: undefined, path: undefined }
}
