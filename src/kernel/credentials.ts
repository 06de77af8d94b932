/** How a task gets other credentials (commit_creds), and what identity decides about other tasks. */
import { CAP_SYS_PTRACE } from '../abi/constants.ts'
import type { Credentials, UserNamespace } from '../base/credentials.ts'
import { forgetConstants } from './constant-calls.ts'
import { domainOf } from './landlock/domain.ts'
import type { Task } from './task.ts'

/** Publishes changed credentials; the old ones stay with what was opened under them. */
export function commitCredentials(task: Task, cred: Credentials): void {
  const old = task.cred
  if (cred.uid !== old.uid) {
    task.kernel.users.of(old.uid).tasks--
    task.kernel.users.of(cred.uid).tasks++
  }
  const changed =
    cred.euid !== old.euid || cred.egid !== old.egid || cred.fsuid !== old.fsuid || cred.fsgid !== old.fsgid
  if (changed || !capsWithin(cred, old)) {
    task.dumpable = 0
    task.parentDeathSignal = 0
  }
  task.cred = cred
  forgetConstants(task)
}

/** Whether `cred` can do no more than `old` could: who makes a user namespace has all capabilities over it anyway. */
function capsWithin(cred: Credentials, old: Credentials): boolean {
  if (cred.userNs === old.userNs) return cred.permitted.subsetOf(old.permitted)
  for (let at: UserNamespace | undefined = cred.userNs; at !== undefined; at = at.parent) {
    if (at.parent === old.userNs) return at.owner === old.euid
  }
  return false
}

/** ptrace_may_access(PTRACE_MODE_READ): who may look into another task. */
export function mayInspect(task: Task, target: Task, fsIds: boolean): boolean {
  if (task.group === target.group) return true
  const { cred } = task
  if (landlockSeparates(cred, target.cred)) return false
  const uid = fsIds ? cred.fsuid : cred.uid
  const gid = fsIds ? cred.fsgid : cred.gid
  const other = target.cred
  const same =
    uid === other.euid &&
    uid === other.suid &&
    uid === other.uid &&
    gid === other.egid &&
    gid === other.sgid &&
    gid === other.gid
  if (!same && !cred.capable(CAP_SYS_PTRACE, other.userNs)) return false
  if (target.dumpable !== 1 && !cred.capable(CAP_SYS_PTRACE, other.userNs)) return false
  // Capabilities compare within a user namespace only (cap_ptrace_access_check).
  const own = fsIds ? cred.effective : cred.permitted
  const stronger = cred.userNs === other.userNs && other.permitted.subsetOf(own)
  return stronger || cred.capable(CAP_SYS_PTRACE, other.userNs)
}

/** Who is in a Landlock domain reaches only what is in it too. */
function landlockSeparates(cred: Credentials, other: Credentials): boolean {
  const domain = domainOf(cred)
  return domain !== undefined && domainOf(other)?.isSelfOrBelow(domain) !== true
}

/** cap_ptrace_traceme and Landlock: whether a parent may be made the tracer of its child by that one. */
export function mayBeTracer(parent: Task, child: Task): boolean {
  const { cred } = parent
  const other = child.cred
  if (landlockSeparates(cred, other)) return false
  if (cred.userNs === other.userNs && other.permitted.subsetOf(cred.permitted)) return true
  return cred.capable(CAP_SYS_PTRACE, other.userNs)
}
