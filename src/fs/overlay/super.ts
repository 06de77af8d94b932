/**
 * overlay: a writable layer (the upper, in memory) over one or more read-only ones (the lowers), as Linux's overlayfs.
 *
 * An OverlayInode stands for one file of the merged tree. While nothing was changed it has a lower inode only; the first
 * change copies it up (copy-up.ts) and from then on the upper inode is the file. What of the merge can't be seen in the
 * upper layer stays in the inodes: an OverlayDir knows which lower directories it merges, wherever it was moved to, and
 * which lower names were removed (whiteouts). So an inode with an upper one lives as long as that one has a name; the
 * others go with their dentry. The layers' inodes are held through their `dentries` count and let go by `release`.
 *
 * All of the tree is one device. A file's number is that of its lower inode, also after copy-up (the upper inode takes it
 * over), with the number of the host's device in front where there are several; new files count from 2^40.
 */
import { EINVAL, EOPNOTSUPP, EROFS } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { Dentry, rootDentry } from '../../vfs/dentry.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import type { MountIdmap } from '../../vfs/idmap.ts'
import type { Inode } from '../../vfs/inode.ts'
import { Mount } from '../../vfs/mount.ts'
import { SuperBlock } from '../../vfs/super-block.ts'
import type { Vfs } from '../../vfs/vfs.ts'
import { OverlayDir } from './directory.ts'
import { OverlayInode } from './inode.ts'

/** Where a new file system that serves as an upper layer starts to number. */
export const UPPER_FIRST_INO = 2 ** 40
/** Below this the numbers of the second and further devices leave room. */
const INO_LIMIT = 2 ** 44
const MAX_DEVICES = 256

/** A directory that is a layer, with what is below it. */
export interface OverlayLayer {
  readonly sb: SuperBlock
  readonly root: Dentry
}

export interface OverlayLayers {
  /** None: nothing can be changed. */
  upper: OverlayLayer | undefined
  /** From the topmost. */
  lowers: readonly OverlayLayer[]
  /** How the owners in the lower layers look, if these are id-mapped: all of them by the same map. */
  lowerIdmap?: MountIdmap | undefined
}

export class OverlaySuper extends SuperBlock {
  override readonly fsType = 'overlay'
  override readonly exportable: boolean = true
  override readonly idmappable = true
  override readonly acls = 'ours'
  override readonly root: OverlayDir
  /** Who copies up: the identity of the mounter. */
  readonly cred: Credentials
  readonly vfs: Vfs
  readonly lowerIdmap: MountIdmap | undefined
  /** Private mounts, which keep the layers. */
  readonly #upper: Mount | undefined
  readonly #lowers: readonly Mount[]
  readonly #byUpper = new Map<Inode, OverlayInode>()
  readonly #byLower = new Map<Inode, OverlayInode>()
  /** Lower devices in the order in which they were met. */
  readonly #devices: number[] = []

  constructor(vfs: Vfs, layers: OverlayLayers, cred: Credentials) {
    super(vfs.newDev())
    this.source = 'overlay'
    this.vfs = vfs
    this.cred = cred
    this.lowerIdmap = layers.lowerIdmap
    this.#upper = layers.upper && privateMount(vfs, layers.upper)
    this.#lowers = layers.lowers.map(layer => privateMount(vfs, layer))
    const lowerRoots = layers.lowers.map(layer => layer.root.inode!)
    const upperRoot = layers.upper?.root.inode
    this.root = this.directory(upperRoot, lowerRoots, undefined, '')
    if (upperRoot !== undefined) this.#byUpper.set(upperRoot, this.root)
  }

  /**
   * Whether the upper layer is nobody else's: then its inodes live as long as their names do, have the numbers of those
   * that they are copies of, and what of the merge they can't show is kept in the inodes of the overlay.
   */
  get ownsUpper(): boolean {
    return true
  }

  /** A new inode for a directory of these layers. */
  protected directory(
    upper: Inode | undefined,
    lowers: readonly Inode[],
    parent: OverlayDir | undefined,
    name: string,
  ): OverlayDir {
    return new OverlayDir(this, upper, lowers, parent, name)
  }

  /** The inode of a directory that the upper layer has and that merges `lowers`. */
  ofMerged(upper: Inode, lowers: readonly Inode[], parent: OverlayDir, name: string): OverlayInode {
    const known = this.#byUpper.get(upper)
    return known ?? this.adopt(upper, this.directory(upper, lowers, parent, name))
  }

  /** Whether a change of attributes leaves a file's data where it is. */
  get copiesLater(): boolean {
    return false
  }
  /** Says in `upper` that it has the attributes alone; or (`on` false) that it has the data too. */
  markMetacopy(_upper: Inode, _on: boolean): Status {
    return -EOPNOTSUPP
  }

  get readOnly(): boolean {
    return this.#upper === undefined
  }
  /** A directory beside the upper one, where that is somebody else's. */
  get workDir(): Inode | undefined {
    return undefined
  }
  /** A name for something in it. */
  newWorkName(): string {
    return `#${(++this.#workNames).toString(16)}`
  }
  #workNames = 0

  get upperRoot(): Inode {
    return this.#upper!.root.inode!
  }

  /** The number in the merged tree of what a lower layer has as `ino` on `dev`. */
  inoOf(dev: number, ino: number): number {
    const index = this.#indexOf(dev)
    return index === 0 || index >= MAX_DEVICES || ino >= INO_LIMIT ? ino : index * INO_LIMIT + ino
  }
  /** Whether files of `dev` have other numbers in the merged tree. */
  renumbers(dev: number): boolean {
    return this.#indexOf(dev) !== 0
  }
  #indexOf(dev: number): number {
    const index = this.#devices.indexOf(dev)
    return index < 0 ? this.#devices.push(dev) - 1 : index
  }

  /** The inode of what the upper layer has as `name` in `parent`. */
  ofUpper(upper: Inode, parent: OverlayDir, name: string): OverlayInode {
    const known = this.#byUpper.get(upper)
    return (
      known ??
      this.adopt(
        upper,
        upper.isDir
          ? this.directory(upper, [], parent, name)
          : new OverlayInode(this, upper, undefined, parent, name),
      )
    )
  }

  /** The inode of what only lower layers have; `dirs`: all that merge, if `lower` is a directory. */
  ofLower(lower: Inode, dirs: readonly Inode[], parent: OverlayDir, name: string): OverlayInode {
    const known = this.#byLower.get(lower)
    if (known !== undefined) {
      known.place(parent, name)
      return known
    }
    const inode = lower.isDir
      ? this.directory(undefined, dirs, parent, name)
      : new OverlayInode(this, undefined, lower, parent, name)
    // The links of a lower file part when one is copied up, so they are separate from the start.
    if (lower.isDir || lower.nlink === 1) this.#byLower.set(lower, inode)
    return inode
  }

  /** From now on `inode` stands for `upper`. */
  adopt(upper: Inode, inode: OverlayInode): OverlayInode {
    this.#byUpper.set(upper, inode)
    if (inode.lower !== undefined) this.#byLower.delete(inode.lower)
    return inode
  }

  /** The inode is no more. */
  forget(inode: OverlayInode): void {
    if (inode.upper !== undefined) this.#byUpper.delete(inode.upper)
    if (inode.lower !== undefined && this.#byLower.get(inode.lower) === inode)
      this.#byLower.delete(inode.lower)
  }

  get inodeCount(): number {
    return this.#byUpper.size + this.#byLower.size
  }

  /** Opens an inode of a layer, which the overlay holds, for the overlay itself. */
  openLayer(inode: Inode, flags: number): OrErrno<File> {
    return inode.open(
      { mount: this.#upper ?? this.#lowers[0], dentry: new Dentry('', undefined, inode, inode.sb) },
      flags,
      this.cred,
    )
  }
  closeLayer(file: File): void {
    filePut(file)
  }

  /**
   * The type is that of the upper layer, which is memory and can hold a further overlay's upper directory: container engines
   * give their own overlays up, or fail, where they see overlayfs.
   */
  override statfs(out: HostStatfs): Status {
    const top = this.#upper ?? this.#lowers[0]
    let status = top.sb.statfs(out, top.root.inode)
    const { type } = out
    // An upper layer without a limit says nothing of sizes: then the lower one's tell what to expect.
    if (status === 0 && out.blocks === 0 && this.#lowers.length > 0) status = this.#lowers[0].sb.statfs(out)
    out.type = type
    return status
  }

  override options(): string {
    return this.#upper?.sb.options() ?? ''
  }

  override remount(flags: number, options: string): Status {
    return options === '' ? 0 : (this.#upper?.sb.remount(flags, options) ?? -EROFS)
  }

  override release(): void {
    this.#upper?.drop()
    for (const lower of this.#lowers) lower.drop()
  }
}

/** An overlay of whole file systems, the upper one its own; -EINVAL without a lower one. */
export function mountOverlay(
  vfs: Vfs,
  layers: { upper: SuperBlock; lowers: readonly SuperBlock[] },
  cred: Credentials,
): OrErrno<OverlaySuper> {
  if (layers.lowers.length === 0) return -EINVAL
  const { mode, uid, gid, atime, mtime } = layers.lowers[0].root
  const upper = layers.upper.root
  upper.setattr({ mode: mode & 0o7777, uid, gid, atime, mtime })
  const layer = (sb: SuperBlock): OverlayLayer => ({ sb, root: rootDentry(sb) })
  const overlay = new OverlaySuper(
    vfs,
    { upper: layer(layers.upper), lowers: layers.lowers.map(layer) },
    cred,
  )
  upper.ino = overlay.root.ino
  return overlay
}

/** Held once, by the overlay. */
export function privateMount(vfs: Vfs, { sb, root }: OverlayLayer): Mount {
  const mount = new Mount(vfs, sb, root)
  mount.refs++
  return mount
}
