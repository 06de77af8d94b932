/**
 * Directories of an overlay that a process has mounted: what the merge needs to know beyond the entries is in the layers
 * themselves, in Linux's own form, so that the upper one can be read, packed and mounted again. A name that is not to be
 * seen is a character device 0/0 there (a whiteout), a directory that hides those below has the attribute `opaque`.
 */
import { DT_CHR, RENAME_EXCHANGE, RENAME_WHITEOUT, S_IFCHR } from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOTEMPTY, EPERM, EXDEV } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { Dirents } from '../../vfs/dirents.ts'
import type { Inode } from '../../vfs/inode.ts'
import { letGo, OverlayDir } from './directory.ts'
import type { OverlayInode } from './inode.ts'
import type { LayeredSuper } from './layered.ts'
import { withData, withUpperData } from './metacopy.ts'

/** The value of `opaque`: 'y'. */
export const OPAQUE = new Uint8Array([0x79])

/** redirect_max. */
const MAX_REDIRECT = 256

export class LayeredDir extends OverlayDir {
  declare readonly sb: LayeredSuper

  constructor(
    sb: LayeredSuper,
    upper: Inode | undefined,
    lowers: readonly Inode[],
    parent: OverlayDir | undefined,
    name: string,
  ) {
    super(sb, upper, lowers, parent, name)
    if (upper !== undefined) upper.changedElsewhere = true
  }

  override lookup(name: string): OrErrno<Inode> {
    const { sb } = this
    const upper = this.upper?.lookup(name) ?? -ENOENT
    if (typeof upper === 'number') {
      if (upper !== -ENOENT) return upper
      const lowers = this.#lookupBelow(name)
      if (typeof lowers === 'number') return lowers
      const node = sb.ofLower(lowers[0], lowers, this, name)
      return node.isRegular
        ? withData(sb, node, sb.layerOf(lowers[0]), () => `${this.#pathBelow()}/${name}`)
        : node
    }
    if (isWhiteout(upper)) {
      letGo(upper)
      return -ENOENT
    }
    if (upper.isRegular)
      return withUpperData(sb, sb.ofUpper(upper, this, name), () => `${this.#pathBelow()}/${name}`)
    if (!upper.isDir || sb.isOpaque(upper)) return sb.ofUpper(upper, this, name)
    const redirect = sb.redirectOf(upper)
    const lowers = this.#lookupBelow(redirect || name)
    const merges = typeof lowers !== 'number' && lowers[0].isDir
    if (merges && redirect !== '' && !sb.followsRedirects) {
      for (const each of [upper, ...lowers]) letGo(each)
      return -EPERM
    }
    return merges ? sb.ofMerged(upper, lowers, this, name) : sb.ofUpper(upper, this, name)
  }

  /**
   * What the lower layers show: directories that merge, or one other file; -ENOENT for nothing. `place`: a name in this
   * directory, or a path from the root.
   */
  #lookupBelow(place: string): Inode[] | number {
    const found: Inode[] = []
    let { lowers } = this
    if (place.startsWith('/')) {
      const parent = this.#parentBelow(place)
      if (parent === undefined) return -ENOENT
      lowers = parent
      place = place.slice(place.lastIndexOf('/') + 1)
    }
    for (let i = 0; i < lowers.length; i++) {
      const inode = lowers[i].lookup(place)
      if (inode === -ENOENT) continue
      if (typeof inode === 'number') return inode
      if (this.sb.isWhiteout(inode) || (found.length > 0 && !inode.isDir)) {
        letGo(inode)
        break
      }
      found.push(inode)
      this.sb.noteLayer(inode, lowers[i])
      if (!inode.isDir || this.sb.isOpaque(inode)) break
      // The layers further down know it by another name.
      const redirect = i + 1 < lowers.length ? this.sb.redirectOf(inode) : ''
      if (redirect.startsWith('/')) break
      if (redirect !== '' && !this.sb.followsRedirects) break
      if (redirect !== '') place = redirect
    }
    return found.length === 0 ? -ENOENT : found
  }

  /** The directories of the lower layers in which the last name of a path is to be looked for. */
  #parentBelow(path: string): readonly Inode[] | undefined {
    let at: LayeredDir = this
    while (at.parent !== undefined) at = at.parent as LayeredDir
    let dirs: readonly Inode[] = at.lowers
    for (const name of path.split('/').slice(1, -1)) {
      const next: Inode[] = []
      for (const dir of dirs) {
        const found = dir.lookup(name)
        if (typeof found === 'number') continue
        if (!found.isDir) {
          letGo(found)
          break
        }
        next.push(found)
        this.sb.noteLayer(found, dir)
        if (this.sb.isOpaque(found)) break
      }
      if (next.length === 0) return undefined
      dirs = next
    }
    return dirs
  }

  /** Where the lower layers have what it merges, from their roots on. */
  #pathBelow(): string {
    if (this.parent === undefined) return ''
    const redirect = this.upper === undefined ? '' : this.sb.redirectOf(this.upper)
    if (redirect.startsWith('/')) return redirect
    return `${(this.parent as LayeredDir).#pathBelow()}/${redirect || this.name}`
  }

  /** ovl_set_redirect: a directory that merges is about to get another name. */
  #keepLower(name: string, to: LayeredDir, node: OverlayInode): Status {
    if (!mergesLower(node)) return 0
    const upper = node.upper!
    const before = this.sb.redirectOf(upper)
    if (before !== '' && (to === this || before.startsWith('/'))) return 0
    const redirect = to === this ? name : (node as LayeredDir).#pathBelow()
    return redirect.length > MAX_REDIRECT ? -EXDEV : this.sb.setRedirect(upper, redirect)
  }

  #isBelow(name: string): boolean {
    return typeof this.#lookupBelow(name) !== 'number'
  }

  /** Nobody else changes the layers: that is undefined. But the upper one may want to be asked for the name anew. */
  override revalidate(name: string, inode: Inode | undefined): boolean | Status {
    const upper = (inode as OverlayInode | undefined)?.upper
    if (upper === undefined || this.upper === undefined) return true
    return this.upper.revalidate(name, upper)
  }

  override mkdir(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    const made = super.mkdir(name, mode, cred)
    if (typeof made === 'number' || !this.#isBelow(name)) return made
    const status = this.sb.makeOpaque((made as OverlayInode).upper!)
    return status < 0 ? status : made
  }

  protected override make(name: string, make: (upper: Inode) => OrErrno<Inode>): OrErrno<Inode> {
    const status = this.#clear(name)
    return status < 0 ? status : super.make(name, make)
  }

  override link(name: string, inode: Inode): Status {
    const status = this.#clear(name)
    return status < 0 ? status : super.link(name, inode)
  }

  /** Takes a whiteout away from where something is to be. */
  #clear(name: string): Status {
    const copied = this.copyUp()
    if (copied < 0) return copied
    const there = this.upper!.lookup(name)
    if (typeof there === 'number') return there === -ENOENT ? 0 : there
    return isWhiteout(there) ? this.upper!.unlink(name, there) : 0
  }

  /** Hides what the lower layers have by that name, if they do. */
  #hide(name: string): Status {
    if (!this.#isBelow(name)) return 0
    const made = this.upper!.mknod(name, S_IFCHR, 0, this.sb.cred)
    return typeof made === 'number' ? made : 0
  }

  protected override remove(name: string, node: OverlayInode): Status {
    let status = this.copyUp()
    if (status < 0) return status
    if (node.upper !== undefined) status = this.#removeUpper(name, node)
    if (status === 0) status = this.#hide(name)
    if (status === 0) node.unlinked()
    return status
  }

  #removeUpper(name: string, node: OverlayInode): Status {
    if (!(node instanceof LayeredDir)) return this.upper!.unlink(name, node.upper!)
    const status = node.#dropWhiteouts()
    return status < 0 ? status : this.upper!.rmdir(name, node.upper!)
  }

  /** An empty directory of the merge may have whiteouts in it. */
  #dropWhiteouts(): Status {
    const upper = this.upper!
    const all = new Dirents()
    const status = upper.list(all)
    if (status < 0) return status
    for (let at = 0; at < all.length; at = all.nextOf(at)) {
      const name = all.nameAt(at)
      const entry = upper.lookup(name)
      const removed = typeof entry === 'number' ? entry : upper.unlink(name, entry)
      if (removed < 0) return removed
    }
    return 0
  }

  override rename(
    name: string,
    inode: Inode,
    newDir: Inode,
    newName: string,
    target: Inode | undefined,
    flags: number,
  ): Status {
    if ((flags & RENAME_WHITEOUT) !== 0) return -EINVAL
    const exchange = (flags & RENAME_EXCHANGE) !== 0
    const node = inode as OverlayInode
    const to = newDir as LayeredDir
    const other = target as OverlayInode | undefined
    // What a directory merges is found by its name.
    const moves = mergesLower(node) || (exchange && mergesLower(other!))
    if (moves && !this.sb.redirects) return -EXDEV
    if (!exchange && other instanceof LayeredDir && !other.isEmpty()) return -ENOTEMPTY
    let status = this.copyUpForRename(node, to, exchange ? other : undefined)
    if (status === 0) status = this.#keepLower(name, to, node)
    if (status === 0 && exchange) status = to.#keepLower(newName, this, other!)
    if (status === 0 && !exchange) status = to.#makeRoom(newName, other)
    const replaced = other instanceof LayeredDir && !exchange ? undefined : other?.upper
    if (status === 0) status = this.upper!.rename(name, node.upper!, to.upper!, newName, replaced, flags)
    if (status === 0 && node.isDir && !mergesLower(node) && to.#isBelow(newName))
      status = this.sb.makeOpaque(node.upper!)
    if (status === 0 && exchange && other!.isDir && !mergesLower(other!) && this.#isBelow(name))
      status = this.sb.makeOpaque(other!.upper!)
    if (status === 0 && !exchange) status = this.#hide(name)
    if (status < 0) return status
    if (exchange) other!.place(this, name)
    else other?.unlinked()
    node.place(to, newName)
    return 0
  }

  /** Whiteouts and an empty directory go from where something is moved to. */
  #makeRoom(name: string, other: OverlayInode | undefined): Status {
    if (other instanceof LayeredDir && other.upper !== undefined) return this.#removeUpper(name, other)
    return this.#clear(name)
  }

  override list(into: Dirents): Status {
    const { sb } = this
    const hidden = new Set<string>()
    const layers = this.upper === undefined ? this.lowers : [this.upper, ...this.lowers]
    for (const layer of layers) {
      const start = into.length
      const status = layer.list(into)
      if (status < 0) return status
      const seen: string[] = []
      into.filter(start, (name, type) => {
        if (hidden.has(name)) return false
        seen.push(name)
        return !(type === DT_CHR || sb.hasFileWhiteouts(layer)) || !this.#whitesOut(layer, name)
      })
      for (const name of seen) hidden.add(name)
      const { dev } = layer
      if (sb.renumbers(dev)) into.renumber(start, ino => sb.inoOf(dev, ino))
    }
    return 0
  }

  #whitesOut(layer: Inode, name: string): boolean {
    const found = layer.lookup(name)
    if (typeof found === 'number') return false
    const whiteout = this.sb.isWhiteout(found)
    letGo(found)
    return whiteout
  }
}

export function isWhiteout(inode: Inode): boolean {
  return inode.type === S_IFCHR && inode.rdev === 0
}

function mergesLower(node: OverlayInode): boolean {
  return node.isDir && node.lower !== undefined
}
