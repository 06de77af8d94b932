/** What travels along with each call, from the kinds of its arguments: paths, small structs, buffers to write. */
import { PREFETCH_BUFFER_LIMIT } from '../abi/protocol.ts'
import type { PrefetchRule } from '../platform/systrap/systrap.ts'
import type { ArgKind, SyscallRows } from '../syscalls/args.ts'

export function prefetchRules(rows: SyscallRows): PrefetchRule[] {
  return Object.values(rows).map(row => ({ nr: row.nr, args: row.args.map(ruleOf) }))
}

function ruleOf(kind: ArgKind): PrefetchRule['args'][number] {
  if (kind.direction !== 'in' && kind.direction !== 'inout') return undefined
  if (kind.show === 'path' || kind.show === 'string') return { kind: 'string' }
  if (kind.show === 'bytes' && kind.lengthArg !== undefined)
    return { kind: 'buffer', lengthArg: kind.lengthArg }
  if (kind.show === 'struct' && kind.layout !== undefined && kind.lengthArg === undefined) {
    return kind.layout.size <= PREFETCH_BUFFER_LIMIT ? { kind: 'struct', size: kind.layout.size } : undefined
  }
  return undefined
}
