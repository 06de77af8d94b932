/** What a container's limits do to its processes, and what its cgroup files say of them. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { OciWorld } from './oci-bundle.ts'

const skip = process.getuid!() === 0 ? false : 'containers need root'
const world = new OciWorld()
const volume = join(world.directory, 'volume')
mkdirSync(volume)
after(() => {
  world.clear()
  world.end()
})

compile(
  'take',
  `#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) {
  for (int i = 0; i < atoi(argv[1]); i++) memset(malloc(1 << 20), 1, 1 << 20);
}`,
)
compile(
  'spin',
  `#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  clock_t start = clock();
  while ((clock() - start) / (CLOCKS_PER_SEC / 1000) < atoi(argv[1]));
  clock_gettime(CLOCK_MONOTONIC, &b);
  printf("%ld\\n", (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000);
}`,
)
compile(
  'mapfill',
  `#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv) {
  int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
  size_t size = (size_t)atoi(argv[2]) << 20;
  ftruncate(fd, size);
  char *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  for (size_t i = 0; i < size; i += 4096) p[i] = 1;
  pause();
}`,
)
compile(
  'who',
  '#include <stdio.h>\n#include <unistd.h>\nint main() { printf("%d %d\\n", getuid(), geteuid()); }',
)
chmodSync(join(volume, 'who'), 0o4755)

function compile(name: string, source: string): void {
  const path = join(volume, name)
  writeFileSync(`${path}.c`, source)
  const { status, stderr } = spawnSync('cc', ['-O1', '-static', '-o', path, `${path}.c`], {
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
}

interface Wanted {
  readonly resources?: Record<string, unknown>
  readonly user?: number
  readonly volumeOptions?: readonly string[]
}

let count = 0
/** What `script` prints in a container. */
function inside(script: string, { resources = {}, user = 0, volumeOptions = [] }: Wanted = {}): string {
  const bundle = world.bundle({
    args: ['sh', '-c', script],
    process: { user: { uid: user, gid: user } },
    mounts: [
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['ro'] },
      { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup' },
      { destination: '/large', type: 'tmpfs', source: 'tmpfs' },
      { destination: '/small', type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] },
      { destination: '/v', type: 'bind', source: volume, options: ['bind', ...volumeOptions] },
    ],
    linux: { resources },
  })
  const { status, stdout, stderr } = world.run('run', '--bundle', bundle, `limits-${count++}`)
  assert.equal(status, 0, stderr)
  return stdout
}

test('limits: a process that takes too much memory is killed, the others go on, and it is counted', {
  skip,
}, () => {
  const script =
    '/v/take 400; echo $?; grep oom_kill /sys/fs/cgroup/memory.events; cat /sys/fs/cgroup/memory.max'
  const text = inside(script, { resources: { memory: { limit: 64 << 20 } } })
  assert.equal(text, `137\noom_kill 1\n${64 << 20}\n`)
})

test('limits: a file in memory that grows beyond the limit costs its writer’s life', { skip }, () => {
  const script =
    'dd if=/dev/zero of=/large/x bs=1M count=400 2>/dev/null; echo $?; grep oom_kill /sys/fs/cgroup/memory.events; rm /large/x; echo on'
  const text = inside(script, { resources: { memory: { limit: 64 << 20 } } })
  assert.equal(text, '137\noom_kill 1\non\n')
})

test('limits: a mapping gets no more pages of a tmpfs than it may have', { skip }, () => {
  const text = inside('/v/mapfill /small/x 20 2>/dev/null; echo $?; df /small | tail -1')
  assert.match(text, /^135\ntmpfs +1024 +1024 +0 100% /)
})

test('limits: a fork beyond pids.max fails', { skip }, () => {
  const script =
    '(sleep 9 & sleep 9 & sleep 9 & sleep 9 & sleep 9) 2>&1; cat /sys/fs/cgroup/pids.max; killall sleep'
  const text = inside(script, { resources: { pids: { limit: 4 } } })
  assert.match(text, /can't fork[\s\S]*\n4\n$/)
})

test('limits: the CPUs are those that the container has, under the machine’s numbers', {
  skip: skip || (cpus().length < 2 ? 'the machine has one CPU' : false),
}, () => {
  const script = `
    nproc; taskset -p 1; taskset 1 true || echo refused
    grep Cpus_allowed_list /proc/self/status; grep -c ^processor /proc/cpuinfo
    cat /sys/fs/cgroup/cpuset.cpus /sys/fs/cgroup/cpuset.cpus.effective`
  const text = inside(script, { resources: { cpu: { cpus: '1' } } })
  const expected = `1\npid 1's current affinity mask: 2\nrefused\nCpus_allowed_list:\t1\n${cpus().length}\n1\n1\n`
  assert.equal(text, expected)
})

test('limits: cgroups that are made inside keep their limits', { skip }, () => {
  const script = `
    cd /sys/fs/cgroup && mkdir init work && echo 1 > init/cgroup.procs && echo '+cpu +memory' > cgroup.subtree_control
    echo '20000 100000' > work/cpu.max
    echo 32M > work/memory.max
    sh -c 'echo 0 > work/cgroup.procs; exec /v/spin 100'
    sh -c 'echo 0 > work/cgroup.procs; exec /v/take 300'; echo $?
    grep -E 'oom_kill|max' work/memory.events
    rmdir work && echo gone`
  const [wall, ...rest] = inside(script).split('\n')
  assert.ok(Number(wall) >= 350, `100 ms of CPU time at a fifth of a CPU took ${wall} ms`)
  assert.deepEqual(rest, ['137', 'max 1', 'oom_kill 1', 'gone', ''])
})

test('limits: cgroups that are made inside have their CPUs, and share them by their weights', {
  skip,
}, () => {
  const last = cpus().length - 1
  const script = `
    cd /sys/fs/cgroup && mkdir init a b && echo 1 > init/cgroup.procs && echo '+cpu +cpuset' > cgroup.subtree_control
    for each in a b; do echo ${last} > $each/cpuset.cpus; done
    echo 400 > a/cpu.weight
    sh -c 'echo 0 > b/cgroup.procs; cut -d" " -f39 /proc/self/stat; exec /v/spin 60000' & b=$!
    sh -c 'echo 0 > a/cgroup.procs; grep usage_usec b/cpu.stat | cut -d" " -f2; exec /v/spin 600 > /dev/null'
    grep usage_usec b/cpu.stat | cut -d" " -f2
    kill $b; wait $b; rmdir a b; echo done`
  const [cpu, before, after, ...rest] = inside(script).split('\n')
  assert.equal(cpu, `${last}`)
  const used = Number(after) - Number(before)
  assert.ok(used < 400_000, `${used} µs beside 600000 µs of one with four times the weight`)
  assert.deepEqual(rest, ['done', ''])
})

test('mounts: a set-user-ID program of a volume has its owner’s rights unless the mount forbids it', {
  skip,
}, () => {
  assert.equal(inside('/v/who', { user: 1000 }), '1000 0\n')
  assert.equal(inside('/v/who', { user: 1000, volumeOptions: ['nosuid'] }), '1000 1000\n')
})
