import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { ResourcesConfig } from '../config.ts'
import { findHierarchies, type Hierarchies } from './hierarchies.ts'
import { HostCgroup } from './host-cgroup.ts'
import { SENTRY_PIDS } from './settings.ts'
import type { CgroupStats } from './stats.ts'

const scratch = mkdtempSync(join(tmpdir(), 'caisson-cgroup-'))
after(() => rmSync(scratch, { recursive: true }))

function plan(path: string | undefined, hierarchies?: Hierarchies) {
  return HostCgroup.plan({ id: 'box', cgroup: { path, driver: 'cgroupfs', resources: {} } }, hierarchies)
}

/** A tree that looks like a host's, with the files that the kernel would make. */
function fakeV2(name: string): { hierarchies: Hierarchies; root: string } {
  const root = join(scratch, name)
  mkdirSync(join(root, 'kube'), { recursive: true })
  for (const directory of [root, join(root, 'kube')]) {
    writeFileSync(join(directory, 'cgroup.controllers'), 'cpu io memory pids\n')
    writeFileSync(join(directory, 'cgroup.subtree_control'), '')
  }
  return { root, hierarchies: { version: 2, list: [{ controllers: [''], mountpoint: root, own: root }] } }
}

/** As the kernel would when the directory is made. */
function fill(directory: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(directory, { recursive: true })
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text)
}

function fakeProc(name: string, cgroup: string, mountinfo: string): string {
  const proc = join(scratch, name)
  mkdirSync(join(proc, 'self'), { recursive: true })
  writeFileSync(join(proc, 'self/cgroup'), cgroup)
  writeFileSync(join(proc, 'self/mountinfo'), mountinfo)
  return proc
}

test('cgroup: a hybrid host is one of version 1, with the empty version 2 as one more directory', () => {
  const proc = fakeProc(
    'hybrid',
    '3:cpu,cpuacct:/user\n2:memory:/user\n1:name=systemd:/init.scope\n0::/init.scope\n',
    '30 1 0:1 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n' +
      '31 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n' +
      '32 1 0:3 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n' +
      '33 1 0:4 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n' +
      '34 1 0:5 / / rw - ext4 /dev/vda rw\n',
  )
  const saved = plan('/docker/box', findHierarchies(proc))
  assert.equal(saved.version, 1)
  assert.deepEqual(saved.directories, {
    cpu: '/sys/fs/cgroup/cpu,cpuacct/docker/box',
    cpuacct: '/sys/fs/cgroup/cpu,cpuacct/docker/box',
    memory: '/sys/fs/cgroup/memory/docker/box',
    'name=systemd': '/sys/fs/cgroup/systemd/docker/box',
    '': '/sys/fs/cgroup/unified/docker/box',
  })
})

test("cgroup: a relative path begins at the caller's own cgroup, in version 2 beside it", () => {
  const own = '0::/user.slice/shell.scope\n'
  const proc = fakeProc('v2', own, '30 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n')
  const hierarchies = findHierarchies(proc)
  assert.equal(hierarchies.version, 2)
  assert.equal(plan(undefined, hierarchies).directories[''], '/sys/fs/cgroup/user.slice/box')
  assert.equal(plan('../../x', hierarchies).directories[''], '/sys/fs/cgroup/user.slice/x')
  assert.equal(plan('/../x', hierarchies).directories[''], '/sys/fs/cgroup/x')
})

test('cgroup: in a container whose cgroup is mounted as the root, paths begin there', () => {
  const proc = fakeProc(
    'nested',
    '2:memory:/docker/abc/inner\n',
    '31 1 0:2 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n',
  )
  assert.equal(plan(undefined, findHierarchies(proc)).directories.memory, '/sys/fs/cgroup/memory/inner/box')
})

test('cgroup: systemd spells the slices of a unit', () => {
  const hierarchies: Hierarchies = { version: 2, list: [{ controllers: [''], mountpoint: '/c', own: '/c' }] }
  const of = (path: string | undefined) =>
    HostCgroup.plan({ id: 'box', cgroup: { path, driver: 'systemd', resources: {} } }, hierarchies)
      .directories['']
  assert.equal(of('kube-pod1.slice:cri:a1'), '/c/kube.slice/kube-pod1.slice/cri-a1.scope')
  assert.equal(of(undefined), '/c/system.slice/caisson-box.scope')
  assert.equal(of('-.slice:docker:a1'), '/c/docker-a1.scope')
  assert.throws(() => of('/docker/a1'), /'slice:prefix:name'/)
  assert.throws(() => of('a--b.slice:x:y'), /no name of a slice/)
  assert.throws(() => of('a.slice:x:b.slice'), /can't be a slice/)
})

test("cgroup: the scope of a rootless engine's container is below the user's own systemd, in user.slice if it names none", () => {
  const hierarchies: Hierarchies = { version: 2, list: [{ controllers: [''], mountpoint: '/c', own: '/c' }] }
  const manager = '/user.slice/user-1000.slice/user@1000.service'
  const of = (path: string | undefined) =>
    HostCgroup.plan({ id: 'box', cgroup: { path, driver: 'systemd', resources: {} } }, hierarchies, manager)
  assert.equal(of('app.slice:libpod:a1').directories[''], `/c${manager}/app.slice/libpod-a1.scope`)
  assert.equal(of(undefined).directories[''], `/c${manager}/user.slice/caisson-box.scope`)
  assert.deepEqual(of(':libpod:a1').systemd, { unit: 'libpod-a1.scope', slice: 'user.slice', user: true })
})

test("cgroup: version 2 gets limits as its files have them, the sentry's processes on top, and hands controllers down", async () => {
  const { root, hierarchies } = fakeV2('limits')
  const directory = join(root, 'kube/box')
  const files = [
    'memory.max',
    'memory.swap.max',
    'memory.high',
    'memory.low',
    'pids.max',
    'cpu.weight',
    'cpu.max',
    'io.max',
    'io.weight',
  ]
  fill(directory, Object.fromEntries(files.map(file => [file, ''])))
  await HostCgroup.create(plan('/kube/box', hierarchies), {
    memory: { limit: 64 << 20, swap: 96 << 20, reservation: 1 << 20, disableOOMKiller: false },
    pids: { limit: 10 },
    cpu: { shares: 1024, quota: 50_000, period: 100_000 },
    blockIO: { weight: 100, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1000 }] },
    unified: { 'memory.high': '1000' },
  })
  const text = (file: string) => readFileSync(join(directory, file), 'utf8')
  assert.equal(text('memory.swap.max'), String(32 << 20))
  assert.equal(text('memory.low'), String(1 << 20))
  assert.equal(text('pids.max'), String(10 + SENTRY_PIDS))
  assert.equal(text('cpu.weight'), '39')
  assert.equal(text('cpu.max'), '50000 100000')
  assert.equal(text('io.max'), '8:0 rbps=1000')
  assert.equal(text('io.weight'), 'default 910')
  assert.equal(text('memory.max'), String(64 << 20))
  assert.equal(text('memory.high'), '1000')
  assert.match(readFileSync(join(root, 'cgroup.subtree_control'), 'utf8'), /^\+pids/)
})

test('cgroup: what this host does not have is refused by the field, the file and the value', async () => {
  const { hierarchies, root } = fakeV2('refused')
  await assert.rejects(HostCgroup.create(plan('/kube/a', hierarchies), { pids: { limit: 5 } }), {
    message: new RegExp(
      `^linux\\.resources\\.pids\\.limit can't be obeyed: '69' can't be written to ${root}/kube/a/pids`,
    ),
  })
  assert.ok(!existsSync(join(root, 'kube/a')), 'and nothing is left')
  await assert.rejects(HostCgroup.create(plan('/kube/a', hierarchies), { memory: { swappiness: 10 } }), {
    message: "linux.resources.memory.swappiness can't be obeyed: this host has cgroup version 2",
  })
})

test('cgroup: statistics of version 2 have the shape of those of version 1', () => {
  const { hierarchies, root } = fakeV2('stats')
  fill(join(root, 'box'), {
    'cpu.stat': 'usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 5\n',
    'memory.current': '1000\n',
    'memory.max': 'max\n',
    'memory.stat': 'anon 600\nfile 400\n',
    'memory.events': 'low 0\nmax 3\noom 1\noom_kill 2\n',
    'pids.current': '9\n',
    'pids.max': 'max\n',
    'io.stat': '8:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0 dios=0\n',
  })
  const cgroup = HostCgroup.open(plan('/box', hierarchies))
  const { cpu, memory, pids, blkio } = cgroup.stats()
  assert.deepEqual(cpu.usage, { total: 7000, percpu: [], kernel: 3000, user: 4000 })
  assert.equal(memory.usage.usage, 1000)
  assert.equal(memory.usage.failcnt, 3)
  assert.equal(memory.cache, 400)
  assert.deepEqual(pids, { current: 9, limit: 0 })
  assert.deepEqual(blkio.ioServiceBytesRecursive[0], { major: 8, minor: 0, op: 'Read', value: 4096 })
  assert.equal(cgroup.oomKills(), 2)
})

const host = process.geteuid!() === 0 && existsSync('/sys/fs/cgroup') ? findHierarchies() : undefined
const unified = host?.list.filter(each => each.controllers.join() === '') ?? []

async function lifeOnThisHost(hierarchies: Hierarchies, limits: ResourcesConfig): Promise<CgroupStats> {
  const saved = plan(`/caisson-test-${process.pid}`, hierarchies)
  const cgroup = await HostCgroup.create(saved, limits)
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' })
  const ended = new Promise(resolve => child.once('exit', (_, signal) => resolve(signal)))
  let stats: CgroupStats
  try {
    cgroup.join(child.pid!)
    const again = HostCgroup.open(JSON.parse(JSON.stringify(cgroup.saved)))
    assert.deepEqual(again.pids(), [child.pid])
    await again.freeze()
    assert.ok(again.frozen)
    again.thaw()
    assert.ok(!again.frozen)
    await again.freeze()
    await assert.rejects(HostCgroup.create(saved, {}), /there are processes in .* already/)
    const above = plan('/', hierarchies)
    await assert.rejects(HostCgroup.create(above, {}), /there are processes in .* already/)
    await again.apply(limits)
    stats = again.stats()
  } finally {
    await cgroup.remove()
  }
  assert.equal(await ended, 'SIGKILL', 'a frozen process is killed')
  for (const directory of cgroup.directories) assert.ok(!existsSync(directory), directory)
  return stats
}

test('cgroup: on this host one of version 1 is made, limited, frozen, thawed, counted and removed with what is in it', {
  skip: host?.version !== 1,
}, async () => {
  const { pids, memory } = await lifeOnThisHost(host!, { pids: { limit: 20 }, memory: { limit: 64 << 20 } })
  assert.equal(pids.limit, 20 + SENTRY_PIDS)
  assert.equal(memory.usage.limit, 64 << 20)
})

test('cgroup: on this host one of version 2 is made, frozen, thawed and removed with what is in it', {
  skip: unified.length === 0,
}, async () => {
  await lifeOnThisHost({ version: 2, list: unified }, {})
})

test('cgroup: without systemd its driver is refused in one sentence', {
  skip: existsSync('/run/systemd/system'),
}, async () => {
  const saved = HostCgroup.plan({ id: 'box', cgroup: { path: undefined, driver: 'systemd', resources: {} } })
  await assert.rejects(HostCgroup.create(saved, {}), {
    message: '--systemd-cgroup was given, but this host was not booted with systemd',
  })
})
