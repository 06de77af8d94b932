/**
 * CoreDump: the memory and the registers of a process that a signal ends, as a file: core(5).
 *
 * Begun by the thread that takes the signal (startCoreDump). The process is ending from then on; each of its other threads
 * comes here on its way out (`join`), since its registers belong to the picture. When all stand still the file is written,
 * a piece in each turn of the main loop, so that others are served meanwhile; then all of them end. A kill in
 * between leaves the file as it is.
 */
import { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY, RLIMIT_CORE, S_IFREG } from '../../abi/constants.ts'
import { ERESTARTSYS } from '../../abi/errno.ts'
import { BufferSrc } from '../../base/io.ts'
import { failed } from '../../base/result.ts'
import { readRemote } from '../../mm/remote-access.ts'
import { PAGE_SIZE } from '../../mm/vma.ts'
import { REG_RAX } from '../../platform/platform.ts'
import { truncateFile } from '../../vfs/attributes.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { seenUid } from '../../vfs/idmap.ts'
import { openAt } from '../../vfs/open.ts'
import { unlink } from '../../vfs/operations.ts'
import { CORE_FLAG, endTask } from '../exit.ts'
import { killGroup } from '../signal.ts'
import type { SigInfo } from '../signal-info.ts'
import { DUMPING, IN_KERNEL, NO_RESULT, type Task } from '../task.ts'
import { coreHeaders } from './core-elf.ts'
import { coreName } from './core-name.ts'
import { dumpedSegments, type Segment } from './core-segments.ts'

/** Bytes that are looked at in one turn. */
const PIECE = 1 << 20

export class CoreDump {
  readonly #task: Task
  readonly #info: SigInfo
  /** What the limit leaves to be written. */
  #left: number
  readonly #joined = new Set<Task>()
  #file: File | undefined = undefined
  #segments: Segment[] = []
  /** What is next: a segment, and how much of it is done. */
  #next = 0
  #done = 0
  #size = 0
  #over = false

  constructor(task: Task, info: SigInfo, limit: number) {
    this.#task = task
    this.#info = info
    this.#left = limit
  }

  /** A thread of the process is about to end: whether it has to stand still first. */
  join(task: Task): boolean {
    if (this.#over || task.ended) return false
    if (!task.thread.space.alive) {
      this.#close()
      return false
    }
    // A call was interrupted for ever.
    if (task !== this.#task && task.callNumber >= 0) task.thread.regs.put(REG_RAX, -ERESTARTSYS)
    task.stopWaiting()
    task.state = DUMPING
    task.thread.park()
    this.#joined.add(task)
    if (this.#joined.size >= task.group.live) task.kernel.makeRunnable(this.#task)
    return true
  }

  /** Once in each turn of the main loop. */
  step(): void {
    const { kernel } = this.#task
    kernel.current = this.#task
    const more =
      !this.#over && (this.#next === 0 && this.#file === undefined ? this.#begin() : this.#writePiece())
    kernel.current = undefined
    if (more) kernel.makeRunnable(this.#task)
    else this.#finish()
  }

  /** SIGKILL: the process has to go now. */
  abort(): void {
    if (this.#over) return
    this.#over = true
    this.#task.kernel.makeRunnable(this.#task)
  }

  #begin(): boolean {
    const task = this.#task
    // What is in the file is the program's own text.
    task.thread.space.setTraced?.(true)
    task.mm.refresh()
    const file = createFile(task, this.#info.signo)
    if (file === undefined) return false
    this.#file = file
    task.group.exitStatus |= CORE_FLAG
    const others = [...this.#joined].filter(other => other !== task)
    this.#segments = dumpedSegments(task.mm)
    const headers = coreHeaders([task, ...others], this.#info, this.#segments)
    this.#size = headers.length
    return this.#write(headers, 0)
  }

  #writePiece(): boolean {
    const segment = this.#segments[this.#next]
    if (segment === undefined) {
      if (this.#file !== undefined) truncateFile(this.#task.cred, this.#file, this.#size)
      return false
    }
    const length = Math.min(PIECE, segment.dumped - this.#done)
    const bytes = new Uint8Array(length)
    const offset = segment.offset + this.#done
    readWhatIsThere(this.#task, segment.start + this.#done, bytes)
    this.#size = offset + length
    this.#done += length
    if (this.#done >= segment.dumped) {
      this.#done = 0
      this.#next++
      while (this.#segments[this.#next]?.dumped === 0) this.#next++
    }
    return this.#write(bytes, offset)
  }

  /** Pages of zeros are left out, and don't count. False at the end of the limit or of the file system. */
  #write(bytes: Uint8Array, offset: number): boolean {
    for (let at = 0; at < bytes.length; ) {
      let end = at
      while (end < bytes.length && !isZero(bytes, end, end + PAGE_SIZE)) end += PAGE_SIZE
      end = Math.min(end, bytes.length, at + this.#left)
      if (end > at) {
        const written = this.#file!.writeAt(new BufferSrc(bytes.subarray(at, end)), offset + at)
        if (written !== end - at) return false
        this.#left -= written
        if (this.#left === 0) return false
      }
      at = end + PAGE_SIZE
    }
    return true
  }

  #close(): void {
    this.#over = true
    const file = this.#file
    this.#file = undefined
    if (file !== undefined) filePut(file)
  }

  #finish(): void {
    this.#close()
    const { group } = this.#task
    group.coreDump = undefined
    for (const task of this.#joined) {
      if (task.ended) continue
      task.state = IN_KERNEL
      endTask(task, group.exitStatus)
    }
  }
}

/**
 * The process ends by a signal that asks for a core dump. `result`: of the call that was interrupted. False where there is to
 * be none.
 */
export function startCoreDump(task: Task, info: SigInfo, result: number): boolean {
  const { group, mm } = task
  const limit = group.rlimits.soft(RLIMIT_CORE)
  if (group.coreDump !== undefined || group.exiting || mm.dumpable !== 1 || limit < PAGE_SIZE) return false
  if (result !== NO_RESULT) task.thread.regs.put(REG_RAX, result)
  killGroup(group, info.signo)
  group.coreDump = new CoreDump(task, info, limit)
  group.coreDump.join(task)
  return true
}

/** An old one gives way; a link is not followed, nor may anybody else own what is there. */
function createFile(task: Task, signo: number): File | undefined {
  const name = coreName(task, signo)
  if (name === '') return undefined
  unlink(task, undefined, name)
  const file = openAt(task, undefined, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, S_IFREG | 0o600)
  if (failed(file)) return undefined
  if (file.inode.isRegular && seenUid(file.path.mount, file.inode) === task.cred.fsuid) return file
  filePut(file)
  return undefined
}

/** Pages that can't be read are zeros. */
function readWhatIsThere(task: Task, start: number, into: Uint8Array): void {
  for (let at = 0; at < into.length; ) {
    const n = readRemote(task.mm, start + at, into.subarray(at))
    at = n > 0 ? at + n : at + PAGE_SIZE - ((start + at) % PAGE_SIZE)
  }
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  const end = Math.min(to, bytes.length)
  for (let i = from; i < end; i++) if (bytes[i] !== 0) return false
  return true
}
