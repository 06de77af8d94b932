/**
 * stress-ng's stressors with --verify: each checks the results of the calls it makes in masses. One that the host
 * itself fails or can't run is skipped.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const caisson = join(import.meta.dirname, '../../bin/caisson')

const STRESSORS = (
  'fork vfork clone exec spawn wait zombie kill pthread context switch yield nice affinity schedpolicy rlimit ' +
  'mmap mmapfork mmapmany mremap madvise msync mprotect munlock brk stack bigheap malloc vm memfd mincore ' +
  'futex mutex sem pipe pipeherd fifo eventfd epoll poll sockpair socketabuse timerfd timer itimer clock nanosleep alarm ' +
  'signal sigq sigsegv sigfpe sigpipe sigsuspend sigchld sigfd sigrt bad-altstack ' +
  'dentry dir dirdeep rename link symlink chmod chown fstat open seek hdd iomix lockf lockofd flock fcntl ' +
  'inotify utime xattr getdent access chdir splice tee copy-file fallocate fsize touch mknod ' +
  'null zero full urandom procfs get set env cpu matrix qsort ' +
  'aio aiol io-uring remap vm-segv vm-splice vm-rw ptrace seccomp landlock key dnotify fanotify handle pidfd ' +
  'shm shm-sysv sem-sysv msg mq session sigpending sigtrap vm-addr x86syscall'
).split(' ')

/** With a network of their own. */
const NETWORK_STRESSORS = 'sock sockmany sockdiag sockfd udp udp-flood netdev sendfile'.split(' ')

/** Stressors that don't pass yet, each with its reason; one that passes fails the run. */
const KNOWN: Readonly<Record<string, string>> = {}

const missing = spawnSync('stress-ng', ['--version']).error !== undefined

for (const stressor of [...STRESSORS, ...NETWORK_STRESSORS]) {
  test(`stress: ${stressor}`, context => {
    if (missing) return context.skip('not installed: stress-ng')
    const network = NETWORK_STRESSORS.includes(stressor) ? ['--network=sandbox'] : []
    const inside = run([caisson, 'do', ...network, '--'], stressor)
    if (inside.status === 0) {
      assert.equal(KNOWN[stressor], undefined, `it passes now: take its reason away (${KNOWN[stressor]})`)
      return
    }
    const host = run([], stressor)
    if (host.status !== 0) return context.skip(`the host fails too, with status ${host.status}`)
    if (KNOWN[stressor] !== undefined) return context.diagnostic(KNOWN[stressor])
    assert.fail(`status ${inside.status}\n${inside.text}`)
  })
}

function run(prefix: string[], stressor: string) {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-stress-'))
  try {
    const flags = [`--${stressor}`, '1', '--timeout', '1s', '--verify', '--temp-path', '/tmp', '--oomable']
    const [file, ...args] = [...prefix, 'stress-ng', ...flags]
    const { status, signal, stdout, stderr } = spawnSync(file, args, {
      cwd: directory,
      encoding: 'utf8',
      timeout: 240_000,
      killSignal: 'SIGKILL',
    })
    return { status: status ?? signal, text: `${stdout}${stderr}` }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
