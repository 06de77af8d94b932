/**
 * Vfs: what the file layer of one kernel owns beside mounts: the device table, the openers of FIFOs, and the counters
 * from which mounts and super blocks take their numbers. Made by the kernel, before the first mount.
 */
import { S_IFCHR } from '../abi/constants.ts'
import { ENXIO } from '../abi/errno.ts'
import type { Clock } from '../base/clock.ts'
import type { Credentials } from '../base/credentials.ts'
import type { OrErrno, Status } from '../base/result.ts'
import type { WaitQueue } from '../base/wait-queue.ts'
import type { File } from './file.ts'
import { LockWaits } from './lock-waits.ts'
import type { Mount, MountNamespace } from './mount.ts'
import type { Path } from './path.ts'
import { PeerGroups } from './peer-groups.ts'

/** Opens what a node stands for; `flags` are the O_* flags. -ENXIO when there is nothing behind it. */
export type Opener = (path: Path, flags: number, cred: Credentials) => OrErrno<File>

/** What an open waits for that leases are in the way of: until when (monotonic ns) at most. */
export interface LeaseWait {
  readonly queue: WaitQueue
  readonly deadline: number
}

/** Which driver is behind a device number: (major << 20) | minor. */
export class DeviceTable {
  readonly #character = new Map<number, Opener>()
  readonly #block = new Map<number, Opener>()

  register(type: number, major: number, minor: number, open: Opener): void {
    const table = type === S_IFCHR ? this.#character : this.#block
    table.set(makedev(major, minor), open)
  }
  find(type: number, rdev: number): Opener | undefined {
    return (type === S_IFCHR ? this.#character : this.#block).get(rdev)
  }
}

/** Of one system call that is tried again: until it is over. */
export interface CallNotes {
  /** What it has made and is yet to open, held. */
  made: Path | undefined
}

export class Vfs {
  readonly clock: Clock
  readonly devices = new DeviceTable()
  /** /proc/sys/fs/protected_hardlinks; the other protections there are off. */
  protectedHardlinks = true
  /** Opens a FIFO; set by who owns pipes. */
  openFifo: Opener = () => -ENXIO
  /** /proc/sys/fs/lease-break-time: seconds, 0 for ever. */
  leaseBreakTime = 45
  /** The leases that the last open, which gave -EAGAIN, would wait for. */
  leaseWait: LeaseWait | undefined = undefined
  /** Signals the owner of a file (F_SETOWN) that `reason` (POLL_*) came up at `fd`; set by the kernel. */
  signalOwner: (file: File, fd: number, reason: number) => void = () => {}
  /** Whether the cgroup of whoever asks lets it use a device node so (BPF_DEVCG_ACC_*): 0 or -EPERM; set by the kernel. */
  mayUseDevice: (type: number, rdev: number, access: number) => Status = () => 0
  /** What the call in hand keeps for its next try, if it has one; set by the kernel. */
  callInHand: () => CallNotes | undefined = () => undefined
  /** Who waits for whose POSIX lock, for EDEADLK. */
  readonly lockWaits = new LockWaits()
  /** The mounts of all namespaces. */
  readonly mounts = new Set<Mount>()
  /** Mount namespaces that nobody has any more, while they are unmounted. */
  readonly ending: MountNamespace[] = []
  readonly peerGroups = new PeerGroups()
  #nextMountId = 1
  #nextMinor = 1
  #nextCookie = 1

  constructor(clock: Clock) {
    this.clock = clock
  }

  newMountId(): number {
    return this.#nextMountId++
  }
  /** A device number for a super block: major 0. */
  newDev(): number {
    return this.#nextMinor++
  }
  /** Ties the two events of one rename together. */
  newCookie(): number {
    return this.#nextCookie++
  }
}

export function makedev(major: number, minor: number): number {
  return major * 0x100000 + minor
}
export function major(dev: number): number {
  return Math.floor(dev / 0x100000)
}
export function minor(dev: number): number {
  return dev & 0xfffff
}
/** The 32-bit encoding of struct stat and mknod: new_encode_dev. */
export function encodeDev(dev: number): number {
  const min = minor(dev)
  return ((min & 0xff) | (major(dev) << 8) | ((min & ~0xff) << 12)) >>> 0
}
export function decodeDev(encoded: number): number {
  return makedev((encoded & 0xfff00) >>> 8, (encoded & 0xff) | ((encoded >>> 12) & 0xfff00))
}
