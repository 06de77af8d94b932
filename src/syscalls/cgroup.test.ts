/** Control groups: the files as Documentation/admin-guide/cgroup-v2.rst has them, and what the limits do to processes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IN_MODIFY, POLLPRI, SIGKILL, SIGTERM } from '../abi/constants.ts'
import { EACCES, EAGAIN, EBUSY, EINVAL, ENODEV, ENOENT, ENOMEM, EPERM, ERANGE } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { Credentials } from '../base/credentials.ts'
import { BufferDst, BufferSrc } from '../base/io.ts'
import { Cgroup2Super, cgroup2Type } from '../fs/cgroup/super.ts'
import { Cgroup, moveToCgroup } from '../kernel/cgroup/cgroup.ts'
import { updateHolds } from '../kernel/cgroup/freezer.ts'
import type { SpaceMemory } from '../kernel/cgroup/memory-meter.ts'
import { PressureTrigger } from '../kernel/cgroup/pressure.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { CgroupNamespace } from '../kernel/namespaces.ts'
import type { Task } from '../kernel/task.ts'
import { call, type FakeSpace, type FakeThread, type Program, run } from '../platform/fake.ts'
import type { File } from '../vfs/file.ts'
import { formatMountinfo } from '../vfs/mount-info.ts'
import { mountNew } from '../vfs/mount-operations.ts'
import { openAt, type WalkContext } from '../vfs/namei.ts'
import { mkdir, rmdir } from '../vfs/operations.ts'
import { FsState } from '../vfs/path.ts'
import { DATA, fork, MS, peek, sleep, spawn, kernel as testKernel } from './testing.ts'

/** The hierarchy mounted as the root, as a task in the first cgroup would see it. */
function tree(kernel: Kernel, cred = rootCred(kernel)): WalkContext {
  const { mnt } = kernel.init!.leader.ns
  const type = cgroup2Type(kernel)
  const place = mnt.rootPath
  const walk = { fs: new FsState(place, place, 0o022), cred, mountNs: mnt }
  assert.equal(mountNew({ ...walk, vfs: kernel.vfs, ns: undefined }, place, type, 'none', 0, ''), 0)
  const top = mnt.rootPath
  return { ...walk, fs: new FsState(top, top, 0o022) }
}
function rootCred(kernel: Kernel): Credentials {
  const cred = new Credentials(kernel.userNs)
  cred.permitted = cred.effective = cred.bounding
  return cred
}
function openReadOnly(walk: WalkContext, name: string): File {
  const file = openAt(walk, undefined, name, 0, 0)
  if (typeof file === 'number') throw new Error(`${name}: errno ${-file}`)
  return file
}
function read(walk: WalkContext, name: string): string {
  const into = new BufferDst(new Uint8Array(4096))
  const n = openReadOnly(walk, name).readAt(into, 0)
  if (n < 0) throw new Error(`reading ${name}: errno ${-n}`)
  return Buffer.from(into.bytes.subarray(0, n)).toString()
}
/** 0 or a negative errno. */
function write(walk: WalkContext, name: string, text: string): number {
  const file = openAt(walk, undefined, name, 1, 0)
  if (typeof file === 'number') return file
  return Math.min(0, file.writeAt(new BufferSrc(toBytes(text)), 0))
}
function exists(walk: WalkContext, name: string): boolean {
  return openAt(walk, undefined, name, 0, 0) !== -ENOENT
}

/** To be called by a program: its process goes there. */
function goTo(thread: FakeThread, cgroup: Cgroup): void {
  moveToCgroup((thread.owner as Task).group, cgroup)
}

const idle: Program = function* () {
  for (;;) yield call(NR.pause)
}

/** Starts a process that only waits, and mounts the hierarchy. */
function setUp(): { kernel: Kernel; walk: WalkContext; init: Task; first: Cgroup } {
  const { kernel, start } = testKernel()
  const init = start(idle)
  kernel.turn(0)
  return { kernel, walk: tree(kernel), init, first: kernel.cgroup.root }
}

test('cgroup: controllers are given to children one by one, and their files come and go', () => {
  const { walk } = setUp()
  assert.equal(read(walk, '/cgroup.controllers'), 'cpuset cpu io memory pids\n')
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  assert.equal(read(walk, '/a/cgroup.controllers'), '')
  assert.equal(exists(walk, '/a/pids.max'), false)
  assert.equal(exists(walk, '/a/cpu.stat'), true)
  assert.equal(write(walk, '/cgroup.subtree_control', '+pids +cpu'), 0)
  assert.equal(read(walk, '/cgroup.subtree_control'), 'cpu pids\n')
  assert.equal(exists(walk, '/a/pids.max'), true)
  assert.equal(exists(walk, '/a/memory.max'), false)
  assert.equal(write(walk, '/a/cgroup.subtree_control', '+memory'), -ENOENT)
  assert.equal(write(walk, '/a/cgroup.subtree_control', '+pids'), 0)
  assert.equal(write(walk, '/cgroup.subtree_control', '-pids'), -EBUSY)
  assert.equal(write(walk, '/cgroup.subtree_control', '+nonsense'), -EINVAL)
  assert.equal(write(walk, '/a/cgroup.subtree_control', '-pids'), 0)
  assert.equal(write(walk, '/cgroup.subtree_control', '-pids -cpu'), 0)
  assert.equal(exists(walk, '/a/pids.max'), false)
})

test('cgroup: processes don’t compete with the children of their cgroup', () => {
  const { walk } = setUp()
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  // There is a process in the root of the namespace.
  assert.equal(write(walk, '/cgroup.subtree_control', '+memory'), -EBUSY)
  assert.equal(write(walk, '/a/cgroup.procs', '1'), 0)
  assert.equal(read(walk, '/a/cgroup.procs'), '1\n')
  assert.equal(read(walk, '/cgroup.procs'), '')
  assert.equal(write(walk, '/cgroup.subtree_control', '+memory'), 0)
  assert.equal(write(walk, '/cgroup.procs', '1'), -EBUSY)
  assert.equal(read(walk, '/a/memory.max'), 'max\n')
})

test('cgroup: one that stands for the root has processes beside its children', () => {
  const { kernel, walk } = setUp()
  kernel.cgroup.root.standsForRoot = true
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  assert.equal(write(walk, '/cgroup.subtree_control', '+memory'), 0)
  assert.equal(write(walk, '/a/cgroup.procs', '1'), 0)
  assert.equal(write(walk, '/cgroup.procs', '1'), 0)
})

test('cgroup: a directory with processes or directories in it stays', () => {
  const { kernel, walk, init } = setUp()
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  assert.equal(mkdir(walk, undefined, '/a/b', 0o755), 0)
  assert.equal(rmdir(walk, undefined, '/a'), -EBUSY)
  assert.equal(write(walk, '/a/b/cgroup.procs', '0'), 0)
  assert.equal(rmdir(walk, undefined, '/a/b'), -EBUSY)
  assert.equal(init.group.cgroup.pathFrom(kernel.cgroup.root), '/a/b')
  assert.match(read(walk, '/cgroup.stat'), /^nr_descendants 2\n[\s\S]*^nr_dying_descendants 0\n/m)
  assert.equal(write(walk, '/cgroup.procs', '1'), 0)
  const events = openReadOnly(walk, '/a/b/cgroup.events')
  const pressure = openAt(walk, undefined, '/a/b/cpu.pressure', 1, 0) as File
  assert.equal(rmdir(walk, undefined, '/a/b'), 0)
  assert.equal(rmdir(walk, undefined, '/a'), 0)
  assert.equal(events.readAt(new BufferDst(new Uint8Array(10)), 0), -ENODEV)
  assert.equal(pressure.writeAt(new BufferSrc(toBytes('some 100000 1000000')), 0), -ENODEV)
  assert.equal(exists(walk, '/a'), false)
})

test('cgroup: depth and number of directories can be limited', () => {
  const { walk } = setUp()
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  assert.equal(write(walk, '/a/cgroup.max.depth', '1'), 0)
  assert.equal(write(walk, '/a/cgroup.max.descendants', '2'), 0)
  assert.equal(mkdir(walk, undefined, '/a/1', 0o755), 0)
  assert.equal(mkdir(walk, undefined, '/a/1/2', 0o755), -EAGAIN)
  assert.equal(mkdir(walk, undefined, '/a/2', 0o755), 0)
  assert.equal(mkdir(walk, undefined, '/a/3', 0o755), -EAGAIN)
})

test('cgroup: settings of the namespace’s root are not the namespace’s, those below are', () => {
  const { walk } = setUp()
  assert.equal(write(walk, '/pids.max', '5'), -EPERM)
  assert.equal(write(walk, '/cgroup.freeze', '1'), -EPERM)
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  assert.equal(write(walk, '/cgroup.subtree_control', '+pids'), 0)
  assert.equal(write(walk, '/a/pids.max', '5'), 0)
  assert.equal(read(walk, '/a/pids.max'), '5\n')
  assert.equal(write(walk, '/a/pids.max', 'max\n'), 0)
  assert.equal(write(walk, '/a/pids.max', '-1'), -EINVAL)
  assert.equal(write(walk, '/a/pids.max', '1 2'), -EINVAL)
})

test('cgroup: weights and sets of CPUs are kept, within what the machine has', () => {
  const { walk } = setUp()
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  assert.equal(write(walk, '/cgroup.subtree_control', '+cpu +cpuset'), 0)
  assert.equal(write(walk, '/a/cpu.weight', '100'), 0)
  assert.equal(read(walk, '/a/cpu.weight.nice'), '0\n')
  assert.equal(write(walk, '/a/cpu.weight', '50'), 0)
  assert.equal(read(walk, '/a/cpu.weight'), '50\n')
  assert.equal(read(walk, '/a/cpu.weight.nice'), '3\n')
  assert.equal(write(walk, '/a/cpu.weight.nice', '-20'), 0)
  assert.equal(read(walk, '/a/cpu.weight'), '8668\n')
  assert.equal(write(walk, '/a/cpu.weight', '0'), -ERANGE)
  assert.equal(write(walk, '/a/cpu.weight.nice', '20'), -ERANGE)
  assert.equal(write(walk, '/a/cpu.idle', '1'), 0)
  assert.equal(read(walk, '/a/cpu.weight'), '0\n')
  assert.equal(write(walk, '/a/cpu.weight', '100'), -EINVAL)
  assert.equal(read(walk, '/a/cpuset.cpus.effective'), '0\n')
  assert.equal(write(walk, '/a/cpuset.cpus', '0'), 0)
  assert.equal(write(walk, '/a/cpuset.cpus', '1'), -EINVAL)
  assert.equal(read(walk, '/a/cpuset.cpus'), '0\n')
  assert.equal(write(walk, '/a/cpuset.cpus', '\n'), 0)
  assert.equal(read(walk, '/a/cpuset.cpus'), '\n')
})

test('cgroup: who has no right to write to the common ancestor moves nobody out', () => {
  const { kernel, walk } = setUp()
  const user = new Credentials(kernel.userNs)
  user.uid = user.euid = user.fsuid = 1000
  const delegate = { ...walk, cred: user }
  assert.equal(mkdir(delegate, undefined, '/user', 0o755), -EACCES)
  const cgroup = kernel.cgroup.root.makeChild('user', 1000, 1000) as Cgroup
  assert.ok(cgroup instanceof Cgroup)
  assert.equal(mkdir(delegate, undefined, '/user/a', 0o755), 0)
  assert.equal(write(delegate, '/user/a/cgroup.procs', '1'), -EACCES)
  assert.equal(write(walk, '/user/a/cgroup.procs', '1'), 0)
  assert.equal(mkdir(delegate, undefined, '/user/b', 0o755), 0)
  assert.equal(write(delegate, '/user/b/cgroup.procs', '1'), 0)
})

test('cgroup: a mount shows the hierarchy from the root of the mounter’s namespace on', () => {
  const { kernel, walk, init, first } = setUp()
  const child = first.makeChild('inner') as Cgroup
  moveToCgroup(init.group, child)
  init.ns = { ...init.ns, cgroup: new CgroupNamespace(kernel.userNs, 1, child) }
  assert.match([...formatMountinfo(walk.mountNs, walk.fs.root)].join(''), / \/\.\. \/ /)
  assert.equal(init.group.cgroup.pathFrom(init.ns.cgroup.root), '/')
  assert.equal(first.pathFrom(child), '/..')
  // Beyond its root nobody of the namespace may move anything.
  assert.equal(write(walk, '/cgroup.procs', '1'), -ENOENT)
})

test('cgroup: changes of events are told to poll and inotify', () => {
  const { walk } = setUp()
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  const events = openReadOnly(walk, '/a/cgroup.events')
  const text = (): string => {
    const into = new BufferDst(new Uint8Array(100))
    events.readAt(into, 0)
    return Buffer.from(into.bytes.subarray(0, into.done)).toString()
  }
  assert.equal(text(), 'populated 0\nfrozen 0\n')
  assert.equal(events.poll() & POLLPRI, 0)
  const heard: number[] = []
  events.inode.watches = { event: mask => heard.push(mask), permit: () => 0, inodeGone() {} }
  assert.equal(write(walk, '/a/cgroup.procs', '1'), 0)
  assert.equal(events.poll() & POLLPRI, POLLPRI)
  assert.deepEqual(heard, [IN_MODIFY])
  assert.equal(text(), 'populated 1\nfrozen 0\n')
  assert.equal(events.poll() & POLLPRI, 0)
})

test('pids: the limit counts threads, and a fork beyond it is refused and counted', () => {
  const { kernel, start, run: serve } = testKernel()
  const seen: number[] = []
  start(function* () {
    kernel.cgroup.root.pids.max = 3
    seen.push(yield fork(idle), yield spawn(idle))
    seen.push(yield fork(idle), yield spawn(idle))
    yield call(NR.kill, [2, SIGKILL])
    seen.push(yield fork(idle))
    yield call(NR.kill, [5, SIGKILL])
    yield call(NR.kill, [6, SIGKILL])
    yield call(NR.kill, [7, SIGKILL])
    yield call(NR.kill, [4, SIGKILL])
  })
  serve()
  const { pids } = kernel.cgroup.root
  assert.deepEqual(seen.slice(0, 4), [2, 3, -EAGAIN, -EAGAIN])
  assert.ok(seen[4] > 3)
  assert.deepEqual([pids.current, pids.peak, pids.refused], [0, 3, 2])
  assert.equal(kernel.cgroup.root.population, 0)
})

test('cgroup: a frozen process computes and calls nothing until it is thawed', () => {
  const { kernel, start } = testKernel()
  let count = 0
  start(function* () {
    for (;;) {
      yield run(1 * MS)
      count++
      yield call(NR.getpid)
    }
  })
  const walk = tree(kernel)
  assert.equal(mkdir(walk, undefined, '/a', 0o755), 0)
  assert.equal(write(walk, '/a/cgroup.procs', '1'), 0)
  const turns = (): number => {
    const before = count
    for (let i = 0; i < 50; i++) kernel.turn(kernel.now() + 1 * MS)
    return count - before
  }
  assert.ok(turns() > 0)
  assert.equal(write(walk, '/a/cgroup.freeze', '1'), 0)
  turns()
  assert.equal(turns(), 0)
  assert.equal(read(walk, '/a/cgroup.events'), 'populated 1\nfrozen 1\n')
  assert.equal(write(walk, '/a/cgroup.freeze', '2'), -ERANGE)
  assert.equal(write(walk, '/a/cgroup.freeze', '0'), 0)
  assert.ok(turns() > 0)
  assert.equal(read(walk, '/a/cgroup.events'), 'populated 1\nfrozen 0\n')
})

test('cgroup: a fatal signal ends a frozen process, and so does cgroup.kill', () => {
  const { kernel, start, run: serve } = testKernel()
  const seen: number[] = []
  start(function* (thread) {
    const cgroup = kernel.cgroup.root.makeChild('a') as Cgroup
    cgroup.freeze = true
    const busy: Program = function* () {
      for (;;) yield call(NR.getpid)
    }
    const one = yield fork(busy)
    const other = yield fork(busy)
    for (const pid of [one, other]) moveToCgroup(kernel.pidNs.group(pid)!, cgroup)
    yield run(5 * MS)
    yield call(NR.kill, [one, SIGTERM])
    seen.push(yield call(NR.wait4, [one, DATA, 0, 0]), peek(thread, DATA))
    const walk = tree(kernel)
    seen.push(write(walk, '/a/cgroup.kill', '1'))
    seen.push(yield call(NR.wait4, [other, DATA, 0, 0]), peek(thread, DATA))
  })
  serve()
  assert.deepEqual(seen, [2, SIGTERM, 0, 3, SIGKILL])
})

test('cpu: use is counted where it happened, and stays when processes have gone', () => {
  const { kernel, start, run: serve } = testKernel()
  const a = kernel.cgroup.root.makeChild('a') as Cgroup
  const used: number[] = []
  start(function* () {
    yield run(10 * MS)
    const pid = yield fork(function* (thread) {
      goTo(thread, a)
      yield run(20 * MS)
    })
    yield call(NR.wait4, [pid, 0, 0, 0])
    used.push(kernel.cgroup.root.cpu.usage(), a.cpu.usage())
    kernel.cgroup.root.removeChild('a')
    used.push(kernel.cgroup.root.cpu.usage())
  })
  serve()
  assert.deepEqual(
    used.map(ns => ns / MS),
    [30, 20, 30],
  )
})

test('cpu.max: a process gets its quota of each period', () => {
  const { kernel, start, run: serve } = testKernel()
  const a = kernel.cgroup.root.makeChild('a') as Cgroup
  let took = 0
  start(function* () {
    a.cpu.setMax(10_000, 50_000, true)
    const before = kernel.now()
    const pid = yield fork(function* (thread) {
      goTo(thread, a)
      // The fake platform looks at timers when somebody stops.
      yield call(NR.getpid)
      yield run(100 * MS)
    })
    yield call(NR.wait4, [pid, 0, 0, 0])
    took = kernel.now() - before
  })
  serve()
  // Ten periods of 50 ms, the last of them cut short.
  assert.ok(took > 440 * MS && took < 520 * MS, `${took / MS} ms`)
  assert.ok(a.cpu.throttledPeriods >= 8 && a.cpu.periods >= 9)
  assert.ok(a.cpu.throttledTime > 300 * MS)
})

/** A meter that believes what the test says of each space. */
function meter(kernel: Kernel, sizes: Map<unknown, SpaceMemory>): void {
  kernel.memoryMeter = {
    measure(space, _exact, into) {
      const size = sizes.get(space) ?? { anonymous: 0, shared: 0 }
      into.anonymous = size.anonymous
      into.shared = size.shared
    },
  }
}

test('memory.max: the process that uses most is killed, and it is counted', () => {
  const { kernel, start, run: serve } = testKernel()
  const sizes = new Map<unknown, SpaceMemory>()
  meter(kernel, sizes)
  const a = kernel.cgroup.root.makeChild('a') as Cgroup
  const statuses: number[] = []
  start(function* (thread) {
    const grow = (pages: number): Program =>
      function* (self) {
        const space = self.space as FakeSpace
        for (let i = 0; i < pages; i++) space.write(0x10000 + i * 4096, new Uint8Array(1))
        sizes.set(space, { anonymous: pages, shared: 0 })
        goTo(self, a)
        for (let i = 0; i < 100; i++) yield* sleep(self, 10)
        yield call(NR.exit_group, [0])
      }
    a.memory.max = 120 * 4096
    a.memory.limitsChanged()
    const small = yield fork(grow(40))
    const big = yield fork(grow(100))
    yield call(NR.wait4, [big, DATA, 0, 0])
    statuses.push(peek(thread, DATA))
    yield call(NR.wait4, [small, DATA, 0, 0])
    statuses.push(peek(thread, DATA))
  })
  serve()
  assert.deepEqual(statuses, [SIGKILL, 0])
  assert.deepEqual([a.memory.events.oom, a.memory.events.oom_kill], [1, 1])
  assert.equal(kernel.cgroup.root.memory.events.oom_kill, 1)
  assert.equal(kernel.cgroup.root.memory.localEvents.oom_kill, 0)
})

test('memory.max: pages that processes share count once, so a fork of a big process kills nobody', () => {
  const { kernel, start, run: serve } = testKernel()
  const a = kernel.cgroup.root
  kernel.memoryMeter = {
    measure(_space, exact, into) {
      into.anonymous = exact ? 50 : 100
      into.shared = 0
    },
  }
  a.memory.max = 150 * 4096
  a.memory.limitsChanged()
  let status = -1
  start(function* (thread) {
    const pid = yield fork(function* () {
      yield run(100 * MS)
      yield call(NR.exit_group, [0])
    })
    yield call(NR.wait4, [pid, DATA, 0, 0])
    status = peek(thread, DATA)
  })
  serve()
  assert.equal(status, 0)
  assert.equal(a.memory.events.oom, 0)
})

test('memory.max: oom_score_adj decides, and -1000 is never chosen', () => {
  const { kernel, start } = testKernel()
  const init = start(idle)
  kernel.turn(0)
  meter(kernel, new Map([[init.mm.space, { anonymous: 1000, shared: 0 }]]))
  init.group.oomScoreAdj = -1000
  const { memory } = init.group.cgroup
  memory.max = 4096
  memory.limitsChanged()
  for (let i = 0; i < 20; i++) kernel.turn(kernel.now() + 10 * MS)
  assert.equal(init.ended, false)
  assert.equal(memory.events.oom_kill, 0)
  assert.ok(memory.events.oom > 0)
  assert.equal(memory.charge(1), -ENOMEM)
  init.group.oomScoreAdj = 0
  for (let i = 0; i < 20 && !init.ended; i++) kernel.turn(kernel.now() + 10 * MS)
  assert.equal(init.ended, true)
})

test('memory.max: files in memory count, and what has no room is refused', () => {
  const { kernel, start } = testKernel()
  const init = start(idle)
  kernel.turn(0)
  init.group.oomScoreAdj = -1000
  const { memory } = init.group.cgroup
  memory.max = 10 * 4096
  memory.limitsChanged()
  assert.equal(memory.charge(8), 0)
  assert.equal(memory.charge(3), -ENOMEM)
  memory.adjust(-4)
  assert.equal(memory.charge(3), 0)
  assert.equal(memory.current(), 7 * 4096)
})

test('memory.oom.group: all processes of the cgroup go together', () => {
  const { kernel, start, run: serve } = testKernel()
  const sizes = new Map<unknown, SpaceMemory>()
  meter(kernel, sizes)
  const a = kernel.cgroup.root.makeChild('a') as Cgroup
  const statuses: number[] = []
  start(function* (thread) {
    const one = yield fork(idle)
    const other = yield fork(function* (self) {
      sizes.set(self.space, { anonymous: 100, shared: 0 })
      yield* idle(self)
    })
    for (const pid of [one, other]) moveToCgroup(kernel.pidNs.group(pid)!, a)
    yield run(MS)
    a.memory.oomGroup = true
    a.memory.max = 4096
    a.memory.limitsChanged()
    for (const pid of [one, other]) {
      yield call(NR.wait4, [pid, DATA, 0, 0])
      statuses.push(peek(thread, DATA))
    }
  })
  serve()
  assert.deepEqual(statuses, [SIGKILL, SIGKILL])
  assert.deepEqual([a.memory.events.oom_kill, a.memory.events.oom_group_kill], [2, 1])
})

test('cgroup2: there is one file system of it, whoever mounts it', () => {
  const { kernel } = setUp()
  const type = cgroup2Type(kernel)
  const context = { vfs: kernel.vfs } as never
  const sb = type.mount('a', 0, '', context)
  assert.ok(sb instanceof Cgroup2Super)
  assert.equal(type.mount('b', 0, 'nsdelegate', context), sb)
  assert.equal(type.mount('b', 0, 'nonsense', context), -EINVAL)
})

test('pressure: time for which a quota holds processes is told, and a trigger tells of it', () => {
  const { kernel, start, run: serve } = testKernel()
  const a = kernel.cgroup.root.makeChild('a') as Cgroup
  const { cpu, memory } = a.pressure
  const trigger = new PressureTrigger(kernel, cpu, false, 100 * MS, 500 * MS)
  const unlikely = new PressureTrigger(kernel, cpu, false, 490 * MS, 500 * MS)
  start(function* () {
    a.cpu.setMax(10_000, 50_000, true)
    const pid = yield fork(function* (thread) {
      goTo(thread, a)
      yield call(NR.getpid)
      yield run(100 * MS)
    })
    yield call(NR.wait4, [pid, 0, 0, 0])
  })
  serve()
  assert.ok(
    cpu.total(false) > 300 * MS && cpu.total(false) === cpu.total(true),
    `${cpu.total(false) / MS} ms`,
  )
  assert.match(cpu.format(), /^some avg10=\d+\.\d\d avg60=.* total=[1-9]\d{5}\nfull avg10/)
  assert.match(memory.format(), /^some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull/)
  assert.deepEqual([trigger.take(), trigger.take(), unlikely.take()], [true, false, false])
})

test('pressure: a cgroup above counts who waits below, and a process that is moved away waits there no more', () => {
  const { kernel, platform, start } = testKernel()
  const top = kernel.cgroup.root.makeChild('top') as Cgroup
  const a = top.makeChild('a') as Cgroup
  const b = kernel.cgroup.root.makeChild('b') as Cgroup
  const { group } = start(idle)
  moveToCgroup(group, a)
  a.memory.slowed = true
  updateHolds(a)
  platform.now += 10 * MS
  assert.equal(top.pressure.memory.total(false), 10 * MS)
  assert.equal(moveToCgroup(group, b), 0)
  assert.equal(group.holds, 0)
  platform.now += 10 * MS
  assert.equal(top.pressure.memory.total(false), 10 * MS)
  assert.equal(b.pressure.memory.total(false), 0)
})

test('cpu.max.burst: what a period leaves over may be used later', () => {
  const { kernel, start, run: serve } = testKernel()
  const a = kernel.cgroup.root.makeChild('a') as Cgroup
  a.cpu.burst = 30_000
  let took = 0
  start(function* () {
    a.cpu.setMax(30_000, 50_000, true)
    const pid = yield fork(function* (thread) {
      goTo(thread, a)
      yield* sleep(thread, 200)
      const before = kernel.now()
      yield run(50 * MS)
      took = kernel.now() - before
    })
    yield call(NR.wait4, [pid, 0, 0, 0])
  })
  serve()
  assert.ok(took < 60 * MS, `${took / MS} ms`)
})

test('memory.peak: who writes to an open one sees the most since then', () => {
  const { kernel, walk } = setUp()
  const sizes = new Map<unknown, SpaceMemory>()
  meter(kernel, sizes)
  const { space } = kernel.init!.leader.mm
  const size = (pages: number) => sizes.set(space, { anonymous: pages, shared: 0 })
  const shown = (file: File) => {
    const into = new BufferDst(new Uint8Array(64))
    return Buffer.from(into.bytes.subarray(0, file.readAt(into, 0))).toString()
  }
  const open = () => openAt(walk, undefined, '/memory.peak', 2, 0) as File
  const [own, other] = [open(), open()]
  size(100)
  assert.equal(shown(own), `${100 * 4096}\n`)
  size(10)
  assert.equal(own.writeAt(new BufferSrc(toBytes('reset\n')), 0), 6)
  assert.equal(shown(own), `${10 * 4096}\n`)
  size(20)
  assert.equal(shown(own), `${20 * 4096}\n`)
  assert.equal(shown(other), `${100 * 4096}\n`)
})
