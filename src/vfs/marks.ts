/** Who watches an inode, a mount or a file system, as a list: marks of inotify, dnotify and fanotify. */
import { FAN_OPEN_EXEC, FAN_RENAME, IN_ALL_EVENTS, IN_UNMOUNT } from '../abi/constants.ts'
import type { Status } from '../base/result.ts'
import type { Inode } from './inode.ts'
import type { EventSource, InodeWatches } from './notify.ts'

/** One watch. It leaves the list by `removeMark`, also while it is told of something. */
export interface Mark {
  /** IN_* events, FAN_OPEN_EXEC and FAN_RENAME, that it wants to hear of; IN_UNMOUNT it always hears. */
  readonly mask: number
  /** As InodeWatches.event. */
  event(mask: number, cookie: number, name: string | undefined, unlinked: boolean, source?: EventSource): void
  /** As InodeWatches.permit; absent if it never has to be asked. */
  permit?(mask: number, source: EventSource): Status
  /** The inode is no more. */
  inodeGone(): void
}

/** What marks are put on: an inode, a mount, a super block. */
export interface Watched {
  watches: InodeWatches | undefined
}

const EVENTS = IN_ALL_EVENTS | FAN_OPEN_EXEC | FAN_RENAME

export class InodeMarks implements InodeWatches {
  readonly marks: Mark[] = []

  event(
    mask: number,
    cookie: number,
    name: string | undefined,
    unlinked: boolean,
    source?: EventSource,
  ): void {
    for (const mark of [...this.marks]) {
      if ((mask & mark.mask & EVENTS) === 0 && (mask & IN_UNMOUNT) === 0) continue
      mark.event(mask, cookie, name, unlinked, source)
    }
  }

  permit(mask: number, source: EventSource): Status {
    for (const mark of [...this.marks]) {
      const status = mark.permit?.(mask, source) ?? 0
      if (status !== 0) return status
    }
    return 0
  }

  inodeGone(): void {
    for (const mark of [...this.marks]) mark.inodeGone()
  }
}

export function marksOf(watched: Watched): readonly Mark[] {
  return (watched.watches as InodeMarks | undefined)?.marks ?? []
}

export function addMark(watched: Watched, mark: Mark): void {
  const first = watched.watches === undefined
  watched.watches ??= new InodeMarks()
  ;(watched.watches as InodeMarks).marks.push(mark)
  if (first) (watched as Partial<Inode>).watched?.(true)
}

export function removeMark(watched: Watched, mark: Mark): void {
  const list = watched.watches as InodeMarks | undefined
  if (list === undefined) return
  const at = list.marks.indexOf(mark)
  if (at >= 0) list.marks.splice(at, 1)
  if (list.marks.length > 0) return
  watched.watches = undefined
  ;(watched as Partial<Inode>).watched?.(false)
}
