/** Attributes: chmod, chown, utimes, truncate, access and their families; umask(2). */
import {
  AT_EACCESS,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  UTIME_NOW,
  UTIME_OMIT,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINVAL, EOPNOTSUPP } from '../abi/errno.ts'
import { TIMESPEC, TIMEVAL, UTIMBUF } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { Timespec } from '../base/clock.ts'
import { CapabilitySet, type Credentials } from '../base/credentials.ts'
import { INVALID_ID, toKernelId } from '../base/id-map.ts'
import { failed } from '../base/result.ts'
import { takeSigned64 } from '../base/words.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import * as attributes from '../vfs/attributes.ts'
import { LOOKUP_FOLLOW } from '../vfs/namei.ts'
import { breakLeases } from '../vfs/open.ts'
import type { Path } from '../vfs/path.ts'
import { wantWrite } from '../vfs/permission.ts'
import { addr, fd as fdArg, hex, id, mode as modeArg, off, path, type SyscallRows } from './args.ts'
import { fileOf, lookupAt } from './at.ts'
import { checkSize } from './io-limits.ts'
import { waitForLeases } from './open.ts'
import { lookupFlags } from './stat.ts'

const NO_ID = 0xffffffff
const SECURE_NO_SETUID_FIXUP = 4

export function chmod(task: Task, nameAt: GuestAddr, mode: number): number {
  return fchmodat2(task, AT_FDCWD, nameAt, mode, 0)
}
export function fchmodat(task: Task, dirfd: number, nameAt: GuestAddr, mode: number): number {
  return fchmodat2(task, dirfd, nameAt, mode, 0)
}
export function fchmodat2(task: Task, dirfd: number, nameAt: GuestAddr, mode: number, flags: number): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL
  const found = lookupAt(task, dirfd, nameAt, lookupFlags(flags))
  if (failed(found)) return found
  // The mode of a link means nothing, and can't be changed.
  if (found.dentry.inode!.isSymlink) return wantWrite(found) || -EOPNOTSUPP
  return attributes.chmod(task.cred, found, mode)
}
export function fchmod(task: Task, fd: number, mode: number): number {
  const file = fileOf(task, fd)
  return file === undefined ? -EBADF : attributes.chmod(task.cred, file.path, mode)
}

export function chown(task: Task, nameAt: GuestAddr, uid: number, gid: number): number {
  return fchownat(task, AT_FDCWD, nameAt, uid, gid, 0)
}
export function lchown(task: Task, nameAt: GuestAddr, uid: number, gid: number): number {
  return fchownat(task, AT_FDCWD, nameAt, uid, gid, AT_SYMLINK_NOFOLLOW)
}
export function fchownat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  uid: number,
  gid: number,
  flags: number,
): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL
  const found = lookupAt(task, dirfd, nameAt, lookupFlags(flags))
  return failed(found) ? found : changeOwner(task, found, uid, gid)
}
export function fchown(task: Task, fd: number, uid: number, gid: number): number {
  const file = fileOf(task, fd)
  return file === undefined ? -EBADF : changeOwner(task, file.path, uid, gid)
}

/** The ids are those of the caller's user namespace; -1 leaves one as it is. */
function changeOwner(task: Task, place: Path, uid: number, gid: number): number {
  const writable = wantWrite(place)
  if (writable < 0) return writable
  const { uidMap, gidMap } = task.cred.userNs
  const kuid = uid === NO_ID ? undefined : toKernelId(uidMap, uid)
  const kgid = gid === NO_ID ? undefined : toKernelId(gidMap, gid)
  if (kuid === INVALID_ID || kgid === INVALID_ID) return -EINVAL
  return attributes.chown(task.cred, place, kuid, kgid)
}

export function utime(task: Task, nameAt: GuestAddr, timesAt: GuestAddr): number {
  if (timesAt === 0) return setTimesAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW, NOW)
  const view = task.mm.view(timesAt, UTIMBUF.size)
  if (view === undefined) return -EFAULT
  const times = [
    new Timespec(takeSigned64(view, UTIMBUF.actime)),
    new Timespec(takeSigned64(view, UTIMBUF.modtime)),
  ]
  return setTimesAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW, times)
}

export function utimes(task: Task, nameAt: GuestAddr, timesAt: GuestAddr): number {
  return futimesat(task, AT_FDCWD, nameAt, timesAt)
}

export function futimesat(task: Task, dirfd: number, nameAt: GuestAddr, timesAt: GuestAddr): number {
  let times = NOW
  if (timesAt !== 0) {
    const view = task.mm.view(timesAt, 2 * TIMEVAL.size)
    if (view === undefined) return -EFAULT
    times = [0, TIMEVAL.size].map(
      at =>
        new Timespec(
          takeSigned64(view, at + TIMEVAL.tv_sec),
          takeSigned64(view, at + TIMEVAL.tv_usec) * 1000,
        ),
    )
    for (const { nsec } of times) if (nsec < 0 || nsec >= 1e9) return -EINVAL
  }
  if (nameAt === 0 && dirfd !== AT_FDCWD) return setTimesOfFile(task, dirfd, times)
  return setTimesAt(task, dirfd, nameAt, LOOKUP_FOLLOW, times)
}

export function utimensat(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  timesAt: GuestAddr,
  flags: number,
): number {
  let times = NOW
  if (timesAt !== 0) {
    const view = task.mm.view(timesAt, 2 * TIMESPEC.size)
    if (view === undefined) return -EFAULT
    times = [0, TIMESPEC.size].map(
      at => new Timespec(takeSigned64(view, at + TIMESPEC.tv_sec), takeSigned64(view, at + TIMESPEC.tv_nsec)),
    )
    if (times.every(({ nsec }) => nsec === UTIME_OMIT)) return 0
  }
  if (nameAt === 0 && dirfd !== AT_FDCWD) return flags !== 0 ? -EINVAL : setTimesOfFile(task, dirfd, times)
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL
  return setTimesAt(task, dirfd, nameAt, lookupFlags(flags), times)
}

/** Both times are to be the present. */
const NOW: readonly Timespec[] = [new Timespec(0, UTIME_NOW), new Timespec(0, UTIME_NOW)]

function setTimesAt(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  flags: number,
  times: readonly Timespec[],
): number {
  const invalid = checkTimes(times)
  if (invalid < 0) return invalid
  const found = lookupAt(task, dirfd, nameAt, flags)
  return failed(found) ? found : setTimes(task, found, times)
}

function setTimesOfFile(task: Task, fd: number, times: readonly Timespec[]): number {
  const invalid = checkTimes(times)
  if (invalid < 0) return invalid
  const file = fileOf(task, fd)
  return file === undefined ? -EBADF : setTimes(task, file.path, times)
}

function checkTimes(times: readonly Timespec[]): number {
  for (const { nsec } of times) {
    if (nsec !== UTIME_NOW && nsec !== UTIME_OMIT && (nsec < 0 || nsec >= 1e9)) return -EINVAL
  }
  return 0
}

function setTimes(task: Task, place: Path, [atime, mtime]: readonly Timespec[]): number {
  const present = task.kernel.clock.realtime()
  const pick = (time: Timespec): Timespec | undefined =>
    time.nsec === UTIME_OMIT ? undefined : time.nsec === UTIME_NOW ? present : time
  const bothNow = atime.nsec === UTIME_NOW && mtime.nsec === UTIME_NOW
  return attributes.setTimes(task.cred, place, pick(atime), pick(mtime), bothNow)
}

export function truncate(task: Task, nameAt: GuestAddr, length: number): number {
  if (length < 0) return -EINVAL
  const found = lookupAt(task, AT_FDCWD, nameAt, LOOKUP_FOLLOW)
  if (failed(found)) return found
  const inode = found.dentry.inode!
  if (inode.isRegular) {
    const allowed = checkSize(task, inode.size, length)
    if (allowed < 0) return allowed
    if (inode.leases !== undefined && breakLeases(task, inode, true)) return waitForLeases(task)
  }
  return attributes.truncate(task.cred, found, length)
}

export function ftruncate(task: Task, fd: number, length: number): number {
  if (length < 0) return -EINVAL
  const file = fileOf(task, fd)
  if (file === undefined) return -EBADF
  if (file.inode.isRegular && file.writable) {
    const allowed = checkSize(task, file.inode.size, length)
    if (allowed < 0) return allowed
  }
  return attributes.truncateFile(task.cred, file, length)
}

export function access(task: Task, nameAt: GuestAddr, mode: number): number {
  return faccessat2(task, AT_FDCWD, nameAt, mode, 0)
}
export function faccessat(task: Task, dirfd: number, nameAt: GuestAddr, mode: number): number {
  return faccessat2(task, dirfd, nameAt, mode, 0)
}
/** With the real ids, unless AT_EACCESS. */
export function faccessat2(
  task: Task,
  dirfd: number,
  nameAt: GuestAddr,
  mode: number,
  flags: number,
): number {
  if ((mode & ~7) !== 0) return -EINVAL
  if ((flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL
  const effective = task.cred
  const cred = (flags & AT_EACCESS) !== 0 ? effective : realCredentials(effective)
  // The walk itself is made with the same identity.
  task.cred = cred
  const found = lookupAt(task, dirfd, nameAt, lookupFlags(flags))
  task.cred = effective
  return failed(found) ? found : attributes.access(cred, found, mode)
}

/** The identity with real ids as filesystem ids, and the capabilities that those would have. */
function realCredentials(cred: Credentials): Credentials {
  let effective = cred.effective
  if ((cred.securebits & SECURE_NO_SETUID_FIXUP) === 0) {
    const root = toKernelId(cred.userNs.uidMap, 0)
    effective = cred.uid === root ? cred.permitted : CapabilitySet.NONE
  }
  if (cred.fsuid === cred.uid && cred.fsgid === cred.gid && effective.equals(cred.effective)) return cred
  const real = cred.clone()
  real.fsuid = cred.uid
  real.fsgid = cred.gid
  real.effective = effective
  return real
}

export function umask(task: Task, mask: number): number {
  const old = task.fs.umask
  task.fs.umask = mask & 0o777
  return old
}

export const attrCalls = {
  chmod: { nr: NR.chmod, run: chmod, args: [path, modeArg] },
  fchmod: { nr: NR.fchmod, run: fchmod, args: [fdArg, modeArg] },
  fchmodat: { nr: NR.fchmodat, run: fchmodat, args: [fdArg, path, modeArg] },
  fchmodat2: { nr: NR.fchmodat2, run: fchmodat2, args: [fdArg, path, modeArg, hex] },
  chown: { nr: NR.chown, run: chown, args: [path, id, id] },
  lchown: { nr: NR.lchown, run: lchown, args: [path, id, id] },
  fchown: { nr: NR.fchown, run: fchown, args: [fdArg, id, id] },
  fchownat: { nr: NR.fchownat, run: fchownat, args: [fdArg, path, id, id, hex] },
  utime: { nr: NR.utime, run: utime, args: [path, addr] },
  utimes: { nr: NR.utimes, run: utimes, args: [path, addr] },
  futimesat: { nr: NR.futimesat, run: futimesat, args: [fdArg, path, addr] },
  utimensat: { nr: NR.utimensat, run: utimensat, args: [fdArg, path, addr, hex] },
  truncate: { nr: NR.truncate, run: truncate, args: [path, off] },
  ftruncate: { nr: NR.ftruncate, run: ftruncate, args: [fdArg, off] },
  access: { nr: NR.access, run: access, args: [path, modeArg] },
  faccessat: { nr: NR.faccessat, run: faccessat, args: [fdArg, path, modeArg] },
  faccessat2: { nr: NR.faccessat2, run: faccessat2, args: [fdArg, path, modeArg, hex] },
  umask: { nr: NR.umask, run: umask, args: [modeArg] },
} satisfies SyscallRows
