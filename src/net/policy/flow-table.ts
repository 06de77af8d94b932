/**
 * FlowTable: flows that were decided on, by the addresses and ports of both ends. A fixed piece of memory in sets of four, so
 * that a packet costs no allocation and nobody can fill it: a new flow takes the place of the one of its set that was quiet
 * for longest. What was forgotten is only asked about again.
 */

const SETS = 2048
const WAYS = 4
/** Local and remote address, ports, protocol, when it was used (seconds). */
const WORDS = 11
const PORTS = 8
const PROTOCOL = 9
const USED = 10

export class FlowTable {
  readonly #words = new Uint32Array(SETS * WAYS * WORDS)
  readonly #seed: number

  /** `seed`: so that nobody outside can tell which flows share a set. */
  constructor(seed: number) {
    this.#seed = seed | 0
  }

  /** The flow's place, for `used` and `touch`; -1 when it isn't known. */
  find(
    local: Uint32Array,
    remote: Uint32Array,
    localPort: number,
    remotePort: number,
    protocol: number,
  ): number {
    const ports = ((localPort << 16) | remotePort) >>> 0
    const words = this.#words
    const first = this.#set(local, remote, ports, protocol)
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * WORDS
      if (words[at + PORTS] !== ports || words[at + PROTOCOL] !== protocol + 1) continue
      if (same(words, at, local) && same(words, at + 4, remote)) return at
    }
    return -1
  }

  /** Remembers a flow that `find` doesn't know; `now` in seconds. */
  add(
    local: Uint32Array,
    remote: Uint32Array,
    localPort: number,
    remotePort: number,
    protocol: number,
    now: number,
  ): void {
    const ports = ((localPort << 16) | remotePort) >>> 0
    const words = this.#words
    const first = this.#set(local, remote, ports, protocol)
    let place = first
    for (let way = 1; way < WAYS; way++) {
      const at = first + way * WORDS
      if (words[at + USED] < words[place + USED]) place = at
    }
    words.set(local, place)
    words.set(remote, place + 4)
    words[place + PORTS] = ports
    // An empty place has 0 here.
    words[place + PROTOCOL] = protocol + 1
    words[place + USED] = now
  }

  used(place: number): number {
    return this.#words[place + USED]
  }
  touch(place: number, now: number): void {
    this.#words[place + USED] = now
  }

  /** Where the set of a flow begins. */
  #set(local: Uint32Array, remote: Uint32Array, ports: number, protocol: number): number {
    let hash = this.#seed ^ protocol
    for (let i = 0; i < 4; i++) {
      hash = Math.imul(hash ^ local[i], 0x9e3779b1)
      hash = Math.imul((hash >>> 15) ^ hash ^ remote[i], 0x85ebca6b)
    }
    hash = Math.imul((hash >>> 13) ^ hash ^ ports, 0xc2b2ae35)
    return ((hash ^ (hash >>> 16)) & (SETS - 1)) * WAYS * WORDS
  }
}

function same(words: Uint32Array, at: number, address: Uint32Array): boolean {
  return (
    words[at + 3] === address[3] &&
    words[at + 2] === address[2] &&
    words[at + 1] === address[1] &&
    words[at] === address[0]
  )
}
