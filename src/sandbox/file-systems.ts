/** Everything that can be mounted, and the devices: registered with a new kernel. */
import { tmpfsType } from '../fs/tmpfs/super.ts'
import type { Kernel } from '../kernel/kernel.ts'

export function registerFileSystems(kernel: Kernel): void {
  for (const type of [tmpfsType(kernel.host)]) kernel.fsTypes.set(type.name, type)
}
