/**
 * What ICMP has told of single destinations: a smaller MTU on the path (RFC 1191, RFC 8201), or a better gateway
 * (redirects). Bounded: whoever forges ICMP can't fill the memory, and nothing lasts for ever.
 */
import type { IpAddress } from '../address.ts'
import type { Random } from './runtime.ts'

export interface PathException {
  /** 0: not known. */
  mtu: number
  mtuExpires: number
  gateway: IpAddress | undefined
}

const LIMIT = 2048

export class PathExceptions {
  readonly #entries = new Map<string, PathException>()
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  find(destination: IpAddress): PathException | undefined {
    return this.#entries.size === 0 ? undefined : this.#entries.get(destination.key)
  }

  get(destination: IpAddress): PathException {
    const { key } = destination
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      if (this.#entries.size >= LIMIT) this.#dropOne()
      entry = { mtu: 0, mtuExpires: 0, gateway: undefined }
      this.#entries.set(key, entry)
    }
    return entry
  }

  clear(): void {
    this.#entries.clear()
  }

  /** Which one, nobody outside may foresee. */
  #dropOne(): void {
    let left = this.#random.below(32)
    for (const key of this.#entries.keys()) {
      if (left-- > 0) continue
      this.#entries.delete(key)
      return
    }
  }
}
