/** devtmpfs: a tmpfs that is born with the standard device nodes and links in it. */
import { MS_RDONLY, S_IFCHR } from '../../abi/constants.ts'
import { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { FS_NODEV, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Inode } from '../../vfs/inode.ts'
import { makedev } from '../../vfs/vfs.ts'
import { defaultTmpfsOptions, parseTmpfsOptions, TmpfsSuper, totalMemory } from '../tmpfs/super.ts'
import { FURTHER_NODES, STANDARD_NODES } from './devices.ts'

/** Directories on which other file systems are mounted. */
const DIRECTORIES: readonly (readonly [string, number])[] = [
  ['pts', 0o755],
  ['shm', 0o1777],
  ['mqueue', 0o1777],
]

const LINKS: readonly (readonly [string, string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['ptmx', 'pts/ptmx'],
]

/** /dev/net/tun, whose driver is the network's (net/inet/network.ts). */
const TUN_DEVICE = makedev(10, 200)

class DevTmpfsSuper extends TmpfsSuper {
  override readonly fsType = 'devtmpfs'
}

export function devtmpfsType(kernel: Kernel): FsType {
  return {
    name: 'devtmpfs',
    flags: FS_NODEV,
    mount(source: string, flags: number, options: string, context: MountContext): OrErrno<TmpfsSuper> {
      const memory = totalMemory(kernel.host)
      const chosen = parseTmpfsOptions(options, { ...defaultTmpfsOptions(memory), mode: 0o755 }, memory)
      if (typeof chosen === 'number') return chosen
      const sb = new DevTmpfsSuper(context.vfs.newDev(), kernel.host, kernel.clock, chosen, kernel)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      const status = populate(sb, kernel)
      return status < 0 ? status : sb
    },
  }
}

/** -ENOSPC: the options leave no room for so much. */
function populate({ root }: TmpfsSuper, kernel: Kernel): Status {
  const cred = new Credentials(kernel.userNs)
  const made: OrErrno<Inode>[] = [...STANDARD_NODES, ...FURTHER_NODES].map(({ name, mode, major, minor }) =>
    root.mknod(name, S_IFCHR | mode, makedev(major, minor), cred),
  )
  for (const [name, mode] of DIRECTORIES) made.push(root.mkdir(name, mode, cred))
  // There is none where there is no network to attach it to.
  if (kernel.vfs.devices.find(S_IFCHR, TUN_DEVICE) !== undefined) {
    const net = root.mkdir('net', 0o755, cred)
    made.push(failed(net) ? net : net.mknod('tun', S_IFCHR | 0o666, TUN_DEVICE, cred))
  }
  for (const [name, target] of LINKS) made.push(root.symlink(name, target, cred))
  return made.find(failed) ?? 0
}
