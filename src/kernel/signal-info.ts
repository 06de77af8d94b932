/** siginfo_t: what a signal carries. Built by the sender, queued, and written to the guest by its layout. */
import {
  SI_KERNEL,
  SI_SIGIO,
  SI_TIMER,
  SI_USER,
  SIGBUS,
  SIGCHLD,
  SIGFPE,
  SIGILL,
  SIGPOLL,
  SIGSEGV,
  SIGSYS,
  SIGTRAP,
} from '../abi/constants.ts'
import { SIGINFO } from '../abi/layout.ts'
import { put64 } from '../base/words.ts'
import type { UserAccount } from './user-account.ts'

/** Fields not meant by the signal's layout stay 0 and are not written. */
export class SigInfo {
  signo: number
  errno = 0
  code: number
  /** As the receiver's pid namespace numbers the sender. */
  pid = 0
  /** As the receiver's user namespace numbers the sender's real uid. */
  uid = 0
  /** SIGCHLD: exit status or signal. */
  status = 0
  /** SIGCHLD, in clock ticks. */
  utime = 0
  stime = 0
  /** sigval: two words. */
  valueLo = 0
  valueHi = 0
  /** Faults: the address. SIGSYS: the call instruction. */
  addr = 0
  addrLsb = 0
  /** POSIX timers. */
  timerId = 0
  overrun = 0
  /** The timer that sent it: asked for the overrun count at delivery. */
  timer: TimerSignalSource | undefined = undefined
  /** SIGIO. */
  band = 0
  fd = 0
  /** SIGSYS. */
  syscall = 0
  arch = 0
  /** rt_sigqueueinfo: the whole structure as the guest gave it. */
  raw: Uint8Array | undefined = undefined
  /** Whose RLIMIT_SIGPENDING it is counted in while queued. */
  account: UserAccount | undefined = undefined
  /** Sent by the kernel itself (SEND_SIG_PRIV): reaches init, is never checked for permission. */
  fromKernel = false

  constructor(signo: number, code: number) {
    this.signo = signo
    this.code = code
  }
}

/** A POSIX timer as the signal queue sees it. */
export interface TimerSignalSource {
  /** Its queued signal is about to be delivered: fills in the overrun, re-arms; false when it was deleted meanwhile. */
  delivered(info: SigInfo): boolean
}

/** A signal that the kernel sends for its own reasons. */
export function kernelSignal(signo: number): SigInfo {
  const info = new SigInfo(signo, SI_KERNEL)
  info.fromKernel = true
  return info
}

/** A fault's signal. */
export function faultSignal(signo: number, code: number, addr: number): SigInfo {
  const info = new SigInfo(signo, code)
  info.addr = addr
  info.fromKernel = true
  return info
}

type Layout = 'kill' | 'timer' | 'queue' | 'fault' | 'child' | 'poll' | 'sys'

/** The highest si_code of each signal whose positive codes have a layout of their own. */
const CODE_LIMITS: Readonly<Record<number, number>> = {
  [SIGILL]: 11,
  [SIGFPE]: 15,
  [SIGSEGV]: 10,
  [SIGBUS]: 5,
  [SIGTRAP]: 6,
  [SIGCHLD]: 6,
  [SIGPOLL]: 6,
  [SIGSYS]: 2,
}

/** Which union member of siginfo_t holds (signal(7), siginfo_layout). */
export function layoutOf(signo: number, code: number): Layout {
  if (code > SI_USER && code < SI_KERNEL) {
    if (code <= (CODE_LIMITS[signo] ?? 0)) {
      if (signo === SIGCHLD) return 'child'
      if (signo === SIGPOLL) return 'poll'
      return signo === SIGSYS ? 'sys' : 'fault'
    }
    return code <= 6 ? 'poll' : 'kill'
  }
  if (code === SI_TIMER) return 'timer'
  if (code === SI_SIGIO) return 'poll'
  return code < 0 ? 'queue' : 'kill'
}

/** Writes siginfo_t (128 bytes, zeroed before) at `at`. */
export function writeSigInfo(info: SigInfo, view: DataView, at: number): void {
  if (info.raw !== undefined) {
    new Uint8Array(view.buffer, view.byteOffset + at, SIGINFO.size).set(info.raw)
    return
  }
  view.setInt32(at + SIGINFO.si_signo, info.signo, true)
  view.setInt32(at + SIGINFO.si_errno, info.errno, true)
  view.setInt32(at + SIGINFO.si_code, info.code, true)
  switch (layoutOf(info.signo, info.code)) {
    case 'kill':
      view.setInt32(at + SIGINFO.si_pid, info.pid, true)
      view.setUint32(at + SIGINFO.si_uid, info.uid, true)
      break
    case 'queue':
      view.setInt32(at + SIGINFO.si_pid, info.pid, true)
      view.setUint32(at + SIGINFO.si_uid, info.uid, true)
      view.setInt32(at + SIGINFO.si_value, info.valueLo, true)
      view.setInt32(at + SIGINFO.si_value + 4, info.valueHi, true)
      break
    case 'timer':
      view.setInt32(at + SIGINFO.si_timerid, info.timerId, true)
      view.setInt32(at + SIGINFO.si_overrun, info.overrun, true)
      view.setInt32(at + SIGINFO.si_value, info.valueLo, true)
      view.setInt32(at + SIGINFO.si_value + 4, info.valueHi, true)
      break
    case 'fault':
      put64(view, at + SIGINFO.si_addr, info.addr)
      view.setInt16(at + SIGINFO.si_addr_lsb, info.addrLsb, true)
      break
    case 'child':
      view.setInt32(at + SIGINFO.si_pid, info.pid, true)
      view.setUint32(at + SIGINFO.si_uid, info.uid, true)
      view.setInt32(at + SIGINFO.si_status, info.status, true)
      put64(view, at + SIGINFO.si_utime, info.utime)
      put64(view, at + SIGINFO.si_stime, info.stime)
      break
    case 'poll':
      put64(view, at + SIGINFO.si_band, info.band)
      view.setInt32(at + SIGINFO.si_fd, info.fd, true)
      break
    case 'sys':
      put64(view, at + SIGINFO.si_call_addr, info.addr)
      view.setInt32(at + SIGINFO.si_syscall, info.syscall, true)
      view.setUint32(at + SIGINFO.si_arch, info.arch, true)
  }
}
