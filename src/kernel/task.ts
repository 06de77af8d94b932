/**
 * Task: one guest thread as the kernel sees it (task_struct).
 *
 * Made by fork.ts (clone) or by the loader (the first one); runs while its thread of the platform runs guest
 * code; is `stopped` in the platform's sense while the kernel works for it or it sleeps in a blocking call; becomes
 * a zombie in exit.ts and goes when it is waited for.
 *
 * Blocking: a system call handler that can't finish calls `task.block(queue, …)` and returns its BLOCK. The kernel
 * calls the same handler with the same arguments again when the queue, the deadline or a signal woke the task. What
 * a call must remember between two tries is a plain record in `task.progress`, undefined at the first try. A signal
 * is looked for in one place, after a try that returned BLOCK: the call then returns the block's `interrupted` value.
 */
import { PR_MCE_KILL_DEFAULT, SIGPIPE } from '../abi/constants.ts'
import { ERESTARTSYS } from '../abi/errno.ts'
import type { Credentials } from '../base/credentials.ts'
import { BLOCK } from '../base/result.ts'
import { type WaitEntry, type Waiter, WaitQueue } from '../base/wait-queue.ts'
import type { Mm } from '../mm/mm.ts'
import type { NativeCall, PlatformThread } from '../platform/platform.ts'
import type { FdTable } from '../vfs/fd-table.ts'
import type { File } from '../vfs/file.ts'
import type { WalkContext } from '../vfs/namei.ts'
import type { FsState } from '../vfs/path.ts'
import type { CpuAlarm } from './cpu-alarm.ts'
import { IoCounts } from './io-account.ts'
import type { UndoList } from './ipc/sem.ts'
import type { Kernel } from './kernel.ts'
import type { TaskKeyrings } from './keys/task-keyrings.ts'
import type { Yielding } from './long-calls.ts'
import type { NsProxy } from './namespaces.ts'
import type { Operation } from './operation.ts'
import type { PageNotices, PageWait } from './page-wait.ts'
import type { PerfEvent } from './perf/perf-event.ts'
import type { Pid, PidNamespace } from './pid.ts'
import type { Halt } from './ptrace/stop.ts'
import type { Tracee } from './ptrace/tracee.ts'
import type { RequestLog } from './request-log.ts'
import type { Rseq } from './rseq.ts'
import { Scheduling } from './scheduling.ts'
import type { Notification } from './seccomp/listener.ts'
import type { Seccomp } from './seccomp/seccomp.ts'
import { sendToTask, userSignal } from './signal.ts'
import type { TaskSignals } from './signal-state.ts'
import type { ThreadGroup } from './thread-group.ts'
import { type Expiry, Timer } from './timers.ts'
import type { UserDispatch } from './user-dispatch.ts'

/** Its thread runs guest code. */
export const RUNNING = 0
/** The kernel works for it now. */
export const IN_KERNEL = 1
/** In a call that returned BLOCK. */
export const BLOCKED = 2
/** In a group stop, on its way back to guest code. */
export const STOPPED = 3
/** Ended. */
export const ENDED = 4
/** Stopped for its tracer: `halt` says where. */
export const TRACED = 5
/** Ending, while its process is dumped. */
export const DUMPING = 6
export type TaskState =
  | typeof RUNNING
  | typeof IN_KERNEL
  | typeof BLOCKED
  | typeof STOPPED
  | typeof ENDED
  | typeof TRACED
  | typeof DUMPING

/**
 * What a handler returns when there is no result to store: the registers are new (rt_sigreturn, execve), or the
 * task ended.
 */
export const NO_RESULT = -0x40000001

/** What a handler returns when the thread is to make `task.nativeCall` by itself, whose result is the call's. */
export const NATIVE_WAIT = -0x40000002

/** Progress of a call that holds something (a File, a place in a queue) which must be given back however the call ends. */
export abstract class HeldProgress {
  abstract end(): void
}

/** Something other than a wait queue that a task sleeps on, such as a futex. */
export interface Sleep {
  /** The task no longer waits. */
  cancel(): void
}

/** A call with a restart of its own that was interrupted and is to go on from guest code. */
export interface RestartBlock {
  readonly nr: number
  readonly args: readonly number[]
  readonly progress: unknown
}

export class Task implements Waiter, WalkContext, Expiry, Yielding {
  readonly kernel: Kernel
  readonly group: ThreadGroup
  /** Changes only when a thread that is not the leader execs: it takes the leader's. */
  pid: Pid
  thread: PlatformThread
  mm: Mm
  fds: FdTable
  fs: FsState
  cred: Credentials
  ns: NsProxy
  /** 15 bytes at most. */
  comm = ''

  /** Blocked mask, private queue, alternate stack. Owned by kernel/signal-*.ts. */
  readonly signals: TaskSignals

  state: TaskState = IN_KERNEL
  /** On the kernel's run queue. */
  queued = false

  // The system call in progress. Arguments are read from the registers once, before the first try.
  /** The call's number, -1 outside of calls. */
  callNumber = -1
  /** Decoded arguments, as the row's kinds say; kept for later tries and for restarts. */
  readonly args = [0, 0, 0, 0, 0, 0]
  /** What the handler keeps between tries of one call. */
  progress: unknown = undefined
  /** What the call has asked of file systems that answer later; made by the first request. */
  requests: RequestLog | undefined = undefined
  /** NATIVE_WAIT: the host call. */
  nativeCall: NativeCall | undefined = undefined
  /** STOPPED: the result that waits to be given to the guest. */
  result = NO_RESULT

  /** The operation that is tried now in this task's name: what it would sleep on, it waits for by itself. */
  operation: Operation | undefined = undefined
  /** All that are not over. Made on first use. */
  operations: Set<Operation> | undefined = undefined
  /** io_uring: IORING_REGISTER_RING_FDS. Made on first use; each holds a reference. */
  ringFiles: (File | undefined)[] | undefined = undefined

  // Sleep. All are empty when the task is not blocked.
  readonly #entries: WaitEntry[] = []
  readonly #sleeps: Sleep[] = []
  readonly #timer = new Timer(this)
  /** Where an exclusive wake came from that no try has used yet. */
  #owedWake: WaitQueue | undefined = undefined
  /** Monotonic ns, Infinity if none. */
  deadline = Number.POSITIVE_INFINITY
  interruptedResult = -ERESTARTSYS
  /** Not even signals other than SIGKILL wake it (vfork's parent). */
  uninterruptible = false
  /** Its call has more to do. */
  yielding = false

  /** CLONE_CHILD_CLEARTID, set_tid_address(2): 0 if none. */
  clearChildTid = 0
  /** set_robust_list(2). */
  robustList = 0
  /** rseq(2). */
  rseq: Rseq | undefined = undefined
  /** System V semaphores: what is undone at the end. Made on first use. */
  semUndo: UndoList | undefined = undefined
  /** Thread, process and session keyring. Made on first use. */
  keyrings: TaskKeyrings | undefined = undefined
  /** The parent of a vfork waits here until this task execs or ends. */
  readonly vforkWait = new WaitQueue()
  vforkDone = true
  /** PR_SET_PDEATHSIG. */
  parentDeathSignal = 0
  /** PR_SET_DUMPABLE: belongs to the mm in Linux. */
  get dumpable(): number {
    return this.mm.dumpable
  }
  set dumpable(value: number) {
    this.mm.dumpable = value
  }
  /** PR_SET_TIMERSLACK, ns. */
  timerSlack = 50000
  defaultTimerSlack = 50000
  personality = 0
  /** prctl(2): PR_MCE_KILL_*, and PR_SET_IO_FLUSHER. Kept for who asks; nothing depends on them here. */
  memoryFailure = PR_MCE_KILL_DEFAULT
  ioFlusher = false
  /** Who logged in, for audit; undefined: nobody did. */
  login: { readonly uid: number; readonly session: number } | undefined = undefined
  /** By whom it is traced; the stop that its tracer sees; whom it traces. */
  ptrace: Tracee | undefined = undefined
  halt: Halt | undefined = undefined
  tracees: Set<Task> | undefined = undefined
  /** A tracer has seen the interrupted call: it starts anew at its instruction, with what is in the registers now. */
  restartsInGuest = false
  /** What restart_syscall(2) goes on with. */
  restartBlock: RestartBlock | undefined = undefined
  /** What it may still call; undefined until it restricts itself. */
  seccomp: Seccomp | undefined = undefined
  /** PR_SET_SYSCALL_USER_DISPATCH. */
  userDispatch: UserDispatch | undefined = undefined
  /** It waits for a page that somebody serves. */
  pageWait: PageWait | undefined = undefined
  /** What servers of its memory are told of its call, and have not read yet. */
  pageNotices: PageNotices | undefined = undefined
  /** Its call waits for a seccomp listener's decision. */
  notification: Notification | undefined = undefined
  /** set_mempolicy(2): a mode with its flags, and nodes as bits. */
  memoryPolicy: { readonly mode: number; readonly nodes: number } = { mode: 0, nodes: 0 }
  scheduling = new Scheduling()
  /** The last fault, for signal frames: trap number, error code, cr2. */
  trapNumber = 0
  errorCode = 0
  faultAddress = 0

  /** What it ended with; the leader's counts if the process did not end as a whole. */
  exitStatus = 0
  /** As wait(2) shows that it ended. */
  get endStatus(): number {
    return this.group.exiting ? this.group.exitStatus : this.exitStatus
  }

  // Accounting.
  readonly startTime: number
  voluntarySwitches = 0
  readonly io = new IoCounts()
  /** CPU time in ns of host threads that it had before an exec, and what is known of it in all. */
  cpuTimeBefore = 0
  /** The most that getrusage(RUSAGE_THREAD) has said of both. */
  shownUser = 0
  shownSystem = 0
  cpuTime = 0
  /** What perf_event_open(2) counts of it. Made on first use. */
  perfEvents: Set<PerfEvent> | undefined = undefined
  /** Those that wait for CPU time of this thread; made on first use. */
  cpuAlarms: Set<CpuAlarm> | undefined = undefined

  constructor(
    kernel: Kernel,
    group: ThreadGroup,
    pid: Pid,
    thread: PlatformThread,
    mm: Mm,
    fds: FdTable,
    fs: FsState,
    cred: Credentials,
    ns: NsProxy,
    signals: TaskSignals,
  ) {
    this.kernel = kernel
    this.group = group
    this.pid = pid
    this.thread = thread
    this.mm = mm
    this.fds = fds
    this.fs = fs
    this.cred = cred
    this.ns = ns
    this.signals = signals
    this.startTime = kernel.clock.boottime()
    thread.owner = this
    pid.task = this
  }

  /** Its id in its own pid namespace: gettid(2). */
  get tid(): number {
    return this.pid.numbers[this.pid.ns.level]
  }
  get pidNs(): PidNamespace {
    return this.pid.ns
  }
  get ended(): boolean {
    return this.state === ENDED
  }
  /** A task is what path walks need. */
  get walk(): WalkContext {
    return this
  }
  get mountNs(): NsProxy['mnt'] {
    return this.ns.mnt
  }

  /**
   * Sleep until `queue` wakes (any of `events`, 0 for all). May be called several times in one try to wait for the
   * first of several queues. `interrupted` is the call's result when a signal comes first. Returns BLOCK.
   */
  block(queue: WaitQueue, interrupted = -ERESTARTSYS, events = 0, exclusive = false): number {
    if (this.operation !== undefined) return this.operation.block(queue, events, exclusive)
    this.#entries.push(queue.add(this, events, exclusive))
    this.interruptedResult = interrupted
    return BLOCK
  }

  /** Sleep until `sleep`'s owner calls kernel.makeRunnable; goes with `blockUntil`. Returns BLOCK. */
  blockOn(sleep: Sleep, interrupted = -ERESTARTSYS): number {
    if (this.operation !== undefined) return this.operation.blockOn(sleep)
    this.#sleeps.push(sleep)
    this.interruptedResult = interrupted
    return BLOCK
  }

  /** Sleep until a point of the monotonic clock at the latest; goes with or without `block`. Returns BLOCK. */
  blockUntil(deadline: number, interrupted = this.interruptedResult): number {
    if (this.operation !== undefined) return this.operation.blockUntil(deadline)
    this.deadline = deadline
    this.interruptedResult = interrupted
    return BLOCK
  }

  /** Sleep on nothing but signals (pause, sigsuspend). Returns BLOCK. */
  blockForSignal(interrupted: number): number {
    this.interruptedResult = interrupted
    return BLOCK
  }

  /**
   * The call has done its share of a long work: it goes on when others had their turn (long-calls.ts). `interrupted`: its result
   * when a signal comes first; undefined: only a fatal one ends it. Returns BLOCK.
   */
  yieldCall(interrupted?: number): number {
    if (this.operation !== undefined) return this.operation.yieldCall()
    this.yielding = true
    this.uninterruptible = interrupted === undefined
    if (interrupted !== undefined) this.interruptedResult = interrupted
    return BLOCK
  }
  /** LongCalls: its turn. */
  goOn(): void {
    this.kernel.makeRunnable(this)
  }

  /** Waiter: a queue that this task sleeps on changed. An exclusive wake is used up, so the entry goes at once. */
  woken(entry: WaitEntry, _events: number): void {
    entry.queue.remove(entry)
    if (entry.exclusive) this.#owedWake = entry.queue
    this.kernel.makeRunnable(this)
  }

  /** It ends before its next try: an exclusive wake that it got is somebody else's. */
  passWakeOn(): void {
    this.#owedWake?.wake()
    this.#owedWake = undefined
  }

  /** Expiry: its deadline passed. */
  expired(): void {
    this.kernel.makeRunnable(this)
  }

  /** Expiry. */
  victim(): ThreadGroup {
    return this.group
  }

  /** The kernel, when a try returned BLOCK. */
  fallAsleep(): void {
    this.state = BLOCKED
    if (this.yielding) this.kernel.longCalls.add(this)
    else this.voluntarySwitches++
    if (this.deadline !== Number.POSITIVE_INFINITY) this.kernel.timers.add(this.#timer, this.deadline)
    this.thread.park()
  }

  /** The kernel, before each try and when a call ends: forget queues and deadline. */
  stopWaiting(): void {
    if (this.#entries.length > 0) {
      for (const entry of this.#entries) entry.queue.remove(entry)
      this.#entries.length = 0
    }
    if (this.#sleeps.length > 0) {
      for (const sleep of this.#sleeps) sleep.cancel()
      this.#sleeps.length = 0
    }
    if (this.deadline !== Number.POSITIVE_INFINITY) {
      this.kernel.timers.cancel(this.#timer)
      this.deadline = Number.POSITIVE_INFINITY
    }
    if (this.yielding) {
      this.yielding = false
      this.kernel.longCalls.delete(this)
    }
    this.#owedWake = undefined
    this.interruptedResult = -ERESTARTSYS
    this.uninterruptible = false
  }

  /** There is nothing more to go on with for restart_syscall(2). */
  dropRestartBlock(): void {
    if (this.restartBlock?.progress instanceof HeldProgress) this.restartBlock.progress.end()
    this.restartBlock = undefined
  }

  /** The call is over, or starts anew: what its handler kept goes. */
  dropProgress(): void {
    if (this.requests !== undefined) {
      this.requests.end()
      this.requests = undefined
    }
    const progress = this.progress
    if (progress === undefined) return
    this.progress = undefined
    if (progress instanceof HeldProgress) progress.end()
  }

  /** Whether a signal that is neither blocked nor ignored (or SIGKILL, or a group stop) waits for this task. */
  signalPending(): boolean {
    return this.signals.pendingUnblocked(this)
  }

  /** What write(2) does on a broken pipe. */
  sendSigpipe(): void {
    sendToTask(this, userSignal(this, this, SIGPIPE))
  }

  /** prctl(PR_SET_NAME), /proc/PID/comm: cut to 15 bytes. */
  setComm(name: string): void {
    const end = name.indexOf('\0')
    this.comm = name.slice(0, end < 0 ? 15 : Math.min(end, 15))
    // One that runs, and is named by another of its process, keeps its name on the host.
    if (this.thread.stopped) this.thread.setName?.(this.comm)
  }
}
