/**
 * `bin/node bench/memory-return.ts [--files N] [--execs N]`: whether a sandbox gives back what work has taken. A container
 * makes and removes a million files on a volume of the host and in memory, then a thousand processes are brought in by
 * `exec`; after each the sentry's memory is shown when it has had a few quiet seconds. Fails if it ends far above its start.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { OciWorld } from '../test/e2e/oci-bundle.ts'
import { statFields, treeOf } from './measure.ts'

const { values: flags } = parseArgs({
  options: {
    files: { type: 'string', default: '1000000' },
    execs: { type: 'string', default: '1000' },
  },
})
const MIB = 1 << 20
/** What may stay: V8's heap is never as small again as it was at the start. */
const ALLOWED = 24 * MIB
const QUIET_MS = 6000

const world = new OciWorld()
try {
  process.exitCode = (await measure()) ? 0 : 1
} finally {
  world.clear()
  world.end()
}

async function measure(): Promise<boolean> {
  const volume = join(world.directory, 'volume')
  mkdirSync(volume)
  const cc = spawnSync('cc', [
    '-O2',
    '-static',
    '-o',
    join(volume, 'churn'),
    join(import.meta.dirname, 'guest/churn.c'),
  ])
  if (cc.status !== 0) throw new Error(`cc: ${cc.stderr}`)
  const bundle = world.bundle({
    args: ['sleep', '100000'],
    mounts: [{ destination: '/volume', type: 'bind', source: volume, options: ['bind', 'rw'] }],
  })
  world.create('m', bundle)
  world.ok('start', 'm')
  const sentry = sentryOf(Number(world.state('m').pid))

  const start = await settled(sentry)
  print('start', start, 0)
  await step('files on a volume', sentry, () => churn('/volume'))
  await step('files in memory', sentry, () => churn('/tmp'))
  const end = await step(`${flags.execs} execs`, sentry, () => {
    for (let i = 0; i < Number(flags.execs); i++) world.ok('exec', 'm', 'true')
  })
  return end - start <= ALLOWED
}

function churn(directory: string): void {
  const args = ['--root', world.root, 'exec', 'm', '/volume/churn', directory, flags.files]
  const { status, stderr } = spawnSync(join(import.meta.dirname, '../bin/caisson'), args, {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`churn ${directory}: ${stderr}`)
}

async function step(name: string, sentry: number, work: () => void): Promise<number> {
  const began = performance.now()
  work()
  const took = performance.now() - began
  const most = rss(sentry)
  const after = await settled(sentry)
  print(name, after, took, most)
  return after
}

/** The memory once it is quiet. */
async function settled(pid: number): Promise<number> {
  await sleep(QUIET_MS)
  return rss(pid)
}

function print(name: string, bytes: number, ms: number, before?: number): void {
  const mib = (value: number) => `${(value / MIB).toFixed(1)} MiB`
  const during =
    before === undefined ? '' : `, ${mib(before)} right after ${(ms / 1000).toFixed(1)} s of work`
  process.stdout.write(`${name.padEnd(20)} ${mib(bytes)}${during}\n`)
}

/** Of its own memory: what it maps of files and shares with others is not its. */
function rss(pid: number): number {
  const found = /^RssAnon:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
  return Number(found![1]) * 1024
}

/** The child of the launcher's that runs node. */
function sentryOf(launcher: number): number {
  const child = treeOf(launcher).find(
    pid =>
      Number(statFields(pid)[1]) === launcher &&
      readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('node'),
  )
  if (child === undefined) throw new Error('the sentry is not to be found')
  return child
}
