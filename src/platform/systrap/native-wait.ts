/**
 * Waits of a thread in host calls that it makes by itself: futex(2) and its like, on the guest's memory. See
 * wait_natively in native/stub/stub.c. The call, its deadline and whether its end is to be reported lie in the slot; a
 * thread that waits so runs, as far as the kernel is concerned.
 */
import { FUTEX_WAKE } from '../../abi/constants.ts'
import {
  COMMAND_WAIT,
  CONSTANT_FUTEX,
  OP_SYSCALL,
  SLOT,
  STATE_WAIT,
  WAIT,
  WAIT_DEADLINE,
  WAIT_REPORT,
} from '../../abi/protocol.ts'
import { NR } from '../../abi/syscall-numbers.ts'
import type { NativeCall, NativeWaitState, NativeWaits } from '../platform.ts'
import type { Slots } from './slots.ts'
import type { SystrapThread } from './thread.ts'

const FUTEX_BIT = 1 << CONSTANT_FUTEX

export class SystrapWaits implements NativeWaits {
  readonly #thread: SystrapThread
  readonly #slots: Slots
  /** Where the slot is. */
  readonly #slot: number
  /** The end of the wait is to be reported. */
  reports = false

  constructor(thread: SystrapThread) {
    this.#thread = thread
    this.#slots = thread.platform.slots
    this.#slot = thread.slot
  }

  #at(field: number): number {
    return this.#slots.at(this.#slot, field)
  }

  start(call: NativeCall, report: boolean): void {
    const thread = this.#thread
    if (thread.dead) return
    const slots = this.#slots
    const at = this.#at(SLOT.wait)
    slots.u32[at + (WAIT.nr >> 2)] = call.nr
    const { deadline } = call
    slots.u32[at + (WAIT.flags >> 2)] =
      (deadline === undefined ? 0 : WAIT_DEADLINE) | (report ? WAIT_REPORT : 0)
    for (let i = 0; i < 6; i++) slots.put64(at + (WAIT.args >> 2) + i * 2, call.args[i] ?? 0)
    if (deadline !== undefined) {
      slots.put64(at + (WAIT.deadline >> 2), deadline.sec)
      slots.put64(at + (WAIT.deadline >> 2) + 2, deadline.nsec)
    }
    this.reports = report
    if (thread.regs.ipTouched) thread.space.patcher.enterSite(thread)
    thread.goOn(COMMAND_WAIT)
  }

  interruptedDeadline(): { sec: number; nsec: number } | undefined {
    const slots = this.#slots
    const at = this.#at(SLOT.wait)
    if ((slots.u32[at + (WAIT.flags >> 2)]! & WAIT_DEADLINE) === 0) return undefined
    const deadline = at + (WAIT.deadline >> 2)
    return { sec: slots.get64(deadline), nsec: slots.get64(deadline + 2) }
  }

  /** Whether it waits by what its slot says; it may end that at any moment. */
  get #waits(): boolean {
    return !this.#thread.stopped && Atomics.load(this.#slots.u32, this.#at(SLOT.state)) === STATE_WAIT
  }

  current(): NativeWaitState | undefined {
    if (!this.#waits) return undefined
    const word = (field: number): number => this.#slots.get64(this.#at(field))
    return {
      nr: this.#slots.u32[this.#at(SLOT.rax)]!,
      args: [SLOT.rdi, SLOT.rsi, SLOT.rdx, SLOT.r10, SLOT.r8, SLOT.r9].map(word),
      sp: word(SLOT.rsp),
      ip: this.#thread.space.patcher.siteOf(word(SLOT.rip)),
    }
  }

  allowFutexes(): void {
    this.#slots.u32[this.#at(SLOT.constants)]! |= FUTEX_BIT
  }

  queueWake(address: number): void {
    this.#thread.queue(OP_SYSCALL, NR.futex, address, FUTEX_WAKE, 1)
  }

  /**
   * Keeps a thread that waits from guest code, for a moment: false if it runs. `release` lets it go; one that came out of its
   * wait meanwhile stops as by a kick.
   */
  hold(): boolean {
    if (!this.#waits) return false
    // Seen by the stub after it has left the state that is read here, or before the wait begins: see wait_natively.
    Atomics.store(this.#slots.u32, this.#at(SLOT.interrupt), 1)
    if (this.#waits) return true
    this.release()
    return false
  }
  release(): void {
    if (!this.#thread.kicked) Atomics.store(this.#slots.u32, this.#at(SLOT.interrupt), 0)
  }

  /** While held: where it goes on in guest code. */
  get heldIp(): number {
    return this.#slots.get64(this.#at(SLOT.rip))
  }
  set heldIp(ip: number) {
    this.#slots.put64(this.#at(SLOT.rip), ip)
  }
}
