/**
 * A Landlock domain: what a task has restricted itself to, for good (landlock(7), security/landlock/).
 *
 * landlock_restrict_self(2) puts a layer on top of the task's domain; each layer stays as it is, and all of them have to allow
 * what is done. The domain is part of the credentials, so that children and programs have it too; the tasks that have it are
 * counted, since the rules keep places in the cache.
 */
import {
  LANDLOCK_ACCESS_FS_REFER,
  LANDLOCK_ACCESS_FS_REMOVE_DIR,
  LANDLOCK_ACCESS_FS_REMOVE_FILE,
} from '../../abi/constants.ts'
import { EACCES, EXDEV } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { Dentry } from '../../vfs/dentry.ts'
import type { Mount } from '../../vfs/mount.ts'
import type { Path } from '../../vfs/path.ts'
import { type PathRestriction, rightToMake } from '../../vfs/restriction.ts'
import { ACCESS_FILE, ACCESS_FS, type Rules } from './ruleset.ts'

const MAX_LAYERS = 16

export class Domain implements PathRestriction {
  readonly parent: Domain | undefined
  readonly rules: Rules
  readonly depth: number
  readonly restrictsPaths: boolean
  /** From the oldest to this one. */
  readonly #layers: readonly Rules[]
  /** Tasks and domains on top of it. */
  #users = 1

  /** Takes over the caller's hold on `parent`, and `rules`. */
  constructor(parent: Domain | undefined, rules: Rules) {
    this.parent = parent
    this.rules = rules
    this.depth = (parent?.depth ?? 0) + 1
    this.#layers = parent === undefined ? [rules] : [...parent.#layers, rules]
    this.restrictsPaths = this.#layers.some(layer => layer.fs !== 0)
  }

  get isFull(): boolean {
    return this.depth >= MAX_LAYERS
  }

  get(): this {
    this.#users++
    return this
  }
  put(): void {
    if (--this.#users > 0) return
    this.rules.drop()
    this.parent?.put()
  }

  isSelfOrBelow(ancestor: Domain): boolean {
    for (let at: Domain | undefined = this; at !== undefined; at = at.parent) if (at === ancestor) return true
    return false
  }

  /** domain_is_scoped: whether a layer with that LANDLOCK_SCOPE_* keeps its holder from acting on who has `other`. */
  isScopedFrom(other: Domain | undefined, scope: number): boolean {
    for (let at: Domain | undefined = this; at !== undefined; at = at.parent) {
      if ((at.rules.scope & scope) !== 0) return other === undefined || !other.isSelfOrBelow(at)
    }
    return false
  }

  /** Whether the TCP port may be bound or connected to (LANDLOCK_ACCESS_NET_*). */
  mayUsePort(port: number, wanted: number): boolean {
    return this.#layers.every(layer => (wanted & layer.net & ~layer.allowedOn(port)) === 0)
  }

  mayAccess(path: Path, wanted: number): Status {
    return this.denied(path, wanted) === 0 ? 0 : -EACCES
  }

  denied(path: Path, wanted: number): number {
    if (isUnmountable(path)) return 0
    const missing = this.#layers.map(layer => layer.fs & wanted)
    this.#grant(missing, path)
    return union(missing)
  }

  /** Takes from what each layer misses all that its rules allow at the place or above. */
  #grant(missing: number[], path: Path): void {
    let mount: Mount = path.mount
    let dentry: Dentry = path.dentry
    while (union(missing) !== 0) {
      this.#grantAt(missing, dentry)
      // The root of a mount stands where it is mounted; what it covers does not count.
      while (dentry === mount.root) {
        const at = mount.mountpoint
        if (at === undefined) return
        mount = at.mount
        dentry = at.dentry
      }
      if (dentry.parent === undefined) return
      dentry = dentry.parent
    }
  }

  #grantAt(missing: number[], { inode }: Dentry): void {
    if (inode === undefined) return
    for (let i = 0; i < missing.length; i++) {
      if (missing[i] !== 0) missing[i] &= ~this.#layers[i].allowedAt(inode)
    }
  }

  /** current_check_refer_path. */
  mayRefer(
    oldDir: Path,
    old: Dentry,
    newDir: Path,
    target: Dentry,
    moves: boolean,
    exchange: boolean,
  ): Status {
    let atOld = exchange ? rightToMake(target.inode!.mode) : 0
    let atNew = rightToMake(old.inode!.mode)
    if (moves) {
      atOld |= rightToRemove(old)
      atNew |= rightToRemove(target)
    }
    if (oldDir.dentry === newDir.dentry) return this.mayAccess(newDir, atOld | atNew)
    atOld |= LANDLOCK_ACCESS_FS_REFER
    atNew |= LANDLOCK_ACCESS_FS_REFER
    const missingOld = this.denied(oldDir, atOld)
    const missingNew = this.denied(newDir, atNew)
    if (((missingOld | missingNew) & ~LANDLOCK_ACCESS_FS_REFER) !== 0) return -EACCES
    if ((missingOld | missingNew) !== 0) return -EXDEV
    if (this.#gains(oldDir, old, newDir)) return -EXDEV
    return exchange && this.#gains(newDir, target, oldDir) ? -EXDEV : 0
  }

  /** no_more_access: whether a file could be used in more ways below its new parent than below its old one. */
  #gains(oldDir: Path, child: Dentry, newDir: Path): boolean {
    const rights = child.inode!.isDir ? ACCESS_FS : ACCESS_FILE
    const deniedBefore = this.#layers.map(layer => layer.fs & rights)
    const deniedAfter = deniedBefore.slice()
    this.#grantAt(deniedBefore, child)
    this.#grant(deniedBefore, oldDir)
    this.#grant(deniedAfter, newDir)
    return deniedBefore.some((before, i) => (before & ~deniedAfter[i]) !== 0)
  }
}

export function domainOf(cred: Credentials): Domain | undefined {
  return cred.landlock as Domain | undefined
}

/** What is reached through a descriptor only, such as a pipe by /proc/PID/fd, is no path's. */
function isUnmountable({ mount, dentry }: Path): boolean {
  return dentry.parent === undefined && dentry !== mount.root
}

function union(masks: readonly number[]): number {
  let all = 0
  for (const mask of masks) all |= mask
  return all
}

function rightToRemove({ inode }: Dentry): number {
  if (inode === undefined) return 0
  return inode.isDir ? LANDLOCK_ACCESS_FS_REMOVE_DIR : LANDLOCK_ACCESS_FS_REMOVE_FILE
}
