/** The table of fixed files of a ring: where requests put the files that they make. */
import { IORING_FILE_INDEX_ALLOC, O_PATH } from '../../abi/constants.ts'
import { EBADF, EINVAL, ENFILE, ENXIO } from '../../abi/errno.ts'
import { IoUringFile, Resource } from '../../fs/io-uring/io-uring.ts'
import type { UringRequest } from '../../fs/io-uring/request.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'

/** Checks a request's file_index, which is one more than the place. */
export function wantsPlace(request: UringRequest): boolean {
  return request.fileIndex !== 0
}

/**
 * A new descriptor becomes a fixed file, as the entry says. The place if the kernel chose it, 0 otherwise; the
 * descriptor is gone in any case.
 */
export function moveToPlace(task: Task, request: UringRequest, fd: number): number {
  if (fd < 0 || !wantsPlace(request)) return fd
  return placeFile(request.ring, task.fds.take(fd)!, request.fileIndex)
}

/** Takes over the reference. `index`: one more than the place, or IORING_FILE_INDEX_ALLOC. */
export function placeFile(ring: IoUringFile, file: File, index: number): number {
  const place = index === IORING_FILE_INDEX_ALLOC ? freePlace(ring) : index - 1
  const status = index !== 0 && place < 0 ? place : putFile(ring, place, file)
  if (status < 0) {
    filePut(file)
    return status
  }
  return index === IORING_FILE_INDEX_ALLOC ? place : 0
}

function freePlace(ring: IoUringFile): number {
  const { files, fileRange } = ring
  if (files === undefined) return -ENFILE
  for (let at = fileRange.from; at < fileRange.to; at++) if (files[at] === undefined) return at
  return -ENFILE
}

function putFile(ring: IoUringFile, place: number, file: File): number {
  if (file instanceof IoUringFile) return -EBADF
  const { files } = ring
  if (files === undefined) return -ENXIO
  if (place < 0 || place >= files.length) return -EINVAL
  const old = files[place]
  files[place] = new Resource(file)
  ring.retire(old)
  return 0
}

/** close(2) of a fixed file. */
export function removeFile(ring: IoUringFile, place: number): number {
  const { files } = ring
  if (files === undefined) return -ENXIO
  if (place >= files.length) return -EINVAL
  const old = files[place]
  if (old === undefined) return -EBADF
  files[place] = undefined
  ring.retire(old)
  return 0
}

/** The file behind a descriptor, for the table: undefined for what can't be in one. A reference is taken. */
export function fileForTable(task: Task, fd: number): File | undefined {
  const file = task.fds.get(fd)
  if (file === undefined || (file.flags & O_PATH) !== 0 || file instanceof IoUringFile) return undefined
  return fileGet(file)
}
