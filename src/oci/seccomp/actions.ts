/** The names of seccomp's actions and flags in runtime-spec. */
import {
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_RET_ACTION_FULL,
  SECCOMP_RET_ALLOW,
  SECCOMP_RET_ERRNO,
  SECCOMP_RET_KILL_PROCESS,
  SECCOMP_RET_KILL_THREAD,
  SECCOMP_RET_LOG,
  SECCOMP_RET_TRACE,
  SECCOMP_RET_TRAP,
} from '../../abi/constants.ts'
import { EPERM } from '../../abi/errno.ts'
import { UserError } from '../../sandbox/user-error.ts'

const ACTIONS: Readonly<Record<string, number>> = {
  SCMP_ACT_KILL: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_THREAD: SECCOMP_RET_KILL_THREAD,
  SCMP_ACT_KILL_PROCESS: SECCOMP_RET_KILL_PROCESS,
  SCMP_ACT_TRAP: SECCOMP_RET_TRAP,
  SCMP_ACT_ERRNO: SECCOMP_RET_ERRNO,
  SCMP_ACT_TRACE: SECCOMP_RET_TRACE,
  SCMP_ACT_ALLOW: SECCOMP_RET_ALLOW,
  SCMP_ACT_LOG: SECCOMP_RET_LOG,
}
/** SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is about asking somebody. */
const FLAGS: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC,
  SECCOMP_FILTER_FLAG_LOG,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW,
}

export const SECCOMP_ACTIONS: readonly string[] = Object.keys(ACTIONS)
export const SECCOMP_FLAGS: readonly string[] = Object.keys(FLAGS)

/** SECCOMP_RET_*, with the errno where the action has one. */
export function actionOf(name: string, errno: number | undefined, field: string): number {
  const action = ACTIONS[name]
  if (action === undefined) {
    throw new UserError(`${field} can't be obeyed: in a sandbox there is no ${name}, as nobody can be asked`)
  }
  if (action !== SECCOMP_RET_ERRNO && action !== SECCOMP_RET_TRACE) return action
  const value = errno ?? EPERM
  if (value > 0xffff) throw new UserError(`${field}: the errno ${value} is above 65535`)
  return action | value
}

export function flagsOf(names: readonly string[]): number {
  let flags = 0
  for (const name of names) {
    const flag = FLAGS[name]
    if (flag === undefined)
      throw new UserError(`linux.seccomp.flags can't be obeyed: a sandbox has no ${name}`)
    flags |= flag
  }
  return flags
}

/** Whether calls with this action are made. */
export function isPermissive(action: number): boolean {
  const kind = (action & SECCOMP_RET_ACTION_FULL) >>> 0
  return kind === SECCOMP_RET_ALLOW || kind === SECCOMP_RET_LOG || kind === SECCOMP_RET_TRACE
}
