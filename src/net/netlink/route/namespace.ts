/** The network namespace that a message about links names: IFLA_NET_NS_PID, IFLA_NET_NS_FD. */
import { CAP_NET_ADMIN, IFLA_NET_NS_FD, IFLA_NET_NS_PID } from '../../../abi/constants.ts'
import { EINVAL, EPERM, ESRCH } from '../../../abi/errno.ts'
import type { OrErrno } from '../../../base/result.ts'
import { NsFile } from '../../../fs/proc/ns-file.ts'
import { NetNamespace } from '../../../kernel/namespaces.ts'
import type { Task } from '../../../kernel/task.ts'
import type { IpStack } from '../../ip-stack.ts'
import { netStack } from '../../stack.ts'
import type { Attributes } from '../message.ts'

/** `own` where none is named. The caller must be allowed to put links there. */
export function namespaceOf(task: Task, attributes: Attributes, own: IpStack): OrErrno<IpStack> {
  const ns = named(task, attributes)
  if (ns === undefined) return own
  if (typeof ns === 'number') return ns
  const { ip } = netStack(ns)
  if (ip === undefined) return -EINVAL
  return task.cred.capable(CAP_NET_ADMIN, ns.userNs) ? ip : -EPERM
}

function named(task: Task, attributes: Attributes): OrErrno<NetNamespace> | undefined {
  const pid = attributes.u32(IFLA_NET_NS_PID)
  if (pid !== undefined) {
    const found = task.pidNs.find(pid)
    return (found?.task as Task | undefined)?.ns.net ?? -ESRCH
  }
  const fd = attributes.u32(IFLA_NET_NS_FD)
  if (fd === undefined) return undefined
  const file = task.fds.get(fd)
  return file instanceof NsFile && file.ns instanceof NetNamespace ? file.ns : -EINVAL
}
