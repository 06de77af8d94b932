/** Processes, signals, job control, timers and futexes on the fake platform, through the real system calls. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CLD_CONTINUED, CLD_EXITED, CLD_STOPPED, CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD,
  CLONE_VFORK, CLONE_VM, CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAKE,
  ITIMER_PROF, ITIMER_REAL, P_ALL, SA_NODEFER, SA_ONSTACK, SA_RESTART, SA_RESTORER, SEGV_MAPERR, SIGCHLD, SIGCONT, SIGKILL,
  SIGRTMIN, SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2, SIG_BLOCK, SIG_IGN, WCONTINUED, WEXITED, WNOHANG, WSTOPPED, WUNTRACED,
  SI_TKILL, SIGALRM, SIGPROF, SA_NOCLDWAIT, SIGTSTP, SIG_SETMASK,
} from '../abi/constants.ts'
import { EAGAIN, ECHILD, EINTR, ESRCH, ETIMEDOUT } from '../abi/errno.ts'
import { SIGINFO, UCONTEXT } from '../abi/layout.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { testKernel, type TestKernel } from '../kernel/testing.ts'
import { call, type FakeThread, fault, type Program, run, type Step } from '../platform/fake.ts'
import { REG_RDI, REG_RDX, REG_RSI, REG_RSP } from '../platform/platform.ts'
import { cloneCalls } from './clone.ts'
import { credentialCalls } from './credentials.ts'
import { compileRows } from './dispatch.ts'
import { futexCalls } from './futex.ts'
import { killCalls } from './kill.ts'
import { limitCalls } from './limits.ts'
import { prctlCalls } from './prctl.ts'
import { processCalls } from './process.ts'
import { signalCalls } from './signal.ts'
import { timeCalls } from './time.ts'
import { timerCalls } from './timer.ts'
import { waitCalls } from './wait.ts'

const rows = {
  ...cloneCalls, ...credentialCalls, ...futexCalls, ...killCalls, ...limitCalls, ...prctlCalls, ...processCalls,
  ...signalCalls, ...timeCalls, ...timerCalls, ...waitCalls,
}
const HANDLER = 0x500000
const HANDLER2 = 0x500100
const RESTORER = 0x500ff0
const DATA = 0x600000
const MS = 1e6

function kernel(): TestKernel {
  return testKernel(compileRows(rows))
}

function poke(thread: FakeThread, at: number, ...words: number[]): void {
  thread.space.write(at, new Uint8Array(Uint32Array.from(words, word => word >>> 0).buffer))
}
function peek(thread: FakeThread, at: number): number {
  const bytes = new Uint8Array(4)
  thread.space.read(at, bytes)
  return new DataView(bytes.buffer).getInt32(0, true)
}

function* handle(thread: FakeThread, signo: number, handler: number, flags = 0): Generator<Step, number, number> {
  poke(thread, DATA, handler, 0, flags | SA_RESTORER, 0, RESTORER, 0, 0, 0)
  return yield call(NR.rt_sigaction, [signo, DATA, 0, 8])
}
function* sleep(thread: FakeThread, ms: number, remaining = 0): Generator<Step, number, number> {
  poke(thread, DATA + 64, Math.floor(ms / 1000), 0, (ms % 1000) * MS, 0)
  return yield call(NR.nanosleep, [DATA + 64, remaining])
}
function* mask(thread: FakeThread, how: number, signo: number): Generator<Step, number, number> {
  poke(thread, DATA + 96, signo <= 32 && signo > 0 ? 1 << (signo - 1) : 0, signo > 32 ? 1 << (signo - 33) : 0)
  return yield call(NR.rt_sigprocmask, [how, DATA + 96, 0, 8])
}
const fork = (child: Program): Step => call(NR.fork, [], { child })
const THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD
const spawn = (child: Program, flags = 0, tid = 0): Step =>
  call(NR.clone, [THREAD | flags, 0x7e0000000000, 0, tid, 0], { child })

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
    yield fork(function* () {})
    seen.push(yield call(NR.wait4, [-1, 0, 0, 0]))
  })
  serve()
  assert.deepEqual(seen, [-ECHILD])
})

test('SA_NOCLDWAIT sends SIGCHLD but leaves no zombie', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(HANDLER, function* (thread) {
    seen.push(thread.regs.get(REG_RDI))
  })
  start(function* (thread) {
    yield* handle(thread, SIGCHLD, HANDLER, SA_NOCLDWAIT)
    yield fork(function* () {})
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

test('a handler runs on the stack below the red zone, with the siginfo of its sender, and returns to where it was', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  let before = 0
  platform.handlers.set(HANDLER, function* (thread) {
    const info = thread.regs.get(REG_RSI)
    const context = thread.regs.get(REG_RDX)
    seen.push(thread.regs.get(REG_RDI), peek(thread, info + SIGINFO.si_code), peek(thread, info + SIGINFO.si_pid))
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

test('an interrupted nanosleep tells what was left', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(HANDLER, function* () {})
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
  platform.handlers.set(HANDLER, function* (thread) {
    const context = thread.regs.get(REG_RDX)
    seen.push(peek(thread, thread.regs.get(REG_RSI) + SIGINFO.si_addr), peek(thread, context + UCONTEXT.cr2))
  })
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
  assert.deepEqual(seen, [0x1234, 0x1234, SIGSEGV | 0x80])
})

test('standard signals coalesce, real-time signals queue in order', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  const note: Program = function* (thread) {
    seen.push(thread.regs.get(REG_RDI))
  }
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
  assert.deepEqual(seen.sort((a, b) => a - b), [SIGUSR1, SIGRTMIN + 2, SIGRTMIN + 2, SIGRTMIN + 2])
})

test('sigsuspend waits with its own mask and gives the old one back', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(HANDLER, function* (thread) {
    seen.push(thread.regs.get(REG_RDI))
  })
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
  platform.handlers.set(HANDLER2, function* (thread) {
    inside.push(onStack(thread))
  })
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

test('a thread that ends clears its tid word and wakes who waits there', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  start(function* (thread) {
    poke(thread, DATA + 400, 77)
    yield spawn(
      function* (second) {
        yield* sleep(second, 5)
        yield call(NR.exit, [0])
      },
      CLONE_CHILD_CLEARTID,
      DATA + 400,
    )
    seen.push(yield call(NR.futex, [DATA + 400, FUTEX_WAIT, 77, 0, 0, 0]), peek(thread, DATA + 400))
  })
  serve()
  assert.deepEqual(seen, [0, 0])
})

test('futexes: wake counts, requeue, a changed word and a timeout', () => {
  const { start, run: serve } = kernel()
  const seen: number[] = []
  const word = DATA + 400
  const other = DATA + 404
  start(function* (thread) {
    for (let i = 0; i < 3; i++) {
      yield spawn(function* () {
        yield call(NR.futex, [word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0])
        seen.push(1)
        yield call(NR.exit, [0])
      })
    }
    yield* sleep(thread, 1)
    seen.push(10 * (yield call(NR.futex, [word, FUTEX_REQUEUE | FUTEX_PRIVATE_FLAG, 1, 5, other, 0])))
    yield* sleep(thread, 1)
    seen.push(10 * (yield call(NR.futex, [other, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 100, 0, 0, 0])))
    yield* sleep(thread, 1)
    seen.push(yield call(NR.futex, [word, FUTEX_WAIT, 5, 0, 0, 0]))
    poke(thread, DATA + 416, 0, 0, 2 * MS, 0)
    seen.push(yield call(NR.futex, [word, FUTEX_WAIT, 0, DATA + 416, 0, 0]))
  })
  serve()
  assert.deepEqual(seen, [30, 1, 20, 1, 1, -EAGAIN, -ETIMEDOUT])
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

test('interval timers: the real one repeats, the profiling one counts CPU time', () => {
  const { start, platform, run: serve } = kernel()
  const seen: [number, number][] = []
  let begin = 0
  platform.handlers.set(HANDLER, function* (thread) {
    seen.push([thread.regs.get(REG_RDI), Math.round((platform.now - begin) / MS)])
  })
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
  assert.deepEqual(seen, [[SIGALRM, 10], [SIGALRM, 20], [SIGALRM, 30], [SIGPROF, 120]])
})

test('a POSIX timer whose signal is blocked counts what it missed', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(HANDLER, function* (thread) {
    seen.push(peek(thread, thread.regs.get(REG_RSI) + SIGINFO.si_overrun))
  })
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

test('SIGCHLD of an ended child carries its code', () => {
  const { start, platform, run: serve } = kernel()
  const seen: number[] = []
  platform.handlers.set(HANDLER, function* (thread) {
    const info = thread.regs.get(REG_RSI)
    seen.push(peek(thread, info + SIGINFO.si_code), peek(thread, info + SIGINFO.si_pid), peek(thread, info + SIGINFO.si_status))
  })
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

test('an unknown call number is ENOSYS and logged once', () => {
  const { start, log, run: serve } = kernel()
  const seen: number[] = []
  start(function* () {
    seen.push(yield call(999), yield call(999), yield call(5000))
  })
  serve()
  assert.deepEqual(seen, [-38, -38, -38])
  assert.equal(log.length, 2)
})

test('a handler that throws ends the process, not the kernel', () => {
  const broken = { nr: 900, args: [], run: (_task: unknown) => { throw new Error('a bug') } }
  const { start, log, run: serve } = testKernel(compileRows({ ...rows, broken }))
  const seen: number[] = []
  start(function* (thread) {
    yield fork(function* () {
      yield call(900)
    })
    yield call(NR.wait4, [-1, DATA, 0, 0])
    seen.push(peek(thread, DATA) & 0x7f)
  })
  serve()
  assert.deepEqual(seen, [31])
  assert.match(log[0], /a bug/)
})
