/** io_uring_register(2) of files and buffers: tables of resources, their places, their tags. */
import {
  IORING_FILE_INDEX_ALLOC,
  IORING_REGISTER_FILES_SKIP,
  IORING_RSRC_REGISTER_SPARSE,
  RLIMIT_NOFILE,
} from '../../abi/constants.ts'
import { EBADF, EBUSY, EFAULT, EINVAL, EMFILE, ENXIO, EOVERFLOW } from '../../abi/errno.ts'
import { IO_URING_RSRC_REGISTER, IO_URING_RSRC_UPDATE, IOVEC } from '../../abi/layout.ts'
import { take64 } from '../../base/words.ts'
import { type GuestBuffer, type IoUringFile, Resource, type Tag } from '../../fs/io-uring/io-uring.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { VM_MAYSHARE, VM_WRITE } from '../../mm/vma.ts'
import type { File } from '../../vfs/file.ts'
import { fileForTable, placeFile, removeFile } from './fixed-files.ts'

const MAX_FILES = 1 << 20
export const MAX_BUFFERS = 1 << 14
const MAX_BUFFER = 2 ** 30
/** In place of a descriptor: an empty place. */
const NO_FD = -1

/** Undefined: nothing is told when the resource is free. */
function readTag(task: Task, tagsAt: GuestAddr, index: number): Tag | undefined | number {
  if (tagsAt === 0) return undefined
  const view = task.mm.view(tagsAt + index * 8, 8)
  if (view === undefined) return -EFAULT
  const tag = { lo: view.getUint32(0, true), hi: view.getUint32(4, true) }
  return tag.lo === 0 && tag.hi === 0 ? undefined : tag
}

// Files.

export function registerFiles(
  task: Task,
  ring: IoUringFile,
  at: GuestAddr,
  tagsAt: GuestAddr,
  count: number,
): number {
  if (ring.files !== undefined) return -EBUSY
  if (count === 0) return -EINVAL
  if (count > MAX_FILES || count > task.group.rlimits.soft(RLIMIT_NOFILE)) return -EMFILE
  let status = ring.takePlaces(count)
  if (status < 0) return status
  const files: (Resource<File> | undefined)[] = new Array(count).fill(undefined)
  for (let i = 0; i < count && status === 0 && at !== 0; i++) {
    const fd = task.mm.u32(at + i * 4)
    const tag = readTag(task, tagsAt, i)
    if (fd === undefined || typeof tag === 'number') status = -EFAULT
    else if ((fd | 0) === NO_FD) status = tag !== undefined ? -EINVAL : 0
    else {
      const file = fileForTable(task, fd | 0)
      if (file === undefined) status = -EBADF
      else files[i] = new Resource(file, tag)
    }
  }
  ring.files = files
  ring.fileRange = { from: 0, to: count }
  if (status < 0) dropFiles(ring, false)
  return status
}

export function unregisterFiles(ring: IoUringFile): number {
  if (ring.files === undefined) return -ENXIO
  dropFiles(ring, true)
  return 0
}

/** `tell`: the tags' completions are posted. */
function dropFiles(ring: IoUringFile, tell: boolean): void {
  const files = ring.files!
  ring.files = undefined
  ring.held.places -= files.length
  for (const file of files) ring.retire(file, tell)
}

/** How many places were changed; an error counts only at the first. */
export function updateFiles(
  task: Task,
  ring: IoUringFile,
  offset: number,
  at: GuestAddr,
  tagsAt: GuestAddr,
  count: number,
): number {
  const { files } = ring
  if (files === undefined) return -ENXIO
  if (offset + count > files.length) return -EINVAL
  for (let i = 0; i < count; i++) {
    const status = updateFile(
      task,
      ring,
      files,
      offset + i,
      task.mm.u32(at + i * 4),
      readTag(task, tagsAt, i),
    )
    if (status < 0) return i > 0 ? i : status
  }
  return count
}

/** IORING_OP_FILES_UPDATE with places of the kernel's choice, which are written back. */
export function allocateFiles(task: Task, ring: IoUringFile, at: GuestAddr, count: number): number {
  if (ring.files === undefined) return -ENXIO
  for (let i = 0; i < count; i++) {
    const fd = task.mm.u32(at + i * 4)
    const file = fd === undefined ? undefined : fileForTable(task, fd | 0)
    let status = fd === undefined ? -EFAULT : -EBADF
    if (file !== undefined) status = placeFile(ring, file, IORING_FILE_INDEX_ALLOC)
    if (status >= 0 && task.mm.putU32(at + i * 4, status) < 0) {
      removeFile(ring, status)
      status = -EFAULT
    }
    if (status < 0) return i > 0 ? i : status
  }
  return count
}

function updateFile(
  task: Task,
  ring: IoUringFile,
  files: (Resource<File> | undefined)[],
  place: number,
  word: number | undefined,
  tag: Tag | undefined | number,
): number {
  if (word === undefined || typeof tag === 'number') return -EFAULT
  const fd = word | 0
  if ((fd === NO_FD || fd === IORING_REGISTER_FILES_SKIP) && tag !== undefined) return -EINVAL
  if (fd === IORING_REGISTER_FILES_SKIP) return 0
  const old = files[place]
  files[place] = undefined
  ring.retire(old)
  if (fd === NO_FD) return 0
  const file = fileForTable(task, fd)
  if (file === undefined) return -EBADF
  files[place] = new Resource(file, tag)
  return 0
}

// Buffers.

export function registerBuffers(
  task: Task,
  ring: IoUringFile,
  at: GuestAddr,
  tagsAt: GuestAddr,
  count: number,
): number {
  if (ring.buffers !== undefined) return -EBUSY
  if (count === 0 || count > MAX_BUFFERS) return -EINVAL
  const buffers: (Resource<GuestBuffer> | undefined)[] = new Array(count).fill(undefined)
  const room = ring.takePlaces(count)
  if (room < 0) return room
  for (let i = 0; i < count && at !== 0; i++) {
    const entry = readBuffer(task, at, tagsAt, i)
    if (typeof entry === 'number') {
      ring.held.places -= count
      return entry
    }
    buffers[i] = entry
  }
  ring.buffers = buffers
  return 0
}

export function unregisterBuffers(ring: IoUringFile): number {
  const { buffers } = ring
  if (buffers === undefined) return -ENXIO
  ring.buffers = undefined
  ring.held.places -= buffers.length
  for (const buffer of buffers) ring.retire(buffer)
  return 0
}

export function updateBuffers(
  task: Task,
  ring: IoUringFile,
  offset: number,
  at: GuestAddr,
  tagsAt: GuestAddr,
  count: number,
): number {
  const { buffers } = ring
  if (buffers === undefined) return -ENXIO
  if (offset + count > buffers.length) return -EINVAL
  for (let i = 0; i < count; i++) {
    const entry = readBuffer(task, at, tagsAt, i)
    if (typeof entry === 'number') return i > 0 ? i : entry
    const old = buffers[offset + i]
    buffers[offset + i] = entry
    ring.retire(old)
  }
  return count
}

/** An iovec and its tag; undefined for an empty place. Linux pins the pages, so all of them must be there to be written. */
function readBuffer(
  task: Task,
  at: GuestAddr,
  tagsAt: GuestAddr,
  index: number,
): Resource<GuestBuffer> | undefined | number {
  const tag = readTag(task, tagsAt, index)
  if (typeof tag === 'number') return tag
  const view = task.mm.view(at + index * IOVEC.size, IOVEC.size)
  if (view === undefined) return -EFAULT
  const address = take64(view, IOVEC.iov_base)
  const length = take64(view, IOVEC.iov_len)
  if (address === 0) {
    if (length !== 0) return -EFAULT
    return tag !== undefined ? -EINVAL : undefined
  }
  if (length === 0 || length > MAX_BUFFER) return -EFAULT
  if (address + length > 2 ** 64) return -EOVERFLOW
  if (task.mm.accessible(address, length, VM_WRITE) !== length) return -EFAULT
  // Pages of a file can't be pinned for long; those of a private mapping are not the file's.
  const vma = task.mm.find(address)
  if (vma?.file !== undefined && (vma.flags & VM_MAYSHARE) !== 0 && vma.file.inode.sb.fsType !== 'tmpfs')
    return -EFAULT
  return new Resource({ address, length }, tag)
}

// The calls with tags.

type Register = (task: Task, ring: IoUringFile, at: GuestAddr, tagsAt: GuestAddr, count: number) => number

/** struct io_uring_rsrc_register. */
export function registerTagged(
  task: Task,
  ring: IoUringFile,
  at: GuestAddr,
  size: number,
  register: Register,
): number {
  if (size !== IO_URING_RSRC_REGISTER.size) return -EINVAL
  const view = task.mm.view(at, size)
  if (view === undefined) return -EFAULT
  const count = view.getUint32(IO_URING_RSRC_REGISTER.nr, true)
  const flags = view.getUint32(IO_URING_RSRC_REGISTER.flags, true)
  const data = take64(view, IO_URING_RSRC_REGISTER.data)
  const tags = take64(view, IO_URING_RSRC_REGISTER.tags)
  if (count === 0 || take64(view, IO_URING_RSRC_REGISTER.resv2) !== 0) return -EINVAL
  if ((flags & ~IORING_RSRC_REGISTER_SPARSE) !== 0) return -EINVAL
  const sparse = (flags & IORING_RSRC_REGISTER_SPARSE) !== 0
  if (sparse && data !== 0) return -EINVAL
  if (!sparse && data === 0) return -EFAULT
  return register(task, ring, data, tags, count)
}

type Update = (
  task: Task,
  ring: IoUringFile,
  offset: number,
  at: GuestAddr,
  tagsAt: GuestAddr,
  count: number,
) => number

/** struct io_uring_rsrc_update2. */
export function updateTagged(
  task: Task,
  ring: IoUringFile,
  at: GuestAddr,
  size: number,
  update: Update,
): number {
  if (size !== IO_URING_RSRC_UPDATE.size) return -EINVAL
  const view = task.mm.view(at, size)
  if (view === undefined) return -EFAULT
  const offset = view.getUint32(IO_URING_RSRC_UPDATE.offset, true)
  const data = take64(view, IO_URING_RSRC_UPDATE.data)
  const tags = take64(view, IO_URING_RSRC_UPDATE.tags)
  const count = view.getUint32(IO_URING_RSRC_UPDATE.nr, true)
  const reserved =
    view.getUint32(IO_URING_RSRC_UPDATE.resv, true) | view.getUint32(IO_URING_RSRC_UPDATE.resv2, true)
  return count === 0 || reserved !== 0 ? -EINVAL : update(task, ring, offset, data, tags, count)
}
