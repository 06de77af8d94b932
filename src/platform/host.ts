/**
 * The host's services that file systems and clocks stand on. Results are as of the system calls: a value or a
 * negative errno. Path strings are byte strings. Everything below a mount is reached from a descriptor that
 * the launcher donated, with openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS).
 */
import type { Clock, Timespec } from '../base/clock.ts'
import type { HostChanges } from './host-changes.ts'

/** What statx(2) says; filled in place. */
export interface HostStat {
  mask: number
  attributes: number
  mode: number
  nlink: number
  uid: number
  gid: number
  ino: number
  size: number
  blocks: number
  blksize: number
  devMajor: number
  devMinor: number
  rdevMajor: number
  rdevMinor: number
  mountId: number
  atimeSec: number
  atimeNsec: number
  mtimeSec: number
  mtimeNsec: number
  ctimeSec: number
  ctimeNsec: number
  btimeSec: number
  btimeNsec: number
}

export function newHostStat(): HostStat {
  return {
    mask: 0,
    attributes: 0,
    mode: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    ino: 0,
    size: 0,
    blocks: 0,
    blksize: 0,
    devMajor: 0,
    devMinor: 0,
    rdevMajor: 0,
    rdevMinor: 0,
    mountId: 0,
    atimeSec: 0,
    atimeNsec: 0,
    mtimeSec: 0,
    mtimeNsec: 0,
    ctimeSec: 0,
    ctimeNsec: 0,
    btimeSec: 0,
    btimeNsec: 0,
  }
}

export interface HostStatfs {
  type: number
  bsize: number
  blocks: number
  bfree: number
  bavail: number
  files: number
  ffree: number
  namelen: number
  frsize: number
  flags: number
}

export function newHostStatfs(): HostStatfs {
  return {
    type: 0,
    bsize: 0,
    blocks: 0,
    bfree: 0,
    bavail: 0,
    files: 0,
    ffree: 0,
    namelen: 255,
    frsize: 0,
    flags: 0,
  }
}

export interface HostLock {
  type: number
  start: number
  /** 0: to the end. */
  length: number
  pid: number
}

export interface Host extends Clock {
  /** openat2(2); O_CLOEXEC and O_NOCTTY are added. */
  openat2(dirfd: number, path: string, flags: number, mode: number, resolve: number): number
  close(fd: number): number
  dup(fd: number): number
  /** `offset` -1: at the descriptor's own position. Reads into all of `into`. */
  pread(fd: number, into: Uint8Array, offset: number): number
  pwrite(fd: number, from: Uint8Array, offset: number): number
  lseek(fd: number, offset: number, whence: number): number
  /** statx(2), AT_EMPTY_PATH added when `path` is empty. */
  statx(dirfd: number, path: string, flags: number, out: HostStat): number
  fstatfs(fd: number, out: HostStatfs): number
  /** Raw linux_dirent64 records. */
  getdents(fd: number, into: Uint8Array): number
  /** The target as a byte string, or a negative errno. `path` may be empty for an O_PATH descriptor of a link. */
  readlinkat(dirfd: number, path: string): string | number
  mkdirat(dirfd: number, name: string, mode: number): number
  mknodat(dirfd: number, name: string, mode: number, devMajor: number, devMinor: number): number
  symlinkat(target: string, dirfd: number, name: string): number
  /** linkat(2) with AT_EMPTY_PATH semantics avoided: both names are single components. */
  linkat(oldDirfd: number, oldName: string, newDirfd: number, newName: string, flags: number): number
  unlinkat(dirfd: number, name: string, flags: number): number
  renameat2(oldDirfd: number, oldName: string, newDirfd: number, newName: string, flags: number): number
  /** By descriptor; `fd` must not be O_PATH. */
  fchmod(fd: number, mode: number): number
  fchownat(dirfd: number, name: string, uid: number, gid: number, flags: number): number
  fchmodat(dirfd: number, name: string, mode: number, flags: number): number
  /** nsec may be UTIME_NOW or UTIME_OMIT. */
  utimensat(
    dirfd: number,
    name: string,
    aSec: number,
    aNsec: number,
    mSec: number,
    mNsec: number,
    flags: number,
  ): number
  ftruncate(fd: number, size: number): number
  fallocate(fd: number, mode: number, offset: number, length: number): number
  fsync(fd: number): number
  fdatasync(fd: number): number
  fadvise(fd: number, offset: number, length: number, advice: number): number
  flock(fd: number, operation: number): number
  /** F_OFD_SETLK; `length` 0: to the end. */
  lockRange(fd: number, type: number, start: number, length: number): number
  /** F_OFD_GETLK: the lock in the way, if there is one. `pid` as the sentry's pid namespace shows it, -1 for none. */
  lockInTheWay(fd: number, type: number, start: number, length: number): HostLock | number | undefined
  /** By descriptor (not O_PATH). The value as bytes. */
  fgetxattr(fd: number, name: string): Uint8Array | number
  fsetxattr(fd: number, name: string, value: Uint8Array, flags: number): number
  flistxattr(fd: number): string[] | number
  fremovexattr(fd: number, name: string): number
  copyFileRange(inFd: number, inOffset: number, outFd: number, outOffset: number, length: number): number
  memfd(name: string, flags: number): number
  /** The sentry's own mapping of a memfd, which must never shrink; `unmapShared` ends it, and its views with it. */
  mapShared(fd: number, length: number): ArrayBuffer | number
  unmapShared(buffer: ArrayBuffer): void
  /**
   * Another open description of the file behind `fd`, with other access (O_RDONLY): a guest that may only read never
   * gets a descriptor that writes. Through the sentry's own /proc/self/fd.
   */
  reopen(fd: number, flags: number): number
  /** Gives the file behind `fd`, which has no name (O_TMPFILE), one: by the same way. */
  linkOpen(fd: number, dirfd: number, name: string): number
  fcntl(fd: number, command: number, argument: number): number
  /** Character-device ioctl on the terminal that the sandbox was given; only the few that the list allows. */
  ioctl(fd: number, request: number, argument: Uint8Array | undefined): number
  /** poll(2) of one descriptor without waiting: the POLL* bits that hold. */
  poll(fd: number, events: number): number
  /** Calls `ready` (POLL* bits, from within Platform.next) whenever the state of `fd` changes (edge-triggered). */
  watch(fd: number, events: number, ready: (events: number) => void): number
  unwatch(fd: number): void
  /** Of directories that others change, too; absent where nobody tells. */
  readonly changes?: HostChanges
  /** Counts the system calls served: what was asked in this one need not be asked again. */
  readonly turn: number
  random(into: Uint8Array): void
  cpuTime(): number
  /** CLOCK_MONOTONIC when the call in hand began, or a little later: one clock is read for all uses within a call. */
  recent(): number
  /** CLOCK_REALTIME in the same way: the time of what the call does to files. The object is not the caller's to keep. */
  recentRealtime(): Timespec
  /** Host facts, read at start, for /proc and /sys: text of a host file such as 'proc/cpuinfo'; '' if absent. */
  fact(name: string): string
}
