/** The files of the memory controller. */
import { EAGAIN, EINVAL } from '../../abi/errno.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import type { MemoryController } from '../../kernel/cgroup/memory.ts'
import { measureCgroup } from '../../kernel/cgroup/memory-meter.ts'
import { custom, fixed, type PseudoDir, ro, rw, wo } from '../pseudo/node.ts'
import { PeakFile } from './peak-file.ts'
import { type CgroupFile, limit, parseBytes, table, value } from './values.ts'

type LimitField = 'max' | 'high' | 'low' | 'min' | 'swapMax' | 'swapHigh'

export const memoryFiles: PseudoDir<Cgroup> = {
  'memory.current': value(cgroup => cgroup.memory.current()),
  'memory.events': table(
    cgroup => ({ ...cgroup.memory.events }),
    cgroup => cgroup.memory.eventsChanged,
  ),
  'memory.events.local': table(
    cgroup => ({ ...cgroup.memory.localEvents }),
    cgroup => cgroup.memory.localEventsChanged,
  ),
  'memory.high': bytes('high'),
  'memory.low': bytes('low'),
  'memory.max': bytes('max'),
  'memory.min': bytes('min'),
  'memory.numa_stat': ro(cgroup =>
    Object.entries(statistics(cgroup))
      .filter(([name]) => isOfNode(name))
      .map(([name, value]) => `${name} N0=${value}\n`)
      .join(''),
  ),
  'memory.oom.group': rw(
    cgroup => (cgroup.memory.oomGroup ? '1\n' : '0\n'),
    (cgroup, text) => {
      const value = text.trim()
      if (value !== '0' && value !== '1') return -EINVAL
      cgroup.memory.oomGroup = value === '1'
      return 0
    },
  ),
  'memory.peak': custom((cgroup, path, flags, cred) => new PeakFile(path, flags, cred, cgroup), 0o644),
  // Nothing here can be had again from anywhere.
  'memory.reclaim': wo((_cgroup, text) => (parseBytes(text.trim().split(/\s/)[0]) < 0 ? -EINVAL : -EAGAIN)),
  'memory.stat': table(statistics),
  // What the host swaps is known to the host.
  'memory.swap.current': fixed('0'),
  'memory.swap.events': fixed('high 0\nmax 0\nfail 0'),
  'memory.swap.high': bytes('swapHigh'),
  'memory.swap.max': bytes('swapMax'),
  'memory.swap.peak': fixed('0'),
}

function bytes(field: LimitField): CgroupFile {
  return limit(
    cgroup => cgroup.memory[field],
    (cgroup, value) => setLimit(cgroup.memory, field, value),
    parseBytes,
  )
}

function setLimit(memory: MemoryController, field: LimitField, value: number): void {
  memory[field] = value
  if (field === 'max' || field === 'high') memory.limitsChanged()
}

/** The page cache, what the kernel needs for itself, and all reclaiming are the host's. */
function statistics(cgroup: Cgroup): Record<string, number> {
  const { anonymous, shared } = measureCgroup(cgroup, true)
  const faults = cgroup.memory.faults()
  return {
    anon: anonymous,
    file: shared,
    kernel: 0,
    ...zeroes('kernel_stack pagetables sec_pagetables percpu sock vmalloc'),
    shmem: shared,
    ...zeroes('file_mapped file_dirty file_writeback swapcached anon_thp file_thp shmem_thp inactive_anon'),
    active_anon: anonymous + shared,
    ...zeroes('inactive_file active_file unevictable slab_reclaimable slab_unreclaimable slab'),
    ...zeroes('workingset_refault_anon workingset_refault_file workingset_activate_anon'),
    ...zeroes('workingset_activate_file workingset_restore_anon workingset_restore_file'),
    ...zeroes('workingset_nodereclaim pswpin pswpout pgscan pgsteal pgscan_kswapd pgscan_direct'),
    ...zeroes('pgscan_khugepaged pgscan_proactive pgsteal_kswapd pgsteal_direct pgsteal_khugepaged'),
    ...zeroes('pgsteal_proactive'),
    pgfault: faults.minor + faults.major,
    pgmajfault: faults.major,
    ...zeroes('pgrefill pgactivate pgdeactivate pglazyfree pglazyfreed swpin_zero swpout_zero'),
    ...zeroes('thp_fault_alloc thp_collapse_alloc thp_swpout thp_swpout_fallback'),
  }
}

/** What Linux counts for each node: here there is one. Neither the kernel's own memory nor events are. */
function isOfNode(name: string): boolean {
  return !/^(kernel|percpu|sock|vmalloc|slab|pg.*|pswp.*|.*_zero|thp_.*)$/.test(name)
}

function zeroes(names: string): Record<string, number> {
  return Object.fromEntries(names.split(' ').map(name => [name, 0]))
}
