/**
 * Gives memory back to the host in quiet times: after the start, whose garbage nobody collects otherwise, and after work
 * that made more. While a guest is at work nothing of it runs.
 */
import type { HostAddon } from '../platform/addon.ts'

/** A heap that has grown so much above its least is worth a collection, which takes some 20 ms. */
const WORTH = 4 << 20
/** Collections take at most one part in so many of the time. */
const TIME_SHARE = 50

/** The function to call when there is nothing to do. */
export function tidier(addon: HostAddon): () => void {
  let least = 0
  let notBefore = 0
  let later: NodeJS.Timeout | undefined

  function tidy(): void {
    later = undefined
    // Here, since a start that is over before it is quiet has no use for it.
    const { getHeapStatistics } = process.getBuiltinModule('node:v8')
    const start = performance.now()
    if (getHeapStatistics().used_heap_size > least + WORTH) {
      if (start < notBefore) {
        later = setTimeout(tidy, notBefore - start)
        return
      }
      collect()
      const left = getHeapStatistics().used_heap_size
      least = least === 0 ? left : Math.min(least, left)
      const end = performance.now()
      notBefore = end + (end - start) * TIME_SHARE
    }
    addon.trim()
  }

  return () => {
    if (later === undefined) tidy()
  }
}

/** Of the kinds that --expose-gc gives, the one that also shrinks V8's young generation. */
function collect(): void {
  const gc = globalThis.gc as ((options: object) => void) | undefined
  gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}
