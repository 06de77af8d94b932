/** io_uring_setup(2) and io_uring_enter(2). Registration is in register.ts, what an entry does in operations.ts. */
import {
  CAP_SYS_ADMIN,
  IORING_ENTER_ABS_TIMER,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_GETEVENTS,
  IORING_ENTER_REGISTERED_RING,
  IORING_ENTER_SQ_WAIT,
  IORING_ENTER_SQ_WAKEUP,
  IORING_FEAT_CQE_SKIP,
  IORING_FEAT_CUR_PERSONALITY,
  IORING_FEAT_EXT_ARG,
  IORING_FEAT_FAST_POLL,
  IORING_FEAT_LINKED_FILE,
  IORING_FEAT_NATIVE_WORKERS,
  IORING_FEAT_NODROP,
  IORING_FEAT_POLL_32BITS,
  IORING_FEAT_REG_REG_RING,
  IORING_FEAT_RSRC_TAGS,
  IORING_FEAT_RW_CUR_POS,
  IORING_FEAT_SINGLE_MMAP,
  IORING_FEAT_SQPOLL_NONFIXED,
  IORING_FEAT_SUBMIT_STABLE,
  IORING_SETUP_ATTACH_WQ,
  IORING_SETUP_CLAMP,
  IORING_SETUP_COOP_TASKRUN,
  IORING_SETUP_CQE32,
  IORING_SETUP_CQSIZE,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_IOPOLL,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQ_AFF,
  IORING_SETUP_SQE128,
  IORING_SETUP_SQPOLL,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_TASKRUN_FLAG,
  IORING_SQ_NEED_WAKEUP,
} from '../../abi/constants.ts'
import { EBADFD, EEXIST, EFAULT, EINTR, EINVAL, ENXIO, EPERM, ETIME } from '../../abi/errno.ts'
import { IO_URING_GETEVENTS_ARG, IO_URING_PARAMS } from '../../abi/layout.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import { failed } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import { Rings, ringSizes } from '../../fs/io-uring/rings.ts'
import { createSharedPages } from '../../fs/memfd/shared-pages.ts'
import { HeldProgress, type Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import { addr, fd as fdArg, flags as flagsArg, type SyscallRows, size, structInOut, uint } from '../args.ts'
import { fileOf } from '../at.ts'
import { installFile } from '../install.ts'
import { useMask } from '../poll.ts'
import { readTimespec } from '../time-args.ts'
import { io_uring_register } from './register.ts'
import { ringOf } from './ring-files.ts'
import { submit } from './submit.ts'

const MAX_ENTRIES = 32768
const MAX_COMPLETIONS = 2 * MAX_ENTRIES

/** Memory of the guest's own for the rings is not among them. */
const SETUP_FLAGS =
  IORING_SETUP_IOPOLL |
  IORING_SETUP_SQPOLL |
  IORING_SETUP_SQ_AFF |
  IORING_SETUP_CQSIZE |
  IORING_SETUP_CLAMP |
  IORING_SETUP_ATTACH_WQ |
  IORING_SETUP_R_DISABLED |
  IORING_SETUP_SUBMIT_ALL |
  IORING_SETUP_COOP_TASKRUN |
  IORING_SETUP_TASKRUN_FLAG |
  IORING_SETUP_SQE128 |
  IORING_SETUP_CQE32 |
  IORING_SETUP_SINGLE_ISSUER |
  IORING_SETUP_DEFER_TASKRUN |
  IORING_SETUP_NO_SQARRAY

const FEATURES =
  IORING_FEAT_SINGLE_MMAP |
  IORING_FEAT_NODROP |
  IORING_FEAT_SUBMIT_STABLE |
  IORING_FEAT_RW_CUR_POS |
  IORING_FEAT_CUR_PERSONALITY |
  IORING_FEAT_FAST_POLL |
  IORING_FEAT_POLL_32BITS |
  IORING_FEAT_SQPOLL_NONFIXED |
  IORING_FEAT_EXT_ARG |
  IORING_FEAT_NATIVE_WORKERS |
  IORING_FEAT_RSRC_TAGS |
  IORING_FEAT_CQE_SKIP |
  IORING_FEAT_LINKED_FILE |
  IORING_FEAT_REG_REG_RING

const ENTER_FLAGS =
  IORING_ENTER_GETEVENTS |
  IORING_ENTER_SQ_WAKEUP |
  IORING_ENTER_SQ_WAIT |
  IORING_ENTER_EXT_ARG |
  IORING_ENTER_REGISTERED_RING |
  IORING_ENTER_ABS_TIMER

export function io_uring_setup(task: Task, entries: number, paramsAt: GuestAddr): number {
  if (!mayUse(task)) return -EPERM
  const view = task.mm.view(paramsAt, IO_URING_PARAMS.size)
  if (view === undefined) return -EFAULT
  for (let i = 0; i < 3; i++) if (view.getUint32(IO_URING_PARAMS.resv + i * 4, true) !== 0) return -EINVAL
  const flags = view.getUint32(IO_URING_PARAMS.flags, true)
  const cpu = view.getUint32(IO_URING_PARAMS.sq_thread_cpu, true)
  const workFd = view.getInt32(IO_URING_PARAMS.wq_fd, true)
  const wanted = view.getUint32(IO_URING_PARAMS.cq_entries, true)
  if ((flags & ~SETUP_FLAGS) !== 0) return -EINVAL
  const sizes = entryCounts(entries, wanted, flags)
  if (typeof sizes === 'number') return sizes
  if ((flags & IORING_SETUP_SQ_AFF) !== 0 && !task.kernel.cpus.includes(cpu)) return -EINVAL
  const status = checkFlags(task, flags, workFd)
  return status < 0 ? status : create(task, sizes.sq, sizes.cq, flags, paramsAt)
}

/** kernel.io_uring_disabled and kernel.io_uring_group. */
function mayUse(task: Task): boolean {
  const { kernel, cred } = task
  if (kernel.ioUringDisabled === 0) return true
  if (kernel.ioUringDisabled > 1) return false
  return cred.capable(CAP_SYS_ADMIN) || (kernel.ioUringGroup >= 0 && cred.inGroup(kernel.ioUringGroup))
}

/** How many entries the rings get: powers of two. */
function entryCounts(
  entries: number,
  completions: number,
  flags: number,
): { sq: number; cq: number } | number {
  const clamp = (flags & IORING_SETUP_CLAMP) !== 0
  if (entries === 0 || (entries > MAX_ENTRIES && !clamp)) return -EINVAL
  const sq = powerOfTwo(Math.min(entries, MAX_ENTRIES))
  if ((flags & IORING_SETUP_CQSIZE) === 0) return { sq, cq: 2 * sq }
  if (completions === 0 || (completions > MAX_COMPLETIONS && !clamp)) return -EINVAL
  const cq = powerOfTwo(Math.min(completions, MAX_COMPLETIONS))
  return cq < sq ? -EINVAL : { sq, cq }
}

function powerOfTwo(n: number): number {
  return n <= 1 ? 1 : 2 ** (32 - Math.clz32(n - 1))
}

/** Flags that don't go together. */
function checkFlags(task: Task, flags: number, workFd: number): number {
  const has = (flag: number): boolean => (flags & flag) !== 0
  if (has(IORING_SETUP_ATTACH_WQ)) {
    const file = fileOf(task, workFd)
    if (file === undefined) return -ENXIO
    if (!(file instanceof IoUringFile)) return -EINVAL
  }
  const cooperates = has(IORING_SETUP_COOP_TASKRUN) || has(IORING_SETUP_DEFER_TASKRUN)
  if (has(IORING_SETUP_SQPOLL)) {
    if (cooperates || has(IORING_SETUP_TASKRUN_FLAG)) return -EINVAL
  } else if (has(IORING_SETUP_SQ_AFF)) return -EINVAL
  if (has(IORING_SETUP_TASKRUN_FLAG) && !cooperates) return -EINVAL
  return has(IORING_SETUP_DEFER_TASKRUN) && !has(IORING_SETUP_SINGLE_ISSUER) ? -EINVAL : 0
}

function create(task: Task, sq: number, cq: number, flags: number, paramsAt: GuestAddr): number {
  const { kernel, cred } = task
  const sizes = ringSizes(sq, cq, flags)
  const pages = createSharedPages(kernel, 'io_uring', sizes.total, cred)
  if (failed(pages)) return pages
  const rings = new Rings(pages, sizes)
  const path = kernel.anonFs.path('anon_inode:[io_uring]', 0o600)
  const ring = new IoUringFile(path, cred, kernel.uring, rings, flags)
  if ((flags & IORING_SETUP_SINGLE_ISSUER) !== 0 && !ring.disabled) ring.submitter = task
  // There is no thread that polls: it always sleeps, and the guest wakes it with each submission.
  if ((flags & IORING_SETUP_SQPOLL) !== 0) rings.setFlag(IORING_SQ_NEED_WAKEUP, true)
  const view = task.mm.view(paramsAt, IO_URING_PARAMS.size)
  const out = task.mm.out(IO_URING_PARAMS.size)
  if (view !== undefined)
    for (let at = 0; at < IO_URING_PARAMS.size; at++) out.setUint8(at, view.getUint8(at))
  out.setUint32(IO_URING_PARAMS.sq_entries, sq, true)
  out.setUint32(IO_URING_PARAMS.cq_entries, cq, true)
  out.setUint32(IO_URING_PARAMS.features, FEATURES, true)
  rings.describe(out, IO_URING_PARAMS.sq_off, IO_URING_PARAMS.cq_off)
  if (task.mm.commit(paramsAt) < 0) {
    filePut(ring)
    return -EFAULT
  }
  return installFile(task, ring, true)
}

/** Between tries of an enter. */
class EnterProgress extends HeldProgress {
  readonly ring: IoUringFile
  readonly submitted: number
  /** Monotonic ns. */
  readonly deadline: number
  /** Timeouts so far: one more ends the wait, as if it were what is waited for. */
  readonly timeouts: number

  constructor(ring: IoUringFile, submitted: number, deadline: number) {
    super()
    this.ring = ring
    this.submitted = submitted
    this.deadline = deadline
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
  const deferred = (ring.setupFlags & IORING_SETUP_DEFER_TASKRUN) !== 0
  if (deferred && ring.submitter !== task) return submitted > 0 ? submitted : -EEXIST
  ring.flushOverflow()
  const deadline = readArgument(task, ring, flags, argument, argumentSize)
  if (deadline < 0) return submitted > 0 ? submitted : deadline
  const progress = new EnterProgress(ring, submitted, deadline)
  task.progress = progress
  return waitEvents(task, progress, minComplete)
}

/** Sets the signal mask of the wait: its deadline (monotonic ns), or a negative errno. */
function readArgument(task: Task, ring: IoUringFile, flags: number, at: GuestAddr, length: number): number {
  if ((flags & IORING_ENTER_EXT_ARG) === 0) {
    const status = useMask(task, at, length)
    return status < 0 ? status : Number.POSITIVE_INFINITY
  }
  if (length !== IO_URING_GETEVENTS_ARG.size) return -EINVAL
  const view = task.mm.view(at, length)
  if (view === undefined) return -EFAULT
  const maskAt = take64(view, IO_URING_GETEVENTS_ARG.sigmask)
  const maskSize = view.getUint32(IO_URING_GETEVENTS_ARG.sigmask_sz, true)
  const timeAt = take64(view, IO_URING_GETEVENTS_ARG.ts)
  // A time to wait for few (min_wait) is a feature that is not announced.
  if (view.getUint32(IO_URING_GETEVENTS_ARG.min_wait_usec, true) !== 0) return -EINVAL
  let deadline = Number.POSITIVE_INFINITY
  if (timeAt !== 0) {
    const span = readTimespec(task, timeAt)
    if (span < 0) return span
    const { clock } = task.kernel
    const since = ring.waitsByBoottime ? clock.boottime() : clock.monotonic()
    deadline = task.kernel.now() + ((flags & IORING_ENTER_ABS_TIMER) !== 0 ? span - since : span)
  }
  const status = useMask(task, maskAt, maskSize)
  return status < 0 ? status : deadline
}

/** io_cqring_wait. What is there already is worth more than an error. */
function waitEvents(task: Task, progress: EnterProgress, minComplete: number): number {
  const { ring, submitted, deadline } = progress
  ring.flushOverflow()
  const ready = ring.rings.completed
  if (ready >= Math.min(minComplete, ring.rings.sizes.cqEntries)) return submitted
  if (ring.timeouts !== progress.timeouts) return submitted
  const { kernel } = task
  // What the submission has set off comes first.
  const over = kernel.operations.length === 0 && kernel.now() >= deadline
  if (over) return submitted > 0 || ready > 0 ? submitted : -ETIME
  const interrupted = submitted > 0 || ready > 0 ? submitted : -EINTR
  task.block(ring.waitQueue, interrupted)
  return deadline === Number.POSITIVE_INFINITY
    ? task.blockUntil(deadline, interrupted)
    : task.blockUntil(Math.max(deadline, kernel.now()), interrupted)
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
    partial:
      'IORING_SETUP_NO_MMAP is refused; with IORING_SETUP_SQPOLL the polling thread always sleeps; no operations on futexes',
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
