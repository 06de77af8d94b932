/** The kinds of namespaces that have files, and which ones a task is in. */
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
} from '../../abi/constants.ts'
import type { UserNamespace } from '../../base/credentials.ts'
import type {
  CgroupNamespace,
  IpcNamespace,
  NetNamespace,
  NsProxy,
  TimeNamespace,
  UtsNamespace,
} from '../../kernel/namespaces.ts'
import type { PidNamespace } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import type { MountNamespace } from '../../vfs/mount.ts'

export type Namespace =
  | MountNamespace
  | UtsNamespace
  | IpcNamespace
  | NetNamespace
  | CgroupNamespace
  | TimeNamespace
  | PidNamespace
  | UserNamespace

/** The kinds of namespaces, as their files are called, with their CLONE_NEW* flag. */
export const NS_KINDS = {
  cgroup: CLONE_NEWCGROUP,
  ipc: CLONE_NEWIPC,
  mnt: CLONE_NEWNS,
  net: CLONE_NEWNET,
  pid: CLONE_NEWPID,
  time: CLONE_NEWTIME,
  user: CLONE_NEWUSER,
  uts: CLONE_NEWUTS,
} as const
export type NsKind = keyof typeof NS_KINDS

/** The namespace of a kind that a task is in; `forChildren`: in which its next children will be. */
export function namespaceOf(task: Task, kind: NsKind, forChildren: boolean): Namespace {
  const ns: NsProxy = task.ns
  switch (kind) {
    case 'pid':
      return forChildren ? ns.pidForChildren : task.pidNs
    case 'time':
      return forChildren ? ns.timeForChildren : ns.time
    case 'user':
      return task.cred.userNs
    case 'mnt':
      return ns.mnt
    case 'uts':
      return ns.uts
    case 'ipc':
      return ns.ipc
    case 'net':
      return ns.net
    case 'cgroup':
      return ns.cgroup
  }
}
