/**
 * The cpuset controller: the CPUs that processes may use. The host's scheduler keeps a container's there; what is said
 * inside is known here, for whoever asks (sched_getaffinity), as an affinity is (scheduling.ts).
 */
import type { Cgroup } from './cgroup.ts'

export class CpusetController {
  readonly #cgroup: Cgroup
  /** cpuset.cpus, ascending; undefined where nothing was said. */
  cpus: readonly number[] | undefined = undefined
  /** cpuset.mems, as it was written: there is one node. */
  mems = ''

  constructor(cgroup: Cgroup) {
    this.#cgroup = cgroup
  }

  /** cpuset.cpus.effective: what was said, as far as the parent has it, or all that the parent has. Never empty. */
  get effective(): readonly number[] {
    const { parent, kernel } = this.#cgroup
    const above = parent?.cpuset.effective ?? kernel.platform.cpus
    const own = above.filter(cpu => this.cpus?.includes(cpu))
    return own.length > 0 ? own : above
  }
}
