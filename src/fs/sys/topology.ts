/** /sys/devices/system/cpu and node: the machine's CPUs, all in one package, one thread a core. */
import type { Kernel } from '../../kernel/kernel.ts'
import { maskText, rangeList } from '../proc/text.ts'
import { dir, fixed, link, type PseudoDir, ro } from '../pseudo/node.ts'

export function cpuDirectory(kernel: Kernel): PseudoDir<Kernel> {
  const all = rangeList(kernel.cpus)
  const cpus: Record<string, PseudoDir<Kernel>[string]> = {}
  for (const cpu of kernel.cpus) cpus[`cpu${cpu}`] = dir(oneCpu(cpu, kernel.cpus))
  return {
    ...cpus,
    isolated: fixed(''),
    kernel_max: ro(k => k.host.fact('sys/devices/system/cpu/kernel_max') || '8191\n'),
    offline: fixed(''),
    online: fixed(all),
    possible: fixed(all),
    present: fixed(all),
    smt: dir({ active: fixed('0'), control: fixed('notsupported', 0o644) }),
    vulnerabilities: dir({}),
  }
}

function oneCpu(cpu: number, all: readonly number[]): PseudoDir<Kernel> {
  const width = all[all.length - 1] + 1
  const mask = (cpus: readonly number[]) => fixed<Kernel>(maskText(cpus, width))
  const list = (cpus: readonly number[]) => fixed<Kernel>(rangeList(cpus))
  return {
    // CPU 0 can't be switched off, so it has no file for that.
    ...(cpu > 0 ? { online: fixed<Kernel>('1', 0o644) } : {}),
    cache: dir(cacheDirectory(cpu, all)),
    cpu_capacity: fixed('1024'),
    node0: link('../../node/node0'),
    topology: dir({
      core_cpus: mask([cpu]),
      core_cpus_list: list([cpu]),
      core_id: fixed(`${cpu}`),
      core_siblings: mask(all),
      core_siblings_list: list(all),
      die_id: fixed('0'),
      package_cpus: mask(all),
      package_cpus_list: list(all),
      physical_package_id: fixed('0'),
      thread_siblings: mask([cpu]),
      thread_siblings_list: list([cpu]),
    }),
  }
}

/** Sizes of no particular machine: programs size their buffers by them, none is wrong if it differs. */
const CACHES = [
  { level: 1, type: 'Data', size: '32K', ways: 8, sets: 64, shared: false },
  { level: 1, type: 'Instruction', size: '32K', ways: 8, sets: 64, shared: false },
  { level: 2, type: 'Unified', size: '1024K', ways: 16, sets: 1024, shared: false },
  { level: 3, type: 'Unified', size: '32768K', ways: 16, sets: 32768, shared: true },
]

function cacheDirectory(cpu: number, all: readonly number[]): PseudoDir<Kernel> {
  const entries: Record<string, PseudoDir<Kernel>[string]> = {}
  CACHES.forEach((cache, i) => {
    const cpus = cache.shared ? all : [cpu]
    entries[`index${i}`] = dir({
      coherency_line_size: fixed('64'),
      id: fixed(cache.shared ? '0' : `${cpu}`),
      level: fixed(`${cache.level}`),
      number_of_sets: fixed(`${cache.sets}`),
      physical_line_partition: fixed('1'),
      shared_cpu_list: fixed(rangeList(cpus)),
      shared_cpu_map: fixed(maskText(cpus, all[all.length - 1] + 1)),
      size: fixed(cache.size),
      type: fixed(cache.type),
      ways_of_associativity: fixed(`${cache.ways}`),
    })
  })
  return entries
}

export function nodeDirectory(kernel: Kernel): PseudoDir<Kernel> {
  const cpus: Record<string, PseudoDir<Kernel>[string]> = {}
  for (const cpu of kernel.cpus) cpus[`cpu${cpu}`] = link(`../../cpu/cpu${cpu}`)
  return {
    has_cpu: fixed('0'),
    has_memory: fixed('0'),
    has_normal_memory: fixed('0'),
    node0: dir({
      ...cpus,
      cpulist: fixed(rangeList(kernel.cpus)),
      cpumap: fixed(maskText(kernel.cpus, kernel.cpuWidth)),
      distance: fixed('10'),
      meminfo: ro(nodeMemory),
      numastat: fixed(
        'numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0',
      ),
    }),
    online: fixed('0'),
    possible: fixed('0'),
  }
}

/** The machine's memory, all of it in the one node. */
function nodeMemory(kernel: Kernel): string {
  const meminfo = kernel.host.fact('proc/meminfo')
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0)
  const total = kib('MemTotal')
  const free = kib('MemFree')
  const row = (name: string, value: number) =>
    `Node 0 ${`${name}:`.padEnd(16)}${String(value).padStart(8)} kB\n`
  return row('MemTotal', total) + row('MemFree', free) + row('MemUsed', total - free)
}
