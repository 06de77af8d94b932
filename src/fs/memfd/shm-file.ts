/** One attachment of a System V shared memory segment: what its mappings are of. See kernel/ipc/shm.ts. */
import type { Credentials } from '../../base/credentials.ts'
import type { ShmSegment, ShmTable } from '../../kernel/ipc/shm.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { TmpfsFile, type TmpfsRegular } from '../tmpfs/regular.ts'

export class ShmFile extends TmpfsFile {
  readonly segment: ShmSegment
  readonly #table: ShmTable
  readonly #kernel: Kernel

  /** `flags`: O_RDONLY or O_RDWR. */
  constructor(kernel: Kernel, table: ShmTable, segment: ShmSegment, flags: number, cred: Credentials) {
    super(segment.memory.inode as TmpfsRegular, segment.memory.path, flags, cred)
    this.segment = segment
    this.#table = table
    this.#kernel = kernel
    segment.attachments.add(this)
  }

  override release(): void {
    const { clock, current } = this.#kernel
    this.#table.detached(this.segment, this, current?.group.pid, clock.realtime().sec)
  }
}
