/** Sending signals: kill(2), tkill(2), tgkill(2), rt_sigqueueinfo(2), pidfd_send_signal(2). */
import {
  CAP_KILL,
  LANDLOCK_SCOPE_SIGNAL,
  PIDFD_SIGNAL_PROCESS_GROUP,
  PIDFD_SIGNAL_THREAD,
  PIDFD_SIGNAL_THREAD_GROUP,
  SI_TKILL,
  SI_USER,
  SIGCONT,
} from '../abi/constants.ts'
import { EBADF, EFAULT, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { SIGINFO } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { PidFdFile } from '../fs/pidfd/pidfd.ts'
import { ProcSuper } from '../fs/proc/super.ts'
import { PseudoInode } from '../fs/pseudo/inode.ts'
import { domainOf } from '../kernel/landlock/domain.ts'
import type { Pid } from '../kernel/pid.ts'
import type { ProcessGroup } from '../kernel/session.ts'
import { sendToGroup, sendToTask, tkillSignal, userSignal } from '../kernel/signal.ts'
import { SigInfo } from '../kernel/signal-info.ts'
import { NSIG } from '../kernel/signal-state.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import type { File } from '../vfs/file.ts'
import { fd as fdArg, flags, pid as pidArg, type SyscallRows, signal as signalArg, structIn } from './args.ts'

const INT_MIN = -0x80000000

export function kill(task: Task, pid: number, signo: number): number {
  if (pid > 0) {
    // Linux takes any thread's id for its process's.
    const target = task.pidNs.task(pid)
    return target === undefined ? -ESRCH : sendTo(task, target, signo)
  }
  if (pid === INT_MIN) return -ESRCH
  if (pid === -1) return killAll(task, signo)
  const pgrp = pid === 0 ? task.group.processGroup : task.pidNs.find(-pid)?.processGroup
  return pgrp === undefined ? -ESRCH : killProcessGroup(task, pgrp, signo, undefined)
}

function sendTo(task: Task, target: Task, signo: number): number {
  const status = checkPermission(task, target, signo)
  if (status < 0 || signo === 0) return status
  return sendToGroup(target.group, userSignal(task, target, signo))
}

/** Success if one member could be reached. */
function killProcessGroup(task: Task, pgrp: ProcessGroup, signo: number, info: SigInfo | undefined): number {
  let result = -ESRCH
  for (const member of [...pgrp.members]) {
    const status =
      info === undefined ? sendTo(task, member.leader, signo) : queueTo(task, member.leader, info)
    if (result !== 0) result = status
  }
  return result
}

/** Everybody in the caller's namespace but its init and the caller itself. */
function killAll(task: Task, signo: number): number {
  let count = 0
  let result = 0
  for (const pid of [...task.pidNs.pids()]) {
    const { group } = pid
    if (group === undefined || group === task.group || pid.in(task.pidNs) <= 1) continue
    const status = sendTo(task, group.leader, signo)
    count++
    if (status !== -EPERM) result = status
  }
  return count === 0 ? -ESRCH : result
}

/** check_kill_permission: 0, -EINVAL or -EPERM. */
function checkPermission(task: Task, target: Task, signo: number): number {
  if (signo < 0 || signo > NSIG) return -EINVAL
  if (task.group === target.group) return 0
  const { cred } = task
  const other = target.cred
  if (domainOf(cred)?.isScopedFrom(domainOf(other), LANDLOCK_SCOPE_SIGNAL) === true) return -EPERM
  if (
    cred.euid === other.suid ||
    cred.euid === other.uid ||
    cred.uid === other.suid ||
    cred.uid === other.uid
  )
    return 0
  if (cred.capable(CAP_KILL, other.userNs)) return 0
  return signo === SIGCONT && task.group.session === target.group.session ? 0 : -EPERM
}

export function tkill(task: Task, tid: number, signo: number): number {
  return tid <= 0 ? -EINVAL : sendToThread(task, 0, tid, signo)
}

export function tgkill(task: Task, tgid: number, tid: number, signo: number): number {
  return tgid <= 0 || tid <= 0 ? -EINVAL : sendToThread(task, tgid, tid, signo)
}

/** `tgid` 0: whatever process the thread belongs to. */
function sendToThread(task: Task, tgid: number, tid: number, signo: number): number {
  const target = task.pidNs.task(tid)
  if (target === undefined || (tgid > 0 && target.group.pid.in(task.pidNs) !== tgid)) return -ESRCH
  const status = checkPermission(task, target, signo)
  if (status < 0 || signo === 0) return status
  return sendToTask(target, tkillSignal(task, target, signo))
}

export function rt_sigqueueinfo(task: Task, pid: number, signo: number, infoAt: GuestAddr): number {
  const info = readInfo(task, signo, infoAt)
  if (typeof info === 'number') return info
  if (mayNotClaim(info) && pid !== task.group.tgid) return -EPERM
  const target = pid > 0 ? task.pidNs.task(pid) : undefined
  return target === undefined ? -ESRCH : queueTo(task, target, info)
}

export function rt_tgsigqueueinfo(
  task: Task,
  tgid: number,
  tid: number,
  signo: number,
  infoAt: GuestAddr,
): number {
  const info = readInfo(task, signo, infoAt)
  if (typeof info === 'number') return info
  if (tgid <= 0 || tid <= 0) return -EINVAL
  if (mayNotClaim(info) && tid !== task.tid) return -EPERM
  const target = task.pidNs.task(tid)
  if (target === undefined || target.group.pid.in(task.pidNs) !== tgid) return -ESRCH
  const status = checkPermission(task, target, signo)
  if (status < 0 || signo === 0) return status
  return sendToTask(target, info)
}

function queueTo(task: Task, target: Task, info: SigInfo): number {
  const status = checkPermission(task, target, info.signo)
  if (status < 0 || info.signo === 0) return status
  const copy = Object.assign(new SigInfo(info.signo, info.code), info)
  return sendToGroup(target.group, copy)
}

/** What only the kernel, kill and tgkill may say of where a signal comes from. */
function mayNotClaim(info: SigInfo): boolean {
  return info.code >= 0 || info.code === SI_TKILL
}

/** siginfo_t as the guest gives it, with the signal's number put in. */
function readInfo(task: Task, signo: number, at: GuestAddr): SigInfo | number {
  const raw = new Uint8Array(SIGINFO.size)
  if (task.mm.copyIn(at, raw) < 0) return -EFAULT
  const view = new DataView(raw.buffer)
  view.setInt32(SIGINFO.si_signo, signo, true)
  const info = new SigInfo(signo, view.getInt32(SIGINFO.si_code, true))
  info.errno = view.getInt32(SIGINFO.si_errno, true)
  info.pid = view.getInt32(SIGINFO.si_pid, true)
  info.uid = view.getUint32(SIGINFO.si_uid, true)
  info.valueLo = view.getInt32(SIGINFO.si_value, true)
  info.valueHi = view.getInt32(SIGINFO.si_value + 4, true)
  info.raw = raw
  return info
}

export function pidfd_send_signal(
  task: Task,
  fd: number,
  signo: number,
  infoAt: GuestAddr,
  scope: number,
): number {
  const known = PIDFD_SIGNAL_THREAD | PIDFD_SIGNAL_THREAD_GROUP | PIDFD_SIGNAL_PROCESS_GROUP
  if ((scope & ~known) !== 0 || (scope & (scope - 1)) !== 0) return -EINVAL
  const file = task.fds.get(fd)
  const pid = file instanceof PidFdFile ? file.pid : file === undefined ? undefined : processOfDirectory(file)
  if (pid === undefined) return -EBADF
  const isThread = file instanceof PidFdFile && file.thread
  if (!task.pidNs.contains(pid.ns)) return -EINVAL
  let info: SigInfo | undefined
  if (infoAt !== 0) {
    const read = readInfo(task, signo, infoAt)
    if (typeof read === 'number') return read
    if (new DataView(read.raw!.buffer).getInt32(SIGINFO.si_signo, true) !== signo) return -EINVAL
    if (mayNotClaim(read) && pid !== task.group.pid && pid !== task.pid) return -EPERM
    info = read
  }
  const target = isThread ? pid.task : pid.group?.leader
  if (target === undefined) return -ESRCH
  if (scope === PIDFD_SIGNAL_PROCESS_GROUP) {
    const pgrp = pid.processGroup
    return pgrp === undefined ? -ESRCH : killProcessGroup(task, pgrp, signo, info)
  }
  const toThread = scope === PIDFD_SIGNAL_THREAD || (scope === 0 && isThread)
  const status = checkPermission(task, target, signo)
  if (status < 0 || signo === 0) return status
  const sent = info ?? userSignal(task, target, signo, toThread ? SI_TKILL : SI_USER)
  return toThread ? sendToTask(target, sent) : sendToGroup(target.group, sent)
}

/** A directory /proc/PID serves as a pidfd here, as it did before there were any. */
function processOfDirectory(file: File): Pid | undefined {
  const { inode } = file
  if (!(inode instanceof PseudoInode) || !(inode.sb instanceof ProcSuper)) return undefined
  return inode.node === inode.sb.processDirectory ? (inode.subject as Task).group.pid : undefined
}

const scopes = flags({ PIDFD_SIGNAL_THREAD, PIDFD_SIGNAL_THREAD_GROUP, PIDFD_SIGNAL_PROCESS_GROUP })

export const killCalls = {
  kill: { nr: NR.kill, run: kill, args: [pidArg, signalArg] },
  tkill: { nr: NR.tkill, run: tkill, args: [pidArg, signalArg] },
  tgkill: { nr: NR.tgkill, run: tgkill, args: [pidArg, pidArg, signalArg] },
  rt_sigqueueinfo: {
    nr: NR.rt_sigqueueinfo,
    run: rt_sigqueueinfo,
    args: [pidArg, signalArg, structIn(SIGINFO)],
  },
  rt_tgsigqueueinfo: {
    nr: NR.rt_tgsigqueueinfo,
    run: rt_tgsigqueueinfo,
    args: [pidArg, pidArg, signalArg, structIn(SIGINFO)],
  },
  pidfd_send_signal: {
    nr: NR.pidfd_send_signal,
    run: pidfd_send_signal,
    args: [fdArg, signalArg, structIn(SIGINFO), scopes],
  },
} satisfies SyscallRows
