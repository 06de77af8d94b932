import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, beforeEach, test } from 'node:test'
import { SIGINT, SIGKILL, SIGTERM, SIGUSR1 } from '../../src/abi/constants.ts'
import { watchEvents } from '../../src/oci/guest-events.ts'
import { ProcessConnection } from '../../src/sandbox/control-client.ts'
import { attachProcess, type LaunchOptions } from '../../src/sandbox/launch.ts'
import {
  addon,
  exitOf,
  openTree,
  packageRoot,
  processSpec,
  TestSandbox,
  temporaryDirectory,
} from './container-client.ts'
import { until } from './leftovers.ts'
import { openPty } from './pty.ts'

const directory = temporaryDirectory()
after(() => fs.rmSync(directory, { recursive: true }))
let sandbox: TestSandbox
const skip = process.getuid!() === 0 ? false : 'host mounts are given away by root alone'
beforeEach(async () => {
  if (skip) return
  sandbox = await TestSandbox.start(directory)
})
afterEach(async () => {
  if (skip) return
  sandbox.sandbox.process.kill(SIGKILL)
  await sandbox.exit
  await until(() => sandbox.processes().length === 0, 'no process is left', 5000)
})

test('containers: the sandbox ends with its first container, with that one’s status', { skip }, async () => {
  const { streams, pid } = await sandbox.create(
    'one',
    processSpec(['sh', '-c', 'echo out; echo err >&2; exit 7']),
  )
  assert.equal(pid, 1)
  assert.equal(streams.out, '')
  await sandbox.start('one')
  assert.equal(await sandbox.exit, 7)
  assert.equal(streams.out, 'out\n')
  assert.equal(streams.err, 'err\n')
})

test('containers: a created container does not run, is listed, and can be ended', { skip }, async () => {
  await sandbox.create('one', processSpec(['sh', '-c', 'echo ran']))
  assert.deepEqual(await sandbox.client.ask({ command: 'containers' }), {
    containers: [{ id: 'one', status: 'created', pid: 1 }],
  })
  const { streams, life } = await sandbox.exec('one', processSpec(['sh', '-c', 'kill -CONT 1; echo in']))
  assert.equal(await life.exit, 0)
  assert.equal(streams.out, 'in\n')
  await sandbox.client.ask({ command: 'signal', container: 'one', signo: SIGTERM })
  assert.equal(await sandbox.exit, 128 + SIGTERM)
})

test('containers: who they are is as the specification says', { skip }, async () => {
  const script =
    'id -u; id -g; id -G; pwd; umask; echo $HOME; echo $GREETING; hostname; ulimit -n; ' +
    'grep -E "Cap(Prm|Bnd)|NoNewPrivs" /proc/self/status; cat /proc/self/oom_score_adj'
  const spec = processSpec(['/bin/busybox', 'sh', '-c', `grep() { /bin/busybox grep "$@"; }; ${script}`], {
    uid: 1000,
    gid: 1001,
    groups: [5, 6],
    umask: 0o27,
    cwd: '/made/for/me',
    env: ['PATH=/bin', 'GREETING=grüß dich'],
    rlimits: [{ resource: 7, soft: 100, hard: 200 }],
    oomScoreAdj: 300,
  })
  const { streams } = await sandbox.create('who', spec)
  await sandbox.start('who')
  assert.equal(await sandbox.exit, 0, streams.err)
  assert.deepEqual(streams.out.split('\n'), [
    ...['1000', '1001', '1001 5 6', '/made/for/me', '0027', '/home/user'],
    ...[Buffer.from('grüß dich').toString('latin1'), 'who', '100'],
    ...['CapPrm:\t0000000000000000', 'CapBnd:\t00000000a80425fb', 'NoNewPrivs:\t1', '300', ''],
  ])
})

test('containers: a program that is not there or can’t be run is named as runc names it', {
  skip,
}, async () => {
  const failures: [string, string, number][] = [
    ['nowhere', 'exec: "nowhere": executable file not found in $PATH', 127],
    ['/nowhere', 'exec: "/nowhere": stat /nowhere: no such file or directory', 127],
    ['/etc/passwd', 'exec: "/etc/passwd": permission denied', 126],
    ['/etc', 'exec: "/etc": is a directory', 126],
    ['/bin/text', 'exec /bin/text: exec format error', 126],
  ]
  fs.writeFileSync(join(sandbox.root, 'bin/text'), 'no program\n', { mode: 0o755 })
  for (const [name, message, exitStatus] of failures) {
    await assert.rejects(sandbox.create('one', processSpec([name])), { message, exitStatus })
  }
  // Nothing of it is left: the name is free, and the sandbox still there.
  const { streams } = await sandbox.create('one', processSpec(['echo', 'at last']))
  await sandbox.start('one')
  assert.equal(await sandbox.exit, 0)
  assert.equal(streams.out, 'at last\n')
})

test('exec: it is a process without a parent, ends by itself and leaves no zombie', { skip }, async () => {
  await sandbox.create('one', processSpec(['sleep', '100']))
  await sandbox.start('one')
  const script = 'cut -d" " -f4 /proc/self/stat; (sleep 50 & ); exit 3'
  const { streams, life, pid } = await sandbox.exec(
    'one',
    processSpec(['sh', '-c', `cut() { busybox cut "$@"; }; ${script}`]),
  )
  assert.equal(pid, 2)
  assert.equal(await life.exit, 0x0300)
  assert.equal(streams.out, '2\n')
  while (!(await sandbox.commands('one')).includes('sleep 50'));
  const answer = await sandbox.client.ask({ command: 'processes', container: 'one' })
  assert.ok('processes' in answer)
  // The orphan went to the container's init.
  assert.deepEqual(
    answer.processes.map(({ ppid, args }) => [ppid, args.join(' ')]),
    [
      [0, 'sleep 100'],
      [1, 'sleep 50'],
    ],
  )
})

test('the host’s out-of-memory killer takes guest processes before those that they depend on', {
  skip,
}, async () => {
  const other = await TestSandbox.start(directory, { oomScoreAdj: 321 }, 'other.sock')
  await other.create('c', processSpec(['sleep', '60']))
  const [sentry, zygote, ...guests] = other.processes().map(scoreOf)
  // Where the host doesn't let us go below, the guest's go above.
  const shielded = sentry === -998
  assert.equal(zygote, sentry)
  assert.ok(guests.length > 0)
  for (const guest of guests) assert.equal(guest, shielded ? 321 : 1000)
  await other.client.ask({ command: 'signal', container: 'c', signo: SIGKILL })
  await other.exit
})

function scoreOf(pid: number): number {
  return Number(fs.readFileSync(`/proc/${pid}/oom_score_adj`, 'latin1'))
}

test('exec: its end takes nothing along, the init’s takes it', { skip }, async () => {
  await sandbox.create('one', processSpec(['sleep', '100']))
  await sandbox.start('one')
  const { life } = await sandbox.exec('one', processSpec(['sleep', '200']))
  await sandbox.client.ask({ command: 'signal', container: 'one', signo: SIGKILL })
  assert.equal(await life.exit, SIGKILL)
  assert.equal(await sandbox.exit, 128 + SIGKILL)
})

test('exec: who holds its connection signals it, and its going kills it', { skip }, async () => {
  await sandbox.create('one', processSpec(['sleep', '100']))
  await sandbox.start('one')
  const trap = 'trap "echo term; exit 4" TERM; echo ready; while :; do sleep 0.05; done'
  const { streams, life } = await sandbox.exec('one', processSpec(['sh', '-c', trap]), 'trapper')
  await until(() => streams.out === 'ready\n', 'it is ready')
  life.signal(SIGTERM)
  assert.equal(await life.exit, 0x0400)
  assert.equal(streams.out, 'ready\nterm\n')

  const other = await sandbox.exec('one', processSpec(['sleep', '200']), 'sleeper')
  const { connection } = await sandbox.client.open({ command: 'wait', container: 'one', exec: 'sleeper' })
  const watcher = attachProcess(addon, { packageRoot, connection })
  addon.close(connection)
  other.life.close()
  assert.equal(await exitOf(watcher), 128 + SIGKILL)
})

test('attach: its signals are the process’s, its status too, and it ends with the sandbox', {
  skip,
}, async () => {
  await sandbox.create('one', processSpec(['sleep', '100']))
  await sandbox.start('one')
  const trap = 'trap "exit 5" USR1; echo ready; while :; do sleep 0.05; done'
  const attach = async (args: string[]) => {
    const { streams, connection } = await sandbox.open('one', processSpec(args))
    const process = attachProcess(addon, { packageRoot, connection })
    addon.close(connection)
    return { streams, process, exit: exitOf(process) }
  }
  const first = await attach(['sh', '-c', trap])
  await until(() => first.streams.out === 'ready\n', 'it is ready')
  first.process.kill(SIGUSR1)
  assert.equal(await first.exit, 5)

  const second = await attach(['sleep', '300'])
  second.process.kill(SIGKILL)
  await second.exit
  while ((await sandbox.commands('one')).length > 1);
  assert.deepEqual(await sandbox.commands('one'), ['sleep 100'])
  const third = await attach(['sleep', '400'])
  sandbox.sandbox.process.kill(SIGKILL)
  assert.equal(await third.exit, 128 + SIGKILL)
})

test('a pod: containers share what they are told to, come and go, and end with the first', {
  skip,
}, async () => {
  await sandbox.create('pause', processSpec(['sleep', '1000']))
  await sandbox.start('pause')
  const shared = { of: 'pause' } as const
  const namespaces = { pid: 'new', ipc: shared, uts: shared, net: shared, cgroup: 'new' } as const
  const first = await sandbox.create('a', processSpec(['sh', '-c', 'hostname; ps | wc -l; exit 9']), {
    namespaces,
  })
  const second = await sandbox.create('b', processSpec(['sleep', '100']), { namespaces })
  await sandbox.start('a')
  await sandbox.start('b')
  assert.equal(await first.life.exit, 0x0900)
  assert.equal(first.streams.out, 'pause\n4\n')
  await assert.rejects(sandbox.client.ask({ command: 'delete', container: 'b' }), /running/)
  await sandbox.client.ask({ command: 'delete', container: 'b', force: true })
  assert.equal(await second.life.exit, SIGKILL)
  await sandbox.client.ask({ command: 'delete', container: 'a' })
  const again = await sandbox.create('a', processSpec(['echo', 'again']), { namespaces })
  await sandbox.start('a')
  assert.equal(await again.life.exit, 0)
  assert.equal(again.streams.out, 'again\n')
  const last = await sandbox.create('c', processSpec(['sleep', '100']), { namespaces })
  await sandbox.start('c')
  await sandbox.client.ask({ command: 'signal', container: 'pause', signo: SIGKILL })
  assert.equal(await last.life.exit, SIGKILL)
  assert.equal(await sandbox.exit, 128 + SIGKILL)
})

test('a pod: one container is paused, the others go on; it goes on when resumed, and dies of SIGKILL', {
  skip,
}, async () => {
  await sandbox.create('pause', processSpec(['sleep', '1000']))
  await sandbox.start('pause')
  // A busy one, one that waits in a call, and one whose threads wait for a child.
  const count = 'sleep 1000 & i=0; while :; do i=$((i+1)); echo $i > /count; done'
  await sandbox.create('a', processSpec(['sh', '-c', count]))
  await sandbox.create('b', processSpec(['sh', '-c', 'while :; do echo b; sleep 0.05; done']))
  await sandbox.start('a')
  await sandbox.start('b')
  const counted = () => fs.readFileSync(join(sandbox.root, 'count'), 'latin1')
  await until(() => fs.existsSync(join(sandbox.root, 'count')), 'it counts')
  await sandbox.client.ask({ command: 'pause', container: 'a' })
  const before = counted()
  // The others do.
  const { streams, life } = await sandbox.exec('b', processSpec(['echo', 'goes on']))
  assert.equal(await life.exit, 0)
  assert.equal(streams.out, 'goes on\n')
  assert.equal(counted(), before)
  await sandbox.client.ask({ command: 'resume', container: 'a' })
  await until(() => counted() !== before, 'it counts again')

  await sandbox.client.ask({ command: 'pause', container: 'a' })
  await sandbox.client.ask({ command: 'signal', container: 'a', signo: SIGTERM })
  await sandbox.client.ask({ command: 'pause', container: 'a' })
  assert.equal((await sandbox.commands('a')).length, 2)
  const end = (await sandbox.client.open({ command: 'wait', container: 'a' })).connection
  await sandbox.client.ask({ command: 'signal', container: 'a', signo: SIGKILL })
  assert.equal(await (await ProcessConnection.over(end)).exit, SIGKILL)
  fs.rmSync(join(sandbox.root, 'count'))
})

test('a pod: who asked for events hears at once of a process that was killed for want of memory', {
  skip,
}, async () => {
  await sandbox.create('pause', processSpec(['sleep', '1000']))
  await sandbox.start('pause')
  const eater = 'sh -c "x=aaaaaaaaaaaaaaaa; while :; do x=\\$x\\$x; done"; sleep 1000'
  await sandbox.create('a', processSpec(['sh', '-c', eater]), { limits: { memory: 32 << 20 } })
  let kills = 0
  await watchEvents(sandbox.client, 'a', () => kills++)
  await sandbox.start('a')
  await until(() => kills > 0, 'the kill is told', 20_000)
  // It was not the first one: the container goes on.
  while ((await sandbox.commands('a')).join() !== 'sleep 1000');
})

test('a terminal: the process has one of its own, with the host’s size, in its session', {
  skip,
}, async () => {
  const pty = openPty()
  pty.resize(33, 111)
  const onTerminal = await TestSandbox.start(directory, { terminal: pty.slave }, 'terminal.sock')
  const script =
    'tty; stty size; readlink /proc/self/fd/1; trap "stty size" WINCH; read line; echo got $line; sleep 100 & wait; exit 6'
  await onTerminal.createOnTerminal('one', processSpec(['sh', '-c', script], { terminal: true }), pty.slave)
  pty.closeSlave()
  await onTerminal.start('one')
  await pty.says('/dev/pts/0\r\n33 111\r\n/dev/pts/0\r\n')
  pty.type('line\r')
  await pty.says('line\r\ngot line\r\n')
  // The launcher hears of it, as of its controlling terminal.
  pty.resize(44, 122)
  await pty.says('44 122\r\n')
  assert.equal(await onTerminal.exit, 6)
  pty.close()
})

test('a terminal: that of exec is told by attach, its signal characters work, and its end hangs up', {
  skip,
}, async () => {
  await sandbox.create('one', processSpec(['sleep', '100']))
  await sandbox.start('one')
  const pty = openPty()
  const script =
    'trap "" HUP; trap "stty size" WINCH; (sleep 300 &); while :; do read line; echo got $line; done'
  const connection = await sandbox.execOnTerminal(
    'one',
    processSpec(['sh', '-c', script], { terminal: true }),
    pty.slave,
  )
  const process = attachProcess(addon, { packageRoot, connection, terminal: pty.slave })
  const exit = exitOf(process)
  addon.close(connection)
  pty.closeSlave()
  pty.type('one\r')
  await pty.says('got one\r\n')
  pty.resize(20, 30)
  await pty.says('20 30\r\n')
  pty.type('\x03')
  assert.equal(await exit, 128 + SIGINT)
  // Nobody has the terminal open any more.
  await until(() => pty.hungUp, 'the terminal hangs up')
  pty.close()
})

test('a terminal that nobody reads from holds up only its own process', { skip }, async () => {
  await sandbox.create('one', processSpec(['sleep', '100']))
  await sandbox.start('one')
  const pty = openPty()
  const flood = processSpec(['sh', '-c', 'while :; do echo 0123456789012345678901234567890123456789; done'], {
    terminal: true,
  })
  const connection = await sandbox.execOnTerminal('one', flood, pty.slave)
  pty.closeSlave()
  const { streams, life } = await sandbox.exec('one', processSpec(['echo', 'in time']))
  assert.equal(await life.exit, 0)
  assert.equal(streams.out, 'in time\n')
  addon.close(connection)
  while ((await sandbox.commands('one')).length > 1);
  pty.close()
})

test('start hooks run in the container before it, and one that fails ends it', { skip }, async () => {
  const hook = (script: string) => ({ path: '/bin/sh', args: ['sh', '-c', script], env: ['PATH=/bin'] })
  const { streams } = await sandbox.create('one', processSpec(['cat', '/tmp/state']), {
    startHooks: [hook('cat > /tmp/state'), hook('id -u >> /tmp/state')],
    state: '{"id":"one"}',
  })
  await sandbox.start('one')
  assert.equal(await sandbox.exit, 0)
  assert.equal(streams.out, '{"id":"one"}0\n')

  sandbox = await TestSandbox.start(directory)
  await sandbox.create('one', processSpec(['echo', 'ran']), {
    startHooks: [hook('echo so sorry >&2; exit 2')],
  })
  await assert.rejects(sandbox.start('one'), {
    message: 'the startContainer hook /bin/sh failed with exit status 2: so sorry',
  })
  assert.equal(await sandbox.exit, 128 + SIGKILL)
})

test('descriptors: those of a request that fails are closed, those of processes that ended too', {
  skip,
}, async () => {
  await sandbox.create('one', processSpec(['sleep', '100']))
  await sandbox.start('one')
  const open = () => fs.readdirSync(`/proc/${sandbox.sentry}/fd`).length
  const run = async () => {
    const { life } = await sandbox.exec('one', processSpec(['true']))
    await life.exit
  }
  await run()
  const count = open()
  for (let i = 0; i < 5; i++) await run()
  for (let i = 0; i < 5; i++) await assert.rejects(sandbox.exec('one', processSpec(['nowhere'])))
  const tree = openTree(sandbox.root)
  await assert.rejects(
    sandbox.client.ask({ command: 'start', container: 'two' }, { descriptors: [tree, tree] }),
  )
  addon.close(tree)
  await until(() => open() <= count, 'no descriptor is left open')
})

test('a launcher whose starter is gone before there is a container ends', { skip }, async () => {
  await sandbox.sandbox.serving
  sandbox.sandbox.release()
  assert.equal(await sandbox.exit, 125)
})

test('a start that fails says why in one sentence, and leaves nothing', { skip }, async () => {
  const failures: [Partial<LaunchOptions>, RegExp][] = [
    [{ networkNamespace: { path: '/nowhere' } }, /^\/nowhere: No such file or directory$/],
    [
      { networkNamespace: { path: '/dev/null' } },
      /^joining the network namespace \/dev\/null: Invalid argument$/,
    ],
    [{ cgroups: ['/nowhere'] }, /^\/nowhere\/cgroup.procs: No such file or directory$/],
    [{ controlPath: '/nowhere/control.sock' }, /^\/nowhere\/: No such file or directory$/],
    [{ packageRoot: '/nowhere' }, /can't be started: no such file or directory/],
  ]
  for (const [options, message] of failures) {
    await assert.rejects(TestSandbox.start(directory, options, 'failed.sock'), { name: 'Error', message })
  }
})

test('a control socket can have a path that is longer than an address', { skip }, async () => {
  const deep = join(directory, 'd'.repeat(100))
  fs.mkdirSync(deep)
  const other = await TestSandbox.start(directory, {}, join('d'.repeat(100), 'control.sock'))
  await other.create('one', processSpec(['sh', '-c', 'exit 8']))
  await other.start('one')
  assert.equal(await other.exit, 8)
})

for (const state of ['created', 'running'] as const) {
  for (const victim of ['launcher', 'sentry', 'zygote', 'guest'] as const) {
    test(`kill -9 of the ${victim} of a ${state} container leaves nothing`, { skip }, async () => {
      await sandbox.create('one', processSpec(['sleep', '100']))
      if (state === 'running') await sandbox.start('one')
      const { connection } = await sandbox.open('one', processSpec(['sleep', '200']))
      const exit = exitOf(attachProcess(addon, { packageRoot, connection }))
      addon.close(connection)
      const [sentry, zygote, ...guests] = sandbox.processes()
      assert.equal(sentry, sandbox.sentry)
      // The container's first process is older than that of exec.
      process.kill(
        { launcher: sandbox.sandbox.process.pid, sentry, zygote, guest: guests[0] }[victim],
        'SIGKILL',
      )
      if (victim === 'zygote') {
        // What runs goes on; nothing more can be started.
        await assert.rejects(async () => {
          for (;;) await sandbox.exec('one', processSpec(['true']))
        })
        await sandbox.client.ask({ command: 'signal', container: 'one', signo: SIGKILL })
      }
      assert.equal(await exit, 128 + SIGKILL)
      assert.equal(await sandbox.exit, 128 + SIGKILL)
    })
  }
}
