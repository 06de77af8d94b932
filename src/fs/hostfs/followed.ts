/**
 * What a directory of a shared tree knows without asking, because the host tells of changes (platform/host-changes.ts).
 *
 * Made with the first entry that is found in the directory, and lives as long as that. It begins to watch when the host
 * was asked for names known already WATCH_AFTER times, or when somebody inside watches; from then on a name, or the
 * attributes of a file of one name, hold until an event says otherwise. Where the host does not tell (NFS, FUSE; no
 * inotify left), nothing holds, and every walk asks as before.
 */
import {
  IN_ATTRIB,
  IN_CLOSE_WRITE,
  IN_CREATE,
  IN_DELETE,
  IN_DELETE_SELF,
  IN_ISDIR,
  IN_MODIFY,
  IN_MOVE_SELF,
  IN_MOVED_FROM,
  IN_MOVED_TO,
} from '../../abi/constants.ts'
import type { DirectoryListener, DirectoryWatch, HostChanges } from '../../platform/host-changes.ts'
import { notifyGone } from '../../vfs/notify.ts'
import type { HostDir } from './directory.ts'
import type { HostInode } from './inode.ts'
import { isLocalFs } from './safety.ts'

/** A watch costs as much as four questions. */
const WATCH_AFTER = 4
/** How often it is asked for names again before a watch that was refused is tried anew. */
const AFTER_REFUSAL = 1000
const MISSING_LIMIT = 256
const NAME_EVENTS = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
const FILE_EVENTS = IN_ATTRIB | IN_MODIFY | IN_CLOSE_WRITE

export class FollowedDir implements DirectoryListener {
  readonly #dir: HostDir
  readonly #changes: HostChanges
  #watch: DirectoryWatch | undefined = undefined
  /** Those whose place is in here. */
  readonly #entries = new Map<string, HostInode>()
  /** Names that are known not to exist. */
  #missing: Set<string> | undefined = undefined
  #asked = 0
  /** Watchers inside: of the directory, and of files in it. */
  #pins = 0

  constructor(dir: HostDir, changes: HostChanges) {
    this.#dir = dir
    this.#changes = changes
  }

  /** For HostChanges.settle. */
  get watch(): DirectoryWatch | undefined {
    return this.#watch
  }
  get isPinned(): boolean {
    return this.#pins > 0
  }

  /** The watch, after everything that has happened was told. */
  #current(): DirectoryWatch | undefined {
    if (this.#watch === undefined) return undefined
    // It may end the watch.
    this.#changes.sync()
    if (this.#watch !== undefined) this.#watch.used = true
    return this.#watch
  }

  /** Whether `node` is still what `name` leads to. */
  holds(node: HostInode, name: string): boolean {
    const watch = this.#current()
    return watch !== undefined && node.seen >= watch.since && node.parent === this.#dir && node.name === name
  }
  /** Whether the directory's own attributes are still those that were read. */
  holdsItself(): boolean {
    const watch = this.#current()
    return watch !== undefined && this.#dir.seen >= watch.since
  }
  /** Whether `name` is known not to exist. */
  isMissing(name: string): boolean {
    return this.#current() !== undefined && this.#missing?.has(name) === true
  }

  add(name: string, node: HostInode): void {
    this.#entries.set(name, node)
    this.#missing?.delete(name)
  }
  remove(name: string, node: HostInode): void {
    if (this.#entries.get(name) === node) this.#entries.delete(name)
  }

  /** The host said so just now. */
  noteMissing(name: string): void {
    if (this.#watch === undefined) return
    this.#missing ??= new Set()
    if (this.#missing.size >= MISSING_LIMIT) this.#missing.clear()
    this.#missing.add(name)
  }

  /** The host is about to be asked for something that was known once. */
  asks(): void {
    if (this.#watch === undefined && ++this.#asked >= WATCH_AFTER) this.#begin()
  }

  /** Somebody inside begins to watch the directory, or a file in it; or ceases. */
  pin(): void {
    this.#pins++
    if (this.#watch === undefined) this.#begin()
    else this.#pinWatch(this.#watch)
  }
  unpin(): void {
    if (--this.#pins === 0 && this.#watch !== undefined) this.#changes.unpin(this.#watch)
  }

  #begin(): void {
    this.#asked = WATCH_AFTER - AFTER_REFUSAL
    const { sb } = this.#dir
    const fd = this.#dir.dirFd()
    if (fd < 0 || !isLocalFs(sb.typeOf(this.#dir.dev, fd))) return
    this.#watch = this.#changes.watch(fd, this)
    if (this.#watch !== undefined && this.#pins > 0) this.#pinWatch(this.#watch)
  }
  #pinWatch(watch: DirectoryWatch): void {
    const fd = this.#dir.dirFd()
    if (fd >= 0) this.#changes.pin(watch, fd)
  }

  /** The directory is no longer in use. */
  end(): void {
    if (this.#watch !== undefined) this.#changes.unwatch(this.#watch)
    this.watchLost()
  }
  watchLost(): void {
    this.#watch = undefined
    this.#missing = undefined
    this.#asked = 0
    for (const node of this.#entries.values()) node.notHeld()
  }

  hostEvent(mask: number, cookie: number, name: string, own: boolean): void {
    if (name === '') {
      this.#selfEvent(mask, own)
      return
    }
    const dir = this.#dir
    const entry = this.#entries.get(name)
    if ((mask & NAME_EVENTS) !== 0) {
      dir.touched()
      this.#missing?.delete(name)
      entry?.doubted()
    } else if ((mask & IN_ATTRIB) !== 0) entry?.doubted()
    else entry?.rewritten()
    if (own) return
    dir.watches?.event(mask, cookie, name, false)
    // Directories hear it from the watch of their own.
    if (entry?.watches !== undefined && (mask & IN_ISDIR) === 0) tellFile(entry, mask)
  }

  #selfEvent(mask: number, own: boolean): void {
    const dir = this.#dir
    dir.doubted()
    if (own || dir.watches === undefined) return
    if ((mask & IN_DELETE_SELF) !== 0) {
      dir.nlink = 0
      notifyGone(dir)
    } else if ((mask & (IN_ATTRIB | IN_MOVE_SELF)) !== 0) {
      dir.watches.event((mask & IN_ATTRIB) !== 0 ? mask | IN_ISDIR : mask, 0, undefined, false)
    }
  }
}

/** What the watchers of a file hear of an event that its directory was told of. */
function tellFile(file: HostInode, mask: number): void {
  if ((mask & FILE_EVENTS) !== 0) file.watches?.event(mask & FILE_EVENTS, 0, undefined, false)
  else if ((mask & IN_MOVED_FROM) !== 0) file.watches?.event(IN_MOVE_SELF, 0, undefined, false)
  else if ((mask & IN_DELETE) !== 0) {
    file.watches?.event(IN_ATTRIB, 0, undefined, true)
    file.lostLink()
    // Otherwise the end comes when it is closed.
    if (file.nlink === 0 && !file.isOpen) notifyGone(file)
  }
}
