/** /proc/PID and /proc/PID/task/TID, as data. Each entry's formatter is in the file of its subject. */
import {
  CAP_SYS_ADMIN,
  CAP_SYS_RESOURCE,
  CAP_SYS_TIME,
  CLOCK_BOOTTIME,
  CLOCK_MONOTONIC,
  SIGEV_NONE,
  SIGEV_SIGNAL,
  SIGEV_THREAD,
  SIGEV_THREAD_ID,
} from '../../abi/constants.ts'
import { EACCES, EINVAL, ENOENT, EPERM, ERANGE, ESRCH } from '../../abi/errno.ts'
import { fromBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { taskCpuTime } from '../../kernel/cpu-time.ts'
import { groupIo } from '../../kernel/io-account.ts'
import { RUNNING, type Task } from '../../kernel/task.ts'
import type { MountNamespace } from '../../vfs/mount.ts'
import { formatMountinfo, formatMounts, formatMountstats } from '../../vfs/mount-info.ts'
import type { Path } from '../../vfs/path.ts'
import { pathToString } from '../../vfs/path-string.ts'
import {
  custom,
  dir,
  dynamic,
  type FileNode,
  link,
  magic,
  type PseudoDir,
  type PseudoText,
  ro,
  rw,
  wo,
} from '../pseudo/node.ts'
import { caller, mayReadMaps, mayTrace, mayTraceAtOpen } from './access.ts'
import { fdDirectory, fdInfoDirectory } from './fd-dir.ts'
import { formatIdMap, formatSetgroups, mayOpenSetgroups, writeIdMap, writeSetgroups } from './id-maps.ts'
import { formatLimits } from './limits.ts'
import { formatLoginUid, formatSessionId, setLoginUid } from './login-uid.ts'
import { mapFilesDirectory } from './map-files.ts'
import { formatMaps, formatSmaps, formatSmapsRollup } from './maps.ts'
import { commandLine, environment, MemoryFile } from './memory-file.ts'
import { netDirectory } from './net.ts'
import { NS_KINDS, type NsKind, namespaceOf } from './ns-kinds.ts'
import { formatNumaMaps } from './numa-maps.ts'
import { openPagemap } from './pagemap.ts'
import type { ProcSuper } from './super.ts'
import { formatStat, formatStatm, formatStatus } from './task-stat.ts'
import { hex } from './text.ts'
import { formatWchan } from './wchan.ts'

/** The files of a process. */
export function pidFiles(proc: ProcSuper): PseudoDir<Task> {
  return {
    // Programs that must be single-threaded at some point look at the number of links (Chromium's zygote).
    task: dynamic(
      {
        find: (task, name) => {
          const thread = /^[1-9][0-9]*$/.test(name) ? proc.pidNs.task(Number(name)) : undefined
          return thread?.group === task.group ? { subject: thread, node: proc.threadDirectory } : undefined
        },
        list: task =>
          task.group.tasks
            .map(thread => thread.pid.in(proc.pidNs))
            .filter(tid => tid !== 0)
            .sort((a, b) => a - b)
            .map(tid => [tid, `${tid}`]),
      },
      { directories: task => task.group.tasks.length },
    ),
    ...common(proc, true),
    mountstats: ro(
      alive(task => formatMountstats(task.ns.mnt, task.fs.root)),
      0o400,
    ),
    coredump_filter: rw(task => `${hex(task.mm.coredumpFilter, 8)}\n`, setCoredumpFilter),
    timers: ro(alive(formatTimers)),
    map_files: mapFilesDirectory(),
    timerslack_ns: rw(formatTimerSlack, setTimerSlack, 0o666),
    timens_offsets: rw(formatTimeOffsets, setTimeOffsets),
  }
}

/** The files of a thread. */
export function threadFiles(proc: ProcSuper): PseudoDir<Task> {
  return {
    ...common(proc, false),
    children: ro(task =>
      [...task.group.children]
        .filter(child => child.parentTask === task)
        .map(child => `${child.pid.in(proc.pidNs)} `)
        .join(''),
    ),
  }
}

function common(proc: ProcSuper, whole: boolean): PseudoDir<Task> {
  return {
    fd: fdDirectory(),
    fdinfo: fdInfoDirectory(),
    ns: nsDirectory(proc),
    net: dir(netDirectory()),
    environ: ro(
      alive(task => environment(task.mm)),
      0o400,
      mayTraceAtOpen,
    ),
    auxv: ro(
      alive(task => fromBytes(task.mm.auxv)),
      0o400,
      mayTraceAtOpen,
    ),
    status: ro((task, cred) => formatStatus(task, proc.pidNs, cred)),
    personality: ro(
      traced(task => `${hex(task.personality, 8)}\n`),
      0o400,
    ),
    limits: ro(task => formatLimits(task.group.rlimits)),
    sched: rw(formatSched, () => 0),
    comm: rw(task => `${task.comm}\n`, setComm),
    syscall: ro(traced(formatSyscall), 0o400),
    cmdline: ro(alive(task => commandLine(task.mm))),
    stat: ro(task => formatStat(task, proc.pidNs, whole)),
    statm: ro(formatStatm),
    maps: ro(
      alive((task, _cred) => formatMaps(task.mm, caller(task.kernel).fs.root)),
      0o444,
      mayReadMaps,
    ),
    smaps: ro(
      alive(task => formatSmaps(task.mm, caller(task.kernel).fs.root)),
      0o444,
      mayReadMaps,
    ),
    smaps_rollup: ro(
      alive(task => formatSmapsRollup(task.mm)),
      0o444,
      mayTraceAtOpen,
    ),
    mem: custom((task: Task, path, flags, cred) => {
      const allowed = mayTraceAtOpen(task)
      return allowed < 0 ? allowed : new MemoryFile(path, flags, cred, task.mm)
    }, 0o600),
    cwd: place(task => task.fs.cwd),
    root: place(task => task.fs.root),
    exe: place(task => task.mm.exeFile?.path),
    mounts: mountList(formatMounts),
    mountinfo: mountList(formatMountinfo),
    attr: dir({
      current: rw(
        () => -EINVAL,
        () => -EINVAL,
        0o666,
      ),
    }),
    wchan: ro(formatWchan, 0o444),
    arch_status: ro(() => ''),
    ksm_merging_pages: ro(() => '0\n', 0o400),
    ksm_stat: ro(() => KSM_STAT, 0o400),
    numa_maps: ro(
      alive(task => formatNumaMaps(task.mm, caller(task.kernel).fs.root)),
      0o444,
      mayReadMaps,
    ),
    pagemap: custom((task: Task, path, flags, cred) => openPagemap(task, path, flags, cred), 0o400),
    clear_refs: wo((_task, text) => (/^[1-5]\s*(\0|$)/.test(text) ? 0 : -EINVAL)),
    stack: ro((_task, cred) => (cred.capable(CAP_SYS_ADMIN) ? '' : -EACCES), 0o400),
    schedstat: ro(task => `${Math.floor(taskCpuTime(task))} 0 ${task.voluntarySwitches}\n`),
    cpuset: ro(task => `${cgroupPath(task)}\n`),
    cgroup: ro(task => `0::${cgroupPath(task)}\n`),
    oom_score: ro(task => `${Math.max(0, 666 + Math.trunc((task.group.oomScoreAdj * 2) / 3))}\n`),
    oom_adj: rw(task => `${oomAdj(task.group.oomScoreAdj)}\n`, setOomAdj),
    oom_score_adj: rw(
      task => `${task.group.oomScoreAdj}\n`,
      (task, text) => setOomScoreAdj(task, integer(text)),
    ),
    loginuid: rw(formatLoginUid, setLoginUid),
    sessionid: ro(formatSessionId),
    io: ro(task => formatIo(task, whole), 0o400),
    uid_map: rw(
      (task, cred) => formatIdMap(task, 'uidMap', cred),
      (task, text, cred) => writeIdMap(task, 'uidMap', text, cred),
    ),
    gid_map: rw(
      (task, cred) => formatIdMap(task, 'gidMap', cred),
      (task, text, cred) => writeIdMap(task, 'gidMap', text, cred),
    ),
    projid_map: rw(
      () => '         0          0 4294967295\n',
      () => -EPERM,
    ),
    setgroups: rw(formatSetgroups, writeSetgroups, 0o644, mayOpenSetgroups),
  }
}

/** As the reader's cgroup namespace has it. */
function cgroupPath(task: Task): string {
  return task.group.cgroup.pathFrom(caller(task.kernel).ns.cgroup.root)
}

/** Nothing is merged: whatever the host may do with pages that are alike, it does not tell. */
const KSM_STAT =
  'ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\nksm_merge_any: no\nksm_mergeable: no\n'

/** Empty once the memory is gone. */
function alive(format: (task: Task, cred: Credentials) => string | PseudoText): FileNode<Task>['read'] {
  return (task, cred) => (task.ended ? '' : format(task, cred))
}

/** Who watches the mounts is told of changes. */
function mountList(format: (ns: MountNamespace, root: Path) => PseudoText): FileNode<Task> {
  return {
    kind: 'file',
    mode: 0o444,
    read: alive(task => format(task.ns.mnt, task.fs.root)),
    changes: task => task.ns.mnt.changes,
    tellsOnce: true,
  }
}

/** Only for those who may trace the task: -EPERM at the read. */
function traced(format: (task: Task) => string): FileNode<Task>['read'] {
  return task => (mayTrace(task) ? format(task) : -EPERM)
}

/** cwd, root and exe. */
function place(find: (task: Task) => Path | undefined): PseudoDir<Task>[string] {
  const get = (task: Task): OrErrno<Path> => {
    if (!mayTrace(task)) return -EACCES
    return (task.ended ? undefined : find(task)) ?? -ENOENT
  }
  return magic<Task>(
    task => {
      const path = get(task)
      return typeof path === 'number' ? path : pathToString(path, caller(task.kernel).fs.root)
    },
    task => get(task),
  )
}

/** An ended process has given back all of its namespaces but these two. */
function hasNone(task: Task, kind: NsKind, forChildren: boolean): boolean {
  return task.ended && kind !== 'user' && (kind !== 'pid' || forChildren)
}

function nsDirectory(proc: ProcSuper): PseudoDir<Task>[string] {
  const links: Record<string, PseudoDir<Task>[string]> = {}
  const add = (name: string, kind: NsKind, forChildren: boolean) => {
    links[name] = magic<Task>(
      task => {
        if (!mayTrace(task)) return -EACCES
        if (hasNone(task, kind, forChildren)) return -ENOENT
        return `${kind}:[${namespaceOf(task, kind, forChildren).inum}]`
      },
      task => {
        if (!mayTrace(task)) return -EACCES
        if (hasNone(task, kind, forChildren)) return -ENOENT
        return proc.nsFs.path(kind, namespaceOf(task, kind, forChildren))
      },
    )
  }
  for (const kind of Object.keys(NS_KINDS) as NsKind[]) {
    add(kind, kind, false)
    if (kind === 'pid' || kind === 'time') add(`${kind}_for_children`, kind, true)
  }
  return dir(links, { mode: 0o511 })
}

function setComm(task: Task, text: string): Status {
  if (caller(task.kernel).group !== task.group) return -EINVAL
  task.setComm(text)
  return 0
}

function formatSyscall(task: Task): string {
  const wait = task.state === RUNNING ? task.thread.native?.current() : undefined
  if (wait !== undefined) return formatCall(wait.nr, wait.args, wait.sp, wait.ip)
  if (task.state === RUNNING || task.callNumber < 0) return 'running\n'
  const regs = task.thread.regs
  return formatCall(task.callNumber, task.args, regs.get(15), regs.get(16))
}

function formatCall(nr: number, args: readonly number[], sp: number, ip: number): string {
  const words = args.map(arg => `0x${hex(arg < 0 ? arg >>> 0 : arg)}`)
  return `${nr} ${words.join(' ')} 0x${hex(sp)} 0x${hex(ip)}\n`
}

function formatSched(task: Task): string {
  const row = (name: string, value: string) => `${name.padEnd(45)}:${value.padStart(21)}\n`
  const ms = (ns: number) => (ns / 1e6).toFixed(6)
  return (
    `${task.comm} (${task.tid}, #threads: ${task.group.live})\n${'-'.repeat(67)}\n` +
    row('se.exec_start', ms(task.kernel.clock.monotonic())) +
    row('se.sum_exec_runtime', ms(taskCpuTime(task))) +
    row('nr_switches', `${task.voluntarySwitches}`) +
    row('nr_voluntary_switches', `${task.voluntarySwitches}`) +
    row('nr_involuntary_switches', '0') +
    row('policy', `${task.scheduling.policy}`) +
    row(
      'prio',
      `${task.scheduling.priority > 0 ? 99 - task.scheduling.priority : 120 + task.scheduling.nice}`,
    )
  )
}

function formatIo(task: Task, whole: boolean): OrErrno<string> {
  if (!mayTrace(task)) return -EACCES
  const { readBytes, writtenBytes, reads, writes } = whole ? groupIo(task.group) : task.io
  return (
    `rchar: ${readBytes}\nwchar: ${writtenBytes}\nsyscr: ${reads}\nsyscw: ${writes}\n` +
    'read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n'
  )
}

/** KTIME_SEC_MAX: what of seconds a 64-bit number of ns holds. */
const MAX_SECONDS = 9223372036
const OFFSET_CLOCKS: Readonly<Record<string, 'monotonicOffset' | 'boottimeOffset'>> = {
  monotonic: 'monotonicOffset',
  [CLOCK_MONOTONIC]: 'monotonicOffset',
  boottime: 'boottimeOffset',
  [CLOCK_BOOTTIME]: 'boottimeOffset',
}

/** proc_timens_set_offset: lines of a clock, seconds and ns, as long as nobody lives there. */
function setTimeOffsets(task: Task, text: string, cred: Credentials): Status {
  const lines = text.split('\n').filter(line => line.trim() !== '')
  const parsed = lines.map(line => /^\s*(\w+)\s+(-?\d+)\s+(\d+)\s*$/.exec(line))
  if (lines.length > 2 || parsed.some(match => match === null || Number(match[3]) >= 1e9)) return -EINVAL
  if (parsed.some(match => OFFSET_CLOCKS[match![1]] === undefined)) return -EINVAL
  const ns = task.ns.timeForChildren
  if (!cred.capable(CAP_SYS_TIME, ns.userNs)) return -EPERM
  const { clock } = task.kernel
  for (const match of parsed) {
    const seconds = Number(match![2])
    const now = OFFSET_CLOCKS[match![1]] === 'monotonicOffset' ? clock.monotonic() : clock.boottime()
    const then = now / 1e9 + seconds
    if (Math.abs(seconds) > MAX_SECONDS || then < 0 || then > MAX_SECONDS / 2) return -ERANGE
  }
  if (ns.frozen || ns === task.ns.time) return -EACCES
  for (const match of parsed) ns[OFFSET_CLOCKS[match![1]]] = Number(match![2]) * 1e9 + Number(match![3])
  return 0
}

function formatTimeOffsets(task: Task): string {
  const { monotonicOffset, boottimeOffset } = task.ns.timeForChildren
  const row = (name: string, ns: number) =>
    `${name.padEnd(10)} ${String(Math.floor(ns / 1e9)).padStart(10)} ${String(((ns % 1e9) + 1e9) % 1e9).padStart(9)}\n`
  return row('monotonic', monotonicOffset) + row('boottime', boottimeOffset)
}

const NOTIFY_NAMES: Readonly<Record<number, string>> = {
  [SIGEV_SIGNAL]: 'signal',
  [SIGEV_NONE]: 'none',
  [SIGEV_THREAD]: 'thread',
}

/** The POSIX timers of the process, the newest first. */
function formatTimers(task: Task): string {
  const ns = caller(task.kernel).pidNs
  let text = ''
  for (const { id, event } of [...(task.group.posixTimers?.values() ?? [])].reverse()) {
    const value = hex(event.valueHi * 2 ** 32 + event.valueLo, 16)
    const whom =
      event.thread === undefined ? `pid.${task.group.pid.in(ns)}` : `tid.${event.thread.pid.in(ns)}`
    const how = NOTIFY_NAMES[event.notify & ~SIGEV_THREAD_ID]
    text += `ID: ${id}\nsignal: ${event.signo}/${value}\nnotify: ${how}/${whom}\nClockID: ${event.clockId}\n`
  }
  return text
}

function formatTimerSlack(task: Task): OrErrno<string> {
  const from = caller(task.kernel)
  if (from !== task && !mayTrace(task)) return -EPERM
  return `${task.timerSlack}\n`
}

function setTimerSlack(task: Task, text: string): Status {
  const slack = integer(text)
  const from = caller(task.kernel)
  if (from !== task && !mayTrace(task)) return -EPERM
  if (slack === undefined || slack < 0) return -EINVAL
  task.timerSlack = slack === 0 ? task.defaultTimerSlack : slack
  return 0
}

function setCoredumpFilter(task: Task, text: string): Status {
  const value = integer(text)
  if (value === undefined || value < 0) return -EINVAL
  if (task.ended) return -ESRCH
  task.mm.coredumpFilter = value & 0x1ff
  return 0
}

/** A decimal, octal or 0x number as kstrtoint takes it, white space around it allowed; a NUL ends the text (runc writes it). */
export function integer(text: string): number | undefined {
  const match = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\s*(?:\0|$)/.exec(text)
  if (match === null) return undefined
  const [, sign, digits] = match
  const value = digits.length > 1 && /^0[0-7]/.test(digits) ? Number.parseInt(digits, 8) : Number(digits)
  return sign === '-' ? -value : value
}

function oomAdj(scoreAdj: number): number {
  return scoreAdj === 1000 ? 15 : Math.trunc((scoreAdj * 17) / 1000)
}

function setOomAdj(task: Task, text: string): Status {
  const value = integer(text)
  if (value === undefined || ((value < -16 || value > 15) && value !== -17)) return -EINVAL
  return setOomScoreAdj(task, value === 15 ? 1000 : Math.trunc((value * 1000) / 17))
}

/** Lowering it takes CAP_SYS_RESOURCE. */
function setOomScoreAdj(task: Task, value: number | undefined): Status {
  if (value === undefined || value < -1000 || value > 1000) return -EINVAL
  const { cred } = caller(task.kernel)
  if (value < task.group.oomScoreAdj && !cred.capable(CAP_SYS_RESOURCE)) return -EACCES
  task.group.oomScoreAdj = value
  return 0
}

export const selfLink = (proc: ProcSuper) =>
  link(() => {
    const self = caller(proc.kernel).group.pid.in(proc.pidNs)
    return self === 0 ? -ENOENT : `${self}`
  })

export const threadSelfLink = (proc: ProcSuper) =>
  link(() => {
    const task = caller(proc.kernel)
    const [pid, tid] = [task.group.pid.in(proc.pidNs), task.pid.in(proc.pidNs)]
    return tid === 0 ? -ENOENT : `${pid}/task/${tid}`
  })
