/** The verbs of the container runtime, as an engine or a user calls them. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { ConsoleReceiver } from './console-receiver.ts'
import { until } from './leftovers.ts'
import { caisson, OciWorld } from './oci-bundle.ts'

const needsRoot = process.getuid!() === 0 ? false : 'host mounts are given away by root alone'
const world = new OciWorld()
after(() => world.end())

const SLEEPER = ['sh', '-c', 'trap "echo term; exit 3" TERM; echo up; while :; do sleep 0.05; done']

function oci(name: string, body: () => Promise<void> | void): void {
  test(`oci: ${name}`, { skip: needsRoot }, () => world.cleanly(body))
}

function read(path: string): string {
  return readFileSync(path, 'utf8')
}

async function running(id: string, args: readonly string[] = SLEEPER): Promise<string> {
  const output = world.create(id, world.bundle({ args }))
  world.ok('start', id)
  await until(() => read(output).includes('up'), 'the container says that it is up')
  return output
}

/** The sentry is the launcher's child, and the guest's processes carry the zygote's name. */
function childOf(pid: number): number {
  return Number(read(`/proc/${pid}/task/${pid}/children`).split(' ')[0])
}

function stubOf(launcher: number): number {
  const sentry = childOf(launcher)
  const zygote = childOf(sentry)
  return childOf(zygote) || zygote
}

async function stopped(id: string): Promise<void> {
  await until(() => world.state(id).status === 'stopped', 'the container stops')
}

oci('run gives the output and the exit status of the process', () => {
  const bundle = world.bundle({ args: ['sh', '-c', 'echo out; echo err >&2; hostname; exit 5'] })
  const { status, stdout, stderr } = world.run('run', '--bundle', bundle, 'r1')
  assert.deepEqual([status, stdout, stderr], [5, 'out\noci\n', 'err\n'])
})

oci('a container goes from created to running to stopped, and is gone when deleted', async () => {
  const pidFile = join(world.directory, 'pid')
  const bundle = world.bundle({ args: SLEEPER, annotations: { 'org.test': 'x' } })
  const output = world.create('life', bundle, '--pid-file', pidFile)
  const created = world.state('life')
  assert.equal(created.status, 'created')
  assert.equal(created.id, 'life')
  assert.equal(created.bundle, bundle)
  assert.equal(created.pid, Number(read(pidFile)))
  assert.deepEqual(created.annotations, { 'org.test': 'x' })
  assert.equal(read(output), '', 'nothing runs before start')
  world.ok('start', 'life')
  await until(() => read(output) === 'up\n', 'it runs')
  assert.equal(world.state('life').status, 'running')
  assert.match(world.run('start', 'life').stderr, /cannot start an already running container/)
  assert.match(
    world.run('delete', 'life').stderr,
    /cannot delete container life that is not stopped: running/,
  )
  world.ok('kill', 'life', 'TERM')
  await stopped('life')
  assert.equal(read(output), 'up\nterm\n')
  assert.equal(world.state('life').pid, 0)
  const killed = world.run('kill', 'life')
  assert.deepEqual([killed.status, /container not running/.test(killed.stderr)], [1, true])
  assert.match(world.run('start', 'life').stderr, /cannot start a container that has stopped/)
  world.ok('delete', 'life')
  for (const verb of ['state', 'start', 'kill', 'delete', 'pause', 'ps']) {
    const { status, stderr } = world.run(verb, 'life')
    assert.deepEqual([verb, status, stderr], [verb, 1, 'caisson: container does not exist\n'])
  }
  world.ok('delete', '--force', 'life')
})

oci('an id can be used once, and must be one', () => {
  const bundle = world.bundle({ args: SLEEPER })
  world.create('twice', bundle)
  assert.match(world.run('create', '-b', bundle, 'twice').stderr, /container with given ID already exists/)
  assert.equal(world.state('twice').status, 'created')
  world.ok('delete', 'twice')
  for (const id of ['..', 'a/b', 'a b', '']) {
    assert.match(world.run('create', '-b', bundle, id).stderr, /invalid container ID format/)
    assert.match(world.run('state', id).stderr, /invalid container ID format/)
  }
})

oci('list shows every container', () => {
  world.create('l1', world.bundle({ args: SLEEPER }))
  world.create('l2', world.bundle({ args: SLEEPER }))
  assert.deepEqual(
    JSON.parse(world.ok('list', '--format', 'json')).map(({ id, status }: Record<string, string>) => [
      id,
      status,
    ]),
    [
      ['l1', 'created'],
      ['l2', 'created'],
    ],
  )
  assert.equal(world.ok('list', '-q'), 'l1\nl2\n')
  assert.match(world.ok('list'), /^ID +PID +STATUS +BUNDLE +CREATED +OWNER\nl1 +\d+ +created /)
  world.ok('delete', 'l1')
  world.ok('delete', 'l2')
})

oci('exec runs a process in the container, with its own user, environment and status', async () => {
  await running('x')
  assert.equal(world.run('exec', 'x', 'sh', '-c', 'exit 9').status, 9)
  const flags = ['--env', 'A=1', '--user', '5:6', '--additional-gids', '7', '--cwd', '/tmp']
  assert.equal(
    world.ok('exec', ...flags, 'x', 'sh', '-c', 'echo $A $(id -u) $(id -G) $(pwd)'),
    '1 5 6 7 /tmp\n',
  )
  const file = join(world.directory, 'process.json')
  writeFileSync(
    file,
    JSON.stringify({ args: ['pwd'], cwd: '/bin', env: ['PATH=/bin'], user: { uid: 0, gid: 0 } }),
  )
  assert.equal(world.ok('exec', '--process', file, 'x'), '/bin\n')
  const missing = world.run('exec', 'x', 'no-such-program')
  assert.equal(missing.status, 255)
  assert.match(missing.stderr, /exec: "no-such-program": executable file not found in \$PATH/)
  assert.match(world.run('exec', 'x', '/etc/passwd').stderr, /permission denied/)
  world.ok('delete', '-f', 'x')
})

oci('a detached exec goes on, and the pid in its file is what can be killed', async () => {
  await running('xd')
  const pidFile = join(world.directory, 'xd.pid')
  world.ok('exec', '--detach', '--pid-file', pidFile, 'xd', 'sh', '-c', 'exec sleep 1000 > /dev/null 2>&1')
  const pid = Number(read(pidFile))
  assert.match(world.ok('ps', 'xd'), /sleep 1000/)
  process.kill(pid, 'SIGTERM')
  await until(() => !world.ok('ps', 'xd').includes('sleep 1000'), 'the process ends')
  world.ok('delete', '-f', 'xd')
})

oci('ps gives the pids that the host knows', async () => {
  await running('p', ['sh', '-c', 'echo up; sleep 1001; true'])
  const pids: number[] = JSON.parse(world.ok('ps', '--format', 'json', 'p'))
  assert.equal(pids.length, 2)
  for (const pid of pids) assert.ok(existsSync(`/proc/${pid}`))
  world.ok('delete', '-f', 'p')
})

oci('kill --all reaches every process, by name or number', async () => {
  const output = await running('ka', [
    'sh',
    '-c',
    "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done",
  ])
  world.ok('kill', 'ka', 'SIGUSR1')
  await until(() => read(output).includes('usr1'), 'the signal arrives')
  assert.match(world.run('kill', 'ka', 'NONSENSE').stderr, /unknown signal/)
  world.ok('kill', '--all', 'ka', '9')
  await stopped('ka')
  world.ok('kill', '--all', 'ka', '9')
  world.ok('delete', 'ka')
})

oci('a paused container does nothing until it is resumed', async () => {
  const output = await running('z', ['sh', '-c', 'echo up; while :; do echo tick; sleep 0.05; done'])
  world.ok('pause', 'z')
  assert.equal(world.state('z').status, 'paused')
  assert.match(world.run('exec', 'z', 'true').stderr, /cannot exec in a paused container/)
  const length = statSync(output).size
  spawnSync('sleep', ['0.3'])
  assert.equal(statSync(output).size, length)
  world.ok('resume', 'z')
  assert.equal(world.state('z').status, 'running')
  await until(() => statSync(output).size > length, 'it goes on')
  world.ok('pause', 'z')
  world.ok('delete', '--force', 'z')
})

oci('wait tells the exit status', async () => {
  const output = await running('w')
  const waiting = world.start('wait', 'w')
  let told = ''
  waiting.stdout!.on('data', text => (told += text))
  // It must be there before the end.
  await new Promise(resolve => setTimeout(resolve, 500))
  world.ok('kill', 'w')
  await until(() => told !== '', 'the status is told')
  assert.deepEqual(JSON.parse(told), { id: 'w', exitStatus: 3 })
  assert.match(read(output), /term/)
  await stopped('w')
  world.ok('delete', 'w')
})

oci('hooks run in their order, with the state on standard input', () => {
  const log = join(world.directory, 'hooks.log')
  const script = join(world.directory, 'hook.sh')
  writeFileSync(script, `#!/bin/sh\nread -r state\necho "$1 $state" >> ${log}\n`)
  chmodSync(script, 0o755)
  const kinds = ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop']
  const hooks = Object.fromEntries(kinds.map(kind => [kind, [{ path: script, args: ['hook', kind] }]]))
  const bundle = world.bundle({ args: ['true'], hooks })
  assert.equal(world.run('run', '-b', bundle, 'h').status, 0)
  const lines = read(log)
    .trim()
    .split('\n')
    .map(line => line.match(/^(\S+) (.*)$/)!.slice(1))
  assert.deepEqual(
    lines.map(([kind]) => kind),
    kinds,
  )
  const states = lines.map(([, state]) => JSON.parse(state))
  assert.deepEqual(
    states.map(({ status }) => status),
    ['creating', 'creating', 'creating', 'running', 'stopped'],
  )
  for (const { id, bundle: where } of states) assert.deepEqual([id, where], ['h', bundle])
  assert.ok(states.slice(0, 4).every(({ pid }) => pid > 0))
})

for (const kind of ['prestart', 'createRuntime', 'createContainer', 'poststart']) {
  oci(`a ${kind} hook that fails undoes all, and is named`, () => {
    const hooks = { [kind]: [{ path: '/bin/sh', args: ['sh', '-c', 'echo broken >&2; exit 4'] }] }
    const { status, stderr } = world.run('run', '-b', world.bundle({ args: SLEEPER, hooks }), 'hf')
    assert.equal(status, 1)
    assert.match(stderr, new RegExp(`error running ${kind} hook #0: /bin/sh: exit status 4.*broken`))
  })
}

oci('a hook that hangs is killed after its timeout', () => {
  const hooks = { createRuntime: [{ path: '/bin/sleep', args: ['sleep', '1000'], timeout: 1 }] }
  const { status, stderr } = world.run('run', '-b', world.bundle({ args: SLEEPER, hooks }), 'ht')
  assert.equal(status, 1)
  assert.match(stderr, /timed out after 1 s/)
})

oci('delete --force ends a create whose hook hangs', async () => {
  const hooks = { createRuntime: [{ path: '/bin/sleep', args: ['sleep', '300'] }] }
  const creating = world.start('create', '-b', world.bundle({ args: SLEEPER, hooks }), 'hang')
  const ended = new Promise(resolve => creating.on('exit', resolve))
  await until(() => world.run('state', 'hang').stdout.includes('"pid": '), 'it is being created')
  assert.equal(world.state('hang').status, 'creating')
  world.ok('delete', '--force', 'hang')
  assert.equal(await ended, 1)
})

oci('what is wrong with a bundle is said in one line, which goes to the log too', () => {
  const log = join(world.directory, 'log.json')
  const empty = join(world.directory, 'empty')
  mkdirSync(empty)
  const broken = world.bundle({ args: ['true'] })
  writeFileSync(join(broken, 'config.json'), '{')
  const wrong: [string, RegExp][] = [
    [empty, /config\.json does not exist/],
    [broken, /config\.json is not JSON/],
    [join(world.directory, 'no-such-bundle'), /config\.json does not exist/],
    [world.bundle({ args: [] }), /process\.args/],
    [world.bundle({ args: ['true'], process: { user: { uid: 'root', gid: 0 } } }), /process\.user\.uid/],
    [
      world.bundle({
        args: ['true'],
        mounts: [{ destination: '/x', type: 'bind', source: '/no/such', options: ['bind'] }],
      }),
      /\/no\/such/,
    ],
  ]
  for (const [bundle, message] of wrong) {
    rmSync(log, { force: true })
    const { status, stderr } = world.run('--log', log, '--log-format', 'json', 'create', '-b', bundle, 'bad')
    assert.equal(status, 1)
    assert.match(stderr, message)
    assert.doesNotMatch(stderr, /\n\s+at /)
    const entry = JSON.parse(read(log).trim().split('\n').at(-1)!)
    assert.equal(entry.level, 'error')
    assert.match(entry.msg, message)
  }
})

oci('a program that is not there is said by create, and nothing is left', () => {
  const { status, stderr } = world.run('create', '-b', world.bundle({ args: ['no-such-program'] }), 'np')
  assert.equal(status, 1)
  assert.match(stderr, /exec: "no-such-program": executable file not found in \$PATH/)
})

oci('the console socket gets the master of the terminal', async () => {
  const socket = join(world.directory, 'console')
  const receiver = new ConsoleReceiver(socket)
  const bundle = world.bundle({
    args: ['sh', '-c', 'tty; stty size; read x; echo got $x'],
    terminal: true,
    process: { consoleSize: { width: 91, height: 37 } },
  })
  const { status, stderr } = world.run('create', '-b', bundle, '--console-socket', socket, 't')
  assert.deepEqual([status, stderr], [0, ''])
  world.ok('start', 't')
  await receiver.says('37 91')
  assert.match(receiver.text, /^\/dev\/(pts\/0|console)\r\n37 91\r\n/)
  receiver.write('hello\n')
  await receiver.says('got hello')
  await stopped('t')
  receiver.close()
  world.ok('delete', 't')
  assert.match(world.run('create', '-b', bundle, 'none').stderr, /wants a terminal/)
})

for (const victim of ['launcher', 'sentry', 'stub'] as const) {
  for (const state of ['created', 'running', 'paused'] as const) {
    oci(`a ${state} container whose ${victim} is killed can be looked at and deleted`, async () => {
      const id = `k-${victim}-${state}`
      if (state === 'created') world.create(id, world.bundle({ args: SLEEPER }))
      else await running(id)
      if (state === 'paused') world.ok('pause', id)
      const pid = Number(world.state(id).pid)
      process.kill(victim === 'launcher' ? pid : victim === 'sentry' ? childOf(pid) : stubOf(pid), 'SIGKILL')
      if (state === 'paused') world.run('resume', id)
      if (victim !== 'stub' || state !== 'created') await stopped(id)
      world.ok('delete', '--force', id)
    })
  }
}

oci('a create that is killed at any moment leaves what delete --force takes away', async () => {
  for (const delayMs of [20, 40, 60, 80, 100, 130, 160]) {
    const creating = world.start('create', '-b', world.bundle({ args: SLEEPER }), 'half')
    const ended = new Promise(resolve => creating.on('exit', resolve))
    await new Promise(resolve => setTimeout(resolve, delayMs))
    creating.kill('SIGKILL')
    await ended
    const { status, stdout, stderr } = world.run('state', 'half')
    assert.ok(
      status === 0 ? /created|stopped|creating/.test(stdout) : /does not exist/.test(stderr),
      stdout + stderr,
    )
    world.ok('delete', '--force', 'half')
    await until(() => world.leftovers().length === 0, `nothing is left after ${delayMs} ms`)
  }
})

oci('ten containers at once', async () => {
  const ids = Array.from({ length: 10 }, (_, i) => `m${i}`)
  const ends = ids.map(id => {
    const child = world.start('run', '-b', world.bundle({ args: ['sh', '-c', `echo ${id}`] }), id)
    let text = ''
    child.stdout!.on('data', piece => (text += piece))
    child.stderr!.on('data', piece => (text += piece))
    return new Promise<string>(resolve => child.on('close', status => resolve(`${text}${status}`)))
  })
  assert.deepEqual(
    await Promise.all(ends),
    ids.map(id => `${id}\n0`),
  )
})

oci('a damaged state is said, and delete --force removes the container', () => {
  world.create('dmg', world.bundle({ args: SLEEPER }))
  const path = join(world.root, 'dmg/state.json')
  const state = read(path)
  writeFileSync(path, '{')
  assert.match(world.run('state', 'dmg').stderr, /is damaged/)
  writeFileSync(path, state)
  world.ok('delete', '--force', 'dmg')
})

oci('a bundle that is gone is no hindrance to state, exec and delete', async () => {
  const output = world.create('gone', world.bundle({ args: SLEEPER }))
  rmSync(String(world.state('gone').bundle), { recursive: true })
  world.ok('start', 'gone')
  await until(() => read(output).includes('up'), 'it runs')
  assert.equal(world.ok('exec', 'gone', 'echo', 'x'), 'x\n')
  world.ok('delete', '-f', 'gone')
})

oci('devices can be used as the rules for them say, and nodes of all can be made', () => {
  const mknod = ['CAP_MKNOD']
  const outcome = (devices: readonly object[]) => {
    const bundle = world.bundle({
      args: ['sh', '-c', 'mknod /tmp/fuse c 10 229 && : < /dev/null && : < /tmp/fuse && echo opened'],
      process: { capabilities: { bounding: mknod, effective: mknod, permitted: mknod } },
      linux: { resources: { devices } },
    })
    const { stdout, stderr } = world.run('run', '--bundle', bundle, 'devices')
    return stdout + stderr
  }
  const none = { allow: false, access: 'rwm' }
  const fuse = { allow: true, type: 'c', major: 10, minor: 229 }
  const denied = /can't open \/tmp\/fuse: Operation not permitted\n$/
  assert.match(outcome([none]), denied)
  assert.match(outcome([]), denied)
  assert.match(outcome([none, { ...fuse, access: 'w' }]), denied)
  assert.equal(outcome([none, { ...fuse, access: 'rw' }]), 'opened\n')
  assert.match(outcome([{ ...fuse, access: 'r' }, none]), denied)
  assert.equal(outcome([{ allow: true, access: 'rwm' }]), 'opened\n')
})

oci('a container that is given /dev/net/tun makes interfaces with it', () => {
  const capabilities = ['CAP_NET_ADMIN']
  const tun = { type: 'c', major: 10, minor: 200 }
  const bundle = world.bundle({
    args: ['sh', '-c', 'tunctl -t tun7; ip -o link show tun7 | cut -d : -f 2'],
    process: { capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities } },
    linux: {
      devices: [{ ...tun, path: '/dev/net/tun' }],
      resources: {
        devices: [
          { allow: false, access: 'rwm' },
          { ...tun, allow: true, access: 'rw' },
        ],
      },
    },
  })
  const { stdout, stderr } = world.run('run', '--bundle', bundle, 'tun')
  assert.deepEqual([stdout, stderr], ['tun7\n tun7\n', ''])
})

oci(
  'a bind mount shows as its root where it comes from, as programs look for their container’s id there',
  () => {
    const source = join(world.directory, 'bound-0123456789ab')
    mkdirSync(join(source, 'below'), { recursive: true })
    const admin = ['CAP_SYS_ADMIN']
    const bundle = world.bundle({
      args: [
        'sh',
        '-c',
        'mount -o bind /tmp/v/below /tmp/w; cut -d " " -f 4,5 /proc/self/mountinfo | grep " /tmp/"',
      ],
      process: { capabilities: { bounding: admin, effective: admin, permitted: admin } },
      mounts: [
        { destination: '/tmp/v', type: 'bind', source, options: ['bind'] },
        { destination: '/tmp/w', type: 'tmpfs', source: 'tmpfs' },
      ],
    })
    const { stdout, stderr } = world.run('run', '--bundle', bundle, 'bound')
    assert.deepEqual([stdout, stderr], [`${source} /tmp/v\n/ /tmp/w\n${source}/below /tmp/w\n`, ''])
  },
)

test('oci: install enters the runtime in daemon.json and uninstall takes it out, through a link, twice', () => {
  const directory = join(world.directory, 'docker')
  mkdirSync(directory)
  const [file, link] = [join(directory, 'real.json'), join(directory, 'daemon.json')]
  const before = '{\n  "log-level":   "warn",\n  "runtimes": { "other": { "path": "/x" } }\n}\n'
  writeFileSync(file, before, { mode: 0o640 })
  symlinkSync(file, link)
  world.ok('install', '--config', link, '--', '--network=none')
  const installed = JSON.parse(read(file))
  assert.deepEqual(installed.runtimes.caisson.runtimeArgs, ['--network=none'])
  assert.ok(existsSync(installed.runtimes.caisson.path))
  assert.deepEqual(installed.runtimes.other, { path: '/x' })
  assert.equal(statSync(file).mode & 0o777, 0o640)
  assert.match(world.ok('install', '--config', link, '--', '--network=none'), /already/)
  world.ok('uninstall', '--config', link)
  assert.equal(read(file), before)
  assert.match(world.ok('uninstall', '--config', link), /has no runtime/)
  writeFileSync(file, '{"runtimes": ')
  assert.match(world.run('install', '--config', link).stderr, /is not valid JSON and was left as it is/)
  assert.equal(read(file), '{"runtimes": ')
  const fresh = join(directory, 'new/daemon.json')
  world.ok('install', '--name', 'box', '--config', fresh)
  assert.deepEqual(Object.keys(JSON.parse(read(fresh)).runtimes), ['box'])
})

test('oci: the version is what Docker reads from a runtime', () => {
  const { stdout } = spawnSync(caisson, ['--version'], { encoding: 'utf8' })
  assert.match(stdout, /^caisson version \d+\.\d+\.\d+\n(.*\n)*spec: 1\.\d+\.\d+\n/)
})
