/** The choice of the process that is killed for want of memory: oom_badness (mm/oom_kill.c). */
import type { ThreadGroup } from '../thread-group.ts'
import type { Cgroup } from './cgroup.ts'

/** OOM_SCORE_ADJ_MIN: never. */
const SPARED = -1000

/**
 * The process of the cgroup, or of those below it, that uses most; oom_score_adj counts as so many thousandths of
 * `totalPages`. Undefined when none may be killed.
 */
export function chooseVictim(cgroup: Cgroup, totalPages: number): ThreadGroup | undefined {
  let chosen: ThreadGroup | undefined
  let most = Number.NEGATIVE_INFINITY
  for (const each of cgroup.subtree()) {
    for (const group of each.groups) {
      if (group.exiting || group.oomScoreAdj === SPARED) continue
      const points = group.representative.mm.residentPages() + (group.oomScoreAdj * totalPages) / 1000
      if (points <= most) continue
      most = points
      chosen = group
    }
  }
  return chosen
}
