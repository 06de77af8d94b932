/**
 * The family TASKSTATS of generic netlink: what a thread or process has used, asked for by its id, or told when it ends to those
 * who have registered for the CPU on which it does (Documentation/accounting/taskstats.rst). It is for who has CAP_NET_ADMIN in
 * the first user namespace.
 *
 * Delays are not there, as on a kernel with delay accounting switched off: times and counts of waiting are 0.
 */
import {
  AFORK,
  AGROUP,
  AXSIG,
  GENL_ADMIN_PERM,
  GENL_CMD_CAP_DO,
  GENL_CMD_CAP_HASPOL,
  NLM_F_DUMP,
  TASKSTATS_CMD_ATTR_DEREGISTER_CPUMASK,
  TASKSTATS_CMD_ATTR_MAX,
  TASKSTATS_CMD_ATTR_PID,
  TASKSTATS_CMD_ATTR_REGISTER_CPUMASK,
  TASKSTATS_CMD_ATTR_TGID,
  TASKSTATS_CMD_GET,
  TASKSTATS_CMD_NEW,
  TASKSTATS_GENL_VERSION,
  TASKSTATS_TYPE_AGGR_PID,
  TASKSTATS_TYPE_AGGR_TGID,
  TASKSTATS_TYPE_PID,
  TASKSTATS_TYPE_STATS,
  TASKSTATS_TYPE_TGID,
  TASKSTATS_VERSION,
} from '../../abi/constants.ts'
import { E2BIG, EINVAL, EOPNOTSUPP, ERANGE, ESRCH } from '../../abi/errno.ts'
import { GENLMSGHDR, TASKSTATS } from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import { parseCpuList } from '../../base/cpu-list.ts'
import type { UserNamespace } from '../../base/credentials.ts'
import { fromKernelId } from '../../base/id-map.ts'
import type { Status } from '../../base/result.ts'
import { groupTotals, taskTotals } from '../../kernel/cpu-time.ts'
import type { Kernel, TaskWatcher } from '../../kernel/kernel.ts'
import type { PidNamespace } from '../../kernel/pid.ts'
import { lastCpu } from '../../kernel/scheduling.ts'
import type { Task } from '../../kernel/task.ts'
import type { ThreadGroup } from '../../kernel/thread-group.ts'
import { memoryUse } from '../../mm/memory-use.ts'
import type { GenericFamily } from './generic-family.ts'
import { type Attributes, MessageWriter } from './message.ts'
import type { NetlinkRequest } from './protocol.ts'
import type { NetlinkSocket } from './socket.ts'

/** The family's id: any number that no other family has. */
const TASKSTATS_ID = 0x20
/** TASKSTATS_CPUMASK_MAXLEN, for 8192 CPUs. */
const LONGEST_LIST = 100 + 6 * 8192
/** Nobody sends what is told. */
const KERNEL_PORT = 0

export const taskstatsFamily: GenericFamily = {
  id: TASKSTATS_ID,
  name: 'TASKSTATS',
  version: TASKSTATS_GENL_VERSION,
  maxAttribute: TASKSTATS_CMD_ATTR_MAX,
  operations: [
    { command: TASKSTATS_CMD_GET, flags: GENL_ADMIN_PERM | GENL_CMD_CAP_DO | GENL_CMD_CAP_HASPOL },
  ],
  groups: [],
  receive: (request, _command, attributes) =>
    (request.flags & NLM_F_DUMP) !== 0 ? -EOPNOTSUPP : getTaskstats(request, attributes),
}

/** TASKSTATS_CMD_GET. */
function getTaskstats(request: NetlinkRequest, attributes: Attributes): Status {
  const register = attributes.get(TASKSTATS_CMD_ATTR_REGISTER_CPUMASK)
  if (register !== undefined) return changeListener(request, register, true)
  const deregister = attributes.get(TASKSTATS_CMD_ATTR_DEREGISTER_CPUMASK)
  if (deregister !== undefined) return changeListener(request, deregister, false)
  if (attributes.has(TASKSTATS_CMD_ATTR_PID))
    return answer(request, attributes.u32(TASKSTATS_CMD_ATTR_PID), false)
  if (attributes.has(TASKSTATS_CMD_ATTR_TGID))
    return answer(request, attributes.u32(TASKSTATS_CMD_ATTR_TGID), true)
  return -EINVAL
}

function answer(request: NetlinkRequest, id: number | undefined, whole: boolean): Status {
  if (id === undefined) return -ERANGE
  const { task } = request
  const found = task.pidNs.task(id)
  if (found === undefined || (whole && found.group.tasks.every(each => each.ended))) return -ESRCH
  const writer = new MessageWriter()
  writer.start(TASKSTATS_ID, 0, request.sequence, request.port)
  writeCommand(writer)
  if (whole) writeGroup(writer, found.group, id)
  else writeTask(writer, found, id, task.pidNs, task.cred.userNs)
  writer.end()
  return request.answer(writer)
}

function writeCommand(writer: MessageWriter): void {
  const at = writer.struct(GENLMSGHDR.size)
  writer.set8(at + GENLMSGHDR.cmd, TASKSTATS_CMD_NEW)
  writer.set8(at + GENLMSGHDR.version, TASKSTATS_GENL_VERSION)
}

/** fill_stats: all that is known of a thread. `status`: of one that ends. */
function writeTask(
  writer: MessageWriter,
  task: Task,
  id: number,
  pidNs: PidNamespace,
  userNs: UserNamespace,
  status?: number,
): void {
  const { group, kernel, io, scheduling } = task
  const now = kernel.clock.boottime()
  const totals = taskTotals(task)
  const nest = writer.nest(TASKSTATS_TYPE_AGGR_PID)
  writer.u32(TASKSTATS_TYPE_PID, id)
  const at = writer.attribute(TASKSTATS_TYPE_STATS, TASKSTATS.size)
  writer.set16(at + TASKSTATS.version, TASKSTATS_VERSION)
  let flags = group.hasExeced || group.leader !== task ? 0 : AFORK
  if (status !== undefined) {
    writer.set32(at + TASKSTATS.ac_exitcode, status)
    if ((status & 0x7f) !== 0) flags |= AXSIG
    if (group.live <= 1) flags |= AGROUP
  }
  writer.set8(at + TASKSTATS.ac_flag, flags)
  writer.set8(at + TASKSTATS.ac_nice, scheduling.nice & 0xff)
  writer.set8(at + TASKSTATS.ac_sched, scheduling.policy)
  for (let i = 0; i < task.comm.length; i++) writer.set8(at + TASKSTATS.ac_comm + i, task.comm.charCodeAt(i))
  writer.set32(at + TASKSTATS.ac_uid, fromKernelId(userNs.uidMap, task.cred.uid))
  writer.set32(at + TASKSTATS.ac_gid, fromKernelId(userNs.gidMap, task.cred.gid))
  writer.set32(at + TASKSTATS.ac_pid, task.pid.in(pidNs))
  writer.set32(at + TASKSTATS.ac_tgid, group.pid.in(pidNs))
  writer.set32(at + TASKSTATS.ac_ppid, group.parent?.pid.in(pidNs) ?? 0)
  const age = Math.max(0, now - task.startTime)
  const begun = kernel.clock.realtime().sec - Math.floor(age / 1e9)
  writer.set32(at + TASKSTATS.ac_btime, begun)
  writer.set64(at + TASKSTATS.ac_btime64, begun)
  writer.set64(at + TASKSTATS.ac_etime, micro(age))
  writer.set64(at + TASKSTATS.ac_tgetime, micro(Math.max(0, now - group.leader.startTime)))
  for (const field of [TASKSTATS.ac_utime, TASKSTATS.ac_utimescaled])
    writer.set64(at + field, micro(totals.user))
  for (const field of [TASKSTATS.ac_stime, TASKSTATS.ac_stimescaled])
    writer.set64(at + field, micro(totals.system))
  writeRunTime(writer, at, totals.user + totals.system)
  writer.set64(at + TASKSTATS.ac_minflt, totals.minorFaults)
  writer.set64(at + TASKSTATS.ac_majflt, totals.majorFaults)
  writer.set64(at + TASKSTATS.nvcsw, totals.voluntarySwitches)
  writer.set64(at + TASKSTATS.nivcsw, totals.involuntarySwitches)
  writer.set64(at + TASKSTATS.read_char, kilo(io.readBytes))
  writer.set64(at + TASKSTATS.write_char, kilo(io.writtenBytes))
  writer.set64(at + TASKSTATS.read_syscalls, kilo(io.reads))
  writer.set64(at + TASKSTATS.write_syscalls, kilo(io.writes))
  if (!task.ended && task.thread.space.alive) {
    const use = memoryUse(task.mm)
    writer.set64(at + TASKSTATS.hiwater_rss, Math.max(use.resident, task.mm.peakPages()) * 4)
    writer.set64(at + TASKSTATS.hiwater_vm, use.size * 4)
    const exe = task.mm.exeFile?.inode
    if (exe !== undefined) {
      writer.set64(at + TASKSTATS.ac_exe_dev, exe.dev)
      writer.set64(at + TASKSTATS.ac_exe_inode, exe.ino)
    }
  }
  writer.close(nest)
}

/** fill_stats_for_tgid: the sums that there are of a process. */
function writeGroup(writer: MessageWriter, group: ThreadGroup, id: number): void {
  const totals = groupTotals(group)
  const now = group.kernel.clock.boottime()
  const nest = writer.nest(TASKSTATS_TYPE_AGGR_TGID)
  writer.u32(TASKSTATS_TYPE_TGID, id)
  const at = writer.attribute(TASKSTATS_TYPE_STATS, TASKSTATS.size)
  writer.set16(at + TASKSTATS.version, TASKSTATS_VERSION)
  let age = 0
  for (const task of group.tasks) if (!task.ended) age += Math.max(0, now - task.startTime)
  writer.set64(at + TASKSTATS.ac_etime, micro(age))
  writer.set64(at + TASKSTATS.ac_utime, micro(totals.user))
  writer.set64(at + TASKSTATS.ac_stime, micro(totals.system))
  writeRunTime(writer, at, totals.user + totals.system)
  writer.set64(at + TASKSTATS.nvcsw, totals.voluntarySwitches)
  writer.set64(at + TASKSTATS.nivcsw, totals.involuntarySwitches)
  writer.close(nest)
}

function writeRunTime(writer: MessageWriter, at: number, ns: number): void {
  writer.set64(at + TASKSTATS.cpu_run_real_total, Math.floor(ns))
  writer.set64(at + TASKSTATS.cpu_run_virtual_total, Math.floor(ns))
  writer.set64(at + TASKSTATS.cpu_scaled_run_real_total, Math.floor(ns))
}

/** KB_MASK: calls are shown so, too. */
function kilo(count: number): number {
  return count - (count % 1024)
}
function micro(ns: number): number {
  return Math.floor(ns / 1000)
}

// Who is told of ends.

function changeListener(request: NetlinkRequest, list: Uint8Array, add: boolean): Status {
  if (list.length > LONGEST_LIST) return -E2BIG
  if (list.length < 1) return -EINVAL
  const { task, socket } = request
  const { kernel } = task
  const end = list.indexOf(0)
  const cpus = parseCpuList(fromBytes(list, 0, end < 0 ? list.length : end))
  if (cpus === undefined) return -EINVAL
  if (cpus.some(cpu => cpu >= kernel.cpuWidth)) return -EINVAL
  if (task.cred.userNs !== kernel.userNs || task.pidNs !== kernel.pidNs) return -EINVAL
  const listeners = listenersOf(kernel)
  if (add) listeners.add(socket, cpus)
  else listeners.remove(socket, cpus)
  return 0
}

function listenersOf(kernel: Kernel): Listeners {
  for (const watcher of kernel.taskWatchers) if (watcher instanceof Listeners) return watcher
  return new Listeners(kernel)
}

class Listeners implements TaskWatcher {
  readonly #kernel: Kernel
  readonly #cpus = new Map<NetlinkSocket, Set<number>>()
  /** Processes that have had several threads. */
  readonly #threaded = new WeakSet<ThreadGroup>()
  #sequence = 0

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  add(socket: NetlinkSocket, cpus: readonly number[]): void {
    this.#forgetClosed()
    const set = this.#cpus.get(socket) ?? new Set()
    for (const cpu of cpus) set.add(cpu)
    this.#cpus.set(socket, set)
    this.#kernel.taskWatchers.add(this)
  }

  remove(socket: NetlinkSocket, cpus: readonly number[]): void {
    const set = this.#cpus.get(socket)
    for (const cpu of cpus) set?.delete(cpu)
    if (set?.size === 0) this.#cpus.delete(socket)
    this.#forgetClosed()
  }

  #forgetClosed(): void {
    for (const socket of this.#cpus.keys()) if (!socket.table.sockets.has(socket)) this.#cpus.delete(socket)
    if (this.#cpus.size === 0) this.#kernel.taskWatchers.delete(this)
  }

  /** taskstats_exit. */
  taskEnds(task: Task, status: number): void {
    const { group } = task
    const { pidNs, userNs } = this.#kernel
    this.#forgetClosed()
    if (group.tasks.length > 1) this.#threaded.add(group)
    const cpu = lastCpu(task)
    const writer = new MessageWriter()
    writer.start(TASKSTATS_ID, 0, this.#sequence++, KERNEL_PORT)
    writeCommand(writer)
    writeTask(writer, task, task.pid.in(pidNs), pidNs, userNs, status)
    if (group.live <= 1 && this.#threaded.has(group)) writeGroup(writer, group, group.pid.in(pidNs))
    writer.end()
    const bytes = writer.take()
    for (const [socket, cpus] of this.#cpus) if (cpus.has(cpu)) socket.deliver(bytes, KERNEL_PORT, 0)
  }
}
