/**
 * System V semaphores (ipc/sem.c): sets whose values change together or not at all.
 *
 * An operation that can't be done yet is a SemWait in the set's `pending`, in order. Whoever changes a value calls
 * `update`, which does for the waiters what has become possible: a woken task only finds its `status`.
 *
 * With SEM_UNDO, what a process has done to a set is kept, negated, in its undo list, and done when the process ends. The
 * list is shared by tasks that were cloned with CLONE_SYSVSEM.
 */
import { IPC_NOWAIT, SEM_UNDO, SEMAEM, SEMVMX } from '../../abi/constants.ts'
import { EAGAIN, EFBIG, EIDRM, ENOSPC, ERANGE } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { Pid } from '../pid.ts'
import type { Sleep, Task } from '../task.ts'
import { IpcObject, IpcTable } from './ids.ts'

/** struct sembuf. */
export interface SemOp {
  readonly num: number
  readonly op: number
  readonly flags: number
}

export class SemTable extends IpcTable<SemSet> {
  /** Semaphores of all sets. */
  semaphores = 0

  override readonly nextId = 'semNextId'
  override get limit(): number {
    return this.limits.semmni
  }

  /** -ENOSPC when there would be too many. */
  charge(count: number): Status {
    if (this.semaphores + count > this.limits.semmns) return -ENOSPC
    this.semaphores += count
    return 0
  }

  override remove(set: SemSet): void {
    super.remove(set)
    this.semaphores -= set.values.length
    for (const list of set.undoLists) list.adjustments.delete(set)
    set.undoLists.clear()
    for (const wait of set.pending.splice(0)) wait.finish(-EIDRM)
  }
}

export class SemSet extends IpcObject {
  readonly values: Int32Array
  /** Who changed each last. */
  readonly pids: (Pid | undefined)[]
  /** Of the last semop, in seconds; 0 before the first. */
  otime = 0
  readonly pending: SemWait[] = []
  /** The lists that have something about this set. */
  readonly undoLists = new Set<UndoList>()

  constructor(key: number, mode: number, cred: Credentials, now: number, count: number) {
    super(key, mode, cred, now)
    this.values = new Int32Array(count)
    this.pids = new Array(count).fill(undefined)
  }

  /** Does all of `wait`'s operations: 0, an errno, or 1 when the one at `wait.blocking` must wait. */
  attempt(wait: SemWait): number {
    const { ops, undo } = wait
    const { values } = this
    let status = 0
    let done = 0
    for (; done < ops.length; done++) {
      const { num, op, flags } = ops[done]
      const value = values[num] + op
      if (op === 0 ? values[num] !== 0 : value < 0) {
        wait.blocking = num
        wait.forZero = op === 0
        status = (flags & IPC_NOWAIT) !== 0 ? -EAGAIN : 1
        break
      }
      if (value > SEMVMX) {
        status = -ERANGE
        break
      }
      if ((flags & SEM_UNDO) !== 0 && !undo!.add(this, num, -op)) {
        status = -ERANGE
        break
      }
      values[num] = value
    }
    if (status === 0) {
      for (const { num } of ops) this.pids[num] = wait.pid
      return 0
    }
    while (--done >= 0) {
      const { num, op, flags } = ops[done]
      values[num] -= op
      if ((flags & SEM_UNDO) !== 0) undo!.add(this, num, op)
    }
    return status
  }

  /** Values have changed: what waits in the set and can be done now is done, first come, first served. */
  update(now: number): void {
    for (let i = 0; i < this.pending.length; ) {
      const wait = this.pending[i]
      const status = this.attempt(wait)
      if (status === 1) {
        i++
        continue
      }
      this.pending.splice(i, 1)
      wait.finish(status)
      if (status !== 0) continue
      this.otime = now
      // It may have made way for those before it.
      if (wait.alters) i = 0
    }
  }

  /** SETVAL and SETALL: nobody undoes what was done before. */
  forgetUndo(num: number): void {
    for (const list of this.undoLists) list.adjustments.get(this)!.fill(0, num, num + 1)
  }

  /** GETNCNT and GETZCNT: how many wait for this one to grow, or to become 0. */
  waiting(num: number, forZero: boolean): number {
    let count = 0
    for (const wait of this.pending) if (wait.blocking === num && wait.forZero === forZero) count++
    return count
  }
}

/** One semop(2): the progress of the call, and while it sleeps a member of the set's `pending`. */
export class SemWait implements Sleep {
  readonly task: Task
  readonly set: SemSet
  readonly ops: readonly SemOp[]
  readonly undo: UndoList | undefined
  readonly alters: boolean
  /** Monotonic ns. */
  readonly deadline: number
  /** The semaphore that it waits for. */
  blocking = -1
  forZero = false
  /** The result, once somebody else's change brought it. */
  status: number | undefined = undefined

  constructor(task: Task, set: SemSet, ops: readonly SemOp[], deadline: number) {
    this.task = task
    this.set = set
    this.ops = ops
    this.deadline = deadline
    this.alters = ops.some(each => each.op !== 0)
    this.undo = ops.some(each => (each.flags & SEM_UNDO) !== 0) ? undoListOf(task) : undefined
  }

  get pid(): Pid {
    return this.task.group.pid
  }

  finish(status: number): void {
    this.status = status
    this.task.kernel.makeRunnable(this.task)
  }

  cancel(): void {
    const at = this.set.pending.indexOf(this)
    if (at >= 0) this.set.pending.splice(at, 1)
  }
}

/** What a process will undo: for each set a value to add to each semaphore. */
export class UndoList {
  /** Tasks that share it. */
  users = 1
  readonly adjustments = new Map<SemSet, Int32Array>()

  /** False when the sum leaves the range of a short. */
  add(set: SemSet, num: number, amount: number): boolean {
    let values = this.adjustments.get(set)
    if (values === undefined) {
      values = new Int32Array(set.values.length)
      this.adjustments.set(set, values)
      set.undoLists.add(this)
    }
    const sum = values[num] + amount
    if (sum > SEMAEM || sum < -SEMAEM - 1) return false
    values[num] = sum
    return true
  }
}

export function undoListOf(task: Task): UndoList {
  task.semUndo ??= new UndoList()
  return task.semUndo
}

/** clone: with CLONE_SYSVSEM parent and child have one list. */
export function shareUndoList(parent: Task, child: Task): void {
  child.semUndo = undoListOf(parent)
  child.semUndo.users++
}

/** exit_sem: the task ends, or leaves its list; the last one undoes. */
export function leaveUndoList(task: Task): void {
  const list = task.semUndo
  if (list === undefined) return
  task.semUndo = undefined
  if (--list.users > 0) return
  const now = task.kernel.clock.realtime().sec
  for (const [set, amounts] of list.adjustments) {
    set.undoLists.delete(list)
    for (let num = 0; num < amounts.length; num++) {
      if (amounts[num] === 0) continue
      set.values[num] = Math.min(Math.max(set.values[num] + amounts[num], 0), SEMVMX)
      set.pids[num] = task.group.pid
    }
    set.update(now)
  }
}

/** Whether all operations name semaphores of the set: 0 or -EFBIG. */
export function checkNumbers(set: SemSet, ops: readonly SemOp[]): Status {
  return ops.every(each => each.num < set.values.length) ? 0 : -EFBIG
}
