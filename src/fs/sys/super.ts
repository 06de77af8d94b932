/** sysfs: devices and settings as files (sysfs(5)), as far as programs look for them. Only network devices have any that can be changed. */
import { MS_RDONLY, SYSFS_MAGIC } from '../../abi/constants.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { FS_NODEV, FS_USERNS_MOUNT, type FsType, type MountContext } from '../../vfs/fs-type.ts'
import type { Inode } from '../../vfs/inode.ts'
import { DELEGATED_FILES } from '../cgroup/directory.ts'
import { MOUNT_OPTIONS } from '../cgroup/super.ts'
import { PseudoInode } from '../pseudo/inode.ts'
import { dir, fixed, link, type PseudoDir, ro } from '../pseudo/node.ts'
import { PseudoSuper } from '../pseudo/super.ts'
import { characterDevices, classes, devicesVirtual } from './classes.ts'
import { netDirectories } from './net.ts'
import { cpuDirectory, nodeDirectory } from './topology.ts'

export class SysfsSuper extends PseudoSuper {
  override readonly fsType = 'sysfs'
  override readonly magic = SYSFS_MAGIC
  override readonly mayChangeMode = true
  override readonly directoryMode = 0o755
  override readonly xattrPrefixes = ['trusted.', 'security.']
  override readonly root: Inode

  constructor(kernel: Kernel) {
    super(kernel.vfs.newDev(), kernel.clock)
    this.root = new PseudoInode(this, dir(sysFiles(kernel), { mode: 0o555 }), kernel)
  }
}

export function sysfsType(kernel: Kernel): FsType {
  return {
    name: 'sysfs',
    flags: FS_NODEV | FS_USERNS_MOUNT,
    mount(source: string, flags: number, _options: string, _context: MountContext): OrErrno<SysfsSuper> {
      const sb = new SysfsSuper(kernel)
      sb.source = source
      sb.flags = flags & MS_RDONLY
      return sb
    },
  }
}

const BUSES = [
  'clockevents',
  'clocksource',
  'container',
  'cpu',
  'event_source',
  'memory',
  'node',
  'pci',
  'platform',
  'workqueue',
]

function sysFiles(kernel: Kernel): PseudoDir<Kernel> {
  const net = netDirectories()
  return {
    block: dir({}),
    bus: dir(
      Object.fromEntries(
        BUSES.map(name => [name, dir<Kernel>({ devices: dir(onBus(kernel, name)), drivers: dir({}) })]),
      ) as PseudoDir<Kernel>,
    ),
    class: dir({ ...classes(), net: net.links }),
    dev: dir({ block: dir({}), char: dir(characterDevices()) }),
    devices: dir({
      system: dir({
        clocksource: dir({
          clocksource0: dir({ available_clocksource: fixed('tsc '), current_clocksource: fixed('tsc') }),
        }),
        cpu: dir(cpuDirectory(kernel)),
        node: dir(nodeDirectory(kernel)),
      }),
      virtual: dir({ ...devicesVirtual(), net: net.devices }),
    }),
    firmware: dir({}),
    fs: dir({ cgroup: dir({}), fuse: dir({ connections: dir({}) }) }),
    kernel: dir({
      cpu_byteorder: fixed('little'),
      address_bits: fixed('64'),
      cgroup: dir({ delegate: fixed(DELEGATED_FILES.join('\n')), features: fixed(MOUNT_OPTIONS.join('\n')) }),
      fscaps: fixed('1'),
      profiling: fixed('0'),
      security: dir({}),
      mm: dir({
        hugepages: dir({
          'hugepages-2048kB': dir({
            free_hugepages: fixed('0'),
            nr_hugepages: fixed('0', 0o644),
            nr_overcommit_hugepages: fixed('0', 0o644),
            resv_hugepages: fixed('0'),
            surplus_hugepages: fixed('0'),
          }),
        }),
        ksm: dir({ run: fixed('0', 0o644), pages_shared: fixed('0'), pages_sharing: fixed('0') }),
        transparent_hugepage: dir({
          defrag: fixed('always defer defer+madvise [madvise] never', 0o644),
          enabled: fact('sys/kernel/mm/transparent_hugepage/enabled', 'always [madvise] never'),
          hpage_pmd_size: fact('sys/kernel/mm/transparent_hugepage/hpage_pmd_size', '2097152'),
          shmem_enabled: fixed('always within_size advise [never] deny force', 0o644),
          use_zero_page: fixed('1', 0o644),
        }),
      }),
      random: dir({}),
    }),
    module: dir({}),
    power: dir({ state: fixed('', 0o644) }),
  }
}

function onBus(kernel: Kernel, bus: string): PseudoDir<Kernel> {
  const names = bus === 'cpu' ? kernel.cpus.map(cpu => `cpu${cpu}`) : bus === 'node' ? ['node0'] : []
  return Object.fromEntries(names.map(name => [name, link(`../../../devices/system/${bus}/${name}`)]))
}

/** What the host says, or what it would say. */
function fact(name: string, otherwise: string): PseudoDir<Kernel>[string] {
  return ro(kernel => kernel.host.fact(name) || `${otherwise}\n`)
}
