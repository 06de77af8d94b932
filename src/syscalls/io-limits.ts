/** How much of a write may happen: RLIMIT_FSIZE; and views of a source or target that end early. */
import { O_APPEND, RLIMIT_FSIZE, SIGXFSZ } from '../abi/constants.ts'
import { EFBIG } from '../abi/errno.ts'
import { IoSrc } from '../base/io.ts'
import { sendToTask, userSignal } from '../kernel/signal.ts'
import type { Task } from '../kernel/task.ts'
import type { File } from '../vfs/file.ts'

/** What one read or write moves at most. */
export const MAX_RW_COUNT = 0x7ffff000

/** The first `left` bytes of another source. */
class LimitedSrc extends IoSrc {
  readonly #inner: IoSrc
  #left: number

  constructor(inner: IoSrc, left: number) {
    super()
    this.#inner = inner
    this.#left = left
  }
  override get remaining(): number {
    return Math.min(this.#left, this.#inner.remaining)
  }
  override window(max: number): Uint8Array | number {
    return this.#inner.window(Math.min(max, this.#left))
  }
  override consume(n: number): void {
    this.#inner.consume(n)
    this.#left -= n
  }
  override limit(max: number): void {
    this.#left = Math.min(this.#left, max)
  }
}

/** The part of a write to a regular file at `offset` that RLIMIT_FSIZE allows; -EFBIG (and SIGXFSZ) if there is none. */
export function limitWrite(task: Task, file: File, src: IoSrc, offset: number): IoSrc | number {
  const limit = task.group.rlimits.soft(RLIMIT_FSIZE)
  if (limit === Number.POSITIVE_INFINITY || src.remaining === 0) return src
  if ((file.flags & O_APPEND) !== 0) {
    const status = file.inode.getattr()
    if (status < 0) return status
    offset = file.inode.size
  }
  if (offset >= limit) return tooBig(task)
  return offset + src.remaining > limit ? new LimitedSrc(src, limit - offset) : src
}

/** Whether a file may get `size`: truncate, fallocate. 0 or -EFBIG with SIGXFSZ. */
export function checkSize(task: Task, oldSize: number, size: number): number {
  return size > oldSize && size > task.group.rlimits.soft(RLIMIT_FSIZE) ? tooBig(task) : 0
}

function tooBig(task: Task): number {
  // An operation is nobody's call that a signal could interrupt.
  if (task.operation === undefined) sendToTask(task, userSignal(task, task, SIGXFSZ))
  return -EFBIG
}
