/** /proc/PID/stat, statm and status, and those of single threads: proc_pid_stat(5), proc_pid_status(5). */
import { RLIMIT_RSS, RLIMIT_SIGPENDING, SIG_DFL, SIG_IGN } from '../../abi/constants.ts'
import type { CapabilitySet, Credentials } from '../../base/credentials.ts'
import { fromKernelId } from '../../base/id-map.ts'
import { HOLD_FREEZE } from '../../kernel/cgroup/holds.ts'
import { groupTotals, taskTotals } from '../../kernel/cpu-time.ts'
import type { PidNamespace } from '../../kernel/pid.ts'
import { allowedCpus, lastCpu } from '../../kernel/scheduling.ts'
import { SignalSet } from '../../kernel/signal-set.ts'
import { NSIG } from '../../kernel/signal-state.ts'
import { BLOCKED, STOPPED, type Task, TRACED } from '../../kernel/task.ts'
import { memoryUse } from '../../mm/memory-use.ts'
import { mayTrace } from './access.ts'
import { ALL_ONES, commText, hex64, hexSet, maskText, rangeList, ticks } from './text.ts'

/** As the third field of stat; `name` is what status adds. */
export function stateOf(task: Task): { letter: string; name: string } {
  if (task.ended) return { letter: 'Z', name: 'zombie' }
  if (task.state === TRACED && !task.halt!.resumed) return { letter: 't', name: 'tracing stop' }
  if (task.signals.stopped || task.group.stopped) return { letter: 'T', name: 'stopped' }
  if ((task.group.holds & HOLD_FREEZE) !== 0) return { letter: 'S', name: 'sleeping' }
  // Who is held for the sake of others would run.
  if (task.state === STOPPED) return { letter: 'R', name: 'running' }
  if (task.state === BLOCKED) {
    return task.uninterruptible ? { letter: 'D', name: 'disk sleep' } : { letter: 'S', name: 'sleeping' }
  }
  if (task.thread.native?.current() !== undefined) return { letter: 'S', name: 'sleeping' }
  return { letter: 'R', name: 'running' }
}

/** PF_FORKNOEXEC, PF_RANDOMIZE and PF_SUPERPRIV are what anybody looks for; the second is always on. */
const PF_FORKNOEXEC = 0x40
const PF_RANDOMIZE = 0x400000
const PF_EXITING = 0x4

/** @param whole the process, not the thread. */
export function formatStat(task: Task, ns: PidNamespace, whole: boolean): string {
  const { group } = task
  const permitted = mayTrace(task)
  const totals = whole ? groupTotals(group) : taskTotals(task)
  const { session } = group.processGroup
  const terminal = session.terminal
  const mm = task.ended ? undefined : task.mm
  const use = mm === undefined ? undefined : memoryUse(mm)
  const nice = task.scheduling.nice
  const rtPriority = task.scheduling.priority
  const caught = signalActions(task)
  const signal = (set: SignalSet) => set.lo & 0x7fffffff
  const rssLimit = group.rlimits.soft(RLIMIT_RSS)
  const address = (value: number | undefined) => (permitted ? (value ?? 0) : 0)
  const flags = (group.hasExeced ? 0 : PF_FORKNOEXEC) | PF_RANDOMIZE | (task.ended ? PF_EXITING : 0)
  return `${[
    task.pid.in(ns),
    `(${commText(task.comm)})`,
    stateOf(task).letter,
    group.parent?.pid.in(ns) ?? 0,
    group.processGroup.pid.in(ns),
    session.pid.in(ns),
    terminal === undefined ? 0 : encodeTty(terminal.rdev),
    terminal === undefined ? -1 : (terminal.foreground?.pid.in(ns) ?? -1),
    flags,
    totals.minorFaults,
    whole ? group.waited.minorFaults : 0,
    totals.majorFaults,
    whole ? group.waited.majorFaults : 0,
    ticks(totals.user),
    ticks(totals.system),
    ticks(group.waited.user),
    ticks(group.waited.system),
    rtPriority > 0 ? -1 - rtPriority : 20 + nice,
    nice,
    group.live,
    0,
    ticks(task.startTime),
    use === undefined ? 0 : use.size * 4096,
    use?.resident ?? 0,
    rssLimit === Number.POSITIVE_INFINITY ? ALL_ONES : rssLimit,
    mm === undefined ? 0 : permitted ? mm.startCode : 1,
    mm === undefined ? 0 : permitted ? mm.endCode : 1,
    address(mm?.startStack),
    0,
    0,
    signal(task.signals.pending.set),
    signal(task.signals.blocked),
    signal(caught.ignored),
    signal(caught.caught),
    permitted && !task.ended && task.state === BLOCKED ? 1 : 0,
    0,
    0,
    task === group.leader ? group.exitSignal : -1,
    lastCpu(task),
    rtPriority,
    task.scheduling.policy,
    0,
    0,
    0,
    address(mm?.startData),
    address(mm?.endData),
    address(mm?.startBrk),
    address(mm?.argStart),
    address(mm?.argEnd),
    address(mm?.envStart),
    address(mm?.envEnd),
    permitted ? group.exitStatus : 0,
  ].join(' ')}\n`
}

/** tty_nr: 8 bits of minor, 12 of major, the rest of the minor above. */
function encodeTty(rdev: number): number {
  const major = Math.floor(rdev / 0x100000)
  const minor = rdev & 0xfffff
  return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)
}

function signalActions(task: Task): { ignored: SignalSet; caught: SignalSet } {
  const ignored = new SignalSet()
  const caught = new SignalSet()
  for (let signo = 1; signo <= NSIG; signo++) {
    const { handler } = task.group.handlers.action(signo)
    if (handler === SIG_IGN) ignored.add(signo)
    else if (handler !== SIG_DFL) caught.add(signo)
  }
  return { ignored, caught }
}

/** Sizes in pages: total, resident, shared, text, 0, data, 0. */
export function formatStatm(task: Task): string {
  if (task.ended) return '0 0 0 0 0 0 0\n'
  const use = memoryUse(task.mm)
  return `${use.size} ${use.resident} ${use.residentFile} ${use.text} 0 ${use.data} 0\n`
}

export function formatStatus(task: Task, ns: PidNamespace, reader: Credentials): string {
  const { group, cred, kernel } = task
  const { userNs } = reader
  const uid = (id: number) => fromKernelId(userNs.uidMap, id)
  const gid = (id: number) => fromKernelId(userNs.gidMap, id)
  const state = stateOf(task)
  const actions = signalActions(task)
  const numbers = (pid: { numbers: readonly number[] }) => pid.numbers.slice(ns.level).join('\t')
  const allowed = allowedCpus(task)
  const lines = [
    `Name:\t${commText(task.comm)}`,
    `Umask:\t${task.fs.umask.toString(8).padStart(4, '0')}`,
    `State:\t${state.letter} (${state.name})`,
    `Tgid:\t${group.pid.in(ns)}`,
    'Ngid:\t0',
    `Pid:\t${task.pid.in(ns)}`,
    `PPid:\t${group.parent?.pid.in(ns) ?? 0}`,
    `TracerPid:\t${task.ptrace?.tracer.pid.in(ns) ?? 0}`,
    `Uid:\t${uid(cred.uid)}\t${uid(cred.euid)}\t${uid(cred.suid)}\t${uid(cred.fsuid)}`,
    `Gid:\t${gid(cred.gid)}\t${gid(cred.egid)}\t${gid(cred.sgid)}\t${gid(cred.fsgid)}`,
    `FDSize:\t${task.ended ? 0 : fdTableSize(task.fds.size)}`,
    `Groups:\t${cred.groups.map(group => `${gid(group)} `).join('')}${cred.groups.length === 0 ? ' ' : ''}`,
    `NStgid:\t${numbers(group.pid)}`,
    `NSpid:\t${numbers(task.pid)}`,
    `NSpgid:\t${numbers(group.processGroup.pid)}`,
    `NSsid:\t${numbers(group.processGroup.session.pid)}`,
    'Kthread:\t0',
    ...(task.ended ? [] : memoryLines(task)),
    `Threads:\t${group.live}`,
    `SigQ:\t${kernel.users.of(cred.uid).pendingSignals}/${limitText(group.rlimits.soft(RLIMIT_SIGPENDING))}`,
    `SigPnd:\t${hexSet(task.signals.pending.set)}`,
    `ShdPnd:\t${hexSet(group.pending.set)}`,
    `SigBlk:\t${hexSet(task.signals.blocked)}`,
    `SigIgn:\t${hexSet(actions.ignored)}`,
    `SigCgt:\t${hexSet(actions.caught)}`,
    `CapInh:\t${capText(cred.inheritable)}`,
    `CapPrm:\t${capText(cred.permitted)}`,
    `CapEff:\t${capText(cred.effective)}`,
    `CapBnd:\t${capText(cred.bounding)}`,
    `CapAmb:\t${capText(cred.ambient)}`,
    `NoNewPrivs:\t${cred.noNewPrivs ? 1 : 0}`,
    `Seccomp:\t${task.seccomp?.mode ?? 0}`,
    `Seccomp_filters:\t${task.seccomp?.filter?.count ?? 0}`,
    'Speculation_Store_Bypass:\tvulnerable',
    'SpeculationIndirectBranch:\talways enabled',
    `Cpus_allowed:\t${maskText(allowed, kernel.cpuWidth)}`,
    `Cpus_allowed_list:\t${rangeList(allowed)}`,
    'Mems_allowed:\t00000000,00000001',
    'Mems_allowed_list:\t0',
    `voluntary_ctxt_switches:\t${task.voluntarySwitches}`,
    'nonvoluntary_ctxt_switches:\t0',
  ]
  return `${lines.join('\n')}\n`
}

function limitText(limit: number): string {
  return limit === Number.POSITIVE_INFINITY ? ALL_ONES : `${limit}`
}

function memoryLines(task: Task): string[] {
  const use = memoryUse(task.mm)
  const size = (name: string, pages: number) => `${name}:\t${String(pages * 4).padStart(8)} kB`
  return [
    size('VmPeak', use.size),
    size('VmSize', use.size),
    size('VmLck', use.locked),
    size('VmPin', 0),
    size('VmHWM', Math.max(use.resident, task.mm.peakPages())),
    size('VmRSS', use.resident),
    size('RssAnon', use.resident - use.residentFile),
    size('RssFile', use.residentFile),
    size('RssShmem', 0),
    size('VmData', use.data),
    size('VmStk', use.stack),
    size('VmExe', use.text),
    size('VmLib', use.libraries),
    size('VmPTE', use.pageTables),
    size('VmSwap', 0),
    size('HugetlbPages', 0),
    `CoreDumping:\t${task.group.coreDump === undefined ? 0 : 1}`,
    `THP_enabled:\t${task.mm.thpDisabled ? 0 : 1}`,
    'untag_mask:\t0xffffffffffffffff',
  ]
}

/** The table grows by powers of two from 64 (256 after a fork with more). */
function fdTableSize(used: number): number {
  let size = 64
  while (size < used) size *= 2
  return size
}

function capText(set: CapabilitySet): string {
  return hex64(set.lo, set.hi)
}
