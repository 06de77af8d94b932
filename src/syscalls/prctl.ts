/** prctl(2), arch_prctl(2), personality(2). */
import {
  ARCH_GET_FS,
  ARCH_GET_GS,
  ARCH_SET_FS,
  ARCH_SET_GS,
  CAP_LAST_CAP,
  CAP_SETPCAP,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_IS_SET,
  PR_CAP_AMBIENT_LOWER,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
  PR_CAPBSET_READ,
  PR_GET_AUXV,
  PR_GET_CHILD_SUBREAPER,
  PR_GET_DUMPABLE,
  PR_GET_KEEPCAPS,
  PR_GET_NAME,
  PR_GET_NO_NEW_PRIVS,
  PR_GET_PDEATHSIG,
  PR_GET_SECCOMP,
  PR_GET_SECUREBITS,
  PR_GET_THP_DISABLE,
  PR_GET_TID_ADDRESS,
  PR_GET_TIMERSLACK,
  PR_GET_TIMING,
  PR_GET_TSC,
  PR_MCE_KILL,
  PR_MCE_KILL_DEFAULT,
  PR_MCE_KILL_GET,
  PR_SET_CHILD_SUBREAPER,
  PR_SET_DUMPABLE,
  PR_SET_KEEPCAPS,
  PR_SET_NAME,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  PR_SET_SECCOMP,
  PR_SET_SECUREBITS,
  PR_SET_SYSCALL_USER_DISPATCH,
  PR_SET_TIMERSLACK,
  PR_SET_TIMING,
  PR_SET_VMA,
  PR_SET_VMA_ANON_NAME,
  PR_TIMING_STATISTICAL,
  PR_TSC_ENABLE,
  SECBIT_KEEP_CAPS,
  SECBIT_KEEP_CAPS_LOCKED,
  SECBIT_NO_CAP_AMBIENT_RAISE,
  SECCOMP_MODE_DISABLED,
  SECCOMP_MODE_FILTER,
  SECCOMP_MODE_STRICT,
  SECCOMP_SET_MODE_FILTER,
  SECCOMP_SET_MODE_STRICT,
} from '../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, ENAMETOOLONG, EPERM } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { CapabilitySet, type Credentials } from '../base/credentials.ts'
import { failed } from '../base/result.ts'
import { commitCredentials } from '../kernel/credentials.ts'
import { NSIG } from '../kernel/signal-state.ts'
import { NO_RESULT, type Task } from '../kernel/task.ts'
import { setUserDispatch } from '../kernel/user-dispatch.ts'
import { ANON_NAME_SIZE, setAnonName } from '../mm/anon-name.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { REG_RAX, REG_RIP } from '../platform/platform.ts'
import { addr, hex, int, type SyscallRows, size } from './args.ts'
import { seccomp } from './seccomp.ts'

const TASK_COMM_LEN = 16
/** All securebits, and those that lock another one (each one bit above it). */
const SECURE_ALL_BITS = 0x55
const SECURE_ALL_LOCKS = SECURE_ALL_BITS << 1

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
    case PR_GET_THP_DISABLE:
      return a2 !== 0 || a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : 0
    case PR_GET_TIMING:
      return PR_TIMING_STATISTICAL
    case PR_SET_TIMING:
      return a2 === PR_TIMING_STATISTICAL ? 0 : -EINVAL
    case PR_GET_TSC:
      return task.mm.putU32(a2, PR_TSC_ENABLE)
    case PR_MCE_KILL_GET:
      return a2 !== 0 || a3 !== 0 || a4 !== 0 || a5 !== 0 ? -EINVAL : PR_MCE_KILL_DEFAULT
    case PR_MCE_KILL:
      return -EINVAL
    case PR_GET_AUXV:
      return getAuxv(task, a2, a3, a4, a5)
    case PR_SET_SYSCALL_USER_DISPATCH:
      return setUserDispatch(task, a2, { offset: a3, length: a4, selector: a5 })
    case PR_GET_SECCOMP:
      return task.seccomp?.mode ?? SECCOMP_MODE_DISABLED
    case PR_SET_SECCOMP:
      if (a2 === SECCOMP_MODE_STRICT) return seccomp(task, SECCOMP_SET_MODE_STRICT, 0, 0)
      return a2 === SECCOMP_MODE_FILTER ? seccomp(task, SECCOMP_SET_MODE_FILTER, 0, a3) : -EINVAL
    case PR_SET_VMA:
      return a2 === PR_SET_VMA_ANON_NAME ? nameMemory(task, a3, a4, a5) : -EINVAL
  }
  return credentialOption(task, option, a2, a3, a4, a5)
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

function nameMemory(task: Task, start: number, length: number, nameAt: GuestAddr): number {
  if (nameAt === 0) return setAnonName(task.mm, start, length, undefined)
  const name = task.mm.readString(nameAt, ANON_NAME_SIZE)
  if (failed(name)) return name === -ENAMETOOLONG ? -EINVAL : name
  return setAnonName(task.mm, start, length, name)
}

function getAuxv(task: Task, at: GuestAddr, length: number, a4: number, a5: number): number {
  if (a4 !== 0 || a5 !== 0) return -EINVAL
  const { auxv } = task.mm
  const status = task.mm.copyOut(at, auxv.subarray(0, Math.min(length, auxv.length)))
  return status < 0 ? status : auxv.length
}

/** Changes a copy of the credentials and publishes it. */
function commit(task: Task, change: (cred: Credentials) => void): void {
  const cred = task.cred.clone()
  change(cred)
  commitCredentials(task, cred)
}

/** cap_task_prctl. */
function credentialOption(
  task: Task,
  option: number,
  a2: number,
  a3: number,
  a4: number,
  a5: number,
): number {
  const { cred } = task
  switch (option) {
    case PR_CAPBSET_READ:
      return a2 > CAP_LAST_CAP ? -EINVAL : cred.bounding.has(a2) ? 1 : 0
    case PR_CAPBSET_DROP:
      if (!cred.capable(CAP_SETPCAP)) return -EPERM
      if (a2 > CAP_LAST_CAP) return -EINVAL
      commit(task, changed => {
        changed.bounding = cred.bounding.without(a2)
      })
      return 0
    case PR_GET_KEEPCAPS:
      return (cred.securebits & SECBIT_KEEP_CAPS) !== 0 ? 1 : 0
    case PR_SET_KEEPCAPS:
      if (a2 > 1) return -EINVAL
      if ((cred.securebits & SECBIT_KEEP_CAPS_LOCKED) !== 0) return -EPERM
      commit(task, changed => {
        changed.securebits =
          a2 === 1 ? cred.securebits | SECBIT_KEEP_CAPS : cred.securebits & ~SECBIT_KEEP_CAPS
      })
      return 0
    case PR_GET_SECUREBITS:
      return cred.securebits
    case PR_SET_SECUREBITS: {
      const old = cred.securebits
      const locked = (old & SECURE_ALL_LOCKS) >>> 1
      const unlocks = (old & SECURE_ALL_LOCKS & ~a2) !== 0
      const unknown = a2 > 0xff || (a2 & ~(SECURE_ALL_LOCKS | SECURE_ALL_BITS)) !== 0
      if ((locked & (old ^ a2)) !== 0 || unlocks || unknown || !cred.capable(CAP_SETPCAP)) return -EPERM
      commit(task, changed => {
        changed.securebits = a2
      })
      return 0
    }
    case PR_CAP_AMBIENT:
      return ambient(task, a2, a3, a4, a5)
  }
  return -EINVAL
}

function ambient(task: Task, action: number, cap: number, a4: number, a5: number): number {
  const { cred } = task
  if (action === PR_CAP_AMBIENT_CLEAR_ALL) {
    if (cap !== 0 || a4 !== 0 || a5 !== 0) return -EINVAL
    commit(task, changed => {
      changed.ambient = CapabilitySet.NONE
    })
    return 0
  }
  if (cap > CAP_LAST_CAP || a4 !== 0 || a5 !== 0) return -EINVAL
  if (action === PR_CAP_AMBIENT_IS_SET) return cred.ambient.has(cap) ? 1 : 0
  if (action !== PR_CAP_AMBIENT_RAISE && action !== PR_CAP_AMBIENT_LOWER) return -EINVAL
  const raise = action === PR_CAP_AMBIENT_RAISE
  if (raise) {
    if (!cred.permitted.has(cap) || !cred.inheritable.has(cap)) return -EPERM
    if ((cred.securebits & SECBIT_NO_CAP_AMBIENT_RAISE) !== 0) return -EPERM
  }
  commit(task, changed => {
    changed.ambient = raise ? cred.ambient.with(cap) : cred.ambient.without(cap)
  })
  return 0
}

export function arch_prctl(task: Task, option: number, address: GuestAddr): number {
  const { thread, mm } = task
  switch (option) {
    case ARCH_SET_FS:
      if (address >= mm.context.addressLimit) return -EPERM
      thread.setFsBase(address)
      return 0
    case ARCH_SET_GS:
      if (address >= mm.context.addressLimit) return -EPERM
      return setGs(task, address)
    case ARCH_GET_FS:
      return mm.putU64(address, thread.getFsBase())
    case ARCH_GET_GS:
      return mm.putU64(address, thread.getGsBase())
  }
  return -EINVAL
}

function setGs(task: Task, address: GuestAddr): number {
  const { thread } = task
  const status = thread.setGsBase(address)
  if (status !== -EAGAIN) return status
  thread.regs.put(REG_RAX, task.callNumber)
  thread.regs.put(REG_RIP, thread.regs.get(REG_RIP) - CALL_LENGTH)
  return NO_RESULT
}
/** Of the syscall instruction. */
const CALL_LENGTH = 2

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
    partial: 'PR_SET_MM, speculation and memory tagging are refused with EINVAL',
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
