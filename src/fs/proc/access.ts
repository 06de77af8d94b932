/** Who may look into a process: the 'PTRACE_MODE' checks of ptrace(2), "Ptrace access mode checking". */
import { EACCES, ESRCH } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import { mayInspect } from '../../kernel/credentials.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Task } from '../../kernel/task.ts'

/** The task whose system call is being served; outside of calls the first one. */
export function caller(kernel: Kernel): Task {
  return kernel.current ?? kernel.init!.leader
}

/** PTRACE_MODE_READ_FSCREDS of the caller. */
export function mayTrace(target: Task): boolean {
  return mayInspect(caller(target.kernel), target, true)
}

/** As files of /proc/PID check it when they are opened. */
export function mayTraceAtOpen(target: Task): Status {
  if (target.ended) return -ESRCH
  return mayTrace(target) ? 0 : -EACCES
}

/** maps and smaps of a zombie can be opened; they are empty. */
export function mayReadMaps(target: Task): Status {
  return target.ended ? 0 : mayTraceAtOpen(target)
}
