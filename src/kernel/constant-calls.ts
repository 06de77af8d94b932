/**
 * Calls whose answer stays the same for long (getpid, getuid, …) are answered by the thread itself once the kernel has
 * answered them, until something changes: credentials, the parent, or that somebody traces or filters calls. Where filters
 * allow a call by its number alone, the thread may still answer it. A new thread, and the thread of a new program, begins
 * without.
 */
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

/** Gives `value`, and has the thread give it from now on. `index`: CONSTANT_* of abi/protocol.ts. */
export function constantCall(task: Task, index: number, value: number): number {
  // The thread's words are signed.
  const { kernel, seccomp, userDispatch } = task
  const seen =
    kernel.trace !== undefined ||
    userDispatch !== undefined ||
    seccomp?.alwaysAllows(task.callNumber) === false
  if (!seen && value < 0x80000000) task.thread.setConstant?.(index, value)
  return value
}

/** What the thread was told may not hold any more. */
export function forgetConstants(task: Task): void {
  task.thread.clearConstants?.()
}

export function forgetGroupConstants(group: ThreadGroup): void {
  for (const task of group.tasks) forgetConstants(task)
}
