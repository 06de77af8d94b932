/** Sleeping, timers and CPU clocks. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CLOCK_MONOTONIC,
  CLOCK_THREAD_CPUTIME_ID,
  ITIMER_PROF,
  ITIMER_REAL,
  SA_RESTART,
  SIG_BLOCK,
  SIG_SETMASK,
  SIGALRM,
  SIGCONT,
  SIGPROF,
  SIGSTOP,
  SIGUSR1,
} from '../abi/constants.ts'
import { EINTR } from '../abi/errno.ts'
import { SIGINFO } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { call, quick, run } from '../platform/fake.ts'
import { REG_RDI, REG_RSI } from '../platform/platform.ts'
import { DATA, fork, HANDLER, handle, kernel, MS, mask, peek, poke, sleep } from './testing.ts'

test('an interrupted nanosleep tells what was left', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(
    HANDLER,
    quick(() => {}),
  )
  start(function* (thread) {
    yield* handle(thread, SIGUSR1, HANDLER, SA_RESTART)
    yield fork(function* (child) {
      yield* sleep(child, 30)
      yield call(NR.kill, [1, SIGUSR1])
    })
    seen.push(yield* sleep(thread, 100, DATA + 128), peek(thread, DATA + 128 + 8) / MS)
  })
  serve()
  assert.equal(seen[0], -EINTR)
  assert.equal(seen[1], 70)
})

test('a sleep that is stopped and continued still ends at its deadline', () => {
  const { start, platform, run: serve } = kernel()
  let woke = 0
  start(function* () {
    const pid = yield fork(function* (child) {
      const begin = platform.now
      assert.equal(yield* sleep(child, 100), 0)
      woke = (platform.now - begin) / MS
    })
    yield fork(function* (other) {
      yield* sleep(other, 20)
      yield call(NR.kill, [pid, SIGSTOP])
      yield* sleep(other, 20)
      yield call(NR.kill, [pid, SIGCONT])
    })
    while ((yield call(NR.wait4, [-1, 0, 0, 0])) > 0);
  })
  serve()
  assert.equal(woke, 100)
})

test('interval timers: the real one repeats, the profiling one counts CPU time', () => {
  const { start, platform, run: serve } = kernel()
  const seen: [number, number][] = []
  let begin = 0
  platform.handlers.set(
    HANDLER,
    quick(thread => {
      seen.push([thread.regs.get(REG_RDI), Math.round((platform.now - begin) / MS)])
    }),
  )
  start(function* (thread) {
    yield* handle(thread, SIGALRM, HANDLER, SA_RESTART)
    yield* handle(thread, SIGPROF, HANDLER, SA_RESTART)
    begin = platform.now
    poke(thread, DATA, 0, 0, 10000, 0, 0, 0, 10000, 0)
    yield call(NR.setitimer, [ITIMER_REAL, DATA, 0])
    for (let i = 0; i < 3; i++) yield call(NR.pause)
    poke(thread, DATA, 0, 0, 0, 0, 0, 0, 0, 0)
    yield call(NR.setitimer, [ITIMER_REAL, DATA, 0])
    begin = platform.now
    poke(thread, DATA, 0, 0, 0, 0, 0, 0, 20000, 0)
    yield call(NR.setitimer, [ITIMER_PROF, DATA, 0])
    yield* sleep(thread, 100)
    yield run(50 * MS)
  })
  serve()
  assert.deepEqual(seen, [
    [SIGALRM, 10],
    [SIGALRM, 20],
    [SIGALRM, 30],
    [SIGPROF, 120],
  ])
})

test('a POSIX timer whose signal is blocked counts what it missed', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(
    HANDLER,
    quick(thread => {
      seen.push(peek(thread, thread.regs.get(REG_RSI) + SIGINFO.si_overrun))
    }),
  )
  start(function* (thread) {
    yield* handle(thread, SIGUSR1, HANDLER)
    yield* mask(thread, SIG_BLOCK, SIGUSR1)
    poke(thread, DATA, 42, 0, SIGUSR1, 0)
    seen.push(yield call(NR.timer_create, [CLOCK_MONOTONIC, DATA, DATA + 100]))
    poke(thread, DATA, 0, 0, 10 * MS, 0, 0, 0, 10 * MS, 0)
    yield call(NR.timer_settime, [peek(thread, DATA + 100), 0, DATA, 0])
    yield* sleep(thread, 45)
    yield* mask(thread, SIG_SETMASK, 0)
    seen.push(yield call(NR.timer_getoverrun, [0]), yield call(NR.timer_delete, [0]))
  })
  serve()
  assert.deepEqual(seen, [0, 3, 3, 0])
})

test('a thread CPU clock stands while its thread sleeps', () => {
  const { start, run: serve } = kernel()
  let spent = 0
  start(function* (thread) {
    yield* sleep(thread, 100)
    yield run(30 * MS)
    yield call(NR.clock_gettime, [CLOCK_THREAD_CPUTIME_ID, DATA])
    spent = peek(thread, DATA + 8) / MS
  })
  serve()
  assert.equal(spent, 30)
})
