/** Lists of CPUs as the kernel writes them: '0-2,5' (cpuset(7), 'List format'). */

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
