/** struct tc_ratespec and what goes with it: rates in bytes a second, times in ticks of 64 ns (PSCHED_SHIFT). */
import { TC_LINKLAYER_ATM, TC_LINKLAYER_ETHERNET } from '../../abi/constants.ts'
import { TC_RATESPEC } from '../../abi/layout.ts'
import { type Attributes, type MessageWriter, viewOf } from '../netlink/message.ts'

const LINKLAYER_MASK = 0x0f
const TICK = 64
const ATM_CELL = 53
const ATM_PAYLOAD = 48

export function ticksToNs(ticks: number): number {
  return ticks * TICK
}
export function nsToTicks(ns: number): number {
  return Math.floor(ns / TICK)
}

/** TCA_*_RATE64; 0 where none is said. */
export function readRate64(options: Attributes, type: number): number {
  const value = options.get(type)
  return value === undefined || value.length < 8 ? 0 : Number(viewOf(value).getBigUint64(0, true))
}

/** psched_ratecfg. */
export class Rate {
  readonly bytesPerSecond: number
  readonly #overhead: number
  readonly #mpu: number
  readonly #linklayer: number

  /** `at`: where the struct is; `rate64`: TCA_*_RATE64, for rates beyond 32 bits. */
  constructor(view: DataView, at: number, rate64 = 0) {
    this.bytesPerSecond = Math.max(view.getUint32(at + TC_RATESPEC.rate, true), rate64)
    this.#overhead = view.getUint16(at + TC_RATESPEC.overhead, true)
    this.#mpu = view.getUint16(at + TC_RATESPEC.mpu, true)
    this.#linklayer = view.getUint8(at + TC_RATESPEC.linklayer) & LINKLAYER_MASK || TC_LINKLAYER_ETHERNET
  }

  /** ns that so many bytes take: psched_l2t_ns. */
  time(bytes: number): number {
    let length = bytes + this.#overhead
    if (this.#linklayer === TC_LINKLAYER_ATM) length = Math.ceil(length / ATM_PAYLOAD) * ATM_CELL
    return (Math.max(length, this.#mpu) * 1e9) / this.bytesPerSecond
  }
  /** Bytes that go in so many ns: psched_ns_t2l. */
  bytes(ns: number): number {
    let length = Math.floor((ns * this.bytesPerSecond) / 1e9)
    if (this.#linklayer === TC_LINKLAYER_ATM) length = Math.floor(length / ATM_CELL) * ATM_PAYLOAD
    return Math.max(length - this.#overhead, 0)
  }

  /** psched_ratecfg_getrate. */
  write(writer: MessageWriter, at: number): void {
    writer.set32(at + TC_RATESPEC.rate, Math.min(this.bytesPerSecond, 0xffffffff))
    writer.set16(at + TC_RATESPEC.overhead, this.#overhead)
    writer.set16(at + TC_RATESPEC.mpu, this.#mpu)
    writer.set8(at + TC_RATESPEC.linklayer, this.#linklayer)
  }
  get is64(): boolean {
    return this.bytesPerSecond > 0xffffffff
  }
}
