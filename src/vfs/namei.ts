/** Names to places: the walks that system calls and other parts of the kernel ask for. */
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
