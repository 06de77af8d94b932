/**
 * `npm run bench [-- NAME…]`: every workload whose name contains one of the NAMEs, or all, natively, in caisson and in
 * gVisor, one after the other in each round, so that all meet the same noise. Prints medians and the medians of the
 * rounds' ratios to native, and writes all measurements to bench/results/.
 *
 * --runs N   rounds (5)
 * --quick    2 rounds, without what takes long
 * --only X   the same as NAME
 *
 * A whole run ends with that of network.ts.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measure, type Tools } from './measure.ts'
import { findSystems } from './systems.ts'
import { formatTable, type Row } from './table.ts'
import { prepare, WORKLOADS, type Workload } from './workloads.ts'

const here = import.meta.dirname
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string' },
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
  },
})
const names = [...positionals, ...flags.only]
const rounds = Number(flags.runs ?? (flags.quick ? 2 : 5))
const tell = (text: string) => process.stderr.write(`${text}\n`)

const { systems, notes } = findSystems()
const directory = mkdtempSync(join(tmpdir(), 'caisson-bench-'))
try {
  for (const note of notes) tell(note)
  prepare(directory)
  const tools = { micro: build('micro'), timed: build('timed'), directory }
  const rows: Row[] = []
  for (const workload of WORKLOADS.filter(chosen)) {
    const row = await measureRow(workload, tools)
    rows.push(row)
    tell(formatTable([row], systems, rows.length === 1))
  }
  process.stdout.write(`\n${formatTable(rows, systems, true)}\n`)
  save(rows)
  if (names.length === 0 && !flags.quick) benchNetwork()
} finally {
  rmSync(directory, { recursive: true, force: true })
}

function chosen(workload: Workload): boolean {
  if (names.length > 0) return names.some(name => workload.name.includes(name))
  if (flags.quick && workload.slow === true) return false
  const missing = (workload.needs ?? []).filter(tool => spawnSync('which', [tool]).status !== 0)
  if (missing.length > 0) tell(`${workload.name}: not installed: ${missing.join(', ')}`)
  return missing.length === 0
}

async function measureRow(workload: Workload, tools: Tools): Promise<Row> {
  const values = new Map<string, (number | undefined)[]>(systems.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const system of systems) values.get(system.name)!.push(await measure(workload, system, tools, tell))
  }
  return { workload, values }
}

function build(name: string): string {
  const target = join(here, '../.cache', `bench-${name}`)
  mkdirSync(join(here, '../.cache'), { recursive: true })
  const source = join(here, 'guest', `${name}.c`)
  const compiler = spawnSync('cc', ['-O2', '-Wall', '-Wextra', '-pthread', '-o', target, source], {
    encoding: 'utf8',
  })
  if (compiler.status !== 0) throw new Error(`${name}.c can't be compiled: ${compiler.stderr}`)
  return target
}

function benchNetwork(): void {
  if (process.geteuid!() !== 0) {
    tell('no network rows: their namespaces are made by root')
    return
  }
  process.stdout.write('\n')
  spawnSync(process.execPath, [join(here, 'network.ts'), '--runs', String(rounds)], { stdio: 'inherit' })
}

function save(rows: readonly Row[]): void {
  const results = join(here, 'results')
  mkdirSync(results, { recursive: true })
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], {
    cwd: here,
    encoding: 'utf8',
  }).stdout.trim()
  const report = {
    date: new Date().toISOString(),
    commit,
    machine: { kernel: release(), cpu: cpus()[0].model, cpus: cpus().length },
    rows: rows.map(({ workload, values }) => ({
      name: workload.name,
      kind: workload.kind,
      values: Object.fromEntries(values),
    })),
  }
  const file = join(results, `${report.date.replaceAll(':', '').slice(0, 15)}.json`)
  writeFileSync(file, `${JSON.stringify(report, undefined, 2)}\n`)
  tell(`written: ${file}`)
}
