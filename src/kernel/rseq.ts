/**
 * Restartable sequences: rseq(2).
 *
 * A guest thread is a host thread, so its area is registered with the host's kernel, which keeps it right (the CPU, the
 * node, the concurrency id) and restarts what it interrupts: by preemption, by a signal of its own, and so by each stop that
 * the sentry causes. Then the instruction pointer that the sentry finds is that of the abort handler already, as in a signal
 * frame of Linux's.
 *
 * Made by rseq(2); copied by fork, not by clone with CLONE_VM; ends by rseq(2), exec, and with the thread. A host thread lives
 * a little longer than its task, and the host writes to the area whenever the thread comes back from its kernel: so before
 * anybody is told that the thread has ended, and may free its memory, the host has to forget the area.
 */
import { RSEQ_FLAG_UNREGISTER, SIGSEGV } from '../abi/constants.ts'
import { EBUSY, EFAULT, EINVAL, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Status } from '../base/result.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { VM_WRITE } from '../mm/vma.ts'
import { forceSegv } from './signal.ts'
import type { Task } from './task.ts'

/** The size of the first version's struct, and its alignment. */
const ORIG_RSEQ_SIZE = 32

export interface Rseq {
  readonly address: GuestAddr
  readonly length: number
  readonly signature: number
}

/** Linux's checks in its order; the host makes those that depend on its version. */
export function registerRseq(task: Task, area: Rseq): Status {
  const { address, length, signature } = area
  if (task.rseq !== undefined) return sameAs(task.rseq, area) || -EBUSY
  if (length < ORIG_RSEQ_SIZE || address % ORIG_RSEQ_SIZE !== 0) return -EINVAL
  if (!task.mm.accessOk(address, length)) return -EFAULT
  // Linux finds out when it writes the CPU's number, on the way back; no handler's frame could be made then either.
  if (task.mm.accessible(address, ORIG_RSEQ_SIZE, VM_WRITE) < ORIG_RSEQ_SIZE) {
    forceSegv(task, SIGSEGV)
    return 0
  }
  const status = task.thread.hostCall(NR.rseq, address, length, 0, signature, 0, 0)
  if (status === 0) task.rseq = area
  return status
}

export function unregisterRseq(task: Task, area: Rseq): Status {
  if (task.rseq === undefined) return -EINVAL
  const mismatch = sameAs(task.rseq, area)
  if (mismatch < 0) return mismatch
  const { address, length, signature } = area
  const status = task.thread.hostCall(NR.rseq, address, length, RSEQ_FLAG_UNREGISTER, signature, 0, 0)
  if (status === 0) task.rseq = undefined
  return status
}

function sameAs(registered: Rseq, area: Rseq): Status {
  if (registered.address !== area.address || registered.length !== area.length) return -EINVAL
  return registered.signature === area.signature ? 0 : -EPERM
}

/** The task ends, or execs. A host thread that ends with its whole process needs no care. */
export function leaveRseq(task: Task): void {
  const { rseq } = task
  task.rseq = undefined
  if (rseq === undefined || task.mm.users === 1) return
  const { thread, mm } = task
  const { address, length, signature } = rseq
  // Who makes its last call takes this along: its thread id is cleared, and its joiner woken, in the same way after it.
  if (mm.space.active === thread && thread.hostCallLater !== undefined) {
    thread.hostCallLater(NR.rseq, address, length, RSEQ_FLAG_UNREGISTER, signature)
  } else thread.hostCall(NR.rseq, address, length, RSEQ_FLAG_UNREGISTER, signature, 0, 0)
}
