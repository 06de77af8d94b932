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
import { OVERLAYFS_SUPER_MAGIC } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { Dentry } from '../../vfs/dentry.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
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

export interface OverlayLayers {
  /** Its inodes must live as long as their names do, so it is a tmpfs of its own. */
  upper: SuperBlock
  /** From the topmost. */
  lowers: readonly SuperBlock[]
}

export class OverlaySuper extends SuperBlock {
  override readonly fsType = 'overlay'
  override readonly root: OverlayDir
  /** Who copies up: the identity of the mounter. */
  readonly cred: Credentials
  readonly vfs: Vfs
  /** Private mounts, which keep the layers. */
  readonly #upper: Mount
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
    this.#upper = privateMount(vfs, layers.upper)
    this.#lowers = layers.lowers.map(sb => privateMount(vfs, sb))
    const lowerRoots = layers.lowers.map(sb => sb.root)
    const { mode, uid, gid, atime, mtime } = lowerRoots[0]
    layers.upper.root.setattr({ mode: mode & 0o7777, uid, gid, atime, mtime })
    this.root = new OverlayDir(this, layers.upper.root, lowerRoots, undefined, '')
    layers.upper.root.ino = this.root.ino
    this.#byUpper.set(layers.upper.root, this.root)
  }

  get upperRoot(): Inode {
    return this.#upper.root.inode!
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
          ? new OverlayDir(this, upper, [], parent, name)
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
      ? new OverlayDir(this, undefined, dirs, parent, name)
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
      { mount: this.#upper, dentry: new Dentry('', undefined, inode, inode.sb) },
      flags,
      this.cred,
    )
  }
  closeLayer(file: File): void {
    filePut(file)
  }

  override statfs(out: HostStatfs): Status {
    let status = this.#upper.sb.statfs(out)
    // An upper layer without a limit says nothing of sizes: then the lower one's tell what to expect.
    if (status === 0 && out.blocks === 0 && this.#lowers.length > 0) status = this.#lowers[0].sb.statfs(out)
    out.type = OVERLAYFS_SUPER_MAGIC
    return status
  }

  override options(): string {
    return this.#upper.sb.options()
  }

  override remount(flags: number, options: string): Status {
    return options === '' ? 0 : this.#upper.sb.remount(flags, options)
  }

  override release(): void {
    this.#upper.drop()
    for (const lower of this.#lowers) lower.drop()
  }
}

/** An overlay of these layers; -EINVAL without a lower one. */
export function mountOverlay(vfs: Vfs, layers: OverlayLayers, cred: Credentials): OrErrno<OverlaySuper> {
  if (layers.lowers.length === 0) return -EINVAL
  return new OverlaySuper(vfs, layers, cred)
}

/** Held once, by the overlay. */
function privateMount(vfs: Vfs, sb: SuperBlock): Mount {
  const mount = new Mount(vfs, sb)
  mount.refs++
  return mount
}
