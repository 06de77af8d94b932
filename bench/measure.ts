/** One measurement of one workload in one system. */
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { System } from './systems.ts'
import type { Workload } from './workloads.ts'

export interface Tools {
  readonly micro: string
  readonly timed: string
  /** Where the workloads' files are. */
  readonly directory: string
}

/** Nanoseconds, or bytes for memory; undefined if the workload failed, whose message goes to `tell`. */
export async function measure(
  workload: Workload,
  system: System,
  tools: Tools,
  tell: (text: string) => void,
): Promise<number | undefined> {
  const wrap = (command: readonly string[]) => system.wrap(command, tools.directory, workload.flags ?? [])
  if (workload.before !== undefined) spawnSync('sh', ['-c', workload.before], { cwd: tools.directory })
  switch (workload.kind) {
    case 'micro':
      return printed(wrap([tools.micro, ...workload.command]), tools, tell)
    case 'timed':
      return printed(wrap([tools.timed, ...workload.command]), tools, tell)
    case 'wall':
      return wall(wrap(workload.command), tools, tell)
    case 'memory':
      return whileRunning(wrap(workload.command), tools, async tree => memoryOf(tree()))
    case 'cpu':
      return whileRunning(wrap(workload.command), tools, async tree => {
        const before = cpuOf(tree())
        await sleep(10_000)
        return cpuOf(tree()) - before
      })
  }
}

/** The number that the command prints. */
function printed([file, ...args]: string[], tools: Tools, tell: (text: string) => void): number | undefined {
  const run = spawnSync(file, args, { cwd: tools.directory, encoding: 'utf8', timeout: 300_000 })
  const value = Number.parseFloat(run.stdout)
  if (run.status === 0 && !Number.isNaN(value)) return value
  tell(`${[file, ...args].join(' ')}: status ${run.status} ${run.stderr.trim()}`)
  return undefined
}

function wall([file, ...args]: string[], tools: Tools, tell: (text: string) => void): number | undefined {
  const start = process.hrtime.bigint()
  const run = spawnSync(file, args, { cwd: tools.directory, stdio: 'ignore', timeout: 300_000 })
  const took = Number(process.hrtime.bigint() - start)
  if (run.status === 0) return took
  tell(`${[file, ...args].join(' ')}: status ${run.status}`)
  return undefined
}

async function whileRunning(
  [file, ...args]: string[],
  tools: Tools,
  look: (tree: () => number[]) => Promise<number>,
): Promise<number> {
  const child = spawn(file, args, { cwd: tools.directory, stdio: 'ignore' })
  const ended = new Promise(resolve => child.on('exit', resolve))
  await sleep(2000)
  try {
    return await look(() => treeOf(child.pid!))
  } finally {
    child.kill('SIGTERM')
    await ended
  }
}

/** A process, its descendants, and whatever shares a process namespace with one of these. */
export function treeOf(root: number): number[] {
  const own = namespaceOf(process.pid)
  const all = readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)
  const parents = new Map(all.map(pid => [pid, Number(statFields(pid)[1])]))
  const tree = new Set([root])
  for (let grown = true; grown; ) {
    const spaces = new Set([...tree].map(namespaceOf).filter(space => space !== own && space !== ''))
    const more = all.filter(
      pid => !tree.has(pid) && (tree.has(parents.get(pid)!) || spaces.has(namespaceOf(pid))),
    )
    for (const pid of more) tree.add(pid)
    grown = more.length > 0
  }
  return [...tree]
}

/** The fields of /proc/PID/stat from the state on. */
export function statFields(pid: number): string[] {
  const text = read(`/proc/${pid}/stat`)
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`)
  } catch {
    return ''
  }
}

/** Proportional set sizes: shared pages count once. */
export function memoryOf(pids: readonly number[]): number {
  const sizes = pids.map(pid => Number(/^Pss: +(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0))
  return sizes.reduce((sum, size) => sum + size, 0) * 1024
}

const NS_PER_TICK = 1e7

function cpuOf(pids: readonly number[]): number {
  const ticks = pids.map(pid => Number(statFields(pid)[11] ?? 0) + Number(statFields(pid)[12] ?? 0))
  return ticks.reduce((sum, count) => sum + count, 0) * NS_PER_TICK
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
