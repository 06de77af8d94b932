import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  __WALL,
  PTRACE_ATTACH,
  PTRACE_CONT,
  PTRACE_DETACH,
  PTRACE_EVENT_FORK,
  PTRACE_EVENT_STOP,
  PTRACE_GETEVENTMSG,
  PTRACE_INTERRUPT,
  PTRACE_O_TRACEFORK,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_PEEKDATA,
  PTRACE_POKEDATA,
  PTRACE_SEIZE,
  PTRACE_SETOPTIONS,
  PTRACE_SYSCALL,
  PTRACE_TRACEME,
  SIGCONT,
  SIGKILL,
  SIGSTOP,
  SIGTERM,
  SIGTRAP,
  SIGUSR1,
  WNOHANG,
} from '../abi/constants.ts'
import { EPERM, ESRCH } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { testKernel } from '../kernel/testing.ts'
import { call, type FakeThread, type Step } from '../platform/fake.ts'
import { compileRows } from './dispatch.ts'
import { ptraceCalls } from './ptrace.ts'
import { DATA, fork, peek, rows } from './testing.ts'

const kernel = () => testKernel(compileRows({ ...rows, ...ptraceCalls }))
const trace = (request: number, pid: number, address = 0, data = 0): Step =>
  call(NR.ptrace, [request, pid, address, data])

/** A task that stops or ends: its status as wait4 gives it. */
function* await_(thread: FakeThread, pid: number): Generator<Step, number, number> {
  assert.equal(yield call(NR.wait4, [pid, DATA, __WALL, 0]), pid)
  return peek(thread, DATA)
}

const stoppedBy = (signo: number, event = 0): number => 0x7f | (signo << 8) | (event << 16)

test('a traced task stops at a signal, which its tracer drops or delivers', () => {
  const { start, run } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      yield trace(PTRACE_TRACEME, 0)
      yield call(NR.kill, [2, SIGUSR1])
      yield call(NR.kill, [2, SIGTERM])
    })
    seen.push(yield* await_(thread, pid))
    seen.push(yield trace(PTRACE_CONT, pid))
    seen.push(yield* await_(thread, pid))
    yield trace(PTRACE_CONT, pid, 0, SIGTERM)
    seen.push(yield* await_(thread, pid))
  })
  run()
  assert.deepEqual(seen, [stoppedBy(SIGUSR1), 0, stoppedBy(SIGTERM), SIGTERM])
})

test('calls stop at entry and exit, and only a stopped tracee may be asked', () => {
  const { start, run } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      for (;;) yield call(NR.pause)
    })
    assert.equal(yield trace(PTRACE_PEEKDATA, pid, DATA, DATA), -ESRCH)
    assert.equal(yield trace(PTRACE_ATTACH, pid), 0)
    assert.equal(yield trace(PTRACE_ATTACH, pid), -EPERM)
    seen.push(yield* await_(thread, pid))
    yield trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD)
    assert.equal(yield trace(PTRACE_POKEDATA, pid, DATA + 64, 4711), 0)
    assert.equal(yield trace(PTRACE_PEEKDATA, pid, DATA + 64, DATA + 8), 0)
    seen.push(peek(thread, DATA + 8))
    yield trace(PTRACE_SYSCALL, pid)
    assert.equal(yield trace(PTRACE_SYSCALL, pid), -ESRCH)
    seen.push(yield* await_(thread, pid))
    yield trace(PTRACE_SYSCALL, pid)
    yield call(NR.kill, [pid, SIGCONT])
    seen.push(yield* await_(thread, pid))
    yield call(NR.kill, [pid, SIGKILL])
    seen.push(yield* await_(thread, pid))
  })
  run()
  assert.deepEqual(seen, [
    stoppedBy(SIGSTOP),
    4711,
    stoppedBy(SIGTRAP | 0x80),
    stoppedBy(SIGTRAP | 0x80),
    SIGKILL,
  ])
})

test('a child is followed, and both are left', () => {
  const { start, run } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      yield trace(PTRACE_TRACEME, 0)
      yield call(NR.kill, [2, SIGSTOP])
      const child = yield fork(function* () {
        yield call(NR.exit_group, [3])
      })
      yield call(NR.wait4, [child, 0, 0, 0])
      yield call(NR.exit_group, [4])
    })
    yield* await_(thread, pid)
    yield trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEFORK)
    yield trace(PTRACE_CONT, pid)
    seen.push(yield* await_(thread, pid))
    yield trace(PTRACE_GETEVENTMSG, pid, 0, DATA + 16)
    const child = peek(thread, DATA + 16)
    seen.push(yield* await_(thread, child))
    seen.push(yield trace(PTRACE_DETACH, child), yield trace(PTRACE_DETACH, pid))
    seen.push(yield* await_(thread, pid))
  })
  run()
  assert.deepEqual(seen, [stoppedBy(SIGTRAP, PTRACE_EVENT_FORK), stoppedBy(SIGSTOP), 0, 0, 4 << 8])
})

test('who seizes stops nobody until it interrupts; the end of the tracer lets the task go', () => {
  const { start, run } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      for (;;) yield call(NR.pause)
    })
    const tracer = yield fork(function* (own) {
      assert.equal(yield trace(PTRACE_SEIZE, pid), 0)
      seen.push(yield call(NR.wait4, [pid, DATA, __WALL | WNOHANG, 0]))
      yield trace(PTRACE_INTERRUPT, pid)
      seen.push(yield* await_(own, pid))
    })
    yield call(NR.wait4, [tracer, 0, 0, 0])
    yield call(NR.kill, [pid, SIGTERM])
    seen.push(yield* await_(thread, pid))
  })
  run()
  assert.deepEqual(seen, [0, stoppedBy(SIGTRAP, PTRACE_EVENT_STOP), SIGTERM])
})
