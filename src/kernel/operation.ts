/**
 * Operation: a call that goes on while nobody waits in it: an iocb of io_submit(2), an entry of an io_uring.
 *
 * It is tried in the name of the task that submitted it: with its memory, its descriptors and its directory, and with
 * the credentials that it had then. A try that can't finish leaves the operation on wait queues, as a blocked task is,
 * and it is tried again when one of them wakes: `woken` puts it on the kernel's list, which the main loop empties
 * before it looks for the next call. So handlers of calls that block serve operations as they are: while
 * `task.operation` is set, what would put the task to sleep does it to the operation.
 *
 * It ends with `finished`, once: with a result, or by `cancel`. When its task has ended the next try finds that there is
 * no memory any more, and is the last; an exec ends all at once.
 */
import { ECANCELED } from '../abi/errno.ts'
import type { Credentials } from '../base/credentials.ts'
import { BLOCK, PENDING } from '../base/result.ts'
import type { WaitEntry, Waiter, WaitQueue } from '../base/wait-queue.ts'
import type { File } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import type { Yielding } from './long-calls.ts'
import type { RequestLog } from './request-log.ts'
import { HeldProgress, type Sleep, type Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'
import { type Expiry, Timer } from './timers.ts'

/** Not tried yet, or being tried. */
const BUSY = 0
/** On wait queues. */
const WAITING = 1
/** On the kernel's list. */
const QUEUED = 2
const DONE = 3

export abstract class Operation implements Waiter, Expiry, Yielding {
  readonly task: Task
  cred: Credentials
  /** What it works on: for handlers that are given HELD_FILE in place of a descriptor. A reference is held. */
  file: File | undefined = undefined
  /** What its handler keeps between tries. */
  progress: unknown = undefined
  /** As the task's own, of its call. */
  #requests: RequestLog | undefined = undefined
  #state = BUSY
  readonly #entries: WaitEntry[] = []
  readonly #sleeps: Sleep[] = []
  /** What it ends with when it is looked at next. */
  #decided: number | undefined = undefined
  /** Its task is going: nothing may follow it. */
  protected abandoned = false
  #timer: Timer | undefined = undefined
  /** It has more to do. */
  #yields = false
  /** Monotonic ns. */
  #deadline = Number.POSITIVE_INFINITY

  constructor(task: Task) {
    this.task = task
    this.cred = task.cred
  }

  /** One try: a result, a negative errno, or BLOCK. */
  protected abstract run(task: Task): number
  /** It is over, with the result of the last try or -ECANCELED. Must not start anything that fails if the task is ending. */
  protected abstract finished(result: number): void

  /** Whether it needs the task's memory and descriptors. */
  protected get endsWithTask(): boolean {
    return true
  }

  /** What it works on would otherwise keep alive what it was submitted to, and so itself: a ring that waits for a ring. */
  get endsAtExit(): boolean {
    return this.file?.passable === false
  }

  get done(): boolean {
    return this.#state === DONE
  }
  /** Waits for something that may never happen. */
  get waiting(): boolean {
    return this.#state === WAITING || this.#state === QUEUED
  }

  /** Tries it. The task is the one whose call is served, or any that is alive. */
  attempt(): void {
    const { task } = this
    const { kernel } = task
    if (this.#state === DONE) return
    this.#stopWaiting()
    this.#state = BUSY
    if (task.ended && this.endsWithTask) this.#decided = -ECANCELED
    if (this.#decided !== undefined) {
      this.end(this.#decided)
      return
    }
    const { progress, requests, cred, operation, uninterruptible } = task
    const { current } = kernel
    const { space } = task.mm
    const { active } = space
    // Outside of the task's own call its thread may be running.
    if (current !== task) space.active = undefined
    task.progress = this.progress
    task.requests = this.#requests
    task.requests?.rewind()
    task.cred = this.cred
    task.operation = this
    kernel.current = task
    let result: number
    try {
      result = this.run(task)
      if (result === PENDING) result = task.requests!.wait(task)
    } finally {
      this.progress = task.progress
      this.#requests = task.requests
      task.progress = progress
      task.requests = requests
      task.cred = cred
      task.operation = operation
      // An operation that only a fatal signal ends says nothing of how its task sleeps.
      task.uninterruptible = uninterruptible
      kernel.current = current
      space.active = active
    }
    if (result === BLOCK) this.#fallAsleep()
    else this.end(result)
  }

  /** Ends it before its time, if it waits. */
  cancel(result = -ECANCELED): boolean {
    if (!this.waiting) return false
    this.#stopWaiting()
    this.end(result)
    return true
  }

  /** The same, but not before the call in hand is served. */
  cancelSoon(result = -ECANCELED): boolean {
    if (!this.waiting || this.#decided !== undefined) return false
    this.#decided = result
    this.tryAgain()
    return true
  }

  /** Its task ends, or becomes another program. */
  abandon(): void {
    this.abandoned = true
    this.cancel()
  }

  /** For one that was not tried yet: its first try comes when the call in hand is served; with `decided` it ends then. */
  tryLater(decided?: number): void {
    this.#decided = decided
    this.#queue()
    this.track()
  }

  block(queue: WaitQueue, events = 0, exclusive = false): number {
    this.#entries.push(queue.add(this, events, exclusive))
    return BLOCK
  }
  blockOn(sleep: Sleep): number {
    this.#sleeps.push(sleep)
    return BLOCK
  }
  blockUntil(deadline: number): number {
    this.#deadline = deadline
    return BLOCK
  }

  /** As Task.yieldCall. */
  yieldCall(): number {
    this.#yields = true
    return BLOCK
  }
  /** LongCalls: its turn. */
  goOn(): void {
    this.tryAgain()
  }

  /** Waiter. */
  woken(entry: WaitEntry, _events: number): void {
    entry.queue.remove(entry)
    this.tryAgain()
  }
  /** Expiry. */
  expired(): void {
    this.tryAgain()
  }

  victim(): ThreadGroup {
    return this.task.group
  }

  /** It is tried once more when the kernel has time. */
  tryAgain(): void {
    if (this.#state === WAITING) this.#queue()
  }

  #queue(): void {
    this.#state = QUEUED
    // One that yielded is not left anywhere: others may wait for what it holds, its own task among them.
    if (this.#yields) this.task.kernel.operations.push(this)
    else this.enqueue()
  }

  /** Puts it where somebody will try it. */
  protected enqueue(): void {
    this.task.kernel.operations.push(this)
  }

  /** An exec of its task will end it. */
  protected track(): void {
    this.task.operations ??= new Set()
    this.task.operations.add(this)
  }

  #fallAsleep(): void {
    const { task } = this
    this.#state = WAITING
    this.track()
    if (this.#yields) task.kernel.longCalls.add(this)
    if (this.#deadline === Number.POSITIVE_INFINITY) return
    this.#timer ??= new Timer(this)
    task.kernel.timers.add(this.#timer, this.#deadline)
  }

  #stopWaiting(): void {
    for (const entry of this.#entries) entry.queue.remove(entry)
    this.#entries.length = 0
    for (const sleep of this.#sleeps) sleep.cancel()
    this.#sleeps.length = 0
    if (this.#yields) this.task.kernel.longCalls.delete(this)
    this.#yields = false
    this.#deadline = Number.POSITIVE_INFINITY
    if (this.#timer !== undefined) this.task.kernel.timers.cancel(this.#timer)
  }

  protected end(result: number): void {
    this.#state = DONE
    this.task.operations?.delete(this)
    if (this.progress instanceof HeldProgress) this.progress.end()
    this.progress = undefined
    this.#requests?.end()
    this.#requests = undefined
    this.finished(result)
  }
}

/** The task becomes another program: its operations end with its memory. */
export function cancelOperations(task: Task): void {
  forgetRings(task)
  abandonUnstarted(task)
  for (const operation of task.operations ?? []) operation.abandon()
}

/** The task ends. Most of its operations stay until something wakes them, or what they were submitted to goes. */
export function leaveOperations(task: Task): void {
  forgetRings(task)
  abandonUnstarted(task)
  for (const operation of task.operations ?? []) if (operation.endsAtExit) operation.abandon()
}

/** Before those that hold them up: the end of one of these would start them. */
function abandonUnstarted(task: Task): void {
  for (const operation of task.operations ?? []) if (!operation.waiting) operation.abandon()
}

function forgetRings(task: Task): void {
  const { ringFiles } = task
  task.ringFiles = undefined
  if (ringFiles !== undefined) for (const file of ringFiles) if (file !== undefined) filePut(file)
}
