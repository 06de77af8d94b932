/** The network namespace that a message names: IFLA_NET_NS_PID and IFLA_NET_NS_FD, NETNSA_PID and NETNSA_FD. */
import { CAP_NET_ADMIN, IFLA_NET_NS_FD, IFLA_NET_NS_PID } from '../../../abi/constants.ts'
import { EBADF, EINVAL, EPERM, ESRCH } from '../../../abi/errno.ts'
import type { OrErrno } from '../../../base/result.ts'
import { NsFile } from '../../../fs/proc/ns-file.ts'
import { NetNamespace } from '../../../kernel/namespaces.ts'
import type { Task } from '../../../kernel/task.ts'
import type { IpStack } from '../../ip-stack.ts'
import { netStack } from '../../stack.ts'
import type { Attributes } from '../message.ts'

/** `own` where none is named. The caller must be allowed to put links there. */
export function namespaceOf(task: Task, attributes: Attributes, own: IpStack): OrErrno<IpStack> {
  const ns = namedNamespace(task, attributes, IFLA_NET_NS_PID, IFLA_NET_NS_FD)
  if (ns === undefined) return own
  if (typeof ns === 'number') return ns
  const stack = stackOf(ns)
  if (typeof stack === 'number') return stack
  return task.cred.capable(CAP_NET_ADMIN, ns.userNs) ? stack : -EPERM
}

/** By a process or a descriptor; undefined where neither is there. */
export function namedNamespace(
  task: Task,
  attributes: Attributes,
  pidType: number,
  fdType: number,
): OrErrno<NetNamespace> | undefined {
  const pid = attributes.u32(pidType)
  if (pid !== undefined) {
    const found = task.pidNs.find(pid)
    return (found?.task as Task | undefined)?.ns.net ?? -ESRCH
  }
  const fd = attributes.u32(fdType)
  if (fd === undefined) return undefined
  const file = task.fds.get(fd)
  if (file === undefined) return -EBADF
  return file instanceof NsFile && file.ns instanceof NetNamespace ? file.ns : -EINVAL
}

export function stackOf(ns: NetNamespace): OrErrno<IpStack> {
  return netStack(ns).ip ?? -EINVAL
}
