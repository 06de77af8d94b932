/** Reading and writing: read(2) and family. The calls that move bytes between two files are in file-copy.ts. */
import {
  O_APPEND,
  O_DSYNC,
  O_SYNC,
  RWF_APPEND,
  RWF_DSYNC,
  RWF_HIPRI,
  RWF_NOAPPEND,
  RWF_NOWAIT,
  RWF_SYNC,
  SEEK_HOLE,
} from '../abi/constants.ts'
import { EAGAIN, EBADF, EFAULT, EINVAL, EOPNOTSUPP, EPIPE, ESPIPE } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { IoDst, IoSrc } from '../base/io.ts'
import { PENDING } from '../base/result.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { File } from '../vfs/file.ts'
import { askToRead, notifyAccess, notifyModify } from '../vfs/notify.ts'
import { removePrivileges } from '../vfs/permission.ts'
import { bufferIn, bufferOut, fd as fdArg, hex, int, off, type SyscallRows, size, vector } from './args.ts'
import { fileOf } from './at.ts'
import { IoProgress, ioFile, READ_EVENTS, sleepOn, writeOut } from './blocking.ts'
import { limitWrite, MAX_RW_COUNT } from './io-limits.ts'
import { longIo, SMALLEST_SHARE, waitForLong, yieldIo } from './long-io.ts'

const RWF_READ = RWF_HIPRI | RWF_NOWAIT | RWF_DSYNC | RWF_SYNC | RWF_APPEND | RWF_NOAPPEND
/** The offset that means the file's own position. */
export const OWN_POSITION = -1

export function read(task: Task, fd: number, buffer: GuestAddr, count: number): number {
  const file = ioFile(task, task.fds.get(fd))
  if (file === undefined || !file.readable) return -EBADF
  if (!task.mm.accessOk(buffer, count)) return -EFAULT
  return readInto(task, file, task.mm.dst(buffer, Math.min(count, MAX_RW_COUNT)), file.nonblocking)
}

export function write(task: Task, fd: number, buffer: GuestAddr, count: number): number {
  const file = ioFile(task, task.fds.get(fd))
  if (file === undefined || !file.writable) return -EBADF
  if (!task.mm.accessOk(buffer, count)) return -EFAULT
  const done = doneBefore(task)
  const length = Math.min(count, MAX_RW_COUNT) - done
  return writeFrom(task, file, task.mm.src(buffer + done, length), done, file.nonblocking)
}

export function pread64(task: Task, fd: number, buffer: GuestAddr, count: number, offset: number): number {
  if (offset < 0) return -EINVAL
  const file = ioFile(task, fileOf(task, fd))
  if (file === undefined) return -EBADF
  if (!file.seekable) return -ESPIPE
  if (!file.readable) return -EBADF
  if (!task.mm.accessOk(buffer, count)) return -EFAULT
  return readAtInto(task, file, task.mm.dst(buffer, Math.min(count, MAX_RW_COUNT)), offset)
}

export function pwrite64(task: Task, fd: number, buffer: GuestAddr, count: number, offset: number): number {
  if (offset < 0) return -EINVAL
  const file = ioFile(task, fileOf(task, fd))
  if (file === undefined) return -EBADF
  if (!file.seekable) return -ESPIPE
  if (!file.writable) return -EBADF
  if (!task.mm.accessOk(buffer, count)) return -EFAULT
  return writeAtFrom(task, file, task.mm.src(buffer, Math.min(count, MAX_RW_COUNT)), offset, 0)
}

export function readv(task: Task, fd: number, iov: GuestAddr, count: number): number {
  return readVector(task, fd, iov, count, OWN_POSITION, 0)
}
export function writev(task: Task, fd: number, iov: GuestAddr, count: number): number {
  return writeVector(task, fd, iov, count, OWN_POSITION, 0)
}
/** The offset is one register on 64-bit machines; the high word is ignored. */
export function preadv(
  task: Task,
  fd: number,
  iov: GuestAddr,
  count: number,
  offset: number,
  _high: number,
): number {
  return offset < 0 ? -EINVAL : readVector(task, fd, iov, count, offset, 0)
}
export function pwritev(
  task: Task,
  fd: number,
  iov: GuestAddr,
  count: number,
  offset: number,
  _high: number,
): number {
  return offset < 0 ? -EINVAL : writeVector(task, fd, iov, count, offset, 0)
}
export function preadv2(
  task: Task,
  fd: number,
  iov: GuestAddr,
  count: number,
  offset: number,
  _high: number,
  flags: number,
): number {
  return offset < OWN_POSITION ? -EINVAL : readVector(task, fd, iov, count, offset, flags)
}
export function pwritev2(
  task: Task,
  fd: number,
  iov: GuestAddr,
  count: number,
  offset: number,
  _high: number,
  flags: number,
): number {
  return offset < OWN_POSITION ? -EINVAL : writeVector(task, fd, iov, count, offset, flags)
}

/** SEEK_DATA and SEEK_HOLE are answered by the file. */
export function lseek(task: Task, fd: number, offset: number, whence: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (whence < 0 || whence > SEEK_HOLE) return -EINVAL
  if (file.longCall !== undefined) return waitForLong(task, file.longCall)
  return file.seek(offset, whence)
}

function readVector(
  task: Task,
  fd: number,
  iov: GuestAddr,
  count: number,
  offset: number,
  flags: number,
): number {
  const file = ioFile(task, fileOf(task, fd))
  if (file === undefined) return -EBADF
  if (offset !== OWN_POSITION && !file.seekable) return -ESPIPE
  if (!file.readable) return -EBADF
  const into = task.mm.dstVector(iov, count)
  if (typeof into === 'number') return into
  // What can be read at all is not asked for nothing.
  if (into.remaining === 0 && file.read !== File.prototype.read) return 0
  return readTo(task, file, into, offset, flags, file.nonblocking)
}

/** The second half of preadv2(2). `flags` are RWF_*, the offset may be OWN_POSITION; -EAGAIN only if `nonblocking`. */
export function readTo(
  task: Task,
  file: File,
  into: IoDst,
  offset: number,
  flags: number,
  nonblocking: boolean,
): number {
  if ((flags & ~RWF_READ) !== 0) return -EOPNOTSUPP
  if (offset !== OWN_POSITION) return readAtInto(task, file, into, offset)
  return readInto(task, file, into, nonblocking || (flags & RWF_NOWAIT) !== 0)
}

function writeVector(
  task: Task,
  fd: number,
  iov: GuestAddr,
  count: number,
  offset: number,
  flags: number,
): number {
  const file = ioFile(task, fileOf(task, fd))
  if (file === undefined) return -EBADF
  if (offset !== OWN_POSITION && !file.seekable) return -ESPIPE
  if (!file.writable) return -EBADF
  const from = task.mm.srcVector(iov, count)
  return typeof from === 'number' ? from : writeOf(task, file, from, offset, flags, file.nonblocking)
}

/** The second half of pwritev2(2), as `readTo`. `from` is all that is to be written, at later tries too. */
export function writeOf(
  task: Task,
  file: File,
  from: IoSrc,
  offset: number,
  flags: number,
  nonblocking: boolean,
): number {
  if ((flags & ~RWF_READ) !== 0) return -EOPNOTSUPP
  if ((flags & RWF_APPEND) !== 0 && (flags & RWF_NOAPPEND) !== 0) return -EINVAL
  // Some files sync before they show that anything was written, so that they must know.
  const own = file.flags
  if ((flags & RWF_SYNC) !== 0) file.flags |= O_SYNC
  else if ((flags & RWF_DSYNC) !== 0) file.flags |= O_DSYNC
  const n = writeAsFlagged(task, file, from, offset, flags, nonblocking)
  file.flags = own
  return n
}

function writeAsFlagged(
  task: Task,
  file: File,
  from: IoSrc,
  offset: number,
  flags: number,
  nonblocking: boolean,
): number {
  if (offset !== OWN_POSITION) return writeAtFrom(task, file, from, offset, flags)
  const appends = (file.flags & O_APPEND) !== 0
  if (file.seekable && appends !== wouldAppend(file, flags)) {
    const n = writeAtFrom(task, file, from, file.pos, flags)
    if (n > 0) file.pos = appends ? file.pos + n : file.inode.size
    return n
  }
  const done = doneBefore(task)
  if (done > 0) from.skip(done)
  return writeFrom(task, file, from, done, nonblocking || (flags & RWF_NOWAIT) !== 0)
}

/** What earlier tries of this write have passed on. */
function doneBefore(task: Task): number {
  return task.progress instanceof IoProgress ? task.progress.done : 0
}

function readInto(task: Task, file: File, into: IoDst, nonblocking: boolean): number {
  if (into.remaining > SMALLEST_SHARE && file.share > 0)
    return readLong(task, file, into, OWN_POSITION, nonblocking)
  // A vector that was changed meanwhile may have become a short one.
  if (file.longCall !== undefined && longIo(task) === undefined) return waitForLong(task, file.longCall)
  const asked = file.inode.isRegular ? askToRead(file) : 0
  if (asked !== 0) return asked
  const n = file.read(into)
  if (n > 0) notifyAccess(file)
  else if (n === -EAGAIN && !nonblocking) return sleepOn(task, file, READ_EVENTS, file.readTimeout)
  return n
}

function readAtInto(task: Task, file: File, into: IoDst, offset: number): number {
  if (into.remaining > SMALLEST_SHARE && file.share > 0) return readLong(task, file, into, offset, true)
  const asked = askToRead(file)
  if (asked !== 0) return asked
  const n = file.readAt(into, offset)
  if (n > 0) notifyAccess(file)
  return n
}

/** A read that may be done in shares: so much at each try. */
function readLong(task: Task, file: File, into: IoDst, offset: number, nonblocking: boolean): number {
  const own = offset === OWN_POSITION
  const earlier = longIo(task)
  if (earlier === undefined) {
    if (own && file.longCall !== undefined) return waitForLong(task, file.longCall)
    const asked = file.inode.isRegular ? askToRead(file) : 0
    if (asked !== 0) return asked
  }
  const done = earlier?.done ?? 0
  if (done > 0) into.skip(done)
  const rest = into.remaining
  const { share } = file
  into.limit(share)
  const n = own ? file.read(into) : file.readAt(into, offset + done)
  if (n === PENDING) return n
  if (n === share && n < rest) return yieldIo(task, file, done + n, own ? file : undefined)
  // There are regular files that wait: /proc/kmsg.
  if (n === -EAGAIN && done === 0 && !nonblocking) return sleepOn(task, file, READ_EVENTS, file.readTimeout)
  const total = n > 0 ? done + n : done || n
  if (total > 0) notifyAccess(file)
  return total
}

function writeFrom(task: Task, file: File, from: IoSrc, done: number, nonblocking: boolean): number {
  if (file.longCall !== undefined && longIo(task) === undefined) return waitForLong(task, file.longCall)
  if (!file.inode.isRegular) {
    if (from.remaining <= SMALLEST_SHARE || file.share === 0)
      return writeOut(task, file, from, done, nonblocking)
    return writeShare(task, file, from, done, OWN_POSITION)
  }
  return writeRegular(task, file, from, file.pos, done, OWN_POSITION, 0)
}

/** At an offset of the call's own. O_APPEND wins over it, as Linux has it and POSIX has not. */
function writeAtFrom(task: Task, file: File, from: IoSrc, offset: number, flags: number): number {
  const { inode } = file
  const done = doneBefore(task)
  if (done > 0) from.skip(done)
  offset += done
  if (wouldAppend(file, flags)) {
    const status = inode.getattr()
    if (status < 0) return status
    offset = inode.size
  }
  const n = inode.isRegular
    ? writeRegular(task, file, from, offset, done, offset, flags)
    : writeShare(task, file, from, done, offset)
  if (n === -EPIPE) task.sendSigpipe()
  return n
}

/** `limitedAt`: from where RLIMIT_FSIZE counts; `offset`: OWN_POSITION or the same. */
function writeRegular(
  task: Task,
  file: File,
  from: IoSrc,
  limitedAt: number,
  done: number,
  offset: number,
  flags: number,
): number {
  const { inode } = file
  if (inode.longCall !== undefined && longIo(task) === undefined) return waitForLong(task, inode.longCall)
  const limited = limitWrite(task, file, from, limitedAt)
  if (typeof limited === 'number') return done || limited
  const status = removePrivileges(task.cred, file.path)
  if (status < 0) return done || status
  return writeShare(task, file, limited, done, offset, flags)
}

/** Writes all of `from`, or the next share of it. */
function writeShare(task: Task, file: File, from: IoSrc, done: number, offset: number, flags = 0): number {
  const rest = from.remaining
  const share = rest > SMALLEST_SHARE ? file.share : 0
  if (share > 0) from.limit(share)
  let n: number
  if (offset === OWN_POSITION) n = file.write(from)
  else n = (flags & RWF_NOAPPEND) !== 0 ? writeInside(file, from, offset) : file.writeAt(from, offset)
  if (n === PENDING) return n
  if (share > 0 && n === share && n < rest)
    return yieldIo(task, file, done + n, offset === OWN_POSITION ? file : undefined, file.inode)
  const total = n > 0 ? done + n : done || n
  if (total > 0) notifyModify(file)
  return syncAfter(file, total)
}

/** RWF_NOAPPEND: what the file does by itself at the end because of O_APPEND, it does not for this one. */
function writeInside(file: File, from: IoSrc, offset: number): number {
  const { flags } = file
  file.flags &= ~O_APPEND
  const n = file.writeAt(from, offset)
  file.flags = flags
  return n
}

function wouldAppend(file: File, flags: number): boolean {
  if ((flags & RWF_NOAPPEND) !== 0) return false
  return ((file.flags & O_APPEND) !== 0 || (flags & RWF_APPEND) !== 0) && file.seekable
}

/** O_SYNC and O_DSYNC: the write of `n` bytes is not over before it is on the disk. */
function syncAfter(file: File, n: number): number {
  if (n <= 0 || (file.flags & O_DSYNC) === 0) return n
  const status = file.fsync((file.flags & O_SYNC) !== O_SYNC)
  return status < 0 && status !== -EINVAL ? status : n
}

export const readWriteCalls = {
  read: { nr: NR.read, run: read, args: [fdArg, bufferOut(2), size] },
  write: { nr: NR.write, run: write, args: [fdArg, bufferIn(2), size] },
  pread64: { nr: NR.pread64, run: pread64, args: [fdArg, bufferOut(2), size, off] },
  pwrite64: { nr: NR.pwrite64, run: pwrite64, args: [fdArg, bufferIn(2), size, off] },
  readv: { nr: NR.readv, run: readv, args: [fdArg, vector('out', 2), size] },
  writev: { nr: NR.writev, run: writev, args: [fdArg, vector('in', 2), size] },
  preadv: { nr: NR.preadv, run: preadv, args: [fdArg, vector('out', 2), size, off, off] },
  pwritev: { nr: NR.pwritev, run: pwritev, args: [fdArg, vector('in', 2), size, off, off] },
  preadv2: { nr: NR.preadv2, run: preadv2, args: [fdArg, vector('out', 2), size, off, off, hex] },
  pwritev2: { nr: NR.pwritev2, run: pwritev2, args: [fdArg, vector('in', 2), size, off, off, hex] },
  lseek: { nr: NR.lseek, run: lseek, args: [fdArg, off, int] },
} satisfies SyscallRows
