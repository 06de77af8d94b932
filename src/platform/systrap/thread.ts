/**
 * SystrapThread: one host thread that carries one guest thread.
 *
 * Born by the zygote, a fork or a clone; waits for the sentry in its slot whenever it is stopped; ends by `exit` (its
 * slot is free again when the host thread is gone) or with its process.
 *
 * While a thread is stopped the sentry gathers operations for it; they go out with the next reply: `resume` lets the
 * guest go on after them, `exchange` has the stub do them and report at once.
 */

import {
  POLLIN,
  PR_SET_NAME,
  RUSAGE_THREAD,
  SIGBUS,
  SIGFPE,
  SIGILL,
  SIGSEGV,
  SIGTRAP,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, ESRCH } from '../../abi/errno.ts'
import {
  COMMAND_EXIT,
  COMMAND_RESUME,
  OP,
  OP_ATTEMPT,
  OP_COPY_IN,
  OP_COPY_OUT,
  OP_COUNT,
  OP_GET_FS,
  OP_GET_GS,
  OP_SET_FS,
  OP_SET_GS,
  OP_SYSCALL,
  OP_XRSTOR,
  OP_XSAVE,
  PREFETCH_PIECES,
  PREFETCHED,
  SLOT,
  SLOT_ALTSTACK,
  SLOT_ALTSTACK_SIZE,
  SLOT_BOUNCE,
  SLOT_BOUNCE_SIZE,
  SLOT_SIZE,
  SLOT_XSTATE,
  SLOTS,
  STATE_SLEEP,
  STOP_KICK_FAST,
  STOP_SYSCALL_FAST,
  STOP_SYSCALL_TRAP,
  STOP_FAULT as STUB_FAULT,
  STOP_INTERRUPTED as STUB_INTERRUPTED,
  STOP_KICK as STUB_KICK,
  STOP_WAITED as STUB_WAITED,
} from '../../abi/protocol.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import { maskOfCpus } from '../../base/cpu-list.ts'
import type { Status } from '../../base/result.ts'
import {
  type Fault,
  type PlatformThread,
  REG_COUNT,
  REG_EFLAGS,
  REG_RAX,
  REG_RIP,
  type SpaceUsage,
  STOP_DEAD,
  STOP_FAULT,
  STOP_INTERRUPTED,
  STOP_KICK,
  STOP_SYSCALL,
  STOP_WAITED,
} from '../platform.ts'
import { SystrapWaits } from './native-wait.ts'
import { compareFlags, SlotRegisters } from './registers-x86-64.ts'
import type { SystrapSpace } from './space.ts'
import type { Systrap } from './systrap.ts'
import { buildFrameXstate, frameXstateSize, initialXstate, validXstate } from './xstate-x86-64.ts'

/** Where prefetched and outgoing bytes may lie in the bounce buffer; above it the extended state is saved. */
const BOUNCE_LIMIT = SLOT_XSTATE - SLOT_BOUNCE
/** What a CPU's fault can be: the zygote catches these. */
const FAULT_SIGNALS: ReadonlySet<number> = new Set([SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP])
/** Calls that may be found interrupted. */
const WAITS: ReadonlySet<number> = new Set([NR.futex, NR.futex_waitv, NR.futex_wait])
const AUDIT_ARCH_X86_64 = 0xc000003e
const TRAP_FLAG = 0x100
const PAGE_SIZE = 4096
/** With the terminator. */
const TASK_COMM_LEN = 16
/** Bytes: room for as many CPUs as Linux can have. */
const CPU_MASK_SIZE = 1024

export class SystrapThread implements PlatformThread {
  readonly platform: Systrap
  readonly space: SystrapSpace
  /** Index in the arena, and in the process. */
  readonly slot: number
  readonly local: number
  readonly regs: SlotRegisters
  owner: unknown = undefined
  readonly fault: Fault = { signo: 0, code: 0, addr: 0, trapno: 0, err: 0 }
  /** Host thread id; 0 until known. */
  tid = 0
  stopped = true
  dead = false
  syscallNumber = -1
  readonly native: SystrapWaits
  /** Told to stop, and has not yet gone on after that. */
  kicked = false

  /** Whether the registers are in the slot (fast path, birth) and not in a signal frame. */
  #inSlot = true
  /** Offset in the slot of the saved extended state, 0 if it is still in the CPU's registers. */
  #xstate = 0
  #restoreXstate = false
  /** As far as they are known of a stopped thread, else -1. */
  #fsBase = -1
  #gsBase = -1
  #opCount = 0
  #bounceTop = 0
  #prefetched = 0
  /** The sentry's descriptor that the last queued operations receive, use and close; -1 if they do something else. */
  #passedFd = -1
  #passedCloses = 0
  #passedEnd = 0
  /** As the host was told of it, or of the thread that made it. */
  #cpus: readonly number[] | undefined = undefined

  constructor(platform: Systrap, space: SystrapSpace, slot: number, local: number) {
    this.platform = platform
    this.space = space
    this.slot = slot
    this.local = local
    this.regs = new SlotRegisters(platform.slots, space.patcher)
    this.regs.useSlot(platform.slots.at(slot, 0))
    this.native = new SystrapWaits(this)
    this.#setSpin(platform.stubSpin)
  }

  /** Takes note of a request that arrived; the reason as platform.ts names it. */
  accept(): number {
    const slots = this.platform.slots
    const base = slots.at(this.slot, 0)
    const what = slots.u32[base + (SLOT.what >> 2)]!
    const reason = what & 0xff
    this.stopped = true
    this.space.active = this
    this.#opCount = 0
    this.#passedFd = -1
    this.#restoreXstate = false
    this.#prefetched = what >>> 8
    this.#bounceTop = 0
    if (this.#prefetched > 0) this.#bounceTop = this.#prefetchedEnd()
    if (
      reason === STOP_SYSCALL_FAST ||
      reason === STOP_KICK_FAST ||
      reason === STUB_INTERRUPTED ||
      reason === STUB_WAITED
    ) {
      this.#inSlot = true
      this.#xstate = 0
      this.regs.useSlot(base)
      // A wait that began at a trap goes on at a site that may have been patched meanwhile.
      if (reason !== STOP_SYSCALL_FAST) this.regs.ipTouched = true
      if (reason === STOP_KICK_FAST) return STOP_KICK
      if (reason === STUB_WAITED) return this.native.reports ? STOP_WAITED : this.#lost()
      if (reason === STUB_INTERRUPTED) {
        this.syscallNumber = this.regs.number
        return WAITS.has(this.syscallNumber) ? STOP_INTERRUPTED : this.#lost()
      }
      this.syscallNumber = this.regs.number
      return STOP_SYSCALL
    }
    return this.#acceptFrame(base, reason)
  }

  /** A stop by a signal: registers and extended state are in the frame that the host made. */
  #acceptFrame(base: number, reason: number): number {
    const slots = this.platform.slots
    const registers = slots.u32[base + (SLOT.registers >> 2)]!
    const xstate = slots.u32[base + (SLOT.xstate >> 2)]!
    if (!this.#insideAltstack(registers, REG_COUNT * 8)) return this.#lost()
    if (!this.#insideAltstack(xstate, this.platform.xstateSize) || (xstate & 15) !== 0) return this.#lost()
    this.#inSlot = false
    this.#xstate = xstate
    this.regs.useFrame(slots.at(this.slot, registers))
    if (reason === STOP_SYSCALL_TRAP) {
      // A 32-bit entry has numbers of its own: -1 is none of ours.
      const arch = slots.u32[base + (SLOT.fault_code >> 2)]
      this.syscallNumber = arch === AUDIT_ARCH_X86_64 ? this.regs.number : 0xffffffff
      this.space.patcher.trapped(this, this.regs.get(REG_RIP))
      return STOP_SYSCALL
    }
    if (reason === STUB_FAULT) {
      const signo = slots.u32[base + (SLOT.fault_signo >> 2)]!
      if (!FAULT_SIGNALS.has(signo)) return this.#lost()
      this.fault.signo = signo
      this.fault.code = slots.i32[base + (SLOT.fault_code >> 2)]!
      this.fault.addr = slots.get64(base + (SLOT.fault_address >> 2))
      this.fault.trapno = slots.get64(base + (SLOT.fault_trapno >> 2))
      this.fault.err = slots.get64(base + (SLOT.fault_error >> 2))
      return STOP_FAULT
    }
    return reason === STUB_KICK ? STOP_KICK : this.#lost()
  }

  #insideAltstack(offset: number, length: number): boolean {
    return (
      offset >= SLOT_ALTSTACK && offset + length <= SLOT_ALTSTACK + SLOT_ALTSTACK_SIZE && (offset & 7) === 0
    )
  }

  /** What the slot says can't be: the guest wrote into it. Its process ends. */
  #lost(): number {
    this.space.destroy()
    return STOP_DEAD
  }

  #prefetchedEnd(): number {
    let end = 0
    if (this.#prefetched > PREFETCH_PIECES) this.#prefetched = PREFETCH_PIECES
    for (let i = 0; i < this.#prefetched; i++) {
      const at = this.platform.slots.at(this.slot, SLOT.prefetched + i * PREFETCHED.size)
      end = Math.max(end, this.platform.slots.u32[at + 3]! + this.platform.slots.u32[at + 2]!)
    }
    return end > BOUNCE_LIMIT ? BOUNCE_LIMIT : (end + 15) & ~15
  }

  /** The bytes that came along with the call from `address` on, or undefined. */
  prefetched(address: number): Uint8Array | undefined {
    const slots = this.platform.slots
    for (let i = 0; i < this.#prefetched; i++) {
      const at = slots.at(this.slot, SLOT.prefetched + i * PREFETCHED.size)
      const from = slots.get64(at)
      const length = slots.u32[at + 2]!
      const offset = slots.u32[at + 3]!
      if (address < from || address >= from + length) continue
      if (offset + length > BOUNCE_LIMIT) return undefined
      const start = slots.bounce(this.slot) + offset + (address - from)
      return slots.bytes.subarray(start, start + length - (address - from))
    }
    return undefined
  }

  // Operations.

  /** Adds an operation to the next reply: its number. Makes room by an exchange when the list is full. */
  queue(kind: number, nr: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    if (this.#opCount >= OP_COUNT - 4) this.flush()
    this.platform.slots.putOp(this.slot, this.#opCount, kind, nr, a0, a1, a2, a3, a4, a5)
    return this.#opCount++
  }

  /** Makes room for `count` operations that must go out together: descriptors live from one reply to the next only. */
  makeRoom(count: number): void {
    if (this.#opCount + count >= OP_COUNT - 4) this.flush()
  }

  /**
   * Whether the last operations queued pass `fd` to the stub: then its closing is taken back, and it may be used once more.
   */
  continuesWith(fd: number): boolean {
    if (fd !== this.#passedFd || this.#opCount !== this.#passedEnd) return false
    if (this.platform.host.closes !== this.#passedCloses || this.#opCount + 2 >= OP_COUNT - 4) return false
    this.#opCount--
    return true
  }
  /** The last operations queued pass `fd`, and close it in the stub. */
  endsWith(fd: number): void {
    this.#passedFd = fd
    this.#passedCloses = this.platform.host.closes
    this.#passedEnd = this.#opCount
  }

  /** Replaces an argument of queued operation `n` by a value of two words. */
  putArgument(n: number, argument: number, lo: number, hi: number): void {
    const at = this.platform.slots.at(this.slot, SLOT.ops + n * OP.size + OP.a0) + argument * 2
    this.platform.slots.u32[at] = lo
    this.platform.slots.u32[at + 1] = hi
  }

  /** Has the stub do what is queued, now. Negative errno when the process died. */
  exchange(): Status {
    if (this.dead) return -ESRCH
    const count = this.#opCount
    this.#opCount = 0
    this.#passedFd = -1
    const status = this.platform.addon.exchange(this.slot, count, this.space.pidfd, POLLIN)
    if (status < 0) {
      this.space.died()
      return -ESRCH
    }
    this.#bounceTop = this.#prefetchedEnd()
    return 0
  }

  /** Does what was put off: outgoing bytes that must be seen before the next look. */
  flush(): void {
    if (this.#opCount > 0) this.exchange()
  }

  /** One operation at once: its result, or -ESRCH. */
  operate(kind: number, nr: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0): number {
    const n = this.queue(kind, nr, a0, a1, a2, a3, a4, a5)
    const status = this.exchange()
    return status < 0 ? status : this.platform.slots.opResult(this.slot, n)
  }

  /** The result of operation `n` of the last exchange. */
  result(n: number): number {
    return this.platform.slots.opResult(this.slot, n)
  }

  hostCall(nr: number, a0: number, a1: number, a2: number, a3: number, a4: number, a5: number): number {
    return this.operate(OP_SYSCALL, nr, a0, a1, a2, a3, a4, a5)
  }
  hostCallLater(nr: number, a0: number, a1: number, a2: number, a3: number): void {
    this.queue(OP_ATTEMPT, nr, a0, a1, a2, a3)
  }

  /** Whether the stub looks at its slot right now, so that an exchange is cheap. */
  get attentive(): boolean {
    return this.platform.slots.u32[this.platform.slots.at(this.slot, SLOT.state)] !== STATE_SLEEP
  }

  /** Copies guest memory by way of the bounce buffer: bytes read before a fault. At most 32 KiB. */
  copyIn(address: number, into: Uint8Array): number {
    if (this.#bounceTop + into.length > BOUNCE_LIMIT) return -EFAULT
    const offset = this.#bounceTop
    const n = this.operate(OP_COPY_IN, 0, address, offset, into.length)
    if (n <= 0) return n < 0 ? n : -EFAULT
    const count = Math.min(n, into.length)
    const start = this.platform.slots.bounce(this.slot) + offset
    into.set(this.platform.slots.bytes.subarray(start, start + count))
    return count
  }

  /** Puts off a copy into guest memory until the reply: false when there is no room. */
  copyOutLater(address: number, from: Uint8Array): boolean {
    if (this.#bounceTop + from.length > BOUNCE_LIMIT || this.#opCount >= OP_COUNT - 4) return false
    this.platform.slots.bytes.set(from, this.platform.slots.bounce(this.slot) + this.#bounceTop)
    this.queue(OP_COPY_OUT, 0, address, this.#bounceTop, from.length)
    this.#bounceTop = (this.#bounceTop + from.length + 15) & ~15
    return true
  }

  /**
   * Copies bytes of one page in (or, `writes`, out of) the guest's memory while the page has the protection `meanwhile`
   * instead of `prot`, all in one exchange: the count of bytes, or -EFAULT.
   */
  moveUnprotected(
    address: number,
    bytes: Uint8Array,
    writes: boolean,
    meanwhile: number,
    prot: number,
  ): number {
    const page = address - (address % PAGE_SIZE)
    if (this.#bounceTop + bytes.length > BOUNCE_LIMIT) this.flush()
    this.makeRoom(3)
    const offset = this.#bounceTop
    const start = this.platform.slots.bounce(this.slot) + offset
    if (writes) this.platform.slots.bytes.set(bytes, start)
    this.queue(OP_SYSCALL, NR.mprotect, page, PAGE_SIZE, meanwhile)
    const copy = this.queue(writes ? OP_COPY_OUT : OP_COPY_IN, 0, address, offset, bytes.length)
    this.queue(OP_SYSCALL, NR.mprotect, page, PAGE_SIZE, prot)
    if (this.exchange() < 0) return -EFAULT
    const result = this.result(copy)
    if (writes) return result === 0 ? bytes.length : -EFAULT
    if (result <= 0) return -EFAULT
    const count = Math.min(result, bytes.length)
    bytes.set(this.platform.slots.bytes.subarray(start, start + count))
    return count
  }

  /** Lays bytes out for an operation that is put off until the reply: their address in the process, 0 without room. */
  stage(bytes: Uint8Array): number {
    if (this.#bounceTop + bytes.length > BOUNCE_LIMIT) return 0
    const offset = this.#bounceTop
    this.platform.slots.bytes.set(bytes, this.platform.slots.bounce(this.slot) + offset)
    this.#bounceTop = (offset + bytes.length + 15) & ~15
    return SLOTS + this.local * SLOT_SIZE + SLOT_BOUNCE + offset
  }

  setName(name: string): void {
    if (this.dead) return
    const bytes = new Uint8Array(TASK_COMM_LEN)
    for (let i = 0; i < name.length && i < TASK_COMM_LEN - 1; i++) bytes[i] = name.charCodeAt(i)
    const address = this.stage(bytes)
    if (address !== 0) this.queue(OP_ATTEMPT, NR.prctl, PR_SET_NAME, address)
  }

  // Registers and extended state.

  materialize(): Status {
    return this.saveExtendedState() ? this.exchange() : 0
  }
  /** Has the next exchange save the extended state where it is still in the CPU: whether it must come first. */
  saveExtendedState(): boolean {
    if (this.#xstate !== 0) return false
    this.queue(OP_XSAVE, 0)
    this.#xstate = SLOT_XSTATE
    return true
  }
  get stateFeatures(): number {
    return this.platform.xstateMask
  }
  extendedStateSize(): number {
    return frameXstateSize(this.platform.xstateSize)
  }
  readExtendedState(into: Uint8Array): void {
    const from = this.slot * SLOT_SIZE + this.#xstate
    buildFrameXstate(
      into,
      this.platform.slots.bytes.subarray(from, from + this.platform.xstateSize),
      this.platform.xstateSize,
      this.platform.xstateMask,
    )
  }
  writeExtendedState(from: Uint8Array): Status {
    const size = this.platform.xstateSize
    const image = from.length === 0 ? initialXstate(size) : from
    if (!validXstate(image, size, this.platform.xstateMask)) return -EINVAL
    // In a signal frame the words behind the image stay the host's own; in the slot XRSTOR takes the plain image.
    if (this.#inSlot) {
      this.#xstate = SLOT_XSTATE
      this.#restoreXstate = true
    }
    const at = this.slot * SLOT_SIZE + this.#xstate
    const bytes = this.platform.slots.bytes
    bytes.set(image.subarray(0, 464), at)
    bytes.set(image.subarray(512, Math.min(size, image.length)), at + 512)
    return 0
  }

  /** A child's first state is its parent's: registers and extended state, into the slot. */
  inherit(parent: SystrapThread): void {
    const slots = this.platform.slots
    this.regs.useSlot(slots.at(this.slot, 0))
    for (let reg = 0; reg < REG_COUNT; reg++) this.regs.set(reg, parent.regs.lo(reg), parent.regs.hi(reg))
    this.syscallNumber = parent.syscallNumber
    this.#cpus = parent.#cpus
    const from = parent.slot * SLOT_SIZE + parent.#xstate
    const target = this.slot * SLOT_SIZE + SLOT_XSTATE
    slots.bytes.copyWithin(target, from, from + this.platform.xstateSize)
    this.#inSlot = true
    this.#xstate = SLOT_XSTATE
    this.#restoreXstate = true
    if (parent.space.patcher.withdrawn) slots.put64(slots.at(this.slot, SLOT.gs), parent.getGsBase())
  }

  getFsBase(): number {
    if (this.#fsBase < 0) this.#readBases()
    return this.#fsBase
  }
  setFsBase(address: number): void {
    this.queue(OP_SET_FS, 0, address)
    this.#fsBase = address
  }
  /** Both at once: who asks for one asks for the other as a rule. */
  #readBases(): void {
    const fs = this.queue(OP_GET_FS, 0)
    const gs = this.queue(OP_GET_GS, 0)
    const alive = this.exchange() === 0
    this.#fsBase = alive ? this.#wideResult(fs) : 0
    this.#gsBase = alive ? this.#wideResult(gs) : 0
  }
  #wideResult(n: number): number {
    return this.platform.slots.get64(this.platform.slots.at(this.slot, SLOT.ops + n * OP.size + OP.result))
  }
  getGsBase(): number {
    const slots = this.platform.slots
    if (this.#inSlot) {
      const base = slots.get64(slots.at(this.slot, SLOT.gs))
      return base === this.#stubGs ? 0 : base
    }
    if (this.#gsBase < 0) this.#readBases()
    return this.#gsBase
  }
  /**
   * GS is the stub's, which finds the thread's slot by it, as long as a process does not set it. From then on its calls come
   * by traps, where the alternate stack tells the slot. -EAGAIN: this very call must come so.
   */
  setGsBase(address: number): Status {
    if (this.#inSlot && address === 0) return 0
    this.space.patcher.withdraw()
    if (this.#inSlot) return -EAGAIN
    this.queue(OP_SET_GS, 0, address)
    this.#gsBase = address
    return 0
  }

  usage(): SpaceUsage | undefined {
    return this.dead || !this.stopped ? undefined : this.space.usageOf(this, RUSAGE_THREAD)
  }

  /** CPU time of the host thread in ns. */
  cpuTime(): number {
    if (this.dead) return 0
    // Alone in its process from the beginning, it can be asked from outside.
    if (this.space.threads.size === 1 && !this.space.lostThreads) return this.space.cpuTime()
    if (!this.stopped) return 0
    const offset = BOUNCE_LIMIT - 16
    const address = SLOTS + this.local * SLOT_SIZE + SLOT_BOUNCE + offset
    if (this.operate(OP_SYSCALL, NR.clock_gettime, 3, address) < 0) return 0
    const at = this.platform.slots.at(this.slot, SLOT_BOUNCE + offset)
    return this.platform.slots.get64(at) * 1e9 + this.platform.slots.get64(at + 2)
  }

  setCpus(cpus: readonly number[] | undefined): Status {
    if (this.dead || sameCpus(cpus, this.#cpus)) return 0
    const { addon, cpus: all } = this.platform
    const mask = maskOfCpus(cpus ?? all, CPU_MASK_SIZE)
    const status = addon.setCpus(this.space.pid, this.tid, mask)
    if (status >= 0) this.#cpus = cpus
    return Math.min(status, 0)
  }
  lastCpu(): number | undefined {
    return this.dead ? undefined : this.platform.lastCpu?.(this.space.pid, this.tid)
  }

  /** The base by which the stub finds the slot. */
  get #stubGs(): number {
    return SLOTS + this.local * SLOT_SIZE
  }

  /**
   * The trap flag. Behind a stop by a signal the host's kernel sets it with all other flags; a thread that leaves by the stub's
   * exit is carried by iretq, as if it had a GS of its own, so that the first instruction to trap is the guest's.
   */
  setStepping(on: boolean): boolean {
    const flags = this.regs.lo(REG_EFLAGS)
    const wanted = on ? flags | TRAP_FLAG : flags & ~TRAP_FLAG
    this.regs.set(REG_EFLAGS, wanted, 0)
    const gs = this.platform.slots.at(this.slot, SLOT.gs)
    const own = this.#stubGs
    const base = this.platform.slots.get64(gs)
    if (on && base === 0) this.platform.slots.put64(gs, own)
    else if (!on && base === own) this.platform.slots.put64(gs, 0)
    return wanted !== flags
  }

  // Going on.

  park(): void {
    this.flush()
    this.#setSpin(0)
    if (this.space.active === this) this.space.active = undefined
    this.#prefetched = 0
    this.#bounceTop = 0
  }

  /** Written only when it changes: the word lies in a cache line that the stub has for itself otherwise. */
  #setSpin(spin: number): void {
    const at = this.platform.slots.at(this.slot, SLOT.spin)
    if (this.platform.slots.u32[at] !== spin) this.platform.slots.u32[at] = spin
  }

  resume(result?: number): void {
    if (this.dead) return
    if (result !== undefined) this.regs.put(REG_RAX, result)
    if (this.regs.ipTouched) this.space.patcher.finishSite(this)
    this.goOn(COMMAND_RESUME)
  }

  /** With the registers that are in the slot or in the frame. */
  goOn(command: number): void {
    if (this.#restoreXstate) {
      this.queue(OP_XRSTOR, 0)
      this.#restoreXstate = false
    }
    if (this.kicked) {
      this.kicked = false
      this.platform.slots.u32[this.platform.slots.at(this.slot, SLOT.interrupt)] = 0
    }
    this.#fsBase = this.#gsBase = -1
    this.#send(command)
    this.stopped = false
    if (this.space.active === this) this.space.active = undefined
  }

  #send(command: number): void {
    const count = this.#opCount
    this.#opCount = 0
    this.#passedFd = -1
    this.platform.addon.resume(this.slot, command | (count << 8))
  }

  /** The stub answers call `index` (CONSTANT_*) itself from now on. */
  setConstant(index: number, value: number): void {
    const slots = this.platform.slots
    slots.i32[slots.at(this.slot, SLOT.constant) + index] = value
    slots.u32[slots.at(this.slot, SLOT.constants)]! |= 1 << index
  }
  /** All calls come to the kernel again. */
  clearConstants(): void {
    this.platform.slots.u32[this.platform.slots.at(this.slot, SLOT.constants)] = 0
  }

  kick(): void {
    if (this.stopped || this.dead || this.tid === 0) return
    this.kicked = true
    this.platform.addon.kick(this.slot, this.space.pid, this.tid)
  }

  exit(): void {
    if (this.dead) return
    this.#send(COMMAND_EXIT)
    this.dead = true
    this.stopped = true
    if (this.space.active === this) this.space.active = undefined
    this.platform.addon.forgetSlot(this.slot)
    this.space.threadExited(this)
  }

  /** compareFlags for a site whose `cmp` is overwritten: see patcher.ts. */
  finishCompare(immediate: number, next: number): void {
    const flags = compareFlags(
      this.regs.lo(REG_EFLAGS),
      this.regs.lo(REG_RAX),
      this.regs.hi(REG_RAX),
      immediate,
    )
    this.regs.set(REG_EFLAGS, flags, 0)
    this.regs.put(REG_RIP, next)
  }

  static readonly BOUNCE_LIMIT = Math.min(BOUNCE_LIMIT, SLOT_BOUNCE_SIZE)
}

function sameCpus(a: readonly number[] | undefined, b: readonly number[] | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.length === b.length && a.every((cpu, i) => cpu === b[i])
}
