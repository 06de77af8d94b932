/**
 * hugetlbfs: files of huge pages, of which there are none (/proc/sys/vm/nr_hugepages is 0). It can be mounted, as systemd does
 * at each start; nothing can be made in it.
 */
import { HUGETLBFS_MAGIC, MS_RDONLY } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { HostStatfs } from '../../platform/host.ts'
import { FS_NODEV, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import { parseTmpfsOptions, type TmpfsOptions, TmpfsSuper } from './super.ts'

const HUGE_PAGE = 2 << 20
/** The root takes the only inode. */
const NOTHING: TmpfsOptions = { size: HUGE_PAGE, inodes: 1, mode: 0o755, uid: 0, gid: 0 }

class HugetlbfsSuper extends TmpfsSuper {
  override readonly fsType = 'hugetlbfs'

  override options(): string {
    return 'pagesize=2M'
  }
  override remount(): Status {
    return 0
  }
  override statfs(out: HostStatfs): Status {
    super.statfs(out)
    out.type = HUGETLBFS_MAGIC
    out.bsize = out.frsize = HUGE_PAGE
    out.blocks = out.bfree = out.bavail = out.files = out.ffree = 0
    return 0
  }
}

export function hugetlbfsType(kernel: Kernel): FsType {
  return {
    name: 'hugetlbfs',
    flags: FS_NODEV,
    mount(source: string, flags: number, options: string, context: MountContext): OrErrno<TmpfsSuper> {
      const common: string[] = []
      for (const option of options.split(',')) {
        const [key, value = ''] = option.split('=', 2)
        if (['mode', 'uid', 'gid'].includes(key)) common.push(option)
        else if (key === 'pagesize' && !/^2(m|048k)$/i.test(value)) return -EINVAL
        else if (!['', 'pagesize', 'size', 'min_size', 'nr_inodes'].includes(key)) return -EINVAL
      }
      const chosen = parseTmpfsOptions(common.join(','), NOTHING, 0)
      if (typeof chosen === 'number') return chosen
      const sb = new HugetlbfsSuper(context.vfs.newDev(), kernel.host, context.vfs.clock, chosen)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      return sb
    },
  }
}
