/** fusectl: a directory for each FUSE connection, with the number of its requests under way, and a file that ends it. */
import { FUSE_SUPER_MAGIC, MS_RDONLY } from '../../abi/constants.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { FS_NODEV, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Inode } from '../../vfs/inode.ts'
import { minor } from '../../vfs/vfs.ts'
import { PseudoInode } from '../pseudo/inode.ts'
import { type DirNode, dir, dynamic, ro, wo } from '../pseudo/node.ts'
import { PseudoSuper } from '../pseudo/super.ts'
import type { FuseSuper } from './super.ts'

/** FUSE_CTL_SUPER_MAGIC. */
const MAGIC = FUSE_SUPER_MAGIC - 3

class ControlSuper extends PseudoSuper {
  override readonly fsType = 'fusectl'
  override readonly magic = MAGIC
  override readonly cachesMissing = false
  override readonly root: Inode

  constructor(kernel: Kernel, mounted: ReadonlySet<FuseSuper>) {
    super(kernel.vfs.newDev(), kernel.clock)
    this.root = new PseudoInode(this, connections(), mounted)
  }

  /** The directory of a mount that is gone goes with it. */
  override alive(subject: object): boolean {
    return subject instanceof Set || (subject as FuseSuper).connection.sb === subject
  }
}

/** Named after the device numbers of the mounts. */
function connections(): DirNode<ReadonlySet<FuseSuper>> {
  const connection = dir<FuseSuper>({
    waiting: ro(sb => `${sb.connection.open}\n`, 0o400),
    abort: wo(sb => {
      sb.connection.abort(true)
      return 0
    }),
  })
  return dynamic<ReadonlySet<FuseSuper>>({
    find(mounted, name) {
      for (const sb of mounted) if (String(minor(sb.dev)) === name) return { subject: sb, node: connection }
      return undefined
    },
    list: mounted => [...mounted].map(sb => [minor(sb.dev), String(minor(sb.dev))]),
  })
}

export function fuseControlType(kernel: Kernel, mounted: ReadonlySet<FuseSuper>): FsType {
  let only: ControlSuper | undefined
  return {
    name: 'fusectl',
    flags: FS_NODEV,
    mount(source: string, flags: number, _options: string, _context: MountContext): OrErrno<ControlSuper> {
      only ??= new ControlSuper(kernel, mounted)
      only.source = source
      only.flags = flags & MS_RDONLY
      return only
    },
  }
}
