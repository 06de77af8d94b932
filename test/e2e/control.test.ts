/** Running sandboxes as `caisson ps` and `caisson strace` reach them. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '../..')
const LOOP = 'echo up; while :; do sleep 0.05; done'

function caisson(...args: string[]) {
  return spawnSync(join(root, 'bin/caisson'), args, { encoding: 'utf8', timeout: 20000 })
}

/** A sandbox that runs until it is killed; its id is the launcher's pid. */
async function startLoop(): Promise<ChildProcess> {
  const child = spawn(join(root, 'bin/caisson'), ['do', '--', 'sh', '-c', LOOP], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await waitFor(child.stdout!, /up/)
  return child
}

function waitFor(stream: NodeJS.ReadableStream, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => reject(new Error(`${pattern} did not come: ${text}`)), 10000)
    stream.on('data', piece => {
      text += piece
      if (!pattern.test(text)) return
      clearTimeout(timer)
      resolve(text)
    })
  })
}

test('control: a running sandbox is listed, and is gone from the list after it ended', async () => {
  const child = await startLoop()
  try {
    assert.match(caisson('ps').stdout, new RegExp(`^${child.pid} +\\d+s +\\d+ +sh -c echo up`, 'm'))
  } finally {
    child.kill('SIGTERM')
  }
  const [code, signal] = await new Promise<[number | null, string | null]>(resolve =>
    child.once('exit', (status, by) => resolve([status, by])),
  )
  assert.deepEqual([code, signal], [128 + 15, null])
  assert.doesNotMatch(caisson('ps').stdout, new RegExp(`^${child.pid} `, 'm'))
  const directory = process.env.XDG_RUNTIME_DIR ?? '/run'
  assert.equal(existsSync(join(directory, `caisson/${child.pid}.sock`)), false)
})

test('control: the trace of a running sandbox is switched on and off', async () => {
  const child = await startLoop()
  try {
    const traced = waitFor(child.stderr!, /clone|vfork|wait4/)
    assert.equal(caisson('strace', 'on', String(child.pid)).status, 0)
    await traced
    assert.equal(caisson('strace', 'off', String(child.pid)).status, 0)
  } finally {
    child.kill('SIGKILL')
  }
})
