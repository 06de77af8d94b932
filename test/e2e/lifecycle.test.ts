/** What a sandbox costs while it is idle, that memory comes back, and how it ends when a part of it does not work. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type HostProcess, Running, until } from './leftovers.ts'

const LIMIT_MS = 20_000

test('lifecycle: an idle sandbox uses no CPU time and little memory', async () => {
  const sandbox = new Running(['do', '--', 'sh', '-c', 'echo ready; sleep 1000'])
  await sandbox.says('ready')
  await sleep(1500)
  const processes = sandbox.processes()
  const before = processes.map(cpuTicks)
  await sleep(1500)
  const used = processes.map((each, i) => cpuTicks(each) - before[i])
  // Whatever the machine does besides: a tick for a timer, but no waiting by looking.
  assert.ok(Math.max(...used) <= 2, `ticks: ${used}`)
  const resident = processes.map(residentMiB).reduce((sum, each) => sum + each)
  assert.ok(resident < 35, `${resident} MiB`)
  await stop(sandbox)
})

test('lifecycle: the memory of processes that ended and of files that are gone comes back', async () => {
  const work = [
    'echo ready; sleep 1.5; mkdir /tmp/many; cd /tmp/many',
    'i=0; while [ $i -lt 1500 ]; do (exit 0); : > file$i; i=$((i + 1)); done',
    'cd /; rm -r /tmp/many; echo done; sleep 1000',
  ].join('; ')
  const sandbox = new Running(['do', '--', 'sh', '-c', work])
  await sandbox.says('ready')
  await sleep(1000)
  const sentry = () => sandbox.processes()[1]
  const before = residentMiB(sentry())
  await until(() => sandbox.stdout.includes('done'), 'the work is done', LIMIT_MS)
  await until(() => residentMiB(sentry()) < before + 12, `less than ${before} + 12 MiB`, LIMIT_MS)
  await stop(sandbox)
})

test('lifecycle: a sentry that hangs is killed at the second request to end', async () => {
  const sandbox = new Running(['do', '--', 'sh', '-c', 'echo ready; sleep 1000'])
  await sandbox.says('ready')
  process.kill(sandbox.processes()[1].pid, 'SIGSTOP')
  process.kill(sandbox.pid, 'SIGTERM')
  await sleep(1200)
  assert.ok(sandbox.processes().length > 1, 'the first is passed on')
  process.kill(sandbox.pid, 'SIGTERM')
  const { status, stderr } = await sandbox.end(LIMIT_MS)
  assert.equal(stderr, 'caisson: the sandbox does not react: it is killed\n')
  assert.equal(status, 128 + 9)
  await sandbox.leavesNothing()
})

test('lifecycle: without the zygote no program starts, and those that run go on', async () => {
  const command = 'sleep 1 & echo ready; wait; /bin/echo new; echo "status $?"; (echo forked); exit 3'
  const sandbox = new Running(['do', '--', 'sh', '-c', command])
  await sandbox.says('ready')
  process.kill(sandbox.processes()[2].pid, 'SIGKILL')
  const { status, stdout, stderr } = await sandbox.end(LIMIT_MS)
  assert.match(stderr, /no program can be started any more/)
  assert.match(stdout, /forked/)
  assert.equal(status, 3)
  await sandbox.leavesNothing()
})

test('lifecycle: a guest process whose host process is killed ends as by SIGKILL, in a blocking call too', async () => {
  const sandbox = new Running(['do', '--', 'sh', '-c', 'sleep 1000 & echo ready; wait $!; echo "status $?"'])
  await sandbox.says('ready')
  await sleep(300)
  // The launcher, the sentry, the zygote, and then the guest's first process and its child.
  const [, , , , child] = sandbox.processes()
  process.kill(child.pid, 'SIGKILL')
  await until(() => sandbox.stdout.includes('status') || sandbox.child.exitCode !== null, 'it ends')
  const { stdout } = await sandbox.end(LIMIT_MS)
  assert.match(stdout, /status 137/)
  await sandbox.leavesNothing()
})

test('lifecycle: kill -9 of the launcher leaves no socket', async () => {
  const sandbox = new Running(['do', '--', 'sh', '-c', 'echo ready; sleep 1000'])
  await sandbox.says('ready')
  const socket = new RegExp(`@caisson-\\d+-${sandbox.pid}$`, 'm')
  assert.match(readFileSync('/proc/net/unix', 'latin1'), socket)
  process.kill(sandbox.pid, 'SIGKILL')
  await sandbox.end(LIMIT_MS)
  await sandbox.leavesNothing()
  assert.doesNotMatch(readFileSync('/proc/net/unix', 'latin1'), socket)
})

async function stop(sandbox: Running): Promise<void> {
  process.kill(sandbox.pid, 'SIGTERM')
  await sandbox.end(LIMIT_MS)
  await sandbox.leavesNothing()
}

function cpuTicks({ pid }: HostProcess): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

function residentMiB({ pid }: HostProcess): number {
  const match = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
  return Number(match?.[1] ?? 0) / 1024
}
