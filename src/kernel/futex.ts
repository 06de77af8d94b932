/**
 * Futexes: futex(2). Where the platform can (`native`), threads wait in the host's kernel for all but PI futexes, wakers wake
 * them there, and what is kept here is for PI futexes alone: who waits where decides which wakes reach it, so a futex is
 * either all the host's or all the kernel's. native/protocol.h tells how such a wait is interrupted.
 *
 * Else, and for PI: a queue of waiters per key; a key is a place that all who share it agree on: the backing
 * object and offset of a shared mapping, else the mm and the address.
 *
 * A FutexWaiter is made by a call that waits and stands in at most one queue; it leaves it when woken (`woken`),
 * requeued, or when its task stops waiting (timeout, signal, end). One sentry serves one call at a time, so that reading
 * the word and joining the queue can't be split by a waker's call.
 */
import { FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS } from '../abi/constants.ts'
import {
  EAGAIN,
  EDEADLK,
  EFAULT,
  EINVAL,
  EPERM,
  ERESTART_RESTARTBLOCK,
  ERESTARTSYS,
  ESRCH,
} from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Status } from '../base/result.ts'
import type { Mm } from '../mm/mm.ts'
import { VM_SHARED } from '../mm/vma.ts'
import type { Platform } from '../platform/platform.ts'
import type { Sleep, Task } from './task.ts'

export interface FutexKey {
  /** The mm, or what is behind a shared mapping. */
  readonly owner: object
  readonly offset: number
}

export class FutexWaiter implements Sleep {
  readonly task: Task
  readonly bitset: number
  queue: FutexQueue | undefined = undefined
  /** It was woken; for a PI futex: it owns the lock now. */
  woken = false
  /** FUTEX_WAIT_REQUEUE_PI: the PI futex that it may be moved to. */
  target: FutexKey | undefined = undefined
  /** It waits for `target` now. */
  moved = false
  /** PI: where the word is in its own address space. */
  targetAddress = 0

  constructor(task: Task, bitset: number) {
    this.task = task
    this.bitset = bitset
  }

  cancel(): void {
    this.queue?.remove(this)
  }
}

class FutexQueue {
  readonly key: FutexKey
  readonly waiters = new Set<FutexWaiter>()
  /** PI: the task that holds the lock, while others wait for it. */
  owner: Task | undefined = undefined
  readonly #table: FutexTable

  constructor(table: FutexTable, key: FutexKey) {
    this.#table = table
    this.key = key
  }
  add(waiter: FutexWaiter): void {
    waiter.queue = this
    this.waiters.add(waiter)
  }
  remove(waiter: FutexWaiter): void {
    waiter.queue = undefined
    this.waiters.delete(waiter)
    if (this.waiters.size === 0) this.#table.forget(this)
  }
  get first(): FutexWaiter | undefined {
    for (const waiter of this.waiters) return waiter
    return undefined
  }
}

/** Progress of a wait in the host's kernel that was interrupted: its deadline on the host's clock. */
export class NativeWait {
  readonly deadline: { readonly sec: number; readonly nsec: number }

  constructor(deadline: { readonly sec: number; readonly nsec: number }) {
    this.deadline = deadline
  }
}

/** What a call gives, or how it goes on, whose wait in the host's kernel was interrupted. */
export function interruptedFutex(task: Task): number {
  const deadline = task.thread.native?.interruptedDeadline()
  // Only futex(2) goes on with its deadline; the others begin anew, with the absolute one of their arguments.
  const timed = task.callNumber === NR.futex && task.args[3] !== 0
  task.progress = timed && deadline !== undefined ? new NativeWait(deadline) : undefined
  return timed ? -ERESTART_RESTARTBLOCK : -ERESTARTSYS
}

export class FutexTable {
  readonly #platform: Platform
  /** All waits but those for PI futexes are the host's. */
  readonly native: boolean
  readonly #queues = new Map<object, Map<number, FutexQueue>>()
  /** Queues with an owner. */
  readonly #pi = new Set<FutexQueue>()

  constructor(platform: Platform) {
    this.#platform = platform
    this.native = platform.futexWake !== undefined
  }

  /** `shared`: without FUTEX_PRIVATE_FLAG. */
  key(mm: Mm, address: number, shared: boolean): FutexKey {
    if (shared) {
      const vma = mm.find(address)
      const owner = vma?.file?.inode ?? vma?.shared
      if (vma !== undefined && owner !== undefined && (vma.flags & VM_SHARED) !== 0) {
        return { owner, offset: vma.offset + (address - vma.start) }
      }
    }
    return { owner: mm, offset: address }
  }

  enqueue(waiter: FutexWaiter, key: FutexKey): void {
    this.#queueOf(key).add(waiter)
  }

  /** Wakes at most `count` waiters that have a bit of `bitset`; how many. */
  wake(key: FutexKey, count: number, bitset = FUTEX_BITSET_MATCH_ANY): number {
    const queue = this.#find(key)
    if (queue === undefined) return 0
    let done = 0
    for (const waiter of queue.waiters) {
      if (done >= count) break
      if ((waiter.bitset & bitset) === 0 || queue.owner !== undefined) continue
      this.#wake(waiter)
      done++
    }
    return done
  }

  /** Wakes for the kernel's own words (clear_child_tid, robust lists). */
  wakeAddress(mm: Mm, address: number, count: number): number {
    if (this.native) return this.#platform.futexWake!(mm.space, address, count, true)
    return this.wake(this.key(mm, address, true), count)
  }

  /** The task's thread makes futex calls by itself from now on, unless somebody wants to see them, or its clock is another. */
  allowNative(task: Task): void {
    if (!this.native || task.kernel.trace !== undefined || task.userDispatch !== undefined) return
    if (task.seccomp?.alwaysAllows(NR.futex) === false) return
    if (task.ns.time.monotonicOffset === 0) task.thread.native?.allowFutexes()
  }

  /** Wakes `wakeCount` and moves `moveCount` others to the queue of `to`: how many of both. */
  requeue(from: FutexKey, to: FutexKey, wakeCount: number, moveCount: number): number {
    const woken = this.wake(from, wakeCount)
    const queue = this.#find(from)
    if (queue === undefined) return woken
    const target = this.#queueOf(to)
    let moved = 0
    if (target !== queue) {
      for (const waiter of [...queue.waiters].slice(0, moveCount)) {
        target.add(waiter)
        queue.waiters.delete(waiter)
        moved++
      }
    } else moved = Math.min(moveCount, queue.waiters.size)
    if (queue.waiters.size === 0) this.forget(queue)
    if (target.waiters.size === 0) this.forget(target)
    return woken + moved
  }

  /** The old value of the word, or -EFAULT. */
  compareExchange(mm: Mm, address: number, expected: number, desired: number): number {
    const native = mm.space.compareExchange?.(address, expected, desired)
    if (native !== undefined) return native
    const old = mm.u32(address)
    if (old === undefined) return -EFAULT
    return old === expected && mm.putU32(address, desired) < 0 ? -EFAULT : old
  }

  // PI: the word holds the owner's thread id; FUTEX_WAITERS says that the kernel has to be asked to give it up.

  /** Takes the lock for `task`: 0, -EAGAIN when somebody else has it (FUTEX_WAITERS is set then), or an error. */
  lockPi(task: Task, address: number, key: FutexKey, mark: boolean): Status {
    const { mm } = task
    for (;;) {
      const value = mm.u32(address)
      if (value === undefined) return -EFAULT
      const holder = value & FUTEX_TID_MASK
      if (holder === task.tid) return -EDEADLK
      if (holder === 0) {
        // Whoever waits goes before a newcomer, whose tries come through here too.
        const flags = (value & FUTEX_OWNER_DIED) | (this.#find(key) !== undefined ? FUTEX_WAITERS : 0)
        const seen = this.compareExchange(mm, address, value, (task.tid | flags) >>> 0)
        if (seen === value) return 0
        if (seen < 0) return seen
        continue
      }
      const owner = task.pidNs.task(holder)
      if (owner === undefined || owner.ended) return -ESRCH
      if (!mark) return -EAGAIN
      const seen = this.compareExchange(mm, address, value, (value | FUTEX_WAITERS) >>> 0)
      if (seen < 0) return seen
      if (seen !== value) continue
      const queue = this.#queueOf(key)
      queue.owner = owner
      this.#pi.add(queue)
      return -EAGAIN
    }
  }

  /** Gives the lock to the first waiter, or frees it. */
  unlockPi(task: Task, address: number, key: FutexKey): Status {
    const value = task.mm.u32(address)
    if (value === undefined) return -EFAULT
    if ((value & FUTEX_TID_MASK) !== task.tid) return -EPERM
    const queue = this.#find(key)
    if (queue?.first !== undefined) {
      if (queue.owner === undefined) return -EINVAL
      return this.#handOver(queue, address, 0)
    }
    const seen = this.compareExchange(task.mm, address, value, 0)
    return seen < 0 ? seen : seen === value ? 0 : -EAGAIN
  }

  /** FUTEX_CMP_REQUEUE_PI: the first waiter gets the lock if it is free, the others wait for it from now on. */
  requeuePi(task: Task, from: FutexKey, to: FutexKey, toAddress: number, count: number): number {
    const queue = this.#find(from)
    if (queue === undefined) return 0
    let done = 0
    for (const waiter of [...queue.waiters]) {
      if (done >= count + 1) break
      if (
        waiter.target === undefined ||
        waiter.target.offset !== to.offset ||
        waiter.target.owner !== to.owner
      ) {
        return done > 0 ? done : -EINVAL
      }
      const status = this.lockPi(waiter.task, toAddress, to, true)
      if (status < 0 && status !== -EAGAIN) return done > 0 ? done : status
      queue.waiters.delete(waiter)
      waiter.queue = undefined
      if (status === 0) {
        waiter.woken = true
        task.kernel.makeRunnable(waiter.task)
      } else {
        this.#queueOf(to).add(waiter)
        waiter.moved = true
      }
      done++
    }
    if (queue.waiters.size === 0) this.forget(queue)
    return done
  }

  /** A task ends: PI locks that others wait for go to them, marked (exit_pi_state_list). */
  ownerEnded(task: Task): void {
    for (const queue of [...this.#pi]) {
      if (queue.owner === task) this.#handOver(queue, queue.first?.targetAddress ?? 0, FUTEX_OWNER_DIED)
    }
  }

  forget(queue: FutexQueue): void {
    this.#pi.delete(queue)
    const queues = this.#queues.get(queue.key.owner)
    if (queues?.get(queue.key.offset) !== queue) return
    queues.delete(queue.key.offset)
    if (queues.size === 0) this.#queues.delete(queue.key.owner)
  }

  #handOver(queue: FutexQueue, address: number, flag: number): Status {
    const next = queue.first
    if (next === undefined) return 0
    const more = queue.waiters.size > 1 ? FUTEX_WAITERS : 0
    const status = next.task.mm.putU32(address, (next.task.tid | more | flag) >>> 0)
    if (status < 0) return status
    next.task.mm.space.flush?.()
    queue.owner = next.task
    this.#wake(next)
    return 0
  }

  #wake(waiter: FutexWaiter): void {
    waiter.woken = true
    waiter.queue?.remove(waiter)
    waiter.task.kernel.makeRunnable(waiter.task)
  }

  #find(key: FutexKey): FutexQueue | undefined {
    return this.#queues.get(key.owner)?.get(key.offset)
  }

  #queueOf(key: FutexKey): FutexQueue {
    let queues = this.#queues.get(key.owner)
    if (queues === undefined) {
      queues = new Map()
      this.#queues.set(key.owner, queues)
    }
    let queue = queues.get(key.offset)
    if (queue === undefined) {
      queue = new FutexQueue(this, key)
      queues.set(key.offset, queue)
    }
    return queue
  }
}
