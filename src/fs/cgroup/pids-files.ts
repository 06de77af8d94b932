/** The files of the pids controller. */
import { EINVAL } from '../../abi/errno.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import { PID_MAX } from '../../kernel/pid.ts'
import type { PseudoDir } from '../pseudo/node.ts'
import { limit, parseNumber, table, value } from './values.ts'

export const pidsFiles: PseudoDir<Cgroup> = {
  'pids.current': value(cgroup => cgroup.pids.current),
  'pids.events': table(
    cgroup => ({ max: cgroup.pids.refused }),
    cgroup => cgroup.pids.changes,
  ),
  'pids.events.local': table(
    cgroup => ({ max: cgroup.pids.refusedHere }),
    cgroup => cgroup.pids.changes,
  ),
  'pids.max': limit(
    cgroup => cgroup.pids.max,
    (cgroup, count) => {
      cgroup.pids.max = count
    },
    text => {
      const count = parseNumber(text)
      return count > PID_MAX ? -EINVAL : count
    },
  ),
  'pids.peak': value(cgroup => cgroup.pids.peak),
}
