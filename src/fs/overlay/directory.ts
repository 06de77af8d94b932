/** Directories of the overlay: the merge of an upper directory and those below it. */
import { DT_CHR, RENAME_EXCHANGE, RENAME_WHITEOUT, S_IFCHR } from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOTEMPTY } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { DirFile } from '../../vfs/dir-file.ts'
import { Dirents } from '../../vfs/dirents.ts'
import type { File } from '../../vfs/file.ts'
import type { DirSink, Inode } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { SnapshotDirFile } from '../../vfs/snapshot-dir-file.ts'
import { drop, hold, OverlayInode } from './inode.ts'
import type { OverlaySuper } from './super.ts'

export class OverlayDir extends OverlayInode {
  /** The lower directories that it merges, from the topmost; none if it was made here. */
  protected readonly lowers: readonly Inode[]
  /**
   * Names of theirs that were removed or renamed. An upper entry of such a name counts none the less. Every upper entry
   * that stands in front of a lower one is in it, or is that one's copy: so what was made here leaves without a look below.
   */
  #whiteouts: Set<string> | undefined = undefined

  constructor(
    sb: OverlaySuper,
    upper: Inode | undefined,
    lowers: readonly Inode[],
    parent: OverlayDir | undefined,
    name: string,
  ) {
    super(sb, upper, lowers[0], parent, name)
    this.lowers = lowers
    for (let i = 1; i < lowers.length; i++) hold(lowers[i])
  }

  protected override dropLower(): void {
    for (const lower of this.lowers) drop(lower)
  }

  /** Of a merged directory nobody counts the subdirectories: 1 says so (find(1) knows). */
  protected override countLinks(): number {
    if (this.upper !== undefined && this.lower !== undefined && this.upper.nlink > 0) return 1
    return super.countLinks()
  }

  override lookup(name: string): OrErrno<Inode> {
    if (this.upper !== undefined) {
      const upper = this.upper.lookup(name)
      if (typeof upper !== 'number') return this.sb.ofUpper(upper, this, name)
      if (upper !== -ENOENT || this.#whiteouts?.has(name)) return upper
    }
    return this.#lookupLower(name)
  }

  #lookupLower(name: string): OrErrno<Inode> {
    const dirs: Inode[] = []
    for (const layer of this.lowers) {
      const found = layer.lookup(name)
      if (found === -ENOENT) continue
      if (typeof found === 'number') return found
      if (found.isDir) {
        dirs.push(found)
        if (this.lowers.length > 1 && isOpaque(found)) break
        continue
      }
      if (dirs.length > 0 || this.#isWhiteout(layer, found)) {
        letGo(found)
        break
      }
      return this.sb.ofLower(found, dirs, this, name)
    }
    return dirs.length === 0 ? -ENOENT : this.sb.ofLower(dirs[0], dirs, this, name)
  }

  /** Layers of an image hide names of those below by a device node 0/0; in the last layer it is only that. */
  #isWhiteout(layer: Inode, inode: Inode): boolean {
    return layer !== this.lowers[this.lowers.length - 1] && inode.type === S_IFCHR && inode.rdev === 0
  }

  override revalidate(name: string, inode: Inode | undefined): boolean | Status {
    const node = inode as OverlayInode | undefined
    if (node?.upper !== undefined) return true
    if (node === undefined) {
      if (this.#whiteouts?.has(name)) return true
      for (const layer of this.lowers) if (!layer.revalidate(name, undefined)) return false
      return true
    }
    if (this.lowers.length === 1) return this.lowers[0].revalidate(name, node.lower)
    return true
  }

  override create(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    return this.make(name, upper => upper.create(name, mode, cred))
  }
  override mkdir(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    return this.make(name, upper => upper.mkdir(name, mode, cred))
  }
  override mknod(name: string, mode: number, rdev: number, cred: Credentials): OrErrno<Inode> {
    return this.make(name, upper => upper.mknod(name, mode, rdev, cred))
  }
  override symlink(name: string, target: string, cred: Credentials): OrErrno<Inode> {
    return this.make(name, upper => upper.symlink(name, target, cred))
  }

  /** An entry of the upper directory, which is there then. */
  protected make(name: string, make: (upper: Inode) => OrErrno<Inode>): OrErrno<Inode> {
    const status = this.copyUp()
    if (status < 0) return status
    const upper = make(this.upper!)
    return typeof upper === 'number' ? upper : this.sb.ofUpper(upper, this, name)
  }

  override tmpfile(mode: number, cred: Credentials): OrErrno<Inode> {
    const status = this.copyUp()
    if (status < 0) return status
    const upper = this.upper!.tmpfile(mode, cred)
    return typeof upper === 'number'
      ? upper
      : this.sb.adopt(upper, new OverlayInode(this.sb, upper, undefined, undefined, ''))
  }

  override link(name: string, inode: Inode): Status {
    const node = inode as OverlayInode
    let status = this.copyUp()
    if (status === 0) status = node.copyUp()
    if (status === 0) status = statusOf(this.upper!.link(name, node.upper!))
    if (status < 0) return status
    if (node.parent === undefined) node.place(this, name)
    node.copyAttributes()
    return 0
  }

  override unlink(name: string, inode: Inode): Status {
    return this.remove(name, inode as OverlayInode)
  }
  override rmdir(name: string, inode: Inode): Status {
    return (inode as OverlayDir).isEmpty() ? this.remove(name, inode as OverlayInode) : -ENOTEMPTY
  }

  protected remove(name: string, node: OverlayInode): Status {
    let status = this.copyUp()
    if (status < 0) return status
    const upper = this.upper!
    const inPlace = node.upper === undefined
    if (node.upper === undefined) {
      const now = this.sb.vfs.clock.realtime()
      status = upper.setattr({ mtime: now, ctime: now })
    } else status = node.isDir ? upper.rmdir(name, node.upper) : upper.unlink(name, node.upper)
    if (status < 0) return status
    this.#hideLower(name, node, inPlace)
    node.unlinked()
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
    const to = newDir as OverlayDir
    const other = target as OverlayInode | undefined
    if (!exchange && other instanceof OverlayDir && !other.isEmpty()) return -ENOTEMPTY
    const nodeInPlace = node.upper === undefined
    const otherInPlace = other !== undefined && other.upper === undefined
    let status = this.copyUpForRename(node, to, exchange ? other : undefined)
    if (status === 0) status = this.upper!.rename(name, node.upper!, to.upper!, newName, other?.upper, flags)
    if (status < 0) return status
    this.#hideLower(name, node, nodeInPlace)
    if (other !== undefined) to.#hideLower(newName, other, otherInPlace)
    if (exchange) other!.place(this, name)
    else other?.unlinked()
    node.place(to, newName)
    return 0
  }

  /** All that a rename changes, but for what it replaces. */
  protected copyUpForRename(node: OverlayInode, to: OverlayDir, exchanged: OverlayInode | undefined): Status {
    let status = this.copyUp()
    if (status === 0) status = to.copyUp()
    if (status === 0) status = node.copyUp()
    if (status === 0 && exchanged !== undefined) status = exchanged.copyUp()
    return status
  }

  /** `node` leaves the name, which must not uncover a lower one. `inPlace`: it was that one itself. */
  #hideLower(name: string, node: OverlayInode, inPlace: boolean): void {
    if (node.lower === undefined || this.#whiteouts?.has(name)) return
    if (!inPlace && !this.#hasLower(name)) return
    this.#whiteouts ??= new Set()
    this.#whiteouts.add(name)
  }

  #hasLower(name: string): boolean {
    for (const layer of this.lowers) {
      const found = layer.lookup(name)
      if (found === -ENOENT) continue
      if (typeof found !== 'number') letGo(found)
      return true
    }
    return false
  }

  isEmpty(): boolean {
    const all = new Dirents()
    this.list(all)
    return all.length === 0
  }

  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    // Without lower directories the upper one's cursors will do.
    if (this.lowers.length === 0) return new DirFile(path, flags, cred)
    return new SnapshotDirFile(path, flags, cred)
  }

  override readdir(cursor: number, sink: DirSink): Status {
    if (this.lowers.length === 0) return this.upper!.readdir(cursor, sink)
    const all = new Dirents()
    const status = this.list(all)
    if (status === 0) all.walk(cursor, sink)
    return status
  }

  override list(into: Dirents): Status {
    const start = into.length
    if (this.upper !== undefined) {
      const status = this.upper.list(into)
      if (status < 0) return status
    }
    // Most directories are in one layer only, and then nothing hides anything.
    let hidden: Set<string> | undefined
    if (this.lowers.length > 1 || this.#whiteouts !== undefined || into.length > start) {
      hidden = new Set(this.#whiteouts)
      for (let at = start; at < into.length; at = into.nextOf(at)) hidden.add(into.nameAt(at))
    }
    for (let i = 0; i < this.lowers.length; i++) {
      const status = this.#listLower(this.lowers[i], i === this.lowers.length - 1, hidden, into)
      if (status < 0) return status
    }
    return 0
  }

  #listLower(layer: Inode, last: boolean, hidden: Set<string> | undefined, into: Dirents): Status {
    const { sb } = this
    const start = into.length
    const status = layer.list(into)
    if (status < 0) return status
    if (hidden !== undefined) {
      into.filter(start, (name, type) => {
        if (hidden.has(name)) return false
        if (last) return true
        hidden.add(name)
        return type !== DT_CHR || !this.#hides(layer, name)
      })
    }
    const { dev } = layer
    if (sb.renumbers(dev)) into.renumber(start, ino => sb.inoOf(dev, ino))
    return 0
  }

  #hides(layer: Inode, name: string): boolean {
    const found = layer.lookup(name)
    if (typeof found === 'number') return true
    const hides = this.#isWhiteout(layer, found)
    letGo(found)
    return hides
  }
}

/** Of a link: upper layers have one inode for all names. */
export function statusOf(linked: OrErrno<Inode>): Status {
  return typeof linked === 'number' ? linked : 0
}

/** A looked-up inode of a layer that is not wanted. */
export function letGo(inode: Inode): void {
  hold(inode)
  drop(inode)
}

function isOpaque(dir: Inode): boolean {
  const value = dir.getxattr('trusted.overlay.opaque')
  return typeof value !== 'number' && value.length === 1 && value[0] === 0x79
}
