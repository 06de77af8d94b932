/**
 * The Host that is a Linux system, reached through the native addon.
 *
 * Made once, before the jail closes. Watched descriptors stand in the addon's epoll set under tokens that are never
 * used twice, so that an event which was fetched before `unwatch` finds nobody.
 */
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_FOLLOW,
  CLOCK_BOOTTIME,
  CLOCK_MONOTONIC,
  CLOCK_PROCESS_CPUTIME_ID,
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_UNLCK,
  O_CLOEXEC,
  O_NOCTTY,
  O_NOFOLLOW,
  O_PATH,
  POLLERR,
  POLLHUP,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
} from '../abi/constants.ts'
import { EEXIST, ENOSYS, EOPNOTSUPP, EPERM } from '../abi/errno.ts'
import { fromBytes } from '../base/bytes.ts'
import { Timespec } from '../base/clock.ts'
import type { ControlAddon, HostAddon } from './addon.ts'
import type { Host, HostLock, HostStat, HostStatfs } from './host.ts'
import { HostChanges } from './host-changes.ts'
import { HostFacts } from './host-facts.ts'

interface Watch {
  readonly token: number
  readonly ready: (events: number) => void
}

/** The overflow id of user_namespaces(7). -1 where there is none: root has all ids, and this one may be the user's own. */
function ownerOfOthers(own: number): number {
  return own === 0 || own === OVERFLOW_ID ? -1 : OVERFLOW_ID
}
const OVERFLOW_ID = 65534

/** XATTR_SIZE_MAX and XATTR_LIST_MAX. */
const MAX_XATTR = 65536

/**
 * How modes are changed. fchmodat2(2) takes a name or a descriptor and follows no link; fchmodat(2) follows them, so a
 * descriptor pins the file and /proc gives it a name; fchmod(2) does what can be opened.
 */
export type ChmodWay = 'fchmodat2' | 'fchmodat' | 'fchmod'

export class LinuxHost implements Host {
  /** Descriptors closed so far: while it stays the same, a number means the same descriptor. */
  closes = 0
  readonly #addon: HostAddon & ControlAddon
  readonly #facts: HostFacts
  readonly #results = new Float64Array(new ArrayBuffer(256))
  readonly #watches = new Map<number, Watch>()
  readonly #byToken = new Map<number, Watch>()
  #nextToken = 1
  /** What `recent` gives until the next turn; -1: the clock was not read yet. */
  #moment = -1
  readonly #wallMoment = new Timespec()
  #wallKnown = false
  receivedFd = -1
  #turn = 0
  readonly changes: HostChanges
  /** Linux 6.6. */
  readonly #hasFchmodat2: boolean
  /** A descriptor of the sentry's own /proc/self/fd, for `reopen`; -1: none was given. */
  ownFds = -1
  /** Where that is. */
  ownFdsPath = '/proc/self/fd'
  /**
   * An ordinary user's namespace has only his own ids; the host shows all others as one. Most of what he then sees is
   * root's, and has to look like that: programs check who owns /, their configuration, the path to a socket.
   */
  readonly #othersUid = ownerOfOthers(process.geteuid!())
  readonly #othersGid = ownerOfOthers(process.getegid!())
  #xattr: Uint8Array | undefined = undefined

  constructor(addon: HostAddon & ControlAddon) {
    this.#addon = addon
    this.#facts = new HostFacts(addon)
    addon.setResults(this.#results)
    this.changes = new HostChanges(this)
    // Filters of containers that don't know it say EPERM.
    const probe = addon.fchmodat2(-1, '', 0, 0)
    this.#hasFchmodat2 = probe !== -ENOSYS && probe !== -EPERM
  }

  monotonic(): number {
    return this.#addon.clock(CLOCK_MONOTONIC)
  }
  recent(): number {
    if (this.#moment < 0) this.#moment = this.monotonic()
    return this.#moment
  }
  /** For the platform's loop: time has passed. */
  newTurn(): void {
    this.#turn++
    this.#moment = -1
    this.#wallKnown = false
  }
  get turn(): number {
    return this.#turn
  }
  recentRealtime(): Timespec {
    if (!this.#wallKnown) {
      this.#wallMoment.set(this.realtime())
      this.#wallKnown = true
    }
    return this.#wallMoment
  }
  boottime(): number {
    return this.#addon.clock(CLOCK_BOOTTIME)
  }
  realtime(): Timespec {
    this.#addon.realtime()
    return new Timespec(this.#results[0], this.#results[1])
  }
  cpuTime(): number {
    return this.#addon.clock(CLOCK_PROCESS_CPUTIME_ID)
  }

  openat2(dirfd: number, path: string, flags: number, mode: number, resolve: number): number {
    // O_PATH takes no O_NOCTTY.
    const added = (flags & O_PATH) === 0 ? O_CLOEXEC | O_NOCTTY : O_CLOEXEC
    return this.#addon.openat2(dirfd, path, flags | added, mode, resolve)
  }
  close(fd: number): number {
    this.closes++
    return this.#addon.close(fd)
  }
  dup(fd: number): number {
    return this.#addon.dup(fd)
  }
  pread(fd: number, into: Uint8Array, offset: number): number {
    return this.#addon.pread(fd, into, offset)
  }
  pwrite(fd: number, from: Uint8Array, offset: number): number {
    return this.#addon.pwrite(fd, from, offset)
  }
  lseek(fd: number, offset: number, whence: number): number {
    return this.#addon.lseek(fd, offset, whence)
  }

  statx(dirfd: number, path: string, flags: number, out: HostStat): number {
    const status = this.#addon.statx(dirfd, path, flags)
    if (status < 0) return status
    const r = this.#results
    out.mask = r[0]
    out.attributes = r[1]
    out.mode = r[2]
    out.nlink = r[3]
    out.uid = r[4] === this.#othersUid ? 0 : r[4]
    out.gid = r[5] === this.#othersGid ? 0 : r[5]
    out.ino = r[6]
    out.size = r[7]
    out.blocks = r[8]
    out.blksize = r[9]
    out.devMajor = r[10]
    out.devMinor = r[11]
    out.rdevMajor = r[12]
    out.rdevMinor = r[13]
    out.mountId = r[14]
    out.atimeSec = r[15]
    out.atimeNsec = r[16]
    out.mtimeSec = r[17]
    out.mtimeNsec = r[18]
    out.ctimeSec = r[19]
    out.ctimeNsec = r[20]
    out.btimeSec = r[21]
    out.btimeNsec = r[22]
    return 0
  }

  fstatfs(fd: number, out: HostStatfs): number {
    const status = this.#addon.fstatfs(fd)
    if (status < 0) return status
    const r = this.#results
    out.type = r[0]
    out.bsize = r[1]
    out.blocks = r[2]
    out.bfree = r[3]
    out.bavail = r[4]
    out.files = r[5]
    out.ffree = r[6]
    out.namelen = r[7]
    out.frsize = r[8]
    out.flags = r[9]
    return 0
  }

  getdents(fd: number, into: Uint8Array): number {
    return this.#addon.getdents(fd, into)
  }
  readlinkat(dirfd: number, path: string): string | number {
    return this.#addon.readlinkat(dirfd, path)
  }
  mkdirat(dirfd: number, name: string, mode: number): number {
    return this.#addon.mkdirat(dirfd, name, mode)
  }
  mknodat(dirfd: number, name: string, mode: number, devMajor: number, devMinor: number): number {
    return this.#addon.mknodat(dirfd, name, mode, devMajor, devMinor)
  }
  symlinkat(target: string, dirfd: number, name: string): number {
    return this.#addon.symlinkat(target, dirfd, name)
  }
  linkat(oldDirfd: number, oldName: string, newDirfd: number, newName: string, flags: number): number {
    return this.#addon.linkat(oldDirfd, oldName, newDirfd, newName, flags)
  }
  unlinkat(dirfd: number, name: string, flags: number): number {
    return this.#addon.unlinkat(dirfd, name, flags)
  }
  renameat2(oldDirfd: number, oldName: string, newDirfd: number, newName: string, flags: number): number {
    return this.#addon.renameat2(oldDirfd, oldName, newDirfd, newName, flags)
  }
  get chmodWay(): ChmodWay {
    if (this.#hasFchmodat2) return 'fchmodat2'
    return this.ownFds < 0 ? 'fchmod' : 'fchmodat'
  }
  fchmod(fd: number, mode: number): number {
    const way = this.chmodWay
    if (way === 'fchmodat2') return this.#addon.fchmodat2(fd, '', mode, AT_EMPTY_PATH)
    return way === 'fchmod'
      ? this.#addon.fchmod(fd, mode)
      : this.#addon.fchmodat(this.ownFds, String(fd), mode)
  }
  fchownat(dirfd: number, name: string, uid: number, gid: number, flags: number): number {
    return this.#addon.fchownat(dirfd, name, uid, gid, flags)
  }
  fchmodat(dirfd: number, name: string, mode: number, flags: number): number {
    const way = this.chmodWay
    if (way === 'fchmodat2') return this.#addon.fchmodat2(dirfd, name, mode, flags)
    if (way === 'fchmod') return -EOPNOTSUPP
    // fchmodat(2) follows links, so the file is pinned first and then named by its descriptor.
    const fd =
      name === ''
        ? dirfd
        : this.openat2(dirfd, name, O_PATH | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    if (fd < 0) return fd
    const status = this.fchmod(fd, mode)
    if (name !== '') this.close(fd)
    return status
  }
  utimensat(
    dirfd: number,
    name: string,
    aSec: number,
    aNsec: number,
    mSec: number,
    mNsec: number,
    flags: number,
  ): number {
    return this.#addon.utimensat(dirfd, name, aSec, aNsec, mSec, mNsec, flags)
  }
  ftruncate(fd: number, size: number): number {
    return this.#addon.ftruncate(fd, size)
  }
  fallocate(fd: number, mode: number, offset: number, length: number): number {
    return this.#addon.fallocate(fd, mode, offset, length)
  }
  fsync(fd: number): number {
    return this.#addon.fsync(fd)
  }
  fdatasync(fd: number): number {
    return this.#addon.fdatasync(fd)
  }
  fadvise(fd: number, offset: number, length: number, advice: number): number {
    return this.#addon.fadvise(fd, offset, length, advice)
  }
  flock(fd: number, operation: number): number {
    return this.#addon.flock(fd, operation)
  }

  lockRange(fd: number, type: number, start: number, length: number): number {
    return this.#addon.lockRange(fd, F_OFD_SETLK, type, start, length)
  }
  lockInTheWay(fd: number, type: number, start: number, length: number): HostLock | number | undefined {
    const status = this.#addon.lockRange(fd, F_OFD_GETLK, type, start, length)
    if (status < 0) return status
    const [found, at, size, pid] = this.#results
    return found === F_UNLCK ? undefined : { type: found, start: at, length: size, pid }
  }

  fgetxattr(fd: number, name: string): Uint8Array | number {
    const room = this.#xattrRoom()
    const length = this.#addon.fgetxattr(fd, name, room)
    return length < 0 ? length : room.slice(0, length)
  }
  fsetxattr(fd: number, name: string, value: Uint8Array, flags: number): number {
    return this.#addon.fsetxattr(fd, name, value, flags)
  }
  flistxattr(fd: number): string[] | number {
    const room = this.#xattrRoom()
    const length = this.#addon.flistxattr(fd, room)
    if (length <= 0) return length < 0 ? length : []
    return fromBytes(room, 0, length - 1).split('\0')
  }
  fremovexattr(fd: number, name: string): number {
    return this.#addon.fremovexattr(fd, name)
  }

  copyFileRange(inFd: number, inOffset: number, outFd: number, outOffset: number, length: number): number {
    return this.#addon.copyFileRange(inFd, inOffset, outFd, outOffset, length)
  }
  memfd(name: string, flags: number): number {
    return this.#addon.memfd(name, flags)
  }
  mapShared(fd: number, length: number): ArrayBuffer | number {
    return this.#addon.mapShared(fd, length)
  }
  unmapShared(buffer: ArrayBuffer): void {
    this.#addon.unmapShared(buffer)
  }
  reopen(fd: number, flags: number): number {
    return this.ownFds < 0 ? -ENOSYS : this.openat2(this.ownFds, String(fd), flags, 0, 0)
  }
  linkOpen(fd: number, dirfd: number, name: string): number {
    return this.ownFds < 0 ? -ENOSYS : this.linkat(this.ownFds, String(fd), dirfd, name, AT_SYMLINK_FOLLOW)
  }
  fcntl(fd: number, command: number, argument: number): number {
    return this.#addon.fcntl(fd, command, argument)
  }
  ioctl(fd: number, request: number, argument: Uint8Array | undefined): number {
    return this.#addon.ioctl(fd, request, argument)
  }
  poll(fd: number, events: number): number {
    return this.#addon.poll(fd, events)
  }

  watch(fd: number, events: number, ready: (events: number) => void): number {
    if (this.#watches.has(fd)) return -EEXIST
    const watch = { token: this.#nextToken++, ready }
    const status = this.#addon.epollAdd(fd, events | POLLERR | POLLHUP, watch.token)
    if (status < 0) return status
    this.#watches.set(fd, watch)
    this.#byToken.set(watch.token, watch)
    return 0
  }
  unwatch(fd: number): void {
    const watch = this.#watches.get(fd)
    if (watch === undefined) return
    this.#watches.delete(fd)
    this.#byToken.delete(watch.token)
    this.#addon.epollRemove(fd)
  }
  /** For the platform's loop: the epoll set reported `events` for `token`. */
  hostReady(token: number, events: number): void {
    this.#byToken.get(token)?.ready(events)
  }

  /** One message of a socket, without waiting; a descriptor that came with it is in `receivedFd`, else -1. */
  receive(fd: number, into: Uint8Array): number {
    const length = this.#addon.receive(fd, into)
    this.receivedFd = this.#results[0]
    return length
  }

  /** The same with all descriptors that came along, put behind their count. */
  receiveAll(fd: number, into: Uint8Array, descriptors: Int32Array): number {
    return this.#addon.receiveAll(fd, into, descriptors)
  }

  inotifyInit(): number {
    return this.#addon.inotifyInit()
  }
  /** Through the sentry's own /proc/self/fd: inotify_add_watch(2) knows no descriptors. */
  inotifyAddWatch(fd: number, target: number, mask: number): number {
    return this.ownFds < 0 ? -ENOSYS : this.#addon.inotifyAddWatch(fd, `${this.ownFdsPath}/${target}`, mask)
  }
  inotifyRmWatch(fd: number, wd: number): number {
    return this.#addon.inotifyRmWatch(fd, wd)
  }

  random(into: Uint8Array): void {
    const status = this.#addon.random(into)
    if (status < 0) throw new Error(`getrandom failed: errno ${-status}`)
  }
  fact(name: string): string {
    return this.#facts.get(name)
  }

  #xattrRoom(): Uint8Array {
    this.#xattr ??= new Uint8Array(MAX_XATTR)
    return this.#xattr
  }
}
