/**
 * Files of /proc about the whole machine. What is a fact of the host's (processors, memory, load) is read from the host
 * when asked; what is the kernel's own is its own.
 */
import { S_IFCHR } from '../../abi/constants.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { IN_KERNEL, RUNNING } from '../../kernel/task.ts'
import { KERNEL_VERSION, kernelRelease } from '../../kernel/version.ts'
import { FS_NODEV } from '../../vfs/fs-type.ts'
import { makedev } from '../../vfs/vfs.ts'
import { caller } from './access.ts'

const MANY = 1 << 20

/** One paragraph a processor. */
export function formatCpuInfo(kernel: Kernel): string {
  return kernel.host.fact('proc/cpuinfo')
}

/** The host's, or (where it can't be read) at least what programs parse. */
export function formatMemInfo(kernel: Kernel): string {
  const text = kernel.host.fact('proc/meminfo')
  if (text !== '') return text
  const row = (name: string, kib: number) => `${`${name}:`.padEnd(16)}${String(kib).padStart(8)} kB\n`
  return (
    row('MemTotal', MANY) +
    row('MemFree', MANY) +
    row('MemAvailable', MANY) +
    row('SwapTotal', 0) +
    row('SwapFree', 0)
  )
}

/** proc_stat(5). */
export function formatStat(kernel: Kernel): string {
  const sum = new Array<number>(10).fill(0)
  let cpus = ''
  const host = cpuRows(kernel)
  for (const cpu of kernel.cpus) {
    const row = host.get(cpu) ?? new Array<number>(10).fill(0)
    row.forEach((value, i) => {
      sum[i] += value
    })
    cpus += `cpu${cpu} ${row.join(' ')}\n`
  }
  let running = 0
  let blocked = 0
  for (const task of kernel.tasks()) {
    if (task.state === RUNNING || task.state === IN_KERNEL) running++
    else if (task.uninterruptible) blocked++
  }
  let switches = 0
  for (const task of kernel.tasks()) switches += task.voluntarySwitches
  return (
    `cpu  ${sum.join(' ')}\n${cpus}intr 0\nctxt ${switches}\nbtime ${bootTime(kernel)}\n` +
    `processes ${kernel.pidNs.last}\nprocs_running ${running}\nprocs_blocked ${blocked}\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n`
  )
}

/** The ten counters of each CPU of the host. */
function cpuRows(kernel: Kernel): Map<number, number[]> {
  const rows = new Map<number, number[]>()
  for (const match of kernel.host.fact('proc/stat').matchAll(/^cpu(\d+) (.*)$/gm)) {
    const values = match[2].trim().split(' ').map(Number)
    while (values.length < 10) values.push(0)
    rows.set(Number(match[1]), values)
  }
  return rows
}

/** When the machine started, in seconds of the wall clock. */
function bootTime(kernel: Kernel): number {
  const now = kernel.clock.realtime()
  const uptime = kernel.clock.boottime() + caller(kernel).ns.time.boottimeOffset
  return Math.floor(now.sec + now.nsec / 1e9 - uptime / 1e9)
}

export function formatUptime(kernel: Kernel): string {
  const uptime = (kernel.clock.boottime() + caller(kernel).ns.time.boottimeOffset) / 1e9
  let idle = 0
  for (const row of cpuRows(kernel).values()) idle += row[3] / 100
  return `${uptime.toFixed(2)} ${idle.toFixed(2)}\n`
}

export function formatLoadAverage(kernel: Kernel): string {
  const averages = /^[\d.]+ [\d.]+ [\d.]+/.exec(kernel.host.fact('proc/loadavg'))?.[0] ?? '0.00 0.00 0.00'
  let running = 0
  let all = 0
  for (const task of kernel.tasks()) {
    all++
    if (task.state === RUNNING || task.state === IN_KERNEL) running++
  }
  return `${averages} ${running}/${all} ${caller(kernel).pidNs.last}\n`
}

export function formatVersion(kernel: Kernel): string {
  return `Linux version ${kernelRelease(kernel.host)} (caisson@caisson) (caisson) ${KERNEL_VERSION}\n`
}

export function formatFilesystems(kernel: Kernel): string {
  let text = ''
  for (const type of kernel.fsTypes.values())
    text += `${(type.flags & FS_NODEV) !== 0 ? 'nodev' : ''}\t${type.name}\n`
  return text
}

export function formatDevices(): string {
  return `Character devices:
  1 mem
  5 /dev/tty
  5 /dev/console
  5 /dev/ptmx
 10 misc
128 ptm
136 pts

Block devices:
`
}

/** The miscellaneous devices whose drivers there are. */
export function formatMisc({ vfs }: Kernel): string {
  const minors: readonly (readonly [number, string])[] = [
    [200, 'tun'],
    [229, 'fuse'],
  ]
  return minors
    .filter(([minor]) => vfs.devices.find(S_IFCHR, makedev(10, minor)) !== undefined)
    .map(([minor, name]) => `${minor} ${name}\n`)
    .join('')
}

/** The columns of tables with one for each CPU. */
function cpuHeads(kernel: Kernel): string {
  return kernel.cpus.map(cpu => `CPU${cpu}       `).join('')
}

export function formatInterrupts(kernel: Kernel): string {
  return `           ${cpuHeads(kernel)}\n`
}

export function formatVmStat(kernel: Kernel): string {
  return kernel.host.fact('proc/vmstat')
}

export function formatZoneInfo(kernel: Kernel): string {
  const meminfo = formatMemInfo(kernel)
  const pagesOf = (name: string) =>
    Math.floor(Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? MANY) / 4)
  const pages = pagesOf('MemTotal')
  return (
    `Node 0, zone   Normal\n  pages free     ${pagesOf('MemFree')}\n        boost    0\n        min      0\n        low      0\n        high     0\n` +
    `        spanned  ${pages}\n        present  ${pages}\n        managed  ${pages}\n`
  )
}

const SOFT_IRQS = [
  'HI',
  'TIMER',
  'NET_TX',
  'NET_RX',
  'BLOCK',
  'IRQ_POLL',
  'TASKLET',
  'SCHED',
  'HRTIMER',
  'RCU',
]

/** Interrupts are the host's. */
export function formatSoftIrqs(kernel: Kernel): string {
  const none = kernel.cpus.map(() => '0'.padStart(11)).join('')
  return `                    ${cpuHeads(kernel)}\n${SOFT_IRQS.map(name => `${`${name}:`.padStart(12)}${none}\n`).join('')}`
}
