/**
 * FilterRoom: for how many more elements there is room in what packet filters keep for their rules, in all namespaces of a
 * kernel together (a guest can make as many of those as it likes): sets of ipset(8) and their members, rates of `hashlimit`,
 * addresses of `recent`, queues of packets; and, by their size, the packets in those. One of them takes up to about half a kilobyte.
 */

/** However many elements a set is made for. */
export const MOST_ELEMENTS = 1 << 20

export class FilterRoom {
  left: number

  constructor(left = MOST_ELEMENTS) {
    this.left = left
  }
  /** False: there is no room for so many. */
  take(count: number): boolean {
    if (this.left < count) return false
    this.left -= count
    return true
  }
  give(count: number): void {
    this.left += count
  }
}
