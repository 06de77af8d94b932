/** Limits, usage and priorities of processes: getrlimit(2), getrusage(2), getpriority(2). */
import {
  CAP_SYS_NICE,
  CAP_SYS_RESOURCE,
  PRIO_MAX,
  PRIO_MIN,
  PRIO_PGRP,
  PRIO_PROCESS,
  PRIO_USER,
  RLIM_NLIMITS,
  RLIMIT_CPU,
  RLIMIT_NICE,
  RLIMIT_NOFILE,
  RUSAGE_CHILDREN,
  RUSAGE_SELF,
  RUSAGE_THREAD,
} from '../abi/constants.ts'
import { EACCES, EFAULT, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { RLIMIT, RUSAGE } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Credentials } from '../base/credentials.ts'
import { toKernelId } from '../base/id-map.ts'
import { watchCpuLimit } from '../kernel/cpu-limit.ts'
import { groupTotals, taskTotals } from '../kernel/cpu-time.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { enumOf, int, pid as pidArg, type SyscallRows, structIn, structOut, uint } from './args.ts'
import { writeRusage } from './rusage.ts'

/** fs.nr_open: RLIMIT_NOFILE can't be higher. */
const NR_OPEN = 1048576

export function getrlimit(task: Task, resource: number, at: GuestAddr): number {
  return prlimit64(task, 0, resource, 0, at)
}

export function setrlimit(task: Task, resource: number, at: GuestAddr): number {
  if (at === 0) return -EFAULT
  return prlimit64(task, 0, resource, at, 0)
}

export function prlimit64(
  task: Task,
  pid: number,
  resource: number,
  newAt: GuestAddr,
  oldAt: GuestAddr,
): number {
  let soft = 0
  let hard = 0
  if (newAt !== 0) {
    const view = task.mm.view(newAt, RLIMIT.size)
    if (view === undefined) return -EFAULT
    soft = limitIn(view, RLIMIT.rlim_cur)
    hard = limitIn(view, RLIMIT.rlim_max)
  }
  const target = pid === 0 ? task : task.pidNs.task(pid)
  if (target === undefined) return -ESRCH
  if (target.group !== task.group && !sameIdentity(task.cred, target.cred)) return -EPERM
  if (resource >= RLIM_NLIMITS) return -EINVAL
  const { rlimits } = target.group
  const old = { soft: rlimits.soft(resource), hard: rlimits.hard(resource) }
  if (newAt !== 0) {
    if (soft > hard) return -EINVAL
    if (resource === RLIMIT_NOFILE && hard > NR_OPEN) return -EPERM
    // Raising the ceiling is a privilege over the first user namespace.
    if (hard > old.hard && !task.cred.capable(CAP_SYS_RESOURCE, task.kernel.userNs)) return -EPERM
    rlimits.set(resource, soft, hard)
    if (resource === RLIMIT_CPU) watchCpuLimit(target.group)
  }
  if (oldAt === 0) return 0
  const out = task.mm.out(RLIMIT.size)
  putLimit(out, RLIMIT.rlim_cur, old.soft)
  putLimit(out, RLIMIT.rlim_max, old.hard)
  return task.mm.commit(oldAt)
}

/** check_prlimit_permission. */
function sameIdentity(cred: Credentials, other: Credentials): boolean {
  const uids = cred.uid === other.euid && cred.uid === other.suid && cred.uid === other.uid
  const gids = cred.gid === other.egid && cred.gid === other.sgid && cred.gid === other.gid
  return (uids && gids) || cred.capable(CAP_SYS_RESOURCE, other.userNs)
}

function limitIn(view: DataView, at: number): number {
  const lo = view.getUint32(at, true)
  const hi = view.getUint32(at + 4, true)
  return lo === 0xffffffff && hi === 0xffffffff ? Number.POSITIVE_INFINITY : hi * 0x100000000 + lo
}

function putLimit(out: DataView, at: number, value: number): void {
  const infinite = value === Number.POSITIVE_INFINITY
  out.setUint32(at, infinite ? 0xffffffff : value >>> 0, true)
  out.setUint32(at + 4, infinite ? 0xffffffff : Math.floor(value / 0x100000000), true)
}

export function getrusage(task: Task, who: number, at: GuestAddr): number {
  if (who === RUSAGE_SELF) return writeRusage(task, at, groupTotals(task.group))
  if (who === RUSAGE_THREAD) return writeRusage(task, at, taskTotals(task))
  return who === RUSAGE_CHILDREN ? writeRusage(task, at, task.group.waited) : -EINVAL
}

/** The tasks that `which` and `who` mean; undefined for an unknown `which`. */
function prioritySet(task: Task, which: number, who: number): Task[] | undefined {
  switch (which) {
    case PRIO_PROCESS: {
      const target = who === 0 ? task : task.pidNs.task(who)
      return target === undefined ? [] : [target]
    }
    case PRIO_PGRP: {
      const pgrp = who === 0 ? task.group.processGroup : task.pidNs.find(who)?.processGroup
      return pgrp === undefined ? [] : [...pgrp.members].flatMap(group => group.tasks)
    }
    case PRIO_USER: {
      const uid = who === 0 ? task.cred.uid : toKernelId(task.cred.userNs.uidMap, who >>> 0)
      return [...task.kernel.tasks()].filter(each => each.cred.uid === uid && each.pid.in(task.pidNs) !== 0)
    }
  }
  return undefined
}

/** 20 - nice: 1..40, so that no result looks like an error. */
export function getpriority(task: Task, which: number, who: number): number {
  const targets = prioritySet(task, which, who)
  if (targets === undefined) return -EINVAL
  if (targets.length === 0) return -ESRCH
  return Math.max(...targets.map(each => 20 - each.scheduling.nice))
}

export function setpriority(task: Task, which: number, who: number, nice: number): number {
  const targets = prioritySet(task, which, who)
  if (targets === undefined) return -EINVAL
  const wanted = Math.max(PRIO_MIN, Math.min(PRIO_MAX - 1, nice))
  let result = -ESRCH
  for (const target of targets) {
    const { cred } = task
    if (target.cred.uid !== cred.euid && target.cred.euid !== cred.euid && !cred.capable(CAP_SYS_NICE)) {
      result = -EPERM
      continue
    }
    if (wanted < target.scheduling.nice && !mayRaise(target, wanted) && !cred.capable(CAP_SYS_NICE)) {
      result = -EACCES
      continue
    }
    if (result === -ESRCH) result = 0
    target.scheduling.nice = wanted
    target.kernel.cpuShares.priorityChanged(target)
  }
  return result
}

/** RLIMIT_NICE counts from 1 (nice 19) to 40 (nice -20). */
function mayRaise(target: Task, nice: number): boolean {
  return 20 - nice <= target.group.rlimits.soft(RLIMIT_NICE)
}

const who = enumOf({ RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_THREAD })
const which = enumOf({ PRIO_PROCESS, PRIO_PGRP, PRIO_USER })

export const limitCalls = {
  getrlimit: { nr: NR.getrlimit, run: getrlimit, args: [uint, structOut(RLIMIT)] },
  setrlimit: { nr: NR.setrlimit, run: setrlimit, args: [uint, structIn(RLIMIT)] },
  prlimit64: { nr: NR.prlimit64, run: prlimit64, args: [pidArg, uint, structIn(RLIMIT), structOut(RLIMIT)] },
  getrusage: {
    nr: NR.getrusage,
    run: getrusage,
    args: [who, structOut(RUSAGE)],
    partial: 'block transfers are not counted',
  },
  getpriority: { nr: NR.getpriority, run: getpriority, args: [which, int] },
  setpriority: {
    nr: NR.setpriority,
    run: setpriority,
    args: [which, int, int],
    partial: 'the threads of a process share what their nice values bring it',
  },
} satisfies SyscallRows
