/**
 * The cpuset controller: the CPUs that processes may use. The host's scheduler keeps them there; here it is known which
 * they are, for whoever asks.
 */
import type { Cgroup } from './cgroup.ts'

export class CpusetController {
  readonly #cgroup: Cgroup
  /** cpuset.cpus, ascending; undefined where nothing was said. */
  cpus: readonly number[] | undefined = undefined

  constructor(cgroup: Cgroup) {
    this.#cgroup = cgroup
  }

  /** cpuset.cpus.effective: never empty. */
  get effective(): readonly number[] {
    for (let at: Cgroup | undefined = this.#cgroup; at !== undefined; at = at.parent) {
      const { cpus } = at.cpuset
      if (cpus !== undefined && cpus.length > 0) return cpus
    }
    return this.#cgroup.kernel.platform.cpus
  }
}
