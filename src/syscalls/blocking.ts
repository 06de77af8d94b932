/**
 * The one wrapper that waits around objects that never do. A handler tries; what gives -EAGAIN on a blocking file ends
 * in `sleepOn`, and the handler is called again when the file's wait queue tells. Between tries an IoProgress holds the
 * File (its descriptor may be closed meanwhile), how much a write has passed on, and when to give up.
 */
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM } from '../abi/constants.ts'
import { EAGAIN, EINTR, EPIPE, ERESTARTSYS } from '../abi/errno.ts'
import type { IoSrc } from '../base/io.ts'
import { HeldProgress, type Task } from '../kernel/task.ts'
import type { File } from '../vfs/file.ts'
import { fileGet, filePut } from '../vfs/file-ref.ts'
import { notifyModify } from '../vfs/notify.ts'

export const READ_EVENTS = POLLIN | POLLRDNORM | POLLPRI | POLLHUP | POLLERR
export const WRITE_EVENTS = POLLOUT | POLLWRNORM | POLLHUP | POLLERR

export class IoProgress extends HeldProgress {
  readonly file: File
  /** Bytes passed on by earlier tries. */
  done = 0
  /** Monotonic ns. */
  deadline = Number.POSITIVE_INFINITY
  /** Of a send with MSG_ZEROCOPY: who tells of it when it is over. */
  sender: { copied(): void } | undefined = undefined

  constructor(file: File) {
    super()
    this.file = fileGet(file)
  }
  override end(): void {
    if (this.done > 0) this.sender?.copied()
    filePut(this.file)
  }
}

/** The File of a call that may block: at later tries the one that it began with. `found`: what the descriptor is now. */
export function ioFile(task: Task, found: File | undefined): File | undefined {
  return task.progress instanceof IoProgress ? task.progress.file : found
}

/** The progress of the call in hand, made when it is needed first. */
export function ioProgress(task: Task, file: File, timeout: number): IoProgress {
  if (task.progress instanceof IoProgress) return task.progress
  const progress = new IoProgress(file)
  if (timeout !== Number.POSITIVE_INFINITY) progress.deadline = task.kernel.clock.monotonic() + timeout
  task.progress = progress
  return progress
}

/**
 * Waits until one of `events` may hold on `file`. BLOCK; or -EAGAIN for what can't be waited for and when `timeout`
 * (ns, from the first try on) is over. `done`: what the call has achieved already, and returns should a signal come.
 */
export function sleepOn(
  task: Task,
  file: File,
  events: number,
  timeout = Number.POSITIVE_INFINITY,
  done = 0,
): number {
  const queue = file.waitQueue
  if (queue === undefined) return done > 0 ? done : -EAGAIN
  const progress = ioProgress(task, file, timeout)
  progress.done = done
  if (progress.deadline !== Number.POSITIVE_INFINITY) {
    if (task.kernel.clock.monotonic() >= progress.deadline) return done > 0 ? done : -EAGAIN
    task.blockUntil(progress.deadline)
  }
  // A call with a timeout of its own is not restarted: socket(7), SO_RCVTIMEO.
  const interrupted = progress.deadline === Number.POSITIVE_INFINITY ? -ERESTARTSYS : -EINTR
  return task.block(queue, done > 0 ? done : interrupted, events)
}

/**
 * Writes all of `src` to a pipe, stream or terminal that `writesAll`, or one piece to anything else. `done` bytes went
 * with earlier tries. SIGPIPE comes with EPIPE.
 */
export function writeOut(task: Task, file: File, src: IoSrc, done: number, nonblocking: boolean): number {
  for (;;) {
    const n = file.write(src)
    if (n > 0) {
      done += n
      if (file.writesAll && src.remaining > 0) continue
      notifyModify(file)
      return done
    }
    if (n === -EAGAIN && !nonblocking) return sleepOn(task, file, WRITE_EVENTS, file.writeTimeout, done)
    if (n === -EPIPE && file.signalsPipe) task.sendSigpipe()
    if (done > 0) notifyModify(file)
    return done > 0 ? done : n
  }
}
