/** IORING_REGISTER_CLONE_BUFFERS: buffers of one ring become those of another one. */
import { IORING_REGISTER_DST_REPLACE, IORING_REGISTER_SRC_REGISTERED } from '../../abi/constants.ts'
import { EBUSY, EFAULT, EINVAL, ENXIO, EOVERFLOW } from '../../abi/errno.ts'
import { IO_URING_CLONE_BUFFERS } from '../../abi/layout.ts'
import { type GuestBuffer, type IoUringFile, Resource } from '../../fs/io-uring/io-uring.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { MAX_BUFFERS } from './register-files.ts'
import { ringOf } from './ring-files.ts'

export function cloneBuffers(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, IO_URING_CLONE_BUFFERS.size)
  if (view === undefined) return -EFAULT
  const word = (offset: number): number => view.getUint32(offset, true)
  const flags = word(IO_URING_CLONE_BUFFERS.flags)
  const replaces = (flags & IORING_REGISTER_DST_REPLACE) !== 0
  const from = word(IO_URING_CLONE_BUFFERS.src_off)
  const to = word(IO_URING_CLONE_BUFFERS.dst_off)
  const wanted = word(IO_URING_CLONE_BUFFERS.nr)
  const fd = view.getInt32(IO_URING_CLONE_BUFFERS.src_fd, true)
  if ((flags & ~(IORING_REGISTER_SRC_REGISTERED | IORING_REGISTER_DST_REPLACE)) !== 0) return -EINVAL
  if (!replaces && ring.buffers !== undefined) return -EBUSY
  for (let i = 0; i < 3; i++) if (word(IO_URING_CLONE_BUFFERS.pad + i * 4) !== 0) return -EINVAL
  const source = ringOf(task, fd, (flags & IORING_REGISTER_SRC_REGISTERED) !== 0)
  if (typeof source === 'number') return source
  if (wanted === 0 && (from !== 0 || to !== 0)) return -EINVAL
  const { buffers } = source
  if (buffers === undefined) return -ENXIO
  const count = wanted === 0 ? buffers.length : wanted
  if (count > buffers.length) return -EINVAL
  if (from + count > buffers.length || to + count > 0xffffffff) return -EOVERFLOW
  return to + count > MAX_BUFFERS ? -EINVAL : place(ring, buffers.slice(from, from + count), to)
}

/** The table grows as far as it must. */
function place(ring: IoUringFile, cloned: (Resource<GuestBuffer> | undefined)[], to: number): number {
  const before = ring.buffers ?? []
  const length = Math.max(before.length, to + cloned.length)
  const status = ring.takePlaces(length - before.length)
  if (status < 0) return status
  const table = before.slice()
  while (table.length < length) table.push(undefined)
  cloned.forEach((buffer, i) => {
    ring.retire(table[to + i])
    table[to + i] = buffer === undefined ? undefined : new Resource(buffer.value)
  })
  ring.buffers = table
  return 0
}
