/** Signal sets: 64 bits in two words. Signal n is bit n-1. Sets are changed in place; copy before you keep one. */
import {
  SIGABRT,
  SIGBUS,
  SIGCHLD,
  SIGCONT,
  SIGFPE,
  SIGILL,
  SIGKILL,
  SIGQUIT,
  SIGSEGV,
  SIGSTOP,
  SIGSYS,
  SIGTRAP,
  SIGTSTP,
  SIGTTIN,
  SIGTTOU,
  SIGURG,
  SIGWINCH,
  SIGXCPU,
  SIGXFSZ,
} from '../abi/constants.ts'

export class SignalSet {
  lo: number
  hi: number

  constructor(lo = 0, hi = 0) {
    this.lo = lo
    this.hi = hi
  }

  has(signo: number): boolean {
    return signo <= 32 ? ((this.lo >>> (signo - 1)) & 1) === 1 : ((this.hi >>> (signo - 33)) & 1) === 1
  }
  add(signo: number): void {
    if (signo <= 32) this.lo |= 1 << (signo - 1)
    else this.hi |= 1 << (signo - 33)
  }
  delete(signo: number): void {
    if (signo <= 32) this.lo &= ~(1 << (signo - 1))
    else this.hi &= ~(1 << (signo - 33))
  }
  set(lo: number, hi: number): void {
    this.lo = lo
    this.hi = hi
  }
  copy(other: SignalSet): void {
    this.lo = other.lo
    this.hi = other.hi
  }
  clone(): SignalSet {
    return new SignalSet(this.lo, this.hi)
  }
  get empty(): boolean {
    return (this.lo | this.hi) === 0
  }
}

function maskOf(...signals: number[]): number {
  let mask = 0
  for (const signo of signals) mask |= 1 << (signo - 1)
  return mask
}

// All of these are below 33, so one word says it.
/** Signals that can't be caught, blocked or ignored. */
export const KERNEL_ONLY = maskOf(SIGKILL, SIGSTOP)
/** Default action: stop the process. */
export const STOP_SIGNALS = maskOf(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
/** Default action: end the process, with the core-dump flag. */
export const CORE_SIGNALS = maskOf(
  SIGQUIT,
  SIGILL,
  SIGTRAP,
  SIGABRT,
  SIGFPE,
  SIGSEGV,
  SIGBUS,
  SIGSYS,
  SIGXCPU,
  SIGXFSZ,
)
/** Default action: nothing (SIGCONT has acted when it was sent). */
export const IGNORED_SIGNALS = maskOf(SIGCONT, SIGCHLD, SIGWINCH, SIGURG)
/** Caused by the instruction stream: delivered before all others, so that their frame shows the fault. */
export const SYNCHRONOUS = maskOf(SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS)

/** Whether `signo` is in one of the masks above. */
export function inMask(mask: number, signo: number): boolean {
  return signo <= 32 && ((mask >>> (signo - 1)) & 1) === 1
}
