/** ramfs: a tmpfs without limits, extended attributes and ACLs. */
import { MS_RDONLY, RAMFS_MAGIC } from '../../abi/constants.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { SuperBlock } from '../../vfs/super-block.ts'
import { TmpfsSuper } from './super.ts'

const DEFAULT_MODE = 0o755

class RamfsSuper extends TmpfsSuper {
  override readonly idmappable = false
  override readonly fsType = 'ramfs'
  override readonly exportable = false
  override readonly acls = 'none'
  override readonly xattrs = false

  override options(): string {
    const mode = this.root.mode & 0o7777
    return mode === DEFAULT_MODE ? '' : `mode=${mode.toString(8)}`
  }

  /** It has no limits to change. */
  override remount(flags: number): Status {
    this.flags = (this.flags & ~MS_RDONLY) | (flags & MS_RDONLY)
    return 0
  }

  override statfs(out: HostStatfs): Status {
    super.statfs(out)
    out.type = RAMFS_MAGIC
    return 0
  }
}

export function ramfsType(kernel: Kernel): FsType {
  return {
    name: 'ramfs',
    flags: FS_NODEV | FS_USERNS_MOUNT,
    mount(source: string, flags: number, options: string, context: MountContext): OrErrno<SuperBlock> {
      const { fsuid, fsgid } = context.cred
      // Options that it does not know mean nothing to it.
      const mode = /(?:^|,)mode=([0-7]+)(?=,|$)/.exec(options)
      const chosen = {
        size: Number.POSITIVE_INFINITY,
        inodes: Number.POSITIVE_INFINITY,
        mode: mode === null ? DEFAULT_MODE : Number.parseInt(mode[1], 8) & 0o7777,
        uid: fsuid,
        gid: fsgid,
      }
      const sb = new RamfsSuper(context.vfs.newDev(), kernel.host, context.vfs.clock, chosen, kernel)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      return sb
    },
  }
}
