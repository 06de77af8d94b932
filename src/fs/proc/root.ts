/** The top of /proc, as data. */

import { EPERM } from '../../abi/errno.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { openProcKmsg } from '../dev/kmsg.ts'
import {
  custom,
  type DirNode,
  type DynamicEntries,
  dir,
  fixed,
  link,
  type PseudoDir,
  ro,
  strict,
  wo,
} from '../pseudo/node.ts'
import { formatKeys, formatKeyUsers } from './keys.ts'
import { formatLocks } from './locks.ts'
import { selfLink, threadSelfLink } from './pid-dir.ts'
import { machinePressure } from './pressure.ts'
import type { ProcSuper } from './super.ts'
import { sysctlFiles } from './sysctl.ts'
import {
  formatCpuInfo,
  formatDevices,
  formatFilesystems,
  formatInterrupts,
  formatLoadAverage,
  formatMemInfo,
  formatMisc,
  formatSoftIrqs,
  formatStat,
  formatUptime,
  formatVersion,
  formatVmStat,
  formatZoneInfo,
} from './system.ts'
import { sysvipcFiles } from './sysvipc.ts'

export function rootDirectory(proc: ProcSuper): DirNode<Kernel> {
  const always: PseudoDir<Kernel> = { self: selfLink(proc), 'thread-self': threadSelfLink(proc) }
  const entries = proc.onlyPids ? always : { ...systemFiles(), ...always }
  return dir(entries, {
    dynamic: processes(proc),
    // As on a kernel without it, where the host's has none.
    visible: (kernel, name) => name !== 'pressure' || kernel.host.fact('proc/pressure/cpu') !== '',
  })
}

/** One directory a process; those of other threads can be entered but are not listed. */
function processes(proc: ProcSuper): DynamicEntries<Kernel> {
  return {
    find(_kernel, name) {
      const task = /^[1-9][0-9]*$/.test(name) ? proc.pidNs.task(Number(name)) : undefined
      if (task === undefined || !proc.visible(task)) return undefined
      return { subject: task, node: proc.processDirectory }
    },
    list() {
      const found: [number, string][] = []
      for (const pid of proc.pidNs.pids()) {
        const leader = pid.group?.leader
        if (leader === undefined || pid.task !== leader || !proc.visible(leader)) continue
        const nr = pid.in(proc.pidNs)
        found.push([nr, `${nr}`])
      }
      return found.sort((a, b) => a[0] - b[0])
    },
  }
}

function systemFiles(): PseudoDir<Kernel> {
  return {
    buddyinfo: ro(() => `Node 0, zone   Normal${'      0'.repeat(11)} \n`),
    bus: dir({ pci: dir({ devices: ro(() => '') }), input: dir({ devices: ro(() => '') }) }),
    cgroups: ro(formatCgroups),
    cmdline: ro(() => '\n'),
    consoles: ro(() => ''),
    cpuinfo: ro(formatCpuInfo),
    crypto: ro(() => ''),
    devices: ro(formatDevices),
    diskstats: ro(() => ''),
    driver: dir({}),
    execdomains: fixed('0-0\tLinux           \t[kernel]'),
    filesystems: ro(formatFilesystems),
    fs: dir({}),
    interrupts: ro(formatInterrupts),
    irq: dir({}),
    'key-users': ro(formatKeyUsers),
    keys: ro(formatKeys),
    // Whoever may not know addresses sees zeros; there are none to know.
    iomem: ro(() => '00000000-00000000 : System RAM\n', 0o400),
    ioports: ro(() => '0000-0000 : PCI conf1\n', 0o400),
    kallsyms: ro(() => KERNEL_SYMBOLS.map(name => `0000000000000000 T ${name}\n`).join('')),
    kmsg: custom((kernel, path, flags, cred) => openProcKmsg(kernel, path, flags, cred), 0o400),
    loadavg: ro(formatLoadAverage),
    locks: ro(formatLocks),
    meminfo: ro(formatMemInfo),
    misc: ro(formatMisc),
    modules: ro(() => ''),
    mounts: link('self/mounts'),
    net: link('self/net'),
    partitions: ro(() => 'major minor  #blocks  name\n\n'),
    pressure: dir({
      cpu: machinePressure('cpu'),
      io: machinePressure('io'),
      memory: machinePressure('memory'),
    }),
    slabinfo: ro(() => 'slabinfo - version: 2.1\n', 0o400),
    softirqs: ro(formatSoftIrqs),
    stat: ro(formatStat),
    swaps: ro(() => 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n'),
    sys: dir(strict(sysctlFiles())),
    sysvipc: sysvipcFiles(),
    'sysrq-trigger': wo(() => -EPERM),
    timer_list: ro(() => '', 0o400),
    tty: dir({
      drivers: ro(() => TTY_DRIVERS),
      ldiscs: ro(() => 'n_tty       0\n'),
      driver: dir({}),
      ldisc: dir({}),
    }),
    uptime: ro(formatUptime),
    version: ro(formatVersion),
    vmstat: ro(formatVmStat),
    zoneinfo: ro(formatZoneInfo),
  }
}

/** The controllers by their old names, all in the one hierarchy of cgroup v2. */
function formatCgroups(kernel: Kernel): string {
  const count = 1 + kernel.cgroups.descendants
  const names = ['cpuset', 'cpu', 'cpuacct', 'blkio', 'memory', 'pids']
  return `#subsys_name\thierarchy\tnum_cgroups\tenabled\n${names.map(name => `${name}\t0\t${count}\t1\n`).join('')}`
}

/** The ends of its text are all that anybody may want. */
const KERNEL_SYMBOLS = ['_text', '_stext', '_etext']

const TTY_DRIVERS = `/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
`
