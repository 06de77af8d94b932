/**
 * `npm run bench:containers [-- --runs N]`: the life of a container under Docker with runc, caisson and, where installed,
 * gVisor's runsc, in a daemon of its own (test/e2e/docker-daemon.ts); the ratios are to runc. All three meet in each
 * round, one after the other.
 */
import { spawn, spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { DockerDaemon, whyNoDocker } from '../test/e2e/docker-daemon.ts'
import { memoryOf, statFields, treeOf } from './measure.ts'
import { formatTable, type Row } from './table.ts'
import type { Workload } from './workloads.ts'

const { values: flags } = parseArgs({ options: { runs: { type: 'string', default: '7' } } })

const why = whyNoDocker()
if (why !== undefined) {
  process.stderr.write(`no Docker daemon for this bench: ${why}\n`)
  process.exit(1)
}

type Measure = (runtime: string) => Promise<number>

const daemon = await DockerDaemon.start()
try {
  const systems = ['runc', 'caisson', 'runsc'].filter(works).map(name => ({ name, wrap: () => [] }))
  const rows: Row[] = []
  for (const [name, kind, measure] of workloads()) {
    const values = new Map<string, (number | undefined)[]>(systems.map(system => [system.name, []]))
    for (let round = 0; round < Number(flags.runs); round++) {
      for (const system of systems) values.get(system.name)!.push(await measure(system.name))
    }
    const workload: Workload = { name, kind, command: [] }
    rows.push({ workload, values })
  }
  process.stdout.write(`${formatTable(rows, systems, true)}\n`)
} finally {
  await daemon.stop()
}

function workloads(): (readonly [string, Workload['kind'], Measure])[] {
  return [
    [
      'docker run --rm busybox true',
      'wall',
      runtime => wall(['run', '--rm', ...on(runtime), 'busybox', 'true']),
    ],
    [
      'the same without a network',
      'wall',
      runtime => wall(['run', '--rm', '--network', 'none', ...on(runtime), 'busybox', 'true']),
    ],
    ['docker run -d', 'wall', runtime => withContainer(runtime, async (_, took) => took)],
    ['docker exec true', 'wall', runtime => withContainer(runtime, id => wall(['exec', id, 'true']))],
    [
      'docker stop (which kills)',
      'wall',
      runtime => withContainer(runtime, id => wall(['stop', '-t', '0', id])),
    ],
    ['ten at once, run --rm', 'wall', tenAtOnce],
    [
      'memory of an idle container',
      'memory',
      runtime => withContainer(runtime, async id => containerMemory(id)),
    ],
  ]
}

function on(runtime: string): string[] {
  return ['--runtime', runtime]
}

function docker(args: readonly string[]): string {
  const run = spawnSync('docker', ['--host', daemon.address, ...args], { encoding: 'utf8' })
  if (run.status !== 0) throw new Error(`docker ${args.join(' ')}: ${run.stderr}`)
  return run.stdout.trim()
}

function works(runtime: string): boolean {
  try {
    docker(['run', '--rm', ...on(runtime), 'busybox', 'true'])
    return true
  } catch (error) {
    process.stderr.write(`without ${runtime}: ${(error as Error).message}\n`)
    return false
  }
}

/** Nanoseconds. */
async function wall(args: readonly string[]): Promise<number> {
  const start = process.hrtime.bigint()
  docker(args)
  return Number(process.hrtime.bigint() - start)
}

async function withContainer(
  runtime: string,
  look: (id: string, took: number) => Promise<number>,
): Promise<number> {
  const start = process.hrtime.bigint()
  const id = docker(['run', '-d', ...on(runtime), 'busybox', 'sleep', '1000'])
  const took = Number(process.hrtime.bigint() - start)
  try {
    return await look(id, took)
  } finally {
    docker(['rm', '-f', id])
  }
}

async function tenAtOnce(runtime: string): Promise<number> {
  const start = process.hrtime.bigint()
  const args = ['--host', daemon.address, 'run', '--rm', ...on(runtime), 'busybox', 'true']
  const runs = Array.from({ length: 10 }, () => spawn('docker', args, { stdio: 'ignore' }))
  const statuses = await Promise.all(runs.map(run => new Promise(resolve => run.on('exit', resolve))))
  if (statuses.some(status => status !== 0)) throw new Error(`${runtime}: statuses ${statuses}`)
  return Number(process.hrtime.bigint() - start)
}

/** Of all processes of the container but the shim, which is the same for all. */
function containerMemory(id: string): number {
  const pid = Number(docker(['inspect', '-f', '{{.State.Pid}}', id]))
  const shim = Number(statFields(pid)[1])
  spawnSync('sleep', ['5'])
  return memoryOf(treeOf(shim).filter(each => each !== shim))
}
