/** Processes: identity, process groups, sessions, namespaces. clone, exec, exit and wait are in files of their own. */
import {
  CLONE_FILES,
  CLONE_FS,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  CLONE_SIGHAND,
  CLONE_SYSVSEM,
  CLONE_THREAD,
  CLONE_VM,
} from '../abi/constants.ts'
import { EACCES, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { ROBUST_LIST_HEAD } from '../abi/layout.ts'
import { CONSTANT_GETPID, CONSTANT_GETPPID, CONSTANT_GETTID } from '../abi/protocol.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { failed } from '../base/result.ts'
import { constantCall } from '../kernel/constant-calls.ts'
import { commitCredentials, mayInspect } from '../kernel/credentials.ts'
import { releaseIpc } from '../kernel/ipc/release.ts'
import { leaveUndoList } from '../kernel/ipc/sem.ts'
import { copyNamespaces, newUserNamespace } from '../kernel/namespace-copy.ts'
import { moveToProcessGroup, ProcessGroup, startSession } from '../kernel/session.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, flags, pid as pidArg, type SyscallRows, size, word } from './args.ts'

export function getpid(task: Task): number {
  return constantCall(task, CONSTANT_GETPID, task.group.tgid)
}
export function gettid(task: Task): number {
  return constantCall(task, CONSTANT_GETTID, task.tid)
}
/** 0 where the parent is not visible from the caller's pid namespace. */
export function getppid(task: Task): number {
  return constantCall(task, CONSTANT_GETPPID, task.group.parent?.pid.in(task.pidNs) ?? 0)
}
export function getpgrp(task: Task): number {
  return task.group.processGroup.pid.in(task.pidNs)
}

export function getpgid(task: Task, pid: number): number {
  const target = pid === 0 ? task : task.pidNs.task(pid)
  return target === undefined ? -ESRCH : target.group.processGroup.pid.in(task.pidNs)
}

export function getsid(task: Task, pid: number): number {
  const target = pid === 0 ? task : task.pidNs.task(pid)
  return target === undefined ? -ESRCH : target.group.session.pid.in(task.pidNs)
}

export function setpgid(task: Task, pid: number, pgid: number): number {
  const self = task.group
  if (pid === 0) pid = self.tgid
  if (pgid === 0) pgid = pid
  if (pgid < 0) return -EINVAL
  const target = task.pidNs.task(pid)
  if (target === undefined) return -ESRCH
  const { group } = target
  if (group.leader !== target) return -EINVAL
  if (group.parent === self) {
    if (group.session !== self.session) return -EPERM
    if (group.hasExeced) return -EACCES
  } else if (group !== self) return -ESRCH
  if (group.session.leader === group) return -EPERM

  if (pgid === pid) {
    moveToProcessGroup(group, group.pid.processGroup ?? new ProcessGroup(group.pid, group.session))
    return 0
  }
  const to = task.pidNs.find(pgid)?.processGroup
  if (to === undefined || to.session !== self.session) return -EPERM
  moveToProcessGroup(group, to)
  return 0
}

export function setsid(task: Task): number {
  const { group } = task
  // A process group with this id would be torn from its session.
  if (group.session.leader === group || group.pid.processGroup !== undefined) return -EPERM
  startSession(group)
  return group.tgid
}

export function set_tid_address(task: Task, address: GuestAddr): number {
  task.clearChildTid = address
  return task.tid
}

export function set_robust_list(task: Task, head: GuestAddr, length: number): number {
  if (length !== ROBUST_LIST_HEAD.size) return -EINVAL
  task.robustList = head
  return 0
}

export function get_robust_list(task: Task, pid: number, headAt: GuestAddr, lengthAt: GuestAddr): number {
  const target = pid === 0 ? task : task.pidNs.task(pid)
  if (target === undefined) return -ESRCH
  if (!mayInspect(task, target, false)) return -EPERM
  const status = task.mm.putU64(lengthAt, ROBUST_LIST_HEAD.size)
  return status < 0 ? status : task.mm.putU64(headAt, target.robustList)
}

const UNSHARE_FLAGS =
  CLONE_THREAD |
  CLONE_FS |
  CLONE_NEWNS |
  CLONE_SIGHAND |
  CLONE_VM |
  CLONE_FILES |
  CLONE_SYSVSEM |
  CLONE_NEWUTS |
  CLONE_NEWIPC |
  CLONE_NEWNET |
  CLONE_NEWUSER |
  CLONE_NEWPID |
  CLONE_NEWCGROUP |
  CLONE_NEWTIME

/** unshare(2). Threads and memory can't be unshared once shared: those flags only check that nothing is. */
export function unshare(task: Task, flags: number): number {
  if ((flags & ~UNSHARE_FLAGS) !== 0) return -EINVAL
  if ((flags & CLONE_NEWUSER) !== 0) flags |= CLONE_THREAD | CLONE_FS
  if ((flags & CLONE_VM) !== 0) flags |= CLONE_SIGHAND
  if ((flags & CLONE_SIGHAND) !== 0) flags |= CLONE_THREAD
  if ((flags & CLONE_NEWNS) !== 0) flags |= CLONE_FS
  const { group } = task
  if ((flags & CLONE_THREAD) !== 0 && group.live > 1) return -EINVAL
  if ((flags & CLONE_SIGHAND) !== 0 && group.handlers.users > 1) return -EINVAL
  if ((flags & CLONE_VM) !== 0 && sharesMemory(task)) return -EINVAL

  const cred = (flags & CLONE_NEWUSER) !== 0 ? newUserNamespace(task) : task.cred
  if (failed(cred)) return cred
  const fs = (flags & CLONE_FS) !== 0 ? task.fs.clone() : task.fs.share()
  const ns = copyNamespaces(task, flags, cred, fs)
  if (failed(ns)) {
    fs.put()
    return ns
  }
  task.fs.put()
  task.fs = fs
  if ((flags & CLONE_FILES) !== 0 && task.fds.users > 1) {
    const shared = task.fds
    task.fds = shared.clone()
    shared.put()
  }
  if ((flags & (CLONE_SYSVSEM | CLONE_NEWIPC)) !== 0) leaveUndoList(task)
  task.ns.mnt.put()
  // copyNamespaces makes what a child would get; the caller itself stays in its time namespace.
  const old = task.ns
  task.ns = { ...ns, time: old.time }
  ns.net.runtime?.released()
  releaseIpc(task.kernel, old.ipc)
  if (cred !== task.cred) commitCredentials(task, cred)
  return 0
}

function sharesMemory(task: Task): boolean {
  for (const other of task.kernel.tasks()) if (other !== task && other.mm === task.mm) return true
  return false
}

const unshareFlags = flags({
  CLONE_THREAD,
  CLONE_FS,
  CLONE_NEWNS,
  CLONE_SIGHAND,
  CLONE_VM,
  CLONE_FILES,
  CLONE_SYSVSEM,
  CLONE_NEWUTS,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWUSER,
  CLONE_NEWPID,
  CLONE_NEWCGROUP,
  CLONE_NEWTIME,
})

export const processCalls = {
  getpid: { nr: NR.getpid, run: getpid, args: [] },
  gettid: { nr: NR.gettid, run: gettid, args: [] },
  getppid: { nr: NR.getppid, run: getppid, args: [] },
  getpgrp: { nr: NR.getpgrp, run: getpgrp, args: [] },
  getpgid: { nr: NR.getpgid, run: getpgid, args: [pidArg] },
  setpgid: { nr: NR.setpgid, run: setpgid, args: [pidArg, pidArg] },
  getsid: { nr: NR.getsid, run: getsid, args: [pidArg] },
  setsid: { nr: NR.setsid, run: setsid, args: [] },
  set_tid_address: { nr: NR.set_tid_address, run: set_tid_address, args: [word] },
  set_robust_list: { nr: NR.set_robust_list, run: set_robust_list, args: [addr, size] },
  get_robust_list: { nr: NR.get_robust_list, run: get_robust_list, args: [pidArg, addr, addr] },
  unshare: { nr: NR.unshare, run: unshare, args: [unshareFlags] },
} satisfies SyscallRows
