/**
 * ptrace(2): the requests. What they do to the tracee's course is in kernel/ptrace; its registers are in ptrace-registers.ts,
 * what is told about its stop in ptrace-info.ts.
 */
import {
  CAP_SYS_ADMIN,
  PTRACE_ATTACH,
  PTRACE_CONT,
  PTRACE_DETACH,
  PTRACE_EVENT_STOP,
  PTRACE_GET_SYSCALL_INFO,
  PTRACE_GETEVENTMSG,
  PTRACE_GETFPREGS,
  PTRACE_GETREGS,
  PTRACE_GETREGSET,
  PTRACE_GETSIGINFO,
  PTRACE_INTERRUPT,
  PTRACE_KILL,
  PTRACE_LISTEN,
  PTRACE_O_MASK,
  PTRACE_O_SUSPEND_SECCOMP,
  PTRACE_OLDSETOPTIONS,
  PTRACE_PEEKDATA,
  PTRACE_PEEKTEXT,
  PTRACE_PEEKUSR,
  PTRACE_POKEDATA,
  PTRACE_POKETEXT,
  PTRACE_POKEUSR,
  PTRACE_SEIZE,
  PTRACE_SETFPREGS,
  PTRACE_SETOPTIONS,
  PTRACE_SETREGS,
  PTRACE_SETREGSET,
  PTRACE_SETSIGINFO,
  PTRACE_SINGLESTEP,
  PTRACE_SYSCALL,
  PTRACE_SYSEMU,
  PTRACE_SYSEMU_SINGLESTEP,
  PTRACE_TRACEME,
  SIGKILL,
} from '../abi/constants.ts'
import { EINVAL, EIO, EPERM, ESRCH } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Status } from '../base/result.ts'
import { mayBeTracer, mayInspect } from '../kernel/credentials.ts'
import { interruptListening, isHalted, resumeStopped, trapNotify } from '../kernel/ptrace/stop.ts'
import {
  attach,
  CALLS_EMULATE,
  CALLS_PASS,
  CALLS_STOP,
  detach,
  link,
  suspendsSeccomp,
  type Tracee,
} from '../kernel/ptrace/tracee.ts'
import { sendToTask, userSignal, wakeForSignal } from '../kernel/signal.ts'
import { JOBCTL_TRAP_NOTIFY, JOBCTL_TRAP_STOP, NSIG } from '../kernel/signal-state.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { readRemote, writeRemote } from '../mm/remote-access.ts'
import { addr, enumOf, pid as pidArg, type SyscallRows } from './args.ts'
import { stopInfo } from './ptrace-info.ts'
import { dataWord, registerRequest } from './ptrace-registers.ts'

export function ptrace(task: Task, request: number, pid: number, address: number, data: number): number {
  if (request === PTRACE_TRACEME) return traceMe(task)
  const target = task.pidNs.task(pid)
  if (target === undefined) return -ESRCH
  if (request === PTRACE_ATTACH) return attachTo(task, target, false, 0)
  if (request === PTRACE_SEIZE) return seize(task, target, address, data)

  const tracee = target.ptrace
  if (tracee?.tracer !== task) return -ESRCH
  if (request === PTRACE_KILL) {
    sendToTask(target, userSignal(task, target, SIGKILL))
    return 0
  }
  if (request === PTRACE_INTERRUPT) return interrupt(target, tracee)
  if (!isHalted(target)) return -ESRCH
  switch (request) {
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA:
      return peek(task, target, address, data)
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA:
      return poke(task, target, address)
    case PTRACE_OLDSETOPTIONS:
    case PTRACE_SETOPTIONS:
      return setOptions(task, tracee, data)
    case PTRACE_LISTEN:
      return listen(target, tracee)
    case PTRACE_DETACH:
      if (!isSignal(data)) return -EIO
      detach(target, data)
      return 0
    case PTRACE_CONT:
      return resume(target, tracee, CALLS_PASS, false, data)
    case PTRACE_SYSCALL:
      return resume(target, tracee, CALLS_STOP, false, data)
    case PTRACE_SINGLESTEP:
      return resume(target, tracee, CALLS_PASS, true, data)
    case PTRACE_SYSEMU:
      return resume(target, tracee, CALLS_EMULATE, false, data)
    case PTRACE_SYSEMU_SINGLESTEP:
      return resume(target, tracee, CALLS_EMULATE, true, data)
  }
  return (
    stopInfo(task, target, request, address, data) ??
    registerRequest(task, target, request, address, data) ??
    // PTRACE_SINGLEBLOCK among others: the processor's branch traps are the host's.
    -EIO
  )
}

function traceMe(task: Task): Status {
  const { parentTask } = task.group
  if (task.ptrace !== undefined || parentTask === undefined || parentTask.ended) return -EPERM
  if (!mayBeTracer(parentTask, task)) return -EPERM
  link(task, parentTask, task.cred, false, 0)
  return 0
}

function seize(task: Task, target: Task, address: number, data: number): Status {
  if (address !== 0) return -EIO
  if (data > PTRACE_O_MASK || (data & ~PTRACE_O_MASK) !== 0) return -EIO
  const status = mayAsk(task, data)
  return status < 0 ? status : attachTo(task, target, true, data)
}

function attachTo(task: Task, target: Task, seized: boolean, options: number): Status {
  if (target.group === task.group) return -EPERM
  if (!mayInspect(task, target, false)) return -EPERM
  if (target.ended || target.ptrace !== undefined) return -EPERM
  attach(target, task, seized, options)
  return 0
}

/** check_ptrace_options: who puts another's filters out of force must be free of them. */
function mayAsk(task: Task, options: number): Status {
  if ((options & PTRACE_O_SUSPEND_SECCOMP) === 0) return 0
  if (!task.cred.capable(CAP_SYS_ADMIN, task.kernel.userNs) || task.seccomp !== undefined) return -EPERM
  return task.ptrace !== undefined && suspendsSeccomp(task.ptrace) ? -EPERM : 0
}

function setOptions(task: Task, tracee: Tracee, options: number): Status {
  if (options > PTRACE_O_MASK || (options & ~PTRACE_O_MASK) !== 0) return -EINVAL
  const status = mayAsk(task, options)
  if (status < 0) return status
  tracee.options = options
  return 0
}

function interrupt(target: Task, tracee: Tracee): Status {
  if (!tracee.seized || target.ended) return -EIO
  target.signals.jobctl |= JOBCTL_TRAP_STOP
  interruptListening(target)
  wakeForSignal(target, false)
  return 0
}

function listen(target: Task, tracee: Tracee): Status {
  const halt = target.halt!
  if (!tracee.seized || halt.info === undefined || halt.info.code >> 8 !== PTRACE_EVENT_STOP) return -EIO
  halt.listening = true
  if ((target.signals.jobctl & JOBCTL_TRAP_NOTIFY) !== 0) trapNotify(target)
  return 0
}

function isSignal(signo: number): boolean {
  return signo <= NSIG
}

function resume(target: Task, tracee: Tracee, calls: number, step: boolean, signo: number): Status {
  if (!isSignal(signo)) return -EIO
  tracee.calls = calls
  tracee.stepping = step
  resumeStopped(target, signo)
  return 0
}

function peek(task: Task, target: Task, address: GuestAddr, data: GuestAddr): Status {
  const word = new Uint8Array(8)
  if (readRemote(target.mm, address, word) !== word.length) return -EIO
  return task.mm.copyOut(data, word)
}

function poke(task: Task, target: Task, address: GuestAddr): Status {
  const word = new Uint8Array(dataWord(task).buffer)
  return writeRemote(target.mm, address, word) === word.length ? 0 : -EIO
}

const requestName = enumOf({
  PTRACE_TRACEME,
  PTRACE_PEEKTEXT,
  PTRACE_PEEKDATA,
  PTRACE_PEEKUSR,
  PTRACE_POKETEXT,
  PTRACE_POKEDATA,
  PTRACE_POKEUSR,
  PTRACE_CONT,
  PTRACE_KILL,
  PTRACE_SINGLESTEP,
  PTRACE_GETREGS,
  PTRACE_SETREGS,
  PTRACE_GETFPREGS,
  PTRACE_SETFPREGS,
  PTRACE_ATTACH,
  PTRACE_DETACH,
  PTRACE_SYSCALL,
  PTRACE_SYSEMU,
  PTRACE_SETOPTIONS,
  PTRACE_GETEVENTMSG,
  PTRACE_GETSIGINFO,
  PTRACE_SETSIGINFO,
  PTRACE_GETREGSET,
  PTRACE_SETREGSET,
  PTRACE_SEIZE,
  PTRACE_INTERRUPT,
  PTRACE_LISTEN,
  PTRACE_GET_SYSCALL_INFO,
})

export const ptraceCalls = {
  ptrace: {
    nr: NR.ptrace,
    run: ptrace,
    args: [requestName, pidArg, addr, addr],
    partial: 'PTRACE_SINGLEBLOCK is refused',
  },
} satisfies SyscallRows
