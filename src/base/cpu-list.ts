/**
 * Sets of CPUs: ascending numbers here, lists in files ('0-2,5': cpuset(7), 'List format'), bit masks in memory
 * (sched_setaffinity(2)).
 */

/** More than Linux has (CONFIG_NR_CPUS). */
const MAX_CPU = 8191

/** The numbers, in ascending order; undefined if it is no list. */
export function parseCpuList(text: string): number[] | undefined {
  const cpus = new Set<number>()
  for (const part of text.split(',')) {
    const range = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part)
    if (range === null) return undefined
    const first = Number(range[1])
    const last = Number(range[2] ?? range[1])
    if (last > MAX_CPU || first > last) return undefined
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu)
  }
  return [...cpus].sort((a, b) => a - b)
}

export function cpusOfMask(mask: Uint8Array): number[] {
  const cpus: number[] = []
  for (let cpu = 0; cpu < mask.length * 8; cpu++)
    if (((mask[cpu >> 3] >> (cpu & 7)) & 1) !== 0) cpus.push(cpu)
  return cpus
}

/** In `size` bytes. */
export function maskOfCpus(cpus: readonly number[], size: number): Uint8Array {
  const mask = new Uint8Array(size)
  for (const cpu of cpus) mask[cpu >> 3] |= 1 << (cpu & 7)
  return mask
}
