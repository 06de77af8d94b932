/** `--init`: the command runs below an init, which is process 1. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, test } from 'node:test'
import { Running } from './leftovers.ts'
import { caisson, OciWorld } from './oci-bundle.ts'
import { NOT_ROOT } from './tools.ts'

const LIMIT_MS = 30_000

function underInit(...command: string[]) {
  return spawnSync(caisson, ['do', '--init', '--', ...command], { encoding: 'utf8', timeout: LIMIT_MS })
}

test('init: the command is its child, and its status is the sandbox’s', () => {
  const { status, stdout } = underInit('sh', '-c', 'echo $PPID; tr "\\0" " " < /proc/1/cmdline; exit 7')
  assert.equal(stdout, '1\n/dev/init sh -c echo $PPID; tr "\\0" " " < /proc/1/cmdline; exit 7 ')
  assert.equal(status, 7)
  assert.equal(underInit('sh', '-c', 'kill -9 $$').status, 128 + 9)
})

test('init: what the command leaves behind is waited for', () => {
  // The shell waits for its own child, whose child is an orphan then; it says its pid before it ends.
  const script = `orphan=$(sh -c 'sh -c "echo \\$\\$" & wait')
    while [ -e /proc/$orphan ]; do read -r _ _ state _ < /proc/$orphan/stat || break; done
    echo gone`
  assert.equal(underInit('sh', '-c', script).stdout, 'gone\n')
})

test('init: a signal to the sandbox is the command’s', async () => {
  const script = 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done'
  const sandbox = new Running(['do', '--init', '--', 'sh', '-c', script])
  await sandbox.says('ready')
  process.kill(sandbox.pid, 'SIGTERM')
  assert.equal((await sandbox.end(LIMIT_MS)).status, 9)
  await sandbox.leavesNothing()
})

test('init: a command that is not there is told by the init', () => {
  assert.equal(underInit('/etc/passwd').status, 126)
  const { status, stderr } = underInit('no-such-command')
  assert.equal(status, 127)
  assert.match(stderr, /no-such-command: command not found/)
})

test('init: a container has it too, on a root that can not be written', { skip: NOT_ROOT }, async () => {
  const world = new OciWorld()
  after(() => world.end())
  await world.cleanly(() => {
    const bundle = world.bundle({ args: ['sh', '-c', 'echo $PPID; exit 4'] })
    const { status, stdout } = world.run('run', '--init', '--bundle', bundle, 'with-init')
    assert.deepEqual([status, stdout], [4, '1\n'])
    const missing = world.run('run', '--init', '--bundle', world.bundle({ args: ['nothing'] }), 'without')
    assert.deepEqual([missing.status, missing.stderr], [127, 'init: nothing: not found\n'])
  })
})
