/**
 * File system events for inotify(7) and fanotify(7). Operations of vfs/ and the read and write handlers report here; who watches
 * an inode puts an object behind `inode.watches`. Nothing is done, and nothing allocated, where nobody watches.
 */
import {
  FAN_ACCESS_PERM,
  FAN_RENAME,
  IN_ACCESS,
  IN_ATTRIB,
  IN_CLOSE_NOWRITE,
  IN_CLOSE_WRITE,
  IN_CREATE,
  IN_DELETE,
  IN_DELETE_SELF,
  IN_ISDIR,
  IN_MODIFY,
  IN_MOVE_SELF,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  IN_OPEN,
} from '../abi/constants.ts'
import type { Status } from '../base/result.ts'
import type { Dentry } from './dentry.ts'
import type { File } from './file.ts'
import type { Inode } from './inode.ts'
import type { Path } from './path.ts'

/** Whom an event is about, for those who want more than inotify tells. */
export interface EventSource {
  readonly inode: Inode
  /** A name of it; the directory that has, or had, it. */
  readonly dentry: Dentry | undefined
  readonly dir: Inode | undefined
  /** Of an open file: by what it was opened. */
  readonly path: Path | undefined
  /** FAN_RENAME: where it is now; `dir` is where it was. */
  readonly to?: { readonly dir: Inode; readonly name: string }
}

/** The watches on one inode, or on a whole mount or file system. */
export interface InodeWatches {
  /**
   * An event on the inode itself (`name` undefined) or on an entry `name` of this directory. `mask` is one IN_* event,
   * with IN_ISDIR if its subject is a directory; `unlinked`: the entry has no name any more (IN_EXCL_UNLINK).
   */
  event(mask: number, cookie: number, name: string | undefined, unlinked: boolean, source?: EventSource): void
  /** Whether somebody has to be asked first (FAN_OPEN_PERM, …): 0, -EPERM, or PENDING. */
  permit(mask: number, source: EventSource): Status
  /** The last link is gone and nobody has it open, or its file system was unmounted: IN_IGNORED follows. */
  inodeGone(): void
}

/** fsnotify of an event on a name: the directory hears it with the name, the inode without. */
export function notifyDentry(dentry: Dentry, mask: number, cookie = 0, path?: Path): void {
  const inode = dentry.inode
  if (inode === undefined || !isHeard(dentry, inode, path)) return
  const full = inode.isDir ? mask | IN_ISDIR : mask
  const source = { inode, dentry, dir: dentry.parent?.inode, path }
  source.dir?.watches?.event(full, cookie, dentry.name, dentry.unhashed, source)
  inode.watches?.event(full, cookie, undefined, dentry.unhashed, source)
  inode.sb.watches?.event(full, cookie, dentry.name, dentry.unhashed, source)
  path?.mount.watches?.event(full, cookie, dentry.name, dentry.unhashed, source)
}

function isHeard(dentry: Dentry, inode: Inode, path: Path | undefined): boolean {
  return (
    inode.watches !== undefined ||
    dentry.parent?.inode?.watches !== undefined ||
    inode.sb.watches !== undefined ||
    path?.mount.watches !== undefined
  )
}

/** Before a file is opened or read. */
export function askPermission(path: Path, mask: number): Status {
  const { dentry, mount } = path
  const inode = dentry.inode!
  if (!isHeard(dentry, inode, path)) return 0
  const source = { inode, dentry, dir: dentry.parent?.inode, path }
  const full = inode.isDir ? mask | IN_ISDIR : mask
  return (
    inode.watches?.permit(full, source) ||
    source.dir?.watches?.permit(full, source) ||
    inode.sb.watches?.permit(full, source) ||
    mount.watches?.permit(full, source) ||
    0
  )
}

/** Whether an open file may be read, for all that reads from it: 0, -EPERM, or PENDING. */
export function askToRead(file: File): Status {
  return file.quiet ? 0 : askPermission(file.path, FAN_ACCESS_PERM)
}

/** An event on an open file. O_PATH files are silent, and those that a listener was given. */
export function notifyFile(file: File, mask: number): void {
  if (file.quiet) return
  notifyDentry(file.path.dentry, mask, 0, file.path)
}

export function notifyAccess(file: File): void {
  notifyFile(file, IN_ACCESS)
}
export function notifyModify(file: File): void {
  notifyFile(file, IN_MODIFY)
}
export function notifyOpen(file: File): void {
  notifyFile(file, IN_OPEN)
}
export function notifyClose(file: File): void {
  notifyFile(file, file.writable ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE)
}
export function notifyAttrib(dentry: Dentry): void {
  notifyDentry(dentry, IN_ATTRIB)
}

/** An event on an entry of a directory, of which the entry's own watches don't hear. */
function notifyEntry(dir: Inode, mask: number, cookie: number, name: string, inode: Inode | undefined): void {
  if (dir.watches === undefined && dir.sb.watches === undefined) return
  const source = inode === undefined ? undefined : { inode, dentry: undefined, dir, path: undefined }
  dir.watches?.event(mask, cookie, name, false, source)
  dir.sb.watches?.event(mask, cookie, name, false, source)
}

/** `name` appeared in `dir`. */
export function notifyCreate(dir: Inode, name: string, isDir: boolean, inode?: Inode): void {
  notifyEntry(dir, isDir ? IN_CREATE | IN_ISDIR : IN_CREATE, 0, name, inode)
}

/** `name` went from `dir`. What was there has heard of it before. */
export function notifyDelete(dir: Inode, name: string, isDir: boolean, inode?: Inode): void {
  notifyEntry(dir, isDir ? IN_DELETE | IN_ISDIR : IN_DELETE, 0, name, inode)
}

/** The inode is no more: called when its last link and last open file are gone. */
export function notifyGone(inode: Inode): void {
  inode.sb.watches?.event(IN_DELETE_SELF, 0, undefined, true, {
    inode,
    dentry: undefined,
    dir: undefined,
    path: undefined,
  })
  if (inode.watches === undefined) return
  inode.watches.event(IN_DELETE_SELF, 0, undefined, true)
  inode.watches?.inodeGone()
}

export function notifyMove(
  oldDir: Inode,
  oldName: string,
  newDir: Inode,
  newName: string,
  moved: Inode,
  cookie: number,
): void {
  const dirBit = moved.isDir ? IN_ISDIR : 0
  notifyRename(oldDir, oldName, newDir, newName, moved)
  notifyEntry(oldDir, IN_MOVED_FROM | dirBit, cookie, oldName, moved)
  notifyEntry(newDir, IN_MOVED_TO | dirBit, cookie, newName, moved)
  moved.watches?.event(IN_MOVE_SELF, 0, undefined, false)
}

/** Both sides of a move in one event, of which each directory hears. */
function notifyRename(oldDir: Inode, oldName: string, newDir: Inode, newName: string, moved: Inode): void {
  if (oldDir.watches === undefined && newDir.watches === undefined && oldDir.sb.watches === undefined) return
  const to = { dir: newDir, name: newName }
  const source = { inode: moved, dentry: undefined, dir: oldDir, path: undefined, to }
  const mask = moved.isDir ? FAN_RENAME | IN_ISDIR : FAN_RENAME
  oldDir.watches?.event(mask, 0, oldName, false, source)
  if (newDir !== oldDir) newDir.watches?.event(mask, 0, oldName, false, source)
  oldDir.sb.watches?.event(mask, 0, oldName, false, source)
}
