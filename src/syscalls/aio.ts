/**
 * Asynchronous I/O of the kernel's: io_setup(2), io_submit(2), io_getevents(2) and their kin. What a file can do at once is
 * done in io_submit; the rest waits as an Operation, and the caller never does.
 */
import { IOCB_FLAG_RESFD, MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/constants.ts'
import { EAGAIN, EFAULT, EINPROGRESS, EINTR, EINVAL, ENOMEM } from '../abi/errno.ts'
import { IO_EVENT, IOCB, TIMESPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { take64, takeSigned64 } from '../base/words.ts'
import { AioContext, ringSize } from '../fs/aio/context.ts'
import { createSharedPages } from '../fs/memfd/shared-pages.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { mmap } from '../mm/mmap.ts'
import { munmap } from '../mm/munmap.ts'
import { VM_DONTEXPAND } from '../mm/vma.ts'
import { modifyVma } from '../mm/vma-edit.ts'
import { type Iocb, prepareIocb } from './aio-request.ts'
import { addr, long, type SyscallRows, structIn, uint } from './args.ts'
import { enter } from './memory.ts'
import { useMask } from './poll.ts'
import { readTimespec } from './time-args.ts'

/** No ring is larger. */
const MAX_EVENTS = 0x10000000 / IO_EVENT.size
/** So many pointers to iocbs are read at once. */
const POINTER_BATCH = 64
/** What aio_key must hold for io_cancel. */
const KIOCB_KEY = 0

export function io_setup(task: Task, count: number, contextAt: GuestAddr): number {
  const { kernel } = task
  const old = task.mm.u64(contextAt)
  if (old === undefined) return -EFAULT
  if (old !== 0 || count === 0) return -EINVAL
  // Twice as many as asked for, and some for each CPU, as Linux has it.
  const events = Math.max(count, kernel.cpuWidth * 4) * 2
  if (events > MAX_EVENTS) return -EINVAL
  if (kernel.aioRequests + count > kernel.aioMaxRequests) return -EAGAIN
  const length = ringSize(events + 2)
  const ring = createSharedPages(kernel, '/[aio]', length, task.cred)
  if (failed(ring)) return -ENOMEM
  const mm = enter(task)
  const at = mmap(mm, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED, ring.file, 0)
  if (at < 0) {
    ring.release()
    return at
  }
  const vma = mm.find(at)!
  modifyVma(mm.vmas, vma, at, at + length, vma.flags | VM_DONTEXPAND)
  mm.ioContexts ??= new Map()
  mm.ioContexts.set(at, new AioContext(kernel, ring, at, length, count))
  if (mm.putU64(contextAt, at) === 0) return 0
  io_destroy(task, at)
  return -EFAULT
}

export function io_destroy(task: Task, id: number): number {
  const context = contextOf(task, id)
  if (context === undefined) return -EINVAL
  task.mm.ioContexts!.delete(id)
  context.destroy()
  munmap(enter(task), id, context.size)
  return 0
}

function contextOf(task: Task, id: number): AioContext | undefined {
  return task.mm.ioContexts?.get(id) as AioContext | undefined
}

/** How many were accepted, or the errno of the first if none was. */
export function io_submit(task: Task, id: number, count: number, pointersAt: GuestAddr): number {
  if (count < 0) return -EINVAL
  const context = contextOf(task, id)
  if (context === undefined) return -EINVAL
  const total = Math.min(count, context.places)
  const pointers = new DataView(new ArrayBuffer(POINTER_BATCH * 8))
  let first = 0
  let read = 0
  for (let done = 0; done < total; done++) {
    if (done === read) {
      const bytes = new Uint8Array(pointers.buffer, 0, Math.min(total - done, POINTER_BATCH) * 8)
      const got = task.mm.read(pointersAt + done * 8, bytes)
      first = done
      read += Math.floor(Math.max(got, 0) / 8)
    }
    const status = done === read ? -EFAULT : submitOne(task, context, take64(pointers, (done - first) * 8))
    if (status < 0) return done > 0 ? done : status
  }
  return total
}

function submitOne(task: Task, context: AioContext, at: GuestAddr): number {
  const view = task.mm.view(at, IOCB.size)
  if (view === undefined) return -EFAULT
  const iocb: Iocb = {
    at,
    data: new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + 8)),
    rwFlags: view.getUint32(IOCB.aio_rw_flags, true),
    opcode: view.getUint16(IOCB.aio_lio_opcode, true),
    fd: view.getInt32(IOCB.aio_fildes, true),
    buffer: take64(view, IOCB.aio_buf),
    length: take64(view, IOCB.aio_nbytes),
    offset: takeSigned64(view, IOCB.aio_offset),
    eventFd:
      (view.getUint32(IOCB.aio_flags, true) & IOCB_FLAG_RESFD) !== 0
        ? view.getInt32(IOCB.aio_resfd, true)
        : undefined,
  }
  if (take64(view, IOCB.aio_reserved2) !== 0) return -EINVAL
  if (!context.reserve()) return -EAGAIN
  const request = prepareIocb(task, context, iocb)
  if (typeof request === 'number') {
    context.unreserve()
    return request
  }
  context.active.add(request)
  request.attempt()
  return 0
}

/** Only what waits for a file can be cancelled; its event comes by the ring all the same. */
export function io_cancel(task: Task, id: number, iocbAt: GuestAddr, _resultAt: GuestAddr): number {
  const key = task.mm.u32(iocbAt + IOCB.aio_key)
  if (key === undefined) return -EFAULT
  if (key !== KIOCB_KEY) return -EINVAL
  const context = contextOf(task, id)
  if (context === undefined) return -EINVAL
  for (const request of context.active) {
    if (request.iocb.at === iocbAt && request.cancel(request.cancelled)) return -EINPROGRESS
  }
  return -EINVAL
}

export function io_getevents(
  task: Task,
  id: number,
  min: number,
  max: number,
  eventsAt: GuestAddr,
  timeoutAt: GuestAddr,
): number {
  let span = Number.POSITIVE_INFINITY
  if (timeoutAt !== 0 && task.progress === undefined) span = readTimespec(task, timeoutAt)
  return span < 0 ? span : readEvents(task, id, min, max, eventsAt, span)
}

/** The last argument points to a signal mask and its size. */
export function io_pgetevents(
  task: Task,
  id: number,
  min: number,
  max: number,
  eventsAt: GuestAddr,
  timeoutAt: GuestAddr,
  maskArg: GuestAddr,
): number {
  let span = Number.POSITIVE_INFINITY
  if (task.progress === undefined) {
    if (timeoutAt !== 0) span = readTimespec(task, timeoutAt)
    if (span < 0) return span
    if (maskArg !== 0) {
      const view = task.mm.view(maskArg, 16)
      if (view === undefined) return -EFAULT
      const status = useMask(task, take64(view, 0), take64(view, 8))
      if (status < 0) return status
    }
  }
  return readEvents(task, id, min, max, eventsAt, span)
}

/** Between tries. */
interface EventWait {
  readonly context: AioContext
  /** Monotonic ns. */
  readonly deadline: number
  /** Events that earlier tries have handed out. */
  done: number
}

function readEvents(
  task: Task,
  id: number,
  min: number,
  max: number,
  eventsAt: GuestAddr,
  span: number,
): number {
  let wait = task.progress as EventWait | undefined
  const context = wait?.context ?? contextOf(task, id)
  if (context === undefined || min > max || min < 0) return -EINVAL
  const before = wait?.done ?? 0
  if (context.dead) return before > 0 ? before : -EINVAL
  const got = context.collect(max - before, (events, first) =>
    task.mm.copyOut(eventsAt + (before + first) * IO_EVENT.size, events),
  )
  if (got < 0) return before > 0 ? before : got
  const done = before + got
  if (done >= min) return done
  wait ??= { context, deadline: task.kernel.now() + span, done }
  wait.done = done
  if (span === 0 || task.kernel.now() >= wait.deadline) return done
  task.progress = wait
  const interrupted = done > 0 ? done : -EINTR
  task.block(context.waiters, interrupted)
  return task.blockUntil(wait.deadline, interrupted)
}

export const aioCalls = {
  io_setup: { nr: NR.io_setup, run: io_setup, args: [uint, addr] },
  io_destroy: { nr: NR.io_destroy, run: io_destroy, args: [addr] },
  io_submit: { nr: NR.io_submit, run: io_submit, args: [addr, long, addr] },
  io_cancel: { nr: NR.io_cancel, run: io_cancel, args: [addr, structIn(IOCB), addr] },
  io_getevents: {
    nr: NR.io_getevents,
    run: io_getevents,
    args: [addr, long, long, addr, structIn(TIMESPEC)],
  },
  io_pgetevents: {
    nr: NR.io_pgetevents,
    run: io_pgetevents,
    args: [addr, long, long, addr, structIn(TIMESPEC), addr],
  },
} satisfies SyscallRows
