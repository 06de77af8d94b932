/** Requests about a ring's own things: provided buffers, fixed files, messages to other rings. */
import {
  IORING_FILE_INDEX_ALLOC,
  IORING_MSG_DATA,
  IORING_MSG_RING_CQE_SKIP,
  IORING_MSG_RING_FLAGS_PASS,
  IORING_MSG_SEND_FD,
} from '../../abi/constants.ts'
import { E2BIG, EBADF, EBADFD, EFAULT, EINVAL, ENOENT } from '../../abi/errno.ts'
import { IO_URING_SQE } from '../../abi/layout.ts'
import { BufferList } from '../../fs/io-uring/buffer-group.ts'
import { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import { fileGet } from '../../vfs/file-ref.ts'
import { placeFile } from './fixed-files.ts'
import { allocateFiles, updateFiles } from './register-files.ts'

/** Buffers of one group: their ids are 16 bits. */
const MAX_BUFFERS = 65536

function prepareProvide(task: Task, request: UringRequest): number {
  const { fd: count, addr, len, off } = request
  if (request.opFlags !== 0 || request.fileIndex !== 0) return -EINVAL
  if (count <= 0 || count > MAX_BUFFERS) return -E2BIG
  if (len === 0) return -EINVAL
  if (!task.mm.accessOk(addr, len * count)) return -EFAULT
  if (off < 0 || off >= MAX_BUFFERS) return -E2BIG
  return off + count > MAX_BUFFERS ? -EINVAL : 0
}

function issueProvide(task: Task, request: UringRequest): number {
  const { fd: count, addr, len, off, ring, bufIndex } = request
  let group = ring.bufferGroups.get(bufIndex)
  if (group === undefined) {
    group = new BufferList(task.kernel)
    ring.bufferGroups.set(bufIndex, group)
  }
  if (!(group instanceof BufferList)) return -EINVAL
  // An error counts only at the first.
  for (let i = 0; i < count; i++) {
    const status = group.add({ address: addr + i * len, length: len, id: off + i })
    if (status < 0) return i > 0 ? 0 : status
  }
  return 0
}

function prepareRemove(_task: Task, request: UringRequest): number {
  const { fd: count, addr, len, off, opFlags, fileIndex } = request
  if (opFlags !== 0 || addr !== 0 || len !== 0 || off !== 0 || fileIndex !== 0) return -EINVAL
  return count <= 0 || count > MAX_BUFFERS ? -EINVAL : 0
}

function issueRemove(_task: Task, request: UringRequest): number {
  const group = request.ring.bufferGroups.get(request.bufIndex)
  if (group === undefined) return -ENOENT
  if (!(group instanceof BufferList)) return -EINVAL
  const count = Math.min(request.fd, group.count)
  for (let i = 0; i < count; i++) group.consume()
  return count
}

function prepareMessage(_task: Task, request: UringRequest): number {
  if (request.bufIndex !== 0 || request.entry.getUint16(IO_URING_SQE.personality, true) !== 0) return -EINVAL
  return (request.opFlags & ~(IORING_MSG_RING_CQE_SKIP | IORING_MSG_RING_FLAGS_PASS)) !== 0 ? -EINVAL : 0
}

function issueMessage(_task: Task, request: UringRequest): number {
  const target = request.file
  if (!(target instanceof IoUringFile) || target.disabled) return -EBADFD
  if (request.addr === IORING_MSG_DATA) return messageData(request, target)
  return request.addr === IORING_MSG_SEND_FD ? messageFile(request, target) : -EINVAL
}

function messageData(request: UringRequest, target: IoUringFile): number {
  if (request.addr3 !== 0 || (request.opFlags & ~IORING_MSG_RING_FLAGS_PASS) !== 0) return -EINVAL
  const passes = (request.opFlags & IORING_MSG_RING_FLAGS_PASS) !== 0
  if (!passes && request.fileIndex !== 0) return -EINVAL
  postTo(request, target, request.len | 0, passes ? request.fileIndex : 0)
  return 0
}

/** A fixed file of this ring becomes one of the other. */
function messageFile(request: UringRequest, target: IoUringFile): number {
  if (request.len !== 0 || target === request.ring) return -EINVAL
  const source = request.ring.files?.[request.addr3]?.value
  if (source === undefined) return -EBADF
  const place = placeFile(target, fileGet(source), request.fileIndex)
  if (place < 0) return place
  const result = request.fileIndex === IORING_FILE_INDEX_ALLOC ? place : 0
  if ((request.opFlags & IORING_MSG_RING_CQE_SKIP) === 0) postTo(request, target, result, 0)
  return result
}

function postTo({ entry }: UringRequest, target: IoUringFile, result: number, flags: number): void {
  const lo = entry.getUint32(IO_URING_SQE.off, true)
  target.post(lo, entry.getUint32(IO_URING_SQE.off + 4, true), result, flags)
}

export const provideBuffers: UringOperation = { polled: true, prepare: prepareProvide, issue: issueProvide }
export const removeBuffers: UringOperation = { polled: true, prepare: prepareRemove, issue: issueRemove }
export const messageRing: UringOperation = {
  file: true,
  polled: true,
  prepare: prepareMessage,
  issue: issueMessage,
}
export const filesUpdate: UringOperation = {
  polled: true,
  prepare: (_task, r) => (r.opFlags !== 0 || r.fileIndex !== 0 || r.len === 0 ? -EINVAL : 0),
  issue: (task, r) =>
    r.off >>> 0 === IORING_FILE_INDEX_ALLOC
      ? allocateFiles(task, r.ring, r.addr, r.len)
      : updateFiles(task, r.ring, r.off, r.addr, 0, r.len),
}
