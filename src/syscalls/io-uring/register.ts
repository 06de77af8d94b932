/** io_uring_register(2). Tables of files and buffers are in register-files.ts, rings of buffers in register-buffers.ts. */
import {
  CLOCK_BOOTTIME,
  CLOCK_MONOTONIC,
  IO_URING_OP_SUPPORTED,
  IORING_REGISTER_BUFFERS,
  IORING_REGISTER_BUFFERS_UPDATE,
  IORING_REGISTER_BUFFERS2,
  IORING_REGISTER_CLOCK,
  IORING_REGISTER_CLONE_BUFFERS,
  IORING_REGISTER_ENABLE_RINGS,
  IORING_REGISTER_EVENTFD,
  IORING_REGISTER_EVENTFD_ASYNC,
  IORING_REGISTER_FILE_ALLOC_RANGE,
  IORING_REGISTER_FILES,
  IORING_REGISTER_FILES_UPDATE,
  IORING_REGISTER_FILES_UPDATE2,
  IORING_REGISTER_FILES2,
  IORING_REGISTER_IOWQ_AFF,
  IORING_REGISTER_IOWQ_MAX_WORKERS,
  IORING_REGISTER_LAST,
  IORING_REGISTER_PBUF_RING,
  IORING_REGISTER_PBUF_STATUS,
  IORING_REGISTER_PERSONALITY,
  IORING_REGISTER_PROBE,
  IORING_REGISTER_RESTRICTIONS,
  IORING_REGISTER_RING_FDS,
  IORING_REGISTER_SYNC_CANCEL,
  IORING_REGISTER_USE_REGISTERED_RING,
  IORING_RESTRICTION_REGISTER_OP,
  IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
  IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
  IORING_RESTRICTION_SQE_OP,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_UNREGISTER_BUFFERS,
  IORING_UNREGISTER_EVENTFD,
  IORING_UNREGISTER_FILES,
  IORING_UNREGISTER_IOWQ_AFF,
  IORING_UNREGISTER_PBUF_RING,
  IORING_UNREGISTER_PERSONALITY,
  IORING_UNREGISTER_RING_FDS,
} from '../../abi/constants.ts'
import { EACCES, EBADF, EBADFD, EBUSY, EEXIST, EFAULT, EINVAL, ENXIO, EOVERFLOW } from '../../abi/errno.ts'
import {
  IO_URING_CLOCK_REGISTER,
  IO_URING_FILE_RANGE,
  IO_URING_FILES_UPDATE,
  IO_URING_PROBE,
  IO_URING_PROBE_OP,
  IO_URING_RESTRICTION,
  IO_URING_SYNC_CANCEL,
} from '../../abi/layout.ts'
import { take64 } from '../../base/words.ts'
import { EventFdFile } from '../../fs/eventfd/eventfd.ts'
import type { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import { fileOf } from '../at.ts'
import { cloneBuffers } from './clone-buffers.ts'
import { OPERATION_COUNT, operationOf } from './operations.ts'
import { registerBufferRing, tellBufferRing, unregisterBufferRing } from './register-buffers.ts'
import {
  registerBuffers,
  registerFiles,
  registerTagged,
  unregisterBuffers,
  unregisterFiles,
  updateBuffers,
  updateFiles,
  updateTagged,
} from './register-files.ts'
import { registerRings, ringOf, unregisterRings } from './ring-files.ts'
import { cancelFile, cancelRequests, checkCancel } from './waits.ts'

const MAX_RESTRICTIONS = 128
const MAX_PROBE = 256

export function io_uring_register(
  task: Task,
  fd: number,
  rawOpcode: number,
  at: GuestAddr,
  count: number,
): number {
  const registered = rawOpcode >= IORING_REGISTER_USE_REGISTERED_RING
  const opcode = registered ? rawOpcode - IORING_REGISTER_USE_REGISTERED_RING : rawOpcode
  if (opcode >= IORING_REGISTER_LAST) return -EINVAL
  const ring = ringOf(task, fd, registered)
  if (typeof ring === 'number') return ring
  if (ring.submitter !== undefined && ring.submitter !== task) return -EEXIST
  if (!ring.disabled && ring.restrictions !== undefined && !ring.restrictions.registrations.has(opcode))
    return -EACCES
  return registration(task, ring, opcode, at, count)
}

function registration(task: Task, ring: IoUringFile, opcode: number, at: GuestAddr, count: number): number {
  switch (opcode) {
    case IORING_REGISTER_BUFFERS:
      return at === 0 ? -EFAULT : registerBuffers(task, ring, at, 0, count)
    case IORING_UNREGISTER_BUFFERS:
      return at !== 0 || count !== 0 ? -EINVAL : unregisterBuffers(ring)
    case IORING_REGISTER_BUFFERS2:
      return registerTagged(task, ring, at, count, registerBuffers)
    case IORING_REGISTER_BUFFERS_UPDATE:
      return updateTagged(task, ring, at, count, updateBuffers)
    case IORING_REGISTER_FILES:
      return at === 0 ? -EFAULT : registerFiles(task, ring, at, 0, count)
    case IORING_UNREGISTER_FILES:
      return at !== 0 || count !== 0 ? -EINVAL : unregisterFiles(ring)
    case IORING_REGISTER_FILES_UPDATE:
      return filesUpdate(task, ring, at, count)
    case IORING_REGISTER_FILES2:
      return registerTagged(task, ring, at, count, registerFiles)
    case IORING_REGISTER_FILES_UPDATE2:
      return updateTagged(task, ring, at, count, updateFiles)
    case IORING_REGISTER_FILE_ALLOC_RANGE:
      return at === 0 || count !== 0 ? -EINVAL : allocRange(task, ring, at)
    case IORING_REGISTER_EVENTFD:
    case IORING_REGISTER_EVENTFD_ASYNC:
      return count !== 1 ? -EINVAL : registerEventFd(task, ring, at)
    case IORING_UNREGISTER_EVENTFD:
      return at !== 0 || count !== 0 ? -EINVAL : unregisterEventFd(ring)
    case IORING_REGISTER_PROBE:
      return at === 0 || count > MAX_PROBE ? -EINVAL : probe(task, at, count)
    case IORING_REGISTER_PERSONALITY:
      return at !== 0 || count !== 0 ? -EINVAL : registerPersonality(task, ring)
    case IORING_UNREGISTER_PERSONALITY:
      if (at !== 0) return -EINVAL
      return ring.personalities.delete(count) ? 0 : -EINVAL
    case IORING_REGISTER_RESTRICTIONS:
      return restrict(task, ring, at, count)
    case IORING_REGISTER_ENABLE_RINGS:
      return at !== 0 || count !== 0 ? -EINVAL : enable(task, ring)
    case IORING_REGISTER_IOWQ_AFF:
      return at === 0 || count === 0 ? -EINVAL : 0
    case IORING_UNREGISTER_IOWQ_AFF:
      return at !== 0 || count !== 0 ? -EINVAL : 0
    case IORING_REGISTER_IOWQ_MAX_WORKERS:
      return at === 0 || count !== 2 ? -EINVAL : maxWorkers(task, ring, at)
    case IORING_REGISTER_RING_FDS:
      return registerRings(task, at, count)
    case IORING_UNREGISTER_RING_FDS:
      return unregisterRings(task, at, count)
    case IORING_REGISTER_PBUF_RING:
      return at === 0 || count !== 1 ? -EINVAL : registerBufferRing(task, ring, at)
    case IORING_UNREGISTER_PBUF_RING:
      return at === 0 || count !== 1 ? -EINVAL : unregisterBufferRing(task, ring, at)
    case IORING_REGISTER_PBUF_STATUS:
      return at === 0 || count !== 1 ? -EINVAL : tellBufferRing(task, ring, at)
    case IORING_REGISTER_SYNC_CANCEL:
      return at === 0 || count !== 1 ? -EINVAL : syncCancel(task, ring, at)
    case IORING_REGISTER_CLONE_BUFFERS:
      return at === 0 || count !== 1 ? -EINVAL : cloneBuffers(task, ring, at)
    case IORING_REGISTER_CLOCK:
      return at === 0 || count !== 0 ? -EINVAL : chooseClock(task, ring, at)
    default:
      return -EINVAL
  }
}

function chooseClock(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, IO_URING_CLOCK_REGISTER.size)
  if (view === undefined) return -EFAULT
  for (let i = IO_URING_CLOCK_REGISTER.__resv; i < IO_URING_CLOCK_REGISTER.size; i++) {
    if (view.getUint8(i) !== 0) return -EINVAL
  }
  const clock = view.getUint32(IO_URING_CLOCK_REGISTER.clockid, true)
  if (clock !== CLOCK_MONOTONIC && clock !== CLOCK_BOOTTIME) return -EINVAL
  ring.waitsByBoottime = clock === CLOCK_BOOTTIME
  return 0
}

function filesUpdate(task: Task, ring: IoUringFile, at: GuestAddr, count: number): number {
  if (count === 0) return -EINVAL
  const view = task.mm.view(at, IO_URING_FILES_UPDATE.size)
  if (view === undefined) return -EFAULT
  const offset = view.getUint32(IO_URING_FILES_UPDATE.offset, true)
  const fds = take64(view, IO_URING_FILES_UPDATE.fds)
  return view.getUint32(IO_URING_FILES_UPDATE.resv, true) !== 0
    ? -EINVAL
    : updateFiles(task, ring, offset, fds, 0, count)
}

function allocRange(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, IO_URING_FILE_RANGE.size + 8)
  if (view === undefined) return -EFAULT
  const from = view.getUint32(IO_URING_FILE_RANGE.off, true)
  const to = from + view.getUint32(IO_URING_FILE_RANGE.len, true)
  if (to > 0xffffffff) return -EOVERFLOW
  if (take64(view, IO_URING_FILE_RANGE.len + 4) !== 0) return -EINVAL
  if (to > (ring.files?.length ?? 0)) return -EINVAL
  ring.fileRange = { from, to }
  return 0
}

// What is told of completions.

function registerEventFd(task: Task, ring: IoUringFile, at: GuestAddr): number {
  if (ring.eventFd !== undefined) return -EBUSY
  const fd = task.mm.u32(at)
  if (fd === undefined) return -EFAULT
  const file = fileOf(task, fd | 0)
  if (file === undefined) return -EBADF
  if (!(file instanceof EventFdFile)) return -EINVAL
  ring.eventFd = file
  fileGet(file)
  return 0
}

function unregisterEventFd(ring: IoUringFile): number {
  if (ring.eventFd === undefined) return -ENXIO
  filePut(ring.eventFd)
  ring.eventFd = undefined
  return 0
}

/** Which operations there are. */
function probe(task: Task, at: GuestAddr, count: number): number {
  const operations = Math.min(count, OPERATION_COUNT)
  const bytes = new Uint8Array(IO_URING_PROBE.size + operations * IO_URING_PROBE_OP.size)
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  if (bytes.some(byte => byte !== 0)) return -EINVAL
  const view = new DataView(bytes.buffer)
  view.setUint8(IO_URING_PROBE.last_op, OPERATION_COUNT - 1)
  view.setUint8(IO_URING_PROBE.ops_len, operations)
  for (let op = 0; op < operations; op++) {
    const entry = IO_URING_PROBE.size + op * IO_URING_PROBE_OP.size
    view.setUint8(entry + IO_URING_PROBE_OP.op, op)
    const supported = operationOf(op) !== undefined
    view.setUint16(entry + IO_URING_PROBE_OP.flags, supported ? IO_URING_OP_SUPPORTED : 0, true)
  }
  return task.mm.copyOut(at, bytes)
}

// Who may do what.

function registerPersonality(task: Task, ring: IoUringFile): number {
  let id = ring.nextPersonality
  if (ring.personalities.size === 0xffff) return -EBUSY
  while (ring.personalities.has(id)) id = id === 0xffff ? 1 : id + 1
  ring.nextPersonality = id === 0xffff ? 1 : id + 1
  ring.personalities.set(id, task.cred)
  return id
}

function restrict(task: Task, ring: IoUringFile, at: GuestAddr, count: number): number {
  if (!ring.disabled) return -EBADFD
  if (ring.restrictions !== undefined) return -EBUSY
  if (at === 0 || count > MAX_RESTRICTIONS) return -EINVAL
  const bytes = new Uint8Array(count * IO_URING_RESTRICTION.size)
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  const view = new DataView(bytes.buffer)
  const operations = new Set<number>()
  const registrations = new Set<number>()
  let allowedFlags = 0
  let requiredFlags = 0
  for (let i = 0; i < bytes.length; i += IO_URING_RESTRICTION.size) {
    const kind = view.getUint16(i + IO_URING_RESTRICTION.opcode, true)
    const value = view.getUint8(i + IO_URING_RESTRICTION.register_op)
    if (kind === IORING_RESTRICTION_REGISTER_OP && value < IORING_REGISTER_LAST) registrations.add(value)
    else if (kind === IORING_RESTRICTION_SQE_OP && value < OPERATION_COUNT) operations.add(value)
    else if (kind === IORING_RESTRICTION_SQE_FLAGS_ALLOWED) allowedFlags = value
    else if (kind === IORING_RESTRICTION_SQE_FLAGS_REQUIRED) requiredFlags = value
    else return -EINVAL
  }
  ring.restrictions = { operations, registrations, allowedFlags, requiredFlags }
  return 0
}

function enable(task: Task, ring: IoUringFile): number {
  if (!ring.disabled) return -EBADFD
  ring.disabled = false
  if ((ring.setupFlags & IORING_SETUP_SINGLE_ISSUER) !== 0) ring.submitter = task
  return 0
}

/** There are no workers; the numbers are kept for who asks. Zero asks only. */
function maxWorkers(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, 8)
  if (view === undefined) return -EFAULT
  const wanted = [view.getUint32(0, true), view.getUint32(4, true)]
  if (wanted.some(value => value > 0x7fffffff)) return -EINVAL
  const out = task.mm.out(8)
  ring.workers.forEach((value, i) => {
    out.setUint32(i * 4, value, true)
  })
  ring.workers = ring.workers.map((value, i) => wanted[i] || value)
  return task.mm.commit(at)
}

/** Cancels, and waits until what was cancelled is over: here it is at once. */
function syncCancel(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, IO_URING_SYNC_CANCEL.size)
  if (view === undefined) return -EFAULT
  const flags = view.getUint32(IO_URING_SYNC_CANCEL.flags, true)
  const userLo = view.getUint32(IO_URING_SYNC_CANCEL.addr, true)
  const userHi = view.getUint32(IO_URING_SYNC_CANCEL.addr + 4, true)
  const fd = view.getInt32(IO_URING_SYNC_CANCEL.fd, true)
  const opcode = view.getUint8(IO_URING_SYNC_CANCEL.opcode)
  const status = checkCancel(flags)
  if (status < 0) return status
  const file = cancelFile(task, ring, flags, fd)
  if (typeof file === 'number') return file
  const count = cancelRequests(ring, { flags, userLo, userHi, file, opcode })
  return count
}
