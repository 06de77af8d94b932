/** Scheduling: sched(7), ioprio_set(2). What becomes of the attributes: kernel/scheduling.ts. */
import {
  CAP_SYS_ADMIN,
  CAP_SYS_NICE,
  IOPRIO_CLASS_BE,
  IOPRIO_CLASS_IDLE,
  IOPRIO_CLASS_NONE,
  IOPRIO_CLASS_RT,
  IOPRIO_CLASS_SHIFT,
  IOPRIO_NR_LEVELS,
  IOPRIO_WHO_PGRP,
  IOPRIO_WHO_PROCESS,
  IOPRIO_WHO_USER,
  RLIMIT_NICE,
  RLIMIT_RTPRIO,
  SCHED_BATCH,
  SCHED_DEADLINE,
  SCHED_FIFO,
  SCHED_FLAG_ALL,
  SCHED_FLAG_KEEP_PARAMS,
  SCHED_FLAG_KEEP_POLICY,
  SCHED_FLAG_RESET_ON_FORK,
  SCHED_IDLE,
  SCHED_NORMAL,
  SCHED_RESET_ON_FORK,
  SCHED_RR,
} from '../abi/constants.ts'
import { E2BIG, EFAULT, EINVAL, EPERM, ESRCH } from '../abi/errno.ts'
import { SCHED_ATTR, SCHED_PARAM, TIMESPEC } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { Timespec } from '../base/clock.ts'
import { cpusOfMask, maskOfCpus } from '../base/cpu-list.ts'
import { toKernelId } from '../base/id-map.ts'
import { take64 } from '../base/words.ts'
import { allowedCpus, applyScheduling, lastCpu, Scheduling } from '../kernel/scheduling.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import {
  addr,
  enumOf,
  int,
  pid as pidArg,
  type SyscallRows,
  structIn,
  structInOut,
  structOut,
  uint,
} from './args.ts'
import { writeTime } from './timespec.ts'

const MAX_RT_PRIORITY = 99
/** The first published size of struct sched_attr. */
const SCHED_ATTR_SIZE_VER0 = 48
const PAGE_SIZE = 4096
/** Bytes of a CPU mask: it is read and written in longs. */
const LONG = 8

export function sched_yield(_task: Task): number {
  return 0
}

function find(task: Task, pid: number): Task | undefined {
  return pid === 0 ? task : task.pidNs.task(pid)
}

export function sched_getscheduler(task: Task, pid: number): number {
  if (pid < 0) return -EINVAL
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  const { policy, resetOnFork } = target.scheduling
  return resetOnFork ? policy | SCHED_RESET_ON_FORK : policy
}

export function sched_setscheduler(task: Task, pid: number, policy: number, at: GuestAddr): number {
  if (policy < 0) return -EINVAL
  return setParam(task, pid, policy, at)
}

export function sched_setparam(task: Task, pid: number, at: GuestAddr): number {
  return setParam(task, pid, undefined, at)
}

function setParam(task: Task, pid: number, policy: number | undefined, at: GuestAddr): number {
  if (at === 0 || pid < 0) return -EINVAL
  const view = task.mm.view(at, SCHED_PARAM.size)
  if (view === undefined) return -EFAULT
  const priority = view.getInt32(SCHED_PARAM.sched_priority, true)
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  const wanted = Object.assign(new Scheduling(), target.scheduling)
  if (policy !== undefined) {
    wanted.resetOnFork = (policy & SCHED_RESET_ON_FORK) !== 0
    wanted.policy = policy & ~SCHED_RESET_ON_FORK
  }
  wanted.priority = priority
  return apply(task, target, wanted)
}

/** __sched_setscheduler's checks. */
function apply(task: Task, target: Task, wanted: Scheduling, deadlineFits = false): number {
  const { policy, priority } = wanted
  const realTime = policy === SCHED_FIFO || policy === SCHED_RR
  const known = [SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE].includes(policy)
  if (!known || priority < 0 || priority > MAX_RT_PRIORITY || realTime !== priority > 0) return -EINVAL
  if (policy === SCHED_DEADLINE && !deadlineFits) return -EINVAL
  const old = target.scheduling
  if (!task.cred.capable(CAP_SYS_NICE)) {
    const { rlimits } = target.group
    if (policy === SCHED_DEADLINE) return -EPERM
    if (realTime) {
      const limit = rlimits.soft(RLIMIT_RTPRIO)
      if (policy !== old.policy && limit === 0) return -EPERM
      if (priority > old.priority && priority > limit) return -EPERM
    }
    if (wanted.nice < old.nice && 20 - wanted.nice > rlimits.soft(RLIMIT_NICE)) return -EPERM
    if (old.policy === SCHED_IDLE && policy !== SCHED_IDLE && 20 - old.nice > rlimits.soft(RLIMIT_NICE))
      return -EPERM
    if (task.cred.euid !== target.cred.euid && task.cred.euid !== target.cred.uid) return -EPERM
    if (old.resetOnFork && !wanted.resetOnFork) return -EPERM
  }
  // Deadline tasks are admitted by bandwidth, of which the host gives no account.
  if (policy === SCHED_DEADLINE) return -EPERM
  target.scheduling = wanted
  target.kernel.cpuShares.priorityChanged(target)
  return 0
}

export function sched_getparam(task: Task, pid: number, at: GuestAddr): number {
  if (at === 0 || pid < 0) return -EINVAL
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  return task.mm.putU32(at, target.scheduling.priority)
}

export function sched_get_priority_max(_task: Task, policy: number): number {
  if (policy === SCHED_FIFO || policy === SCHED_RR) return MAX_RT_PRIORITY
  return [SCHED_NORMAL, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE].includes(policy) ? 0 : -EINVAL
}

export function sched_get_priority_min(_task: Task, policy: number): number {
  if (policy === SCHED_FIFO || policy === SCHED_RR) return 1
  return [SCHED_NORMAL, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE].includes(policy) ? 0 : -EINVAL
}

export function sched_rr_get_interval(task: Task, pid: number, at: GuestAddr): number {
  if (pid < 0) return -EINVAL
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  const { policy } = target.scheduling
  const slice = policy === SCHED_RR ? 100e6 : policy === SCHED_FIFO ? 0 : 2.8e6
  return writeTime(task, at, new Timespec(0, slice))
}

export function sched_setattr(task: Task, pid: number, at: GuestAddr, flags: number): number {
  if (at === 0 || pid < 0 || flags !== 0) return -EINVAL
  const given = task.mm.u32(at)
  if (given === undefined) return -EFAULT
  const length = given === 0 ? SCHED_ATTR_SIZE_VER0 : given
  if (length < SCHED_ATTR_SIZE_VER0 || length > PAGE_SIZE) return tooBig(task, at)
  const bytes = new Uint8Array(Math.max(length, SCHED_ATTR.size))
  if (task.mm.copyIn(at, bytes.subarray(0, length)) < 0) return -EFAULT
  for (let i = SCHED_ATTR.size; i < length; i++) if (bytes[i] !== 0) return tooBig(task, at)
  const view = new DataView(bytes.buffer)
  const attrFlags = view.getUint32(SCHED_ATTR.sched_flags, true)
  if ((attrFlags & ~SCHED_FLAG_ALL) !== 0 || view.getUint32(SCHED_ATTR.sched_flags + 4, true) !== 0)
    return -EINVAL
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  const wanted = Object.assign(new Scheduling(), target.scheduling)
  if ((attrFlags & SCHED_FLAG_KEEP_POLICY) === 0) {
    wanted.policy = view.getUint32(SCHED_ATTR.sched_policy, true)
    wanted.resetOnFork = (attrFlags & SCHED_FLAG_RESET_ON_FORK) !== 0
  }
  if ((attrFlags & SCHED_FLAG_KEEP_PARAMS) === 0) {
    wanted.priority = view.getUint32(SCHED_ATTR.sched_priority, true)
    if (wanted.policy === SCHED_NORMAL || wanted.policy === SCHED_BATCH) {
      wanted.nice = Math.max(-20, Math.min(19, view.getInt32(SCHED_ATTR.sched_nice, true)))
    }
  }
  return apply(task, target, wanted, deadlineFits(view))
}

/** __checkparam_dl: what of a period a deadline task wants, ns. */
function deadlineFits(view: DataView): boolean {
  const runtime = take64(view, SCHED_ATTR.sched_runtime)
  const deadline = take64(view, SCHED_ATTR.sched_deadline)
  const period = take64(view, SCHED_ATTR.sched_period) || deadline
  if (runtime < MIN_RUNTIME || deadline < runtime || period < deadline || period >= 2 ** 63) return false
  return period >= MIN_PERIOD && period <= MAX_PERIOD
}
/** 1 << DL_SCALE; kernel.sched_deadline_period_min_us and _max_us. */
const MIN_RUNTIME = 1024
const MIN_PERIOD = 100_000
const MAX_PERIOD = 2 ** 22 * 1000

/** The size that would have been right is told. */
function tooBig(task: Task, at: GuestAddr): number {
  const status = task.mm.putU32(at, SCHED_ATTR.size)
  return status < 0 ? status : -E2BIG
}

export function sched_getattr(task: Task, pid: number, at: GuestAddr, length: number, flags: number): number {
  if (at === 0 || pid < 0 || flags !== 0 || length < SCHED_ATTR_SIZE_VER0 || length > PAGE_SIZE)
    return -EINVAL
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  const { policy, priority, nice, resetOnFork } = target.scheduling
  const size = Math.min(length, SCHED_ATTR.size)
  const bytes = new Uint8Array(SCHED_ATTR.size)
  const view = new DataView(bytes.buffer)
  view.setUint32(SCHED_ATTR.size_, size, true)
  view.setUint32(SCHED_ATTR.sched_policy, policy, true)
  view.setUint32(SCHED_ATTR.sched_flags, resetOnFork ? SCHED_FLAG_RESET_ON_FORK : 0, true)
  if (policy === SCHED_FIFO || policy === SCHED_RR) view.setUint32(SCHED_ATTR.sched_priority, priority, true)
  else view.setInt32(SCHED_ATTR.sched_nice, nice, true)
  if (size >= SCHED_ATTR.size) view.setUint32(SCHED_ATTR.sched_util_max, 1024, true)
  return task.mm.copyOut(at, bytes.subarray(0, size))
}

/** The bytes of a mask of all CPUs, in whole longs. */
function maskSize(task: Task): number {
  return Math.ceil(task.kernel.cpuWidth / (8 * LONG)) * LONG
}

/** The length of the mask that was written; Linux wants room for all CPUs. */
export function sched_getaffinity(task: Task, pid: number, length: number, at: GuestAddr): number {
  if (length * 8 < task.kernel.cpuWidth || length % LONG !== 0) return -EINVAL
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  const size = Math.min(length, maskSize(task))
  const status = task.mm.copyOut(at, maskOfCpus(allowedCpus(target), size))
  return status < 0 ? status : size
}

export function sched_setaffinity(task: Task, pid: number, length: number, at: GuestAddr): number {
  const mask = new Uint8Array(Math.min(length, maskSize(task)))
  if (task.mm.copyIn(at, mask) < 0) return -EFAULT
  const target = find(task, pid)
  if (target === undefined) return -ESRCH
  const { cred } = task
  const same = cred.euid === target.cred.euid || cred.euid === target.cred.uid
  if (!same && !cred.capable(CAP_SYS_NICE, target.cred.userNs)) return -EPERM
  const { effective } = target.group.cgroup.cpuset
  const wanted = cpusOfMask(mask)
  if (!wanted.some(cpu => effective.includes(cpu))) return -EINVAL
  const before = target.scheduling.affinity
  target.scheduling.affinity = wanted
  const status = applyScheduling(target)
  if (status < 0) target.scheduling.affinity = before
  return status
}

export function getcpu(task: Task, cpuAt: GuestAddr, nodeAt: GuestAddr, _cache: GuestAddr): number {
  if (cpuAt !== 0) {
    const status = task.mm.putU32(cpuAt, lastCpu(task))
    if (status < 0) return status
  }
  return nodeAt === 0 ? 0 : task.mm.putU32(nodeAt, 0)
}

function ioTargets(task: Task, which: number, who: number): Task[] | undefined {
  switch (which) {
    case IOPRIO_WHO_PROCESS: {
      const target = find(task, who)
      return target === undefined ? [] : [target]
    }
    case IOPRIO_WHO_PGRP: {
      const pgrp = who === 0 ? task.group.processGroup : task.pidNs.find(who)?.processGroup
      return pgrp === undefined ? [] : [...pgrp.members].flatMap(group => group.tasks)
    }
    case IOPRIO_WHO_USER: {
      const uid = who === 0 ? task.cred.uid : toKernelId(task.cred.userNs.uidMap, who >>> 0)
      return [...task.kernel.tasks()].filter(each => each.cred.uid === uid)
    }
  }
  return undefined
}

/** ioprio_check_cap: whether the task may use an I/O priority. */
export function checkIoPriority({ cred }: Task, priority: number): number {
  switch (priority >>> IOPRIO_CLASS_SHIFT) {
    case IOPRIO_CLASS_RT:
      return cred.capable(CAP_SYS_ADMIN) || cred.capable(CAP_SYS_NICE) ? 0 : -EPERM
    case IOPRIO_CLASS_BE:
    case IOPRIO_CLASS_IDLE:
      return 0
    case IOPRIO_CLASS_NONE:
      return (priority & (IOPRIO_NR_LEVELS - 1)) !== 0 ? -EINVAL : 0
  }
  return -EINVAL
}

export function ioprio_set(task: Task, which: number, who: number, priority: number): number {
  const { cred } = task
  const status = checkIoPriority(task, priority)
  if (status < 0) return status
  const targets = ioTargets(task, which, who)
  if (targets === undefined) return -EINVAL
  if (targets.length === 0) return -ESRCH
  for (const target of targets) {
    const same = target.cred.uid === cred.euid || target.cred.uid === cred.uid
    if (!same && !cred.capable(CAP_SYS_NICE)) return -EPERM
    target.scheduling.ioPriority = priority
  }
  return 0
}

/** The best of the targets; without one of its own a task has what its nice value stands for. */
export function ioprio_get(task: Task, which: number, who: number): number {
  const targets = ioTargets(task, which, who)
  if (targets === undefined) return -EINVAL
  if (targets.length === 0) return -ESRCH
  return Math.min(...targets.map(each => each.scheduling.ioPriority))
}

const policy = enumOf({ SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE })
const ioWho = enumOf({ IOPRIO_WHO_PROCESS, IOPRIO_WHO_PGRP, IOPRIO_WHO_USER })
const shares = 'sets the part of a process that competes with others; a real-time task has that of nice -20'

export const schedulerCalls = {
  sched_yield: { nr: NR.sched_yield, run: sched_yield, args: [] },
  sched_getscheduler: { nr: NR.sched_getscheduler, run: sched_getscheduler, args: [pidArg] },
  sched_setscheduler: {
    nr: NR.sched_setscheduler,
    run: sched_setscheduler,
    args: [pidArg, policy, structIn(SCHED_PARAM)],
    partial: shares,
  },
  sched_getparam: { nr: NR.sched_getparam, run: sched_getparam, args: [pidArg, structOut(SCHED_PARAM)] },
  sched_setparam: {
    nr: NR.sched_setparam,
    run: sched_setparam,
    args: [pidArg, structIn(SCHED_PARAM)],
    partial: shares,
  },
  sched_get_priority_max: { nr: NR.sched_get_priority_max, run: sched_get_priority_max, args: [policy] },
  sched_get_priority_min: { nr: NR.sched_get_priority_min, run: sched_get_priority_min, args: [policy] },
  sched_rr_get_interval: {
    nr: NR.sched_rr_get_interval,
    run: sched_rr_get_interval,
    args: [pidArg, structOut(TIMESPEC)],
  },
  sched_setattr: {
    nr: NR.sched_setattr,
    run: sched_setattr,
    args: [pidArg, structInOut(SCHED_ATTR), uint],
    partial: shares,
  },
  sched_getattr: {
    nr: NR.sched_getattr,
    run: sched_getattr,
    args: [pidArg, structOut(SCHED_ATTR), uint, uint],
  },
  sched_getaffinity: { nr: NR.sched_getaffinity, run: sched_getaffinity, args: [pidArg, uint, addr] },
  sched_setaffinity: {
    nr: NR.sched_setaffinity,
    run: sched_setaffinity,
    args: [pidArg, uint, addr],
  },
  getcpu: {
    nr: NR.getcpu,
    run: getcpu,
    args: [addr, addr, addr],
  },
  ioprio_set: {
    nr: NR.ioprio_set,
    run: ioprio_set,
    args: [ioWho, int, int],
    partial: 'kept and reported; the host’s files know no priorities',
  },
  ioprio_get: { nr: NR.ioprio_get, run: ioprio_get, args: [ioWho, int] },
} satisfies SyscallRows
