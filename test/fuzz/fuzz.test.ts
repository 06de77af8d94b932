/**
 * Whatever a guest asks, the sandbox ends by itself, in time, and leaves nothing; nothing fails in the kernel on the way.
 *
 * FUZZ_SECONDS: for how long each part runs. FUZZ_SEED repeats a run as far as the timing of threads lets it.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Running } from '../e2e/leftovers.ts'
import { build } from '../guest/programs.ts'

const seed = process.env.FUZZ_SEED ?? String(Math.floor(Math.random() * 2 ** 32))
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 4)

interface Part {
  readonly program: string
  readonly about: string
  readonly flags?: readonly string[]
}

const PARTS: readonly Part[] = [
  { program: 'calls', about: 'calls of all numbers with random arguments' },
  { program: 'uring', about: 'entries, registrations and rings of io_uring' },
  { program: 'options', about: 'options, requests, addresses and messages on descriptors of all kinds' },
  { program: 'process', about: 'registers, signal frames, filters, threads and tracers' },
  { program: 'memory', about: 'address spaces and structures that other threads change' },
  {
    program: 'files',
    about: 'writes to pseudo files, mounts, attributes and rules',
    flags: ['--user', 'root'],
  },
  { program: 'elf', about: 'programs that are broken' },
  { program: 'packets', about: 'packets of all protocols', flags: ['--user', 'root'] },
  { program: 'fuse', about: 'answers of a file system’s server', flags: ['--user', 'root'] },
]

for (const { program, about, flags = [] } of PARTS) {
  test(`fuzz: ${about} neither crash nor hang the sandbox`, context =>
    survives(context, [...flags, '--', build(program, import.meta.dirname), seed, String(SECONDS)]))
}

test('fuzz: what programs say over netlink and in socket options, with mistakes in it, does neither', context => {
  const library = build('mutate', import.meta.dirname, ['-shared', '-fPIC'])
  const script = join(import.meta.dirname, 'netlink.sh')
  return survives(context, ['--user', 'root', '--', 'bash', script, library, seed, String(SECONDS)])
})

async function survives(context: TestContext, args: readonly string[]): Promise<void> {
  context.diagnostic(`seed ${seed}`)
  const sandbox = new Running(['do', '--network=sandbox', '--overlay-size', '64m', ...args])
  const { status, stdout, stderr } = await sandbox.end((SECONDS + 60) * 1000)
  await sandbox.leavesNothing()
  // A bug in the kernel is logged with a stack.
  assert.doesNotMatch(stderr, /^ +at /m, `seed ${seed}`)
  assert.equal(status, 0, `seed ${seed}: ${stderr.slice(-2000)}`)
  context.diagnostic(stdout.trim())
  assert.match(stdout, /^(steps|runs) \d+/m)
}
