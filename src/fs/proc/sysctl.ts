/**
 * /proc/sys, as data. Settings that the kernel obeys are read and written where it keeps them; the others have the value
 * that a Linux of this configuration has, and can't be changed.
 */
import { CAP_SYS_ADMIN } from '../../abi/constants.ts'
import { EINVAL, EPERM } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { KERNEL_VERSION, kernelRelease } from '../../kernel/version.ts'
import { MAX_MAP_COUNT } from '../../mm/mm.ts'
import { dir, type FileNode, fixed, type PseudoDir, ro, rw, wo } from '../pseudo/node.ts'
import { caller } from './access.ts'
import { FS_CONSTANTS, KERNEL_CONSTANTS, VM_CONSTANTS } from './sysctl-constants.ts'
import { ipcSetting } from './sysctl-ipc.ts'
import { formatFaultReports, logSettings, setFaultReports } from './sysctl-log.ts'
import { netDirectory } from './sysctl-net.ts'
import { stringSetting } from './text.ts'

export function sysctlFiles(): PseudoDir<Kernel> {
  return {
    abi: dir({ vsyscall32: constant(1) }),
    debug: dir({ 'exception-trace': rw(formatFaultReports, setFaultReports) }),
    dev: dir(devSettings()),
    fs: dir(fsSettings()),
    kernel: dir(kernelSettings()),
    net: netDirectory(),
    user: dir(userSettings()),
    vm: dir(vmSettings()),
  }
}

/** Fixed, though Linux would let root change it: writing the value it has is no error. */
function constant(value: string | number): FileNode<Kernel> {
  return rw(
    () => `${value}\n`,
    (_kernel, text) => (text.trim() === String(value) ? 0 : -EPERM),
  )
}

function constants(values: Readonly<Record<string, string | number>>): PseudoDir<Kernel> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, constant(value)]))
}

/** A limit that the kernel obeys, and root may change. */
function limit<Name extends string>(
  limits: (kernel: Kernel) => Record<Name, number>,
  name: NoInfer<Name>,
): FileNode<Kernel> {
  return rw(
    kernel => `${limits(kernel)[name]}\n`,
    (kernel, text) =>
      setNumber(text, 0, 0x7fffffff, value => {
        limits(kernel)[name] = value
      }),
  )
}

const inotify = (kernel: Kernel) => kernel.inotifyLimits
const fanotify = (kernel: Kernel) => kernel.fanotifyLimits

function kernelSettings(): PseudoDir<Kernel> {
  return {
    ...constants(KERNEL_CONSTANTS),
    ...logSettings(),
    arch: fixed('x86_64'),
    auto_msgmni: constant(0),
    cap_last_cap: fixed('40'),
    core_pattern: rw(kernel => `${kernel.core.pattern}\n`, setCorePattern),
    core_pipe_limit: constant(0),
    core_uses_pid: rw(kernel => `${kernel.core.usesPid ? 1 : 0}\n`, setCoreUsesPid),
    io_uring_disabled: rw(
      kernel => `${kernel.ioUringDisabled}\n`,
      (kernel, text) => setNumber(text, 0, 2, value => (kernel.ioUringDisabled = value)),
    ),
    io_uring_group: rw(
      kernel => `${kernel.ioUringGroup}\n`,
      (kernel, text) => setNumber(text, -1, 0x7fffffff, value => (kernel.ioUringGroup = value)),
    ),
    domainname: utsName('domainname', 'domainnameChanges'),
    hostname: utsName('hostname', 'hostnameChanges'),
    keys: dir({
      gc_delay: constant(300),
      maxbytes: constant(20000),
      maxkeys: constant(200),
      root_maxbytes: constant(25000000),
      root_maxkeys: constant(1000000),
    }),
    kptr_restrict: constant(1),
    msg_next_id: ipcSetting('kernel.msg_next_id'),
    msgmax: ipcSetting('kernel.msgmax'),
    msgmnb: ipcSetting('kernel.msgmnb'),
    msgmni: ipcSetting('kernel.msgmni'),
    ngroups_max: fixed('65536'),
    ns_last_pid: rw(kernel => `${caller(kernel).pidNs.last}\n`, setLastPid, 0o666),
    numa_balancing: constant(0),
    osrelease: ro(kernel => `${kernelRelease(kernel.host)}\n`),
    ostype: fixed('Linux'),
    overflowgid: constant(65534),
    overflowuid: constant(65534),
    panic: constant(0),
    panic_on_oops: constant(0),
    perf_event_max_sample_rate: constant(100000),
    perf_event_mlock_kb: constant(516),
    perf_event_paranoid: constant(2),
    pid_max: rw(kernel => `${caller(kernel).pidNs.max}\n`, setPidMax),
    pty: dir({ max: constant(4096), nr: fixed('0'), reserve: constant(1024) }),
    random: dir({
      boot_id: ro(bootId),
      entropy_avail: fixed('256'),
      poolsize: fixed('256'),
      urandom_min_reseed_secs: constant(60),
      uuid: ro(kernel => `${randomUuid(kernel)}\n`),
      write_wakeup_threshold: constant(256),
    }),
    randomize_va_space: constant(2),
    sched_autogroup_enabled: constant(0),
    sched_cfs_bandwidth_slice_us: constant(5000),
    sched_deadline_period_max_us: constant(4194304),
    sched_deadline_period_min_us: constant(100),
    sched_rr_timeslice_ms: constant(100),
    sched_rt_period_us: constant(1000000),
    sched_rt_runtime_us: constant(950000),
    seccomp: dir({
      actions_avail: fixed('kill_process kill_thread trap errno user_notif trace log allow'),
      actions_logged: constant('kill_process kill_thread trap errno user_notif trace log'),
    }),
    sem: ipcSetting('kernel.sem'),
    sem_next_id: ipcSetting('kernel.sem_next_id'),
    shm_next_id: ipcSetting('kernel.shm_next_id'),
    shm_rmid_forced: ipcSetting('kernel.shm_rmid_forced'),
    shmall: ipcSetting('kernel.shmall'),
    shmmax: ipcSetting('kernel.shmmax'),
    shmmni: ipcSetting('kernel.shmmni'),
    tainted: constant(0),
    'threads-max': constant(192730),
    unprivileged_bpf_disabled: constant(2),
    version: fixed(KERNEL_VERSION),
  }
}

function vmSettings(): PseudoDir<Kernel> {
  return {
    ...constants(VM_CONSTANTS),
    compact_memory: wo((_kernel, text) => (text.trim() === '1' ? 0 : -EINVAL)),
    admin_reserve_kbytes: constant(8192),
    compact_unevictable_allowed: constant(1),
    dirty_background_bytes: constant(0),
    dirty_background_ratio: constant(10),
    dirty_bytes: constant(0),
    dirty_expire_centisecs: constant(3000),
    dirty_ratio: constant(20),
    dirty_writeback_centisecs: constant(500),
    drop_caches: wo(dropCaches),
    laptop_mode: constant(0),
    legacy_va_layout: constant(0),
    max_map_count: constant(MAX_MAP_COUNT),
    memfd_noexec: constant(0),
    min_free_kbytes: constant(67584),
    mmap_min_addr: constant(4096),
    mmap_rnd_bits: constant(28),
    mmap_rnd_compat_bits: constant(8),
    nr_hugepages: constant(0),
    nr_overcommit_hugepages: constant(0),
    oom_dump_tasks: constant(1),
    oom_kill_allocating_task: constant(0),
    overcommit_kbytes: constant(0),
    overcommit_memory: constant(0),
    overcommit_ratio: constant(50),
    'page-cluster': constant(3),
    panic_on_oom: constant(0),
    swappiness: constant(60),
    unprivileged_userfaultfd: constant(0),
    user_reserve_kbytes: constant(131072),
    vfs_cache_pressure: constant(100),
    watermark_boost_factor: constant(15000),
    watermark_scale_factor: constant(10),
    zone_reclaim_mode: constant(0),
  }
}

function fsSettings(): PseudoDir<Kernel> {
  return {
    ...constants(FS_CONSTANTS),
    'aio-max-nr': rw(
      kernel => `${kernel.aioMaxRequests}\n`,
      (kernel, text) => setNumber(text, 0, 0xffffffff, value => (kernel.aioMaxRequests = value)),
    ),
    'aio-nr': ro(kernel => `${kernel.aioRequests}\n`),
    'dentry-state': fixed('0\t0\t45\t0\t0\t0'),
    epoll: dir({ max_user_watches: constant(5491511) }),
    'file-max': constant('9223372036854775807'),
    'file-nr': ro(kernel => `${openFiles(kernel)}\t0\t9223372036854775807\n`),
    'inode-nr': fixed('0\t0'),
    'inode-state': fixed('0\t0\t0\t0\t0\t0\t0'),
    fanotify: dir({
      max_queued_events: limit(fanotify, 'maxQueuedEvents'),
      max_user_groups: limit(fanotify, 'maxUserGroups'),
      max_user_marks: limit(fanotify, 'maxUserMarks'),
    }),
    inotify: dir({
      max_queued_events: limit(inotify, 'maxQueuedEvents'),
      max_user_instances: limit(inotify, 'maxUserInstances'),
      max_user_watches: limit(inotify, 'maxUserWatches'),
    }),
    'lease-break-time': rw(kernel => `${kernel.vfs.leaseBreakTime}\n`, setLeaseBreakTime),
    'leases-enable': constant(1),
    'mount-max': constant(100000),
    mqueue: dir({
      msg_default: ipcSetting('fs.mqueue.msg_default'),
      msg_max: ipcSetting('fs.mqueue.msg_max'),
      msgsize_default: ipcSetting('fs.mqueue.msgsize_default'),
      msgsize_max: ipcSetting('fs.mqueue.msgsize_max'),
      queues_max: ipcSetting('fs.mqueue.queues_max'),
    }),
    nr_open: constant(1048576),
    overflowgid: constant(65534),
    overflowuid: constant(65534),
    'pipe-max-size': constant(1048576),
    'pipe-user-pages-hard': constant(0),
    'pipe-user-pages-soft': constant(16384),
    protected_fifos: constant(0),
    protected_hardlinks: constant(1),
    protected_regular: constant(0),
    protected_symlinks: constant(0),
    suid_dumpable: constant(0),
  }
}

function userSettings(): PseudoDir<Kernel> {
  const max = constant(96365)
  return {
    max_cgroup_namespaces: max,
    max_fanotify_groups: limit(fanotify, 'maxUserGroups'),
    max_fanotify_marks: limit(fanotify, 'maxUserMarks'),
    max_inotify_instances: limit(inotify, 'maxUserInstances'),
    max_inotify_watches: limit(inotify, 'maxUserWatches'),
    max_ipc_namespaces: max,
    max_mnt_namespaces: max,
    max_net_namespaces: max,
    max_pid_namespaces: max,
    max_time_namespaces: max,
    max_user_namespaces: max,
    max_uts_namespaces: max,
  }
}

function devSettings(): PseudoDir<Kernel> {
  return { tty: dir({ ldisc_autoload: constant(1), legacy_tiocsti: constant(0) }) }
}

/** Whose changes poll(2) tells. */
function utsName(
  field: 'hostname' | 'domainname',
  changes: 'hostnameChanges' | 'domainnameChanges',
): FileNode<Kernel> {
  const file = rw<Kernel>(
    kernel => `${caller(kernel).ns.uts[field]}\n`,
    (kernel, text) => setUtsName(kernel, text, field),
  )
  return { ...file, changes: kernel => caller(kernel).ns.uts[changes], tellsOnce: true }
}

/** At most 64 bytes; a newline ends it. */
function setUtsName(kernel: Kernel, text: string, field: 'hostname' | 'domainname'): Status {
  const { uts } = caller(kernel).ns
  if (!caller(kernel).cred.capable(CAP_SYS_ADMIN, uts.userNs)) return -EPERM
  uts[field] = stringSetting(text).slice(0, 64)
  return 0
}

function number(text: string, min: number, max: number): number {
  const value = /^\s*-?\d+\s*$/.test(text) ? Number(text) : Number.NaN
  return value >= min && value <= max ? value : -EINVAL
}

/** One setting for all containers of the sandbox, as Linux has one for the machine. */
function maySetCore(kernel: Kernel): boolean {
  return caller(kernel).cred.capable(CAP_SYS_ADMIN, kernel.userNs)
}

/** A program to be started for each dump, in nobody's namespaces, is refused. */
function setCorePattern(kernel: Kernel, text: string): Status {
  if (!maySetCore(kernel)) return -EPERM
  const pattern = stringSetting(text).slice(0, CORE_PATTERN_MAX)
  if (pattern.startsWith('|') || pattern.startsWith('@')) return -EINVAL
  kernel.core.pattern = pattern
  return 0
}
const CORE_PATTERN_MAX = 127

function setCoreUsesPid(kernel: Kernel, text: string): Status {
  if (!maySetCore(kernel)) return -EPERM
  return setNumber(text, 0, 1, value => {
    kernel.core.usesPid = value === 1
  })
}

function setPidMax(kernel: Kernel, text: string): Status {
  const value = number(text, 301, 4194304)
  if (value < 0) return value
  caller(kernel).pidNs.max = value
  return 0
}

function setNumber(text: string, min: number, max: number, set: (value: number) => void): Status {
  const value = number(text, min, max)
  if (value < min) return value
  set(value)
  return 0
}

function setLeaseBreakTime(kernel: Kernel, text: string): Status {
  const value = number(text, 0, 0x7fffffff)
  if (value < 0) return value
  kernel.vfs.leaseBreakTime = value
  return 0
}

function setLastPid(kernel: Kernel, text: string): Status {
  const { pidNs, cred } = caller(kernel)
  if (!cred.capable(CAP_SYS_ADMIN, pidNs.userNs)) return -EPERM
  const value = number(text, 0, pidNs.max - 1)
  if (value < 0) return value
  pidNs.last = value
  return 0
}

/** Names that nobody uses are forgotten; the host's page cache is the host's. */
function dropCaches(kernel: Kernel, text: string): Status {
  if (!/^[1-4]\s*$/.test(text)) return -EINVAL
  for (const mount of caller(kernel).ns.mnt.mounts) mount.sb.dentries.shrinkAll()
  return 0
}

function openFiles(kernel: Kernel): number {
  const tables = new Set<object>()
  let count = 0
  for (const task of kernel.tasks()) {
    if (tables.has(task.fds)) continue
    tables.add(task.fds)
    for (const _ of task.fds.entries()) count++
  }
  return count
}

export function randomUuid(kernel: Kernel): string {
  const bytes = new Uint8Array(16)
  kernel.host.random(bytes)
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const text = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
  return `${text.slice(0, 8)}-${text.slice(8, 12)}-${text.slice(12, 16)}-${text.slice(16, 20)}-${text.slice(20)}`
}

/** Chosen when it is asked for first. */
function bootId(kernel: Kernel): string {
  if (kernel.bootId === '') kernel.bootId = randomUuid(kernel)
  return `${kernel.bootId}\n`
}
