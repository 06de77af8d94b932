/**
 * Namespaces (namespaces(7)). A task sees the system through its NsProxy, which is immutable once published: unshare
 * and setns give the task another one. The user namespace is part of the credentials.
 *
 * What a network namespace holds belongs to code that stands above the kernel: it hangs its own objects into
 * `NetNamespace.stack`; so does the file system of message queues into `IpcNamespace.mqueue`.
 */
import { Changes } from '../base/changes.ts'
import type { UserNamespace } from '../base/credentials.ts'
import type { MountNamespace } from '../vfs/mount.ts'
import type { Cgroup } from './cgroup/cgroup.ts'
import { IpcLimits } from './ipc/limits.ts'
import { MessageTable } from './ipc/msg.ts'
import { SemTable } from './ipc/sem.ts'
import { ShmTable } from './ipc/shm.ts'
import type { PidNamespace } from './pid.ts'

/** The inode numbers of the first namespaces (include/linux/proc_ns.h). */
export const INIT_INUM = {
  ipc: 0xefffffff,
  uts: 0xeffffffe,
  user: 0xeffffffd,
  pid: 0xeffffffc,
  cgroup: 0xeffffffb,
  time: 0xeffffffa,
  net: 0xf0000000,
  mnt: 0xf0000001,
} as const
/** Those made later count up from here: 4026532096, about where a Linux that has booted is. */
export const FIRST_DYNAMIC_INUM = 0xf0000100

export class UtsNamespace {
  #hostname: string
  #domainname: string
  /** For who polls the files in /proc/sys/kernel, as systemd-journald does. */
  readonly hostnameChanges = new Changes()
  readonly domainnameChanges = new Changes()
  readonly userNs: UserNamespace
  readonly inum: number

  constructor(hostname: string, domainname: string, userNs: UserNamespace, inum: number) {
    this.#hostname = hostname
    this.#domainname = domainname
    this.userNs = userNs
    this.inum = inum
  }

  get hostname(): string {
    return this.#hostname
  }
  set hostname(name: string) {
    this.#hostname = name
    this.hostnameChanges.changed()
  }
  get domainname(): string {
    return this.#domainname
  }
  set domainname(name: string) {
    this.#domainname = name
    this.domainnameChanges.changed()
  }
}

export class IpcNamespace {
  readonly userNs: UserNamespace
  readonly inum: number
  readonly limits = new IpcLimits()
  readonly sem: SemTable
  readonly msg: MessageTable
  readonly shm: ShmTable
  /** Descriptors and mounts of its file, that keep it beside tasks. */
  holders = 0
  /** The super block of POSIX message queues, made by fs/mqueue on first use. */
  mqueue: unknown = undefined

  constructor(userNs: UserNamespace, inum: number) {
    this.userNs = userNs
    this.inum = inum
    this.sem = new SemTable(userNs, this.limits)
    this.msg = new MessageTable(userNs, this.limits)
    this.shm = new ShmTable(userNs, this.limits)
  }

  limitsChanged(): void {
    if (this.limits.shmRmidForced !== 0) this.shm.destroyOrphans(undefined)
  }
}

export class NetNamespace {
  readonly userNs: UserNamespace
  readonly inum: number
  /** net.ipv4.ip_unprivileged_port_start */
  unprivilegedPortStart = 1024
  /** What the network stacks of the kernel share, put there by net/; undefined: they have none but unix sockets. */
  runtime: NetworkRuntime | undefined
  /** Descriptors and mounts of its file, and whatever else keeps it beside tasks and sockets. */
  holders = 0
  #stack: unknown = undefined

  constructor(userNs: UserNamespace, inum: number, runtime?: NetworkRuntime) {
    this.userNs = userNs
    this.inum = inum
    this.runtime = runtime
  }

  /** The network stack, made by net/ on first use. */
  get stack(): unknown {
    this.#stack ??= this.runtime?.stackFor(this)
    return this.#stack
  }
  set stack(stack: unknown) {
    this.#stack = stack
  }
}

/** A network of the kernel's own, which each namespace has a part of. */
export interface NetworkRuntime {
  stackFor(ns: NetNamespace): unknown
  /** A task or a descriptor has let go of its namespace, which may have been the last to hold it. */
  released(): void
}

export class CgroupNamespace {
  readonly userNs: UserNamespace
  readonly inum: number
  /** The cgroup that is shown as '/'. */
  readonly root: Cgroup

  constructor(userNs: UserNamespace, inum: number, root: Cgroup) {
    this.userNs = userNs
    this.inum = inum
    this.root = root
  }
}

export class TimeNamespace {
  readonly userNs: UserNamespace
  readonly inum: number
  /** Added to the clocks, in ns. */
  monotonicOffset = 0
  boottimeOffset = 0
  /** Somebody lives in it: the offsets stay. */
  frozen = false

  constructor(userNs: UserNamespace, inum: number) {
    this.userNs = userNs
    this.inum = inum
  }

  /** Its clocks are not the host's, as the vDSO would show them. */
  get isShifted(): boolean {
    return this.monotonicOffset !== 0 || this.boottimeOffset !== 0
  }
}

export interface NsProxy {
  readonly mnt: MountNamespace
  readonly uts: UtsNamespace
  readonly ipc: IpcNamespace
  readonly net: NetNamespace
  readonly cgroup: CgroupNamespace
  readonly time: TimeNamespace
  /** Where the next children of the task are born; the task's own is that of its Pid. */
  readonly pidForChildren: PidNamespace
  readonly timeForChildren: TimeNamespace
}
