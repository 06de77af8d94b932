/** prctl(2) of capabilities and securebits (cap_task_prctl). */
import {
  CAP_LAST_CAP,
  CAP_SETPCAP,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_IS_SET,
  PR_CAP_AMBIENT_LOWER,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
  PR_CAPBSET_READ,
  PR_GET_KEEPCAPS,
  PR_GET_SECUREBITS,
  PR_SET_KEEPCAPS,
  PR_SET_SECUREBITS,
  SECBIT_KEEP_CAPS,
  SECBIT_KEEP_CAPS_LOCKED,
  SECBIT_NO_CAP_AMBIENT_RAISE,
} from '../abi/constants.ts'
import { EINVAL, EPERM } from '../abi/errno.ts'
import { CapabilitySet, type Credentials } from '../base/credentials.ts'
import { commitCredentials } from '../kernel/credentials.ts'
import type { Task } from '../kernel/task.ts'

/** All securebits, and those that lock another one (each one bit above it). */
const SECURE_ALL_BITS = 0x55
const SECURE_ALL_LOCKS = SECURE_ALL_BITS << 1

/** Changes a copy of the credentials and publishes it. */
export function commit(task: Task, change: (cred: Credentials) => void): void {
  const cred = task.cred.clone()
  change(cred)
  commitCredentials(task, cred)
}

export function credentialOption(
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
