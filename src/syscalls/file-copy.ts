/** Bytes between two files, and what tells the host about a file's bytes: sendfile, copy_file_range, fallocate, fsync, … */
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_UNSHARE_RANGE,
  FALLOC_FL_ZERO_RANGE,
  O_APPEND,
  S_IFBLK,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
  SEEK_CUR,
  SEEK_SET,
} from '../abi/constants.ts'
import {
  EAGAIN,
  EBADF,
  EFAULT,
  EFBIG,
  EINTR,
  EINVAL,
  EISDIR,
  ENODEV,
  EOPNOTSUPP,
  EOVERFLOW,
  EPIPE,
  ESPIPE,
  EXDEV,
} from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { BufferDst, BufferSrc } from '../base/io.ts'
import { BLOCK, PENDING } from '../base/result.ts'
import { takeSigned64 } from '../base/words.ts'
import { PipeFile } from '../fs/pipe/pipe-file.ts'
import { TmpfsFile } from '../fs/tmpfs/regular.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { type File, IO_SHARE } from '../vfs/file.ts'
import { fileGet, filePut } from '../vfs/file-ref.ts'
import { askToRead, notifyAccess, notifyModify } from '../vfs/notify.ts'
import { removePrivileges } from '../vfs/permission.ts'
import { addr, fd as fdArg, hex, int, off, type SyscallRows, size } from './args.ts'
import { fileOf } from './at.ts'
import { ioFile, sleepOn, WRITE_EVENTS } from './blocking.ts'
import { checkSize, limitWrite, MAX_RW_COUNT } from './io-limits.ts'
import { LongIo, waitForLong, yieldIo } from './long-io.ts'

const CHUNK = 128 * 1024
const MAX_FILE_SIZE = Number.MAX_SAFE_INTEGER

/** A sendfile or copy_file_range that waits for room in its output, or has more to do. */
class TransferProgress extends LongIo {
  readonly input: File
  /** Where the next bytes come from, and where those of copy_file_range go. */
  position = 0
  outPosition = 0

  constructor(input: File, output: File) {
    super(output)
    this.input = fileGet(input)
  }
  override end(): void {
    filePut(this.input)
    super.end()
  }
}

/** The progress of the call in hand, made when it is needed first. */
function transferProgress(task: Task, input: File, output: File): TransferProgress {
  if (task.progress instanceof TransferProgress) return task.progress
  const progress = new TransferProgress(input, output)
  task.progress = progress
  return progress
}

/** The input must be seekable; the output may be anything that can be written, and is waited for. */
export function sendfile(
  task: Task,
  outFd: number,
  inFd: number,
  offsetAt: GuestAddr,
  count: number,
): number {
  const earlier = task.progress instanceof TransferProgress ? task.progress : undefined
  const input = earlier?.input ?? fileOf(task, inFd)
  if (input === undefined || !input.readable) return -EBADF
  if (offsetAt !== 0 && !input.seekable) return -ESPIPE
  const output = earlier?.file ?? fileOf(task, outFd)
  if (output === undefined || !output.writable) return -EBADF
  let from = position(input)
  if (earlier !== undefined) from = earlier.position
  else if (offsetAt !== 0) {
    const given = readOffset(task, offsetAt)
    if (given === undefined) return -EFAULT
    if (given < 0) return -EINVAL
    from = given
  }
  if ((output.flags & O_APPEND) !== 0) return -EINVAL
  const { type } = input.inode
  if (type === S_IFIFO || type === S_IFSOCK) return -EINVAL
  if (count === 0) return 0
  if (!input.seekable || input.inode.isDir) return -EINVAL

  if (earlier === undefined) {
    const longCall = output.longCall ?? output.inode.longCall ?? (offsetAt === 0 ? input.longCall : undefined)
    if (longCall !== undefined) return waitForLong(task, longCall)
    const asked = askToRead(input)
    if (asked !== 0) return asked
  }
  const start = from
  let done = earlier?.done ?? 0
  const rest = Math.min(count, MAX_RW_COUNT) - done
  const share = Math.min(rest, IO_SHARE)
  const result = pump(task, input, from, output, share)
  const moved = result.moved
  from = start + moved
  done += moved
  if (moved > 0) {
    notifyAccess(input)
    notifyModify(output)
  }
  // By seek: the position of a descriptor that the sandbox was lent is the host's.
  if (offsetAt === 0) input.seek(from, SEEK_SET)
  else if (moved > 0 || done === 0) {
    const status = task.mm.putU64(offsetAt, from)
    if (status < 0) return status
  }
  // A pipe takes what it has room for, everything else all of it.
  const enough = done > 0 && output instanceof PipeFile
  if (moved === share && share < rest) {
    transferProgress(task, input, output).position = from
    // What may have to be waited for is not held: its reader may need the one who would wait for this call.
    if (!output.inode.isRegular) return yieldIo(task, output, done)
    return yieldIo(task, output, done, output, output.inode, offsetAt === 0 ? input : undefined)
  }
  if (result.error === -EAGAIN && !output.nonblocking && !enough) {
    transferProgress(task, input, output).position = from
    return sleepOn(task, output, WRITE_EVENTS, output.writeTimeout, done)
  }
  if (result.error === -EPIPE) task.sendSigpipe()
  return done > 0 ? done : result.error
}

/** Moves up to `count` bytes; `error` is why it stopped short, 0 at the end of the input. */
function pump(
  task: Task,
  input: File,
  position: number,
  output: File,
  count: number,
): { moved: number; error: number } {
  const buffer = new Uint8Array(Math.min(count, CHUNK))
  let moved = 0
  while (moved < count) {
    const into = new BufferDst(buffer.subarray(0, Math.min(buffer.length, count - moved)))
    const n = input.readAt(into, position + moved)
    if (n <= 0) return { moved, error: n }
    let from = 0
    while (from < n) {
      const src = new BufferSrc(buffer.subarray(from, n))
      const limited = output.inode.isRegular ? limitWrite(task, output, src, output.pos) : src
      const written = typeof limited === 'number' ? limited : output.write(limited)
      if (written <= 0) return { moved: moved + from, error: written }
      from += written
    }
    moved += n
  }
  return { moved, error: 0 }
}

export function copy_file_range(
  task: Task,
  inFd: number,
  inOffsetAt: GuestAddr,
  outFd: number,
  outOffsetAt: GuestAddr,
  count: number,
  flags: number,
): number {
  const earlier = task.progress instanceof TransferProgress ? task.progress : undefined
  const input = earlier?.input ?? fileOf(task, inFd)
  const output = earlier?.file ?? fileOf(task, outFd)
  if (input === undefined || output === undefined) return -EBADF
  let inOffset = earlier?.position
  inOffset ??= inOffsetAt === 0 ? position(input) : readOffset(task, inOffsetAt)
  let outOffset = earlier?.outPosition
  outOffset ??= outOffsetAt === 0 ? position(output) : readOffset(task, outOffsetAt)
  if (inOffset === undefined || outOffset === undefined) return -EFAULT
  if (flags !== 0) return -EINVAL
  const done = earlier?.done ?? 0
  // What comes after the first share is bounded; the first one sees what was asked for.
  if (done > 0) count = Math.min(count, MAX_RW_COUNT)
  const copied = copyRange(task, input, inOffset + done, output, outOffset + done, count - done, done > 0)
  if (copied === BLOCK || copied === PENDING) return copied
  if (copied === IO_SHARE && count - done > IO_SHARE) {
    const progress = transferProgress(task, input, output)
    progress.position = inOffset
    progress.outPosition = outOffset
    return yieldIo(task, output, done + copied, output, output.inode, inOffsetAt === 0 ? input : undefined)
  }
  const n = copied > 0 ? done + copied : done || copied
  if (n <= 0) return n
  notifyAccess(input)
  notifyModify(output)
  if (inOffsetAt === 0) input.seek(inOffset + n, SEEK_SET)
  else if (task.mm.putU64(inOffsetAt, inOffset + n) < 0) return -EFAULT
  if (outOffsetAt === 0) output.seek(outOffset + n, SEEK_SET)
  else if (task.mm.putU64(outOffsetAt, outOffset + n) < 0) return -EFAULT
  return n
}

/** Asked for, not read from `pos`: a file of the host's shares its position with others there. */
function position(file: File): number {
  return file.seekable ? file.seek(0, SEEK_CUR) : 0
}

function copyRange(
  task: Task,
  input: File,
  inOffset: number,
  output: File,
  outOffset: number,
  count: number,
  goesOn: boolean,
): number {
  if (input.inode.isDir || output.inode.isDir) return -EISDIR
  if (!input.inode.isRegular || !output.inode.isRegular) return -EINVAL
  if (!input.readable || !output.writable || (output.flags & O_APPEND) !== 0) return -EBADF
  if (inOffset < 0 || outOffset < 0) return -EINVAL
  if (inOffset + count > 2 ** 63 || outOffset + count > 2 ** 63) return -EOVERFLOW
  const status = input.inode.getattr()
  if (status < 0) return status
  const size = input.inode.size
  if (inOffset >= size) return 0
  count = Math.min(count, size - inOffset, MAX_RW_COUNT)
  if (!goesOn && input.inode === output.inode && outOffset + count > inOffset && outOffset < inOffset + count)
    return -EINVAL
  if (count === 0) return 0
  if (!goesOn) {
    const longCall = output.longCall ?? output.inode.longCall ?? input.longCall
    if (longCall !== undefined) return waitForLong(task, longCall)
    const asked = askToRead(input)
    if (asked !== 0) return asked
  }
  count = Math.min(count, IO_SHARE)
  const privileges = removePrivileges(task.cred, output.path)
  if (privileges < 0) return privileges
  const limited = limitWrite(task, output, new BufferSrc(new Uint8Array(Math.min(count, 1))), outOffset)
  if (typeof limited === 'number') return limited
  const direct = output.copyFrom(input, inOffset, outOffset, count)
  if (direct !== -EOPNOTSUPP && direct !== -EXDEV) return direct
  return copyThrough(input, inOffset, output, outOffset, count)
}

function copyThrough(input: File, inOffset: number, output: File, outOffset: number, count: number): number {
  const buffer = new Uint8Array(Math.min(count, CHUNK))
  let done = 0
  while (done < count) {
    const n = input.readAt(
      new BufferDst(buffer.subarray(0, Math.min(buffer.length, count - done))),
      inOffset + done,
    )
    if (n <= 0) return done > 0 ? done : n
    const written = output.writeAt(new BufferSrc(buffer.subarray(0, n)), outOffset + done)
    if (written <= 0) return done > 0 ? done : written
    done += written
    if (written < n) return done
  }
  return done
}

/** A loff_t of the guest as a double. */
function readOffset(task: Task, address: GuestAddr): number | undefined {
  const view = task.mm.view(address, 8)
  return view === undefined ? undefined : takeSigned64(view, 0)
}

export function fallocate(task: Task, fd: number, mode: number, offset: number, length: number): number {
  const file = ioFile(task, fileOf(task, fd))
  if (file === undefined) return -EBADF
  if (offset < 0 || length <= 0) return -EINVAL
  const operation = mode & ~FALLOC_FL_KEEP_SIZE
  const keepsSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0
  switch (operation) {
    case 0:
    case FALLOC_FL_UNSHARE_RANGE:
    case FALLOC_FL_ZERO_RANGE:
      break
    case FALLOC_FL_PUNCH_HOLE:
      if (!keepsSize) return -EOPNOTSUPP
      break
    case FALLOC_FL_COLLAPSE_RANGE:
    case FALLOC_FL_INSERT_RANGE:
      if (keepsSize) return -EOPNOTSUPP
      break
    default:
      return -EOPNOTSUPP
  }
  if (!file.writable) return -EBADF
  if (task.progress instanceof LongIo) return allocateShare(task, file, mode, offset, length)
  const { inode } = file
  if (inode.type === S_IFIFO) return -ESPIPE
  if (inode.isDir) return -EISDIR
  if (inode.type !== S_IFREG && inode.type !== S_IFBLK) return -ENODEV
  if (offset + length > MAX_FILE_SIZE) return -EFBIG
  if (!keepsSize) {
    const allowed = checkSize(task, inode.size, offset + length)
    if (allowed < 0) return allowed
  }
  const privileges = removePrivileges(task.cred, file.path)
  if (privileges < 0) return privileges
  if (inode.longCall !== undefined) return waitForLong(task, inode.longCall)
  if (length > ALLOCATION_SHARE && file instanceof TmpfsFile) {
    const allowed = file.mayAllocate(mode, offset, length)
    return allowed < 0 ? allowed : allocateShare(task, file, mode, offset, length)
  }
  const status = file.fallocate(mode, offset, length)
  if (status === 0) notifyModify(file)
  return status
}

/** Memory that is made or given back within some milliseconds. */
const ALLOCATION_SHARE = 16 << 20

/** The next part of a large range of a file in memory; the size changes with the last one. A signal ends it, as in Linux. */
function allocateShare(task: Task, file: File, mode: number, offset: number, length: number): number {
  const done = task.progress instanceof LongIo ? task.progress.done : 0
  const share = Math.min(length - done, ALLOCATION_SHARE)
  const last = done + share === length
  const status = file.fallocate(last ? mode : mode | FALLOC_FL_KEEP_SIZE, offset + done, share)
  if (status < 0) return status
  if (last) {
    notifyModify(file)
    return status
  }
  const blocked = yieldIo(task, file, done + share, file.inode)
  if ((mode & FALLOC_FL_PUNCH_HOLE) === 0) task.yieldCall(-EINTR)
  return blocked
}

/** Advice is not needed: pages are the host's, and it sees the accesses. */
export function fadvise64(task: Task, fd: number, _offset: number, length: number, advice: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (file.inode.type === S_IFIFO) return -ESPIPE
  return length < 0 || advice < 0 || advice > 5 ? -EINVAL : 0
}

export function readahead(task: Task, fd: number, _offset: number, _count: number): number {
  const file = fileOf(task, fd)
  if (file === undefined || !file.readable) return -EBADF
  return file.inode.isRegular || file.inode.type === S_IFBLK ? 0 : -EINVAL
}

export function fsync(task: Task, fd: number): number {
  return fileOf(task, fd)?.fsync(false) ?? -EBADF
}
export function fdatasync(task: Task, fd: number): number {
  return fileOf(task, fd)?.fsync(true) ?? -EBADF
}

/** All file systems that the caller can see. */
export function sync(task: Task): number {
  const seen = new Set<unknown>()
  for (const { sb } of task.mountNs.mounts) {
    if (seen.has(sb)) continue
    seen.add(sb)
    sb.sync()
  }
  return 0
}

export function syncfs(task: Task, fd: number): number {
  return fileOf(task, fd)?.inode.sb.sync() ?? -EBADF
}

/** More than asked for: the whole file's data is written. */
export function sync_file_range(
  task: Task,
  fd: number,
  offset: number,
  length: number,
  flags: number,
): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if ((flags & ~7) !== 0 || offset < 0 || length < 0) return -EINVAL
  const type = file.inode.type
  if (type !== S_IFREG && type !== S_IFBLK && type !== S_IFDIR && type !== S_IFLNK) return -ESPIPE
  return flags === 0 || type !== S_IFREG ? 0 : file.fsync(true)
}

export const fileCopyCalls = {
  sendfile: { nr: NR.sendfile, run: sendfile, args: [fdArg, fdArg, addr, size] },
  copy_file_range: {
    nr: NR.copy_file_range,
    run: copy_file_range,
    args: [fdArg, addr, fdArg, addr, size, hex],
  },
  fallocate: { nr: NR.fallocate, run: fallocate, args: [fdArg, hex, off, off] },
  fadvise64: { nr: NR.fadvise64, run: fadvise64, args: [fdArg, off, off, int] },
  readahead: { nr: NR.readahead, run: readahead, args: [fdArg, off, size] },
  fsync: { nr: NR.fsync, run: fsync, args: [fdArg] },
  fdatasync: { nr: NR.fdatasync, run: fdatasync, args: [fdArg] },
  sync: { nr: NR.sync, run: sync, args: [] },
  syncfs: { nr: NR.syncfs, run: syncfs, args: [fdArg] },
  sync_file_range: { nr: NR.sync_file_range, run: sync_file_range, args: [fdArg, off, off, hex] },
} satisfies SyscallRows
