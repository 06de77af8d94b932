/** cgroup2: the root of a hierarchy without controllers, as it looks in a container that was given none. */
import { CGROUP2_SUPER_MAGIC, MS_RDONLY } from '../../abi/constants.ts'
import { EINVAL, EOPNOTSUPP } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Inode } from '../../vfs/inode.ts'
import { caller } from '../proc/access.ts'
import { PseudoInode } from '../pseudo/inode.ts'
import { dir, fixed, type PseudoDir, ro, rw } from '../pseudo/node.ts'
import { PseudoSuper } from '../pseudo/super.ts'

export class Cgroup2Super extends PseudoSuper {
  override readonly fsType = 'cgroup2'
  override readonly magic = CGROUP2_SUPER_MAGIC
  override readonly root: Inode

  constructor(kernel: Kernel) {
    super(kernel.vfs.newDev(), kernel.clock)
    this.root = new PseudoInode(this, dir(rootFiles(), { mode: 0o755 }), kernel)
  }
}

/** Every process is in the root; it can be put there again. */
function rootFiles(): PseudoDir<Kernel> {
  return {
    'cgroup.controllers': fixed(''),
    'cgroup.max.depth': fixed('max', 0o644),
    'cgroup.max.descendants': fixed('max', 0o644),
    'cgroup.procs': rw(
      kernel => {
        const ns = caller(kernel).pidNs
        const numbers = new Set<number>()
        for (const task of kernel.tasks()) numbers.add(task.group.pid.in(ns))
        numbers.delete(0)
        return [...numbers].map(nr => `${nr}\n`).join('')
      },
      (_kernel, text) => (/^\d+\s*$/.test(text) ? 0 : -EINVAL),
    ),
    'cgroup.stat': fixed('nr_descendants 0\nnr_dying_descendants 0'),
    'cgroup.subtree_control': rw(
      () => '\n',
      (_kernel, text) => (text.trim() === '' ? 0 : -EINVAL),
    ),
    'cgroup.threads': rw(
      kernel => {
        const ns = caller(kernel).pidNs
        return [...kernel.tasks()].map(task => `${task.pid.in(ns)}\n`).join('')
      },
      () => -EOPNOTSUPP,
    ),
    'cpu.stat': ro(
      kernel => `usage_usec ${Math.floor(kernel.host.cpuTime() / 1000)}\nuser_usec 0\nsystem_usec 0\n`,
    ),
  }
}

export function cgroup2Type(kernel: Kernel): FsType {
  return {
    name: 'cgroup2',
    flags: FS_NODEV | FS_USERNS_MOUNT,
    mount(source: string, flags: number, options: string, _context: MountContext): OrErrno<Cgroup2Super> {
      for (const option of options.split(',')) {
        if (!['', 'nsdelegate', 'memory_recursiveprot', 'favordynmods'].includes(option)) return -EINVAL
      }
      const sb = new Cgroup2Super(kernel)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      return sb
    },
  }
}
