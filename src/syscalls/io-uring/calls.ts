/** io_uring_enter(2), and the rows. Registration is in register.ts, what an entry does in operations.ts. */
import {
  IORING_ENTER_ABS_TIMER,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_GETEVENTS,
  IORING_ENTER_REGISTERED_RING,
  IORING_ENTER_SQ_WAIT,
  IORING_ENTER_SQ_WAKEUP,
  IORING_SETUP_SQPOLL,
} from '../../abi/constants.ts'
import { EBADFD, EEXIST, EFAULT, EINTR, EINVAL, ETIME } from '../../abi/errno.ts'
import { IO_URING_GETEVENTS_ARG, IO_URING_PARAMS } from '../../abi/layout.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import { take64 } from '../../base/words.ts'
import type { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import { HeldProgress, type Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import { addr, fd as fdArg, flags as flagsArg, type SyscallRows, size, structInOut, uint } from '../args.ts'
import { useMask } from '../poll.ts'
import { readTimespec } from '../time-args.ts'
import { io_uring_register } from './register.ts'
import { ringOf } from './ring-files.ts'
import { io_uring_setup } from './setup.ts'
import { submit } from './submit.ts'

const NSEC_PER_USEC = 1000

const ENTER_FLAGS =
  IORING_ENTER_GETEVENTS |
  IORING_ENTER_SQ_WAKEUP |
  IORING_ENTER_SQ_WAIT |
  IORING_ENTER_EXT_ARG |
  IORING_ENTER_REGISTERED_RING |
  IORING_ENTER_ABS_TIMER

interface WaitLimits {
  readonly deadline: number
  readonly patience: number
}

const NO_LIMITS: WaitLimits = { deadline: Number.POSITIVE_INFINITY, patience: Number.POSITIVE_INFINITY }

/** Between tries of an enter. */
class EnterProgress extends HeldProgress {
  readonly ring: IoUringFile
  readonly submitted: number
  /** Monotonic ns. */
  readonly deadline: number
  /** Until then all completions are waited for, from then on any: monotonic ns. */
  readonly patience: number
  /** Timeouts so far: one more ends the wait, as if it were what is waited for. */
  readonly timeouts: number

  constructor(ring: IoUringFile, submitted: number, until: WaitLimits) {
    super()
    this.ring = ring
    this.submitted = submitted
    this.deadline = until.deadline
    this.patience = until.patience
    this.timeouts = ring.timeouts
    fileGet(ring)
  }
  override end(): void {
    filePut(this.ring)
  }
}

export function io_uring_enter(
  task: Task,
  fd: number,
  toSubmit: number,
  minComplete: number,
  flags: number,
  argument: GuestAddr,
  argumentSize: number,
): number {
  if (task.progress instanceof EnterProgress) return waitEvents(task, task.progress, minComplete)
  if ((flags & ~ENTER_FLAGS) !== 0) return -EINVAL
  const ring = ringOf(task, fd, (flags & IORING_ENTER_REGISTERED_RING) !== 0)
  if (typeof ring === 'number') return ring
  if (ring.disabled) return -EBADFD
  let submitted = 0
  if ((ring.setupFlags & IORING_SETUP_SQPOLL) !== 0) {
    submit(task, ring, ring.rings.sizes.sqEntries)
    submitted = toSubmit
  } else if (toSubmit > 0) {
    if (ring.submitter !== undefined && ring.submitter !== task) return -EEXIST
    submitted = submit(task, ring, toSubmit)
    if (submitted !== toSubmit) return submitted
  }
  if ((flags & IORING_ENTER_GETEVENTS) === 0) return submitted
  if (ring.defersWork && ring.submitter !== task) return submitted > 0 ? submitted : -EEXIST
  ring.flushOverflow()
  const until = readArgument(task, ring, flags, argument, argumentSize)
  if (typeof until === 'number') return submitted > 0 ? submitted : until
  const progress = new EnterProgress(ring, submitted, until)
  task.progress = progress
  return waitEvents(task, progress, minComplete)
}

/** Sets the signal mask of the wait: how long it lasts, or a negative errno. */
function readArgument(
  task: Task,
  ring: IoUringFile,
  flags: number,
  at: GuestAddr,
  length: number,
): WaitLimits | number {
  if ((flags & IORING_ENTER_EXT_ARG) === 0) {
    const status = useMask(task, at, length)
    return status < 0 ? status : NO_LIMITS
  }
  if (length !== IO_URING_GETEVENTS_ARG.size) return -EINVAL
  const view = task.mm.view(at, length)
  if (view === undefined) return -EFAULT
  const maskAt = take64(view, IO_URING_GETEVENTS_ARG.sigmask)
  const maskSize = view.getUint32(IO_URING_GETEVENTS_ARG.sigmask_sz, true)
  const timeAt = take64(view, IO_URING_GETEVENTS_ARG.ts)
  const leastNs = view.getUint32(IO_URING_GETEVENTS_ARG.min_wait_usec, true) * NSEC_PER_USEC
  const now = task.kernel.now()
  let deadline = Number.POSITIVE_INFINITY
  if (timeAt !== 0) {
    const span = readTimespec(task, timeAt)
    if (span < 0) return span
    const { clock } = task.kernel
    const since = ring.waitsByBoottime ? clock.boottime() : clock.monotonic()
    deadline = now + ((flags & IORING_ENTER_ABS_TIMER) !== 0 ? span - since : span)
  }
  const status = useMask(task, maskAt, maskSize)
  if (status < 0) return status
  if (leastNs === 0) return { deadline, patience: Number.POSITIVE_INFINITY }
  // Without a longer time to wait, that is all.
  const patience = now + leastNs
  return {
    deadline: deadline === Number.POSITIVE_INFINITY ? patience : Math.max(deadline, patience),
    patience,
  }
}

/** io_cqring_wait. What is there already is worth more than an error. */
function waitEvents(task: Task, progress: EnterProgress, minComplete: number): number {
  const { ring, submitted, deadline, patience } = progress
  const { kernel } = task
  ring.runWork()
  ring.flushOverflow()
  const ready = ring.rings.completed
  const patient = kernel.now() < patience
  const wanted = patient ? minComplete : Math.min(minComplete, 1)
  if (ready >= Math.min(wanted, ring.rings.sizes.cqEntries)) return submitted
  if (ring.timeouts !== progress.timeouts) return submitted
  // What the submission has set off comes first.
  const over = kernel.operations.length === 0 && kernel.now() >= deadline
  if (over) return submitted > 0 || ready > 0 ? submitted : -ETIME
  const interrupted = submitted > 0 || ready > 0 ? submitted : -EINTR
  task.block(ring.waitQueue, interrupted)
  // Others have their turn before the rest of its work.
  const next = ring.hasWork ? kernel.now() : patient ? Math.min(deadline, patience) : deadline
  return next === Number.POSITIVE_INFINITY
    ? task.blockUntil(next, interrupted)
    : task.blockUntil(Math.max(next, kernel.now()), interrupted)
}

const enterFlags = flagsArg({
  IORING_ENTER_GETEVENTS,
  IORING_ENTER_SQ_WAKEUP,
  IORING_ENTER_SQ_WAIT,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_REGISTERED_RING,
  IORING_ENTER_ABS_TIMER,
})

export const ioUringCalls = {
  io_uring_setup: {
    nr: NR.io_uring_setup,
    run: io_uring_setup,
    args: [uint, structInOut(IO_URING_PARAMS)],
    returns: 'fd',
    partial: 'with IORING_SETUP_SQPOLL the polling thread always sleeps; no operations on futexes',
  },
  io_uring_enter: {
    nr: NR.io_uring_enter,
    run: io_uring_enter,
    args: [fdArg, uint, uint, enterFlags, addr, size],
  },
  io_uring_register: {
    nr: NR.io_uring_register,
    run: io_uring_register,
    args: [fdArg, uint, addr, uint],
  },
} satisfies SyscallRows
