/** A cgroup's use, in the shape that `runc events --stats` has, of which containerd and others make theirs. */

import { readNumber, readTable, readText } from './files.ts'
import { UNIFIED } from './hierarchies.ts'

export interface MemoryUsage {
  /** Bytes. */
  readonly limit: number
  readonly usage: number
  readonly max: number
  readonly failcnt: number
}

export interface BlockIoEntry {
  readonly major: number
  readonly minor: number
  readonly op: string
  readonly value: number
}

export interface CgroupStats {
  readonly cpu: {
    /** ns */
    readonly usage: { total: number; percpu: number[]; kernel: number; user: number }
    readonly throttling: { periods: number; throttledPeriods: number; throttledTime: number }
  }
  readonly memory: {
    readonly cache: number
    readonly usage: MemoryUsage
    readonly swap: MemoryUsage
    readonly kernel: MemoryUsage
    readonly kernelTCP: MemoryUsage
    /** memory.stat as it is. */
    readonly raw: Readonly<Record<string, number>>
  }
  readonly pids: { current: number; limit: number }
  readonly blkio: {
    readonly ioServiceBytesRecursive: readonly BlockIoEntry[]
    readonly ioServicedRecursive: readonly BlockIoEntry[]
  }
  readonly hugetlb: Readonly<Record<string, MemoryUsage>>
}

/** USER_HZ ticks in ns. */
const TICK_NS = 1e9 / 100
/** Larger ones are how the kernel prints no limit. */
const NO_LIMIT = 2 ** 53

export function statsV1(directories: Readonly<Record<string, string>>): CgroupStats {
  const { cpu, cpuacct, memory, pids, blkio } = directories
  const times = readTable(cpuacct, 'cpuacct.stat')
  const throttling = readTable(cpu, 'cpu.stat')
  const stat = readTable(memory, 'memory.stat')
  const percpu = readText(cpuacct, 'cpuacct.usage_percpu')
  return {
    cpu: {
      usage: {
        total: readNumber(cpuacct, 'cpuacct.usage'),
        percpu: percpu === '' ? [] : percpu.split(' ').map(Number),
        kernel: (times.get('system') ?? 0) * TICK_NS,
        user: (times.get('user') ?? 0) * TICK_NS,
      },
      throttling: {
        periods: throttling.get('nr_periods') ?? 0,
        throttledPeriods: throttling.get('nr_throttled') ?? 0,
        throttledTime: throttling.get('throttled_time') ?? 0,
      },
    },
    memory: {
      cache: stat.get('cache') ?? 0,
      usage: memoryV1(memory, 'memory'),
      swap: memoryV1(memory, 'memory.memsw'),
      kernel: memoryV1(memory, 'memory.kmem'),
      kernelTCP: memoryV1(memory, 'memory.kmem.tcp'),
      raw: Object.fromEntries(stat),
    },
    pids: { current: readNumber(pids, 'pids.current'), limit: readNumber(pids, 'pids.max') },
    blkio: {
      ioServiceBytesRecursive: blockIoV1(blkio, 'io_service_bytes'),
      ioServicedRecursive: blockIoV1(blkio, 'io_serviced'),
    },
    hugetlb: {},
  }
}

export function statsV2(directory: string | undefined): CgroupStats {
  const cpu = readTable(directory, 'cpu.stat')
  const stat = readTable(directory, 'memory.stat')
  const usage = readNumber(directory, 'memory.current')
  const swap = readNumber(directory, 'memory.swap.current')
  const limit = limitOf(readText(directory, 'memory.max'))
  const swapLimit = limitOf(readText(directory, 'memory.swap.max'))
  const none = { limit: 0, usage: 0, max: 0, failcnt: 0 }
  return {
    cpu: {
      usage: {
        total: (cpu.get('usage_usec') ?? 0) * 1000,
        percpu: [],
        kernel: (cpu.get('system_usec') ?? 0) * 1000,
        user: (cpu.get('user_usec') ?? 0) * 1000,
      },
      throttling: {
        periods: cpu.get('nr_periods') ?? 0,
        throttledPeriods: cpu.get('nr_throttled') ?? 0,
        throttledTime: (cpu.get('throttled_usec') ?? 0) * 1000,
      },
    },
    memory: {
      cache: stat.get('file') ?? 0,
      usage: { limit, usage, max: readNumber(directory, 'memory.peak'), failcnt: eventsOf(directory, 'max') },
      // With the memory itself, as version 1 counts.
      swap: { limit: limit + swapLimit, usage: usage + swap, max: 0, failcnt: 0 },
      kernel: { ...none, usage: stat.get('kernel') ?? 0 },
      kernelTCP: { ...none, usage: stat.get('sock') ?? 0 },
      raw: Object.fromEntries(stat),
    },
    pids: { current: readNumber(directory, 'pids.current'), limit: readNumber(directory, 'pids.max') },
    blkio: blockIoV2(directory),
    hugetlb: {},
  }
}

/** Processes that the kernel has killed for want of memory. */
export function oomKillsOf(directories: Readonly<Record<string, string>>): number {
  const { memory } = directories
  if (memory !== undefined) return readTable(memory, 'memory.oom_control').get('oom_kill') ?? 0
  return eventsOf(directories[UNIFIED], 'oom_kill')
}

function eventsOf(directory: string | undefined, name: string): number {
  return readTable(directory, 'memory.events').get(name) ?? 0
}

function memoryV1(directory: string | undefined, prefix: string): MemoryUsage {
  return {
    limit: limitOf(readText(directory, `${prefix}.limit_in_bytes`)),
    usage: readNumber(directory, `${prefix}.usage_in_bytes`),
    max: readNumber(directory, `${prefix}.max_usage_in_bytes`),
    failcnt: readNumber(directory, `${prefix}.failcnt`),
  }
}

/** No limit is the largest number there is: clients compare with the machine's memory. */
function limitOf(text: string): number {
  const value = text === 'max' ? NO_LIMIT : Number(text)
  return Math.min(value, NO_LIMIT)
}

/** Lines of '8:0 Read 4096'. BFQ's counters are those that count, where it serves the disks. */
function blockIoV1(directory: string | undefined, name: string): BlockIoEntry[] {
  for (const prefix of ['blkio.bfq', 'blkio.throttle']) {
    const entries: BlockIoEntry[] = []
    for (const line of readText(directory, `${prefix}.${name}_recursive`).split('\n')) {
      const match = /^(\d+):(\d+) (\w+) (\d+)$/.exec(line)
      if (match === null) continue
      const [, major, minor, op, value] = match
      entries.push({ major: Number(major), minor: Number(minor), op, value: Number(value) })
    }
    if (entries.length > 0) return entries
  }
  return []
}

/** Lines of '8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0'. */
function blockIoV2(directory: string | undefined): CgroupStats['blkio'] {
  const bytes: BlockIoEntry[] = []
  const operations: BlockIoEntry[] = []
  for (const line of readText(directory, 'io.stat').split('\n')) {
    const device = /^(\d+):(\d+) /.exec(line)
    if (device === null) continue
    const [major, minor] = [Number(device[1]), Number(device[2])]
    const put = (to: BlockIoEntry[], op: string, key: string) => {
      const value = new RegExp(` ${key}=(\\d+)`).exec(line)?.[1]
      if (value !== undefined) to.push({ major, minor, op, value: Number(value) })
    }
    put(bytes, 'Read', 'rbytes')
    put(bytes, 'Write', 'wbytes')
    put(operations, 'Read', 'rios')
    put(operations, 'Write', 'wios')
  }
  return { ioServiceBytesRecursive: bytes, ioServicedRecursive: operations }
}
