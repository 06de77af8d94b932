/** The printed table: medians with units, and how many times native. */
import type { System } from './systems.ts'
import type { Workload } from './workloads.ts'

export interface Row {
  readonly workload: Workload
  /** By system, a value each round; undefined where it failed. */
  readonly values: ReadonlyMap<string, readonly (number | undefined)[]>
}

const NAME_WIDTH = 36
const WIDTH = 10
const NS_PER_TICK = 1e7

export function formatTable(rows: readonly Row[], systems: readonly System[], head: boolean): string {
  const lines = rows.map(row => line(row, systems))
  return (head ? [...heading(systems), ...lines] : lines).join('\n')
}

function heading(systems: readonly System[]): string[] {
  const columns = systems.flatMap(({ name }, i) => (i === 0 ? [name] : [name, 'ratio']))
  const text = `${'workload'.padEnd(NAME_WIDTH)}${columns.map(name => name.padStart(WIDTH)).join('')}`
  return [text, '-'.repeat(text.length)]
}

function line({ workload, values }: Row, systems: readonly System[]): string {
  const native = values.get(systems[0].name)!
  const columns = systems.flatMap(({ name }, i) => {
    const own = values.get(name)!
    const value = formatValue(workload, median(own))
    return i === 0 ? [value] : [value, formatRatio(median(ratios(own, native)))]
  })
  return `${workload.name.padEnd(NAME_WIDTH)}${columns.map(text => text.padStart(WIDTH)).join('')}`
}

/** Round by round, since neighbours in time have the same noise. */
function ratios(own: readonly (number | undefined)[], native: readonly (number | undefined)[]) {
  return own.map((value, i) => {
    const base = native[i]
    return value === undefined || base === undefined || base === 0 ? undefined : value / base
  })
}

export function median(values: readonly (number | undefined)[]): number | undefined {
  const sorted = values.filter(value => value !== undefined).sort((a, b) => a - b)
  if (sorted.length === 0) return undefined
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function formatValue(workload: Workload, value: number | undefined): string {
  if (value === undefined) return 'failed'
  // The host counts CPU time of others in ticks.
  if (workload.kind === 'cpu' && value < NS_PER_TICK) return '< 10 ms'
  if (workload.kind === 'memory') return `${(value / 2 ** 20).toFixed(1)} MiB`
  for (const [unit, size] of [
    ['s', 1e9],
    ['ms', 1e6],
    ['µs', 1e3],
  ] as const) {
    if (value >= size) return `${significant(value / size)} ${unit}`
  }
  return `${significant(value)} ns`
}

function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function formatRatio(ratio: number | undefined): string {
  return ratio === undefined ? '' : `${significant(ratio)}×`
}
