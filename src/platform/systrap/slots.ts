/**
 * The arena: every slot of every guest process, side by side, as the sentry sees them. One set of typed arrays serves
 * all, so that reading a register is one indexed load. What is read here was written by a guest: each value is read
 * once and checked before use.
 */
import { OP, OP_COUNT, SLOT, SLOT_BOUNCE, SLOT_SIZE, SLOT_STACK_TOP, SLOTS } from '../../abi/protocol.ts'

const WORD = 4294967296

export class Slots {
  readonly u32: Uint32Array
  readonly i32: Int32Array
  readonly bytes: Uint8Array
  readonly #count: number
  /** Places that were given back; from #fresh on none has been taken yet. */
  readonly #free: number[] = []
  #fresh = 0

  constructor(arena: Uint8Array, count: number) {
    this.u32 = new Uint32Array(arena.buffer)
    this.i32 = new Int32Array(arena.buffer)
    this.bytes = arena
    this.#count = count
  }

  /** A free place, or undefined when all are taken. */
  take(): number | undefined {
    return this.#free.pop() ?? (this.#fresh < this.#count ? this.#fresh++ : undefined)
  }
  give(slot: number): void {
    this.#free.push(slot)
  }

  /** Index in u32 of a header field of slot. */
  at(slot: number, field: number): number {
    return (slot * SLOT_SIZE + field) >>> 2
  }

  /** The first words of a new thread's slot; `local` is its index in its process, `spin` how long it may
   * wait for its first reply before it sleeps. */
  initialize(slot: number, local: number, spin: number): void {
    const base = slot * SLOT_SIZE
    this.bytes.fill(0, base, base + SLOT.size)
    this.u32[this.at(slot, SLOT.spin)] = spin
    this.put64(this.at(slot, SLOT.self), SLOTS + local * SLOT_SIZE)
    this.put64(this.at(slot, SLOT.stack_top), SLOTS + local * SLOT_SIZE + SLOT_STACK_TOP)
  }

  /** Stores a double as 64 bits; negative values are sign-extended. */
  put64(index: number, value: number): void {
    this.u32[index] = value
    this.u32[index + 1] = Math.floor(value / WORD)
  }
  /** 64 bits as an unsigned double. */
  get64(index: number): number {
    return this.u32[index + 1]! * WORD + this.u32[index]!
  }
  /** 64 bits as a signed double. */
  getSigned64(index: number): number {
    return this.i32[index + 1]! * WORD + this.u32[index]!
  }

  /** Writes operation number `n`. */
  putOp(
    slot: number,
    n: number,
    kind: number,
    nr: number,
    a0: number,
    a1: number,
    a2: number,
    a3: number,
    a4: number,
    a5: number,
  ): void {
    if (n >= OP_COUNT) throw new Error('too many operations in one reply')
    const at = this.at(slot, SLOT.ops + n * OP.size)
    this.u32[at] = kind
    this.u32[at + 1] = nr
    this.put64(at + 2, a0)
    this.put64(at + 4, a1)
    this.put64(at + 6, a2)
    this.put64(at + 8, a3)
    this.put64(at + 10, a4)
    this.put64(at + 12, a5)
  }
  opResult(slot: number, n: number): number {
    return this.getSigned64(this.at(slot, SLOT.ops + n * OP.size + OP.result))
  }

  /** The bounce buffer of a slot: offset in `bytes`. */
  bounce(slot: number): number {
    return slot * SLOT_SIZE + SLOT_BOUNCE
  }
}
