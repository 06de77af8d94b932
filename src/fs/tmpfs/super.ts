/**
 * tmpfs(5): a file system in memory.
 *
 * TmpfsSuper owns the quota and numbers the inodes. An inode lives while a name or an open file leads to it: names
 * are in the TmpfsDir's entries, `nlink` counts them, and `release` (from vfs/, when nothing holds it any more) ends
 * one without names. The data of regular files is in file-data.ts.
 */
import { MS_RDONLY, TMPFS_MAGIC } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { Clock, Timespec } from '../../base/clock.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { MemoryController } from '../../kernel/cgroup/memory.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { Host, HostStatfs } from '../../platform/host.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import { SuperBlock } from '../../vfs/super-block.ts'
import { TmpfsDir } from './directory.ts'
import { watchOverrun } from './overrun.ts'
import { PAGE_SIZE, Quota } from './quota.ts'

export interface TmpfsOptions {
  /** Bytes; Infinity: no limit. */
  size: number
  inodes: number
  /** Of the root directory. */
  mode: number
  uid: number
  gid: number
  /** The first inode number: an overlay's upper layer stays out of the way of the lower ones. */
  firstIno?: number
}

export class TmpfsSuper extends SuperBlock {
  override readonly fsType: string = 'tmpfs'
  override readonly exportable: boolean = true
  override readonly idmappable: boolean = true
  override readonly acls: 'none' | 'ours' = 'ours'
  readonly xattrs: boolean = true
  override readonly root: TmpfsDir
  readonly host: Host
  readonly clock: Clock
  readonly quota: Quota
  /** Whose memory new files take; nobody counts it if absent. */
  readonly chargeTo: (() => MemoryController) | undefined
  readonly #options: TmpfsOptions
  nextIno: number

  constructor(dev: number, host: Host, clock: Clock, options: TmpfsOptions, kernel?: Kernel) {
    super(dev)
    this.chargeTo = kernel?.chargeTo
    this.host = host
    this.clock = clock
    this.#options = options
    this.nextIno = options.firstIno ?? 1
    this.quota = new Quota(Math.ceil(options.size / PAGE_SIZE), options.inodes)
    this.quota.chargeInode()
    if (kernel !== undefined) watchOverrun(kernel, this.quota)
    this.root = new TmpfsDir(this, options.mode, options.uid, options.gid)
  }

  /** Not the caller's to keep. */
  now(): Timespec {
    return this.host.recentRealtime()
  }

  override options(): string {
    const { mode, uid, gid } = this.#options
    let text = ''
    const { maxPages, maxInodes } = this.quota
    const usual = defaultTmpfsOptions(totalMemory(this.host))
    if (maxPages * PAGE_SIZE !== usual.size) text += `,size=${shownLimit(maxPages * 4)}k`
    if (maxInodes !== usual.inodes) text += `,nr_inodes=${shownLimit(maxInodes)}`
    if (mode !== 0o1777) text += `,mode=${mode.toString(8).padStart(3, '0')}`
    if (uid !== 0) text += `,uid=${uid}`
    if (gid !== 0) text += `,gid=${gid}`
    return text.slice(1)
  }

  /** Only the limits may change, and not below what is in use. */
  override remount(flags: number, options: string): Status {
    const current = { ...this.#options, size: this.quota.maxPages * PAGE_SIZE, inodes: this.quota.maxInodes }
    const changed = parseTmpfsOptions(options, current, totalMemory(this.host))
    if (typeof changed === 'number') return changed
    const pages = Math.ceil(changed.size / PAGE_SIZE)
    if (pages < this.quota.pages || changed.inodes < this.quota.inodes) return -EINVAL
    this.quota.maxPages = pages
    this.quota.maxInodes = changed.inodes
    this.flags = (this.flags & ~MS_RDONLY) | (flags & MS_RDONLY)
    return 0
  }

  override statfs(out: HostStatfs): Status {
    this.quota.recount()
    const { maxPages, maxInodes, inodes } = this.quota
    const limited = maxPages !== Number.POSITIVE_INFINITY
    const counted = maxInodes !== Number.POSITIVE_INFINITY
    out.type = TMPFS_MAGIC
    out.bsize = out.frsize = PAGE_SIZE
    out.blocks = limited ? maxPages : 0
    out.bfree = out.bavail = limited ? this.quota.freePages : 0
    out.files = counted ? maxInodes : 0
    out.ffree = counted ? maxInodes - inodes : 0
    out.namelen = 255
    out.flags = 0
    return 0
  }

  /** The memory of all files goes with the last mount. */
  override release(): void {
    this.root.discardTree()
  }
}

/** 0 stands for no limit. */
function shownLimit(limit: number): number {
  return limit === Number.POSITIVE_INFINITY ? 0 : limit
}

export function tmpfsType(kernel: Kernel): FsType {
  const { host } = kernel
  return {
    name: 'tmpfs',
    flags: FS_NODEV | FS_USERNS_MOUNT,
    mount(source: string, flags: number, options: string, context: MountContext): OrErrno<SuperBlock> {
      const memory = totalMemory(host)
      const defaults = defaultTmpfsOptions(memory)
      const chosen = parseTmpfsOptions(
        options,
        { ...defaults, uid: context.cred.fsuid, gid: context.cred.fsgid },
        memory,
      )
      if (typeof chosen === 'number') return chosen
      const sb = new TmpfsSuper(context.vfs.newDev(), host, context.vfs.clock, chosen, kernel)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      return sb
    },
  }
}

/** Half of the memory, and an inode for each of its pages, as Linux. */
export function defaultTmpfsOptions(memory: number): TmpfsOptions {
  const pages = Math.floor(memory / PAGE_SIZE / 2)
  return { size: pages * PAGE_SIZE, inodes: pages, mode: 0o1777, uid: 0, gid: 0 }
}

/** Bytes of memory of the host. */
export function totalMemory(host: Host): number {
  const kilobytes = /^MemTotal:\s*(\d+)/m.exec(host.fact('proc/meminfo'))
  return kilobytes === null ? 2 ** 31 : Number(kilobytes[1]) * 1024
}

/** The options over `defaults`, or -EINVAL. */
export function parseTmpfsOptions(
  text: string,
  defaults: TmpfsOptions,
  memory: number,
): TmpfsOptions | number {
  const out = { ...defaults }
  for (const option of text.split(',')) {
    if (option === '') continue
    const equals = option.indexOf('=')
    const key = equals < 0 ? option : option.slice(0, equals)
    const value = equals < 0 ? '' : option.slice(equals + 1)
    if (ignored.has(key)) continue
    const number =
      key === 'mode'
        ? parseMode(value)
        : key === 'size' && value.endsWith('%')
          ? Math.floor((memory * Number.parseInt(value, 10)) / 100)
          : parseSize(value)
    if (number === undefined || Number.isNaN(number)) return -EINVAL
    // Zero means 'no limit'.
    if (key === 'size') out.size = number || Number.POSITIVE_INFINITY
    else if (key === 'nr_blocks') out.size = number * PAGE_SIZE || Number.POSITIVE_INFINITY
    else if (key === 'nr_inodes') out.inodes = number || Number.POSITIVE_INFINITY
    else if (key === 'mode') out.mode = number & 0o7777
    else if (key === 'uid') out.uid = number
    else if (key === 'gid') out.gid = number
    else return -EINVAL
  }
  return out
}

/** Accepted without effect: what they choose (huge pages, NUMA placement, swap, width of st_ino) we do not have. */
const ignored = new Set(['huge', 'mpol', 'inode32', 'inode64', 'noswap'])

function parseMode(text: string): number | undefined {
  return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : undefined
}

/** memparse(): a number with k, m, g or t. */
function parseSize(text: string): number | undefined {
  const match = /^(\d+|0x[0-9a-f]+)([kmgt]?)$/i.exec(text)
  if (match === null) return undefined
  return Number(match[1]) * 1024 ** ' kmgt'.indexOf(match[2].toLowerCase() || ' ')
}
