/** /proc/pressure: the machine's, as the host tells it. Its triggers look whether it has risen. */
import type { PressureSource } from '../../kernel/cgroup/pressure.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import type { CustomNode } from '../pseudo/node.ts'
import { pressureFile } from './pressure-file.ts'

const US = 1000

/** One of cpu, io, memory. */
export function machinePressure(resource: string): CustomNode<Kernel> {
  const format = (kernel: Kernel) => kernel.host.fact(`proc/pressure/${resource}`)
  const source = (kernel: Kernel): PressureSource => ({
    triggers: undefined,
    total(full) {
      const line = new RegExp(`^${full ? 'full' : 'some'} .*total=(\\d+)`, 'm').exec(format(kernel))
      return line === null ? 0 : Number(line[1]) * US
    },
  })
  return pressureFile({ kernel: kernel => kernel, source, format, terminated: true }, 0o666)
}
