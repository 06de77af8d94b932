/**
 * /proc/PID/pagemap: 64 bits for each page of the address space (pagemap.rst of Linux). What is known is whether a page is
 * there, as far as the host's mincore tells (maps.ts), and whether it is a file's. Frame numbers are hidden, as from
 * everybody without CAP_SYS_ADMIN; nothing is tracked as soft-dirty, as on a kernel built without that.
 */
import { SEEK_CUR, SEEK_SET } from '../../abi/constants.ts'
import { EINVAL } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst } from '../../base/io.ts'
import type { OrErrno } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { Mm } from '../../mm/mm.ts'
import { PAGE_SIZE, VM_EXEC, VM_READ, VM_SHARED, VM_WRITE, type Vma } from '../../mm/vma.ts'
import { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import { mayTraceAtOpen } from './access.ts'

const ENTRY = 8
/** In the upper word of an entry: bit 63, it is in memory; bit 61, it is a file's or shared memory's. */
const PRESENT = 0x80000000
const FILE_OR_SHARED = 0x20000000
/** The lower half of the address space. */
const TASK_SIZE = 2 ** 47
/** Pages that are asked for at once. */
const PIECE = 4096

export function openPagemap(task: Task, path: Path, flags: number, cred: Credentials): OrErrno<File> {
  const allowed = mayTraceAtOpen(task)
  return allowed < 0 ? allowed : new PagemapFile(path, flags, cred, task.mm)
}

class PagemapFile extends File {
  readonly #mm: Mm

  constructor(path: Path, flags: number, cred: Credentials, mm: Mm) {
    super(path, flags, cred)
    this.#mm = mm
  }
  override get seekable(): boolean {
    return true
  }

  override readAt(into: IoDst, offset: number): number {
    if (this.#mm.users === 0 || !this.#mm.space.alive) return 0
    if (offset % ENTRY !== 0 || into.remaining % ENTRY !== 0) return -EINVAL
    this.#mm.refresh()
    let done = 0
    while (into.remaining > 0) {
      const start = ((offset + done) / ENTRY) * PAGE_SIZE
      const pages = Math.min(PIECE, into.remaining / ENTRY, (TASK_SIZE - start) / PAGE_SIZE)
      if (pages <= 0) break
      const put = into.put(entriesOf(this.#mm, start, pages))
      if (put < 0) return done > 0 ? done : put
      done += put
    }
    return done
  }

  override seek(offset: number, whence: number): number {
    if (whence !== SEEK_SET && whence !== SEEK_CUR) return -EINVAL
    return super.seek(offset, whence)
  }
}

function entriesOf(mm: Mm, start: number, pages: number): Uint8Array {
  const bytes = new Uint8Array(pages * ENTRY)
  const view = new DataView(bytes.buffer)
  const end = start + pages * PAGE_SIZE
  for (let vma = mm.vmas.find(start); vma !== undefined && vma.start < end; vma = vma.next) {
    const from = Math.max(start, vma.start)
    const present = presentPages(mm, vma, from, Math.min(end, vma.end))
    if (present === undefined) continue
    const kind = vma.file !== undefined || (vma.flags & VM_SHARED) !== 0 ? FILE_OR_SHARED : 0
    const first = (from - start) / PAGE_SIZE
    present.forEach((page, i) => {
      if ((page & 1) !== 0) view.setUint32((first + i) * ENTRY + 4, (PRESENT | kind) >>> 0, true)
    })
  }
  return bytes
}

function presentPages(mm: Mm, vma: Vma, from: number, to: number): Uint8Array | undefined {
  if (to <= from || (vma.flags & (VM_READ | VM_WRITE | VM_EXEC)) === 0) return undefined
  const pages = new Uint8Array((to - from) / PAGE_SIZE)
  return mm.space.incore(from, to - from, pages) < 0 ? undefined : pages
}
