/** Running sandboxes as `caisson ps` and `caisson strace` reach them. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

const root = join(import.meta.dirname, '../..')
const LOOP = 'echo up; while :; do sleep 0.05; done'

/** Not synchronous: the sandbox waits while nobody takes its trace. */
function caisson(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(join(root, 'bin/caisson'), args, { timeout: 20000 })
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
    assert.match((await caisson('ps')).stdout, new RegExp(`^${child.pid} +\\d+s +\\d+ +sh -c echo up`, 'm'))
  } finally {
    child.kill('SIGTERM')
  }
  const [code, signal] = await new Promise<[number | null, string | null]>(resolve =>
    child.once('exit', (status, by) => resolve([status, by])),
  )
  assert.deepEqual([code, signal], [128 + 15, null])
  assert.doesNotMatch((await caisson('ps')).stdout, new RegExp(`^${child.pid} `, 'm'))
  const directory = process.env.XDG_RUNTIME_DIR ?? '/run'
  assert.equal(existsSync(join(directory, `caisson/${child.pid}.sock`)), false)
})

test('control: the trace of a running sandbox is switched on and off', async () => {
  const child = await startLoop()
  try {
    const traced = waitFor(child.stderr!, /clone|vfork|wait4/)
    await caisson('strace', 'on', String(child.pid))
    await traced
    await caisson('strace', 'off', String(child.pid))
  } finally {
    child.kill('SIGKILL')
  }
})

test('jail: every process of a sandbox has its root and its working directory in the empty root', async () => {
  const child = await startLoop()
  try {
    const family = descendants(child.pid!)
    // The sentry, the zygote, and a stub process for the shell.
    assert.ok(family.length >= 3)
    for (const pid of family) {
      for (const link of ['root', 'cwd']) {
        const names = readdirSync(`/proc/${pid}/${link}/`).sort()
        assert.deepEqual(names, ['fd', 'mount0', 'proc'], `${link} of process ${pid}`)
      }
    }
  } finally {
    child.kill('SIGKILL')
  }
})

test('jail: no process of a sandbox holds a directory from which `..` leads into the host’s tree', async () => {
  const child = await startLoop()
  try {
    for (const pid of descendants(child.pid!)) {
      const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n')
      const own = new Set(mounts.map(line => line.split(' ')[0]))
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        if (statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false })?.isDirectory() !== true) continue
        const [, mount] = /^mnt_id:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))!
        // pivot_root leaves the host's mounts together, and out of this list.
        assert.ok(own.has(mount), `descriptor ${fd} of process ${pid}`)
      }
    }
  } finally {
    child.kill('SIGKILL')
  }
})

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number)
  return children.flatMap(child => [child, ...descendants(child)])
}
