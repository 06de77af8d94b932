/** perf_event_open(2): counters that the kernel itself knows; what only a processor's counters could tell is ENOENT. */
import {
  CAP_PERFMON,
  CAP_SYS_ADMIN,
  O_RDWR,
  PERF_ATTR_SIZE_VER0,
  PERF_COUNT_SW_CONTEXT_SWITCHES,
  PERF_COUNT_SW_DUMMY,
  PERF_FLAG_FD_CLOEXEC,
  PERF_FLAG_FD_NO_GROUP,
  PERF_FLAG_FD_OUTPUT,
  PERF_FLAG_PID_CGROUP,
  PERF_FORMAT_MAX,
  PERF_TYPE_SOFTWARE,
} from '../abi/constants.ts'
import { E2BIG, EACCES, EBADF, EFAULT, EINVAL, ENOENT, EOPNOTSUPP, ESRCH } from '../abi/errno.ts'
import { PERF_EVENT_ATTR } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { take64 } from '../base/words.ts'
import { PerfFile } from '../fs/perf/perf-file.ts'
import { mayInspect } from '../kernel/credentials.ts'
import { isCounted, PerfEvent } from '../kernel/perf/perf-event.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { PAGE_SIZE } from '../mm/vma.ts'
import { addr, fd as fdArg, flags as flagsArg, int, pid as pidArg, type SyscallRows } from './args.ts'
import { fileOf } from './at.ts'
import { installFile } from './install.ts'

const FLAGS = PERF_FLAG_FD_NO_GROUP | PERF_FLAG_FD_OUTPUT | PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC

// The bit field behind read_format.
const ATTR_FLAGS = PERF_EVENT_ATTR.read_format + 8
const DISABLED = 1 << 0
const INHERIT = 1 << 1
const EXCLUDE_KERNEL = 1 << 5
const FREQ = 1 << 10
const ENABLE_ON_EXEC = 1 << 12

interface Attributes {
  readonly type: number
  readonly config: number
  readonly period: number
  readonly format: number
  readonly flags: number
}

/** perf_copy_attr. */
function readAttributes(task: Task, at: GuestAddr): Attributes | number {
  const given = task.mm.u32(at + PERF_EVENT_ATTR.attr_size)
  if (given === undefined) return -EFAULT
  const length = given === 0 ? PERF_ATTR_SIZE_VER0 : given
  if (length < PERF_ATTR_SIZE_VER0 || length > PAGE_SIZE) return tooBig(task, at)
  const bytes = new Uint8Array(Math.max(length, PERF_EVENT_ATTR.size))
  if (task.mm.copyIn(at, bytes.subarray(0, length)) < 0) return -EFAULT
  for (let i = PERF_EVENT_ATTR.size; i < length; i++) if (bytes[i] !== 0) return tooBig(task, at)
  const view = new DataView(bytes.buffer)
  const format = take64(view, PERF_EVENT_ATTR.read_format)
  if (format >= PERF_FORMAT_MAX) return -EINVAL
  return {
    type: view.getUint32(PERF_EVENT_ATTR.type, true),
    config: take64(view, PERF_EVENT_ATTR.config),
    period: take64(view, PERF_EVENT_ATTR.sample_period),
    format,
    flags: view.getUint32(ATTR_FLAGS, true),
  }
}

/** The size that would have been right is told. */
function tooBig(task: Task, at: GuestAddr): number {
  const status = task.mm.putU32(at + PERF_EVENT_ATTR.attr_size, PERF_EVENT_ATTR.size)
  return status < 0 ? status : -E2BIG
}

/** perfmon_capable. */
function mayMonitor({ cred, kernel }: Task): boolean {
  return cred.capable(CAP_PERFMON, kernel.userNs) || cred.capable(CAP_SYS_ADMIN, kernel.userNs)
}

export function perf_event_open(
  task: Task,
  at: GuestAddr,
  pid: number,
  cpu: number,
  groupFd: number,
  flags: number,
): number {
  if ((flags & ~FLAGS) !== 0) return -EINVAL
  const attributes = readAttributes(task, at)
  if (typeof attributes === 'number') return attributes
  // kernel.perf_event_paranoid is 2.
  if ((attributes.flags & EXCLUDE_KERNEL) === 0 && !mayMonitor(task)) return -EACCES
  if ((attributes.flags & FREQ) === 0 && attributes.period >= 2 ** 63) return -EINVAL
  if ((flags & PERF_FLAG_PID_CGROUP) !== 0 && (pid === -1 || cpu === -1)) return -EINVAL
  const leader = groupFd === -1 ? undefined : fileOf(task, groupFd)
  if (groupFd !== -1 && !(leader instanceof PerfFile)) return -EBADF
  const group = (flags & PERF_FLAG_FD_NO_GROUP) !== 0 ? undefined : (leader as PerfFile | undefined)
  // Of one processor, or of a cgroup, nothing is known.
  if (pid === -1 || (flags & PERF_FLAG_PID_CGROUP) !== 0) return cpu === -1 ? -EINVAL : -EACCES
  const target = pid === 0 ? task : task.pidNs.task(pid)
  if (target === undefined || target.ended) return -ESRCH
  if (cpu !== -1) return cpu < 0 || cpu >= task.kernel.platform.cpuCount ? -EINVAL : -EOPNOTSUPP
  const inherit = (attributes.flags & INHERIT) !== 0
  if (group !== undefined && group.event.inherit !== inherit) return -EINVAL
  if (attributes.type !== PERF_TYPE_SOFTWARE || !isCounted(attributes.config)) return -ENOENT
  // Nothing interrupts a thread to take a sample.
  if (attributes.period !== 0) return -EOPNOTSUPP
  if (!mayInspect(task, target, false)) return -EACCES
  // A group's leader leads, whoever of the group is named.
  if (group !== undefined && group.leader !== group) return -EINVAL
  return open(task, target, attributes, inherit, group, (flags & PERF_FLAG_FD_CLOEXEC) !== 0)
}

function open(
  task: Task,
  target: Task,
  { config, format, flags }: Attributes,
  inherit: boolean,
  group: PerfFile | undefined,
  cloexec: boolean,
): number {
  const { anonFs } = task.kernel
  // A task is switched away in the kernel only.
  const never = config === PERF_COUNT_SW_CONTEXT_SWITCHES && (flags & EXCLUDE_KERNEL) !== 0
  const counted = never ? PERF_COUNT_SW_DUMMY : config
  const event = new PerfEvent(target, counted, inherit, (flags & ENABLE_ON_EXEC) !== 0)
  if ((flags & DISABLED) === 0) event.setEnabled(true)
  const id = anonFs.nextIno
  const path = anonFs.path('anon_inode:[perf_event]', 0o600)
  return installFile(task, new PerfFile(path, O_RDWR, task.cred, event, id, format, group), cloexec)
}

export const perfEventCalls = {
  perf_event_open: {
    nr: NR.perf_event_open,
    run: perf_event_open,
    args: [
      addr,
      pidArg,
      int,
      fdArg,
      flagsArg({ PERF_FLAG_FD_NO_GROUP, PERF_FLAG_FD_OUTPUT, PERF_FLAG_PID_CGROUP, PERF_FLAG_FD_CLOEXEC }),
    ],
    returns: 'fd',
    partial:
      'counters of a task by software: clocks, faults (of a process), voluntary context switches; no samples, no migrations, ' +
      'nothing of a processor',
  },
} satisfies SyscallRows
