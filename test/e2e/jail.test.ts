/** The launcher and the jail, with a probe in place of the sentry: what it has and what it has not. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { EPERM, EROFS } from '../../src/abi/errno.ts'

const root = join(import.meta.dirname, '../..')
const NOBODY = 65534
/** A package like ours, whose program is the probe. */
let fake = ''
let launcher = ''
let writable = ''
/** Without CAISSON_SOURCE: the probe is in dist/. */
const env = { PATH: process.env.PATH }

before(() => {
  fake = mkdtempSync(join(tmpdir(), 'caisson-jail-'))
  chmodSync(fake, 0o755)
  launcher = join(fake, 'native/build/caisson')
  writable = join(fake, 'writable')
  mkdirSync(join(fake, 'native/build'), { recursive: true })
  mkdirSync(join(fake, 'dist'))
  mkdirSync(writable)
  chmodSync(writable, 0o777)
  copyFileSync(join(root, 'native/build/caisson'), launcher)
  symlinkSync(join(root, 'node_modules'), join(fake, 'node_modules'))
  symlinkSync(join(root, 'native/build/zygote'), join(fake, 'native/build/zygote'))
  const probes = JSON.stringify(join(import.meta.dirname, '/'))
  writeFileSync(
    join(fake, 'dist/caisson.cjs'),
    `import(${probes} + (process.argv[3] === 'throw' ? 'sentry-probe.ts' : 'jail-probe.ts'))`,
  )
})
after(() => rmSync(fake, { recursive: true }))

function run(what: string, options: { uid?: number; gid?: number } = {}) {
  rmSync(join(writable, 'made'), { force: true })
  return spawnSync(launcher, ['do', what, writable], {
    cwd: '/',
    env,
    encoding: 'utf8',
    timeout: 20000,
    ...options,
  })
}

const users = process.geteuid?.() === 0 ? [{}, { uid: NOBODY, gid: NOBODY }] : [{}]

for (const user of users) {
  const name = 'uid' in user ? 'an ordinary user' : 'the caller'

  test(`jail: started by ${name}, the root holds the donated mounts alone, and pseudo file systems are covered`, () => {
    const { stdout, stderr } = run('look', user)
    assert.notEqual(stdout, '', stderr)
    const report = JSON.parse(stdout)
    assert.deepEqual(report.root, ['fd', 'mount0', 'mount1', 'proc'])
    assert.equal(report.readsRoot, true)
    // '.' and '..' alone.
    assert.deepEqual(report.pseudo, [48, 48, 48])
    assert.equal(report.writeToRoot, -EROFS)
    assert.equal(report.writeToWritable, true)
    assert.equal(report.mount, -EPERM)
  })

  test(`jail: started by ${name}, every thread is without capabilities of weight, and under the filter`, () => {
    const { threads } = JSON.parse(run('look', user).stdout)
    assert.ok(threads.length > 2)
    // DAC_OVERRIDE, DAC_READ_SEARCH, CHOWN, FOWNER, FSETID for root.
    const kept = process.geteuid?.() === 0 && !('uid' in user) ? '000000000000001f' : '0000000000000000'
    const none = '0000000000000000'
    for (const thread of threads) assert.equal(thread, `${kept} ${kept} ${none} ${none} 1 2`)
  })
}

test('launcher: the exit status is the sentry’s', () => {
  assert.equal(run('exit').status, 42)
})

test('launcher: a call that is not on the list ends the sandbox, and is reported', () => {
  const { status, stdout, stderr } = run('socket')
  assert.equal(stdout, '')
  assert.match(stderr, /made the host call socket, which is not on its list/)
  assert.equal(status, 128 + 31)
})

test('sentry: an exception that nobody catches ends the sandbox as a failure of caisson’s, with a report', () => {
  const { status, stderr } = run('throw')
  assert.match(stderr, /the kernel failed, and the sandbox ends: Error: on purpose\n {4}at /)
  assert.equal(status, 125)
})

test('launcher: signals reach the sentry', async () => {
  const child = await startWaiting()
  child.kill('SIGTERM')
  assert.equal(await textOf(child), 'signal 15')
})

test('launcher: killed, it takes the sandbox along', async () => {
  const child = await startWaiting()
  const sentry = childOf(child.pid!)
  assert.ok(isAlive(sentry))
  child.kill('SIGKILL')
  for (let i = 0; i < 200 && isAlive(sentry); i++) await sleep(10)
  assert.equal(isAlive(sentry), false)
})

async function startWaiting(): Promise<ChildProcess> {
  const child = spawn(launcher, ['do', 'wait', writable], {
    cwd: '/',
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise((resolve, reject) => {
    child.stdout!.once('data', resolve)
    child.once('exit', status => reject(new Error(`the probe ended with ${status}`)))
  })
  return child
}

async function textOf(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const piece of child.stdout!) text += piece
  return text
}

function childOf(pid: number): number {
  for (const entry of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    if (statusOf(Number(entry)).includes(`PPid:\t${pid}\n`)) return Number(entry)
  }
  throw new Error(`process ${pid} has no child`)
}

function isAlive(pid: number): boolean {
  const status = statusOf(pid)
  return status !== '' && !/^State:\s+[ZX]/m.test(status)
}

/** '' for a process that is gone. */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'latin1')
  } catch {
    return ''
  }
}
