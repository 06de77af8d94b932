/**
 * What /proc/PID/io shows: the bytes that the reading and writing calls of a task moved, and how many calls those were. Files
 * live in the sentry's memory or on the host, so nothing is known of block devices.
 */
import { NR } from '../abi/syscall-numbers.ts'
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'

export class IoCounts {
  readBytes = 0
  writtenBytes = 0
  reads = 0
  writes = 0

  add(more: IoCounts): void {
    this.readBytes += more.readBytes
    this.writtenBytes += more.writtenBytes
    this.reads += more.reads
    this.writes += more.writes
  }
}

const READS = 1
const WRITES = 2

/** By call number. */
const KINDS = callKinds()

function callKinds(): Uint8Array {
  const kinds = new Uint8Array(512)
  for (const nr of [NR.read, NR.pread64, NR.readv, NR.preadv, NR.preadv2]) kinds[nr] = READS
  for (const nr of [NR.write, NR.pwrite64, NR.writev, NR.pwritev, NR.pwritev2]) kinds[nr] = WRITES
  for (const nr of [NR.sendfile, NR.copy_file_range]) kinds[nr] = READS | WRITES
  return kinds
}

/** A call is over. */
export function accountIo(task: Task, result: number): void {
  const kind = KINDS[task.callNumber]
  if (kind === undefined || kind === 0) return
  const { io } = task
  const bytes = Math.max(result, 0)
  if ((kind & READS) !== 0) {
    io.reads++
    io.readBytes += bytes
  }
  if ((kind & WRITES) !== 0) {
    io.writes++
    io.writtenBytes += bytes
  }
}

/** Of all threads that the process has and had. */
export function groupIo(group: ThreadGroup): IoCounts {
  const sum = new IoCounts()
  sum.add(group.endedIo)
  for (const task of group.tasks) if (!task.ended) sum.add(task.io)
  return sum
}
