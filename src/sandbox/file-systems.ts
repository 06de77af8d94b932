/** Everything that can be mounted, and the devices: registered with a new kernel. */
import { makePidFd } from '../fs/pidfd/pidfd.ts'
import { openFifo } from '../fs/pipe/pipe-file.ts'
import { tmpfsType } from '../fs/tmpfs/super.ts'
import type { Kernel } from '../kernel/kernel.ts'

export function registerFileSystems(kernel: Kernel): void {
  kernel.vfs.openFifo = openFifo
  kernel.makePidFd = makePidFd
  for (const type of [tmpfsType(kernel.host)]) kernel.fsTypes.set(type.name, type)
}
