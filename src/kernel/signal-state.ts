/**
 * Where signals are kept. A thread group has the actions (SignalHandlers, shared by CLONE_SIGHAND) and the queue of
 * signals sent to the process; a task has its mask, its own queue and its alternate stack.
 *
 * A signal is queued by signal.ts, taken by return-to-guest.ts (delivery) or by sigtimedwait and signalfd. A bit of
 * `set` is on exactly while at least one instance of that signal waits; a standard signal has at most one.
 */
import { SA_NODEFER, SIG_DFL, SIG_IGN, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK } from '../abi/constants.ts'
import { WaitQueue } from '../base/wait-queue.ts'
import { SigInfo } from './signal-info.ts'
import { IGNORED_SIGNALS, inMask, SignalSet, SYNCHRONOUS } from './signal-set.ts'
import type { Task } from './task.ts'
import type { UserAccount } from './user-account.ts'

export const NSIG = 64

// TaskSignals.jobctl.
/** The signal of a group stop that the task has to join. */
export const JOBCTL_STOP_SIGNAL = 0x7f
/** Its tracer wants it to stop. */
export const JOBCTL_TRAP_STOP = 0x80
/** Its tracer is to be told that the process stopped or went on. */
export const JOBCTL_TRAP_NOTIFY = 0x100

/** struct sigaction. It never changes, so that all processes share those that they have in common. */
export class SigAction {
  /** SIG_DFL, SIG_IGN or the handler's address. */
  readonly handler: number
  readonly flags: number
  readonly restorer: number
  readonly maskLo: number
  readonly maskHi: number

  constructor(handler: number, flags = 0, restorer = 0, maskLo = 0, maskHi = 0) {
    this.handler = handler
    this.flags = flags
    this.restorer = restorer
    this.maskLo = maskLo
    this.maskHi = maskHi
  }

  /** The same with the default in place of the handler. */
  toDefault(): SigAction {
    return new SigAction(SIG_DFL, this.flags, this.restorer, this.maskLo, this.maskHi)
  }
  /** What is blocked while the handler runs, besides what was. */
  blocks(signo: number, into: SignalSet): void {
    into.lo |= this.maskLo
    into.hi |= this.maskHi
    if ((this.flags & SA_NODEFER) === 0) into.add(signo)
  }
}

const DEFAULT_ACTION = new SigAction(SIG_DFL)
const IGNORING_ACTION = new SigAction(SIG_IGN)

/** sighand_struct: one action a signal. */
export class SignalHandlers {
  #actions: SigAction[]
  /** Thread groups that share it. */
  users = 1
  /** Woken at each signal sent: signalfd. */
  readonly queue = new WaitQueue()

  constructor(actions: SigAction[] = new Array(NSIG + 1).fill(DEFAULT_ACTION)) {
    this.#actions = actions
  }

  action(signo: number): SigAction {
    return this.#actions[signo]
  }
  setAction(signo: number, action: SigAction): void {
    this.#actions[signo] = action
  }
  clone(): SignalHandlers {
    return new SignalHandlers(this.#actions.slice())
  }
  /** execve: handlers go, ignored signals stay ignored (also CLONE_CLEAR_SIGHAND). */
  resetHandlers(): void {
    this.#actions = this.#actions.map(({ handler }) =>
      handler === SIG_IGN ? IGNORING_ACTION : DEFAULT_ACTION,
    )
  }
  /** Whether the signal would be thrown away on delivery. */
  ignores(signo: number): boolean {
    const handler = this.#actions[signo].handler
    return handler === SIG_IGN || (handler === SIG_DFL && inMask(IGNORED_SIGNALS, signo))
  }
}

export class PendingSignals {
  readonly set = new SignalSet()
  #queue: SigInfo[] = []

  get size(): number {
    return this.#queue.length
  }

  /** `info` undefined: only the bit (the sender's limit is used up). */
  add(signo: number, info: SigInfo | undefined, account: UserAccount | undefined): void {
    this.set.add(signo)
    if (info === undefined) return
    info.account = account
    if (account !== undefined) account.pendingSignals++
    this.#queue.push(info)
  }

  /** The oldest instance of a pending signal, removed. */
  take(signo: number): SigInfo {
    const queue = this.#queue
    let found: SigInfo | undefined
    let more = false
    for (let i = 0; i < queue.length; i++) {
      if (queue[i].signo !== signo) continue
      if (found !== undefined) {
        more = true
        break
      }
      found = queue[i]
      queue.splice(i--, 1)
    }
    if (!more) this.set.delete(signo)
    if (found === undefined) return new SigInfo(signo, 0)
    this.#uncharge(found)
    return found
  }

  /** The `n`th instance in the queue, from the oldest, which stays. */
  peek(n: number): SigInfo | undefined {
    return this.#queue[n]
  }

  /** Forgets all instances of one signal. */
  flush(signo: number): void {
    if (!this.set.has(signo)) return
    this.set.delete(signo)
    this.#keep(info => info.signo !== signo)
  }
  flushMask(mask: number): void {
    if ((this.set.lo & mask) === 0) return
    this.set.lo &= ~mask
    this.#keep(info => !inMask(mask, info.signo))
  }
  clear(): void {
    this.set.set(0, 0)
    this.#keep(() => false)
  }
  /** A timer was deleted: its queued signal goes. */
  removeTimer(timer: unknown): void {
    const signo = this.#queue.find(info => info.timer === timer)?.signo
    if (signo === undefined) return
    this.#keep(info => info.timer !== timer)
    if (!this.#queue.some(info => info.signo === signo)) this.set.delete(signo)
  }

  /** The next signal of this queue that is not in `blocked`: faults first, then the lowest number; 0 if none. */
  next(blocked: SignalSet): number {
    return this.nextIn(~blocked.lo, ~blocked.hi)
  }
  /** The next one among the given signals. */
  nextIn(lo: number, hi: number): number {
    let word = this.set.lo & lo
    if (word !== 0) {
      if ((word & SYNCHRONOUS) !== 0) word &= SYNCHRONOUS
      return 32 - Math.clz32(word & -word)
    }
    word = this.set.hi & hi
    return word === 0 ? 0 : 64 - Math.clz32(word & -word)
  }
  /** A fault that the kernel raised, before anything else. */
  nextFault(blocked: SignalSet): number {
    const word = this.set.lo & ~blocked.lo & SYNCHRONOUS
    if (word === 0) return 0
    for (const info of this.#queue) {
      if (info.code > 0 && inMask(word, info.signo)) return info.signo
    }
    return 0
  }

  #keep(wanted: (info: SigInfo) => boolean): void {
    const kept: SigInfo[] = []
    for (const info of this.#queue) {
      if (wanted(info)) kept.push(info)
      else this.#uncharge(info)
    }
    this.#queue = kept
  }
  #uncharge(info: SigInfo): void {
    if (info.account === undefined) return
    info.account.pendingSignals--
    info.account = undefined
  }
}

export class TaskSignals {
  readonly blocked = new SignalSet()
  readonly pending = new PendingSignals()
  /** Signals that a sigtimedwait of this task would take, though they are blocked. */
  readonly waitingFor = new SignalSet()
  /** What to go back to when the call with a mask of its own (sigsuspend, ppoll) is over; valid if `maskSaved`. */
  readonly savedMask = new SignalSet()
  maskSaved = false
  /** SIGKILL, or another thread's exec: the task ends before it runs guest code again. */
  killed = false
  /** JOBCTL_*: what it has to do before guest code runs, besides signals. */
  jobctl = 0
  /** It has joined one: it sleeps until SIGCONT. */
  stopped = false

  // sigaltstack(2).
  altSp = 0
  altSize = 0
  altFlags = SS_DISABLE

  /** Whether something waits that the task has to look at before guest code runs. */
  pendingUnblocked(task: Task): boolean {
    const own = this.pending.set
    const shared = task.group.pending.set
    const blocked = this.blocked
    return (
      (((own.lo | shared.lo) & ~blocked.lo) | ((own.hi | shared.hi) & ~blocked.hi) | this.jobctl) !== 0 ||
      this.killed ||
      task.group.exiting
    )
  }
  /** Only what ends it (fatal_signal_pending). */
  fatalPending(task: Task): boolean {
    return this.killed || task.group.exiting
  }

  /** Blocks or unblocks for the length of one call: at its first try. */
  setTemporaryMask(lo: number, hi: number): void {
    if (!this.maskSaved) {
      this.savedMask.copy(this.blocked)
      this.maskSaved = true
    }
    setBlocked(this.blocked, lo, hi)
  }
  restoreMask(): void {
    if (!this.maskSaved) return
    this.maskSaved = false
    this.blocked.copy(this.savedMask)
  }

  /** Whether `sp` lies on the alternate stack (never while it disarms itself). */
  onAltStack(sp: number): boolean {
    if ((this.altFlags & SS_AUTODISARM) !== 0) return false
    return sp > this.altSp && sp - this.altSp <= this.altSize
  }
  altStackFlags(sp: number): number {
    if (this.altSize === 0) return SS_DISABLE
    return this.onAltStack(sp) ? SS_ONSTACK : 0
  }
  resetAltStack(): void {
    this.altSp = 0
    this.altSize = 0
    this.altFlags = SS_DISABLE
  }
}

/** Sets a mask; SIGKILL and SIGSTOP can't be in it. */
export function setBlocked(blocked: SignalSet, lo: number, hi: number): void {
  blocked.set(lo & ~((1 << 8) | (1 << 18)), hi)
}
