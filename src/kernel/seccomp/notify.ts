/** A call whose filter wants it decided by a listener: the wait of the task that made it. */
import { EINTR, ERESTART_RESTARTBLOCK, ERESTARTSYS } from '../../abi/errno.ts'
import { attempt, finishCall } from '../loop.ts'
import { returnToGuest } from '../return-to-guest.ts'
import { NO_RESULT, type Task } from '../task.ts'
import type { SeccompListener } from './listener.ts'

/** The call that the task has just begun waits for the listener's answer. */
export function askListener(task: Task, listener: SeccompListener, data: Uint32Array): void {
  task.notification = listener.ask(task, data.slice())
  awaitReply(task)
}

/** A look at what has come: called by the loop whenever the task was woken. */
export function awaitReply(task: Task): void {
  const notification = task.notification!
  const { signals } = task
  task.stopWaiting()
  if (notification.replied) {
    task.notification = undefined
    if (notification.proceed) attempt(task)
    else answerCall(task, notification.error || notification.value)
    return
  }
  const fatal = signals.fatalPending(task)
  if (fatal || (!notification.killable && signals.pendingUnblocked(task))) {
    forgetNotification(task)
    if (fatal) returnToGuest(task, NO_RESULT)
    else askAgain(task)
    return
  }
  task.uninterruptible = notification.killable
  task.block(notification.queue)
  task.fallAsleep()
}

/** The call is over before it began. The numbers by which the kernel restarts a call are no results. */
export function answerCall(task: Task, result: number): void {
  const restarts = result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK
  finishCall(task, restarts ? -EINTR : result)
}

/** When no handler runs, the guest makes the call once more, and the filter judges it once more. */
function askAgain(task: Task): void {
  if (task.thread.materialize() < 0) task.signals.killed = true
  task.restartsInGuest = true
  finishCall(task, -ERESTARTSYS)
}

/** The task ends, or asks no longer. */
export function forgetNotification(task: Task): void {
  const { notification } = task
  if (notification === undefined) return
  task.notification = undefined
  notification.listener.drop(notification)
}
