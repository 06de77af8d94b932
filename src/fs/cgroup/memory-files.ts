/** The files of the memory controller. */
import { EAGAIN, EINVAL } from '../../abi/errno.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import type { MemoryController } from '../../kernel/cgroup/memory.ts'
import { measureCgroup } from '../../kernel/cgroup/memory-meter.ts'
import { fixed, type PseudoDir, wo } from '../pseudo/node.ts'
import { type CgroupFile, limit, parseBytes, setting, table, value } from './values.ts'

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
  'memory.oom.group': setting(
    cgroup => (cgroup.memory.oomGroup ? '1' : '0'),
    (cgroup, text) => {
      if (text !== '0' && text !== '1') return -EINVAL
      cgroup.memory.oomGroup = text === '1'
      return 0
    },
  ),
  'memory.peak': value(({ memory }) => Math.max(memory.peak, memory.current())),
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

/** The page cache, and what the kernel needs for itself, is the host's. */
function statistics(cgroup: Cgroup): Record<string, number> {
  const { anonymous, shared } = measureCgroup(cgroup, true)
  return {
    anon: anonymous,
    file: shared,
    kernel: 0,
    kernel_stack: 0,
    pagetables: 0,
    sock: 0,
    shmem: shared,
    file_mapped: 0,
    file_dirty: 0,
    file_writeback: 0,
    swapcached: 0,
    inactive_anon: 0,
    active_anon: anonymous + shared,
    inactive_file: 0,
    active_file: 0,
    unevictable: 0,
    slab_reclaimable: 0,
    slab_unreclaimable: 0,
    slab: 0,
    pgfault: 0,
    pgmajfault: 0,
  }
}
