/**
 * The native addon (native/addon) as TypeScript sees it. Numbers in; a value or a negative errno out. Path strings are
 * byte strings. Only linux-host.ts, systrap/ and sandbox/ call it.
 */
import type { SystrapAddon } from './systrap/addon.ts'

/** native/addon/host.c */
export interface HostAddon {
  /** Where statx, fstatfs and realtime put their numbers. */
  setResults(slots: Float64Array): number
  openat2(dirfd: number, path: string, flags: number, mode: number, resolve: number): number
  close(fd: number): number
  dup(fd: number): number
  pread(fd: number, into: Uint8Array, offset: number): number
  pwrite(fd: number, from: Uint8Array, offset: number): number
  lseek(fd: number, offset: number, whence: number): number
  /** Fills the result slots in the order of HostStat's fields. */
  statx(dirfd: number, path: string, flags: number): number
  /** Fills the result slots in the order of HostStatfs' fields. */
  fstatfs(fd: number): number
  getdents(fd: number, into: Uint8Array): number
  readlinkat(dirfd: number, path: string): string | number
  mkdirat(dirfd: number, name: string, mode: number): number
  mknodat(dirfd: number, name: string, mode: number, devMajor: number, devMinor: number): number
  symlinkat(target: string, dirfd: number, name: string): number
  linkat(oldDirfd: number, oldName: string, newDirfd: number, newName: string, flags: number): number
  unlinkat(dirfd: number, name: string, flags: number): number
  renameat2(oldDirfd: number, oldName: string, newDirfd: number, newName: string, flags: number): number
  fchmod(fd: number, mode: number): number
  fchownat(dirfd: number, name: string, uid: number, gid: number, flags: number): number
  fchmodat(dirfd: number, name: string, mode: number, flags: number): number
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
  /** The value's length. */
  fgetxattr(fd: number, name: string, into: Uint8Array): number
  fsetxattr(fd: number, name: string, value: Uint8Array, flags: number): number
  /** The length of the NUL-terminated names. */
  flistxattr(fd: number, into: Uint8Array): number
  fremovexattr(fd: number, name: string): number
  copyFileRange(inFd: number, inOffset: number, outFd: number, outOffset: number, length: number): number
  memfd(name: string, flags: number): number
  fcntl(fd: number, command: number, argument: number): number
  ioctl(fd: number, request: number, argument: Uint8Array | number | undefined): number
  poll(fd: number, events: number): number
  /** Edge-triggered; `token` comes back with the event. */
  epollAdd(fd: number, events: number, token: number): number
  epollRemove(fd: number): number
  /** recvmsg(2) without waiting: the length, and in result slot 0 a descriptor that came along, or -1. */
  receive(fd: number, into: Uint8Array): number
  inotifyInit(): number
  /** `name`: one component of the directory, or '' for the directory itself. */
  inotifyAddWatch(fd: number, dirfd: number, name: string, mask: number): number
  inotifyRmWatch(fd: number, wd: number): number
  random(into: Uint8Array): number
  /** clock_gettime(2) in nanoseconds. */
  clock(id: number): number
  /** Gives back memory of the process that can be had again: pages of files, and what malloc keeps. */
  trim(): void
  /** CLOCK_REALTIME's seconds and nanoseconds into the result slots. */
  realtime(): number
}

/** native/addon/jail.c; useless once the filter is in place. */
export interface JailAddon {
  /** Any system call: strings and arrays are passed as addresses. */
  syscall(number: number, ...args: (number | string | Uint8Array)[]): number
  /** Leaves these capabilities (two words) to every thread of the process, and no others. */
  dropCapabilities(lo: number, hi: number): number
  /** Installs a seccomp program (struct sock_filter[]) in every thread. */
  installFilter(program: Uint8Array, flags: number): number
  /** Makes SIGSYS name the refused call on standard error. */
  reportRefusals(): number
}

export type Addon = HostAddon & JailAddon & SystrapAddon

/** Loads the addon from the file at `path`. */
export function loadAddon(path: string): Addon {
  const module = { exports: {} as Addon }
  process.dlopen(module, path)
  return module.exports
}
