/**
 * What one system call has asked of file systems that answer later.
 *
 * Such a file system (FUSE) can't give its result at once, and no handler may wait for it half-way down a path walk. So
 * the operation sends its request, notes it here, and returns PENDING, which passes through everything above like an
 * errno. The loop puts the task to sleep until the answer is there, and then calls the handler again, from its start. It
 * does again what it did before, and comes to the same operations: those that were answered find their answers here and go
 * on at once, and the first new one waits in its turn. An answer stays until the call is over, since caches may forget
 * between two tries; each try uses it once, so that what is asked twice is answered twice. Transfers of many pieces note how
 * far they have come as one entry, and let go of the pieces' answers (`settle`).
 *
 * For that a handler must not have changed anything before it returns PENDING that would lead its next try elsewhere: an
 * operation that changes a directory is the last of its call to ask, and locks the directory until the call is over
 * (`hold`), as Linux does.
 *
 * Made by the first request of a call; ends with the call, or with the task.
 */
import { EINTR } from '../abi/errno.ts'
import type { WaitQueue } from '../base/wait-queue.ts'
import { dropPath, type Path } from '../vfs/path.ts'
import type { CallNotes } from '../vfs/vfs.ts'
import type { Task } from './task.ts'

export interface LoggedRequest {
  readonly done: boolean
  /** Woken when it is done. */
  readonly queue: WaitQueue
  /** The last try that used it. */
  usedIn: number
  /** A signal waits for who asked: the answer may be EINTR then. */
  interrupt(): void
  /** The call is over: what the answer brought goes, unless somebody took it. */
  end(): void
}

/** What a call has locked until its end. */
export interface HeldLock {
  unlock(): void
}

export class RequestLog implements CallNotes {
  readonly #requests: LoggedRequest[] = []
  /** Counts the tries, from 1. */
  #try = 1
  /** Where the request after the one that was found last stands: that is wanted next, as a rule. */
  #at = 0
  #blocker: LoggedRequest | WaitQueue | undefined = undefined
  readonly #locks: HeldLock[] = []
  made: Path | undefined = undefined

  /** Another try begins. */
  rewind(): void {
    this.#try++
    this.#at = 0
    this.#blocker = undefined
  }

  /** A request of an earlier try that this one has not used yet; now it has. */
  find(wanted: (request: LoggedRequest) => boolean): LoggedRequest | undefined {
    const requests = this.#requests
    for (let i = 0; i < requests.length; i++) {
      const index = (this.#at + i) % requests.length
      const request = requests[index]
      if (request.usedIn === this.#try || !wanted(request)) continue
      request.usedIn = this.#try
      this.#at = index + 1
      return request
    }
    return undefined
  }

  /** One that this try has found already. */
  used(wanted: (request: LoggedRequest) => boolean): LoggedRequest | undefined {
    return this.#requests.find(request => request.usedIn === this.#try && wanted(request))
  }

  /** A new request, for whose answer the try ends. */
  add(request: LoggedRequest): void {
    request.usedIn = this.#try
    this.#requests.push(request)
    this.#blocker = request
  }

  /** What the answer brought is where it belongs, and no later try comes back to it: a long transfer keeps nothing here. */
  settle(request: LoggedRequest): void {
    const index = this.#requests.indexOf(request)
    if (index < 0) return
    this.#requests.splice(index, 1)
    if (index < this.#at) this.#at--
    request.end()
  }

  /** How much it holds. */
  get size(): number {
    return this.#requests.length
  }

  /** The try ends because this is not answered yet, or to wait for something else. */
  waitFor(what: LoggedRequest | WaitQueue): void {
    this.#blocker = what
  }

  /** `lock` is the call's now. */
  hold(lock: HeldLock): void {
    this.#locks.push(lock)
  }

  /**
   * The task sleeps until what the try waits for is there. A signal is told to who answers, who then may hurry; the call
   * goes on with the answer, and only a fatal signal ends the wait. Returns BLOCK.
   */
  wait(task: Task): number {
    const blocker = this.#blocker
    if (blocker === undefined) throw new Error('a call waits for an answer, but asked nobody')
    if (!('done' in blocker)) {
      task.uninterruptible = true
      return task.block(blocker, -EINTR)
    }
    if (task.signalPending()) {
      blocker.interrupt()
      task.uninterruptible = true
    }
    return task.block(blocker.queue, -EINTR)
  }

  /** The call is over. */
  end(): void {
    for (const request of this.#requests) request.end()
    this.#requests.length = 0
    for (const lock of this.#locks) lock.unlock()
    this.#locks.length = 0
    if (this.made !== undefined) dropPath(this.made)
    this.made = undefined
  }
}
