/**
 * `mount -t overlay`: an overlay of directories that are there already, as container engines make them for images. See
 * super.ts for how the merge works, and layered-directory.ts for what differs where the upper layer is not our own.
 *
 * With redirect_dir=on a directory that merges can be renamed: its upper one then says by which name the lower ones are
 * found; without, that is EXDEV, and such notes are followed all the same, as on Linux. index, metacopy and nfs_export are
 * off, and can't be switched on: a file is copied up whole.
 */
import { MS_RDONLY } from '../../abi/constants.ts'
import { EEXIST, EINVAL, ELOOP } from '../../abi/errno.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { type Dentry, dropDentry, holdDentry, isBelow } from '../../vfs/dentry.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Inode } from '../../vfs/inode.ts'
import { LOOKUP_FOLLOW, lookup } from '../../vfs/namei.ts'
import { mkdir } from '../../vfs/operations.ts'
import type { Path } from '../../vfs/path.ts'
import type { Vfs } from '../../vfs/vfs.ts'
import type { OverlayDir } from './directory.ts'
import { LayeredDir, OPAQUE } from './layered-directory.ts'
import { type OverlayLayer, type OverlayLayers, OverlaySuper } from './super.ts'

/** OVL_MAX_STACK. */
const MAX_LAYERS = 500
/** What can be an upper layer, and what can't be one at all since it answers later. */
const UPPER_TYPES = ['tmpfs', 'overlay', 'hostfs']
const TRUSTED_OPAQUE = 'trusted.overlay.opaque'
const USER_OPAQUE = 'user.overlay.opaque'
const TRUSTED_REDIRECT = 'trusted.overlay.redirect'
const USER_REDIRECT = 'user.overlay.redirect'
const NO_LAYER = /^fuse(\.|$)/
/** Options that ask for what is the case anyway. */
const IDLE = new Set([
  ...['index=off', 'metacopy=off', 'nfs_export=off'],
  ...['xino=on', 'xino=off', 'xino=auto', 'default_permissions', 'volatile', 'uuid=null'],
  ...['uuid=off', 'uuid=auto', 'verity=off'],
])

const REDIRECTS = ['on', 'off', 'follow', 'nofollow']

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
  }

  override get workDir(): Inode | undefined {
    return this.#work?.inode
  }
  override release(): void {
    if (this.#work !== undefined) dropDentry(this.#work)
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
    return this.#opaque.some(name => {
      const value = dir.getxattr(name)
      return typeof value !== 'number' && value.length === 1 && value[0] === OPAQUE[0]
    })
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
  /** workdir/work. */
  readonly work: Path | undefined
}

interface OverlayOptions {
  lowers: string[]
  upper: string
  work: string
  userXattr: boolean
  /** redirect_dir. */
  redirect: string
  /** As /proc/mounts has them. */
  shown: string
}

export const overlayType: FsType = {
  name: 'overlay',
  flags: FS_NODEV | FS_USERNS_MOUNT,
  mount(source: string, flags: number, text: string, context: MountContext): OrErrno<LayeredSuper> {
    const options = parseOptions(text)
    if (typeof options === 'number') return options
    const layers = findLayers(options, context)
    if (typeof layers === 'number') return layers
    const sb = new LayeredSuper(context.vfs, layers, context.cred, options)
    sb.source = source
    sb.flags = (flags & MS_RDONLY) | (layers.upper === undefined ? MS_RDONLY : 0)
    return sb
  },
}

function findLayers(options: OverlayOptions, context: MountContext): Layers | number {
  const lowers: Path[] = []
  for (const name of options.lowers) {
    const place = directoryAt(name, context)
    if (failed(place)) return place
    lowers.push(place)
  }
  let upper: Path | undefined
  let workPlace: Path | undefined
  if (options.upper !== '') {
    const place = directoryAt(options.upper, context)
    const work = failed(place) ? place : directoryAt(options.work, context)
    if (failed(place) || failed(work)) return work as number
    if (!UPPER_TYPES.includes(place.dentry.sb.fsType) || place.mount.readOnly) return -EINVAL
    // Work and upper directory must be on one file system, and apart.
    const apart = !isBelow(place.dentry, work.dentry) && !isBelow(work.dentry, place.dentry)
    if (place.mount !== work.mount || !apart) return -EINVAL
    if (lowers.some(lower => overlaps(lower, place) || overlaps(lower, work))) return -ELOOP
    const made = mkdir(context, work, 'work', 0)
    if (made < 0 && made !== -EEXIST) return made
    const found = directoryAt('work', context, work)
    if (failed(found)) return found
    workPlace = found
    found.dentry.inode!.changedElsewhere = true
    upper = place
  }
  const layer = ({ dentry }: Path): OverlayLayer => ({ sb: dentry.sb, root: dentry })
  return { upper: upper && layer(upper), lowers: lowers.map(layer), work: workPlace }
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

function parseOptions(text: string): OverlayOptions | number {
  const options: OverlayOptions = {
    lowers: [],
    upper: '',
    work: '',
    userXattr: false,
    redirect: 'off',
    shown: '',
  }
  for (const part of split(text, ',')) {
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals)
    const value = plain(part.slice(equals + 1))
    if (part === '') continue
    if (key === 'lowerdir') options.lowers = split(part.slice(equals + 1), ':').map(plain)
    else if (key === 'lowerdir+') options.lowers.push(value)
    else if (key === 'upperdir') options.upper = value
    else if (key === 'workdir') options.work = value
    else if (part === 'userxattr') options.userXattr = true
    else if (key === 'redirect_dir' && REDIRECTS.includes(value)) options.redirect = value
    else if (!IDLE.has(part)) return -EINVAL
  }
  const { lowers, upper, work } = options
  if (lowers.length === 0 || lowers.length > MAX_LAYERS || lowers.includes('')) return -EINVAL
  if (upper === '' ? lowers.length === 1 : work === '') return -EINVAL
  if (options.userXattr && (options.redirect === 'on' || options.redirect === 'follow')) return -EINVAL
  options.shown = `lowerdir=${lowers.map(escaped).join(':')}`
  if (upper !== '') options.shown += `,upperdir=${escaped(upper)},workdir=${escaped(work)}`
  if (options.redirect === 'on' || options.redirect === 'nofollow')
    options.shown += `,redirect_dir=${options.redirect}`
  if (options.userXattr) options.shown += ',userxattr'
  return options
}

/** ovl_get_redirect_xattr: a name, or a path from the root with names only in it. */
function isRedirect(value: Uint8Array): boolean {
  const text = fromBytes(value)
  if (text === '' || text.includes('\0')) return false
  return text.startsWith('/') ? /^(\/[^/]+)+$/.test(text) : !text.includes('/')
}

/** At a separator that no backslash stands in front of. */
function split(text: string, separator: string): string[] {
  const parts: string[] = []
  let start = 0
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === separator) {
      parts.push(text.slice(start, at))
      start = at + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function plain(text: string): string {
  return text.replace(/\\(.)/gs, '$1')
}
function escaped(text: string): string {
  return text.replace(/[\\:,]/g, '\\$&')
}
