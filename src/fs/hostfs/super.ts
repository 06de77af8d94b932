/**
 * hostfs: a directory tree (or one file) of the host, reached from one donated descriptor.
 *
 * A HostInode stands for one file of the host. It is made by a lookup, is the only one of its (device, inode number)
 * while a dentry, an open file or a child of it refers to it, and knows one place (directory, name) where the host has
 * it. Directories keep a descriptor while they are among the last used (fd-cache.ts), and so do files for all that read
 * them; other open Files have one of their own each.
 * Every host call names a single component below a directory descriptor and follows no link. Nothing but directories
 * and regular files is ever opened: what a name turned out to be is checked on the descriptor itself.
 *
 * 'cache' is for a tree that others change rarely (the lower layer of an overlay): names and attributes are believed for
 * a second. 'shared' is for volumes and the roots of containers, which we and others write to: what was asked once holds as
 * long as the host would tell of a change (followed.ts), and where it does not every walk asks the host.
 */
import {
  AT_EMPTY_PATH,
  OVERLAYFS_SUPER_MAGIC,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../../abi/constants.ts'
import { EMFILE, ENOTDIR } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import { type Host, type HostStat, type HostStatfs, newHostStat } from '../../platform/host.ts'
import type { HostChanges } from '../../platform/host-changes.ts'
import type { Dentry } from '../../vfs/dentry.ts'
import { dentryToString } from '../../vfs/path-string.ts'
import { SuperBlock } from '../../vfs/super-block.ts'
import { makedev } from '../../vfs/vfs.ts'
import { mayStandIn } from './device-node.ts'
import { HostDir } from './directory.ts'
import { FdCache } from './fd-cache.ts'
import { type HostInode, HostSpecial, HostSymlink } from './inode.ts'
import { HostRegular } from './regular.ts'
import { fsTypeOf, RESOLVE } from './safety.ts'

/** Descriptors that may stay open although nobody needs them. */
const IDLE_DIRECTORIES = 512
const IDLE_FILES = 256

export interface HostfsOptions {
  /** The tree is written to, here and by others; otherwise its mounts must be read-only. */
  shared: boolean
}

export class HostSuper extends SuperBlock {
  override readonly fsType = 'hostfs'
  override readonly exportable: boolean = true
  override readonly idmappable = true
  override readonly acls = 'host'
  /** A directory, or the one file that was donated. */
  override readonly root: HostInode
  readonly host: Host
  readonly shared: boolean
  /** Who tells of changes in a shared tree. */
  readonly changes: HostChanges | undefined
  /**
   * Nanoseconds for which a name, and attributes, are believed; in a shared tree at most, since there are changes that the
   * host does not tell of: those of writes through mappings.
   */
  readonly nameTrust: number
  readonly attrTrust: number
  /** For which an open needs no second look at what it opened. */
  readonly openTrust: number
  readonly dirFds: FdCache
  readonly fileFds: FdCache
  /** Filled and read within one method. */
  readonly stat: HostStat = newHostStat()
  readonly direntBuffer = new Uint8Array(32768)
  readonly #rootFd: number
  /** Magic numbers of the file systems that are there, by device. */
  readonly #types = new Map<number, number>()
  /** Inodes in use, by device and number. */
  readonly #inodes = new Map<number, Map<number, HostInode>>()
  /** Where the tree is on the host, if the guest is to know: its mounts show it as a bind mount of a file system shows its root. */
  hostPath = ''
  /** Devices whose file systems have no access control lists. */
  readonly withoutAcls = new Set<number>()
  /** The descriptor that made the newest file: its mode may not allow a second open. */
  #created: { node: HostInode; fd: number } | undefined = undefined

  /** Use `mountHostfs`. */
  constructor(dev: number, host: Host, rootFd: number, rootStat: HostStat, options: HostfsOptions) {
    super(dev)
    this.host = host
    this.shared = options.shared
    this.changes = options.shared ? host.changes : undefined
    this.nameTrust = options.shared ? 0 : 1e9
    // Without anybody who tells: for the stat that ends a path walk not to ask what the walk has just asked.
    this.attrTrust = options.shared && this.changes === undefined ? 1e5 : 1e9
    this.openTrust = options.shared ? 0 : 1e6
    this.dirFds = new FdCache(host, IDLE_DIRECTORIES)
    this.fileFds = new FdCache(host, IDLE_FILES)
    this.#rootFd = rootFd
    this.changes?.whenQuiet.add(this.#closeFiles)
    this.typeOf(makedev(rootStat.devMajor, rootStat.devMinor), rootFd)
    Object.assign(this.stat, rootStat)
    this.root = this.inodeOf(this.stat, undefined, '')
  }

  /** A file that is removed from outside would keep its space. */
  readonly #closeFiles = (): void => this.fileFds.closeIdle()

  get rootFd(): number {
    return this.#rootFd
  }

  override showRoot(root: Dentry): string {
    const below = dentryToString(root)
    if (this.hostPath === '' || this.hostPath === '/') return below
    return below === '/' ? this.hostPath : this.hostPath + below
  }

  /** The inode that `stat` describes, found at `name` in `parent`. */
  inodeOf(stat: HostStat, parent: HostDir | undefined, name: string): HostInode {
    const dev = makedev(stat.devMajor, stat.devMinor)
    // A number too big for a double may be another one's, too: such files are not told apart by it.
    const exact = stat.ino <= Number.MAX_SAFE_INTEGER
    let table = this.#inodes.get(dev)
    const known = exact ? table?.get(stat.ino) : undefined
    if (known?.is(stat)) {
      known.update(stat)
      known.foundAt(parent, name)
      return known
    }
    const made = this.#newInode(stat, dev, parent, name)
    made.foundAt(parent, name)
    if (exact) {
      table ??= new Map()
      table.set(stat.ino, made)
      this.#inodes.set(dev, table)
    }
    return made
  }

  forget(inode: HostInode): void {
    const table = this.#inodes.get(inode.dev)
    if (table?.get(inode.ino) === inode) table.delete(inode.ino)
  }

  /** Inodes in use: for tests and statistics. */
  get inodeCount(): number {
    let count = 0
    for (const table of this.#inodes.values()) count += table.size
    return count
  }

  /** Opens `name` below a directory's descriptor; idle descriptors of files go where there are too many. */
  openBelow(at: number, name: string, flags: number, mode = 0): number {
    const fd = this.host.openat2(at, name, flags, mode, RESOLVE)
    if (fd !== -EMFILE || this.fileFds.idle === 0) return fd
    this.fileFds.closeIdle()
    return this.host.openat2(at, name, flags, mode, RESOLVE)
  }

  /** The type of the file system on `dev`, from which `fd` is; -1 if the host does not say. */
  typeOf(dev: number, fd: number): number {
    let type = this.#types.get(dev)
    if (type === undefined) {
      type = fsTypeOf(this.host, fd)
      this.#types.set(dev, type)
    }
    return type
  }
  /** Whether the host has an overlay there, whose files get another birth time with their copy-up. */
  isOverlay(dev: number): boolean {
    return this.#types.get(dev) === OVERLAYFS_SUPER_MAGIC
  }

  keepCreated(node: HostInode, fd: number): void {
    this.dropCreated()
    this.#created = { node, fd }
  }
  /** The descriptor that created `node`, until somebody takes it. */
  createdFd(node: HostInode): number | undefined {
    return this.#created?.node === node ? this.#created.fd : undefined
  }
  /** The same, once. */
  takeCreated(node: HostInode): number | undefined {
    if (this.#created?.node !== node) return undefined
    const { fd } = this.#created
    this.#created = undefined
    return fd
  }
  dropCreated(): void {
    if (this.#created !== undefined) this.host.close(this.#created.fd)
    this.#created = undefined
  }

  override statfs(out: HostStatfs): Status {
    return this.host.fstatfs(this.#rootFd, out)
  }

  override release(): void {
    this.changes?.whenQuiet.delete(this.#closeFiles)
    this.dropCreated()
    this.dirFds.closeIdle()
    this.fileFds.closeIdle()
    this.host.close(this.#rootFd)
  }

  #newInode(stat: HostStat, dev: number, parent: HostDir | undefined, name: string): HostInode {
    const type = stat.mode & S_IFMT
    const device = mayStandIn(stat) ? parent?.deviceAt(name) : undefined
    if (device !== undefined) return new HostSpecial(this, stat, dev, device)
    if (type === S_IFDIR) return new HostDir(this, stat, dev)
    if (type === S_IFREG) return new HostRegular(this, stat, dev)
    if (type === S_IFLNK) return new HostSymlink(this, stat, dev)
    return new HostSpecial(this, stat, dev)
  }
}

/** A super block for the tree (or the one regular file) of `rootFd`, an O_PATH descriptor that it takes over on success. */
export function mountHostfs(
  dev: number,
  host: Host,
  rootFd: number,
  options: HostfsOptions,
): OrErrno<HostSuper> {
  const stat = newHostStat()
  const status = host.statx(rootFd, '', AT_EMPTY_PATH, stat)
  if (status < 0) return status
  const type = stat.mode & S_IFMT
  if (type !== S_IFDIR && type !== S_IFREG) return -ENOTDIR
  return new HostSuper(dev, host, rootFd, stat, options)
}
