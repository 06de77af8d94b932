/**
 * Dentries: names in directories, cached; `inode` undefined is a negative entry (the name is known not to exist).
 *
 * Made by the path walk (or by an operation that creates a name) and hashed in the parent's `children`. Files,
 * mounts, and the root and working directory of processes hold one with `refs`; children hold their parent by
 * being in its map. One that nobody holds and that has no children waits in the super block's DentryLru and may be
 * forgotten at any time; one that is unhashed (unlinked, renamed over, found stale) goes when the last holder does, and
 * while it is held it holds its parent itself, since '..' still leads there.
 * An inode counts the dentries that lead to it and is told by `release` when the last one is gone.
 */
import type { Inode } from './inode.ts'
import { notifyGone } from './notify.ts'
import type { SuperBlock } from './super-block.ts'

export class Dentry {
  /** The component's name; '/' for a root, and what /proc/PID/fd shows (such as 'pipe:[17]') for an anonymous object. */
  name: string
  parent: Dentry | undefined
  inode: Inode | undefined
  readonly sb: SuperBlock
  children: Map<string, Dentry> | undefined = undefined
  /** Mounts that cover this dentry, counted: path walk looks for them only then. */
  mounted = 0
  /** Set when unlinked or renamed away: /proc shows ' (deleted)'. */
  unhashed = false
  /** Holders other than children. */
  refs = 0
  /** Used since the LRU looked at it last. */
  used = true
  /** Its place in the LRU; see DentryLru. */
  older: Dentry | undefined = undefined
  newer: Dentry | undefined = undefined
  queued = false

  constructor(name: string, parent: Dentry | undefined, inode: Inode | undefined, sb: SuperBlock) {
    this.name = name
    this.parent = parent
    this.inode = inode
    this.sb = sb
    if (inode !== undefined) inode.dentries++
  }

  get isRoot(): boolean {
    return this.parent === undefined
  }
}

/** The root dentry of a super block, shared by all mounts of it. */
export function rootDentry(sb: SuperBlock): Dentry {
  sb.rootDentry ??= new Dentry('/', undefined, sb.root, sb)
  return sb.rootDentry
}

/** d_add: a new cached entry below `parent`; an entry of that name that was there must have been dropped. */
export function addDentry(parent: Dentry, name: string, inode: Inode | undefined): Dentry {
  const dentry = new Dentry(name, parent, inode, parent.sb)
  parent.children ??= new Map()
  parent.children.set(name, dentry)
  parent.sb.dentries.add(dentry)
  return dentry
}

/** d_instantiate: the negative entry gets its inode. */
export function instantiate(dentry: Dentry, inode: Inode): void {
  dentry.inode = inode
  inode.dentries++
}

/** d_drop: no walk finds it any more; holders keep it. */
export function unhash(dentry: Dentry): void {
  const parent = dentry.parent
  if (dentry.unhashed || parent === undefined) return
  dentry.unhashed = true
  if (parent.children?.get(dentry.name) === dentry) parent.children.delete(dentry.name)
  parent.sb.dentries.noteIdle(parent)
  if (dentry.refs === 0) kill(dentry)
  else holdDentry(parent)
}

/** A name that no directory has: what O_TMPFILE opens. Not held yet; `dropUnnamed` if nobody ever will. */
export function unnamedDentry(name: string, parent: Dentry, inode: Inode): Dentry {
  const dentry = new Dentry(name, parent, inode, parent.sb)
  dentry.unhashed = true
  return dentry
}

/** Nobody came to hold the dentry, which is in no directory: it goes at once. */
export function dropUnnamed(dentry: Dentry): void {
  if (dentry.refs === 0) kill(dentry)
}

/**
 * d_delete: the name is gone. A dentry that nobody holds stays as a negative entry, since names that were removed are often
 * made again; the others keep their inode, and no walk finds them.
 */
export function deleteDentry(dentry: Dentry): void {
  if (dentry.refs > 0 || dentry.unhashed || !dentry.sb.cachesMissing) unhash(dentry)
  else letInodeGo(dentry)
}

/** A name proved stale (revalidate said so): it and what is cached below is dropped. */
export function invalidate(dentry: Dentry): void {
  const tree = dentryTree(dentry)
  for (let i = tree.length - 1; i >= 0; i--) unhash(tree[i])
}

/** The directory was removed: what is cached below it (negative entries only) goes with it. */
export function forgetChildren(dentry: Dentry): void {
  if (dentry.children !== undefined) for (const child of [...dentry.children.values()]) invalidate(child)
}

/** The dentry and all that is cached below it, parents first. It may be as deep as a guest likes: no recursion. */
export function dentryTree(dentry: Dentry): Dentry[] {
  const tree = [dentry]
  for (let i = 0; i < tree.length; i++) {
    const { children } = tree[i]
    if (children !== undefined) for (const child of children.values()) tree.push(child)
  }
  return tree
}

export function holdDentry(dentry: Dentry): void {
  for (let at: Dentry | undefined = dentry; at !== undefined; at = at.parent) {
    if (at.refs++ > 0 || !at.unhashed) return
  }
}

export function dropDentry(dentry: Dentry): void {
  // One that is unhashed lets its parent go, which may be the last of a removed tree's, as deep as that was.
  for (let at: Dentry | undefined = dentry; at !== undefined && --at.refs === 0; at = at.parent) {
    if (!at.unhashed && at.parent !== undefined) {
      at.sb.dentries.noteIdle(at)
      return
    }
    // Of the names that were found in it since, those that are held come to hold it.
    if (at.unhashed) forgetChildren(at)
    if (at.refs === 0) kill(at)
  }
}

/** d_move: `dentry` takes the name `name` in `newParent`, and the place of `target`, which is dropped. */
export function moveDentry(
  dentry: Dentry,
  newParent: Dentry,
  name: string,
  target: Dentry | undefined,
): void {
  const oldParent = dentry.parent!
  if (target !== undefined) unhash(target)
  oldParent.children!.delete(dentry.name)
  dentry.name = name
  dentry.parent = newParent
  newParent.children ??= new Map()
  newParent.children.set(name, dentry)
  if (oldParent !== newParent) oldParent.sb.dentries.noteIdle(oldParent)
}

/** d_exchange: two hashed entries trade places. */
export function exchangeDentries(a: Dentry, b: Dentry): void {
  const parentOfA = a.parent!
  const nameOfA = a.name
  a.parent = b.parent
  a.name = b.name
  b.parent = parentOfA
  b.name = nameOfA
  a.parent!.children!.set(a.name, a)
  b.parent!.children!.set(b.name, b)
}

/** Whether `ancestor` is `dentry` or above it. */
export function isBelow(dentry: Dentry, ancestor: Dentry): boolean {
  for (let at: Dentry | undefined = dentry; at !== undefined; at = at.parent) if (at === ancestor) return true
  return false
}

/** The dentry leaves the cache: its inode is let go. The root of a super block stays until the super block goes. */
function kill(dentry: Dentry): void {
  dentry.sb.dentries.remove(dentry)
  if (dentry.sb.rootDentry !== dentry) letInodeGo(dentry)
}

function letInodeGo(dentry: Dentry): void {
  const inode = dentry.inode
  if (inode === undefined) return
  dentry.inode = undefined
  // As in Linux the first unused name of a file without links tells, even where another is still open.
  if (inode.nlink === 0) notifyGone(inode)
  if (--inode.dentries > 0) return
  if (inode.handle !== 0) inode.sb.handles!.forget(inode)
  inode.release()
}

/** An unhashed dentry keeps its inode visible to its holders, so only the LRU may call this on hashed ones. */
function evict(dentry: Dentry): void {
  dentry.unhashed = true
  dentry.parent!.children!.delete(dentry.name)
  kill(dentry)
  dentry.sb.dentries.noteIdle(dentry.parent!)
}

/** What is watched, or has a handle, stays: the watch hangs on the inode object, and the handle leads to it. */
function evictable(dentry: Dentry): boolean {
  if (dentry.refs > 0 || dentry.children?.size || dentry.mounted > 0) return false
  return dentry.inode === undefined || (dentry.inode.watches === undefined && dentry.inode.handle === 0)
}

/** How many cached names a super block keeps that nobody holds. */
const DEFAULT_LIMIT = 16384
/** Entries looked at per entry added, so that no single walk pays for a long list. */
const SCAN = 8

/**
 * The entries of one super block that nobody may hold, oldest first. Being held does not take an entry off the list:
 * the scan does, when it meets it, and `noteIdle` puts it back. An entry used since the last scan gets another round,
 * so what a walk has just touched stays while the walk goes on.
 */
export class DentryLru {
  #oldest: Dentry | undefined = undefined
  #newest: Dentry | undefined = undefined
  #count = 0
  limit = DEFAULT_LIMIT

  get count(): number {
    return this.#count
  }

  /** A new entry: may evict old ones. */
  add(dentry: Dentry): void {
    this.#append(dentry)
    if (this.#count > this.limit) this.#scan()
  }

  /** The entry lost a holder or a child. */
  noteIdle(dentry: Dentry): void {
    if (!dentry.queued && !dentry.unhashed && dentry.refs === 0 && dentry.parent !== undefined)
      this.#append(dentry)
  }

  remove(dentry: Dentry): void {
    if (!dentry.queued) return
    dentry.queued = false
    this.#count--
    if (dentry.older !== undefined) dentry.older.newer = dentry.newer
    else this.#oldest = dentry.newer
    if (dentry.newer !== undefined) dentry.newer.older = dentry.older
    else this.#newest = dentry.older
    dentry.older = dentry.newer = undefined
  }

  /** Forgets everything that can be forgotten (umount, drop_caches). */
  shrinkAll(): void {
    for (let at = this.#oldest; at !== undefined; at = this.#oldest) {
      this.remove(at)
      if (evictable(at)) evict(at)
    }
  }

  #append(dentry: Dentry): void {
    dentry.queued = true
    this.#count++
    dentry.older = this.#newest
    if (this.#newest !== undefined) this.#newest.newer = dentry
    else this.#oldest = dentry
    this.#newest = dentry
  }

  #scan(): void {
    for (let i = 0; i < SCAN && this.#count > this.limit; i++) {
      const dentry = this.#oldest!
      this.remove(dentry)
      if (dentry.refs > 0 || dentry.children?.size || dentry.mounted > 0) continue
      if (dentry.used || !evictable(dentry)) {
        dentry.used = false
        this.#append(dentry)
      } else evict(dentry)
    }
  }
}
