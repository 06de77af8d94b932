/**
 * VmaTree: the vmas of an address space in address order, and their sums.
 *
 * Two levels: an array of chunks of at most CHUNK vmas, each an array. A search is two binary searches; an insert
 * moves at most a chunk's worth. Each chunk remembers the widest hole that ends inside it (the holes in front of its
 * vmas), so that the search for a free range looks at the vmas of only those chunks that have one. Vmas are also
 * linked in order, for walks.
 */
import { PAGE_SIZE, VM_EXEC, VM_GROWSDOWN, VM_LOCKED, VM_SHARED, VM_WRITE, type Vma } from './vma.ts'

const CHUNK = 128

/** Below a stack that grows no mapping is placed nearer than this: 256 pages, stack_guard_gap. */
export const STACK_GUARD_GAP = 256 * PAGE_SIZE

class Chunk {
  readonly vmas: Vma[]
  /** The widest hole in front of one of `vmas`; -1: to be computed. */
  widest = -1

  constructor(vmas: Vma[]) {
    this.vmas = vmas
  }
}

/** Where the hole in front of a vma ends: vm_start_gap. */
export function startGap(vma: Vma): number {
  return (vma.flags & VM_GROWSDOWN) !== 0 ? Math.max(0, vma.start - STACK_GUARD_GAP) : vma.start
}

export class VmaTree {
  #chunks: Chunk[] = []
  #last: Vma | undefined = undefined
  first: Vma | undefined = undefined
  /** The tail of the list: the highest mapping. */
  end: Vma | undefined = undefined
  count = 0

  // In bytes.
  total = 0
  peak = 0
  /** Private, writable, not stack: RLIMIT_DATA and VmData. */
  data = 0
  exec = 0
  stack = 0
  locked = 0

  /** The first vma that ends above `address`: find_vma. */
  find(address: number): Vma | undefined {
    const cached = this.#last
    if (cached !== undefined && cached.start <= address && address < cached.end) return cached
    const index = this.#chunkAbove(address)
    if (index === this.#chunks.length) return undefined
    const vmas = this.#chunks[index]!.vmas
    const vma = vmas[indexAbove(vmas, address)]!
    this.#last = vma
    return vma
  }

  /** The vma that holds `address`. */
  at(address: number): Vma | undefined {
    const vma = this.find(address)
    return vma !== undefined && vma.start <= address ? vma : undefined
  }

  /** The first vma that has a byte in [start, end). */
  intersecting(start: number, end: number): Vma | undefined {
    const vma = this.find(start)
    return vma !== undefined && vma.start < end ? vma : undefined
  }

  /** The last vma that starts below `address`. */
  before(address: number): Vma | undefined {
    const above = this.find(address)
    if (above === undefined) return this.end
    return above.start < address ? above : above.prev
  }

  /** Puts a vma where nothing is. */
  insert(vma: Vma): void {
    const next = this.find(vma.start)
    const prev = next === undefined ? this.end : next.prev
    vma.prev = prev
    vma.next = next
    if (prev === undefined) this.first = vma
    else prev.next = vma
    if (next === undefined) this.end = vma
    else next.prev = vma
    this.count++
    this.#account(vma.flags, vma.end - vma.start)
    this.#place(vma, prev ?? next)
  }

  remove(vma: Vma): void {
    const { prev, next } = vma
    if (prev === undefined) this.first = next
    else prev.next = next
    if (next === undefined) this.end = prev
    else next.prev = prev
    this.count--
    this.#account(vma.flags, vma.start - vma.end)
    if (this.#last === vma) this.#last = undefined
    const chunk = vma.chunk as Chunk
    chunk.vmas.splice(indexAbove(chunk.vmas, vma.start), 1)
    if (chunk.vmas.length === 0) this.#chunks.splice(this.#chunks.indexOf(chunk), 1)
    else chunk.widest = -1
    if (next !== undefined) (next.chunk as Chunk).widest = -1
    vma.prev = vma.next = vma.chunk = undefined
  }

  /** Moves the borders of a vma; the new range must be free apart from itself. The offset moves along. */
  resize(vma: Vma, start: number, end: number): void {
    this.#account(vma.flags, end - start - (vma.end - vma.start))
    vma.offset += start - vma.start
    vma.start = start
    vma.end = end
    ;(vma.chunk as Chunk).widest = -1
    if (vma.next !== undefined) (vma.next.chunk as Chunk).widest = -1
  }

  setFlags(vma: Vma, flags: number): void {
    const length = vma.end - vma.start
    this.#account(vma.flags, -length)
    vma.flags = flags
    this.#account(flags, length)
    ;(vma.chunk as Chunk).widest = -1
  }

  /** The start of the highest free range of `length` bytes within [low, high): -1 if there is none. */
  highestHole(low: number, high: number, length: number): number {
    let below = this.before(high)
    const above = below === undefined ? this.first : below.next
    let top = above === undefined ? high : Math.min(high, startGap(above))
    for (;;) {
      const bottom = Math.max(low, below === undefined ? 0 : below.end)
      if (top - bottom >= length) return top - length
      // On to the hole in front of `below`, past all chunks that have no hole as wide.
      while (below !== undefined && this.#widest(below) < length) below = (below.chunk as Chunk).vmas[0]!.prev
      if (below === undefined || below.start <= low) return -1
      top = startGap(below)
      below = below.prev
    }
  }

  /** The start of the lowest free range of `length` bytes within [low, high): -1 if there is none. */
  lowestHole(low: number, high: number, length: number): number {
    let above = this.find(low)
    let bottom = low
    while (above !== undefined && bottom + length <= high) {
      const vmas = (above.chunk as Chunk).vmas
      if (this.#widest(above) < length) above = vmas[vmas.length - 1]!
      else if (startGap(above) - bottom >= length) return bottom
      bottom = above.end
      above = above.next
    }
    return bottom + length <= high ? bottom : -1
  }

  /** The widest hole that ends at a vma of the same chunk. */
  #widest(of: Vma): number {
    const chunk = of.chunk as Chunk
    if (chunk.widest >= 0) return chunk.widest
    let widest = 0
    for (const vma of chunk.vmas) {
      const hole = startGap(vma) - (vma.prev === undefined ? 0 : vma.prev.end)
      if (hole > widest) widest = hole
    }
    chunk.widest = widest
    return widest
  }

  /** Index of the first chunk whose last vma ends above `address`. */
  #chunkAbove(address: number): number {
    let low = 0
    let high = this.#chunks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const vmas = this.#chunks[middle]!.vmas
      if (vmas[vmas.length - 1]!.end > address) high = middle
      else low = middle + 1
    }
    return low
  }

  /** Puts a linked vma into the chunk of its neighbour, splitting a full chunk. */
  #place(vma: Vma, neighbour: Vma | undefined): void {
    if (neighbour === undefined) {
      const chunk = new Chunk([vma])
      vma.chunk = chunk
      this.#chunks.push(chunk)
      return
    }
    const chunk = neighbour.chunk as Chunk
    const at = indexAbove(chunk.vmas, neighbour.start) + (neighbour.start < vma.start ? 1 : 0)
    chunk.vmas.splice(at, 0, vma)
    vma.chunk = chunk
    chunk.widest = -1
    if (vma.next !== undefined) (vma.next.chunk as Chunk).widest = -1
    if (chunk.vmas.length > CHUNK) {
      const upper = new Chunk(chunk.vmas.splice(CHUNK >> 1))
      for (const moved of upper.vmas) moved.chunk = upper
      this.#chunks.splice(this.#chunks.indexOf(chunk) + 1, 0, upper)
    }
  }

  /** vm_stat_account. */
  /** Nothing is mapped any more. */
  clear(): void {
    this.#chunks = []
    this.#last = this.first = this.end = undefined
    this.count = this.total = this.data = this.exec = this.stack = this.locked = 0
  }
  #account(flags: number, length: number): void {
    this.total += length
    if (this.total > this.peak) this.peak = this.total
    if ((flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN)) === VM_EXEC) this.exec += length
    else if ((flags & VM_GROWSDOWN) !== 0) this.stack += length
    else if ((flags & (VM_WRITE | VM_SHARED)) === VM_WRITE) this.data += length
    if ((flags & VM_LOCKED) !== 0) this.locked += length
  }
}

/** Index of the first of `vmas` that ends above `address`. */
function indexAbove(vmas: readonly Vma[], address: number): number {
  let low = 0
  let high = vmas.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (vmas[middle]!.end > address) high = middle
    else low = middle + 1
  }
  return low
}
