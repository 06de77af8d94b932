/** Guest programs for the tests of this folder: the process, signal, time and futex calls on the fake platform. */
import {
  CLONE_FILES,
  CLONE_FS,
  CLONE_SIGHAND,
  CLONE_THREAD,
  CLONE_VM,
  SA_RESTORER,
} from '../abi/constants.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { type TestKernel, testKernel } from '../kernel/testing.ts'
import { call, type FakeThread, type Program, type Step } from '../platform/fake.ts'
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

export const rows = {
  ...cloneCalls,
  ...credentialCalls,
  ...futexCalls,
  ...killCalls,
  ...limitCalls,
  ...prctlCalls,
  ...processCalls,
  ...signalCalls,
  ...timeCalls,
  ...timerCalls,
  ...waitCalls,
}
export const HANDLER = 0x500000
export const HANDLER2 = 0x500100
export const RESTORER = 0x500ff0
export const DATA = 0x600000
export const MS = 1e6

export function kernel(): TestKernel {
  return testKernel(compileRows(rows))
}

export function poke(thread: FakeThread, at: number, ...words: number[]): void {
  thread.space.write(at, new Uint8Array(Uint32Array.from(words, word => word >>> 0).buffer))
}
export function peek(thread: FakeThread, at: number): number {
  const bytes = new Uint8Array(4)
  thread.space.read(at, bytes)
  return new DataView(bytes.buffer).getInt32(0, true)
}

export function* handle(
  thread: FakeThread,
  signo: number,
  handler: number,
  flags = 0,
): Generator<Step, number, number> {
  poke(thread, DATA, handler, 0, flags | SA_RESTORER, 0, RESTORER, 0, 0, 0)
  return yield call(NR.rt_sigaction, [signo, DATA, 0, 8])
}
export function* sleep(thread: FakeThread, ms: number, remaining = 0): Generator<Step, number, number> {
  poke(thread, DATA + 64, Math.floor(ms / 1000), 0, (ms % 1000) * MS, 0)
  return yield call(NR.nanosleep, [DATA + 64, remaining])
}
export function* mask(thread: FakeThread, how: number, signo: number): Generator<Step, number, number> {
  poke(thread, DATA + 96, signo <= 32 && signo > 0 ? 1 << (signo - 1) : 0, signo > 32 ? 1 << (signo - 33) : 0)
  return yield call(NR.rt_sigprocmask, [how, DATA + 96, 0, 8])
}
export const fork = (child: Program): Step => call(NR.fork, [], { child })
const THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD
export const spawn = (child: Program, flags = 0, tid = 0): Step =>
  call(NR.clone, [THREAD | flags, 0x7e0000000000, 0, tid, 0], { child })
