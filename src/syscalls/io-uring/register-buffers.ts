/** Rings of provided buffers: IORING_REGISTER_PBUF_RING and its kin. */
import { IOU_PBUF_RING_INC, IOU_PBUF_RING_MMAP } from '../../abi/constants.ts'
import { EEXIST, EFAULT, EINVAL, ENOENT } from '../../abi/errno.ts'
import { IO_URING_BUF, IO_URING_BUF_REG, IO_URING_BUF_STATUS } from '../../abi/layout.ts'
import { failed } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import { BufferList, BufferRing } from '../../fs/io-uring/buffer-group.ts'
import type { IoUringFile } from '../../fs/io-uring/io-uring.ts'
import { createSharedPages } from '../../fs/memfd/shared-pages.ts'
import type { Task } from '../../kernel/task.ts'
import type { GuestAddr } from '../../mm/mm.ts'
import { PAGE_SIZE, pageCeil } from '../../mm/vma.ts'

const MAX_ENTRIES = 32768

export function registerBufferRing(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, IO_URING_BUF_REG.size)
  if (view === undefined) return -EFAULT
  const address = take64(view, IO_URING_BUF_REG.ring_addr)
  const entries = view.getUint32(IO_URING_BUF_REG.ring_entries, true)
  const id = view.getUint16(IO_URING_BUF_REG.bgid, true)
  const flags = view.getUint16(IO_URING_BUF_REG.flags, true)
  for (let i = 0; i < 3; i++) if (take64(view, IO_URING_BUF_REG.resv + i * 8) !== 0) return -EINVAL
  if ((flags & ~(IOU_PBUF_RING_MMAP | IOU_PBUF_RING_INC)) !== 0) return -EINVAL
  const own = (flags & IOU_PBUF_RING_MMAP) !== 0
  if (own) {
    if (address !== 0) return -EINVAL
  } else {
    if (address === 0) return -EFAULT
    if (address % PAGE_SIZE !== 0) return -EINVAL
  }
  if (entries === 0 || (entries & (entries - 1)) !== 0 || entries > MAX_ENTRIES) return -EINVAL
  const old = ring.bufferGroups.get(id)
  if (old !== undefined && !(old instanceof BufferList && old.count === 0)) return -EEXIST
  if (!own) {
    if (task.mm.u32(address) === undefined) return -EFAULT
    ring.bufferGroups.set(id, new BufferRing(address, undefined, entries, flags))
    return 0
  }
  const pages = createSharedPages(task.kernel, 'io_uring', pageCeil(entries * IO_URING_BUF.size), task.cred)
  if (failed(pages)) return pages
  ring.bufferGroups.set(id, new BufferRing(0, pages, entries, flags))
  return 0
}

export function unregisterBufferRing(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, IO_URING_BUF_REG.size)
  if (view === undefined) return -EFAULT
  const id = view.getUint16(IO_URING_BUF_REG.bgid, true)
  for (let i = 0; i < 3; i++) if (take64(view, IO_URING_BUF_REG.resv + i * 8) !== 0) return -EINVAL
  if (view.getUint16(IO_URING_BUF_REG.flags, true) !== 0) return -EINVAL
  const group = ring.bufferGroups.get(id)
  if (group === undefined) return -ENOENT
  if (!(group instanceof BufferRing)) return -EINVAL
  ring.bufferGroups.delete(id)
  group.release()
  return 0
}

/** IORING_REGISTER_PBUF_STATUS: how far its buffers are used. */
export function tellBufferRing(task: Task, ring: IoUringFile, at: GuestAddr): number {
  const view = task.mm.view(at, IO_URING_BUF_STATUS.size)
  if (view === undefined) return -EFAULT
  for (let i = 0; i < 8; i++) if (view.getUint32(IO_URING_BUF_STATUS.resv + i * 4, true) !== 0) return -EINVAL
  const group = ring.bufferGroups.get(view.getUint32(IO_URING_BUF_STATUS.buf_group, true))
  if (group === undefined) return -ENOENT
  if (!(group instanceof BufferRing)) return -EINVAL
  return task.mm.putU32(at + IO_URING_BUF_STATUS.head, group.head)
}
