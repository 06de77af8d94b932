/** General registers of a stopped thread, in place: in its slot (fast path) or in the signal frame on its altstack. */
import { REG_RAX, type Registers } from '../platform.ts'
import type { Slots } from './slots.ts'

const WORD = 4294967296

export class SlotRegisters implements Registers {
  readonly #slots: Slots
  /** Index in u32 of r8. */
  base = 0

  constructor(slots: Slots) {
    this.#slots = slots
  }
  lo(reg: number): number {
    return this.#slots.u32[this.base + reg * 2]!
  }
  hi(reg: number): number {
    return this.#slots.u32[this.base + reg * 2 + 1]!
  }
  set(reg: number, lo: number, hi: number): void {
    this.#slots.u32[this.base + reg * 2] = lo
    this.#slots.u32[this.base + reg * 2 + 1] = hi
  }
  get(reg: number): number {
    const at = this.base + reg * 2
    return this.#slots.u32[at + 1]! * WORD + this.#slots.u32[at]!
  }
  put(reg: number, value: number): void {
    const at = this.base + reg * 2
    this.#slots.u32[at] = value
    this.#slots.u32[at + 1] = Math.floor(value / WORD)
  }
  get number(): number {
    return this.#slots.u32[this.base + REG_RAX * 2]!
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
  if ((((hi ^ immHi) & (hi ^ resultHi)) >>> 31) === 1) result |= OF
  if (((lo ^ immLo ^ resultLo) & 0x10) !== 0) result |= AF
  let parity = resultLo & 0xff
  parity ^= parity >> 4
  parity ^= parity >> 2
  parity ^= parity >> 1
  if ((parity & 1) === 0) result |= PF
  return result
}
