/**
 * /sys/devices/system/cpu and node: the machine's CPUs, all in the one node. Packages and cores are as /proc/cpuinfo has them,
 * caches as the host's first CPU has them.
 */
import type { Kernel } from '../../kernel/kernel.ts'
import { CPU_VULNERABILITIES } from '../../platform/host-facts.ts'
import { maskText, rangeList } from '../proc/text.ts'
import { type DirNode, dir, fixed, link, type PseudoDir, ro } from '../pseudo/node.ts'
import { type Cache, CpuTopology } from './cpu-topology.ts'

type Entry = PseudoDir<Kernel>[string]

export function cpuDirectory(kernel: Kernel): PseudoDir<Kernel> {
  const all = rangeList(kernel.cpus)
  const topology = new CpuTopology(kernel)
  const cpus: Record<string, Entry> = {}
  for (const cpu of kernel.cpus) cpus[`cpu${cpu}`] = dir(oneCpu(cpu, topology))
  return {
    ...cpus,
    isolated: fixed(''),
    kernel_max: ro(k => k.host.fact('sys/devices/system/cpu/kernel_max') || '8191\n'),
    offline: fixed(''),
    online: fixed(all),
    possible: fixed(all),
    present: fixed(all),
    smt: dir({
      active: ro(k => k.host.fact('sys/devices/system/cpu/smt/active') || '0\n'),
      control: ro(k => k.host.fact('sys/devices/system/cpu/smt/control') || 'notimplemented\n', 0o644),
    }),
    vulnerabilities: vulnerabilities(),
  }
}

function vulnerabilities(): DirNode<Kernel> {
  const fact = (kernel: Kernel, name: string) =>
    kernel.host.fact(`sys/devices/system/cpu/vulnerabilities/${name}`)
  const files: Record<string, Entry> = {}
  for (const name of CPU_VULNERABILITIES) files[name] = ro(kernel => fact(kernel, name))
  return dir(files, { visible: (kernel, name) => fact(kernel, name) !== '' })
}

function oneCpu(cpu: number, topology: CpuTopology): PseudoDir<Kernel> {
  const mask = (cpus: () => readonly number[]) => ro<Kernel>(() => `${maskText(cpus(), topology.width)}\n`)
  const list = (cpus: () => readonly number[]) => ro<Kernel>(() => `${rangeList(cpus())}\n`)
  const core = () => topology.coreSiblings(cpu)
  const whole = () => topology.packageSiblings(cpu)
  return {
    // CPU 0 can't be switched off, so it has no file for that.
    ...(cpu > 0 ? { online: fixed<Kernel>('1', 0o644) } : {}),
    cache: cacheDirectory(cpu, topology),
    node0: link('../../node/node0'),
    subsystem: link('../../../../bus/cpu'),
    topology: dir({
      core_cpus: mask(core),
      core_cpus_list: list(core),
      core_id: ro(() => `${topology.of(cpu).core}\n`),
      core_siblings: mask(whole),
      core_siblings_list: list(whole),
      die_cpus: mask(whole),
      die_cpus_list: list(whole),
      die_id: fixed('0'),
      package_cpus: mask(whole),
      package_cpus_list: list(whole),
      physical_package_id: ro(() => `${topology.of(cpu).pack}\n`),
      thread_siblings: mask(core),
      thread_siblings_list: list(core),
    }),
  }
}

/** As many as any processor has; which there are is known when somebody looks. */
const CACHE_NAMES = ['index0', 'index1', 'index2', 'index3']

function cacheDirectory(cpu: number, topology: CpuTopology): DirNode<Kernel> {
  const entries: Record<string, Entry> = {}
  CACHE_NAMES.forEach((name, i) => {
    const file = (format: (cache: Cache) => string) => ro<Kernel>(() => `${format(topology.caches[i])}\n`)
    const sharing = (cache: Cache) => topology.sharing(cpu, cache)
    entries[name] = dir({
      coherency_line_size: file(cache => `${cache.line}`),
      id: file(cache => `${topology.cacheId(cpu, cache)}`),
      level: file(cache => `${cache.level}`),
      number_of_sets: file(cache => `${cache.sets}`),
      physical_line_partition: fixed('1'),
      shared_cpu_list: file(cache => rangeList(sharing(cache))),
      shared_cpu_map: file(cache => maskText(sharing(cache), topology.width)),
      size: file(cache => `${cache.kib}K`),
      type: file(cache => cache.type),
      ways_of_associativity: file(cache => `${cache.ways}`),
    })
  })
  return dir(entries, { visible: (_kernel, name) => CACHE_NAMES.indexOf(name) < topology.caches.length })
}

export function nodeDirectory(kernel: Kernel): PseudoDir<Kernel> {
  const cpus: Record<string, Entry> = {}
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
      hugepages: dir({
        'hugepages-2048kB': dir({
          free_hugepages: fixed('0'),
          nr_hugepages: fixed('0', 0o644),
          surplus_hugepages: fixed('0'),
        }),
      }),
      meminfo: ro(nodeMemory),
      numastat: fixed(
        'numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0',
      ),
      subsystem: link('../../../../bus/node'),
    }),
    online: fixed('0'),
    possible: fixed('0'),
  }
}

/** What of /proc/meminfo is told of each node, in that order, behind what is used. */
const NODE_MEMORY = [
  ...['SwapCached', 'Active', 'Inactive', 'Active(anon)', 'Inactive(anon)', 'Active(file)', 'Inactive(file)'],
  ...['Unevictable', 'Mlocked', 'Dirty', 'Writeback', 'FilePages', 'Mapped', 'AnonPages', 'Shmem'],
  ...['KernelStack', 'PageTables', 'NFS_Unstable', 'Bounce', 'WritebackTmp', 'KReclaimable', 'Slab'],
  ...['SReclaimable', 'SUnreclaim', 'AnonHugePages', 'ShmemHugePages', 'ShmemPmdMapped', 'FileHugePages'],
  ...['FilePmdMapped', 'HugePages_Total', 'HugePages_Free', 'HugePages_Surp'],
]

/** The machine's memory, all of it in the one node. */
function nodeMemory(kernel: Kernel): string {
  const values = new Map<string, number>()
  for (const [, name, kib] of kernel.host.fact('proc/meminfo').matchAll(/^(\S+):\s+(\d+)/gm))
    values.set(name, Number(kib))
  const kib = (name: string) => values.get(name) ?? 0
  values.set('MemUsed', kib('MemTotal') - kib('MemFree'))
  values.set('FilePages', kib('Cached') + kib('Buffers') + kib('SwapCached'))
  const unit = (name: string) => (name.startsWith('HugePages_') ? '' : ' kB')
  return ['MemTotal', 'MemFree', 'MemUsed', ...NODE_MEMORY]
    .map(name => `Node 0 ${`${name}:`.padEnd(15)} ${String(kib(name)).padStart(8)}${unit(name)}\n`)
    .join('')
}
