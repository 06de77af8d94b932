/**
 * What a thread that ends owes to user space: robust mutexes that it holds are marked and their waiters woken (get_robust_list(2),
 * Documentation/robust-futex-ABI), and its clear_child_tid word is cleared (set_tid_address(2)).
 */
import { FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT } from '../abi/constants.ts'
import { ROBUST_LIST_HEAD } from '../abi/layout.ts'
import { take64, takeSigned64 } from '../base/words.ts'
import type { Task } from './task.ts'

/** Called when a task ends or execs, its old memory still there. */
export function releaseFutexes(task: Task): void {
  if (!task.thread.space.alive) return
  if (task.robustList !== 0) walkRobustList(task, task.robustList)
  task.robustList = 0
  task.kernel.futexes.ownerEnded(task)
  if (task.clearChildTid !== 0 && task.mm.users > 1) {
    clearChildTid(task)
  }
  task.clearChildTid = 0
}

/** The word and the wake of its waiter, which joins the thread: where waits are native, with the thread's last reply. */
function clearChildTid(task: Task): void {
  const { mm, thread, clearChildTid: address } = task
  const { futexes } = task.kernel
  const status = mm.putU32(address, 0)
  if (futexes.native && mm.space.active === thread) {
    if (status === 0) thread.native!.queueWake(address)
    return
  }
  mm.space.flush?.()
  if (status === 0) futexes.wakeAddress(mm, address, 1)
}

function walkRobustList(task: Task, head: number): void {
  const { mm } = task
  const view = mm.view(head, ROBUST_LIST_HEAD.size)
  if (view === undefined) return
  // Bit 0 of a pointer says that the lock is a PI futex.
  let entry = take64(view, ROBUST_LIST_HEAD.list)
  const offset = takeSigned64(view, ROBUST_LIST_HEAD.futex_offset)
  const pending = take64(view, ROBUST_LIST_HEAD.list_op_pending)
  const pendingAddress = untagged(pending)
  for (let count = 0; count < ROBUST_LIST_LIMIT && untagged(entry) !== head; count++) {
    const next = mm.view(untagged(entry), 8)
    const nextEntry = next === undefined ? undefined : take64(next, 0)
    // The lock that was being taken or given up may or may not be on the list yet: it is looked at last.
    if (untagged(entry) !== pendingAddress && !ownerDied(task, untagged(entry) + offset, isPi(entry), false))
      return
    if (nextEntry === undefined) return
    entry = nextEntry
  }
  if (pendingAddress !== 0) ownerDied(task, pendingAddress + offset, isPi(pending), true)
}

/** handle_futex_death: false when the word can't be reached and the walk must end. */
function ownerDied(task: Task, address: number, pi: boolean, pending: boolean): boolean {
  if (address % 4 !== 0) return false
  const { futexes } = task.kernel
  for (;;) {
    const value = task.mm.u32(address)
    if (value === undefined) return false
    // Unlocked, but the wake got lost with the thread.
    if (pending && !pi && value === 0) {
      futexes.wakeAddress(task.mm, address, 1)
      return true
    }
    if ((value & FUTEX_TID_MASK) !== task.tid) return true
    const marked = ((value & FUTEX_WAITERS) | FUTEX_OWNER_DIED) >>> 0
    const seen = futexes.compareExchange(task.mm, address, value, marked)
    if (seen < 0) return false
    if (seen !== value) continue
    if (!pi && (value & FUTEX_WAITERS) !== 0) futexes.wakeAddress(task.mm, address, 1)
    return true
  }
}

function untagged(entry: number): number {
  return entry - (entry % 2)
}
function isPi(entry: number): boolean {
  return entry % 2 === 1
}
