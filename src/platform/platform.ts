/**
 * What the kernel needs of the machinery that runs guest code. `systrap` is one implementation; a fake one
 * serves the unit tests.
 *
 * A guest thread is either running guest code or stopped. Stopped, it belongs to the kernel: registers and
 * memory can be looked at and changed until `resume`. It stops by making a system call, by a fault, or
 * because the kernel asked with `kick`; `Platform.next` tells which thread stopped and why. A thread that
 * waits in a blocking call is a stopped thread that nobody resumes for a while.
 */
import type { Status } from '../base/result.ts'

/** Why a thread stopped. */
export const STOP_SYSCALL = 1
export const STOP_FAULT = 2
/** Answer to `kick`. A kick that loses the race against another stop is absorbed by that stop. */
export const STOP_KICK = 3
/** The host process behind the thread's address space died (host out-of-memory, a hostile guest). */
export const STOP_DEAD = 4
/** Answer to `kick` from a wait (`NativeWaits.start`), which is over without a result. The registers are those of the call. */
export const STOP_INTERRUPTED = 5
/** A wait is over that was to be reported; the result register has what it gave. */
export const STOP_WAITED = 6

/** General registers, in the order of struct sigcontext (x86-64). */
export const REG_R8 = 0
export const REG_R9 = 1
export const REG_R10 = 2
export const REG_R11 = 3
export const REG_R12 = 4
export const REG_R13 = 5
export const REG_R14 = 6
export const REG_R15 = 7
export const REG_RDI = 8
export const REG_RSI = 9
export const REG_RBP = 10
export const REG_RBX = 11
export const REG_RDX = 12
export const REG_RAX = 13
export const REG_RCX = 14
export const REG_RSP = 15
export const REG_RIP = 16
export const REG_EFLAGS = 17
export const REG_COUNT = 18

/** Registers of a stopped thread: 64-bit values as two words. All reads are of memory that the guest can change. */
export interface Registers {
  lo(reg: number): number
  hi(reg: number): number
  set(reg: number, lo: number, hi: number): void
  /** The value as an unsigned double (exact below 2^53). */
  get(reg: number): number
  /** Sets from a double: negative values down to -2^53 are sign-extended. */
  put(reg: number, value: number): void
}

/** What came with STOP_FAULT: the host's siginfo and the CPU's words, for the guest's own signal frame. */
export interface Fault {
  signo: number
  code: number
  addr: number
  trapno: number
  err: number
}

/** A host call that waits in place of the guest's. */
export interface NativeCall {
  readonly nr: number
  readonly args: readonly number[]
  /** A point of the host's clock that takes the place of the fourth argument. */
  readonly deadline: { readonly sec: number; readonly nsec: number } | undefined
}

/** Of a thread that waits in a host call: what /proc/PID/syscall shows. */
export interface NativeWaitState {
  readonly nr: number
  readonly args: readonly number[]
  readonly sp: number
  readonly ip: number
}

/** Waits of a thread in host calls that it makes by itself. */
export interface NativeWaits {
  /**
   * As `resume`, but first the thread waits in a host call, whose result is the guest's. With `report` it stops again
   * then.
   */
  start(call: NativeCall, report: boolean): void
  /** After STOP_INTERRUPTED: the deadline of the wait, if it had one. */
  interruptedDeadline(): { sec: number; nsec: number } | undefined
  /** Undefined unless it waits, though it runs as far as the kernel knows. */
  current(): NativeWaitState | undefined
  /** The thread makes all futex calls but PI's by itself, until `clearConstants`. */
  allowFutexes(): void
  /** FUTEX_WAKE of one waiter, when the thread goes on or ends. */
  queueWake(address: number): void
}

/** What a stopped thread is to do besides resuming is said through these calls before `resume`. */
export interface PlatformThread {
  readonly space: AddressSpace
  readonly regs: Registers
  /** Set by the kernel: the task behind the thread. */
  owner: unknown

  /** STOP_SYSCALL: the call's number as the guest gave it (u32 of rax). */
  readonly syscallNumber: number
  /** STOP_FAULT only. */
  readonly fault: Fault
  readonly stopped: boolean

  /**
   * Makes all registers (and the extended state) real, for a signal frame, fork, ptrace or a core dump. Before
   * it, only the argument registers, rax, rsp and rip are promised; after it, all are. Cheap when they are
   * there already. A system call's rip points behind the call instruction. Negative errno if the thread died.
   */
  materialize(): Status
  /** Which parts of the extended state the CPU saves: the XSAVE feature bits. */
  readonly stateFeatures: number
  /** Bytes of the extended state in the signal-frame format (fxsave, xsave header, magic words). */
  extendedStateSize(): number
  /** Copies it out; call `materialize` first. */
  readExtendedState(into: Uint8Array): void
  /** Replaces it; -EINVAL if it isn't of the CPU's format. An empty array resets it to the initial state. */
  writeExtendedState(from: Uint8Array): Status

  getFsBase(): number
  setFsBase(address: number): void
  getGsBase(): number
  /** -EAGAIN: the guest is to make the call once more, which then comes by a way on which it works. */
  setGsBase(address: number): Status

  /** The thread answers call `index` (CONSTANT_* of the protocol) by itself from now on. */
  setConstant?(index: number, value: number): void
  /** All calls come to the kernel again. */
  clearConstants?(): void

  /** What the host's ps is to show of a stopped thread, from its next `resume` on; at most 15 bytes. */
  setName?(name: string): void

  /**
   * Whether a stopped thread stops again, by a fault of SIGTRAP, behind the next instruction of guest code: the trap
   * flag. True if that changed it.
   */
  setStepping?(on: boolean): boolean

  /** Absent where the kernel does all waiting. */
  readonly native?: NativeWaits

  /** Tells the host thread that its call will take long, so that it sleeps instead of spinning. */
  park(): void
  /** Goes on in guest code. Returns at once; with `result` given, stores it in the result register first. */
  resume(result?: number): void
  /** Asks a running thread to stop. Does nothing if it is stopped. Signal-safe, may be repeated. */
  kick(): void
  /** Ends the host thread of a stopped guest thread; the object is dead after. */
  exit(): void

  /**
   * Where the host may run the thread, which need not be stopped; undefined: on all CPUs that the platform has. A child begins with its
   * parent's. Absent where the host decides alone.
   */
  setCpus?(cpus: readonly number[] | undefined): Status
  /** The CPU on which it runs, or was last; undefined where the host does not tell. */
  lastCpu?(): number | undefined

  /** CPU time that the host thread has used, in ns. */
  cpuTime?(): number
  /** What the host counted for this thread, which is stopped; of memory the whole process's. */
  usage?(): SpaceUsage | undefined

  /** A host system call from the stopped thread, in its process; only those of the stub's list work. Raw result. */
  hostCall(nr: number, a0: number, a1: number, a2: number, a3: number, a4: number, a5: number): number
  /** The same when the thread goes on or ends, before what is put off after it; nobody hears of the result. */
  hostCallLater?(nr: number, a0: number, a1: number, a2: number, a3: number): void
}

/** As in mm_struct: addresses in the guest's memory. */
export interface ArgumentLayout {
  readonly startStack: number
  readonly argStart: number
  readonly argEnd: number
  readonly envStart: number
  readonly envEnd: number
}

/** The memory of guest processes (an mm): one host process. */
export interface AddressSpace {
  /** Set by the mm: what the platform asks before it patches call sites. */
  owner: SpaceOwner | undefined
  readonly alive: boolean
  /** The stopped thread whose call the kernel is serving: accesses go through it. The kernel sets it before each try. */
  active?: PlatformThread | undefined
  /** Bytes at `address` and behind it that came along with the call being served, if any. A view: copy what you keep. */
  prefetched?(address: number): Uint8Array | undefined
  /** CPU time of the whole space in ns. */
  cpuTime?(): number

  /**
   * Reads guest memory at `address` into `into`: the number of bytes read before the first unreadable one
   * (0..length), or -EFAULT if the first already isn't. Obeys the host's page protections, not the vma's; with `force`,
   * all protections are passed by, in one page.
   */
  read(address: number, into: Uint8Array, force?: boolean): number
  /** Writes; the same result. With `force`, also through read-only private pages (ptrace, patching), in one page. */
  write(address: number, from: Uint8Array, force?: boolean): number

  /**
   * Makes all writes visible to other threads. What is written for the thread whose call is served may otherwise
   * wait until it resumes.
   */
  flush?(): void
  /**
   * An atomic compare-and-exchange of the aligned 32-bit word at `address`: what was there before (unsigned), equal to
   * `expected` if it was replaced, or -EFAULT. Without it the kernel reads and writes, which guest threads may race.
   */
  compareExchange?(address: number, expected: number, desired: number): number

  /**
   * Memory system calls, made in the space's process by any stopped thread of it. Addresses are the kernel's own
   * choice, so `map` is always MAP_FIXED; `hostFd` is -1 or a descriptor of the sentry that is passed along.
   */
  map(address: number, length: number, prot: number, flags: number, hostFd: number, offset: number): Status
  unmap(address: number, length: number): Status
  protect(address: number, length: number, prot: number): Status
  remap(address: number, oldLength: number, newLength: number, flags: number, newAddress: number): Status
  advise(address: number, length: number, advice: number): Status
  /**
   * Puts `bytes`, whole pages, into mapped memory that has no rights, and gives it the rights `prot`: other threads see
   * the pages with all their bytes or not at all. -EAGAIN when they don't stand still for that.
   */
  fill(address: number, bytes: Uint8Array, prot: number): Status
  /** mincore(2) into `into`, a byte a page. */
  incore(address: number, length: number, into: Uint8Array): Status
  lock(address: number, length: number, flags: number): Status
  unlock(address: number, length: number): Status

  /**
   * Moves bytes between a host file and guest memory without passing through the sentry: preadv/pwritev by the
   * stub on a passed descriptor. Result as those calls' (short counts, errno).
   */
  readFile(hostFd: number, offset: number, address: number, length: number): number
  writeFile(hostFd: number, offset: number, address: number, length: number): number

  /** Where the program's stack, arguments and environment are: what the host's ps is to show as its command line. */
  showArguments?(layout: ArgumentLayout): void

  /**
   * Somebody traces: the text of the guest, which the platform may have changed, is what the guest and its tracer take it
   * for, and stays so. Called with a stopped thread there; may be called again and again.
   */
  setTraced?(on: boolean): void

  /** Resident set in pages, read from the host: for /proc/PID/statm. */
  residentPages(): number
  /** The most that it ever was; absent where the host does not tell. */
  peakPages?(): number
  /** What the host counted for the whole process; absent, or undefined, where it does not tell. */
  usage?(): SpaceUsage | undefined
  /** Ends the host process and all its threads at once. */
  destroy(): void
}

/** Of a host process or thread, from its beginning. */
export interface SpaceUsage {
  peakPages: number
  minorFaults: number
  majorFaults: number
  /** In what proportion its CPU time was its own, and the host kernel's for it. */
  user: number
  system: number
}

/** What the platform needs to know of an mm to patch call sites; implemented by `mm/`. */
export interface SpaceOwner {
  /** Whether `address` lies in text that is mapped privately, executable and not writable, from a file. */
  isFileText(address: number): boolean
  /** Reads text as the file behind it has it, without the guest: the count of bytes. */
  readText?(address: number, into: Uint8Array): number
  /** Reserves `length` bytes within `reach` bytes of `near` for trampolines: the address, or -ENOMEM. */
  reserveNear(near: number, length: number, reach: number): number
  /** Whether a write of the whole range is sure to succeed by the vmas; without it each write is done at once. */
  isWritable?(address: number, length: number): boolean
  /** PROT_* of the mapping at an address, undefined where there is none. */
  protectionAt?(address: number): number | undefined
}

export interface Platform {
  /** The guest's addresses end here (exclusive); above lies the stub. */
  readonly addressLimit: number
  /** Where the vDSO is in every space, 0 if there is none. */
  readonly vdso: number
  readonly vdsoSize: number
  /** Where the vDSO's data pages begin, directly below it; absent or 0 if it has none. */
  readonly vvar?: number
  readonly hwcap: number
  readonly hwcap2: number
  readonly minSignalStack: number
  /** AT_RSEQ_FEATURE_SIZE and AT_RSEQ_ALIGN; 0 where the host tells neither. */
  readonly rseqFeatureSize: number
  readonly rseqAlign: number
  /** The CPUs that guest threads may run on, by the host's numbers, as it was at the start; and how many. */
  readonly cpus: readonly number[]
  readonly cpuCount: number

  /** Switched by `--no-patch`: whether call sites are patched. */
  patching: boolean

  /** A new process is going to be asked for: one may be woken. */
  expectProcess?(): void
  /** A new, empty address space with one stopped thread. -EAGAIN/-ENOMEM where the host refuses. */
  newProcess(): PlatformThread | number
  /** fork(2) of a stopped thread: its copy in a copy of the address space, stopped, registers equal. */
  fork(parent: PlatformThread): PlatformThread | number
  /** Another thread in the space of a stopped thread, stopped, registers equal. */
  cloneThread(parent: PlatformThread): PlatformThread | number

  /**
   * The next thread that stopped. Waits at most until `deadline` (monotonic ns; 0: don't wait; Infinity: for
   * ever), also returning `undefined` early when a host descriptor's watch was called or the host's event loop
   * wants to run. `stopReason` tells why the returned thread stopped.
   */
  next(deadline: number): PlatformThread | undefined
  readonly stopReason: number
  /** Calls the watches of what has happened on the host by now, without waiting: `next` may do so a little later. */
  lookAtHost?(): void

  /** FUTEX_WAKE of those guest threads that wait natively: how many woke. Absent where the kernel does all futexes. */
  futexWake?(space: AddressSpace, address: number, count: number, shared: boolean): number

  /** Ends everything. */
  destroy(): void
}
