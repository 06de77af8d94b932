/** Pressure of a cgroup: of each resource, and whether the files are there. */
import { ERANGE } from '../../abi/errno.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import type { PressureResource } from '../../kernel/cgroup/pressure.ts'
import { pressureFile } from '../proc/pressure-file.ts'
import type { CustomNode, PseudoDir } from '../pseudo/node.ts'
import { parseNumber, setting } from './values.ts'

export const pressureFiles: PseudoDir<Cgroup> = {
  'cgroup.pressure': setting(
    ({ pressure }) => (pressure.shown ? '1' : '0'),
    ({ pressure }, text) => {
      const number = parseNumber(text)
      if (number < 0) return number
      if (number > 1) return -ERANGE
      pressure.shown = number === 1
      return 0
    },
  ),
  'cpu.pressure': pressureOf('cpu'),
  'io.pressure': pressureOf('io'),
  'memory.pressure': pressureOf('memory'),
}

function pressureOf(resource: PressureResource): CustomNode<Cgroup> {
  return pressureFile(
    {
      kernel: cgroup => cgroup.kernel,
      source: cgroup => cgroup.pressure[resource],
      format: cgroup => cgroup.pressure[resource].format(),
      terminated: false,
    },
    0o644,
  )
}
