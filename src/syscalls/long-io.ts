/**
 * Reads and writes of more than a share (`File.share`): done share by share, with others served in between (kernel/long-calls.ts).
 * Between two of them the call holds what Linux locks for it: the position of the description that it reads or writes
 * (f_pos_lock), and the file that it writes (i_rwsem).
 */
import { ERESTARTSYS } from '../abi/errno.ts'
import { WaitQueue } from '../base/wait-queue.ts'
import type { Task } from '../kernel/task.ts'
import type { File } from '../vfs/file.ts'
import { IoProgress } from './blocking.ts'

/** No file's share is smaller. */
export const SMALLEST_SHARE = 128 << 10

/** What a call can hold. */
interface Holdable {
  longCall: WaitQueue | undefined
}

export class LongIo extends IoProgress {
  readonly #held: Holdable[] = []

  hold(what: Holdable): void {
    if (what.longCall !== undefined) return
    what.longCall = new WaitQueue()
    this.#held.push(what)
  }
  override end(): void {
    for (const what of this.#held) {
      const waiting = what.longCall
      what.longCall = undefined
      waiting?.wakeAll()
    }
    super.end()
  }
}

/** The progress of the call in hand, if an earlier try has done a share. */
export function longIo(task: Task): LongIo | undefined {
  return task.progress instanceof LongIo ? task.progress : undefined
}

/**
 * The call has moved `done` bytes in all, and there is more. Files end such a call only by a fatal signal, devices by any.
 * Returns BLOCK.
 */
export function yieldIo(
  task: Task,
  file: File,
  done: number,
  ...held: readonly (Holdable | undefined)[]
): number {
  const progress = longIo(task) ?? new LongIo(file)
  task.progress = progress
  progress.done = done
  for (const each of held) if (each !== undefined) progress.hold(each)
  // A share is a call of its own for a file system that answers later.
  task.requests?.end()
  task.requests = undefined
  return task.yieldCall(file.inode.isRegular ? undefined : done)
}

/** Another call holds it. BLOCK, and not even signals help, but for a fatal one. */
export function waitForLong(task: Task, queue: WaitQueue): number {
  task.uninterruptible = true
  return task.block(queue, -ERESTARTSYS)
}
