/** Names to places: the walks that system calls and other parts of the kernel ask for. */
import { ENOENT } from '../abi/errno.ts'
import type { OrErrno } from '../base/result.ts'
import type { Path } from './path.ts'
import { Walk, type WalkContext } from './walk.ts'

export { openAt, openPath } from './open.ts'
export {
  LAST_DOT,
  LAST_DOTDOT,
  LAST_NORM,
  LAST_ROOT,
  LOOKUP_DIRECTORY,
  LOOKUP_EMPTY,
  LOOKUP_FOLLOW,
  lookupChild,
  type WalkContext,
} from './walk.ts'

/**
 * What `name` leads to, from `start` on (undefined: the working directory). `flags` are LOOKUP_*, `resolve` RESOLVE_*.
 * The result is not held: who keeps it beyond the call does `holdPath`.
 */
export function lookup(
  ctx: WalkContext,
  start: Path | undefined,
  name: string,
  flags: number,
  resolve = 0,
): OrErrno<Path> {
  const walk = new Walk(ctx, start, resolve)
  const status = walk.find(name, flags)
  return status < 0 ? status : walk.path
}

/** The directory of the last component. */
export interface ParentLookup {
  readonly parent: Path
  /** The last component; '' for LAST_ROOT. */
  readonly name: string
  /** LAST_*. */
  readonly type: number
  /** There was a slash behind it. */
  readonly trailing: boolean
}

export function lookupParent(ctx: WalkContext, start: Path | undefined, name: string): OrErrno<ParentLookup> {
  const walk = new Walk(ctx, start)
  const status = name.length === 0 ? -ENOENT : walk.parent(name)
  if (status < 0) return status
  return { parent: walk.path, name: walk.last, type: walk.lastType, trailing: walk.trailing }
}
