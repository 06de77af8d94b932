/**
 * ThreadGroup: a process (signal_struct). Made by fork.ts with its first thread, the leader; gains and loses threads;
 * `dead` when the last one has ended: it is then a zombie until its parent waits for it (wait.ts), and leaves
 * its parent's children and the pid namespaces when it is released (exit.ts).
 *
 * Its identity is its leader's Pid. A leader that ends before the others stays in `tasks` as a zombie thread; an exec by
 * another thread makes that one the leader.
 */
import { WaitQueue } from '../base/wait-queue.ts'
import type { Cgroup } from './cgroup/cgroup.ts'
import type { CoreDump } from './core-dump/core-dump.ts'
import type { CpuLimit } from './cpu-limit.ts'
import type { CpuTotals } from './cpu-time.ts'
import { newCpuTotals } from './cpu-time.ts'
import type { IntervalTimers } from './interval-timer.ts'
import { IoCounts } from './io-account.ts'
import type { Kernel } from './kernel.ts'
import type { Pid } from './pid.ts'
import type { PosixTimers } from './posix-timer.ts'
import type { StepTurns } from './ptrace/debug-registers.ts'
import type { Rlimits } from './rlimits.ts'
import type { ProcessGroup, Session } from './session.ts'
import { PendingSignals, type SignalHandlers } from './signal-state.ts'
import type { Task } from './task.ts'

export class ThreadGroup {
  readonly kernel: Kernel
  readonly pid: Pid
  leader!: Task
  /** Threads that have not been released: all live ones, and the leader. */
  readonly tasks: Task[] = []
  /** Threads that have not ended. */
  live = 0

  /** Undefined for the first process. */
  parent: ThreadGroup | undefined
  /** The parent's thread that made it, or one that took over: for __WNOTHREAD and PR_SET_PDEATHSIG. */
  parentTask: Task | undefined
  readonly children = new Set<ThreadGroup>()
  /** Woken when a child ended, stopped or continued. */
  readonly childWait = new WaitQueue()
  /** What the parent gets when it ends; 0: nothing. */
  exitSignal: number
  /** Set by startSession or fork; a released process keeps its last. */
  processGroup!: ProcessGroup
  isSubreaper = false
  /** It has got another parent than the one that made it. */
  orphan = false
  /** Its program has called wait4(2) or waitid(2). */
  waits = false

  handlers: SignalHandlers
  readonly pending = new PendingSignals()
  /** SIGNAL_UNKILLABLE: signals with default action don't reach it (a namespace's init). */
  unkillable = false
  rlimits: Rlimits

  // Ending.
  /** The whole group ends: each thread before it runs guest code again. `exitStatus` is decided. */
  exiting = false
  /** As wait(2) gives it. */
  exitStatus = 0
  /** Its memory and registers are being written to a file before its threads end. */
  coreDump: CoreDump | undefined = undefined
  /** All threads have ended. */
  dead = false
  /** The init of a pid namespace that waits for the others to go. */
  zapping = false
  /** The thread that execs and waits for the others to end. */
  execTask: Task | undefined = undefined
  readonly execWait = new WaitQueue()
  /** pidfds: woken when the group is dead. */
  readonly exitWait = new WaitQueue()
  /** setpgid of a child is refused after it has execed. */
  hasExeced = false

  // Job control (job-control.ts).
  /** Threads that have yet to join the group stop. */
  stopsLeft = 0
  stopSignal = 0
  /** All threads are stopped. */
  stopped = false
  /** A stop that wait(WUNTRACED) has not seen; a continue that wait(WCONTINUED) has not seen. */
  stopUnseen = false
  continueUnseen = false

  /** Threads whose tracer watches memory run by turns. Owned by ptrace/debug-registers.ts. */
  stepTurns: StepTurns | undefined = undefined

  // Accounting.
  /** What threads that ended have read and written. */
  readonly endedIo = new IoCounts()
  /** The times of its present address space as they were shown last (cpu-time.ts). */
  shownUser = 0
  shownSystem = 0
  /** No other process runs in its address space, as a vfork's child does in its parent's. */
  ownsSpace = true
  readonly startTime: number
  /** What threads that ended used (with `ownsSpace` only earlier spaces count here), and what waited-for children used. */
  readonly ended: CpuTotals = newCpuTotals()
  readonly waited: CpuTotals = newCpuTotals()
  timers: IntervalTimers | undefined = undefined
  posixTimers: PosixTimers | undefined = undefined
  cpuLimit: CpuLimit | undefined = undefined
  oomScoreAdj = 0
  /** Where it was born or moved to; stays set when it has ended. */
  cgroup: Cgroup
  /** HOLD_*: why its threads don't get back to guest code. */
  holds = 0

  constructor(kernel: Kernel, pid: Pid, handlers: SignalHandlers, rlimits: Rlimits, exitSignal: number) {
    this.kernel = kernel
    this.pid = pid
    this.handlers = handlers
    this.rlimits = rlimits
    this.exitSignal = exitSignal
    this.cgroup = kernel.cgroup.root
    this.startTime = kernel.clock.boottime()
    pid.group = this
  }

  get session(): Session {
    return this.processGroup.session
  }
  /** Its id in its own pid namespace: getpid(2). */
  get tgid(): number {
    return this.pid.numbers[this.pid.ns.level]
  }
  get isNamespaceInit(): boolean {
    return this.pid.ns.init === this
  }

  /** A thread that has not ended, for what needs any of them (its credentials, its files); the leader when all have. */
  get representative(): Task {
    if (!this.leader.ended) return this.leader
    for (const task of this.tasks) if (!task.ended) return task
    return this.leader
  }
}
