/**
 * `mount -t overlay`: an overlay of directories that are there already, as container engines make them for images. See
 * super.ts for how the merge works, and layered-directory.ts for what differs where the upper layer is not our own.
 *
 * With redirect_dir=on a directory that merges can be renamed: its upper one then says by which name the lower ones are
 * found; without, that is EXDEV, and such notes are followed all the same, as on Linux. With metacopy=on a change of a file's
 * attributes alone leaves its data below until it is written or gets another name (metacopy.ts).
 */
import { MS_RDONLY, OVERLAYFS_SUPER_MAGIC } from '../../abi/constants.ts'
import { EEXIST, EINVAL, ELOOP } from '../../abi/errno.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { type HostStatfs, newHostStatfs } from '../../platform/host.ts'
import { type Dentry, dropDentry, holdDentry, isBelow } from '../../vfs/dentry.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import { sameIdmap } from '../../vfs/idmap.ts'
import type { Inode } from '../../vfs/inode.ts'
import type { Mount } from '../../vfs/mount.ts'
import { LOOKUP_FOLLOW, lookup } from '../../vfs/namei.ts'
import { mkdir } from '../../vfs/operations.ts'
import { dropPath, holdPath, type Path } from '../../vfs/path.ts'
import type { Vfs } from '../../vfs/vfs.ts'
import type { OverlayDir } from './directory.ts'
import { isWhiteout, LayeredDir, OPAQUE } from './layered-directory.ts'
import { type OverlayOptions, parseOptions, quotedOption, refusedOption } from './options.ts'
import { type OverlayLayer, type OverlayLayers, OverlaySuper, privateMount } from './super.ts'

/** What can be an upper layer, and what can't be one at all since it answers later. */
const UPPER_TYPES = ['tmpfs', 'overlay', 'hostfs']
const TRUSTED_OPAQUE = 'trusted.overlay.opaque'
const USER_OPAQUE = 'user.overlay.opaque'
const TRUSTED_REDIRECT = 'trusted.overlay.redirect'
const USER_REDIRECT = 'user.overlay.redirect'
const NO_BYTES = new Uint8Array(0)
const NO_LAYER = /^fuse(\.|$)/
const TRUSTED_METACOPY = 'trusted.overlay.metacopy'
const USER_METACOPY = 'user.overlay.metacopy'
/** What `opaque` is in a directory in which files with the second attribute hide names: a whiteout for who can't make devices. */
const FILE_WHITEOUTS = 0x78
const WHITEOUT = 'overlay.whiteout'

export class LayeredSuper extends OverlaySuper {
  readonly #options: string
  /** Attributes that make a directory opaque, the first one that can be set. */
  readonly #opaque: readonly string[]
  /** The place where it was found may be unmounted: the upper directory's file system is held. */
  readonly #work: Dentry | undefined
  /** Whether directories that merge may be renamed, and notes of it are followed: else what has one is refused. */
  readonly redirects: boolean
  readonly followsRedirects: boolean
  /** Attributes that are such notes. */
  readonly #redirect: readonly string[]
  readonly lowerRoots: readonly Inode[]
  /** Of data-only layers, and the private mounts that keep them. */
  readonly dataRoots: readonly Inode[]
  readonly #datas: readonly Mount[]
  readonly #metacopies: boolean
  readonly #metacopy: string
  /** Which layer a directory of the lower ones is in; and in which layers files may be whiteouts. */
  readonly #layerOf = new WeakMap<Inode, number>()
  readonly #fileWhiteouts: readonly boolean[]
  readonly #userXattr: boolean

  constructor(vfs: Vfs, layers: Layers, cred: Credentials, options: OverlayOptions) {
    super(vfs, layers, cred)
    this.#options = options.shown
    // On files of the host the sentry may set no trusted attributes.
    this.#opaque = options.userXattr ? [USER_OPAQUE] : [TRUSTED_OPAQUE, USER_OPAQUE]
    this.#work = layers.work?.dentry
    if (this.#work !== undefined) holdDentry(this.#work)
    this.redirects = options.redirect === 'on'
    this.followsRedirects = options.redirect !== 'nofollow' && !options.userXattr
    // The owner of a directory can set the second one: it is believed where we have to set it ourselves.
    this.#redirect = options.userXattr
      ? [USER_REDIRECT]
      : this.redirects
        ? [TRUSTED_REDIRECT, USER_REDIRECT]
        : [TRUSTED_REDIRECT]
    this.#userXattr = options.userXattr
    this.#metacopy = options.userXattr ? USER_METACOPY : TRUSTED_METACOPY
    this.#metacopies = options.metacopy
    this.lowerRoots = layers.lowers.map(layer => layer.root.inode!)
    this.lowerRoots.forEach((root, i) => {
      this.#layerOf.set(root, i)
    })
    this.#fileWhiteouts = this.lowerRoots.map(root => this.#opaqueness(root) === FILE_WHITEOUTS)
    this.#datas = layers.datas.map(layer => privateMount(vfs, layer))
    this.dataRoots = layers.datas.map(layer => layer.root.inode!)
  }

  /** The layer of what was found in a directory of a lower one. */
  layerOf(inode: Inode): number {
    return this.#layerOf.get(inode) ?? 0
  }
  noteLayer(inode: Inode, dir: Inode): void {
    this.#layerOf.set(inode, this.layerOf(dir))
  }

  /** metacopy=on. */
  override get copiesLater(): boolean {
    return this.#metacopies
  }
  /** Whether the data of a file of which that layer has the attributes alone is looked for. */
  followsMetacopy(layer: number): boolean {
    // Nobody uses data-only layers without it, so they need no option: from the lower layer next to them.
    const isLast = layer === this.lowerRoots.length - 1
    return this.#metacopies || (isLast && this.dataRoots.length > 0)
  }
  isMetacopy(inode: Inode): boolean {
    return inode.isRegular && typeof inode.getxattr(this.#metacopy) !== 'number'
  }
  override markMetacopy(upper: Inode, on: boolean): Status {
    return on ? upper.setxattr(this.#metacopy, NO_BYTES, 0) : upper.removexattr(this.#metacopy)
  }

  /** Whether files of a directory of a lower layer may be whiteouts: a listing does not look otherwise, as on Linux. */
  hasFileWhiteouts(dir: Inode): boolean {
    const layer = this.#layerOf.get(dir)
    return layer !== undefined && this.#fileWhiteouts[layer] && this.#opaqueness(dir) === FILE_WHITEOUTS
  }
  isWhiteout(inode: Inode): boolean {
    if (isWhiteout(inode)) return true
    if (!inode.isRegular || inode.size > 0) return false
    return typeof inode.getxattr(`${this.#userXattr ? 'user' : 'trusted'}.${WHITEOUT}`) !== 'number'
  }

  override statfs(out: HostStatfs): Status {
    const status = super.statfs(out)
    out.type = OVERLAYFS_SUPER_MAGIC
    return status
  }

  override get workDir(): Inode | undefined {
    return this.#work?.inode
  }
  override release(): void {
    if (this.#work !== undefined) dropDentry(this.#work)
    for (const data of this.#datas) data.drop()
    super.release()
  }

  override get ownsUpper(): boolean {
    return false
  }

  protected override directory(
    upper: Inode | undefined,
    lowers: readonly Inode[],
    parent: OverlayDir | undefined,
    name: string,
  ): OverlayDir {
    return new LayeredDir(this, upper, lowers, parent, name)
  }

  isOpaque(dir: Inode): boolean {
    return this.#opaqueness(dir) === OPAQUE[0]
  }
  /** The letter that the attribute `opaque` is; 0 if there is none. */
  #opaqueness(dir: Inode): number {
    for (const name of this.#opaque) {
      const value = dir.getxattr(name)
      if (typeof value !== 'number' && value.length === 1) return value[0]
    }
    return 0
  }
  makeOpaque(dir: Inode): Status {
    let status: Status = 0
    for (const name of this.#opaque) {
      status = dir.setxattr(name, OPAQUE, 0)
      if (status === 0) break
    }
    return status
  }

  /** By what name, or from the layers' roots by what path, those below a directory of a layer are found; '' for its own. */
  redirectOf(dir: Inode): string {
    for (const name of this.#redirect) {
      const value = dir.getxattr(name)
      if (typeof value !== 'number' && isRedirect(value)) return fromBytes(value)
    }
    return ''
  }
  setRedirect(dir: Inode, redirect: string): Status {
    const value = toBytes(redirect)
    const status = dir.setxattr(TRUSTED_REDIRECT, value, 0)
    return status === 0 ? 0 : dir.setxattr(USER_REDIRECT, value, 0)
  }

  override options(): string {
    return this.#options
  }
  override remount(flags: number, _options: string): Status {
    return this.readOnly && (flags & MS_RDONLY) === 0 ? -EINVAL : 0
  }
}

interface Layers extends OverlayLayers {
  readonly datas: readonly OverlayLayer[]
  /** workdir/work. */
  readonly work: Path | undefined
}

export const overlayType: FsType = {
  name: 'overlay',
  flags: FS_NODEV | FS_USERNS_MOUNT,
  refuses: refusedOption,
  quotes: quotedOption,
  mount(source: string, flags: number, text: string, context: MountContext): OrErrno<LayeredSuper> {
    const options = parseOptions(text)
    if (typeof options === 'number') return options
    // One walk after the other: what they have found stays until the overlay holds it.
    const places: Path[] = []
    const layers = findLayers(options, context, places)
    const sb =
      typeof layers === 'number' ? layers : new LayeredSuper(context.vfs, layers, context.cred, options)
    for (const place of places) dropPath(place)
    if (typeof sb === 'number') return sb
    sb.source = source
    sb.flags = (flags & MS_RDONLY) | (sb.readOnly ? MS_RDONLY : 0)
    return sb
  },
}

/** `places`: all that is found, held. */
function findLayers(options: OverlayOptions, context: MountContext, places: Path[]): Layers | number {
  const find = (name: string, start?: Path): OrErrno<Path> => {
    const place = directoryAt(name, context, start)
    if (!failed(place)) places.push(holdPath(place))
    return place
  }
  for (const name of [...options.lowers, ...options.datas]) {
    const place = find(name)
    if (failed(place)) return place
  }
  const below = [...places]
  const lowers = below.slice(0, options.lowers.length)
  const datas = below.slice(options.lowers.length)
  let upper: Path | undefined
  let workPlace: Path | undefined
  if (options.upper !== '') {
    const place = find(options.upper)
    const work = failed(place) ? place : find(options.work)
    if (failed(place) || failed(work)) return work as number
    if (!UPPER_TYPES.includes(place.dentry.sb.fsType) || place.mount.readOnly) return -EINVAL
    if (place.mount.idmap !== undefined || isOverlay(place)) return -EINVAL
    // Work and upper directory must be on one file system, and apart.
    const apart = !isBelow(place.dentry, work.dentry) && !isBelow(work.dentry, place.dentry)
    if (place.mount !== work.mount || !apart) return -EINVAL
    if (below.some(lower => overlaps(lower, place) || overlaps(lower, work))) return -ELOOP
    const made = mkdir(context, work, 'work', 0)
    if (made < 0 && made !== -EEXIST) return made
    const own = find('work', work)
    if (failed(own)) return own
    workPlace = own
    own.dentry.inode!.changedElsewhere = true
    upper = place
  }
  // Owners are looked at one way in all lower layers.
  const lowerIdmap = lowers[0]?.mount.idmap
  if (below.some(({ mount }) => !sameIdmap(mount.idmap, lowerIdmap))) return -EINVAL
  const layer = ({ dentry }: Path): OverlayLayer => ({ sb: dentry.sb, root: dentry })
  return {
    upper: upper && layer(upper),
    lowers: lowers.map(layer),
    lowerIdmap,
    datas: datas.map(layer),
    work: workPlace,
  }
}

/** Whether a directory is in an overlay as programs know it, of the guest's or of the host's: no upper directory on Linux. */
function isOverlay({ dentry }: Path): boolean {
  const about = newHostStatfs()
  return dentry.sb.statfs(about, dentry.inode!) === 0 && about.type === OVERLAYFS_SUPER_MAGIC
}

function overlaps(a: Path, b: Path): boolean {
  return isBelow(a.dentry, b.dentry) || isBelow(b.dentry, a.dentry)
}

function directoryAt(name: string, context: MountContext, start?: Path): OrErrno<Path> {
  const place = lookup(context, start, name, LOOKUP_FOLLOW)
  if (failed(place)) return place
  if (!place.dentry.inode!.isDir) return -EINVAL
  return NO_LAYER.test(place.dentry.sb.fsType) ? -EINVAL : place
}

/** ovl_get_redirect_xattr: a name, or a path from the root with names only in it. */
function isRedirect(value: Uint8Array): boolean {
  const text = fromBytes(value)
  if (text === '' || text.includes('\0')) return false
  return text.startsWith('/') ? /^(\/[^/]+)+$/.test(text) : !text.includes('/')
}
