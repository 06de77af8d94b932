/**
 * General registers of a stopped thread, in place: in its slot, where the first cache line has those that a plain call
 * needs, or in the signal frame on its alternate stack.
 *
 * The instruction pointer has two faces: inside a trampoline, the guest is to see the address of the call site that
 * was patched. It is translated when somebody looks, and what somebody sets is checked when the thread goes on.
 */
import { SLOT } from '../../abi/protocol.ts'
import { REG_RAX, REG_RIP, type Registers } from '../platform.ts'
import type { Patcher } from './patcher-x86-64.ts'
import type { Slots } from './slots.ts'

const WORD = 4294967296

/** Word offset of each register from the base: in struct sigcontext, and in a slot. */
const FRAME_ORDER = Int32Array.from({ length: 18 }, (_, reg) => reg * 2)
const SLOT_ORDER = Int32Array.from(
  [
    SLOT.r8,
    SLOT.r9,
    SLOT.r10,
    SLOT.r11,
    SLOT.r12,
    SLOT.r13,
    SLOT.r14,
    SLOT.r15,
    SLOT.rdi,
    SLOT.rsi,
    SLOT.rbp,
    SLOT.rbx,
    SLOT.rdx,
    SLOT.rax,
    SLOT.rcx,
    SLOT.rsp,
    SLOT.rip,
    SLOT.eflags,
  ],
  offset => offset >>> 2,
)

export class SlotRegisters implements Registers {
  readonly #slots: Slots
  readonly #patcher: Patcher
  #base = 0
  #order = SLOT_ORDER
  /** Somebody has set the instruction pointer, or has seen it translated: it must be looked at before the resume. */
  ipTouched = false

  constructor(slots: Slots, patcher: Patcher) {
    this.#slots = slots
    this.#patcher = patcher
  }

  /** The registers are in the slot, at `base` of u32. */
  useSlot(base: number): void {
    this.#base = base
    this.#order = SLOT_ORDER
    this.ipTouched = false
  }
  /** They are in a frame, whose first register is at `base`. Where a frame goes on, nobody knows before it is looked at. */
  useFrame(base: number): void {
    this.#base = base
    this.#order = FRAME_ORDER
    this.ipTouched = true
  }

  #at(reg: number): number {
    return this.#base + this.#order[reg]!
  }
  lo(reg: number): number {
    if (reg === REG_RIP) this.#translate()
    return this.#slots.u32[this.#at(reg)]!
  }
  hi(reg: number): number {
    if (reg === REG_RIP) this.#translate()
    return this.#slots.u32[this.#at(reg) + 1]!
  }
  set(reg: number, lo: number, hi: number): void {
    if (reg === REG_RIP) this.ipTouched = true
    const at = this.#at(reg)
    this.#slots.u32[at] = lo
    this.#slots.u32[at + 1] = hi
  }
  get(reg: number): number {
    if (reg === REG_RIP) this.#translate()
    const at = this.#at(reg)
    return this.#slots.u32[at + 1]! * WORD + this.#slots.u32[at]!
  }
  put(reg: number, value: number): void {
    if (reg === REG_RIP) this.ipTouched = true
    const at = this.#at(reg)
    this.#slots.u32[at] = value
    this.#slots.u32[at + 1] = Math.floor(value / WORD)
  }
  /** The low word of rax: the call's number. */
  get number(): number {
    return this.#slots.u32[this.#at(REG_RAX)]!
  }

  #translate(): void {
    const at = this.#at(REG_RIP)
    const ip = this.#slots.u32[at + 1]! * WORD + this.#slots.u32[at]!
    const site = this.#patcher.siteOf(ip)
    if (site === ip) return
    this.#slots.u32[at] = site
    this.#slots.u32[at + 1] = Math.floor(site / WORD)
    this.ipTouched = true
  }
}

const CF = 1
const PF = 4
const AF = 16
const ZF = 64
const SF = 128
const OF = 2048

/**
 * What `cmp $immediate, %rax` leaves in the flags: used where a patched site has overwritten the instruction.
 * `immediate` is -4095 or -4096 as the site has it.
 */
export function compareFlags(flags: number, lo: number, hi: number, immediate: number): number {
  const immLo = immediate >>> 0
  const immHi = 0xffffffff
  const borrow = lo < immLo ? 1 : 0
  const resultLo = (lo - immLo) >>> 0
  const resultHi = (hi - immHi - borrow) >>> 0
  let result = flags & ~(CF | PF | AF | ZF | SF | OF)
  if (hi < immHi || (hi === immHi && borrow === 1)) result |= CF
  if (resultLo === 0 && resultHi === 0) result |= ZF
  if (resultHi >>> 31 === 1) result |= SF
  if (((hi ^ immHi) & (hi ^ resultHi)) >>> 31 === 1) result |= OF
  if (((lo ^ immLo ^ resultLo) & 0x10) !== 0) result |= AF
  let parity = resultLo & 0xff
  parity ^= parity >> 4
  parity ^= parity >> 2
  parity ^= parity >> 1
  if ((parity & 1) === 0) result |= PF
  return result
}
