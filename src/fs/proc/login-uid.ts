/**
 * /proc/PID/loginuid and sessionid: who logged in, which is told to an audit subsystem where there is one. A login program
 * sets it once (pam_loginuid of cron, sshd, login); children inherit it.
 */
import { CAP_AUDIT_CONTROL } from '../../abi/constants.ts'
import { EINVAL, EPERM, ERANGE } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import { fromKernelId, INVALID_ID, toKernelId } from '../../base/id-map.ts'
import type { Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import { caller } from './access.ts'

/** AUDIT_UID_UNSET and AUDIT_SID_UNSET: nobody logged in. */
const UNSET = 0xffffffff

export function formatLoginUid(task: Task, cred: Credentials): string {
  return `${task.login === undefined ? UNSET : fromKernelId(cred.userNs.uidMap, task.login.uid)}`
}

export function formatSessionId(task: Task): string {
  return `${task.login?.session ?? UNSET}`
}

/** audit_set_loginuid: each change begins a session. */
export function setLoginUid(task: Task, text: string, cred: Credentials): Status {
  const from = caller(task.kernel)
  if (from !== task) return -EPERM
  if (!/^\+?[0-9]+\n?$/.test(text)) return -EINVAL
  const id = Number(text)
  if (id > UNSET) return -ERANGE
  const uid = toKernelId(cred.userNs.uidMap, id)
  if (uid === INVALID_ID && id !== UNSET) return -EINVAL
  if (task.login !== undefined && !from.cred.capable(CAP_AUDIT_CONTROL, task.kernel.userNs)) return -EPERM
  task.login = id === UNSET ? undefined : { uid, session: task.kernel.newLoginSession() }
  return 0
}
