/** The kernel's log is the sandbox's own: dmesg(1) shows it, and what the kernel has to say of processes stands there. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { NOT_ROOT, notInstalled } from './tools.ts'

const caisson = join(import.meta.dirname, '../../bin/caisson')
const skip = notInstalled('dmesg', 'perl', 'setpriv')

function run(script: string): string {
  const done = spawnSync(caisson, ['do', '--', 'bash', '-c', script], { encoding: 'utf8' })
  // What bash says of who was killed.
  assert.equal(done.stderr.replaceAll(/^bash: .*\n/gm, ''), '')
  return done.stdout
}

test('dmesg shows what was written to /dev/kmsg, and can clear it', { skip }, () => {
  const output = run(`
    dmesg --notime | grep -c '^Linux version'
    echo '<3>first words' > /dev/kmsg
    dmesg --decode --notime | grep first; dmesg --level=err --notime
    dmesg --clear; dmesg; echo second > /dev/kmsg; dmesg --notime
    grep -a -m 1 -o 'first words' /dev/kmsg`)
  assert.equal(output, '1\nuser  :err   : first words\nfirst words\nsecond\nfirst words\n')
})

test('who has no right to it sees no log, unless dmesg_restrict is 0', { skip: skip || NOT_ROOT }, () => {
  const output = run(`
    nobody() { setpriv --reuid 65534 --clear-groups --inh-caps=-all "$@" 2>&1; }
    nobody dmesg
    echo 0 > /proc/sys/kernel/dmesg_restrict
    nobody dmesg | grep -c '^.*Linux version'
    nobody dmesg --clear`)
  const refused = 'Operation not permitted'
  assert.equal(
    output,
    `dmesg: read kernel buffer failed: ${refused}\n1\ndmesg: clear kernel buffer failed: ${refused}\n`,
  )
})

test('processes that end by a fault, or for want of memory, are told of', { skip }, () => {
  const output = run(`
    exec 2>/dev/null
    perl -e 'unpack("P", pack("Q", 16))'
    dmesg --notime | grep -o 'perl.*: segfault at 10 ip.*error 4 in'  | sed 's/[0-9]*\\]/N]/; s/ip.*error/error/'
    dmesg --notime | grep -c '^Code: .*<..>'
    echo 0 > /proc/sys/debug/exception-trace
    perl -e 'unpack("P", pack("Q", 16))'
    dmesg --notime | grep -c segfault
    cd /sys/fs/cgroup && echo +memory > cgroup.subtree_control && mkdir small && echo 30M > small/memory.max
    sh -c 'echo 0 > small/cgroup.procs; exec perl -e "\\$x = chr(1) x (200 << 20)"'; echo $?
    dmesg --notime | grep -o 'oom-kill:.*oom_memcg=/small,task_memcg=/small,task=perl'
    dmesg --notime --level=err | grep -o 'Killed process [0-9]* (perl) total-vm:[0-9]*kB' | sed 's/[0-9][0-9]*/N/g'`)
  assert.equal(
    output,
    'perl[N]: segfault at 10 error 4 in\n1\n1\n137\n' +
      'oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/small,task_memcg=/small,task=perl\n' +
      'Killed process N (perl) total-vm:NkB\n',
  )
})
