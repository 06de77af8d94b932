/**
 * The cpuset controller: the CPUs that processes may use. It bounds the affinities of their threads, which the host's
 * scheduler obeys (scheduling.ts).
 */
import { applyScheduling } from '../scheduling.ts'
import type { Cgroup } from './cgroup.ts'

export class CpusetController {
  readonly #cgroup: Cgroup
  /** cpuset.cpus, ascending; undefined where nothing was said. */
  cpus: readonly number[] | undefined = undefined
  /** cpuset.mems, as it was written: there is one node. */
  mems = ''
  /** cpuset.cpus.partition, as it was written: it never comes to be valid. */
  partition: 'member' | 'root' | 'isolated' = 'member'

  constructor(cgroup: Cgroup) {
    this.#cgroup = cgroup
  }

  setCpus(cpus: readonly number[] | undefined): void {
    if (cpus === this.cpus) return
    this.cpus = cpus
    for (const task of this.#cgroup.tasks(true)) applyScheduling(task)
  }
  reset(): void {
    this.setCpus(undefined)
    this.mems = ''
    this.partition = 'member'
  }

  /** cpuset.cpus.effective: what was said, as far as the parent has it, or all that the parent has. Never empty. */
  get effective(): readonly number[] {
    const { parent, kernel } = this.#cgroup
    const above = parent?.cpuset.effective ?? kernel.platform.cpus
    const { cpus } = this
    if (cpus === undefined) return above
    const own = above.filter(cpu => cpus.includes(cpu))
    return own.length > 0 && own.length < above.length ? own : above
  }
}
