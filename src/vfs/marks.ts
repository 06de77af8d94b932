/** Who watches an inode, as a list: inotify's watches and dnotify's. */
import { IN_ALL_EVENTS, IN_UNMOUNT } from '../abi/constants.ts'
import type { Inode } from './inode.ts'
import type { InodeWatches } from './notify.ts'

/** One watch on one inode. It leaves the list by `removeMark`, also while it is told of something. */
export interface Mark {
  /** IN_* events that it wants to hear of; IN_UNMOUNT it always hears. */
  readonly mask: number
  /** As InodeWatches.event. */
  event(mask: number, cookie: number, name: string | undefined, unlinked: boolean): void
  /** The inode is no more. */
  inodeGone(): void
}

export class InodeMarks implements InodeWatches {
  readonly marks: Mark[] = []

  event(mask: number, cookie: number, name: string | undefined, unlinked: boolean): void {
    for (const mark of [...this.marks]) {
      if ((mask & mark.mask & IN_ALL_EVENTS) === 0 && (mask & IN_UNMOUNT) === 0) continue
      mark.event(mask, cookie, name, unlinked)
    }
  }

  inodeGone(): void {
    for (const mark of [...this.marks]) mark.inodeGone()
  }
}

export function marksOf(inode: Inode): readonly Mark[] {
  return (inode.watches as InodeMarks | undefined)?.marks ?? []
}

export function addMark(inode: Inode, mark: Mark): void {
  const first = inode.watches === undefined
  inode.watches ??= new InodeMarks()
  ;(inode.watches as InodeMarks).marks.push(mark)
  if (first) inode.watched(true)
}

export function removeMark(inode: Inode, mark: Mark): void {
  const list = inode.watches as InodeMarks | undefined
  if (list === undefined) return
  const at = list.marks.indexOf(mark)
  if (at >= 0) list.marks.splice(at, 1)
  if (list.marks.length > 0) return
  inode.watches = undefined
  inode.watched(false)
}
