/** What a tmpfs may use: pages of data and inodes. Infinity: no limit. */
import { ENOSPC } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'

export const PAGE_SIZE = 4096
/** Mapped files are counted anew each time that so many pages have been charged: 16 MiB. */
const RECOUNT_PAGES = 4096

/** A file whose pages may come to be without being charged. */
export interface MappedFile {
  recount(): void
  /** Whether mappings have made pages since it was asked last. */
  takeGrowth(): boolean
}

export class Quota {
  maxPages: number
  maxInodes: number
  pages = 0
  inodes = 0
  readonly mapped = new Set<MappedFile>()
  /** Pages that mappings may still make, as of the last count. */
  holes = 0
  /** Called once when these have become more than there is room for; again only after `atRisk` was found to be over. */
  onRisk: (() => void) | undefined = undefined
  #riskTold = false
  #sinceRecount = 0

  constructor(maxPages = Number.POSITIVE_INFINITY, maxInodes = Number.POSITIVE_INFINITY) {
    this.maxPages = maxPages
    this.maxInodes = maxInodes
  }

  /** Takes `count` pages, all or none. */
  chargePages(count: number): Status {
    this.#sinceRecount += count
    if (this.#sinceRecount >= RECOUNT_PAGES && this.mapped.size > 0) this.recount()
    if (this.pages + count > this.maxPages) return -ENOSPC
    this.adjustPages(count)
    return 0
  }
  /** Pages that are already in use, limit or not. */
  adjustPages(delta: number): void {
    this.pages += delta
    if (this.holes > 0) this.#tellRisk()
  }
  adjustHoles(delta: number): void {
    this.holes += delta
    if (delta > 0) this.#tellRisk()
  }
  #tellRisk(): void {
    if (this.#riskTold || this.holes <= this.freePages || this.onRisk === undefined) return
    this.#riskTold = true
    this.onRisk()
  }
  /** Whether mappings could take more than there is. */
  get atRisk(): boolean {
    if (this.holes <= this.freePages) this.#riskTold = false
    return this.#riskTold
  }
  /** Charges what mappings have made. */
  recount(): void {
    this.#sinceRecount = 0
    for (const file of this.mapped) file.recount()
  }
  /** The files to which mappings have added since the last time. */
  takeGrown(): Set<MappedFile> {
    const grown = new Set<MappedFile>()
    for (const file of this.mapped) if (file.takeGrowth()) grown.add(file)
    return grown
  }
  get freePages(): number {
    return Math.max(0, this.maxPages - this.pages)
  }

  chargeInode(): Status {
    if (this.inodes + 1 > this.maxInodes) return -ENOSPC
    this.inodes++
    return 0
  }
  releaseInode(): void {
    this.inodes--
  }
}
