/**
 * HostRoom: whether the machine has memory for more pages of files. Where no limit is set a guest could fill memory until the
 * host's kernel chooses somebody to kill, which would be the whole sandbox; so files end before, with ENOMEM.
 */
import type { Host } from '../../platform/host.ts'

const PAGE_SIZE = 4096
/** What stays free, in pages: 32 MiB. */
const RESERVE = 8192
/** The most that is taken between two looks: 256 MiB. */
const LONGEST = 65536

export class HostRoom {
  readonly #host: Host
  /** Pages that may still be taken before it looks again. */
  #left = 0

  constructor(host: Host) {
    this.#host = host
  }

  take(pages: number): boolean {
    this.#left -= pages
    if (this.#left >= 0) return true
    const room = this.#available() - RESERVE - pages
    this.#left = Math.max(0, Math.min(Math.floor(room / 4), LONGEST))
    return room >= 0
  }

  #available(): number {
    const text = this.#host.fact('proc/meminfo')
    const free = /^MemAvailable:\s+(\d+) kB/m.exec(text)
    if (free === null) return Number.POSITIVE_INFINITY
    const swap = Number(/^SwapFree:\s+(\d+) kB/m.exec(text)?.[1] ?? 0)
    return ((Number(free[1]) + swap) * 1024) / PAGE_SIZE
  }
}
