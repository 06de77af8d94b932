/** However a sandbox ends, no process, mount or file of it is left on the host. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Running } from './leftovers.ts'

const LIMIT_MS = 15_000
const FAMILY = ['do', '--', 'sh', '-c', 'sleep 1000 & sleep 1001 & echo ready; wait']

const ENDINGS: [string, string[], number][] = [
  ['a normal end', ['true'], 0],
  ['an error', ['sh', '-c', 'exit 7'], 7],
  ['a signal', ['sh', '-c', 'kill -TERM $$'], 128 + 15],
  ['a crash', ['sh', '-c', 'ulimit -c 0; kill -SEGV $$'], 128 + 11],
  ['an end that leaves background processes', ['sh', '-c', 'sleep 1000 & sleep 1000 & exit 0'], 0],
  ['an end that leaves processes in other sessions', ['sh', '-c', 'setsid sleep 1000 & exit 0'], 0],
]

for (const [what, command, status] of ENDINGS) {
  test(`cleanup: nothing is left after ${what}`, async () => {
    const sandbox = new Running(['do', '--', ...command])
    assert.equal((await sandbox.end(LIMIT_MS)).status, status)
    await sandbox.leavesNothing()
  })
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
  test(`cleanup: ${signal} to the launcher ends the sandbox, and nothing is left`, async () => {
    const sandbox = new Running(FAMILY)
    await sandbox.says('ready')
    process.kill(sandbox.pid, signal)
    await sandbox.end(LIMIT_MS)
    await sandbox.leavesNothing()
  })
}

test('cleanup: a signal during the start leaves nothing', async () => {
  for (const delayMs of [5, 20, 40, 60, 80, 120]) {
    const sandbox = new Running(FAMILY)
    await sleep(delayMs)
    process.kill(sandbox.pid, 'SIGTERM')
    await sandbox.end(LIMIT_MS)
    await sandbox.leavesNothing()
  }
})

test('cleanup: kill -9 of any of the host processes leaves nothing', async t => {
  const count = (await started()).length
  // The launcher, the sentry, the zygote and three guest processes.
  assert.ok(count >= 6, `${count} processes`)
  for (let index = 0; index < count; index++) {
    await t.test(`process ${index + 1} of ${count}`, async context => {
      const sandbox = new Running(FAMILY)
      await sandbox.says('ready')
      const victim = (await settled(sandbox))[index] ?? { pid: sandbox.pid, name: 'as many as there are' }
      context.diagnostic(victim.name)
      process.kill(victim.pid, 'SIGKILL')
      // One guest process among others may die alone: the sandbox goes on, as a machine does.
      await Promise.race([sandbox.ended, sleep(1500)])
      if (sandbox.child.exitCode === null && sandbox.child.signalCode === null) {
        process.kill(sandbox.pid, 'SIGTERM')
      }
      await sandbox.end(LIMIT_MS)
      await sandbox.leavesNothing()
    })
  }
})

/** Its processes once they stay the same: an exec ends one host process and begins another. */
async function settled(sandbox: Running) {
  let family = sandbox.processes()
  for (let same = 0; same < 5; ) {
    await sleep(50)
    const now = sandbox.processes()
    same = now.map(({ pid }) => pid).join() === family.map(({ pid }) => pid).join() ? same + 1 : 0
    family = now
  }
  return family
}

async function started() {
  const sandbox = new Running(FAMILY)
  await sandbox.says('ready')
  const processes = await settled(sandbox)
  process.kill(sandbox.pid, 'SIGTERM')
  await sandbox.end(LIMIT_MS)
  await sandbox.leavesNothing()
  return processes
}
