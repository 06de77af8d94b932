/** Everything that can be mounted, and what is behind device numbers: registered with a new kernel. */
import { cgroup2Type } from '../fs/cgroup/super.ts'
import { registerDevices } from '../fs/dev/devices.ts'
import { devtmpfsType } from '../fs/dev/devtmpfs.ts'
import { devptsType } from '../fs/devpts/super.ts'
import { fuseTypes } from '../fs/fuse/super.ts'
import { mqueueType } from '../fs/mqueue/super.ts'
import { overlayType } from '../fs/overlay/layered.ts'
import { makePidFd } from '../fs/pidfd/pidfd.ts'
import { openFifo } from '../fs/pipe/pipe-file.ts'
import { ProcType } from '../fs/proc/super.ts'
import { sysfsType } from '../fs/sys/super.ts'
import { hugetlbfsType } from '../fs/tmpfs/hugetlbfs.ts'
import { ramfsType } from '../fs/tmpfs/ramfs.ts'
import { tmpfsType } from '../fs/tmpfs/super.ts'
import type { Kernel } from '../kernel/kernel.ts'

export function registerFileSystems(kernel: Kernel): void {
  const types = [
    tmpfsType(kernel),
    ramfsType(kernel),
    hugetlbfsType(kernel),
    new ProcType(kernel),
    sysfsType(kernel),
    cgroup2Type(kernel),
    devtmpfsType(kernel),
    devptsType(kernel),
    mqueueType(kernel),
    ...fuseTypes(kernel),
    overlayType,
  ]
  for (const type of types) kernel.fsTypes.set(type.name, type)
  registerDevices(kernel)
  kernel.vfs.openFifo = openFifo
  kernel.makePidFd = makePidFd
}
