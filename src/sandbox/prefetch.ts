/** What travels along with each call, from the kinds of its arguments: paths, small structs and arrays of them, buffers to write. */
import { PREFETCH_BUFFER_LIMIT } from '../abi/protocol.ts'
import type { PrefetchRule } from '../platform/systrap/systrap.ts'
import type { ArgKind, SyscallRows } from '../syscalls/args.ts'

/** What a byte of the table holds. */
const MAX_UNIT = 255

export function prefetchRules(rows: SyscallRows): PrefetchRule[] {
  return Object.values(rows).map(row => ({ nr: row.nr, args: row.args.map(ruleOf) }))
}

function ruleOf(kind: ArgKind): PrefetchRule['args'][number] {
  if (kind.direction !== 'in' && kind.direction !== 'inout') return undefined
  if (kind.show === 'path' || kind.show === 'string') return { kind: 'string' }
  if (kind.show === 'bytes' && kind.lengthArg !== undefined)
    return { kind: 'buffer', lengthArg: kind.lengthArg, unit: 1 }
  if (kind.show === 'bits' && kind.lengthArg !== undefined) return { kind: 'bits', lengthArg: kind.lengthArg }
  if (kind.layout === undefined) return undefined
  const { lengthArg, layout } = kind
  const unit = layout.size
  if (lengthArg === undefined)
    return unit <= PREFETCH_BUFFER_LIMIT ? { kind: 'struct', size: unit } : undefined
  if (unit > MAX_UNIT) return undefined
  return { kind: kind.segments === 'in' ? 'vector' : 'buffer', lengthArg, unit }
}
