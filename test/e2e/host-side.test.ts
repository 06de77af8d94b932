/** The host side of a container that hangs, lies, or outlives who started it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { until } from './leftovers.ts'
import { assertSentence, caisson, OciWorld } from './oci-bundle.ts'

const needsRoot = process.getuid!() === 0 ? false : 'containers are made by root alone'
const world = new OciWorld()
after(() => world.end())
const SLEEPER = ['sleep', '1000']
const LIMIT_MS = 240_000
const place = (name: string) => join(world.directory, name)

function hostSide(name: string, body: () => Promise<void> | void): void {
  test(`host side: ${name}`, { skip: needsRoot, timeout: LIMIT_MS }, () => world.cleanly(body))
}

hostSide('what stands for a container keeps no directory of the caller and no descriptor of his', () => {
  const bundle = world.bundle({ args: SLEEPER })
  const fd = openSync(place('his'), 'w')
  closeSync(fd)
  const { status } = world.script(
    `cd ${bundle}; exec 9> ${place('his')}; $c create x > /dev/null 2>&1 < /dev/null && $c start x &&
    $c exec --detach --pid-file ${place('exec.pid')} x sleep 999 > /dev/null 2>&1 < /dev/null`,
  )
  assert.equal(status, 0)
  const exec = readFileSync(place('exec.pid'), 'utf8')
  for (const [pid, most] of [
    // Among them the claim to its network namespace, and the socket that tells of changes there.
    [String(world.state('x').pid), 8],
    [exec, 5],
  ] as const) {
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), '/')
    const files = readdirSync(`/proc/${pid}/fd`).map(each => readlinkSync(`/proc/${pid}/fd/${each}`))
    assert.ok(files.length <= most, `${files}`)
    assert.deepEqual(
      files.filter(file => file === place('his')),
      [],
    )
  }
  world.ok('delete', '--force', 'x')
})

hostSide(
  'delete --force of a container that is gone is fine, and takes away what was begun under its id',
  () => {
    const begun = join(world.root, 'ghost@999999999.1')
    world.ok('delete', '--force', 'ghost')
    mkdirSync(begun, { recursive: true })
    world.ok('delete', '--force', 'ghost')
    assert.ok(!existsSync(begun))
    const plain = world.run('delete', 'ghost')
    assertSentence(plain, /container does not exist/)
  },
)

hostSide(
  'a paused container: a signal waits for its resume, and what can only be asked of it is refused at once',
  async () => {
    const output = world.create(
      'p',
      world.bundle({ args: ['sh', '-c', 'trap "echo term; exit 3" TERM; sleep 1000 & wait'] }),
    )
    world.ok('start', 'p')
    await until(() => /sleep/.test(world.run('ps', 'p').stdout), 'it runs')
    world.ok('pause', 'p')
    const start = performance.now()
    world.ok('kill', 'p', 'TERM')
    for (const words of [
      ['ps', 'p'],
      ['kill', '--all', 'p', 'HUP'],
      ['kill', 'p', 'STOP'],
      ['update', '--pids-limit', '9', 'p'],
    ]) {
      assertSentence(world.run(...words), /container p is paused: resume it first/)
    }
    assert.ok(performance.now() - start < 5000)
    assert.equal(world.state('p').status, 'paused')
    world.ok('resume', 'p')
    await until(() => world.state('p').status === 'stopped', 'it ends')
    assert.equal(readFileSync(output, 'utf8'), 'term\n')
    world.ok('delete', 'p')
  },
)

hostSide('a hook in the container may take longer than a sandbox that does not answer', () => {
  const hook = { path: '/bin/sleep', args: ['sleep', '11'] }
  const bundle = world.bundle({ args: ['echo', 'done'], hooks: { startContainer: [hook] } })
  assert.deepEqual(world.run('run', '-b', bundle, 'slow'), { status: 0, stdout: 'done\n', stderr: '' })
})

hostSide('delete --force does not wait for a start that waits for a hook', async () => {
  const hook = { path: '/bin/sleep', args: ['sleep', '1000'] }
  world.create('stuck', world.bundle({ args: ['true'], hooks: { startContainer: [hook] } }))
  const starting = world.beside('start', 'stuck')
  await until(() => /sleep 1000/.test(world.run('ps', 'stuck').stdout), 'the hook runs')
  const start = performance.now()
  world.ok('delete', '--force', 'stuck')
  assert.ok(performance.now() - start < 5000)
  assertSentence(await starting, /is not running/)
})

const DEEP = `${'['.repeat(1e6)}${']'.repeat(1e6)}`
const LIES: [string, string][] = [
  ['nothing', ''],
  ['no JSON', 'hello\n'],
  ['an answer of another kind', '{"done":1}\n'],
  ['processes that are none', '{"processes":{"map":1}}\n'],
  ['processes of another form', '{"processes":[{"pid":"1","args":7}]}\n'],
  ['an error that is none', '{"error":{"toString":null},"status":"x"}\n'],
  ['depth', `{"processes":${DEEP}}\n`],
  ['a line without end', 'x'.repeat(6 << 20)],
]
hostSide('a sandbox that lies is said to, and no more', async () => {
  world.create('liar', world.bundle({ args: SLEEPER }))
  world.ok('start', 'liar')
  const socket = join(world.root, 'liar/control.sock')
  renameSync(socket, `${socket}.true`)
  let answer = ''
  const server = createServer(connection => {
    connection.on('error', () => {}).once('data', () => connection.end(answer))
  }).listen(socket)
  for (const [what, text] of LIES) {
    answer = text
    for (const words of [
      ['ps', 'liar'],
      ['exec', 'liar', 'true'],
      ['kill', 'liar', 'TERM'],
    ]) {
      const child = spawn(caisson, ['--root', world.root, ...words], { stdio: ['ignore', 'ignore', 'pipe'] })
      let stderr = ''
      child.stderr!.on('data', piece => (stderr += piece))
      const status = await new Promise<number | null>(resolve => child.on('close', resolve))
      assert.notEqual(status, 0, `${words}: ${what}`)
      assert.match(stderr, /makes no sense|is not running|can't be asked/, `${words}: ${what}`)
      assert.doesNotMatch(stderr, /this is a bug/, what)
    }
  }
  answer = '{"error":"\\u001b]0;owned\\u0007\\u001b[2J"}\n'
  const { stderr } = await world.beside('ps', 'liar')
  assert.equal(stderr, 'caisson: ?]0;owned??[2J\n')
  server.close()
  rmSync(socket, { force: true })
  world.ok('delete', '--force', 'liar')
})
