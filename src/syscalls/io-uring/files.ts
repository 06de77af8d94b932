/** Requests that are calls on names and descriptors: each is served by the call's own handler. */
import {
  IORING_FIXED_FD_NO_CLOEXEC,
  IORING_FSYNC_DATASYNC,
  IORING_NOP_INJECT_RESULT,
  IOSQE_FIXED_FILE,
  O_CLOEXEC,
  SPLICE_F_FD_IN_FIXED,
} from '../../abi/constants.ts'
import { EBADF, EINVAL, EPERM } from '../../abi/errno.ts'
import { IO_URING_SQE, OPEN_HOW } from '../../abi/layout.ts'
import { BLOCK, PENDING } from '../../base/result.ts'
import { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import type { UringOperation, UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { fileGet } from '../../vfs/file-ref.ts'
import { HELD_FILE } from '../at.ts'
import { ftruncate } from '../attr.ts'
import { epoll_ctl } from '../epoll.ts'
import { fadvise64, fallocate, sync_file_range } from '../file-copy.ts'
import { installFile } from '../install.ts'
import { linkat, mkdirat, renameat2, symlinkat, unlinkat } from '../link.ts'
import { madvise } from '../memory.ts'
import { openat, openat2 } from '../open.ts'
import { spliceFiles, teeFiles } from '../pipe.ts'
import { statx as statPath } from '../stat.ts'
import { waitid as waitFor } from '../wait.ts'
import { fgetxattr, fsetxattr, getxattr, setxattr } from '../xattr.ts'
import { moveToPlace, removeFile, wantsPlace } from './fixed-files.ts'

type Field = 'ioprio' | 'off' | 'addr' | 'len' | 'opFlags' | 'bufIndex' | 'fileIndex'

/** -EINVAL if a field is set that has no meaning. */
function unused(...fields: Field[]): (task: Task, request: UringRequest) => number {
  return (_task, request) => {
    for (const field of fields) if (request[field] !== 0) return -EINVAL
    return 0
  }
}

/** The same for what works on names: a fixed file is no directory descriptor. */
function named(...fields: Field[]): (task: Task, request: UringRequest) => number {
  const check = unused(...fields)
  return (task, request) => {
    const status = check(task, request)
    return status === 0 && isFixed(request) ? -EBADF : status
  }
}

function isFixed(request: UringRequest): boolean {
  return (request.flags & IOSQE_FIXED_FILE) !== 0
}

export const nop: UringOperation = {
  polled: true,
  prepare: (_task, r) => ((r.opFlags & ~IORING_NOP_INJECT_RESULT) !== 0 ? -EINVAL : 0),
  issue: (_task, r) => ((r.opFlags & IORING_NOP_INJECT_RESULT) !== 0 ? injected(r.len | 0) : 0),
}

/** Whatever the guest asks for, but what is no result here. */
function injected(result: number): number {
  return result === BLOCK || result === PENDING ? -EINVAL : result
}

export const fsync: UringOperation = {
  file: true,
  prepare: (_task, r) =>
    r.addr !== 0 || r.bufIndex !== 0 || r.fileIndex !== 0 || (r.opFlags & ~IORING_FSYNC_DATASYNC) !== 0
      ? -EINVAL
      : 0,
  issue: (_task, r) => r.file!.fsync((r.opFlags & IORING_FSYNC_DATASYNC) !== 0),
}
export const syncRange: UringOperation = {
  file: true,
  prepare: unused('addr', 'bufIndex', 'fileIndex'),
  issue: (task, r) => sync_file_range(task, HELD_FILE, r.off, r.len, r.opFlags),
}
export const allocate: UringOperation = {
  file: true,
  prepare: unused('bufIndex', 'opFlags', 'fileIndex'),
  issue: (task, r) => fallocate(task, HELD_FILE, r.len, r.off, r.addr),
}
export const truncate: UringOperation = {
  file: true,
  prepare: unused('opFlags', 'addr', 'len', 'bufIndex', 'fileIndex'),
  issue: (task, r) => ftruncate(task, HELD_FILE, r.off),
}
export const fileAdvice: UringOperation = {
  file: true,
  prepare: unused('bufIndex', 'fileIndex'),
  issue: (task, r) => fadvise64(task, HELD_FILE, r.off, r.addr !== 0 ? r.addr : r.len, r.opFlags),
}
export const memoryAdvice: UringOperation = {
  prepare: unused('bufIndex', 'fileIndex'),
  issue: (task, r) => madvise(task, r.addr, r.off !== 0 ? r.off : r.len, r.opFlags),
}

// Names.

function prepareOpen(task: Task, request: UringRequest): number {
  const status = named('bufIndex')(task, request)
  if (status < 0) return status
  return wantsPlace(request) && (request.opFlags & O_CLOEXEC) !== 0 ? -EINVAL : 0
}

/** The flags are in guest memory, and read once more when the file is opened. */
function prepareOpenHow(task: Task, request: UringRequest): number {
  const status = named('bufIndex')(task, request)
  if (status < 0) return status
  if (request.len < OPEN_HOW.size) return -EINVAL
  if (!wantsPlace(request)) return 0
  const flags = task.mm.u64(request.off)
  return flags !== undefined && (flags & O_CLOEXEC) !== 0 ? -EINVAL : 0
}

export const open: UringOperation = {
  prepare: prepareOpen,
  issue: (task, r) => moveToPlace(task, r, openat(task, r.fd, r.addr, r.opFlags, r.len)),
}
export const openHow: UringOperation = {
  prepare: prepareOpenHow,
  issue: (task, r) => moveToPlace(task, r, openat2(task, r.fd, r.addr, r.off, r.len)),
}
export const statx: UringOperation = {
  prepare: named('bufIndex', 'fileIndex'),
  issue: (task, r) => statPath(task, r.fd, r.addr, r.opFlags, r.len, r.off),
}
export const rename: UringOperation = {
  prepare: named('bufIndex', 'fileIndex'),
  issue: (task, r) => renameat2(task, r.fd, r.addr, r.len | 0, r.off, r.opFlags),
}
export const unlink: UringOperation = {
  prepare: named('off', 'len', 'bufIndex', 'fileIndex'),
  issue: (task, r) => unlinkat(task, r.fd, r.addr, r.opFlags),
}
export const mkdir: UringOperation = {
  prepare: named('off', 'opFlags', 'bufIndex', 'fileIndex'),
  issue: (task, r) => mkdirat(task, r.fd, r.addr, r.len),
}
export const symlink: UringOperation = {
  prepare: named('len', 'opFlags', 'bufIndex', 'fileIndex'),
  issue: (task, r) => symlinkat(task, r.addr, r.fd, r.off),
}
export const link: UringOperation = {
  prepare: named('bufIndex', 'fileIndex'),
  issue: (task, r) => linkat(task, r.fd, r.addr, r.len | 0, r.off, r.opFlags),
}
export const getAttribute: UringOperation = {
  prepare: named('opFlags'),
  issue: (task, r) => getxattr(task, r.addr3, r.addr, r.off, r.len),
}
export const setAttribute: UringOperation = {
  prepare: named(),
  issue: (task, r) => setxattr(task, r.addr3, r.addr, r.off, r.len, r.opFlags),
}
export const getFileAttribute: UringOperation = {
  file: true,
  prepare: unused('opFlags'),
  issue: (task, r) => fgetxattr(task, HELD_FILE, r.addr, r.off, r.len),
}
export const setFileAttribute: UringOperation = {
  file: true,
  prepare: unused(),
  issue: (task, r) => fsetxattr(task, HELD_FILE, r.addr, r.off, r.len, r.opFlags),
}

// Descriptors.

function prepareClose(_task: Task, request: UringRequest): number {
  if (request.off !== 0 || request.addr !== 0 || request.len !== 0) return -EINVAL
  if (request.opFlags !== 0 || request.bufIndex !== 0) return -EINVAL
  if (isFixed(request)) return -EBADF
  return wantsPlace(request) && request.fd !== 0 ? -EINVAL : 0
}

function issueClose(task: Task, request: UringRequest): number {
  if (wantsPlace(request)) return removeFile(request.ring, request.fileIndex - 1)
  return task.fds.get(request.fd) instanceof IoUringFile ? -EBADF : task.fds.close(request.fd)
}

function prepareInstall(_task: Task, request: UringRequest): number {
  const { off, addr, len, bufIndex, fileIndex, opFlags } = request
  if (off !== 0 || addr !== 0 || len !== 0 || bufIndex !== 0 || fileIndex !== 0) return -EINVAL
  if (!isFixed(request)) return -EBADF
  // What is opened is so for the submitter, in its own name.
  if (request.entry.getUint16(IO_URING_SQE.personality, true) !== 0) return -EPERM
  return (opFlags & ~IORING_FIXED_FD_NO_CLOEXEC) !== 0 ? -EINVAL : 0
}

export const close: UringOperation = { prepare: prepareClose, issue: issueClose }
export const installFixed: UringOperation = {
  file: true,
  prepare: prepareInstall,
  issue: (task, r) => installFile(task, fileGet(r.file!), (r.opFlags & IORING_FIXED_FD_NO_CLOEXEC) === 0),
}
export const epollControl: UringOperation = {
  prepare: named('bufIndex', 'fileIndex'),
  issue: (task, r) => epoll_ctl(task, r.fd, r.len, r.off, r.addr),
}

// Pipes.

const SPLICE_FIXED = SPLICE_F_FD_IN_FIXED >>> 0

/** The entry's second descriptor, where the bytes come from: looked up once, as the first. */
function inputOf(task: Task, request: UringRequest): File | undefined {
  if (request.input !== undefined) return request.input
  const fd = request.entry.getInt32(IO_URING_SQE.splice_fd_in, true)
  const fixed = (request.opFlags & SPLICE_FIXED) !== 0
  const file = fixed ? request.ring.files?.[fd]?.value : task.fds.get(fd)
  if (file !== undefined) request.input = fileGet(file)
  return file
}

export const splice: UringOperation = {
  file: true,
  prepare: unused('bufIndex'),
  issue(task, request) {
    const { file, addr, off, len } = request
    const input = inputOf(task, request)
    if (input === undefined) return -EBADF
    if (len === 0) return 0
    const flags = (request.opFlags & ~SPLICE_FIXED) >>> 0
    const n = spliceFiles(task, input, offsetOf(addr), file!, off, len, flags)
    if (n >= 0 && n !== len) request.fails = true
    return n
  },
}
export const tee: UringOperation = {
  file: true,
  prepare: unused('bufIndex', 'addr', 'off'),
  issue(task, request) {
    const input = inputOf(task, request)
    if (input === undefined) return -EBADF
    const n = teeFiles(task, input, request.file!, request.len, (request.opFlags & ~SPLICE_FIXED) >>> 0)
    if (n >= 0 && n !== request.len) request.fails = true
    return n
  },
}

/** All ones: none. */
function offsetOf(value: number): number {
  return value >= 2 ** 63 ? -1 : value
}

export const waitid: UringOperation = {
  counted: true,
  prepare: unused('addr', 'bufIndex', 'opFlags'),
  issue: (task, r) => waitFor(task, r.len, r.fd, r.off, r.fileIndex, 0),
}
