/**
 * Pages that mappings make beyond a tmpfs's size. They come from the host without asking, so where the files that are
 * mapped have more holes than the file system has room, they are counted anew again and again (memory-watch.ts). Who has
 * such a file mapped then gets the signal that Linux gives for the first page that has no room.
 */
import { SIGBUS } from '../../abi/constants.ts'
import type { MappedLimit } from '../../kernel/cgroup/memory-watch.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { forceSignal } from '../../kernel/signal.ts'
import { faultSignal } from '../../kernel/signal-info.ts'
import type { Mm } from '../../mm/mm.ts'
import { VM_SHARED, type Vma } from '../../mm/vma.ts'
import { type MappedFile, PAGE_SIZE, type Quota } from './quota.ts'
import { TmpfsFile } from './regular.ts'

/** si_code: no such place. */
const BUS_ADRERR = 2

/** From now on the pages of `quota` are watched where they must be. */
export function watchOverrun(kernel: Kernel, quota: Quota): void {
  const overrun = new Overrun(kernel, quota)
  quota.onRisk = () => kernel.memoryWatch.watchMapped(overrun)
}

class Overrun implements MappedLimit {
  readonly #kernel: Kernel
  readonly #quota: Quota

  constructor(kernel: Kernel, quota: Quota) {
    this.#kernel = kernel
    this.#quota = quota
  }

  look(): number | undefined {
    const quota = this.#quota
    quota.recount()
    const grown = quota.takeGrown()
    if (quota.pages > quota.maxPages && grown.size > 0) this.#signal(grown)
    return quota.atRisk ? quota.freePages * PAGE_SIZE : undefined
  }

  #signal(grown: ReadonlySet<MappedFile>): void {
    const seen = new Set<Mm>()
    for (const task of this.#kernel.tasks()) {
      if (seen.has(task.mm)) continue
      seen.add(task.mm)
      const vma = sharedMapping(task.mm, grown)
      if (vma !== undefined) forceSignal(task, faultSignal(SIGBUS, BUS_ADRERR, vma.start))
    }
  }
}

function sharedMapping(mm: Mm, files: ReadonlySet<MappedFile>): Vma | undefined {
  for (let vma = mm.vmas.first; vma !== undefined; vma = vma.next) {
    const { file } = vma
    if ((vma.flags & VM_SHARED) !== 0 && file instanceof TmpfsFile && files.has(file.node.data)) return vma
  }
  return undefined
}
