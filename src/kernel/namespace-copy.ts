/** CLONE_NEW*: new namespaces for clone, clone3 and unshare (copy_namespaces, create_user_ns). */
import {
  CAP_SYS_ADMIN,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUTS,
  CLONE_VM,
} from '../abi/constants.ts'
import { EINVAL, ENOSPC, EPERM } from '../abi/errno.ts'
import { CapabilitySet, type Credentials, isMapped, UserNamespace } from '../base/credentials.ts'
import type { OrErrno } from '../base/result.ts'
import type { FsState } from '../vfs/path.ts'
import {
  CgroupNamespace,
  IpcNamespace,
  NetNamespace,
  type NsProxy,
  TimeNamespace,
  UtsNamespace,
} from './namespaces.ts'
import { MAX_PID_NS_LEVEL, PidNamespace } from './pid.ts'
import type { Task } from './task.ts'

/** All but the user namespace, which is part of the credentials. */
export const NAMESPACE_FLAGS =
  CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWTIME

const MAX_USER_NS_LEVEL = 32

/** CLONE_NEWUSER: credentials in a new namespace, all capabilities in it. */
export function newUserNamespace(task: Task): OrErrno<Credentials> {
  const parent = task.cred.userNs
  if (parent.level >= MAX_USER_NS_LEVEL) return -ENOSPC
  // An id that means nothing in the caller's namespace can't own one.
  if (!isMapped(parent.uidMap, task.cred.euid) || !isMapped(parent.gidMap, task.cred.egid)) return -EPERM
  const { root } = task.fs
  if (root.dentry !== task.ns.mnt.rootPath.dentry || root.mount !== task.ns.mnt.rootPath.mount) return -EPERM
  const ns = new UserNamespace(parent, task.cred.euid, task.cred.egid, task.kernel.newInum())
  ns.setgroupsAllowed = parent.setgroupsAllowed
  return joinUserNamespace(task.cred, ns)
}

/** Credentials of who just entered `ns` (set_cred_user_ns). */
export function joinUserNamespace(old: Credentials, ns: UserNamespace): Credentials {
  const cred = old.clone()
  cred.userNs = ns
  cred.securebits = 0
  cred.inheritable = CapabilitySet.NONE
  cred.permitted = CapabilitySet.ALL
  cred.effective = CapabilitySet.ALL
  cred.ambient = CapabilitySet.NONE
  cred.bounding = CapabilitySet.ALL
  return cred
}

/**
 * The proxy with what `flags` asks for made new, owned by the user namespace of `cred`. `fs` moves into a new mount
 * namespace. Holds its mount namespace: the caller puts the old one.
 */
export function copyNamespaces(task: Task, flags: number, cred: Credentials, fs: FsState): OrErrno<NsProxy> {
  const old = task.ns
  const sharesMemory = (flags & CLONE_VM) !== 0
  if ((flags & NAMESPACE_FLAGS) === 0) {
    old.mnt.get()
    return sharesMemory ? old : inTimeOfChildren(old)
  }
  const { userNs } = cred
  const { kernel } = task
  if (!cred.capable(CAP_SYS_ADMIN, userNs)) return -EPERM
  let pidForChildren = old.pidForChildren
  if ((flags & CLONE_NEWPID) !== 0) {
    if (pidForChildren !== task.pidNs) return -EINVAL
    if (pidForChildren.level >= MAX_PID_NS_LEVEL) return -ENOSPC
    pidForChildren = new PidNamespace(pidForChildren, userNs, kernel.newInum())
  }
  const newTime = (flags & CLONE_NEWTIME) !== 0
  const timeForChildren = newTime ? newTimeNamespace(old, userNs, kernel.newInum()) : old.timeForChildren
  return {
    mnt: (flags & CLONE_NEWNS) !== 0 ? old.mnt.clone(kernel.newInum(), userNs, fs) : old.mnt.get(),
    uts:
      (flags & CLONE_NEWUTS) !== 0
        ? new UtsNamespace(old.uts.hostname, old.uts.domainname, userNs, kernel.newInum())
        : old.uts,
    ipc: (flags & CLONE_NEWIPC) !== 0 ? new IpcNamespace(userNs, kernel.newInum()) : old.ipc,
    net: (flags & CLONE_NEWNET) !== 0 ? new NetNamespace(userNs, kernel.newInum(), old.net.runtime) : old.net,
    cgroup:
      (flags & CLONE_NEWCGROUP) !== 0
        ? new CgroupNamespace(userNs, kernel.newInum(), task.group.cgroup)
        : old.cgroup,
    time: sharesMemory ? old.time : timeForChildren,
    timeForChildren,
    pidForChildren,
  }
}

/**
 * timens_on_fork: into the time namespace that was made for children. Who shares its parent's memory, and with it the page
 * of the clocks, gets there only with memory of its own: at exec.
 */
export function inTimeOfChildren(ns: NsProxy): NsProxy {
  return ns.timeForChildren === ns.time ? ns : { ...ns, time: ns.timeForChildren }
}

function newTimeNamespace(old: NsProxy, userNs: UserNamespace, inum: number): TimeNamespace {
  const ns = new TimeNamespace(userNs, inum)
  ns.monotonicOffset = old.timeForChildren.monotonicOffset
  ns.boottimeOffset = old.timeForChildren.boottimeOffset
  return ns
}
