/** cachestat(2): how much of a file is in the page cache, which is the host's. */
import { MAP_PRIVATE, PROT_READ } from '../abi/constants.ts'
import { EBADF, EFAULT, EINVAL, EPERM } from '../abi/errno.ts'
import { CACHESTAT, CACHESTAT_RANGE } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { put64, take64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import { cachedPages } from '../mm/cached-pages.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { PAGE_SIZE, pageCeil, pageFloor } from '../mm/vma.ts'
import type { File } from '../vfs/file.ts'
import { throughMount } from '../vfs/idmap.ts'
import { MAY_WRITE, ownerOrCapable, permission } from '../vfs/permission.ts'
import { fd as fdArg, hex, type SyscallRows, structIn, structOut } from './args.ts'
import { fileOf } from './at.ts'

/** Looked at in one try: others want to be served, too. */
const PIECE = 16384 * PAGE_SIZE

/** How far the call is. */
interface Count {
  at: number
  readonly end: number
  cached: number
}

export function cachestat(task: Task, fd: number, rangeAt: GuestAddr, at: GuestAddr, flags: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  const range = task.mm.view(rangeAt, CACHESTAT_RANGE.size)
  if (range === undefined) return -EFAULT
  const offset = take64(range, CACHESTAT_RANGE.off)
  const length = take64(range, CACHESTAT_RANGE.len)
  if (!mayAsk(task, file)) return -EPERM
  if (flags !== 0) return -EINVAL
  const cached = countCached(task, file, offset, length)
  if (cached < 0) return cached
  const out = task.mm.out(CACHESTAT.size)
  put64(out, CACHESTAT.nr_cache, cached)
  return task.mm.commit(at)
}

/** can_do_cachestat: what others read of a file that one may not change tells of them. */
function mayAsk(task: Task, file: File): boolean {
  const cred = throughMount(task.cred, file.path.mount)
  return file.writable || ownerOrCapable(cred, file.inode) || permission(cred, file.inode, MAY_WRITE) === 0
}

/** Pages of the file's that are cached, from the one that has `offset` to the last of `length` bytes; 0: to the end. */
function countCached(task: Task, file: File, offset: number, length: number): number {
  // What has no pages of the host's has none in a cache.
  if (!file.inode.isRegular) return 0
  const source = file.mapping(0, 0, PROT_READ, MAP_PRIVATE)
  if (typeof source === 'number') return 0
  const count = (task.progress as Count | undefined) ?? begin(file, offset, length)
  if (failed(count)) return count
  if (count.at >= count.end) return count.cached
  const piece = Math.min(count.end - count.at, PIECE)
  const cached = cachedPages(task.mm, source, count.at, piece)
  if (cached < 0) return cached
  count.cached += cached
  count.at += piece
  if (count.at >= count.end) return count.cached
  task.progress = count
  return task.yieldCall()
}

function begin(file: File, offset: number, length: number): OrErrno<Count> {
  const { inode } = file
  const status = inode.getattr()
  if (status < 0) return status
  const end = pageCeil(Math.min(inode.size, length === 0 ? Number.POSITIVE_INFINITY : offset + length))
  return { at: pageFloor(offset), end, cached: 0 }
}

export const cachestatCalls = {
  cachestat: {
    nr: NR.cachestat,
    run: cachestat,
    args: [fdArg, structIn(CACHESTAT_RANGE), structOut(CACHESTAT), hex],
    partial: 'what is dirty, being written or evicted the host does not tell: 0',
  },
} satisfies SyscallRows
