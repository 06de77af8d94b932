/** Everything that can be mounted, and the devices: registered with a new kernel. */
import { cgroup2Type } from '../fs/cgroup/super.ts'
import { registerDevices } from '../fs/dev/devices.ts'
import { devtmpfsType } from '../fs/dev/devtmpfs.ts'
import { devptsType } from '../fs/devpts/super.ts'
import { makePidFd } from '../fs/pidfd/pidfd.ts'
import { openFifo } from '../fs/pipe/pipe-file.ts'
import { ProcType } from '../fs/proc/super.ts'
import { sysfsType } from '../fs/sys/super.ts'
import { tmpfsType } from '../fs/tmpfs/super.ts'
import type { Kernel } from '../kernel/kernel.ts'

export function registerFileSystems(kernel: Kernel): void {
  kernel.vfs.openFifo = openFifo
  kernel.makePidFd = makePidFd
  registerDevices(kernel)
  const types = [
    sysfsType(kernel), tmpfsType(kernel.host), new ProcType(kernel), cgroup2Type(kernel), devtmpfsType(kernel),
    devptsType(kernel),
  ]
  for (const type of types) kernel.fsTypes.set(type.name, type)
}
