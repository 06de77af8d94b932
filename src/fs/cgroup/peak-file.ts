/** memory.peak: the most that was used; who writes to an open one sees what is the most from then on. */
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import type { MemoryPeak } from '../../kernel/cgroup/memory.ts'
import type { Path } from '../../vfs/path.ts'
import { PseudoFile } from '../pseudo/file.ts'
import { rw } from '../pseudo/node.ts'

export class PeakFile extends PseudoFile<Cgroup> {
  readonly #cgroup: Cgroup
  /** Since it was written to. */
  #own: MemoryPeak | undefined = undefined

  constructor(path: Path, flags: number, cred: Credentials, cgroup: Cgroup) {
    const node = rw<Cgroup>(
      ({ memory }) => {
        memory.current()
        return `${(this.#own ?? memory).peak}\n`
      },
      (_cgroup, text) => (text === '' ? 0 : this.#beginAnew()),
    )
    super(path, flags, cred, node, cgroup)
    this.#cgroup = cgroup
  }

  #beginAnew(): Status {
    const { memory } = this.#cgroup
    this.#own ??= { peak: 0 }
    this.#own.peak = memory.current()
    memory.watchedPeaks.add(this.#own)
    return 0
  }
  override release(): void {
    if (this.#own !== undefined) this.#cgroup.memory.watchedPeaks.delete(this.#own)
    super.release()
  }
}
