/** Rings by descriptor, or by the number under which a task has registered them: IORING_REGISTER_RING_FDS. */
import { EBADF, EBUSY, EFAULT, EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { fileGet, filePut } from '../../vfs/file-ref.ts'
import { fileOf } from '../at.ts'

/** How many rings a task can register. */
const MAX_RING_FILES = 16
/** struct io_uring_rsrc_update: the number at 0, the descriptor at 8. */
const ENTRY_SIZE = 16
const ANY_NUMBER = 0xffffffff

/** The ring that `fd` is, or that is registered with the task under this number. */
export function ringOf(task: Task, fd: number, registered: boolean): IoUringFile | number {
  if (registered && (fd < 0 || fd >= MAX_RING_FILES)) return -EINVAL
  const file = registered ? task.ringFiles?.[fd] : fileOf(task, fd)
  if (file === undefined) return -EBADF
  return file instanceof IoUringFile ? file : -EOPNOTSUPP
}

/** IORING_SETUP_REGISTERED_FD_ONLY: the number that the task has a new ring under. Takes over the reference. */
export function addRegisteredRing(task: Task, ring: IoUringFile): number {
  task.ringFiles ??= new Array(MAX_RING_FILES).fill(undefined)
  const number = task.ringFiles.indexOf(undefined)
  if (number < 0) {
    filePut(ring)
    return -EBUSY
  }
  task.ringFiles[number] = ring
  return number
}

/** How many were registered, or the errno of the first if none was. Each number is written back. */
export function registerRings(task: Task, at: GuestAddr, count: number): number {
  if (count === 0 || count > MAX_RING_FILES) return -EINVAL
  for (let i = 0; i < count; i++) {
    const status = registerRing(task, at + i * ENTRY_SIZE)
    if (status < 0) return i > 0 ? i : status
  }
  return count
}

function registerRing(task: Task, at: GuestAddr): number {
  const view = task.mm.view(at, ENTRY_SIZE)
  if (view === undefined) return -EFAULT
  const wanted = view.getUint32(0, true)
  const fd = view.getInt32(8, true)
  if (view.getUint32(4, true) !== 0) return -EINVAL
  task.ringFiles ??= new Array(MAX_RING_FILES).fill(undefined)
  const files = task.ringFiles
  const number = wanted === ANY_NUMBER ? files.indexOf(undefined) : wanted
  if (number < 0) return -EBUSY
  if (number >= MAX_RING_FILES) return -EINVAL
  if (files[number] !== undefined) return -EBUSY
  const ring = ringOf(task, fd, false)
  if (typeof ring === 'number') return ring
  if (task.mm.putU32(at, number) < 0) return -EFAULT
  files[number] = fileGet(ring)
  return 0
}

export function unregisterRings(task: Task, at: GuestAddr, count: number): number {
  if (count === 0 || count > MAX_RING_FILES) return -EINVAL
  for (let i = 0; i < count; i++) {
    const view = task.mm.view(at + i * ENTRY_SIZE, ENTRY_SIZE)
    const number = view?.getUint32(0, true) ?? 0
    let status = view === undefined ? -EFAULT : 0
    if (view !== undefined && (view.getUint32(4, true) !== 0 || number >= MAX_RING_FILES)) status = -EINVAL
    if (status < 0) return i > 0 ? i : status
    const file = task.ringFiles?.[number]
    if (file === undefined) continue
    task.ringFiles![number] = undefined
    filePut(file)
  }
  return count
}
