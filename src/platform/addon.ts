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
  fchmodat(dirfd: number, name: string, mode: number): number
  fchmodat2(dirfd: number, name: string, mode: number, flags: number): number
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
  /** F_OFD_*; what F_OFD_GETLK found goes into the result slots: type, start, length, pid. */
  lockRange(fd: number, command: number, type: number, start: number, length: number): number
  /** The value's length. */
  fgetxattr(fd: number, name: string, into: Uint8Array): number
  fsetxattr(fd: number, name: string, value: Uint8Array, flags: number): number
  /** The length of the NUL-terminated names. */
  flistxattr(fd: number, into: Uint8Array): number
  fremovexattr(fd: number, name: string): number
  copyFileRange(inFd: number, inOffset: number, outFd: number, outOffset: number, length: number): number
  memfd(name: string, flags: number): number
  /** native/addon/systrap.c has these, which others need too. */
  mapShared(fd: number, length: number): ArrayBuffer | number
  unmapShared(buffer: ArrayBuffer): number
  fcntl(fd: number, command: number, argument: number): number
  ioctl(fd: number, request: number, argument: Uint8Array | number | undefined): number
  poll(fd: number, events: number): number
  /** Edge-triggered; `token` comes back with the event. */
  epollAdd(fd: number, events: number, token: number): number
  epollRemove(fd: number): number
  /** recvmsg(2) without waiting: the length, and in result slot 0 a descriptor that came along, or -1. */
  receive(fd: number, into: Uint8Array): number
  inotifyInit(): number
  inotifyAddWatch(fd: number, path: string, mask: number): number
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
  /** exit_group(2) */
  exitGroup(status: number): never
  /**
   * Makes SIGSYS, which a filter sends for a call that it refuses, write the call's name to `fd` and end the process.
   * `names`: 32 bytes each, by number.
   */
  reportRefusals(fd: number, names: Uint8Array): number
}

/** native/addon/watch.c: a watch is opaque. */
export interface WatchAddon {
  /** A watch of `fd`, which becomes non-blocking; it waits for nothing yet. `ready` gets events, or a negative errno. */
  watchStart(fd: number, ready: (events: number) => void): object | number
  /** 1: until it can be read; 2: written. 0 for neither. */
  watchEvents(watch: object, events: number): number
  watchEnd(watch: object): void
}

/** native/addon/process.c */
export interface ProcessAddon {
  /**
   * Starts the program at `path`: its pid, or a negative errno. `args` begin with its name; without `environment` it has
   * ours; `descriptors[i]` is its descriptor i (-1: /dev/null), and it has no others. `session`: one of its own.
   */
  startProcess(
    path: string,
    args: readonly string[],
    environment: readonly string[] | undefined,
    descriptors: Int32Array,
    session: boolean,
  ): number
}

export interface ControlOutcome {
  readonly error: number
  readonly line: string
  readonly connection: number
}

/** native/addon/control.c */
export interface ControlAddon {
  close(fd: number): number
  /**
   * Connects to the unix socket at `path` ('@NAME': an abstract one), sends `request` with `descriptors`, and receives a
   * line, without its end; on a thread of its own, unless `blocking`. `error` is 0 or a negative errno; the connection
   * stays open.
   */
  controlAsk(
    path: string,
    request: Uint8Array,
    descriptors: Int32Array,
    timeoutMs: number,
    blocking: boolean,
  ): ControlOutcome | Promise<ControlOutcome>
  /**
   * recvmsg(2) without waiting: the length; descriptors that came along are put into `descriptors` behind their count.
   */
  receiveAll(fd: number, into: Uint8Array, descriptors: Int32Array): number
}

/** native/addon/socket.c: the system calls, where an absent address or control buffer is undefined. */
export interface SocketAddon {
  close(fd: number): number
  ioctl(fd: number, request: number, argument: Uint8Array | number | undefined): number
  makeSocket(family: number, type: number, protocol: number): number
  bindSocket(fd: number, address: Uint8Array): number
  connectSocket(fd: number, address: Uint8Array): number
  listenSocket(fd: number, backlog: number): number
  acceptSocket(fd: number, address?: Uint8Array): number
  shutdownSocket(fd: number, how: number): number
  /** The address's length. */
  socketName(fd: number, peer: number, into: Uint8Array): number
  /** The value's length. */
  getSocketOption(fd: number, level: number, name: number, into: Uint8Array): number
  setSocketOption(fd: number, level: number, name: number, value: Uint8Array): number
  sendMessage(
    fd: number,
    bytes: Uint8Array,
    flags: number,
    address: Uint8Array | undefined,
    control: Uint8Array | undefined,
  ): number
  /** `out`: the lengths of address and control messages, and the message's flags. */
  receiveMessage(
    fd: number,
    bytes: Uint8Array,
    flags: number,
    address: Uint8Array | undefined,
    control: Uint8Array | undefined,
    out: Int32Array,
  ): number
  /** SIOCGIFCONF: the length of struct ifreq[]. */
  interfaceList(fd: number, into: Uint8Array): number
}

/** native/addon/link.c */
export interface LinkAddon {
  /** Host side: a link's descriptor over an interface of the thread's network namespace. */
  openPacketLink(index: number): number
  /** Host side: the same over a TAP device, which is made if it isn't there. */
  openTapLink(name: string): number
  /** As HostLinks. */
  linkReceive(fd: number, buffers: readonly Uint8Array[], offset: number, lengths: Int32Array): number
  linkSend(fd: number, bytes: Uint8Array, start: number, end: number): number
  /** Starts the thread that reads ahead, before the seal: 0 or a negative errno. */
  startLinkReader(): number
  linkReadAhead(fd: number, buffers: readonly Uint8Array[], offset: number): boolean
  linkCollect(lengths: Int32Array): number
}

export type Addon = HostAddon &
  JailAddon &
  SocketAddon &
  LinkAddon &
  SystrapAddon &
  WatchAddon &
  ProcessAddon &
  ControlAddon

/** Loads the addon from the file at `path`. */
export function loadAddon(path: string): Addon {
  const module = { exports: {} as Addon }
  process.dlopen(module, path)
  return module.exports
}
