/** Reading and writing: IORING_OP_READ and its kin; and buffers that a request selects. */
import {
  IORING_CQE_BUFFER_SHIFT,
  IORING_CQE_F_BUF_MORE,
  IORING_CQE_F_BUFFER,
  IORING_OP_READ_FIXED,
  IORING_OP_READV,
  IORING_OP_WRITE_FIXED,
  IORING_OP_WRITEV,
  IORING_SETUP_IOPOLL,
  IOSQE_BUFFER_SELECT,
  RWF_NOWAIT,
} from '../../abi/constants.ts'
import { EAGAIN, EBADF, EBADFD, EFAULT, EINVAL, ENOBUFS, EOPNOTSUPP } from '../../abi/errno.ts'
import { BLOCK } from '../../base/result.ts'
import type { BufferGroup, ProvidedBuffer } from '../../fs/io-uring/buffer-group.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { segmentsDst, segmentsSrc, totalOf } from '../../mm/user-access.ts'
import type { File } from '../../vfs/file.ts'
import { READ_EVENTS, WRITE_EVENTS } from '../blocking.ts'
import { OWN_POSITION, readTo, writeOf } from '../read-write.ts'
import { checkIoPriority } from '../scheduler.ts'

/** Where the bytes go or come from: base and length by turns; undefined when a buffer is selected. */
type Segments = readonly number[] | undefined

export function selectsBuffer(request: UringRequest): boolean {
  return (request.flags & IOSQE_BUFFER_SELECT) !== 0
}

/** The buffer that a request would use now. */
export function peekBuffer(
  task: Task,
  request: UringRequest,
): { readonly group: BufferGroup; readonly buffer: ProvidedBuffer } | number {
  const group = request.ring.bufferGroups.get(request.bufIndex)
  const buffer = group?.peek(task.mm)
  return group === undefined || buffer === undefined ? -ENOBUFS : { group, buffer }
}

/** It is used: the flags that name it in the completion. */
export function takeBuffer(group: BufferGroup, buffer: ProvidedBuffer, used: number): number {
  const more = group.consume(buffer, used) ? IORING_CQE_F_BUF_MORE : 0
  return ((buffer.id << IORING_CQE_BUFFER_SHIFT) | IORING_CQE_F_BUFFER | more) >>> 0
}

/** The same for those of a bundle: the first is named. */
export function takeBuffers(group: BufferGroup, buffers: readonly ProvidedBuffer[], used: number): number {
  const more = group.consumeMany(buffers, used) ? IORING_CQE_F_BUF_MORE : 0
  return ((buffers[0]!.id << IORING_CQE_BUFFER_SHIFT) | IORING_CQE_F_BUFFER | more) >>> 0
}

/** Buffers as base and length by turns, `length` bytes at most. */
export function bufferSegments(buffers: readonly ProvidedBuffer[], length: number): number[] {
  const segments: number[] = []
  let left = length
  for (const buffer of buffers) {
    const part = Math.min(buffer.length, left)
    segments.push(buffer.address, part)
    left -= part
  }
  return segments
}

/** Completions of one try: a thread of the guest may feed a request, and make room for what it posts, for ever. */
export const MOST_AT_ONCE = 1024

/** The request goes on when others have had their turn. */
export function goOnLater(task: Task): number {
  return task.blockUntil(task.kernel.now())
}

/** Waits for a file; -EAGAIN for what can't be waited for. */
export function waitFor(task: Task, file: File, events: number): number {
  return file.waitQueue === undefined ? -EAGAIN : task.block(file.waitQueue, -EAGAIN, events)
}

function prepareTransfer(task: Task, request: UringRequest): number {
  const { opcode, addr, len } = request
  const priority = checkIoPriority(task, request.ioprio)
  if (priority < 0) return priority
  if (opcode === IORING_OP_READV || opcode === IORING_OP_WRITEV) {
    if (selectsBuffer(request)) return len === 1 ? 0 : -EINVAL
    const segments = task.mm.importIovec(addr, len)
    if (typeof segments === 'number') return segments
    request.state = segments
    return 0
  }
  if (opcode === IORING_OP_READ_FIXED || opcode === IORING_OP_WRITE_FIXED) return 0
  if (selectsBuffer(request)) return 0
  if (!task.mm.accessOk(addr, len)) return -EFAULT
  request.state = [addr, len]
  return 0
}

/** READ_FIXED, WRITE_FIXED: the range must lie in the registered buffer, which is looked up when it is used. */
function segmentsOf(request: UringRequest): Segments | number {
  if (request.opcode !== IORING_OP_READ_FIXED && request.opcode !== IORING_OP_WRITE_FIXED)
    return request.state as Segments
  return inFixedBuffer(request) ? [request.addr, request.len] : -EFAULT
}

/** Whether the entry's bytes lie in the registered buffer that it names. */
export function inFixedBuffer(request: UringRequest): boolean {
  const { addr, len } = request
  const buffer = request.useBuffer()
  return buffer !== undefined && addr >= buffer.address && addr + len <= buffer.address + buffer.length
}

function offsetOf(file: File, request: UringRequest): number {
  return file.seekable ? request.off : OWN_POSITION
}

/** There is no device whose queue could be polled. */
function polls(request: UringRequest): boolean {
  return (request.ring.setupFlags & IORING_SETUP_IOPOLL) !== 0
}

function issueRead(task: Task, request: UringRequest): number {
  const file = request.file!
  if (!file.readable) return -EBADF
  if (polls(request)) return -EOPNOTSUPP
  if (file.seekable && request.off < OWN_POSITION) return -EINVAL
  if (selectsBuffer(request)) return readSelected(task, request, file)
  const segments = segmentsOf(request)
  if (typeof segments === 'number') return segments
  const n = readTo(
    task,
    file,
    segmentsDst(task.mm, segments!),
    offsetOf(file, request),
    request.opFlags,
    true,
  )
  if (n === -EAGAIN && mayWait(request)) return waitFor(task, file, READ_EVENTS)
  return settle(request, n, totalOf(segments!))
}

function readSelected(task: Task, request: UringRequest, file: File): number {
  const kept = request.state as ProvidedBuffer | undefined
  const picked = kept === undefined ? peekBuffer(task, request) : undefined
  if (typeof picked === 'number') return picked
  const buffer = kept ?? picked!.buffer
  const length = request.len === 0 ? buffer.length : Math.min(request.len, buffer.length)
  const into = task.mm.dst(buffer.address, length)
  const n = readTo(task, file, into, offsetOf(file, request), request.opFlags, true)
  if (n === -EAGAIN && mayWait(request)) return waitFor(task, file, READ_EVENTS)
  if (picked !== undefined && (n >= 0 || n === BLOCK)) {
    request.cqeFlags = takeBuffer(picked.group, buffer, n === BLOCK ? length : n)
    // A read that goes on has filled some of it.
    if (n === BLOCK) request.state = buffer
  }
  return settle(request, n, length)
}

/** One completion for each piece that comes. */
function issueReadMultishot(task: Task, request: UringRequest): number {
  const file = request.file!
  if (!file.readable) return -EBADF
  if (file.waitQueue === undefined) return -EBADFD
  for (let posted = 0; posted < MOST_AT_ONCE; posted++) {
    request.cqeFlags = 0
    const n = readSelected(task, request, file)
    if (n <= 0 || n === BLOCK) return n
    if (request.ring.full) return n
    request.postMore(n, request.cqeFlags)
    if ((file.poll() & READ_EVENTS) === 0) return waitFor(task, file, READ_EVENTS)
  }
  return goOnLater(task)
}

function issueWrite(task: Task, request: UringRequest): number {
  const file = request.file!
  if (!file.writable) return -EBADF
  if (polls(request)) return -EOPNOTSUPP
  if (file.seekable && request.off < OWN_POSITION) return -EINVAL
  const segments = segmentsOf(request)
  if (typeof segments === 'number') return segments
  const n = writeOf(
    task,
    file,
    segmentsSrc(task.mm, segments!),
    offsetOf(file, request),
    request.opFlags,
    true,
  )
  if (n === -EAGAIN && mayWait(request)) return waitFor(task, file, WRITE_EVENTS)
  return settle(request, n, totalOf(segments!))
}

/** RWF_NOWAIT is refused rather than waited for. O_NONBLOCK makes no difference to a ring. */
function mayWait(request: UringRequest): boolean {
  return (request.opFlags & RWF_NOWAIT) === 0
}

/** What falls short of its length fails a chain. */
function settle(request: UringRequest, n: number, length: number): number {
  if (n >= 0 && n !== length) request.fails = true
  return n
}

const read: UringOperation = {
  file: true,
  ioprio: true,
  polled: true,
  prepare: prepareTransfer,
  issue: issueRead,
}
export const readSelecting: UringOperation = { ...read, bufferSelect: true }
export const readFixed = read
export const write: UringOperation = {
  file: true,
  ioprio: true,
  polled: true,
  prepare: prepareTransfer,
  issue: issueWrite,
}
export const readMultishot: UringOperation = {
  file: true,
  bufferSelect: true,
  prepare: (_task, request) =>
    selectsBuffer(request) && request.addr === 0 && request.len === 0 ? 0 : -EINVAL,
  issue: issueReadMultishot,
}
