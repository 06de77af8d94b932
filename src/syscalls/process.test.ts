/** Processes: fork, exit, wait, threads, orphans. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CLD_EXITED,
  CLONE_NEWPID,
  CLONE_VFORK,
  CLONE_VM,
  SA_NOCLDWAIT,
  SA_RESTART,
  SIG_IGN,
  SIGCHLD,
  SIGTERM,
  WNOHANG,
} from '../abi/constants.ts'
import { ECHILD, ESRCH } from '../abi/errno.ts'
import { SIGINFO } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import type { Task } from '../kernel/task.ts'
import type { TestKernel } from '../kernel/testing.ts'
import { call, type FakeThread, type Program, quick, run, type Step } from '../platform/fake.ts'
import { REG_RDI, REG_RSI } from '../platform/platform.ts'
import { DATA, fork, HANDLER, handle, kernel, MS, peek, sleep, spawn } from './testing.ts'

test('a parent waits for its child and gets the exit code', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      seen.push(yield call(NR.getppid))
      yield call(NR.exit_group, [3])
    })
    seen.push(pid, yield call(NR.wait4, [-1, DATA, 0, 0]), peek(thread, DATA))
    seen.push(yield call(NR.wait4, [-1, 0, 0, 0]))
    yield call(NR.exit_group, [7])
  })
  assert.equal(serve(), 7 << 8)
  assert.deepEqual(seen, [1, 2, 2, 3 << 8, -ECHILD])
})

test('wait with WNOHANG returns 0 while the child runs, and a child killed by a signal says which', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      yield call(NR.pause)
    })
    seen.push(yield call(NR.wait4, [pid, DATA, WNOHANG, 0]))
    yield call(NR.kill, [pid, SIGTERM])
    seen.push(yield call(NR.wait4, [pid, DATA, 0, 0]), peek(thread, DATA))
  })
  serve()
  assert.deepEqual(seen, [0, 2, SIGTERM])
})

test('children are reaped by themselves when SIGCHLD is ignored', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    yield* handle(thread, SIGCHLD, SIG_IGN)
    yield fork(quick(() => {}))
    seen.push(yield call(NR.wait4, [-1, 0, 0, 0]))
  })
  serve()
  assert.deepEqual(seen, [-ECHILD])
})

test('SA_NOCLDWAIT sends SIGCHLD but leaves no zombie', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(
    HANDLER,
    quick(thread => {
      seen.push(thread.regs.get(REG_RDI))
    }),
  )
  start(function* (thread) {
    yield* handle(thread, SIGCHLD, HANDLER, SA_NOCLDWAIT)
    yield fork(quick(() => {}))
    yield* sleep(thread, 10)
    seen.push(yield call(NR.wait4, [-1, 0, 0, 0]))
  })
  serve()
  assert.deepEqual(seen, [SIGCHLD, -ECHILD])
})

test('orphans go to process 1, or to the nearest subreaper', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    yield fork(function* (reaper) {
      yield call(NR.prctl, [36, 1])
      yield fork(function* () {
        yield fork(function* (orphan) {
          yield* sleep(orphan, 5)
          seen.push(yield call(NR.getppid))
        })
      })
      yield call(NR.wait4, [3, 0, 0, 0])
      yield* sleep(reaper, 10)
      seen.push(yield call(NR.wait4, [-1, 0, 0, 0]))
    })
    yield call(NR.wait4, [-1, 0, 0, 0])
    yield* sleep(thread, 1)
  })
  serve()
  assert.deepEqual(seen, [2, 4])
})

/** Process 1 leaves a grandchild behind and asks, when that has ended, whether it is still there: 'zombie' or 'gone'. */
function* orphan(of: TestKernel, thread: FakeThread): Generator<Step, string, number> {
  const child = yield fork(function* () {
    yield fork(function* (grandchild) {
      yield* sleep(grandchild, 5)
    })
  })
  yield* sleep(thread, 10)
  return of.kernel.pidNs.group(child + 1) === undefined ? 'gone' : 'zombie'
}

test('a first process that has never waited leaves no zombies of others, and one that has or wants to know does', () => {
  const made = kernel()
  const seen: string[] = []
  made.platform.handlers.set(
    HANDLER,
    quick(() => {}),
  )
  made.start(function* (thread) {
    seen.push(yield* orphan(made, thread))
    yield* handle(thread, SIGCHLD, HANDLER)
    seen.push(yield* orphan(made, thread))
    yield* handle(thread, SIGCHLD, 0)
    seen.push(yield* orphan(made, thread))
    yield call(NR.wait4, [-1, 0, WNOHANG, 0])
    seen.push(yield* orphan(made, thread))
  })
  made.run()
  assert.deepEqual(seen, ['gone', 'zombie', 'gone', 'zombie'])
})

test('the first process of a nested pid namespace keeps its orphans, as a process inside made it', () => {
  const made = kernel()
  const seen: string[] = []
  made.start(function* () {
    const child: Program = function* (thread) {
      yield fork(function* () {
        yield fork(quick(() => {}))
      })
      yield* sleep(thread, 10)
      const { pidNs } = thread.owner as Task
      seen.push(pidNs.group(3) === undefined ? 'gone' : 'zombie')
    }
    yield call(NR.clone, [CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0], { child })
    yield call(NR.wait4, [-1, 0, 0, 0])
  })
  made.run()
  assert.deepEqual(seen, ['zombie'])
})

test('a vfork parent sleeps until the child ends', () => {
  const { start, platform, run: serve } = kernel()
  const seen: (number | string)[] = []
  start(function* () {
    const begin = platform.now
    const child: Program = function* (thread) {
      yield* sleep(thread, 20)
      seen.push('child')
    }
    seen.push(yield call(NR.clone, [CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0], { child }))
    seen.push((platform.now - begin) / MS)
  })
  serve()
  assert.deepEqual(seen, ['child', 2, 20])
})

test('exit_group ends threads that run, sleep and wait', () => {
  const { start, run: serve } = kernel()
  start(function* (thread) {
    yield spawn(function* () {
      for (;;) yield run(1000 * MS)
    })
    yield spawn(function* () {
      yield call(NR.pause)
    })
    yield spawn(function* (fourth) {
      yield* sleep(fourth, 5)
      yield call(NR.exit_group, [4])
    })
    yield* sleep(thread, 1000)
  })
  assert.equal(serve(), 4 << 8)
})

test('a leader that ends first stays until its last thread ends', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      yield spawn(function* (second) {
        yield* sleep(second, 20)
        yield call(NR.exit, [5])
      })
      yield call(NR.exit, [6])
    })
    yield* sleep(thread, 10)
    seen.push(yield call(NR.wait4, [pid, DATA, WNOHANG, 0]), yield call(NR.kill, [pid, 0]))
    seen.push(yield call(NR.wait4, [pid, DATA, 0, 0]), peek(thread, DATA) >> 8)
    seen.push(yield call(NR.kill, [pid, 0]))
  })
  serve()
  assert.deepEqual(seen, [0, 0, 2, 6, -ESRCH])
})

test('SIGCHLD of an ended child carries its code', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(
    HANDLER,
    quick(thread => {
      const info = thread.regs.get(REG_RSI)
      seen.push(
        peek(thread, info + SIGINFO.si_code),
        peek(thread, info + SIGINFO.si_pid),
        peek(thread, info + SIGINFO.si_status),
      )
    }),
  )
  start(function* (thread) {
    yield* handle(thread, SIGCHLD, HANDLER, SA_RESTART)
    yield fork(function* () {
      yield call(NR.exit_group, [12])
    })
    seen.push(yield call(NR.wait4, [-1, 0, 0, 0]))
  })
  serve()
  assert.deepEqual(seen, [CLD_EXITED, 2, 12, 2])
})
