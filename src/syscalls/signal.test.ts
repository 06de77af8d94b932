/** Signals: handlers, frames, masks, stops. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CLD_CONTINUED,
  CLD_STOPPED,
  P_ALL,
  SA_NODEFER,
  SA_ONSTACK,
  SA_RESTART,
  SEGV_MAPERR,
  SI_TKILL,
  SIG_BLOCK,
  SIG_SETMASK,
  SIGCONT,
  SIGKILL,
  SIGRTMIN,
  SIGSEGV,
  SIGSTOP,
  SIGTERM,
  SIGTSTP,
  SIGUSR1,
  SIGUSR2,
  WCONTINUED,
  WEXITED,
  WSTOPPED,
  WUNTRACED,
} from '../abi/constants.ts'
import { EAGAIN, EINTR } from '../abi/errno.ts'
import { SIGINFO, UCONTEXT } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { testKernel } from '../kernel/testing.ts'
import { call, type FakeThread, fault, type Program, quick, run, type Step } from '../platform/fake.ts'
import { REG_RDI, REG_RDX, REG_RSI, REG_RSP } from '../platform/platform.ts'
import { compileRows } from './dispatch.ts'
import {
  DATA,
  fork,
  HANDLER,
  HANDLER2,
  handle,
  kernel,
  MS,
  mask,
  peek,
  poke,
  rows,
  sleep,
  spawn,
} from './testing.ts'

test('a handler runs on the stack below the red zone, with the siginfo of its sender, and returns to where it was', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  let before = 0
  platform.handlers.set(HANDLER, function* (thread) {
    const info = thread.regs.get(REG_RSI)
    const context = thread.regs.get(REG_RDX)
    seen.push(
      thread.regs.get(REG_RDI),
      peek(thread, info + SIGINFO.si_code),
      peek(thread, info + SIGINFO.si_pid),
    )
    assert.equal((thread.regs.get(REG_RSP) + 8) % 16, 0)
    assert.ok(thread.regs.get(REG_RSP) < before - 128)
    const fpstate = peek(thread, context + UCONTEXT.fpstate)
    assert.equal((fpstate >>> 0) % 64, 0)
    seen.push(yield call(NR.getpid))
  })
  start(function* (thread) {
    yield* handle(thread, SIGUSR1, HANDLER)
    before = thread.regs.get(REG_RSP)
    seen.push(yield call(NR.tgkill, [1, 1, SIGUSR1]))
    assert.equal(thread.regs.get(REG_RSP), before)
  })
  serve()
  assert.deepEqual(seen, [SIGUSR1, SI_TKILL, 1, 1, 0])
})

test('SA_RESTART restarts an interrupted wait; without it the call fails with EINTR', () => {
  for (const flags of [SA_RESTART, 0]) {
    const { start, platform, run: serve } = kernel()
    const seen: number[] = []
    platform.handlers.set(HANDLER, function* () {
      seen.push(100)
      yield call(NR.getpid)
    })
    start(function* (thread) {
      yield* handle(thread, SIGUSR1, HANDLER, flags)
      yield fork(function* (child) {
        yield* sleep(child, 10)
        yield call(NR.kill, [1, SIGUSR1])
        yield* sleep(child, 10)
        yield call(NR.exit_group, [9])
      })
      seen.push(yield call(NR.wait4, [-1, 0, 0, 0]))
    })
    serve()
    assert.deepEqual(seen, flags === 0 ? [100, -EINTR] : [100, 2])
  }
})

test('stop and continue are told by waitid and wake waiters', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      for (;;) yield call(NR.pause)
    })
    const wait = function* (options: number): Generator<Step, void, number> {
      assert.equal(yield call(NR.waitid, [P_ALL, 0, DATA, options, 0]), 0)
      seen.push(peek(thread, DATA + SIGINFO.si_code), peek(thread, DATA + SIGINFO.si_status))
    }
    yield call(NR.kill, [pid, SIGSTOP])
    yield* wait(WSTOPPED)
    yield call(NR.kill, [pid, SIGCONT])
    yield* wait(WCONTINUED)
    yield call(NR.kill, [pid, SIGKILL])
    yield* wait(WEXITED)
  })
  serve()
  assert.deepEqual(seen, [CLD_STOPPED, SIGSTOP, CLD_CONTINUED, SIGCONT, 2, SIGKILL])
})

test('a stop stops all threads, SIGKILL ends a stopped process', () => {
  const { start, platform, run: serve } = kernel()
  let beats = 0
  const seen: number[] = []
  start(function* (thread) {
    const pid = yield fork(function* () {
      yield spawn(function* (second) {
        for (;;) {
          yield* sleep(second, 10)
          beats++
        }
      })
      for (;;) yield run(1 * MS)
    })
    yield* sleep(thread, 35)
    yield call(NR.kill, [pid, SIGTSTP])
    // The group is not orphaned: its parent is in the session but in the same group, so nothing stops it.
    yield* sleep(thread, 35)
    const atStop = beats
    yield call(NR.kill, [pid, SIGSTOP])
    seen.push(yield call(NR.wait4, [pid, DATA, WUNTRACED, 0]), peek(thread, DATA) >> 8)
    yield* sleep(thread, 50)
    assert.ok(beats - atStop <= 1)
    yield call(NR.kill, [pid, SIGKILL])
    seen.push(yield call(NR.wait4, [pid, DATA, 0, 0]), peek(thread, DATA))
  })
  serve()
  assert.ok(platform.now > 0)
  assert.deepEqual(seen, [2, SIGSTOP, 2, SIGKILL])
})

test('a fault kills with the core flag even if its signal is blocked; a handler gets its address', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(
    HANDLER,
    quick(thread => {
      const context = thread.regs.get(REG_RDX)
      seen.push(
        peek(thread, thread.regs.get(REG_RSI) + SIGINFO.si_addr),
        peek(thread, context + UCONTEXT.cr2),
      )
    }),
  )
  start(function* (thread) {
    yield* handle(thread, SIGSEGV, HANDLER)
    yield fault(SIGSEGV, SEGV_MAPERR, 0x1234)
    yield fork(function* (child) {
      yield* mask(child, SIG_BLOCK, SIGSEGV)
      yield fault(SIGSEGV, SEGV_MAPERR, 0x1234)
    })
    yield call(NR.wait4, [-1, DATA, 0, 0])
    seen.push(peek(thread, DATA))
  })
  serve()
  assert.deepEqual(seen, [0x1234, 0x1234, SIGSEGV])
})

test('standard signals coalesce, real-time signals queue in order', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  const note: Program = quick(thread => {
    seen.push(thread.regs.get(REG_RDI))
  })
  platform.handlers.set(HANDLER, note)
  start(function* (thread) {
    for (const signo of [SIGUSR1, SIGRTMIN + 2]) {
      yield* handle(thread, signo, HANDLER)
      yield* mask(thread, SIG_BLOCK, signo)
    }
    for (let i = 0; i < 3; i++) {
      yield call(NR.kill, [1, SIGUSR1])
      yield call(NR.kill, [1, SIGRTMIN + 2])
    }
    yield* mask(thread, SIG_SETMASK, 0)
  })
  serve()
  assert.deepEqual(
    seen.sort((a, b) => a - b),
    [SIGUSR1, SIGRTMIN + 2, SIGRTMIN + 2, SIGRTMIN + 2],
  )
})

test('sigsuspend waits with its own mask and gives the old one back', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(
    HANDLER,
    quick(thread => {
      seen.push(thread.regs.get(REG_RDI))
    }),
  )
  start(function* (thread) {
    yield* handle(thread, SIGUSR1, HANDLER)
    yield* mask(thread, SIG_BLOCK, SIGUSR1)
    yield call(NR.kill, [1, SIGUSR1])
    poke(thread, DATA + 200, 0, 0)
    seen.push(yield call(NR.rt_sigsuspend, [DATA + 200, 8]))
    yield call(NR.rt_sigprocmask, [0, 0, DATA + 208, 8])
    seen.push(peek(thread, DATA + 208))
  })
  serve()
  assert.deepEqual(seen, [SIGUSR1, -EINTR, 1 << (SIGUSR1 - 1)])
})

test('sigtimedwait takes a blocked signal, and times out without one', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    yield* mask(thread, SIG_BLOCK, SIGUSR2)
    yield fork(function* (child) {
      yield* sleep(child, 10)
      yield call(NR.kill, [1, SIGUSR2])
    })
    poke(thread, DATA + 200, 1 << (SIGUSR2 - 1), 0, 0, 0, 50 * MS, 0)
    seen.push(yield call(NR.rt_sigtimedwait, [DATA + 200, DATA + 300, DATA + 208, 8]))
    seen.push(peek(thread, DATA + 300 + SIGINFO.si_pid))
    seen.push(yield call(NR.rt_sigtimedwait, [DATA + 200, 0, DATA + 208, 8]))
  })
  serve()
  assert.deepEqual(seen, [SIGUSR2, 2, -EAGAIN])
})

test('handlers on the alternate stack nest there and leave it', () => {
  const { start, platform, run: serve } = kernel()
  const stack = 0x700000
  const inside: boolean[] = []
  const onStack = (thread: FakeThread): boolean => {
    const sp = thread.regs.get(REG_RSP)
    return sp > stack && sp <= stack + 65536
  }
  platform.handlers.set(HANDLER, function* (thread) {
    inside.push(onStack(thread))
    yield call(NR.tgkill, [1, 1, SIGUSR2])
    inside.push(onStack(thread))
  })
  platform.handlers.set(
    HANDLER2,
    quick(thread => {
      inside.push(onStack(thread))
    }),
  )
  start(function* (thread) {
    poke(thread, DATA, stack, 0, 0, 0, 65536, 0)
    yield call(NR.sigaltstack, [DATA, 0])
    yield* handle(thread, SIGUSR1, HANDLER, SA_ONSTACK | SA_NODEFER)
    yield* handle(thread, SIGUSR2, HANDLER2, SA_ONSTACK)
    yield call(NR.tgkill, [1, 1, SIGUSR1])
    inside.push(onStack(thread))
  })
  serve()
  assert.deepEqual(inside, [true, true, true, false])
})

test('process 1 is spared by default actions when it is protected', () => {
  const { start, run: serve } = testKernel(compileRows(rows), true)
  const seen: number[] = []
  start(function* () {
    seen.push(yield call(NR.kill, [1, SIGTERM]), yield call(NR.kill, [1, SIGKILL]))
    yield call(NR.exit_group, [1])
  })
  assert.equal(serve(), 1 << 8)
  assert.deepEqual(seen, [0, 0])
})
