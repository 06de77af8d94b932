/** Who gets how much of the CPU: weights of cgroups, nice values and policies, on a machine with one CPU. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SCHED_FIFO, SCHED_IDLE, SIGKILL } from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { type Cgroup, maskOf, moveToCgroup } from '../kernel/cgroup/cgroup.ts'
import { type Claim, divideCpus } from '../kernel/cgroup/cpu-division.ts'
import { setHolds } from '../kernel/cgroup/freezer.ts'
import { HOLD_FREEZE, HOLD_SHARE } from '../kernel/cgroup/holds.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { Task } from '../kernel/task.ts'
import { call, type FakeThread, run } from '../platform/fake.ts'
import { fork, MS, sleep, kernel as testKernel } from './testing.ts'

type Preparation = (task: Task, kernel: Kernel) => void

/** CPU time in ms of processes that compute, when the first has had a second; each is prepared as its function says. */
function compete(...prepare: Preparation[]): number[] {
  const { kernel, start, run: serve } = testKernel()
  const threads: FakeThread[] = []
  let used: number[] = []
  start(function* () {
    for (const [i, each] of prepare.entries()) {
      yield fork(function* (thread) {
        threads[i] = thread
        each(thread.owner as Task, kernel)
        // All begin when all are prepared.
        yield* sleep(thread, 20)
        if (i > 0) yield run(1e6 * MS)
        yield run(1000 * MS)
        used = threads.map(({ cpu }) => Math.round(cpu / MS))
        kernel.shutdown()
      })
    }
    for (;;) yield call(NR.pause)
  })
  serve()
  return used
}

function nice(value: number): Preparation {
  return (task, kernel) => {
    task.scheduling.nice = value
    kernel.cpuShares.priorityChanged(task)
  }
}
function policy(value: number): Preparation {
  return (task, kernel) => {
    task.scheduling.policy = value
    kernel.cpuShares.priorityChanged(task)
  }
}
/** In a cgroup of that name and weight. */
function inside(name: string, weight: number): Preparation {
  return (task, { cgroup: { root } }) => {
    root.subtreeControl |= maskOf('cpu')
    root.standsForRoot = true
    const cgroup = root.children.get(name) ?? (root.makeChild(name) as Cgroup)
    cgroup.cpu.setShare(weight, false)
    assert.equal(moveToCgroup(task.group, cgroup), 0)
  }
}
function assertNear(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= Math.max(0.1 * expected, 40), `${actual} ms for ${expected} ms`)
}

test('nice: each step is a tenth of the CPU, up and down', () => {
  assertNear(compete(nice(0), nice(5))[1], (1000 * 335) / 1024)
  assertNear(compete(nice(0), nice(19))[1], (1000 * 15) / 1024)
  assertNear(compete(nice(-5), nice(0))[1], (1000 * 1024) / 3121)
})

test('nice: processes that are alike share what is theirs', () => {
  const [, second, third] = compete(nice(0), nice(0), nice(10))
  assertNear(second, 1000)
  assertNear(third, (1000 * 110) / 1024)
})

test('policies: a real-time task comes before others but leaves them something, an idle one comes last', () => {
  const [, other] = compete(policy(SCHED_FIFO), nice(0))
  assert.ok(other > 0 && other < 60, `${other} ms beside a real-time task`)
  assert.ok(compete(nice(0), policy(SCHED_IDLE))[1] < 60)
})

test('cpu.weight: cgroups share the CPU by their weights, however many processes are in them', () => {
  const [, many, more] = compete(inside('a', 300), inside('b', 100), inside('b', 100))
  assertNear(many, 1000 / 6)
  assertNear(more, 1000 / 6)
})

test('cpu.weight: who is beside a cgroup competes with it as a process of nice 0', () => {
  assertNear(compete(nice(0), inside('a', 400))[1], 4000)
})

test('cpu shares: who is alone gets all, whatever its weight', () => {
  const { kernel, start, run: serve } = testKernel()
  let took = 0
  start(function* (thread) {
    nice(19)(thread.owner as Task, kernel)
    const before = kernel.now()
    yield call(NR.getpid)
    yield run(1000 * MS)
    took = kernel.now() - before
  })
  serve()
  assert.equal(took, 1000 * MS)
})

test('cpu shares: a process that ends while it is held counts no more among those that wait', () => {
  const { kernel, start, run: serve } = testKernel()
  const { cpu } = kernel.cgroup.root.pressure
  let held = 0
  let after = 0
  start(function* (thread) {
    const pid = yield fork(function* (child) {
      nice(19)(child.owner as Task, kernel)
      yield* sleep(child, 20)
      yield run(1e6 * MS)
    })
    yield* sleep(thread, 20)
    yield run(300 * MS)
    const other = kernel.pidNs.group(pid)!
    held = other.holds
    yield call(NR.kill, [pid, SIGKILL])
    yield run(100 * MS)
    const before = cpu.total(false)
    cpu.change(1, 1)
    yield run(10 * MS)
    after = cpu.total(false) - before
  })
  serve()
  assert.deepEqual([held, after], [HOLD_SHARE, 10 * MS])
})

test('cpu shares: who waits by itself goes on waiting while its process is held, until that is frozen', () => {
  const { kernel, start, run: serve } = testKernel()
  const kicked: boolean[] = []
  start(function* () {
    const pid = yield fork(function* () {
      for (;;) yield run(10 * MS)
    })
    const group = kernel.pidNs.group(pid)!
    const thread = group.leader.thread as FakeThread
    const hold = (holds: number) => {
      setHolds(group, holds)
      kicked.push(thread.kicked)
    }
    Object.assign(thread, { native: { current: () => ({}) } })
    hold(HOLD_SHARE)
    hold(HOLD_SHARE)
    hold(HOLD_SHARE | HOLD_FREEZE)
    hold(0)
    thread.kicked = false
    Object.assign(thread, { native: { current: () => undefined } })
    hold(HOLD_SHARE)
    kernel.shutdown()
  })
  serve()
  assert.deepEqual(kicked, [false, false, true, true, true])
})

test('cpu shares: what a process can’t use for want of threads is for the others', () => {
  const { kernel } = testKernel()
  const cgroup = kernel.cgroups
  const claims: Claim[] = [
    { cgroup, weight: 88761, threads: 1, part: 0 },
    { cgroup, weight: 1024, threads: 4, part: 0 },
    { cgroup, weight: 3072, threads: 4, part: 0 },
  ]
  divideCpus(claims, 3)
  assert.deepEqual(
    claims.map(({ part }) => Math.round(part * 100) / 100),
    [1, 0.5, 1.5],
  )
})

test('cpu shares: however little the cgroups weigh that a process is in, it has a part', () => {
  const { kernel } = testKernel()
  let cgroup = kernel.cgroup.root
  const claims: Claim[] = [{ cgroup, weight: 1024, threads: 1, part: 0 }]
  for (let depth = 0; depth < 200; depth++) {
    cgroup.subtreeControl = maskOf('cpu')
    cgroup = cgroup.makeChild('a') as Cgroup
    cgroup.cpu.setShare(1, false)
    claims.push({ cgroup, weight: 1024, threads: 1, part: 0 })
  }
  divideCpus(claims, 1)
  for (const { part } of claims) assert.ok(part > 0 && part < 1, `${part}`)
})
