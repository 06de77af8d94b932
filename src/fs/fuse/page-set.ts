/**
 * PageSet: pages of a file, by number. It takes as much memory as there are pages in it, not as the file is long: how long
 * that is says the server.
 */

/** Pages of one piece. */
const PIECE = 512

export class PageSet {
  /** A byte for each page: 1 when it is in the set. */
  readonly #pieces = new Map<number, Uint8Array>()

  has(page: number): boolean {
    return this.#pieces.get(Math.floor(page / PIECE))?.[page % PIECE] === 1
  }

  /** Returns how many of [first, end) were not in it. */
  add(first: number, end: number): number {
    let added = 0
    for (let page = first; page < end; page++) {
      const index = Math.floor(page / PIECE)
      let piece = this.#pieces.get(index)
      if (piece === undefined) {
        piece = new Uint8Array(PIECE)
        this.#pieces.set(index, piece)
      }
      added += 1 - piece[page % PIECE]
      piece[page % PIECE] = 1
    }
    return added
  }

  /** Returns how many of [first, end) were in it. */
  delete(first: number, end = Number.POSITIVE_INFINITY): number {
    let gone = 0
    for (const [index, piece] of this.#pieces) {
      const start = index * PIECE
      if (start >= end || start + PIECE <= first) continue
      const from = Math.max(0, first - start)
      const to = Math.min(PIECE, end - start)
      for (let i = from; i < to; i++) gone += piece[i]
      piece.fill(0, from, to)
      if (!piece.includes(1)) this.#pieces.delete(index)
    }
    return gone
  }

  /** The next page of [page, last) that is not in it; `last` if all are. */
  missing(page: number, last: number): number {
    for (let at = page; at < last; ) {
      const index = Math.floor(at / PIECE)
      const found = this.#pieces.get(index)?.indexOf(0, at % PIECE) ?? at % PIECE
      if (found >= 0) return Math.min(last, index * PIECE + found)
      at = (index + 1) * PIECE
    }
    return last
  }

  /** The next page of [page, last) that is in it; `last` if none is. */
  next(page: number, last: number): number {
    for (let at = page; at < last; ) {
      const index = Math.floor(at / PIECE)
      const found = this.#pieces.get(index)?.indexOf(1, at % PIECE) ?? -1
      if (found >= 0) return Math.min(last, index * PIECE + found)
      at = this.#pieceAfter(index) * PIECE
    }
    return last
  }

  #pieceAfter(index: number): number {
    if (this.#pieces.has(index + 1)) return index + 1
    let next = Number.POSITIVE_INFINITY
    for (const each of this.#pieces.keys()) if (each > index && each < next) next = each
    return next
  }
}
