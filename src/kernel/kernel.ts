/**
 * The kernel: owns everything of one sandbox, and drives it.
 *
 * Made with a platform and a host; whoever joins the parts then registers file systems and devices, builds the first
 * mount namespace, calls `startInit`, and `run`. Other parts find here what there is once a kernel: clocks, timers,
 * the table of futexes, hooks.
 */
import { ENOSYS } from '../abi/errno.ts'
import type { Clock } from '../base/clock.ts'
import { parseCpuList } from '../base/cpu-list.ts'
import { UserNamespace } from '../base/credentials.ts'
import { failed, type OrErrno } from '../base/result.ts'
import { MmContext } from '../mm/context.ts'
import type { Host } from '../platform/host.ts'
import type { Platform } from '../platform/platform.ts'
import { AnonFs } from '../vfs/anon.ts'
import type { FsType } from '../vfs/fs-type.ts'
import type { MountNamespace } from '../vfs/mount.ts'
import type { SuperBlock } from '../vfs/super-block.ts'
import { Vfs } from '../vfs/vfs.ts'
import type { CgroupProgram } from './bpf/cgroup-program.ts'
import { Cgroup } from './cgroup/cgroup.ts'
import { CpuShares } from './cgroup/cpu-shares.ts'
import { mayUseDevice } from './cgroup/device-guard.ts'
import { HostRoom } from './cgroup/host-room.ts'
import type { MemoryController } from './cgroup/memory.ts'
import { type MemoryMeter, NO_METER } from './cgroup/memory-meter.ts'
import { MemoryWatch } from './cgroup/memory-watch.ts'
import { Containment } from './containment.ts'
import type { CoreSettings } from './core-dump/core-name.ts'
import { FutexTable } from './futex.ts'
import { type InitRequest, startProcess } from './init.ts'
import type { KeyStore } from './keys/key.ts'
import { KernelLog } from './log/kernel-log.ts'
import { LongCalls } from './long-calls.ts'
import { turn } from './loop.ts'
import {
  CgroupNamespace,
  FIRST_DYNAMIC_INUM,
  INIT_INUM,
  IpcNamespace,
  NetNamespace,
  type NsProxy,
  TimeNamespace,
  UtsNamespace,
} from './namespaces.ts'
import type { Operation } from './operation.ts'
import { PidNamespace } from './pid.ts'
import { signalOwner } from './sigio.ts'
import { killGroup } from './signal.ts'
import type { SigInfo } from './signal-info.ts'
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'
import { Timers } from './timers.ts'
import { UserAccounts } from './user-account.ts'
import { kernelRelease } from './version.ts'

/** Is shown memory: true ends the search. */
export type MemoryLook = (start: number, length: number, writes: boolean) => boolean

/** The system calls, compiled from the rows of the table (syscalls/dispatch.ts). */
export interface SyscallTable {
  /** Fills task.args from the registers. */
  decode(task: Task, nr: number): void
  /** One try: a result, a negative errno, BLOCK or NO_RESULT. */
  run(task: Task, nr: number): number
  /** Shows `look` the memory that the arguments point to, until it says true: whether it did. */
  touches(task: Task, nr: number, look: MemoryLook): boolean
  name(nr: number): string
}

/** --strace. */
export interface Trace {
  enter(task: Task): void
  exit(task: Task, result: number): void
  /** A signal is taken: its handler runs or its default action follows. */
  signal(task: Task, info: SigInfo): void
  /** The process's last thread ended. */
  ended(task: Task, status: number): void
  /** The call goes to sleep and will be tried again. */
  blocked(task: Task): void
}

/** Told of each thread that ends, while all is still known of it. */
export interface TaskWatcher {
  taskEnds(task: Task, status: number): void
}

export interface Log {
  debug(text: string): void
  info(text: string): void
  warn(text: string): void
  error(text: string): void
}

export interface KernelOptions {
  readonly syscalls: SyscallTable
  readonly log?: Log
  readonly hostname?: string
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }

export class Kernel {
  readonly platform: Platform
  readonly host: Host
  readonly clock: Clock
  readonly syscalls: SyscallTable
  readonly log: Log
  readonly timers = new Timers()
  readonly vfs: Vfs
  readonly anonFs: AnonFs
  readonly fsTypes = new Map<string, FsType>()
  readonly mmContext: MmContext
  readonly futexes: FutexTable
  readonly users = new UserAccounts()

  // The first namespaces; the first mount namespace is made by who builds the root.
  readonly userNs: UserNamespace
  readonly pidNs: PidNamespace
  readonly uts: UtsNamespace
  readonly ipc: IpcNamespace
  readonly net: NetNamespace
  readonly cgroup: CgroupNamespace
  readonly time: TimeNamespace

  /** The top of the hierarchy, in which nobody is: containers' cgroups are its children. */
  readonly cgroups: Cgroup
  readonly memoryWatch: MemoryWatch
  readonly hostRoom: HostRoom
  readonly cpuShares: CpuShares
  /** Those that look at what tasks use, and have found nobody who runs: the loop wakes them when somebody does again. */
  readonly dormant = new Set<{ wake(): void }>()
  /** /proc/sys/kernel/core_pattern and core_uses_pid. */
  readonly core: CoreSettings = { pattern: 'core', usesPid: false }
  /** Whose memory is what is made now. */
  readonly chargeTo = (): MemoryController => (this.current?.group.cgroup ?? this.cgroup.root).memory
  /** Set by who knows the host's processes. */
  memoryMeter: MemoryMeter = NO_METER

  /** /proc/sys/kernel/random/boot_id; '' until somebody asks. */
  bootId = ''
  /** The first process; stays set when it ended. */
  init: ThreadGroup | undefined = undefined
  /** Tasks that have not ended: the loop runs while there are any. */
  liveTasks = 0
  /** Whose call is being served: `current` of Linux, for objects that act on whoever uses them (signalfd, sockets). */
  current: Task | undefined = undefined
  /** Blocked tasks to try again, in order. */
  readonly runnable: Task[] = []
  /** Operations to try again, in order. */
  readonly operations: Operation[] = []
  /** What bugs do where no task is served. */
  readonly containment: Containment
  /** Calls that go on when others had their turn. */
  readonly longCalls: LongCalls

  /** fs.aio-max-nr, and how many requests io_setup(2) has promised room for: fs.aio-nr. */
  aioMaxRequests = 65536
  aioRequests = 0
  /** kernel.io_uring_disabled, kernel.io_uring_group. */
  ioUringDisabled = 0
  ioUringGroup = -1
  /** What all io_urings hold together: requests, waiting completions, places in tables, buffers in lists. */
  readonly uring = { requests: 0, overflow: 0, places: 0, listedBuffers: 0 }

  /** /proc/sys/fs/fanotify. */
  readonly fanotifyLimits = { maxQueuedEvents: 16384, maxUserGroups: 128, maxUserMarks: 192536 }
  /** /proc/sys/fs/inotify. */
  readonly inotifyLimits = { maxQueuedEvents: 16384, maxUserInstances: 128, maxUserWatches: 192536 }
  /** keyrings(7). Made on first use by keysOf. */
  keys: KeyStore | undefined = undefined
  /** The eBPF programs that there are, by their ids. */
  readonly bpfPrograms = new Map<number, CgroupProgram>()
  lastBpfProgram = 0

  /** The file system of memfds and shared memory, which is mounted nowhere. Made by fs/memfd on first use. */
  shm: SuperBlock | undefined = undefined

  // Hooks.
  /** Called when there has been nothing to do for a while: give back memory that is kept only to be used again. */
  readonly whenQuiet: (() => void)[] = []
  trace: Trace | undefined = undefined
  readonly taskWatchers = new Set<TaskWatcher>()
  /** A process ended; its status is group.exitStatus. */
  processEnded: ((group: ThreadGroup) => void) | undefined = undefined
  /** CLONE_PIDFD: a descriptor in `opener`'s table. Set by fs/pidfd. */
  makePidFd: (opener: Task, target: Task, thread: boolean) => number = () => -ENOSYS

  #messages: KernelLog | undefined = undefined
  #nextInum = FIRST_DYNAMIC_INUM
  #nextLoginSession = 1
  readonly #orders = new WeakMap<object, number>()
  #nextOrder = 1

  constructor(platform: Platform, host: Host, options: KernelOptions) {
    this.platform = platform
    this.host = host
    this.clock = host
    this.syscalls = options.syscalls
    this.log = options.log ?? silent
    this.longCalls = new LongCalls(host)
    this.containment = new Containment(this.log)
    this.vfs = new Vfs(host)
    this.vfs.signalOwner = signalOwner
    this.vfs.callInHand = () => this.current?.requests
    this.vfs.mayUseDevice = (type, rdev, access) =>
      this.current === undefined ? 0 : mayUseDevice(this.current.group.cgroup, type, rdev, access)
    this.anonFs = new AnonFs(this.vfs)
    this.mmContext = new MmContext(platform, host)
    this.futexes = new FutexTable(platform)
    this.userNs = new UserNamespace(undefined, 0, 0, INIT_INUM.user)
    this.pidNs = new PidNamespace(undefined, this.userNs, INIT_INUM.pid)
    this.uts = new UtsNamespace(options.hostname ?? 'caisson', '(none)', this.userNs, INIT_INUM.uts)
    this.ipc = new IpcNamespace(this.userNs, INIT_INUM.ipc)
    this.net = new NetNamespace(this.userNs, INIT_INUM.net)
    this.memoryWatch = new MemoryWatch(this)
    this.hostRoom = new HostRoom(host)
    this.cpuShares = new CpuShares(this)
    this.cgroups = new Cgroup(this, undefined, '')
    // No container can be called so.
    const first = this.cgroups.makeChild(':first') as Cgroup
    this.cgroup = new CgroupNamespace(this.userNs, INIT_INUM.cgroup, first)
    this.time = new TimeNamespace(this.userNs, INIT_INUM.time)
  }

  /** The CPUs of the machine, as files about it show them; a process may be allowed fewer (scheduling.ts). */
  get cpus(): readonly number[] {
    this.#cpus ??= parseCpuList(this.host.fact('sys/devices/system/cpu/online')) ?? this.platform.cpus
    return this.#cpus
  }
  #cpus: readonly number[] | undefined = undefined
  /** One more than the highest number: the width of CPU masks. */
  get cpuWidth(): number {
    return this.cpus[this.cpus.length - 1] + 1
  }

  /** The log that the guest's dmesg(1) shows; `log` is what the operator of the sandbox sees. */
  get messages(): KernelLog {
    this.#messages ??= new KernelLog(this.clock, kernelRelease(this.host))
    return this.#messages
  }

  /** CLOCK_MONOTONIC in ns. */
  now(): number {
    return this.clock.monotonic()
  }

  /** The inode number of a new namespace. */
  newInum(): number {
    return this.#nextInum++
  }

  /** The audit subsystem's number of a login. */
  newLoginSession(): number {
    return this.#nextLoginSession++
  }

  /** A number for an object, by which kcmp(2) orders: the same for as long as it lives. */
  orderOf(object: object): number {
    let order = this.#orders.get(object)
    if (order === undefined) {
      order = this.#nextOrder++
      this.#orders.set(object, order)
    }
    return order
  }

  /** The first namespaces, with the given mounts. */
  initialNamespaces(mnt: MountNamespace): NsProxy {
    const { uts, ipc, net, cgroup, time, pidNs } = this
    return { mnt, uts, ipc, net, cgroup, time, timeForChildren: time, pidForChildren: pidNs }
  }

  /** Starts the first process. A negative errno is what execve would have given. */
  startInit(request: InitRequest): OrErrno<Task> {
    const task = startProcess(this, request)
    if (!failed(task)) this.init = task.group
    return task
  }

  /** Starts a further process from outside, in the namespaces and with the root that the request names. */
  startProcess(request: InitRequest): OrErrno<Task> {
    return startProcess(this, request)
  }

  /** Serves until no task is left: the first process's wait status. */
  run(): number {
    while (this.liveTasks > 0) turn(this, Number.POSITIVE_INFINITY)
    return this.init?.exitStatus ?? 0
  }

  /**
   * One round of the loop, for who has an event loop of its own to run in between; `until`: monotonic ns to wait at
   * most, 0 not to wait. False when nothing was there to serve.
   */
  turn(until: number): boolean {
    return turn(this, until)
  }

  /** Puts a blocked task on the run queue: its handler is tried again. May be called any number of times. */
  makeRunnable(task: Task): void {
    if (task.queued) return
    task.queued = true
    this.runnable.push(task)
  }

  /** All live tasks of all namespaces. */
  *tasks(): Generator<Task> {
    for (const pid of [...this.pidNs.pids()]) {
      if (pid.task !== undefined && !pid.task.ended) yield pid.task
    }
  }

  /** Ends all processes. */
  shutdown(): void {
    for (const pid of [...this.pidNs.pids()]) if (pid.group !== undefined) killGroup(pid.group)
  }
}
