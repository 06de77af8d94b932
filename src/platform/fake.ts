/**
 * A platform for unit tests: guest programs are generators, memory is a map of pages, time passes only when nobody runs.
 *
 * A program yields what makes its thread stop (a system call, a fault, or `run`, which lets time pass in guest code) and
 * gets the call's result back. A signal handler is a program registered under its address: the kernel's frame makes
 * the thread run it, and its end is an rt_sigreturn.
 *
 *   const program: Program = function* () {
 *     const pid = yield call(NR.fork, [], { child: other })
 *     …
 *   }
 */
import { EFAULT, EINVAL } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { Timespec } from '../base/clock.ts'
import type { Status } from '../base/result.ts'
import type { Host } from './host.ts'
import {
  type AddressSpace,
  type Fault,
  type Platform,
  type PlatformThread,
  REG_COUNT,
  REG_R8,
  REG_R9,
  REG_R10,
  REG_RAX,
  REG_RDI,
  REG_RDX,
  REG_RIP,
  REG_RSI,
  REG_RSP,
  type Registers,
  type SpaceOwner,
  STOP_FAULT,
  STOP_KICK,
  STOP_SYSCALL,
} from './platform.ts'

export type Program = (thread: FakeThread) => Generator<Step, void, number>

export type Step =
  | { readonly kind: 'call'; readonly nr: number; readonly args: readonly number[]; readonly child?: Program }
  | { readonly kind: 'fault'; readonly fault: Fault }
  /** CPU time in guest code, in ns. */
  | { readonly kind: 'run'; readonly ns: number }

export function call(nr: number, args: readonly number[] = [], options: { child?: Program } = {}): Step {
  return { kind: 'call', nr, args, child: options.child }
}
export function fault(signo: number, code: number, addr: number): Step {
  return { kind: 'fault', fault: { signo, code, addr, trapno: 14, err: 4 } }
}
/** A program that makes no call and ends: most handlers. */
export function quick(act: (thread: FakeThread) => void): Program {
  return function* (thread) {
    act(thread)
    yield* []
  }
}
export function run(ns: number): Step {
  return { kind: 'run', ns }
}

const ARGUMENTS = [REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9]
const PAGE = 4096
/** Nothing is mapped below. */
const FIRST_ADDRESS = 0x10000
/** Every call instruction of a fake program is here; behind it is where rip points in the call. */
export const CALL_SITE = 0x400000
const AFTER_CALL = CALL_SITE + 2
const XSTATE_SIZE = 832
const STACK_TOP = 0x7f0000000000

class FakeRegisters implements Registers {
  readonly words = new Int32Array(2 * REG_COUNT)

  lo(reg: number): number {
    return this.words[2 * reg]
  }
  hi(reg: number): number {
    return this.words[2 * reg + 1]
  }
  set(reg: number, lo: number, hi: number): void {
    this.words[2 * reg] = lo
    this.words[2 * reg + 1] = hi
  }
  get(reg: number): number {
    return (this.hi(reg) >>> 0) * 0x100000000 + (this.lo(reg) >>> 0)
  }
  put(reg: number, value: number): void {
    this.set(reg, value >>> 0, Math.floor(value / 0x100000000))
  }
}

export class FakeSpace implements AddressSpace {
  owner: SpaceOwner | undefined = undefined
  alive = true
  readonly pages = new Map<number, Uint8Array>()

  read(address: number, into: Uint8Array): number {
    return this.#each(address, into.length, (page, offset, done, n) =>
      into.set(page.subarray(offset, offset + n), done),
    )
  }
  write(address: number, from: Uint8Array): number {
    return this.#each(address, from.length, (page, offset, done, n) =>
      page.set(from.subarray(done, done + n), offset),
    )
  }
  #each(
    address: number,
    length: number,
    move: (page: Uint8Array, offset: number, done: number, n: number) => void,
  ): number {
    if (address < FIRST_ADDRESS) return -EFAULT
    for (let done = 0; done < length; ) {
      const at = address + done
      const n = Math.min(length - done, PAGE - (at % PAGE))
      const key = Math.floor(at / PAGE)
      let page = this.pages.get(key)
      if (page === undefined) {
        page = new Uint8Array(PAGE)
        this.pages.set(key, page)
      }
      move(page, at % PAGE, done, n)
      done += n
    }
    return length
  }

  map(): Status {
    return 0
  }
  unmap(): Status {
    return 0
  }
  protect(): Status {
    return 0
  }
  remap(): Status {
    return 0
  }
  advise(): Status {
    return 0
  }
  fill(): Status {
    return 0
  }
  incore(): Status {
    return 0
  }
  lock(): Status {
    return 0
  }
  unlock(): Status {
    return 0
  }
  readFile(): number {
    return -EINVAL
  }
  writeFile(): number {
    return -EINVAL
  }
  residentPages(): number {
    return this.pages.size
  }
  destroy(): void {
    this.alive = false
  }
}

/** One of the programs that a thread is in the middle of: the main one, or a handler. */
interface Activation {
  readonly steps: Generator<Step, void, number>
  /** The call in progress, to be made again when rip points at the call instruction. */
  step: Step | undefined
  /** CPU time that its present `run` still wants. */
  running: number
}

export class FakeThread implements PlatformThread {
  readonly platform: FakePlatform
  readonly space: FakeSpace
  readonly regs = new FakeRegisters()
  owner: unknown = undefined
  syscallNumber = -1
  fault: Fault = { signo: 0, code: 0, addr: 0, trapno: 0, err: 0 }
  stopped = true
  dead = false
  kicked = false
  cpu = 0
  fsBase = 0
  gsBase = 0
  xstate = new Uint8Array(XSTATE_SIZE)
  /** What a clone of it runs. */
  child: Program | undefined = undefined
  readonly stack: Activation[] = []

  constructor(platform: FakePlatform, space: FakeSpace) {
    this.platform = platform
    this.space = space
    this.regs.put(REG_RSP, STACK_TOP)
    this.regs.put(REG_RIP, AFTER_CALL)
  }

  start(program: Program): void {
    this.stack.push({ steps: program(this), step: undefined, running: 0 })
  }
  copyTo(space: FakeSpace): FakeThread {
    const copy = new FakeThread(this.platform, space)
    copy.regs.words.set(this.regs.words)
    if (this.child !== undefined) copy.start(this.child)
    return copy
  }

  materialize(): Status {
    return 0
  }
  readonly stateFeatures = 3
  extendedStateSize(): number {
    return XSTATE_SIZE
  }
  readExtendedState(into: Uint8Array): void {
    into.set(this.xstate)
  }
  writeExtendedState(from: Uint8Array): Status {
    this.xstate = new Uint8Array(XSTATE_SIZE)
    this.xstate.set(from)
    return 0
  }
  getFsBase(): number {
    return this.fsBase
  }
  setFsBase(address: number): void {
    this.fsBase = address
  }
  getGsBase(): number {
    return this.gsBase
  }
  setGsBase(address: number): Status {
    this.gsBase = address
    return 0
  }
  park(): void {}
  resume(result?: number): void {
    if (result !== undefined) this.regs.put(REG_RAX, result)
    this.stopped = false
    this.platform.ready.push(this)
  }
  kick(): void {
    if (!this.stopped) this.kicked = true
  }
  exit(): void {
    this.dead = true
  }
  cpuTime(): number {
    return this.cpu
  }
  hostCall(): number {
    return -EINVAL
  }

  /** Runs guest code up to its next stop: the reason, or 0 if it goes on running for now. */
  advance(): number {
    if (this.kicked) {
      this.kicked = false
      return STOP_KICK
    }
    const rip = this.regs.get(REG_RIP)
    const handler = this.platform.handlers.get(rip)
    if (handler !== undefined) {
      this.start(handler)
      this.regs.put(REG_RIP, AFTER_CALL)
    }
    const top = this.stack[this.stack.length - 1]
    if (top === undefined) throw new Error('a thread without a program runs')
    if (top.running > 0) return 0
    let step: Step | undefined
    if (rip === CALL_SITE && top.step !== undefined) {
      step = top.step
      this.regs.put(REG_RIP, AFTER_CALL)
    } else {
      const next = top.steps.next(signed(this.regs))
      step = next.done ? this.#finish() : next.value
    }
    top.step = step
    return this.#stopFor(step, top)
  }

  /** The program ran to its end: a handler returns, the main program exits. */
  #finish(): Step {
    if (this.stack.length === 1) return call(NR.exit_group, [0])
    this.stack.pop()
    // `ret` takes the restorer's address off the stack.
    this.regs.put(REG_RSP, this.regs.get(REG_RSP) + 8)
    return call(NR.rt_sigreturn)
  }

  #stopFor(step: Step, top: Activation): number {
    if (step.kind === 'run') {
      top.running = step.ns
      return 0
    }
    if (step.kind === 'fault') {
      this.fault = step.fault
      return STOP_FAULT
    }
    this.syscallNumber = step.nr
    this.child = step.child
    for (let i = 0; i < 6; i++) this.regs.put(ARGUMENTS[i], step.args[i] ?? 0)
    return STOP_SYSCALL
  }
}

function signed(regs: Registers): number {
  return regs.hi(REG_RAX) * 0x100000000 + (regs.lo(REG_RAX) >>> 0)
}

export class FakePlatform implements Platform {
  readonly addressLimit = 0x7ffffffff000
  readonly vdso = 0
  readonly vdsoSize = 0
  readonly hwcap = 0
  readonly hwcap2 = 0
  readonly minSignalStack = 2048
  readonly rseqFeatureSize = 0
  readonly rseqAlign = 0
  readonly cpus = [0]
  readonly cpuCount = 1
  patching = false
  stopReason = 0
  /** Threads that run, in turn. */
  readonly ready: FakeThread[] = []
  readonly handlers = new Map<number, Program>()
  /** The virtual clock, ns. */
  now = 1e9

  newProcess(): FakeThread {
    return new FakeThread(this, new FakeSpace())
  }
  fork(parent: PlatformThread): FakeThread {
    const space = new FakeSpace()
    const from = parent as FakeThread
    for (const [key, page] of from.space.pages) space.pages.set(key, page.slice())
    return from.copyTo(space)
  }
  cloneThread(parent: PlatformThread): FakeThread {
    const from = parent as FakeThread
    return from.copyTo(from.space)
  }

  next(deadline: number): FakeThread | undefined {
    for (;;) {
      const thread = this.ready.shift()
      if (thread === undefined) return this.#passTime(deadline)
      if (thread.dead || !thread.space.alive) continue
      const reason = thread.advance()
      if (reason !== 0) {
        thread.stopped = true
        this.stopReason = reason
        return thread
      }
      // It computes: the one CPU is its own until it is done or a timer is due.
      this.ready.push(thread)
      const top = thread.stack[thread.stack.length - 1]
      const slice = Math.min(top.running, Math.max(deadline - this.now, 0))
      top.running -= slice
      thread.cpu += slice
      this.now += slice
      if (this.now >= deadline) return undefined
    }
  }

  #passTime(deadline: number): undefined {
    if (deadline === Number.POSITIVE_INFINITY) throw new Error('everybody waits and nobody will wake them')
    this.now = Math.max(this.now, deadline)
    return undefined
  }

  destroy(): void {}
}

/** The clocks of a fake platform, as a Host that has nothing else. */
export function fakeHost(platform: FakePlatform): Host {
  const clocks = {
    monotonic: () => platform.now,
    recent: () => platform.now,
    recentRealtime: () => clocks.realtime(),
    boottime: () => platform.now,
    realtime: () => new Timespec(1700000000 + Math.floor(platform.now / 1e9), platform.now % 1e9),
    cpuTime: () => 0,
    random: (into: Uint8Array) => into.fill(7),
    fact: () => '',
  }
  return clocks as unknown as Host
}
