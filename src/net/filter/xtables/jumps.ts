/** Which rules can be reached from which points, and that no packet goes in circles: mark_source_chains. */
import type { XtEntry } from './entry.ts'

/** False: a chain comes back to where it was called from, or goes on behind the table's end. Each rule is looked at once a point. */
export function findSources(entries: readonly XtEntry[], starts: readonly number[]): boolean {
  const onPath = new Uint8Array(entries.length)
  /** The rule before it on the path: the one above it, or the one that jumps to it; the first one itself. */
  const before = new Int32Array(entries.length)
  return starts.every((start, point) => walk(entries, start, 1 << point, onPath, before))
}

function walk(
  entries: readonly XtEntry[],
  start: number,
  bit: number,
  onPath: Uint8Array,
  before: Int32Array,
): boolean {
  let at = start
  before[at] = at
  for (;;) {
    if (onPath[at] !== 0) return false
    const entry = entries[at]
    const known = (entry.points & bit) !== 0
    entry.points |= bit
    onPath[at] = 1
    let next = entry.jump >= 0 ? entry.jump : at + 1
    if (known || entry.endsChain) {
      // Back to the last rule that has jumped here, and on behind it.
      let left: number
      do {
        onPath[at] = 0
        left = at
        at = before[at]
        if (at === left) return true
      } while (left === at + 1)
      next = at + 1
    }
    if (next >= entries.length) return false
    before[next] = at
    at = next
  }
}
