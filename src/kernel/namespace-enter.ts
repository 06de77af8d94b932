/** setns(2): moves a task into namespaces that exist. All checks come before the first change. */
import { CAP_SYS_ADMIN, CAP_SYS_CHROOT } from '../abi/constants.ts'
import { EINVAL, EPERM } from '../abi/errno.ts'
import type { Credentials, UserNamespace } from '../base/credentials.ts'
import type { Status } from '../base/result.ts'
import type { MountNamespace } from '../vfs/mount.ts'
import { commitCredentials } from './credentials.ts'
import { releaseIpc } from './ipc/release.ts'
import { joinUserNamespace } from './namespace-copy.ts'
import type {
  CgroupNamespace,
  IpcNamespace,
  NetNamespace,
  NsProxy,
  TimeNamespace,
  UtsNamespace,
} from './namespaces.ts'
import type { PidNamespace } from './pid.ts'
import type { Task } from './task.ts'

export type NamespaceChoice =
  | { readonly kind: 'user'; readonly ns: UserNamespace }
  | { readonly kind: 'mnt'; readonly ns: MountNamespace }
  | { readonly kind: 'uts'; readonly ns: UtsNamespace }
  | { readonly kind: 'ipc'; readonly ns: IpcNamespace }
  | { readonly kind: 'net'; readonly ns: NetNamespace }
  | { readonly kind: 'cgroup'; readonly ns: CgroupNamespace }
  | { readonly kind: 'pid'; readonly ns: PidNamespace }
  | { readonly kind: 'time'; readonly ns: TimeNamespace }

type Writable<T> = { -readonly [Key in keyof T]: T[Key] }

/** `choices`: the user namespace first, since it decides about the others. */
export function enterNamespaces(task: Task, choices: readonly NamespaceChoice[]): Status {
  const proxy: Writable<NsProxy> = { ...task.ns }
  let { cred } = task
  for (const choice of choices) {
    const status = check(task, cred, choice)
    if (status < 0) return status
    switch (choice.kind) {
      case 'user':
        cred = joinUserNamespace(cred, choice.ns)
        break
      case 'mnt':
        proxy.mnt = choice.ns
        break
      case 'uts':
        proxy.uts = choice.ns
        break
      case 'ipc':
        proxy.ipc = choice.ns
        break
      case 'net':
        proxy.net = choice.ns
        break
      case 'cgroup':
        proxy.cgroup = choice.ns
        break
      case 'pid':
        proxy.pidForChildren = choice.ns
        break
      case 'time':
        proxy.time = proxy.timeForChildren = choice.ns
    }
  }
  if (proxy.mnt !== task.ns.mnt) {
    proxy.mnt.get()
    task.ns.mnt.put()
    task.fs.root = proxy.mnt.rootPath
    task.fs.cwd = proxy.mnt.rootPath
  }
  const old = task.ns
  task.ns = proxy
  proxy.net.runtime?.released()
  releaseIpc(task.kernel, old.ipc)
  if (cred !== task.cred) commitCredentials(task, cred)
  return 0
}

function check(task: Task, cred: Credentials, choice: NamespaceChoice): Status {
  if (choice.kind === 'user') {
    if (choice.ns === cred.userNs || task.group.live > 1 || task.fs.users > 1) return -EINVAL
    return cred.capable(CAP_SYS_ADMIN, choice.ns) ? 0 : -EPERM
  }
  if (!cred.capable(CAP_SYS_ADMIN, choice.ns.userNs) || !cred.capable(CAP_SYS_ADMIN)) return -EPERM
  if (choice.kind === 'mnt') {
    if (!cred.capable(CAP_SYS_CHROOT)) return -EPERM
    if (task.fs.users > 1) return -EINVAL
  }
  // Only downwards: a process can't leave the namespaces that it was born in.
  if (choice.kind === 'pid' && !task.pidNs.contains(choice.ns)) return -EINVAL
  if (choice.kind === 'time' && task.group.live > 1) return -EINVAL
  return 0
}
