/** What a tmpfs may use: pages of data and inodes. Infinity: no limit. */
import { ENOSPC } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'

export const PAGE_SIZE = 4096

export class Quota {
  maxPages: number
  maxInodes: number
  pages = 0
  inodes = 0

  constructor(maxPages = Number.POSITIVE_INFINITY, maxInodes = Number.POSITIVE_INFINITY) {
    this.maxPages = maxPages
    this.maxInodes = maxInodes
  }

  /** Takes `count` pages, all or none. */
  chargePages(count: number): Status {
    if (this.pages + count > this.maxPages) return -ENOSPC
    this.pages += count
    return 0
  }
  /** Pages that are already in use, limit or not. */
  adjustPages(delta: number): void {
    this.pages += delta
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
