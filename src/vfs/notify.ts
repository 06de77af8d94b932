/**
 * File system events for inotify(7). Operations of vfs/ and the read and write handlers report here; who watches
 * an inode puts an object behind `inode.watches`. Nothing is done, and nothing allocated, where nobody watches.
 */
import {
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
import type { Dentry } from './dentry.ts'
import type { File } from './file.ts'
import type { Inode } from './inode.ts'

/** The watches on one inode, of all inotify instances. */
export interface InodeWatches {
  /**
   * An event on the inode itself (`name` undefined) or on an entry `name` of this directory. `mask` is one IN_* event,
   * with IN_ISDIR if its subject is a directory; `unlinked`: the entry has no name any more (IN_EXCL_UNLINK).
   */
  event(mask: number, cookie: number, name: string | undefined, unlinked: boolean): void
  /** The last link is gone and nobody has it open, or its file system was unmounted: IN_IGNORED follows. */
  inodeGone(): void
}

/** fsnotify of an event on a name: the directory hears it with the name, the inode without. */
export function notifyDentry(dentry: Dentry, mask: number, cookie = 0): void {
  const inode = dentry.inode
  if (inode === undefined) return
  const parent = dentry.parent?.inode?.watches
  if (parent === undefined && inode.watches === undefined) return
  const full = inode.isDir ? mask | IN_ISDIR : mask
  parent?.event(full, cookie, dentry.name, dentry.unhashed)
  inode.watches?.event(full, cookie, undefined, dentry.unhashed)
}

/** An event on an open file. O_PATH files are silent. */
export function notifyFile(file: File, mask: number): void {
  const dentry = file.path.dentry
  if (dentry.inode!.watches === undefined && dentry.parent?.inode?.watches === undefined) return
  notifyDentry(dentry, mask)
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

/** `name` appeared in `dir`. */
export function notifyCreate(dir: Inode, name: string, isDir: boolean): void {
  dir.watches?.event(isDir ? IN_CREATE | IN_ISDIR : IN_CREATE, 0, name, false)
}

/** `name` went from `dir`. What was there has heard of it before. */
export function notifyDelete(dir: Inode, name: string, isDir: boolean): void {
  dir.watches?.event(isDir ? IN_DELETE | IN_ISDIR : IN_DELETE, 0, name, false)
}

/** The inode is no more: called when its last link and last open file are gone. */
export function notifyGone(inode: Inode): void {
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
  oldDir.watches?.event(IN_MOVED_FROM | dirBit, cookie, oldName, false)
  newDir.watches?.event(IN_MOVED_TO | dirBit, cookie, newName, false)
  moved.watches?.event(IN_MOVE_SELF, 0, undefined, false)
}
