/** devtmpfs: a tmpfs that is born with the standard device nodes and links in it. */
import { MS_RDONLY, S_IFCHR } from '../../abi/constants.ts'
import { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { FS_NODEV, type FsType, type MountContext } from '../../vfs/fs-type.ts'
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
      populate(sb, kernel)
      return sb
    },
  }
}

function populate(sb: TmpfsSuper, kernel: Kernel): void {
  const root = new Credentials(kernel.userNs)
  for (const node of [...STANDARD_NODES, ...FURTHER_NODES]) {
    must(sb.root.mknod(node.name, S_IFCHR | node.mode, makedev(node.major, node.minor), root))
  }
  for (const [name, mode] of DIRECTORIES) must(sb.root.mkdir(name, mode, root))
  // There is none where there is no network to attach it to.
  if (kernel.vfs.devices.find(S_IFCHR, TUN_DEVICE) !== undefined) {
    const net = must(sb.root.mkdir('net', 0o755, root))
    must(net.mknod('tun', S_IFCHR | 0o666, TUN_DEVICE, root))
  }
  for (const [name, target] of LINKS) must(sb.root.symlink(name, target, root))
}

function must<Made extends object>(made: OrErrno<Made>): Made {
  if (failed(made)) throw new Error(`devtmpfs can't be filled: ${made}`)
  return made
}
