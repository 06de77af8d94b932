/** What a tmpfs may use: pages of data and inodes. Infinity: no limit. */
import { ENOSPC } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'

export const PAGE_SIZE = 4096
/** Mapped files are counted anew each time that so many pages have been charged: 16 MiB. */
const RECOUNT_PAGES = 4096

/** A file whose pages may come to be without being charged. */
export interface MappedFile {
  recount(): void
}

export class Quota {
  maxPages: number
  maxInodes: number
  pages = 0
  inodes = 0
  readonly mapped = new Set<MappedFile>()
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
    this.pages += count
    return 0
  }
  /** Pages that are already in use, limit or not. */
  adjustPages(delta: number): void {
    this.pages += delta
  }
  /** Charges what mappings have made. */
  recount(): void {
    this.#sinceRecount = 0
    for (const file of this.mapped) file.recount()
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
