/** Descriptors: dup(2), fcntl(2), close(2), close_range(2), ioctl(2). Locks of fcntl are in file-lock.ts. */
import {
  CLOSE_RANGE_CLOEXEC,
  CLOSE_RANGE_UNSHARE,
  DN_MULTISHOT,
  F_ADD_SEALS,
  F_CREATED_QUERY,
  F_DUPFD,
  F_DUPFD_CLOEXEC,
  F_DUPFD_QUERY,
  F_GET_SEALS,
  F_GETFD,
  F_GETFL,
  F_GETLEASE,
  F_GETLK,
  F_GETOWN,
  F_GETOWN_EX,
  F_GETPIPE_SZ,
  F_GETSIG,
  F_NOTIFY,
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_OFD_SETLKW,
  F_OWNER_PGRP,
  F_OWNER_PID,
  F_OWNER_TID,
  F_SETFD,
  F_SETFL,
  F_SETLEASE,
  F_SETLK,
  F_SETLKW,
  F_SETOWN,
  F_SETOWN_EX,
  F_SETPIPE_SZ,
  F_SETSIG,
  F_UNLCK,
  FASYNC,
  FD_CLOEXEC,
  FICLONE,
  FICLONERANGE,
  FIGETBSZ,
  FIOASYNC,
  FIOCLEX,
  FIOGETOWN,
  FIONBIO,
  FIONCLEX,
  FIONREAD,
  FIOQSIZE,
  FIOSETOWN,
  LANDLOCK_ACCESS_FS_IOCTL_DEV,
  O_APPEND,
  O_CLOEXEC,
  O_DIRECT,
  O_NOATIME,
  O_NONBLOCK,
  O_PATH,
  S_IFBLK,
  S_IFCHR,
  S_IFSOCK,
  SIOCGPGRP,
  SIOCSPGRP,
} from '../abi/constants.ts'
import {
  EACCES,
  EBADF,
  EFAULT,
  EINVAL,
  EISDIR,
  ENOTTY,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
  EXDEV,
} from '../abi/errno.ts'
import { F_OWNER_EX, FILE_CLONE_RANGE } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Credentials } from '../base/credentials.ts'
import { PENDING, type Status } from '../base/result.ts'
import { watchDirectory } from '../fs/dnotify.ts'
import { PipeFile } from '../fs/pipe/pipe-file.ts'
import { fileOwner, setAsync, setFileOwner, setOwnerIfNone } from '../kernel/sigio.ts'
import { HeldProgress, type Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File, IoctlContext, Lingering } from '../vfs/file.ts'
import { fileGet, filePut } from '../vfs/file-ref.ts'
import { throughMount } from '../vfs/idmap.ts'
import { setLease } from '../vfs/leases.ts'
import { INODE_APPEND, ownerOrCapable } from '../vfs/permission.ts'
import { addr, fd as fdArg, flags as flagsArg, hex, int, type SyscallRows, uint, word } from './args.ts'
import { fdLimit, fileOf } from './at.ts'
import { lockFcntl } from './file-lock.ts'
import { inodeIoctl } from './inode-flags.ts'

const SETTABLE = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME
/** /proc/sys/fs/pipe-max-size. */
const PIPE_MAX_SIZE = 1048576
const NSIG = 64

export function dup(task: Task, fd: number): number {
  const file = task.fds.get(fd)
  return file === undefined ? -EBADF : installCopy(task, file, false, 0)
}

export function dup2(task: Task, oldFd: number, newFd: number): number {
  if (oldFd === newFd) return task.fds.get(oldFd) === undefined ? -EBADF : newFd
  return dup3(task, oldFd, newFd, 0)
}

export function dup3(task: Task, oldFd: number, newFd: number, flags: number): number {
  if ((flags & ~O_CLOEXEC) !== 0 || oldFd === newFd) return -EINVAL
  if (newFd < 0 || newFd >= fdLimit(task)) return -EBADF
  const file = task.fds.get(oldFd)
  if (file === undefined) return -EBADF
  task.fds.set(newFd, fileGet(file), (flags & O_CLOEXEC) !== 0)
  return newFd
}

/** Another descriptor of `file`, from `min` on. */
function installCopy(task: Task, file: File, cloexec: boolean, min: number): number {
  const fd = task.fds.install(fileGet(file), cloexec, min, fdLimit(task))
  if (fd < 0) filePut(file)
  return fd
}

/** A failing flush is reported, but the descriptor is closed all the same. So it is when a signal ends the wait for SO_LINGER. */
export function close(task: Task, fd: number): number {
  if (task.progress instanceof LingerProgress) return waitForEnd(task, task.progress)
  const file = task.fds.get(fd)
  const lingering = file?.refs === 1 ? file.linger() : undefined
  const status = task.fds.close(fd)
  if (status === PENDING || lingering === undefined) return status
  const progress = new LingerProgress(lingering)
  task.progress = progress
  return waitForEnd(task, progress)
}

class LingerProgress extends HeldProgress {
  readonly lingering: Lingering

  constructor(lingering: Lingering) {
    super()
    this.lingering = lingering
  }
  override end(): void {
    this.lingering.end()
  }
}

function waitForEnd(task: Task, { lingering }: LingerProgress): number {
  const { over, queue, deadline } = lingering
  if (over || task.kernel.now() >= deadline) return 0
  task.blockUntil(deadline)
  return task.block(queue, 0, 0)
}

export function close_range(task: Task, first: number, last: number, flags: number): number {
  if ((flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) !== 0 || first > last) return -EINVAL
  if ((flags & CLOSE_RANGE_UNSHARE) !== 0 && task.fds.users > 1) {
    const copy = task.fds.clone()
    task.fds.put()
    task.fds = copy
  }
  const { fds, kernel } = task
  if (task.progress instanceof ClosedUpTo) first = task.progress.fd
  let begun: number | undefined
  let count = 0
  for (let fd = fds.next(first); fd >= 0 && fd <= last; fd = fds.next(fd + 1)) {
    if (++count % CLOSES_AT_ONCE === 0) begun ??= kernel.now()
    if (begun !== undefined && count % CLOSES_AT_ONCE === 0 && kernel.now() - begun > CLOSING_SHARE) {
      task.requests?.end()
      task.requests = undefined
      task.progress = new ClosedUpTo(fd)
      return task.yieldCall()
    }
    if ((flags & CLOSE_RANGE_CLOEXEC) !== 0) fds.setCloexec(fd, true)
    else if (fds.close(fd) === PENDING) return PENDING
  }
  return 0
}

/** Between two looks at the clock. */
const CLOSES_AT_ONCE = 64
/** Ns. */
const CLOSING_SHARE = 4_000_000

/** A close_range that has more to do. */
class ClosedUpTo {
  readonly fd: number
  constructor(fd: number) {
    this.fd = fd
  }
}

export function fcntl(task: Task, fd: number, command: number, argument: number): number {
  const file = task.fds.get(fd)
  if (file === undefined) return -EBADF
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
      const min = argument >>> 0
      return min >= fdLimit(task) ? -EINVAL : installCopy(task, file, command === F_DUPFD_CLOEXEC, min)
    }
    case F_DUPFD_QUERY:
      return task.fds.get(argument | 0) === file ? 1 : task.fds.get(argument | 0) === undefined ? -EBADF : 0
    case F_GETFD:
      return task.fds.cloexec(fd) ? FD_CLOEXEC : 0
    case F_SETFD:
      task.fds.setCloexec(fd, (argument & FD_CLOEXEC) !== 0)
      return 0
    case F_GETFL:
      return file.flags
  }
  if ((file.flags & O_PATH) !== 0) return -EBADF
  return fcntlOfFile(task, file, fd, command, argument)
}

/** The commands that act on the open description. */
function fcntlOfFile(task: Task, file: File, fd: number, command: number, argument: number): number {
  switch (command) {
    case F_SETFL:
      return setStatusFlags(task, file, fd, argument)
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
      return lockFcntl(task, file, command, argument)
    case F_GETOWN:
      return shownOwner(task, file)
    case F_SETOWN:
      return setOwner(task, file, argument | 0)
    case F_GETOWN_EX: {
      const out = task.mm.out(F_OWNER_EX.size)
      out.setInt32(F_OWNER_EX.type, file.ownerType, true)
      out.setInt32(F_OWNER_EX.pid, ownerNumber(task, file), true)
      return task.mm.commit(argument)
    }
    case F_SETOWN_EX:
      return setOwnerEx(task, file, argument)
    case F_GETSIG:
      return file.ownerSignal
    case F_SETSIG:
      if (argument < 0 || argument > NSIG) return -EINVAL
      file.ownerSignal = argument
      return 0
    case F_GETLEASE:
      return file.inode.leases?.typeOf(file) ?? F_UNLCK
    case F_SETLEASE:
      return takeLease(task, file, fd, argument | 0)
    case F_NOTIFY:
      if ((argument & ~DN_MULTISHOT) !== 0 && file.inode.isDir) setOwnerIfNone(file, task)
      return watchDirectory(task.kernel.vfs, file, fd, argument | 0)
    case F_GETPIPE_SZ:
      return file instanceof PipeFile ? file.capacity : -EBADF
    case F_SETPIPE_SZ:
      return file instanceof PipeFile ? file.setCapacity(argument >>> 0, task.cred, PIPE_MAX_SIZE) : -EBADF
    case F_GET_SEALS:
      return file.seals()
    case F_ADD_SEALS:
      return file.addSeals(argument >>> 0)
    case F_CREATED_QUERY:
      return file.created ? 1 : 0
    default:
      return -EINVAL
  }
}

function setStatusFlags(task: Task, file: File, fd: number, flags: number): number {
  const { inode } = file
  if ((file.flags & O_APPEND) !== 0 && (flags & O_APPEND) === 0 && (inode.inodeFlags & INODE_APPEND) !== 0)
    return -EPERM
  const cred = throughMount(task.cred, file.path.mount)
  if ((flags & ~file.flags & O_NOATIME) !== 0 && !ownerOrCapable(cred, inode)) return -EPERM
  file.flags = (file.flags & ~SETTABLE) | (flags & SETTABLE)
  switchAsync(task, file, fd, (flags & FASYNC) !== 0)
  return 0
}

/** The flag shows on what has O_ASYNC. */
function switchAsync(task: Task, file: File, fd: number, on: boolean): void {
  if (!file.canSignal) return
  setAsync(task, file, fd, on)
  file.flags = on ? file.flags | FASYNC : file.flags & ~FASYNC
}

/** Whoever takes a lease hears of its end. */
function takeLease(task: Task, file: File, fd: number, type: number): number {
  const status = setLease(task.kernel.vfs, task.cred, file, fd, type)
  if (status < 0) return status
  if (type !== F_UNLCK) setOwnerIfNone(file, task)
  else {
    setFileOwner(file, undefined, F_OWNER_TID, task.cred)
    file.ownerSignal = 0
  }
  return 0
}

function ownerNumber(task: Task, file: File): number {
  return fileOwner(file)?.in(task.pidNs) ?? 0
}

/** F_SETOWN: a process, or a group as a negative number; 0 nobody. */
function shownOwner(task: Task, file: File): number {
  return file.ownerType === F_OWNER_PGRP ? -ownerNumber(task, file) : ownerNumber(task, file)
}
function setOwner(task: Task, file: File, who: number): number {
  if (who === -0x80000000) return -EINVAL
  return chooseOwner(task, file, Math.abs(who), who < 0 ? F_OWNER_PGRP : F_OWNER_PID)
}

function setOwnerEx(task: Task, file: File, address: GuestAddr): number {
  const view = task.mm.view(address, F_OWNER_EX.size)
  if (view === undefined) return -EFAULT
  const type = view.getInt32(F_OWNER_EX.type, true)
  const id = view.getInt32(F_OWNER_EX.pid, true)
  if (type !== F_OWNER_TID && type !== F_OWNER_PID && type !== F_OWNER_PGRP) return -EINVAL
  return chooseOwner(task, file, id, type)
}

function chooseOwner(task: Task, file: File, id: number, type: number): number {
  const pid = id === 0 ? undefined : task.pidNs.find(id)
  if (id !== 0 && pid === undefined) return -ESRCH
  setFileOwner(file, pid, type, task.cred)
  return 0
}

/** The caller's memory and identity, for the ioctl of a file. */
class TaskIoctlContext implements IoctlContext {
  readonly task: Task

  constructor(task: Task) {
    this.task = task
  }
  get cred(): Credentials {
    return this.task.cred
  }
  copyIn(address: number, into: Uint8Array): Status {
    return this.task.mm.copyIn(address, into)
  }
  copyOut(address: number, from: Uint8Array): Status {
    return this.task.mm.copyOut(address, from)
  }
}

/** What all files understand; the rest is the file's own. */
export function ioctl(task: Task, fd: number, request: number, argument: number): number {
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  switch (request) {
    case FIOCLEX:
      task.fds.setCloexec(fd, true)
      return 0
    case FIONCLEX:
      task.fds.setCloexec(fd, false)
      return 0
    case FIONBIO:
      return switchNonblocking(task, file, argument)
    case FIOASYNC: {
      const on = task.mm.u32(argument)
      if (on === undefined) return -EFAULT
      if (on !== 0 && !file.canSignal) return -ENOTTY
      switchAsync(task, file, fd, on !== 0)
      return 0
    }
    case FIOSETOWN:
    case SIOCSPGRP: {
      if (file.inode.type !== S_IFSOCK) break
      const who = task.mm.u32(argument)
      return who === undefined ? -EFAULT : setOwner(task, file, who | 0)
    }
    case FIOGETOWN:
    case SIOCGPGRP:
      if (file.inode.type !== S_IFSOCK) break
      return task.mm.putU32(argument, shownOwner(task, file) >>> 0)
    case FIOQSIZE:
      if (!file.inode.isRegular && !file.inode.isDir && !file.inode.isSymlink) return -ENOTTY
      return file.inode.getattr() || task.mm.putU64(argument, file.inode.size)
    case FIGETBSZ:
      return file.inode.isRegular || file.inode.isDir
        ? task.mm.putU32(argument, file.inode.blksize)
        : ask(task, file, request, argument)
    case FICLONE:
    case FICLONERANGE:
      return clone(task, file, request, argument)
    case FIONREAD:
      if (!file.inode.isRegular) break
      return file.inode.getattr() || task.mm.putU32(argument, file.inode.size - file.pos)
  }
  return inodeIoctl(task, file, request, argument) ?? ask(task, file, request, argument)
}

/** No file system here can share blocks. */
function clone(task: Task, target: File, request: number, argument: number): number {
  let from = argument | 0
  if (request === FICLONERANGE) {
    const range = task.mm.view(argument, FILE_CLONE_RANGE.size)
    if (range === undefined) return -EFAULT
    from = range.getInt32(FILE_CLONE_RANGE.src_fd, true)
  }
  const source = fileOf(task, from)
  if (source === undefined) return -EBADF
  if (source.inode.sb !== target.inode.sb) return -EXDEV
  if (source.inode.isDir || target.inode.isDir) return -EISDIR
  if (!source.inode.isRegular || !target.inode.isRegular) return -EINVAL
  return source.readable && target.writable ? -EOPNOTSUPP : -EBADF
}

function ask(task: Task, file: File, request: number, argument: number): number {
  const { type } = file.inode
  const isDevice = type === S_IFCHR || type === S_IFBLK
  if (isDevice && (file.denied & LANDLOCK_ACCESS_FS_IOCTL_DEV) !== 0) return -EACCES
  return file.ioctl(new TaskIoctlContext(task), request, argument)
}

function switchNonblocking(task: Task, file: File, address: GuestAddr): number {
  const on = task.mm.u32(address)
  if (on === undefined) return -EFAULT
  file.flags = on !== 0 ? file.flags | O_NONBLOCK : file.flags & ~O_NONBLOCK
  return 0
}

const closeRangeFlags = flagsArg({ CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC })
const asyncPartial = 'O_ASYNC of sockets and terminals does not tell that there is room to write'

export const descriptorCalls = {
  dup: { nr: NR.dup, run: dup, args: [fdArg], returns: 'fd' },
  dup2: { nr: NR.dup2, run: dup2, args: [fdArg, fdArg], returns: 'fd' },
  dup3: { nr: NR.dup3, run: dup3, args: [fdArg, fdArg, flagsArg({ O_CLOEXEC })], returns: 'fd' },
  close: { nr: NR.close, run: close, args: [fdArg] },
  close_range: { nr: NR.close_range, run: close_range, args: [uint, uint, closeRangeFlags] },
  fcntl: { nr: NR.fcntl, run: fcntl, args: [fdArg, int, word], partial: asyncPartial },
  ioctl: { nr: NR.ioctl, run: ioctl, args: [fdArg, hex, addr] },
} satisfies SyscallRows
