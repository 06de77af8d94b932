/** What all address spaces of one kernel share: the machine's facts, randomness, and the buffers for guest memory access. */
import type { Host } from '../platform/host.ts'
import type { Platform } from '../platform/platform.ts'
import { UserAccess } from './user-access.ts'

export class MmContext {
  /** Guest addresses end here (exclusive): TASK_SIZE. */
  readonly addressLimit: number
  /** Where the platform has mapped the vDSO, 0 if nowhere. */
  readonly vdso: number
  readonly vdsoSize: number
  /** Where its data pages begin, below it. */
  readonly vvar: number
  readonly access: UserAccess
  /** Pages whose faults guests serve (fault-area.ts), of all address spaces. */
  faultPages = 0
  readonly #random: (into: Uint8Array) => void
  readonly #words = new Uint32Array(64)
  #word = 64
  #nextInode = 1

  constructor(
    platform: Pick<Platform, 'addressLimit' | 'vdso' | 'vdsoSize' | 'vvar'>,
    host: Pick<Host, 'random'>,
  ) {
    this.addressLimit = platform.addressLimit
    this.vdso = platform.vdso
    this.vdsoSize = platform.vdsoSize
    this.vvar = platform.vvar || platform.vdso
    this.access = new UserAccess()
    this.#random = into => host.random(into)
  }

  random(into: Uint8Array): void {
    this.#random(into)
  }

  /** An unpredictable whole number in [0, limit); limit at most 2^32. */
  randomBelow(limit: number): number {
    if (this.#word === this.#words.length) {
      this.#random(new Uint8Array(this.#words.buffer))
      this.#word = 0
    }
    const word = this.#words[this.#word]!
    // Used words are forgotten, so that a leak of this memory tells nothing of layouts already chosen.
    this.#words[this.#word++] = 0
    return Math.floor((word / 0x100000000) * limit)
  }

  /** The inode number under which /proc/PID/maps shows a shared anonymous mapping. */
  nextSharedInode(): number {
    return this.#nextInode++
  }
}
