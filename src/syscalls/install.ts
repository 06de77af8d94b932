/** New descriptors for new Files. */
import type { Task } from '../kernel/task.ts'
import type { File } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import { fdLimit } from './at.ts'

/** Gives `file`, whose one reference the caller owns, a descriptor; -EMFILE drops it. */
export function installFile(task: Task, file: File, cloexec: boolean): number {
  const fd = task.fds.install(file, cloexec, 0, fdLimit(task))
  if (fd < 0) filePut(file)
  return fd
}

/** Two descriptors, written to the guest as an int[2]: 0, -EMFILE or -EFAULT, which leave none. */
export function installPair(task: Task, a: File, b: File, cloexec: boolean, fdsAt: number): number {
  const first = installFile(task, a, cloexec)
  if (first < 0) {
    filePut(b)
    return first
  }
  const second = installFile(task, b, cloexec)
  if (second < 0) {
    task.fds.close(first)
    return second
  }
  const out = task.mm.out(8)
  out.setInt32(0, first, true)
  out.setInt32(4, second, true)
  const status = task.mm.commit(fdsAt)
  if (status < 0) {
    task.fds.close(first)
    task.fds.close(second)
  }
  return status
}
