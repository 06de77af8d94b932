/** memory.peak: the most that was used; who writes to an open one sees what is the most from then on. */
import type { Credentials } from '../../base/credentials.ts'
import type { IoSrc } from '../../base/io.ts'
import type { Cgroup } from '../../kernel/cgroup/cgroup.ts'
import type { MemoryPeak } from '../../kernel/cgroup/memory.ts'
import type { Path } from '../../vfs/path.ts'
import { PseudoFile } from '../pseudo/file.ts'
import { ro } from '../pseudo/node.ts'

export class PeakFile extends PseudoFile<Cgroup> {
  readonly #cgroup: Cgroup
  /** Since it was written to. */
  #own: MemoryPeak | undefined = undefined

  constructor(path: Path, flags: number, cred: Credentials, cgroup: Cgroup) {
    const node = ro<Cgroup>(({ memory }) => {
      memory.current()
      return `${(this.#own ?? memory).peak}\n`
    })
    super(path, flags, cred, node, cgroup)
    this.#cgroup = cgroup
  }

  override writeAt(from: IoSrc, _offset: number): number {
    const { memory } = this.#cgroup
    const length = from.remaining
    if (length === 0) return 0
    this.#own ??= { peak: 0 }
    this.#own.peak = memory.current()
    memory.watchedPeaks.add(this.#own)
    return length
  }
  override release(): void {
    if (this.#own !== undefined) this.#cgroup.memory.watchedPeaks.delete(this.#own)
    super.release()
  }
}
