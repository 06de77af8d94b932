/** Where core files go is the sandbox's own setting: the machine's, which other tests must not change, stays out of it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'

const caisson = join(import.meta.dirname, '../../bin/caisson')

function run(script: string): string {
  const done = spawnSync(caisson, ['do', '--', 'bash', '-c', `cd /tmp; ulimit -c unlimited; ${script}`], {
    encoding: 'utf8',
  })
  assert.equal(done.stderr.replaceAll(/^bash: line .*\n/gm, ''), '')
  return done.stdout
}

test('core files are named by core_pattern and core_uses_pid', () => {
  const output = run(`
    cat /proc/sys/kernel/core_pattern
    sh -c 'kill -SEGV $$'; test -s core && echo plain
    echo 1 > /proc/sys/kernel/core_uses_pid
    sh -c 'echo $$ > pid; kill -ABRT $$'; test -s core.$(cat pid) && echo with its id
    mkdir cores; echo '/tmp/cores/%e-%s-%%' > /proc/sys/kernel/core_pattern
    sh -c 'echo $$ > pid; kill -QUIT $$'; test -s cores/sh-3-%.$(cat pid) && echo by the pattern
    echo > /proc/sys/kernel/core_pattern; rm -r core*; sh -c 'kill -SEGV $$'; ls core* 2>/dev/null | grep -v :`)
  assert.equal(output, 'core\nplain\nwith its id\nby the pattern\n')
})

test('a program to be started for core files is refused', () => {
  const output = run(`
    echo '|/bin/cat' > /proc/sys/kernel/core_pattern 2>/dev/null || echo refused
    cat /proc/sys/kernel/core_pattern
    setpriv --reuid 1000 --clear-groups sh -c 'echo x > /proc/sys/kernel/core_pattern' 2>/dev/null || echo not for all`)
  assert.equal(output, 'refused\ncore\nnot for all\n')
})
