/** prctl(2), personality(2); the options of credentials and of memory are in files of their own. */
import {
  CAP_SYS_RESOURCE,
  PR_GET_CHILD_SUBREAPER,
  PR_GET_DUMPABLE,
  PR_GET_IO_FLUSHER,
  PR_GET_NAME,
  PR_GET_NO_NEW_PRIVS,
  PR_GET_PDEATHSIG,
  PR_GET_SECCOMP,
  PR_GET_SPECULATION_CTRL,
  PR_GET_TID_ADDRESS,
  PR_GET_TIMERSLACK,
  PR_GET_TIMING,
  PR_GET_TSC,
  PR_MCE_KILL,
  PR_MCE_KILL_CLEAR,
  PR_MCE_KILL_DEFAULT,
  PR_MCE_KILL_GET,
  PR_MCE_KILL_LATE,
  PR_MCE_KILL_SET,
  PR_SET_CHILD_SUBREAPER,
  PR_SET_DUMPABLE,
  PR_SET_IO_FLUSHER,
  PR_SET_NAME,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  PR_SET_SECCOMP,
  PR_SET_SPECULATION_CTRL,
  PR_SET_SYSCALL_USER_DISPATCH,
  PR_SET_TIMERSLACK,
  PR_SET_TIMING,
  PR_SET_TSC,
  PR_SPEC_DISABLE,
  PR_SPEC_ENABLE,
  PR_SPEC_FORCE_DISABLE,
  PR_SPEC_INDIRECT_BRANCH,
  PR_SPEC_L1D_FLUSH,
  PR_SPEC_STORE_BYPASS,
  PR_TIMING_STATISTICAL,
  PR_TSC_ENABLE,
  SECCOMP_MODE_DISABLED,
  SECCOMP_MODE_FILTER,
  SECCOMP_MODE_STRICT,
  SECCOMP_SET_MODE_FILTER,
  SECCOMP_SET_MODE_STRICT,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, ENODEV, ENXIO, EPERM, ERANGE } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { NSIG } from '../kernel/signal-state.ts'
import type { Task } from '../kernel/task.ts'
import { setUserDispatch } from '../kernel/user-dispatch.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { arch_prctl } from './arch-prctl.ts'
import { addr, hex, int, type SyscallRows, size } from './args.ts'
import { commit, credentialOption } from './prctl-credentials.ts'
import { memoryOption } from './prctl-mm.ts'
import { seccomp } from './seccomp.ts'

const TASK_COMM_LEN = 16

export function prctl(task: Task, option: number, a2: number, a3: number, a4: number, a5: number): number {
  switch (option) {
    case PR_SET_PDEATHSIG:
      if (a2 > NSIG) return -EINVAL
      task.parentDeathSignal = a2
      return 0
    case PR_GET_PDEATHSIG:
      return task.mm.putU32(a2, task.parentDeathSignal)
    case PR_SET_DUMPABLE:
      if (a2 !== 0 && a2 !== 1) return -EINVAL
      task.dumpable = a2
      return 0
    case PR_GET_DUMPABLE:
      return task.dumpable
    case PR_SET_NAME:
      return setName(task, a2)
    case PR_GET_NAME: {
      const name = new Uint8Array(TASK_COMM_LEN)
      name.set(toBytes(task.comm))
      return task.mm.copyOut(a2, name)
    }
    case PR_SET_TIMERSLACK:
      task.timerSlack = a2 === 0 || a2 >= 0x8000000000000000 ? task.defaultTimerSlack : a2
      return 0
    case PR_GET_TIMERSLACK:
      return task.timerSlack
    case PR_SET_CHILD_SUBREAPER:
      task.group.isSubreaper = a2 !== 0
      return 0
    case PR_GET_CHILD_SUBREAPER:
      return task.mm.putU32(a2, task.group.isSubreaper ? 1 : 0)
    case PR_SET_NO_NEW_PRIVS:
      if (a2 !== 1 || a3 !== 0 || a4 !== 0 || a5 !== 0) return -EINVAL
      commit(task, cred => {
        cred.noNewPrivs = true
      })
      return 0
    case PR_GET_NO_NEW_PRIVS:
      if (a2 !== 0 || a3 !== 0 || a4 !== 0 || a5 !== 0) return -EINVAL
      return task.cred.noNewPrivs ? 1 : 0
    case PR_GET_TID_ADDRESS:
      return task.mm.putU64(a2, task.clearChildTid)
    case PR_GET_TIMING:
      return PR_TIMING_STATISTICAL
    case PR_SET_TIMING:
      return a2 === PR_TIMING_STATISTICAL ? 0 : -EINVAL
    case PR_GET_TSC:
      return task.mm.putU32(a2, PR_TSC_ENABLE)
    case PR_SET_TSC:
      return a2 === PR_TSC_ENABLE ? 0 : -EINVAL
    case PR_MCE_KILL_GET:
      return a2 !== 0 || a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : task.memoryFailure
    case PR_MCE_KILL:
      return a4 !== 0 || a5 !== 0 ? -EINVAL : setMemoryFailure(task, a2, a3)
    case PR_SET_IO_FLUSHER:
      if (!task.cred.capable(CAP_SYS_RESOURCE, task.kernel.userNs)) return -EPERM
      if (a3 !== 0 || a4 !== 0 || a5 !== 0 || a2 > 1) return -EINVAL
      task.ioFlusher = a2 === 1
      return 0
    case PR_GET_IO_FLUSHER:
      if (!task.cred.capable(CAP_SYS_RESOURCE, task.kernel.userNs)) return -EPERM
      return a2 !== 0 || a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : Number(task.ioFlusher)
    case PR_GET_SPECULATION_CTRL:
      return a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : getSpeculation(a2)
    case PR_SET_SPECULATION_CTRL:
      return a4 !== 0 || a5 !== 0 ? -EINVAL : setSpeculation(a2, a3)
    case PR_SET_SYSCALL_USER_DISPATCH:
      return setUserDispatch(task, a2, { offset: a3, length: a4, selector: a5 })
    case PR_GET_SECCOMP:
      return task.seccomp?.mode ?? SECCOMP_MODE_DISABLED
    case PR_SET_SECCOMP:
      if (a2 === SECCOMP_MODE_STRICT) return seccomp(task, SECCOMP_SET_MODE_STRICT, 0, 0)
      return a2 === SECCOMP_MODE_FILTER ? seccomp(task, SECCOMP_SET_MODE_FILTER, 0, a3) : -EINVAL
  }
  return memoryOption(task, option, a2, a3, a4, a5) ?? credentialOption(task, option, a2, a3, a4, a5)
}

function setName(task: Task, at: GuestAddr): number {
  // As strncpy_from_user: what follows the terminator need not be there.
  const name = task.mm.readString(at, TASK_COMM_LEN)
  if (typeof name === 'string') {
    task.setComm(name)
    return 0
  }
  const bytes = new Uint8Array(TASK_COMM_LEN - 1)
  if (task.mm.copyIn(at, bytes) < 0) return -EFAULT
  task.setComm(String.fromCharCode(...bytes))
  return 0
}

/** What a process wants when memory fails that it uses. */
function setMemoryFailure(task: Task, what: number, when: number): number {
  if (what === PR_MCE_KILL_CLEAR) {
    if (when !== 0) return -EINVAL
    task.memoryFailure = PR_MCE_KILL_DEFAULT
    return 0
  }
  if (what !== PR_MCE_KILL_SET) return -EINVAL
  if (when > PR_MCE_KILL_DEFAULT) {
    // As on Linux, it has chosen all the same.
    if (task.memoryFailure === PR_MCE_KILL_DEFAULT) task.memoryFailure = PR_MCE_KILL_LATE
    return -EINVAL
  }
  task.memoryFailure = when
  return 0
}

/** What the CPU does ahead of time can't be chosen by a process: as on a machine whose user has switched that off. */
function getSpeculation(which: number): number {
  if (which === PR_SPEC_STORE_BYPASS || which === PR_SPEC_INDIRECT_BRANCH) return PR_SPEC_ENABLE
  return which === PR_SPEC_L1D_FLUSH ? PR_SPEC_FORCE_DISABLE : -ENODEV
}

function setSpeculation(which: number, how: number): number {
  if (which === PR_SPEC_STORE_BYPASS) return -ENXIO
  if (which === PR_SPEC_L1D_FLUSH) return -EPERM
  if (which !== PR_SPEC_INDIRECT_BRANCH) return -ENODEV
  if (how === PR_SPEC_ENABLE) return 0
  return how === PR_SPEC_DISABLE || how === PR_SPEC_FORCE_DISABLE ? -EPERM : -ERANGE
}

/** The previous one; all ones only asks. */
export function personality(task: Task, persona: number): number {
  const old = task.personality
  if (persona !== 0xffffffff) task.personality = persona
  return old
}

export const prctlCalls = {
  prctl: {
    nr: NR.prctl,
    run: prctl,
    args: [int, size, size, size, size],
    partial: 'PR_TSC_SIGSEGV is refused with EINVAL; PR_SET_THP_DISABLE is kept and told; there is no KSM',
  },
  arch_prctl: {
    nr: NR.arch_prctl,
    run: arch_prctl,
    args: [hex, addr],
  },
  personality: {
    nr: NR.personality,
    run: personality,
    args: [hex],
    partial: 'ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC act; the rest is kept and reported',
  },
} satisfies SyscallRows
