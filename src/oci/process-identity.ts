/**
 * Host processes that are remembered in files: a pid alone may by then be somebody else's, so the time of its start,
 * which no later process with the same number shares, goes with it.
 */
import { readFileSync } from 'node:fs'
import { getSystemErrorMessage } from 'node:util'
import { ESRCH } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Addon } from '../platform/addon.ts'
import { monotonicMs } from '../sandbox/monotonic.ts'
import { UserError } from '../sandbox/user-error.ts'

export interface ProcessIdentity {
  readonly pid: number
  /** Clock ticks since the boot: field 22 of proc_pid_stat(5). */
  readonly startTime: number
}

/** Of a process that exists now; undefined if it does not, or is a zombie. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  // The second field is a name in parentheses, which may hold both spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  return { pid, startTime: Number(fields[19]) }
}

export function isAlive(process: ProcessIdentity): boolean {
  return identifyProcess(process.pid)?.startTime === process.startTime
}

/** Sends a signal to the process if it is alive; whether it was. */
export function signalProcess(addon: Addon, target: ProcessIdentity, signo: number): boolean {
  const pidfd = addon.syscall(NR.pidfd_open, target.pid, 0)
  if (pidfd < 0) return false
  try {
    // Looked at behind the descriptor, which stays that process's: the number may be another's at any moment.
    if (!isAlive(target)) return false
    const status = addon.syscall(NR.pidfd_send_signal, pidfd, signo, 0, 0)
    if (status === -ESRCH) return false
    if (status < 0) {
      throw new UserError(`process ${target.pid} can't be sent a signal: ${getSystemErrorMessage(status)}`)
    }
    return true
  } finally {
    addon.close(pidfd)
  }
}

/** Whether it has ended within `limitMs`. */
export async function hasEnded(target: ProcessIdentity, limitMs: number): Promise<boolean> {
  const end = monotonicMs() + limitMs
  for (let waitMs = 1; isAlive(target); waitMs = Math.min(2 * waitMs, 20)) {
    if (monotonicMs() > end) return false
    await new Promise(resolve => setTimeout(resolve, waitMs))
  }
  return true
}
