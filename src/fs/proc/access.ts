/** Who may look into a process: the 'PTRACE_MODE' checks of ptrace(2), "Ptrace access mode checking". */
import { CAP_SYS_PTRACE } from '../../abi/constants.ts'
import { EACCES, EPERM, ESRCH } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'

/** The task whose system call is being served; outside of calls the first one. */
export function caller(kernel: Kernel): Task {
  return kernel.current ?? kernel.init!.leader
}

/** PTRACE_MODE_READ_FSCREDS and PTRACE_MODE_ATTACH_FSCREDS (no security module tells them apart): 0 or -EPERM. */
export function mayTrace(from: Task, target: Task): Status {
  if (from.group === target.group) return 0
  const cred = from.cred
  const other = target.cred
  const same =
    cred.fsuid === other.euid && cred.fsuid === other.suid && cred.fsuid === other.uid &&
    cred.fsgid === other.egid && cred.fsgid === other.sgid && cred.fsgid === other.gid
  const capable = cred.capable(CAP_SYS_PTRACE, other.userNs)
  if (!same && !capable) return -EPERM
  if (!target.mm.dumpable && !capable) return -EPERM
  if (cred.userNs === other.userNs && other.permitted.subsetOf(cred.effective)) return 0
  return capable ? 0 : -EPERM
}

/** As files of /proc/PID check it when they are opened: -EACCES. */
export function mayTraceAtOpen(target: Task, _cred: Credentials): Status {
  if (target.ended) return -ESRCH
  return mayTrace(caller(target.kernel), target) === 0 ? 0 : -EACCES
}
