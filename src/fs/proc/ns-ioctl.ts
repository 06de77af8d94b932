/** ioctl_nsfs(2): what a descriptor of a namespace can be asked for. */
import {
  CAP_SYS_ADMIN,
  NS_GET_MNTNS_ID,
  NS_GET_NSTYPE,
  NS_GET_OWNER_UID,
  NS_GET_PARENT,
  NS_GET_PID_FROM_PIDNS,
  NS_GET_PID_IN_PIDNS,
  NS_GET_TGID_FROM_PIDNS,
  NS_GET_TGID_IN_PIDNS,
  NS_GET_USERNS,
  NS_MNT_GET_INFO,
  NS_MNT_GET_NEXT,
  NS_MNT_GET_PREV,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOTTY, EPERM, ESRCH } from '../../abi/errno.ts'
import { MNT_NS_INFO } from '../../abi/layout.ts'
import { isWithin, UserNamespace } from '../../base/credentials.ts'
import { fromKernelId } from '../../base/id-map.ts'
import type { Status } from '../../base/result.ts'
import { put64 } from '../../base/words.ts'
import { PidNamespace } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import { MountNamespace } from '../../vfs/mount.ts'
import type { NsFile } from './ns-file.ts'
import { NS_KINDS, type NsKind } from './ns-kinds.ts'

export function namespaceIoctl(
  file: NsFile,
  context: IoctlContext,
  request: number,
  argument: number,
): number {
  const task = context.task as Task
  const { ns, kind } = file
  switch (request) {
    case NS_GET_NSTYPE:
      return NS_KINDS[kind]
    case NS_GET_USERNS:
      return openRelated(file, task, 'user', ns instanceof UserNamespace ? ns.parent : ns.userNs)
    case NS_GET_PARENT:
      if (!(ns instanceof PidNamespace) && !(ns instanceof UserNamespace)) return -EINVAL
      return openRelated(file, task, kind, ns.parent)
    case NS_GET_OWNER_UID: {
      if (!(ns instanceof UserNamespace)) return -EINVAL
      const uid = new Uint8Array(4)
      new DataView(uid.buffer).setUint32(0, fromKernelId(task.cred.userNs.uidMap, ns.owner), true)
      return context.copyOut(argument, uid)
    }
    case NS_GET_MNTNS_ID: {
      if (!(ns instanceof MountNamespace)) return -EINVAL
      const id = new Uint8Array(8)
      put64(new DataView(id.buffer), 0, ns.inum)
      return context.copyOut(argument, id)
    }
    case NS_GET_PID_FROM_PIDNS:
    case NS_GET_TGID_FROM_PIDNS:
      return ns instanceof PidNamespace ? translatePid(ns, task.pidNs, argument, request) : -EINVAL
    case NS_GET_PID_IN_PIDNS:
    case NS_GET_TGID_IN_PIDNS:
      return ns instanceof PidNamespace ? translatePid(task.pidNs, ns, argument, request) : -EINVAL
    case NS_MNT_GET_INFO:
      if (!(ns instanceof MountNamespace) || argument === 0) return -EINVAL
      return putMountInfo(context, argument, ns)
    case NS_MNT_GET_NEXT:
    case NS_MNT_GET_PREV:
      if (!(ns instanceof MountNamespace)) return -EINVAL
      return openNeighbour(file, context, ns, request === NS_MNT_GET_PREV, argument)
  }
  return -ENOTTY
}

/** Only what lies below the caller's own namespace may be seen. */
function openRelated(
  file: NsFile,
  task: Task,
  kind: NsKind,
  ns: UserNamespace | PidNamespace | undefined,
): number {
  return ns === undefined || !visibleFrom(task, ns) ? -EPERM : file.fs.install(task, kind, ns)
}

function visibleFrom(task: Task, ns: UserNamespace | PidNamespace): boolean {
  return ns instanceof PidNamespace ? task.pidNs.contains(ns) : isWithin(ns, task.cred.userNs)
}

/** The number in `to` of the thread, or of its process, that has the number `nr` in `from`. */
function translatePid(from: PidNamespace, to: PidNamespace, nr: number, request: number): number {
  const thread = from.find(nr | 0)?.task
  if (thread === undefined) return -ESRCH
  const wholeProcess = request === NS_GET_TGID_FROM_PIDNS || request === NS_GET_TGID_IN_PIDNS
  const pid = wholeProcess ? thread.group.pid : thread.pid
  return pid.in(to) || -ESRCH
}

function putMountInfo(context: IoctlContext, at: number, ns: MountNamespace): Status {
  const bytes = new Uint8Array(MNT_NS_INFO.size)
  const out = new DataView(bytes.buffer)
  out.setUint32(MNT_NS_INFO.size_, MNT_NS_INFO.size, true)
  out.setUint32(MNT_NS_INFO.nr_mounts, ns.mounts.size, true)
  put64(out, MNT_NS_INFO.mnt_ns_id, ns.inum)
  return context.copyOut(at, bytes)
}

/** The mount namespace made after this one, or (`previous`) before it, of those that the caller is privileged over. */
function openNeighbour(
  file: NsFile,
  context: IoctlContext,
  ns: MountNamespace,
  previous: boolean,
  infoAt: number,
): number {
  const task = context.task as Task
  let found: MountNamespace | undefined
  for (const other of mountNamespaces(task)) {
    if (previous ? other.inum >= ns.inum : other.inum <= ns.inum) continue
    if (found !== undefined && (previous ? other.inum < found.inum : other.inum > found.inum)) continue
    if (task.cred.capable(CAP_SYS_ADMIN, other.userNs)) found = other
  }
  if (found === undefined) return -ENOENT
  const status = infoAt === 0 ? 0 : putMountInfo(context, infoAt, found)
  return status < 0 ? status : file.fs.install(task, 'mnt', found)
}

function mountNamespaces(task: Task): Set<MountNamespace> {
  const all = new Set<MountNamespace>()
  for (const { namespace } of task.kernel.vfs.mounts) if (namespace !== undefined) all.add(namespace)
  return all
}
