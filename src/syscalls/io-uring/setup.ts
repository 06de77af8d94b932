/** io_uring_setup(2). */
import {
  CAP_SYS_ADMIN,
  IORING_FEAT_CQE_SKIP,
  IORING_FEAT_CUR_PERSONALITY,
  IORING_FEAT_EXT_ARG,
  IORING_FEAT_FAST_POLL,
  IORING_FEAT_LINKED_FILE,
  IORING_FEAT_MIN_TIMEOUT,
  IORING_FEAT_NATIVE_WORKERS,
  IORING_FEAT_NODROP,
  IORING_FEAT_POLL_32BITS,
  IORING_FEAT_RECVSEND_BUNDLE,
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
  IORING_SETUP_NO_MMAP,
  IORING_SETUP_NO_SQARRAY,
  IORING_SETUP_R_DISABLED,
  IORING_SETUP_REGISTERED_FD_ONLY,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQ_AFF,
  IORING_SETUP_SQE128,
  IORING_SETUP_SQPOLL,
  IORING_SETUP_SUBMIT_ALL,
  IORING_SETUP_TASKRUN_FLAG,
  IORING_SQ_NEED_WAKEUP,
} from '../../abi/constants.ts'
import { EFAULT, EINVAL, ENXIO, EPERM } from '../../abi/errno.ts'
import { IO_SQRING_OFFSETS, IO_URING_PARAMS } from '../../abi/layout.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import { guestPages } from '../../fs/io-uring/guest-pages.ts'
import { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import { type RingSizes, Rings, ringSizes } from '../../fs/io-uring/rings.ts'
import { createSharedPages } from '../../fs/memfd/shared-pages.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { fileOf } from '../at.ts'
import { installFile } from '../install.ts'
import { addRegisteredRing } from './ring-files.ts'

const MAX_ENTRIES = 32768
const MAX_COMPLETIONS = 2 * MAX_ENTRIES

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
  IORING_SETUP_NO_SQARRAY |
  IORING_SETUP_NO_MMAP |
  IORING_SETUP_REGISTERED_FD_ONLY

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
  IORING_FEAT_REG_REG_RING |
  IORING_FEAT_RECVSEND_BUNDLE |
  IORING_FEAT_MIN_TIMEOUT

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
  if (status < 0) return status
  const own = (flags & IORING_SETUP_NO_MMAP) !== 0
  const place = own
    ? {
        ringsAt: take64(view, IO_URING_PARAMS.cq_off + USER_ADDRESS),
        entriesAt: take64(view, IO_URING_PARAMS.sq_off + USER_ADDRESS),
      }
    : undefined
  return create(task, sizes.sq, sizes.cq, flags, paramsAt, place)
}
/** In both structures of offsets; the headers may be too old to name it. */
const USER_ADDRESS = IO_SQRING_OFFSETS.resv2

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
  if (has(IORING_SETUP_REGISTERED_FD_ONLY) && !has(IORING_SETUP_NO_MMAP)) return -EINVAL
  return has(IORING_SETUP_DEFER_TASKRUN) && !has(IORING_SETUP_SINGLE_ISSUER) ? -EINVAL : 0
}

/** Where the rings are, if in memory of the guest's own. */
interface Place {
  readonly ringsAt: GuestAddr
  readonly entriesAt: GuestAddr
}

function create(
  task: Task,
  sq: number,
  cq: number,
  flags: number,
  paramsAt: GuestAddr,
  place: Place | undefined,
): number {
  const { kernel, cred } = task
  const sizes = ringSizes(sq, cq, flags)
  const rings = place === undefined ? ownRings(task, sizes) : guestRings(task, sizes, place)
  if (failed(rings)) return rings
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
  return (flags & IORING_SETUP_REGISTERED_FD_ONLY) !== 0
    ? addRegisteredRing(task, ring)
    : installFile(task, ring, true)
}

function ownRings(task: Task, sizes: RingSizes): OrErrno<Rings> {
  const size = sizes.entriesAt + sizes.entriesSize
  const pages = createSharedPages(task.kernel, 'io_uring', size, task.cred)
  return failed(pages) ? pages : new Rings(pages, pages, sizes.entriesAt, sizes)
}

function guestRings(task: Task, sizes: RingSizes, { ringsAt, entriesAt }: Place): OrErrno<Rings> {
  const rings = guestPages(task.mm, ringsAt, sizes.ringsSize)
  if (failed(rings)) return rings
  const entries = guestPages(task.mm, entriesAt, sizes.entriesSize)
  return failed(entries) ? entries : new Rings(rings, entries, 0, sizes)
}
