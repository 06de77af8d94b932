/**
 * The path walk: path_resolution(7), openat2(2).
 *
 * A Walk lives for one system call's one path. It stands at a place (`mount`, `dentry`), starts at the root, the working
 * directory or a descriptor, and is led by `parent` through all components but the last, which each caller treats in
 * its own way (find it, create it, remove it). A symbolic link in the way is put in front of what remains of the path.
 */
import {
  MS_NOSYMFOLLOW,
  RESOLVE_BENEATH,
  RESOLVE_CACHED,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
} from '../abi/constants.ts'
import { EAGAIN, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EXDEV } from '../abi/errno.ts'
import type { Credentials } from '../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../base/result.ts'
import { addDentry, type Dentry, invalidate, isBelow } from './dentry.ts'
import { throughMount } from './idmap.ts'
import type { Inode } from './inode.ts'
import { type Mount, type MountNamespace, mountOn } from './mount.ts'
import type { FsContext, Path } from './path.ts'
import { MAY_EXEC, permission } from './permission.ts'

/** Who walks. A task gives one. */
export interface WalkContext {
  readonly fs: FsContext
  readonly cred: Credentials
  readonly mountNs: MountNamespace
}

/** Follow a symbolic link in the last component. */
export const LOOKUP_FOLLOW = 1
/** The result must be a directory. */
export const LOOKUP_DIRECTORY = 2
/** An empty path is the starting point itself (AT_EMPTY_PATH). */
export const LOOKUP_EMPTY = 4

/** What the last component is. */
export const LAST_NORM = 0
/** The path is '/' (or slashes). */
export const LAST_ROOT = 1
export const LAST_DOT = 2
export const LAST_DOTDOT = 3

const MAX_LINKS = 40
const SLASH = 0x2f
const DOT = 0x2e

export class Walk {
  readonly ctx: WalkContext
  mount: Mount
  dentry: Dentry
  /** What `parent` stopped at. */
  last = ''
  lastType = LAST_NORM
  /** The last component had a slash behind it. */
  trailing = false
  /** After `follow`: a magic link led right to the place; there is no text to walk on. */
  jumped = false
  readonly #root: Path
  readonly #resolve: number
  #links = 0

  constructor(ctx: WalkContext, start: Path | undefined, resolve = 0) {
    this.ctx = ctx
    this.#resolve = resolve
    const from = start ?? ctx.fs.cwd
    this.mount = from.mount
    this.dentry = from.dentry
    this.#root = (resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) !== 0 ? from : ctx.fs.root
  }

  get path(): Path {
    return { mount: this.mount, dentry: this.dentry }
  }
  get inode(): Inode {
    return this.dentry.inode!
  }
  /** The walker, as known where it stands. */
  get cred(): Credentials {
    return throughMount(this.ctx.cred, this.mount)
  }

  /** Walks all but the last component: then `last`, `lastType` and `trailing` say what that is. */
  parent(name: string): Status {
    let at = 0
    if (name.charCodeAt(0) === SLASH) {
      // Where the walk would have started does not count: the path does not cross from there.
      this.mount = this.#root.mount
      const status = this.#toRoot()
      if (status < 0) return status
    }
    for (;;) {
      while (name.charCodeAt(at) === SLASH) at++
      if (at === name.length) {
        this.lastType = LAST_ROOT
        this.last = ''
        this.trailing = false
        return 0
      }
      const inode = this.dentry.inode!
      if (!inode.isDir) return -ENOTDIR
      const status = permission(this.cred, inode, MAY_EXEC)
      if (status < 0) return status
      let end = name.indexOf('/', at)
      if (end < 0) end = name.length
      const component = name.slice(at, end)
      const type = lastTypeOf(component)
      let next = end
      while (name.charCodeAt(next) === SLASH) next++
      if (next === name.length) {
        this.last = component
        this.lastType = type
        this.trailing = next > end
        return 0
      }
      at = next
      if (type === LAST_DOT) continue
      if (type === LAST_DOTDOT) {
        const up = this.up()
        if (up < 0) return up
        continue
      }
      const child = this.child(component)
      if (failed(child)) return child
      if (child.inode === undefined) return -ENOENT
      if (child.inode.isSymlink) {
        const target = this.follow(child)
        if (failed(target)) return target
        if (this.jumped) continue
        name = `${target}/${name.slice(next)}`
        at = 0
        if (name.charCodeAt(0) === SLASH) {
          const up = this.#toRoot()
          if (up < 0) return up
        }
        continue
      }
      const down = this.down(child)
      if (down < 0) return down
    }
  }

  /** The whole path: the walk then stands at what it names. */
  find(name: string, flags: number): Status {
    // Not compared with '': V8 would make each name unique first.
    if (name.length === 0) return (flags & LOOKUP_EMPTY) !== 0 ? 0 : -ENOENT
    for (;;) {
      const status = this.parent(name)
      if (status < 0) return status
      if (this.lastType !== LAST_NORM) return this.dots()
      const child = this.child(this.last)
      if (failed(child)) return child
      if (child.inode === undefined) return -ENOENT
      if (child.inode.isSymlink && (this.trailing || (flags & LOOKUP_FOLLOW) !== 0)) {
        const target = this.follow(child)
        if (failed(target)) return target
        if (!this.jumped) {
          name = this.trailing ? `${target}/` : target
          continue
        }
      } else {
        const down = this.down(child)
        if (down < 0) return down
      }
      if ((this.trailing || (flags & LOOKUP_DIRECTORY) !== 0) && !this.inode.isDir) return -ENOTDIR
      return 0
    }
  }

  /** Where a last component of '.', '..' or '/' leads. */
  dots(): Status {
    return this.lastType === LAST_DOTDOT ? this.up() : 0
  }

  /** The entry `name` of the directory where the walk stands: maybe a negative one. */
  child(name: string): OrErrno<Dentry> {
    return lookupChild(this.dentry, name, (this.#resolve & RESOLVE_CACHED) !== 0)
  }

  /** Steps to a child, and on top of what is mounted there. */
  down(child: Dentry): Status {
    this.dentry = child
    return this.#cover()
  }

  /** '..' */
  up(): Status {
    for (;;) {
      if (this.dentry === this.#root.dentry && this.mount === this.#root.mount) {
        return (this.#resolve & RESOLVE_BENEATH) !== 0 ? -EXDEV : 0
      }
      if (this.dentry !== this.mount.root) break
      const at = this.mount.mountpoint
      if (at === undefined) return 0
      if ((this.#resolve & RESOLVE_NO_XDEV) !== 0) return -EXDEV
      this.mount = at.mount
      this.dentry = at.dentry
    }
    const parent = this.dentry.parent
    if (parent === undefined) return 0
    // path_connected: a directory that was moved out of what its mount shows leads no further up.
    if (this.mount.root.parent !== undefined && !isBelow(parent, this.mount.root)) return -ENOENT
    this.dentry = parent
    return this.#cover()
  }

  /** The target of a symbolic link in the directory where the walk stands; or `jumped` there already. */
  follow(link: Dentry): OrErrno<string> {
    this.jumped = false
    if (++this.#links > MAX_LINKS) return -ELOOP
    if ((this.#resolve & RESOLVE_NO_SYMLINKS) !== 0 || (this.mount.flags & MS_NOSYMFOLLOW) !== 0)
      return -ELOOP
    const inode = link.inode!
    if ((this.#resolve & RESOLVE_NO_MAGICLINKS) !== 0 && inode.isMagic) return -ELOOP
    const place = inode.followMagic(this.ctx.cred)
    if (place === undefined) return inode.readlink()
    if (failed(place)) return place
    if ((this.#resolve & RESOLVE_NO_MAGICLINKS) !== 0) return -ELOOP
    if ((this.#resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) !== 0) return -EXDEV
    if ((this.#resolve & RESOLVE_NO_XDEV) !== 0 && place.mount !== this.mount) return -EXDEV
    this.jumped = true
    this.mount = place.mount
    this.dentry = place.dentry
    return ''
  }

  #toRoot(): Status {
    if ((this.#resolve & RESOLVE_BENEATH) !== 0) return -EXDEV
    if ((this.#resolve & RESOLVE_NO_XDEV) !== 0 && this.mount !== this.#root.mount) return -EXDEV
    this.mount = this.#root.mount
    this.dentry = this.#root.dentry
    return 0
  }

  #cover(): Status {
    if (this.dentry.mounted === 0) return 0
    for (;;) {
      const cover = mountOn(this.mount, this.dentry)
      if (cover === undefined) return 0
      if ((this.#resolve & RESOLVE_NO_XDEV) !== 0) return -EXDEV
      this.mount = cover
      this.dentry = cover.root
    }
  }
}

/** The cached or looked up entry of a directory; negative ones have no inode. `cachedOnly`: -EAGAIN instead of asking. */
export function lookupChild(parent: Dentry, name: string, cachedOnly = false): OrErrno<Dentry> {
  const dir = parent.inode!
  const cached = parent.children?.get(name)
  if (cached !== undefined) {
    // A mountpoint must stay found, whatever its file system thinks of the name now.
    const valid =
      cached.mounted > 0 ||
      (dir.changedElsewhere ? isThere(dir, name, cached.inode) : dir.revalidate(name, cached.inode))
    if (typeof valid === 'number') return valid
    if (valid) {
      cached.used = true
      return cached
    }
    invalidate(cached)
  }
  if (name.length > parent.sb.maxNameLength) return -ENAMETOOLONG
  if (cachedOnly) return -EAGAIN
  const inode = dir.lookup(name)
  if (typeof inode !== 'number') return addDentry(parent, name, inode)
  return inode === -ENOENT && parent.sb.cachesMissing ? addDentry(parent, name, undefined) : inode
}

/** Whether the directory itself says of a name what its dentry does. */
function isThere(dir: Inode, name: string, inode: Inode | undefined): boolean {
  const found = dir.lookup(name)
  if (typeof found === 'number') return inode === undefined
  if (found.dentries === 0) found.release()
  return found === inode
}

function lastTypeOf(component: string): number {
  if (component.charCodeAt(0) !== DOT) return LAST_NORM
  if (component.length === 1) return LAST_DOT
  return component.length === 2 && component.charCodeAt(1) === DOT ? LAST_DOTDOT : LAST_NORM
}
