/**
 * dnotify: fcntl(F_NOTIFY), a signal when something happens to the entries of an open directory. Superseded by inotify,
 * whose list of watches on the inode it shares. A watch goes with its first event unless DN_MULTISHOT was asked for, by
 * F_NOTIFY with no events, or with the open description.
 */
import {
  DN_ACCESS,
  DN_ATTRIB,
  DN_CREATE,
  DN_DELETE,
  DN_MODIFY,
  DN_MULTISHOT,
  DN_RENAME,
  IN_ACCESS,
  IN_ATTRIB,
  IN_CREATE,
  IN_DELETE,
  IN_MODIFY,
  IN_MOVED_FROM,
  IN_MOVED_TO,
  POLL_MSG,
} from '../abi/constants.ts'
import { ENOTDIR } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import type { File, ReleaseHook } from '../vfs/file.ts'
import { addMark, type Mark, marksOf, removeMark } from '../vfs/marks.ts'
import type { Vfs } from '../vfs/vfs.ts'

/** convert_arg: a name that comes or goes by rename is created and deleted too. */
const EVENTS: readonly (readonly [dn: number, mask: number])[] = [
  [DN_ACCESS, IN_ACCESS],
  [DN_MODIFY, IN_MODIFY],
  [DN_ATTRIB, IN_ATTRIB],
  [DN_CREATE, IN_CREATE | IN_MOVED_TO],
  [DN_DELETE, IN_DELETE | IN_MOVED_FROM],
  [DN_RENAME, IN_MOVED_FROM],
]

class DirectoryMark implements Mark, ReleaseHook {
  mask = 0
  repeated = false
  readonly #vfs: Vfs
  readonly file: File
  #fd = -1

  constructor(vfs: Vfs, file: File) {
    this.#vfs = vfs
    this.file = file
  }

  want(fd: number, events: number): void {
    this.#fd = fd
    for (const [dn, mask] of EVENTS) if ((events & dn) !== 0) this.mask |= mask
    if ((events & DN_MULTISHOT) !== 0) this.repeated = true
  }
  event(_mask: number, _cookie: number, name: string | undefined): void {
    if (name === undefined) return
    if (!this.repeated) this.remove()
    this.#vfs.signalOwner(this.file, this.#fd, POLL_MSG)
  }
  inodeGone(): void {
    this.remove()
  }
  fileReleased(): void {
    this.remove()
  }
  remove(): void {
    removeMark(this.file.inode, this)
    const hooks = this.file.releaseHooks
    const at = hooks?.indexOf(this) ?? -1
    if (at >= 0) hooks!.splice(at, 1)
  }
}

/** fcntl(F_NOTIFY); who gets the signal has been set. More events add to those that are watched. */
export function watchDirectory(vfs: Vfs, file: File, fd: number, events: number): Status {
  const { inode } = file
  const old = marksOf(inode).find(mark => mark instanceof DirectoryMark && mark.file === file)
  if ((events & ~DN_MULTISHOT) === 0) {
    if (old !== undefined) (old as DirectoryMark).remove()
    return 0
  }
  if (!inode.isDir) return -ENOTDIR
  if (old !== undefined) (old as DirectoryMark).want(fd, events)
  else {
    const mark = new DirectoryMark(vfs, file)
    mark.want(fd, events)
    addMark(inode, mark)
    file.releaseHooks ??= []
    file.releaseHooks.push(mark)
  }
  return 0
}
