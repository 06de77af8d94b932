/** open(2), openat(2), openat2(2), creat(2). */
import {
  AT_FDCWD,
  FASYNC,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_DSYNC,
  O_EXCL,
  O_LARGEFILE,
  O_NOATIME,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_SYNC,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  RESOLVE_BENEATH,
  RESOLVE_CACHED,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
} from '../abi/constants.ts'
import { E2BIG, EAGAIN, EINVAL, EISDIR, EMFILE, EOPNOTSUPP, ERESTARTSYS } from '../abi/errno.ts'
import { OPEN_HOW } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { HeldProgress, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { type File, PathFile } from '../vfs/file.ts'
import { filePut } from '../vfs/file-ref.ts'
import { openAt, openPath } from '../vfs/namei.ts'
import type { Path } from '../vfs/path.ts'
import {
  fd as fdArg,
  flags as flagsArg,
  mode as modeArg,
  path,
  type SyscallRows,
  size,
  structIn,
} from './args.ts'
import { fdLimit, startOf } from './at.ts'
import { copyStruct } from './struct-argument.ts'

export const O_FLAGS = {
  O_WRONLY: 1,
  O_RDWR: 2,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_TRUNC,
  O_APPEND,
  O_NONBLOCK,
  O_SYNC,
  O_DSYNC,
  O_DIRECT,
  O_LARGEFILE,
  O_TMPFILE,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NOATIME,
  O_CLOEXEC,
  O_PATH,
}

const TMPFILE_BIT = O_TMPFILE & ~O_DIRECTORY
const VALID_FLAGS =
  O_ACCMODE |
  O_CREAT |
  O_EXCL |
  O_NOCTTY |
  O_TRUNC |
  O_APPEND |
  O_NONBLOCK |
  O_SYNC |
  O_DSYNC |
  FASYNC |
  O_DIRECT |
  O_LARGEFILE |
  O_DIRECTORY |
  O_NOFOLLOW |
  O_NOATIME |
  O_CLOEXEC |
  O_PATH |
  O_TMPFILE
const PATH_FLAGS = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC
const RESOLVE_FLAGS =
  RESOLVE_NO_XDEV |
  RESOLVE_NO_MAGICLINKS |
  RESOLVE_NO_SYMLINKS |
  RESOLVE_BENEATH |
  RESOLVE_IN_ROOT |
  RESOLVE_CACHED

/** The open of a FIFO that waits for its other end. */
class OpenProgress extends HeldProgress {
  file: File | undefined
  readonly cloexec: boolean

  constructor(file: File, cloexec: boolean) {
    super()
    this.file = file
    this.cloexec = cloexec
  }
  override end(): void {
    if (this.file !== undefined) filePut(this.file)
  }
}

export function open(task: Task, nameAt: GuestAddr, flags: number, mode: number): number {
  return openat(task, AT_FDCWD, nameAt, flags, mode)
}
export function creat(task: Task, nameAt: GuestAddr, mode: number): number {
  return openat(task, AT_FDCWD, nameAt, O_CREAT | O_WRONLY | O_TRUNC, mode)
}

export function openat(task: Task, dirfd: number, nameAt: GuestAddr, flags: number, mode: number): number {
  flags = lenientFlags(flags)
  if ((flags & (O_CREAT | TMPFILE_BIT)) === 0) mode = 0
  return doOpen(task, dirfd, nameAt, flags, mode & 0o7777, 0)
}

/** openat2 refuses what it does not know. */
export function openat2(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  howAt: GuestAddr,
  howSize: number,
): number {
  if (howSize < OPEN_HOW.size) return -EINVAL
  if (howSize > 4096) return -E2BIG
  const how = copyStruct(task, howAt, howSize, OPEN_HOW.size)
  if (failed(how)) return how
  let flags = how.getUint32(OPEN_HOW.flags, true)
  const highFlags = how.getUint32(OPEN_HOW.flags + 4, true)
  const mode = how.getUint32(OPEN_HOW.mode, true)
  const highMode = how.getUint32(OPEN_HOW.mode + 4, true)
  const resolve = how.getUint32(OPEN_HOW.resolve, true)
  const highResolve = how.getUint32(OPEN_HOW.resolve + 4, true)
  if (highFlags !== 0 || (flags & ~VALID_FLAGS) !== 0) return -EINVAL
  if (highResolve !== 0 || (resolve & ~RESOLVE_FLAGS) !== 0) return -EINVAL
  if ((resolve & RESOLVE_BENEATH) !== 0 && (resolve & RESOLVE_IN_ROOT) !== 0) return -EINVAL
  if ((flags & (O_CREAT | TMPFILE_BIT)) !== 0) {
    if (highMode !== 0 || (mode & ~0o7777) !== 0) return -EINVAL
  } else if (mode !== 0 || highMode !== 0) return -EINVAL
  if ((flags & O_PATH) !== 0) {
    if ((flags & ~PATH_FLAGS) !== 0) return -EINVAL
  } else flags |= O_LARGEFILE
  if ((resolve & RESOLVE_CACHED) !== 0 && (flags & (O_TRUNC | O_CREAT | TMPFILE_BIT)) !== 0) return -EAGAIN
  return doOpen(task, dirfd, nameAt, flags, mode, resolve)
}

function doOpen(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  flags: number,
  mode: number,
  resolve: number,
): number {
  if (task.progress instanceof OpenProgress) return finishOpen(task, task.progress)
  if ((flags & O_CREAT) !== 0 && (flags & O_DIRECTORY) !== 0) return -EINVAL
  if ((flags & TMPFILE_BIT) !== 0) {
    if ((flags & O_DIRECTORY) === 0 || (flags & O_ACCMODE) === O_RDONLY) return -EINVAL
  }
  if ((flags & (O_SYNC & ~O_DSYNC)) !== 0) flags |= O_DSYNC
  const name = task.mm.readPath(nameAt)
  if (failed(name)) return name
  const limit = fdLimit(task)
  if (name !== '' && task.fds.lowestFree() >= limit) return -EMFILE
  // Below RESOLVE_IN_ROOT an absolute name starts at the descriptor too.
  const start = startOf(task, dirfd, (resolve & RESOLVE_IN_ROOT) !== 0 && name !== '' ? '.' : name)
  if (typeof start === 'number') return start
  const { vfs } = task.kernel
  vfs.leaseWait = undefined
  const file = openAt(task.walk, start, name, flags & ~O_CLOEXEC, mode, resolve)
  if (file === -EAGAIN && (flags & O_NONBLOCK) === 0) return waitForLeases(task)
  if (failed(file)) return file
  const cloexec = (flags & O_CLOEXEC) !== 0
  if (!file.openPending) return task.fds.install(file, cloexec, 0, limit)
  const progress = new OpenProgress(file, cloexec)
  task.progress = progress
  return finishOpen(task, progress)
}

/** openat's flags as the walk takes them: unknown ones are ignored, as they always were. */
function lenientFlags(flags: number): number {
  const known = (flags & VALID_FLAGS) | O_LARGEFILE
  return (known & O_PATH) !== 0 ? known & PATH_FLAGS : known
}

/** Opens what stands at a place that is already known, as openat(2) would: open_by_handle_at(2). */
export function openPlace(task: Task, place: Path, rawFlags: number): number {
  if (task.progress instanceof OpenProgress) return finishOpen(task, task.progress)
  const flags = lenientFlags(rawFlags)
  if ((flags & TMPFILE_BIT) !== 0) return (flags & O_DIRECTORY) === 0 ? -EINVAL : -EOPNOTSUPP
  if ((flags & O_CREAT) !== 0) return (flags & O_DIRECTORY) !== 0 ? -EINVAL : -EISDIR
  const { vfs } = task.kernel
  vfs.leaseWait = undefined
  const isPath = (flags & O_PATH) !== 0
  const file = isPath
    ? new PathFile(place, flags & ~O_CLOEXEC, task.cred)
    : openPath(task.walk, place, flags & ~O_CLOEXEC)
  if (file === -EAGAIN && (flags & O_NONBLOCK) === 0) return waitForLeases(task)
  if (failed(file)) return file
  const progress = new OpenProgress(file, (flags & O_CLOEXEC) !== 0)
  task.progress = progress
  return finishOpen(task, progress)
}

/** An open gave EAGAIN: the call is tried again when the leases that were in its way, if any, are given up. */
export function waitForLeases(task: Task): number {
  const { leaseWait } = task.kernel.vfs
  if (leaseWait === undefined) return -EAGAIN
  task.block(leaseWait.queue, -ERESTARTSYS)
  return task.blockUntil(leaseWait.deadline)
}

function finishOpen(task: Task, progress: OpenProgress): number {
  const file = progress.file!
  if (file.openPending) return task.block(file.waitQueue!, -ERESTARTSYS)
  const fd = task.fds.install(file, progress.cloexec, 0, fdLimit(task))
  if (fd >= 0) progress.file = undefined
  return fd
}

const openFlags = flagsArg(O_FLAGS)

export const openCalls = {
  open: { nr: NR.open, run: open, args: [path, openFlags, modeArg], returns: 'fd' },
  openat: { nr: NR.openat, run: openat, args: [fdArg, path, openFlags, modeArg], returns: 'fd' },
  openat2: { nr: NR.openat2, run: openat2, args: [fdArg, path, structIn(OPEN_HOW), size], returns: 'fd' },
  creat: { nr: NR.creat, run: creat, args: [path, modeArg], returns: 'fd' },
} satisfies SyscallRows
