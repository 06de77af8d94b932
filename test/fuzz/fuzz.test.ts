/** Random system calls: whatever a guest asks, the sandbox ends by itself, in time, and leaves nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Running } from '../e2e/leftovers.ts'
import { build } from '../guest/programs.ts'

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 20)

test('fuzz: random calls neither crash nor hang the sandbox', async context => {
  // FUZZ_SEED repeats a run as far as the timing of threads lets it.
  const seed = process.env.FUZZ_SEED ?? String(Math.floor(Math.random() * 2 ** 32))
  context.diagnostic(`seed ${seed}`)
  const program = build('fuzz', import.meta.dirname)
  const sandbox = new Running(['do', '--overlay-size', '64m', '--', program, seed, String(SECONDS)])
  const { status, stdout, stderr } = await sandbox.end((SECONDS + 30) * 1000)
  await sandbox.leavesNothing()
  // A bug in a handler is logged with a stack.
  assert.doesNotMatch(stderr, /^ +at /m, `seed ${seed}`)
  assert.equal(status, 0, `seed ${seed}: ${stderr.slice(-2000)}`)
  const [, calls] = /^calls (\d+)/m.exec(stdout) ?? []
  context.diagnostic(`${calls} calls`)
  assert.ok(Number(calls) > 1000, `${calls} calls`)
})
