/** exit(2), exit_group(2), wait4(2), waitid(2). */
import {
  __WALL,
  __WCLONE,
  __WNOTHREAD,
  P_ALL,
  P_PGID,
  P_PID,
  P_PIDFD,
  SIGCHLD,
  WCONTINUED,
  WEXITED,
  WNOHANG,
  WNOWAIT,
  WSTOPPED,
  WUNTRACED,
} from '../abi/constants.ts'
import { EAGAIN, EBADF, EINVAL, ESRCH } from '../abi/errno.ts'
import { RUSAGE, SIGINFO } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { fromKernelId } from '../base/id-map.ts'
import type { Status } from '../base/result.ts'
import { PidFdFile } from '../fs/pidfd/pidfd.ts'
import { endGroup, endTask } from '../kernel/exit.ts'
import type { Pid } from '../kernel/pid.ts'
import { NO_RESULT, type Task } from '../kernel/task.ts'
import { type WaitOutcome, type WaitRequest, waitForChild } from '../kernel/wait.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, enumOf, flags, int, pid as pidArg, type SyscallRows, structOut } from './args.ts'
import { writeRusage } from './rusage.ts'

export function exit(task: Task, code: number): number {
  endTask(task, (code & 0xff) << 8)
  return NO_RESULT
}

export function exit_group(task: Task, code: number): number {
  endGroup(task, (code & 0xff) << 8)
  return NO_RESULT
}

const WAIT4_FLAGS = WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL
const WAITID_FLAGS = WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL
const INT_MIN = -0x80000000

export function wait4(
  task: Task,
  pid: number,
  statusAt: GuestAddr,
  options: number,
  usage: GuestAddr,
): number {
  if ((options & ~WAIT4_FLAGS) !== 0) return -EINVAL
  if (pid === INT_MIN) return -ESRCH
  task.group.waits = true
  const outcome = waitForChild(task, requestOf(task, pid, options | WEXITED))
  if (typeof outcome === 'number') return outcome
  if (outcome === undefined) return (options & WNOHANG) !== 0 ? 0 : task.block(task.group.childWait)
  if (statusAt !== 0) {
    const status = task.mm.putU32(statusAt, outcome.status)
    if (status < 0) return status
  }
  if (usage !== 0) {
    const status = writeRusage(task, usage, outcome.totals)
    if (status < 0) return status
  }
  return outcome.pid
}

/** wait4's first argument: any child, a process, or a process group. */
function requestOf(task: Task, pid: number, flags: number): WaitRequest {
  if (pid === -1) return { which: P_ALL, pid: undefined, flags }
  if (pid > 0) return { which: P_PID, pid: task.pidNs.find(pid), flags }
  return { which: P_PGID, pid: pid === 0 ? task.group.processGroup.pid : task.pidNs.find(-pid), flags }
}

export function waitid(
  task: Task,
  which: number,
  nr: number,
  info: GuestAddr,
  options: number,
  usage: GuestAddr,
): number {
  if ((options & ~WAITID_FLAGS) !== 0) return -EINVAL
  if ((options & (WEXITED | WSTOPPED | WCONTINUED)) === 0) return -EINVAL
  let pid: Pid | undefined
  let noWait = (options & WNOHANG) !== 0
  let empty = 0
  switch (which) {
    case P_ALL:
      break
    case P_PID:
      if (nr <= 0) return -EINVAL
      pid = task.pidNs.find(nr)
      break
    case P_PGID:
      if (nr < 0) return -EINVAL
      pid = nr === 0 ? task.group.processGroup.pid : task.pidNs.find(nr)
      break
    case P_PIDFD: {
      if (nr < 0) return -EINVAL
      const file = task.fds.get(nr)
      if (!(file instanceof PidFdFile)) return -EBADF
      pid = file.pid
      if (file.nonblocking && !noWait) {
        noWait = true
        empty = -EAGAIN
      }
      break
    }
    default:
      return -EINVAL
  }
  task.group.waits = true
  const request = { which: which === P_PIDFD ? P_PID : which, pid, flags: options }
  const outcome = waitForChild(task, request)
  if (typeof outcome === 'number') return outcome
  if (outcome === undefined) {
    if (!noWait) return task.block(task.group.childWait)
    if (empty < 0) return empty
  } else if (usage !== 0) {
    const status = writeRusage(task, usage, outcome.totals)
    if (status < 0) return status
  }
  return info === 0 ? 0 : writeInfo(task, info, outcome)
}

/** The fields that waitid fills; all 0 when there was nothing to tell. */
function writeInfo(task: Task, at: GuestAddr, outcome: WaitOutcome | undefined): Status {
  const out = task.mm.out(SIGINFO.si_status + 4)
  if (outcome !== undefined) {
    out.setInt32(SIGINFO.si_signo, SIGCHLD, true)
    out.setInt32(SIGINFO.si_code, outcome.code, true)
    out.setInt32(SIGINFO.si_pid, outcome.pid, true)
    out.setUint32(SIGINFO.si_uid, fromKernelId(task.cred.userNs.uidMap, outcome.uid), true)
    out.setInt32(SIGINFO.si_status, outcome.value, true)
  }
  return task.mm.commit(at)
}

const waitFlags = flags({ WNOHANG, WUNTRACED, WEXITED, WCONTINUED, WNOWAIT, __WNOTHREAD, __WALL, __WCLONE })

export const waitCalls = {
  exit: { nr: NR.exit, run: exit, args: [int], returns: 'none' },
  exit_group: { nr: NR.exit_group, run: exit_group, args: [int], returns: 'none' },
  wait4: { nr: NR.wait4, run: wait4, args: [pidArg, addr, waitFlags, structOut(RUSAGE)] },
  waitid: {
    nr: NR.waitid,
    run: waitid,
    args: [enumOf({ P_ALL, P_PID, P_PGID, P_PIDFD }), int, structOut(SIGINFO), waitFlags, structOut(RUSAGE)],
  },
} satisfies SyscallRows
