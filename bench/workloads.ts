/** What is measured. Each workload is one row of the table. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { moduleSource } from '../test/e2e/c-program.ts'

export interface Workload {
  readonly name: string
  /**
   * micro: nanoseconds that the program in guest/micro.c prints; timed: a shell command timed inside the sandbox;
   * wall: a command timed from outside, the sandbox's start with it; memory: of all its processes while it sleeps;
   * cpu: of all its processes during ten seconds.
   */
  readonly kind: 'micro' | 'timed' | 'wall' | 'memory' | 'cpu'
  /** The operation and its count; a shell command; or a command. */
  readonly command: readonly string[]
  /** Commands that must be there. */
  readonly needs?: readonly string[]
  /** Flags for `caisson do`. */
  readonly flags?: readonly string[]
  /** Runs before each measurement, on the host, in the work directory. */
  readonly before?: string
  /** Left out with --quick. */
  readonly slow?: boolean
}

export const WORKLOADS: readonly Workload[] = [
  micro('getppid', 'getppid', 200_000),
  { ...micro('getppid, unpatched', 'getppid', 50_000), flags: ['--no-patch'] },
  micro('umask, a call that is not constant', 'umask', 200_000),
  { ...micro('umask, unpatched', 'umask', 50_000), flags: ['--no-patch'] },
  micro('clock_gettime', 'clock_gettime', 1_000_000),
  micro('anonymous page fault', 'page-fault', 20_000),
  micro('mmap + munmap', 'mmap', 20_000),
  micro('pipe ping-pong, processes', 'pipe-processes', 10_000),
  micro('pipe ping-pong, threads', 'pipe-threads', 10_000),
  micro('futex ping-pong', 'futex', 20_000),
  micro('fork + exit + wait', 'fork', 300),
  micro('posix_spawn of true', 'spawn', 200),
  micro('thread create + join', 'thread', 2000),
  micro('open + read + close', 'open', 20_000),
  micro('stat', 'stat', 50_000),
  micro('create + unlink', 'create', 5000),
  micro('read 64 KiB', 'read-64k', 5000),
  micro('read 1 MiB', 'read-1m', 500),
  micro('write 64 KiB', 'write-64k', 5000),
  micro('write 1 MiB', 'write-1m', 500),
  micro('busy loop, 1 thread', 'busy-1', 300_000_000),
  micro('busy loop, 2 threads', 'busy-2', 300_000_000),
  micro('busy loop, 8 threads', 'busy-8', 300_000_000),
  { name: 'start of /bin/true', kind: 'wall', command: ['/bin/true'] },
  { name: 'memory of sleep', kind: 'memory', command: ['/bin/sleep', '1000'] },
  { name: 'CPU of an idle sandbox, 10 s', kind: 'cpu', command: ['/bin/sleep', '1000'], slow: true },
  timed('gcc, 1,000 lines', 'gcc -O1 -c -o out.o thousand.c', ['gcc']),
  timed('python3 imports', "/usr/bin/python3 -c 'import json, http.client, asyncio'", ['/usr/bin/python3']),
  timed('tar of a tree', 'tar cf out.tar tree', ['tar']),
  { ...timed('git clone', 'git clone -q repo clone', ['git']), before: 'rm -rf clone' },
  timed('find over a tree', 'find tree -type f -newer small', ['find']),
  {
    ...timed('sqlite3, 10,000 inserts', 'sqlite3 new.db < inserts.sql', ['sqlite3']),
    before: 'rm -f new.db*',
  },
  {
    ...timed('sqlite3, 200 transactions', 'sqlite3 new.db < transactions.sql', ['sqlite3']),
    before: 'rm -f new.db*',
  },
]

function micro(name: string, operation: string, count: number): Workload {
  return { name, kind: 'micro', command: [operation, String(count)] }
}

function timed(name: string, script: string, needs: string[]): Workload {
  return { name, kind: 'timed', command: ['sh', '-c', script], needs }
}

/** Fills the work directory with what the workloads work on. */
export function prepare(directory: string): void {
  writeFileSync(join(directory, 'small'), 'x'.repeat(1000))
  writeFileSync(join(directory, 'large'), Buffer.alloc(8 << 20, 'x'))
  writeFileSync(join(directory, 'all.h'), 'int module_0(int x);\n')
  writeFileSync(join(directory, 'thousand.c'), moduleSource(0, 83))
  const inserts = Array.from({ length: 10_000 }, (_, i) => `insert into t values (${i}, 'row number ${i}');`)
  const table = 'create table t (a integer primary key, b text);'
  writeFileSync(join(directory, 'inserts.sql'), [table, 'begin;', ...inserts, 'commit;'].join('\n'))
  writeFileSync(join(directory, 'transactions.sql'), [table, ...inserts.slice(0, 200)].join('\n'))
  for (let d = 0; d < 50; d++) {
    mkdirSync(join(directory, `tree/d${d}`), { recursive: true })
    for (let f = 0; f < 40; f++) {
      writeFileSync(join(directory, `tree/d${d}/file-${f}.txt`), `line of ${d} ${f}\n`.repeat(100))
    }
  }
  const git = 'git -c user.name=n -c user.email=e@example.org'
  spawnSync(
    'sh',
    ['-c', `git init -q repo && cp -r tree repo && cd repo && git add . && ${git} commit -qm all`],
    {
      cwd: directory,
    },
  )
}
