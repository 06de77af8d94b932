/**
 * containerd with `io.containerd.caisson.v1`, by ctr: what works with runc's shim works, and says the same.
 * CAISSON_TEST_RUNTIME=runc runs the same tests with that. Another containerd in front of PATH is tested as well as the
 * system's.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { BUSYBOX, ContainerdDaemon, whyNoContainerd } from './containerd-daemon.ts'
import { until } from './leftovers.ts'
import { openPty } from './pty.ts'

const runtime = process.env.CAISSON_TEST_RUNTIME ?? 'caisson'
const runtimeName = runtime === 'runc' ? 'io.containerd.runc.v2' : `io.containerd.${runtime}.v1`
const skip = whyNoContainerd()

describe(`containerd with ${runtimeName}`, { skip }, () => {
  let daemon: ContainerdDaemon
  let names = 0
  const freshName = () => `c${process.pid}-${++names}`
  const flags = () => ['--runtime', runtimeName, '--runc-root', join(daemon.directory, 'caisson')]

  const runIn = (words: readonly string[], input = '', more: readonly string[] = []) =>
    daemon.try(['run', '--rm', ...flags(), ...more, BUSYBOX, freshName(), ...words], input)
  const started = async (...words: readonly string[]): Promise<string> => {
    const name = freshName()
    await daemon.ctr('run', '-d', ...flags(), BUSYBOX, name, ...words)
    return name
  }
  const exec = (name: string, words: readonly string[], input = '') =>
    daemon.try(['tasks', 'exec', '--exec-id', freshName(), name, ...words], input)
  const pidOf = async (name: string) =>
    Number(new RegExp(`^${name} +(\\d+)`, 'm').exec(await daemon.ctr('tasks', 'ls'))![1])
  const statusOf = async (name: string) =>
    new RegExp(`^${name} +\\d+ +(\\w+)`, 'm').exec(await daemon.ctr('tasks', 'ls'))?.[1]
  const becomes = async (name: string, status: string | undefined) => {
    for (let tries = 0; tries < 200 && (await statusOf(name)) !== status; tries++) {
      await new Promise(resolve => setTimeout(resolve, 50))
    }
    assert.equal(await statusOf(name), status)
  }
  const removed = async (name: string) => {
    await daemon.try(['tasks', 'delete', '--force', name])
    await daemon.try(['containers', 'delete', name])
  }

  before(async () => {
    daemon = await ContainerdDaemon.start()
  })
  after(async () => daemon?.stop())
  afterEach(async () => {
    for (const line of (await daemon.ctr('containers', 'ls', '--quiet')).split('\n'))
      if (line !== '') await removed(line)
    await daemon.leavesNothing()
  })

  test('run: output, both of its streams, and the exit status', async () => {
    const { status, stdout, stderr } = await runIn(['sh', '-c', 'echo out; echo err >&2; exit 7'])
    assert.deepEqual({ status, stdout, stderr }, { status: 7, stdout: 'out\n', stderr: 'err\n' })
  })

  test('run: standard input reaches the process, and ends', async () => {
    const input = 'line\n'.repeat(50_000)
    const { status, stdout } = await runIn(['sh', '-c', 'wc -l; echo done'], input)
    assert.deepEqual({ status, stdout }, { status: 0, stdout: '50000\ndone\n' })
  })

  test('run: all of a long output arrives', async () => {
    const { status, stdout } = await runIn(['sh', '-c', 'yes 0123456789 | head -n 500000'])
    assert.equal(status, 0)
    assert.equal(stdout.length, 500_000 * 11)
  })

  test('run: a command that is missing is refused, and leaves nothing', async () => {
    const { status, stderr } = await runIn(['no-such-command'])
    assert.equal(status, 1)
    assert.match(stderr, /OCI runtime create failed|OCI runtime start failed/)
    assert.match(stderr, /no-such-command": executable file not found in \$PATH/)
  })

  test('exec: output, input, exit status; a missing command', async () => {
    const name = await started('sleep', '1000')
    const { status, stdout } = await exec(name, ['sh', '-c', 'cat; exit 3'], 'typed\n')
    assert.deepEqual({ status, stdout }, { status: 3, stdout: 'typed\n' })
    const missing = await exec(name, ['no-such-command'])
    assert.match(
      missing.stderr,
      /OCI runtime exec failed: .*no-such-command": executable file not found in \$PATH/,
    )
    assert.equal((await exec(name, ['sh', '-c', 'kill -9 $$'])).status, 137)
  })

  test('events tell the life of a container and of an exec in their order', async () => {
    const events = spawn('ctr', ['--address', daemon.address, '--namespace', daemon.namespace, 'events'])
    let text = ''
    events.stdout.on('data', piece => (text += piece))
    const topicsOf = (name: string) =>
      text
        .split('\n')
        .filter(line => line.includes(`"container_id":"${name}"`))
        .flatMap(line => / \/tasks\/([\w-]+) /.exec(line)?.[1] ?? [])
    try {
      // It is not told that it is listening.
      for (let tries = 0; tries < 100 && !text.includes('/tasks/'); tries++) await runIn(['true'])
      const name = await started('sh', '-c', 'trap "exit 4" TERM; while :; do sleep 0.1; done')
      await exec(name, ['true'])
      await daemon.ctr('tasks', 'pause', name)
      await daemon.ctr('tasks', 'resume', name)
      await daemon.ctr('tasks', 'kill', name)
      await becomes(name, 'STOPPED')
      await removed(name)
      await until(() => topicsOf(name).includes('delete'), 'the end is told')
      assert.deepEqual(topicsOf(name), [
        'create',
        'start',
        'exec-added',
        'exec-started',
        'exit',
        'paused',
        'resumed',
        'exit',
        'delete',
      ])
      assert.match(text, new RegExp(`/tasks/exit .*"id":"${name}".*"exit_status":4`))
    } finally {
      events.kill()
    }
  })

  test('pause stops all processes, resume lets them go on', async () => {
    const name = await started('sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.02; done')
    const count = async () => (await exec(name, ['cat', '/count'])).stdout
    const first = await count()
    await daemon.ctr('tasks', 'pause', name)
    assert.equal(await statusOf(name), 'PAUSED')
    await daemon.ctr('tasks', 'resume', name)
    assert.equal(await statusOf(name), 'RUNNING')
    for (let tries = 0; tries < 100 && (await count()) === first; tries++);
    assert.notEqual(await count(), first)
  })

  test('processes, statistics and new limits of a container', async () => {
    const name = await started('sh', '-c', 'sleep 1000 & sleep 1000')
    const list = async () => (await daemon.ctr('tasks', 'ps', name)).split('\n').slice(1)
    for (let tries = 0; tries < 100 && (await list()).length < 2; tries++);
    const pids = await list()
    assert.ok(pids.length >= 2, pids.join('\n'))
    for (const line of pids) assert.ok(existsSync(`/proc/${line.split(' ')[0]}`), line)
    const metrics = await daemon.ctr('tasks', 'metrics', name)
    const [, memory] = /memory\.usage(?:_in_bytes)? +(\d+)/.exec(metrics)!
    assert.ok(Number(memory) > 1 << 16, metrics)
    assert.match(metrics, /cpu(?:acct)?\.usage(?:_usec)? +[1-9]\d*/)
  })

  test('a terminal has the size of the caller’s, follows its changes, and passes Ctrl-C on', async () => {
    const pty = openPty()
    pty.resize(33, 77)
    const words = [
      'run',
      '--rm',
      '--tty',
      ...flags(),
      BUSYBOX,
      freshName(),
      'sh',
      '-c',
      'stty -echo; echo ready; sh',
    ]
    const ctr = spawn('ctr', ['--address', daemon.address, '--namespace', daemon.namespace, ...words], {
      stdio: [pty.slave, pty.slave, pty.slave],
    })
    const status = ended(ctr)
    pty.closeSlave()
    await pty.says('ready')
    // ctr gives the size when the process has started.
    pty.type('until stty size; do sleep 0.1; done 2> /dev/null; tty\n')
    await pty.says('33 77')
    await pty.says('/dev/pts/0')
    pty.resize(44, 99)
    ctr.kill('SIGWINCH')
    pty.type('while test "$(stty size)" != "44 99"; do sleep 0.1; done; echo resized\n')
    await pty.says('resized')
    pty.type('echo st$((1+1))art; sleep 1000\n')
    await pty.says('st2art')
    pty.type('\x03')
    pty.type('echo a$((1+1)); exit 5\n')
    await pty.says('a2')
    assert.equal(await status, 5)
    pty.close()
  })

  test('the output goes to a file, or to a program, where that is asked for', async () => {
    const file = join(daemon.directory, 'logs/output')
    const name = freshName()
    await daemon.ctr(
      'run',
      '-d',
      '--log-uri',
      `file://${file}`,
      ...flags(),
      BUSYBOX,
      name,
      'sh',
      '-c',
      'echo out; echo err >&2',
    )
    await becomes(name, 'STOPPED')
    assert.deepEqual(readFileSync(file, 'utf8').split('\n').sort(), ['', 'err', 'out'])
    await removed(name)

    const program = join(daemon.directory, 'logger')
    const log = join(daemon.directory, 'logged')
    writeFileSync(program, '#!/bin/sh\nexec 5>&-\n{ echo $CONTAINER_ID $*; cat <&3; cat <&4; } > $2\n')
    chmodSync(program, 0o755)
    const second = freshName()
    const uri = `binary://${program}?to=${log}`
    await daemon.ctr('run', '-d', '--log-uri', uri, ...flags(), BUSYBOX, second, 'echo', 'hello')
    await becomes(second, 'STOPPED')
    await until(() => readFileSync(log, 'utf8').includes('hello'), 'the program has it')
    assert.equal(readFileSync(log, 'utf8'), `${second} to ${log}\nhello\n`)
  })

  test('a container lives through the death and the return of containerd', async () => {
    const name = await started('sh', '-c', 'while :; do echo tick; sleep 0.05; done')
    await daemon.restart()
    assert.equal(await statusOf(name), 'RUNNING')
    assert.equal((await exec(name, ['echo', 'still there'])).stdout, 'still there\n')
    const other = await started('sleep', '1000')
    const pid = await pidOf(other)
    // It ends while nobody is there to be told.
    await daemon.restart(async () => void process.kill(pid, 'SIGKILL'))
    // containerd 2 deletes it then.
    assert.match((await statusOf(other)) ?? 'STOPPED', /STOPPED/)
    await daemon.ctr('tasks', 'kill', '--signal', 'KILL', name)
    await becomes(name, 'STOPPED')
  })

  test('kill -9 of the shim: containerd notices, and nothing is left', {
    skip: runtime !== 'caisson',
  }, async () => {
    const name = await started('sleep', '1000')
    process.kill(daemon.shimOf(name)!, 'SIGKILL')
    await becomes(name, undefined)
    await daemon.ctr('containers', 'delete', name)
  })

  test('kill -9 of the container’s process on the host is its end', async () => {
    const name = await started('sleep', '1000')
    process.kill(await pidOf(name), 'SIGKILL')
    await becomes(name, 'STOPPED')
    await daemon.ctr('tasks', 'delete', name)
    await daemon.ctr('containers', 'delete', name)
  })

  test('ten at once', async () => {
    const outcomes = await Promise.all(Array.from({ length: 10 }, (_, i) => runIn(['echo', `${i}`])))
    assert.deepEqual(
      outcomes.map(({ stdout }) => stdout),
      Array.from({ length: 10 }, (_, i) => `${i}\n`),
    )
  })
})

function ended(child: ChildProcess): Promise<number | null> {
  return new Promise(resolve => child.on('exit', resolve))
}
