/** What those see of a guest's processes who look at the host's: its own names and arguments, as of any container. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Running, until } from './leftovers.ts'

const SOURCE = `
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *worker(void *unused)
{
	pthread_setname_np(pthread_self(), "worker");
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	pthread_t id;

	prctl(PR_SET_NAME, "more than fits into a name");
	memcpy(argv[1], "title", 5);
	if (fork() == 0)
		pthread_create(&id, 0, worker, 0);
	for (;;)
		pause();
}
`

/** Of the guest's processes: 'names of the threads: command line'. */
function hostView(sandbox: Running): string[] {
  const view = sandbox.processes().flatMap(({ pid }) => viewOf(pid))
  return view.filter(line => !/^(node|zygote|caisson)\b/.test(line)).sort()
}

function viewOf(pid: number): string[] {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`)
    const names = tasks.map(tid => readFileSync(`/proc/${pid}/task/${tid}/comm`, 'latin1').trim())
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').slice(0, -1)
    return [`${names.join(',')}: ${words.join(' ')}`]
  } catch {
    // It has ended meanwhile.
    return []
  }
}

async function shows(sandbox: Running, expected: readonly string[]): Promise<void> {
  try {
    const same = () => hostView(sandbox).join('\n') === expected.join('\n')
    await until(same, expected.join(', ')).catch(() => assert.deepEqual(hostView(sandbox), expected))
  } finally {
    sandbox.child.kill('SIGKILL')
    await sandbox.end(5000)
  }
}

test('host view: exec gives a process its program’s name and its arguments', async () => {
  const script = '(exec sleep 1001) & (exec -a other sleep 1002) & wait'
  await shows(new Running(['do', '--', 'bash', '-c', script]), [
    `bash: bash -c ${script}`,
    'sleep: other 1002',
    'sleep: sleep 1001',
  ])
})

test('host view: names set by prctl, and what a program writes over its arguments, are shown', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-view-'))
  try {
    const program = join(directory, 'view')
    execFileSync('cc', ['-pthread', '-static', '-x', 'c', '-o', program, '-'], { input: SOURCE })
    await shows(new Running(['do', '--', program, 'words', 'more']), [
      `more than fits,worker: ${program} title more`,
      `more than fits: ${program} title more`,
    ])
  } finally {
    rmSync(directory, { recursive: true })
  }
})
