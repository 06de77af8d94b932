/**
 * /dev/kmsg and /proc/kmsg: the kernel's log as files. Each open /dev/kmsg reads from a place of its own, one record at a
 * time, with number and time (Linux's Documentation/ABI/testing/dev-kmsg); what is written there becomes a record, never
 * one of the kernel's own. /proc/kmsg is syslog(2) as a file: what one reads, others don't get.
 */
import {
  O_ACCMODE,
  O_WRONLY,
  POLLERR,
  POLLIN,
  POLLPRI,
  POLLRDNORM,
  SEEK_DATA,
  SEEK_END,
  SEEK_SET,
  SYSLOG_ACTION_OPEN,
  SYSLOG_ACTION_READ_ALL,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, EPERM, EPIPE, ESPIPE } from '../../abi/errno.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { OrErrno } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { formatExtended, type KernelLog, RECORD_MAX } from '../../kernel/log/kernel-log.ts'
import { RateLimit } from '../../kernel/log/rate-limit.ts'
import { mayUseLog, nothingUnread, takeUnread } from '../../kernel/log/syslog.ts'
import { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

/** LOG_USER: whose words it is that come by /dev/kmsg, unless they say otherwise. */
const USER_FACILITY = 1

export function openKmsg(kernel: Kernel, path: Path, flags: number, cred: Credentials): OrErrno<File> {
  if (kernel.messages.devkmsg === 'off') return -EPERM
  if ((flags & O_ACCMODE) !== O_WRONLY) {
    const allowed = mayUseLog(kernel, cred, SYSLOG_ACTION_READ_ALL)
    if (allowed < 0) return allowed
  }
  return new KmsgFile(path, flags, cred, kernel)
}

class KmsgFile extends File {
  readonly #log: KernelLog
  readonly #writes: RateLimit
  #next: number

  constructor(path: Path, flags: number, cred: Credentials, kernel: Kernel) {
    super(path, flags, cred)
    this.#log = kernel.messages
    this.#writes = new RateLimit(kernel.clock)
    this.#next = this.#log.first
  }

  override get seekable(): boolean {
    return true
  }
  override get waitQueue(): WaitQueue {
    return this.#log.queue
  }

  override poll(): number {
    const record = this.#log.at(this.#next)
    if (record === undefined) return 0
    const lost = record.sequence !== this.#next
    return POLLIN | POLLRDNORM | (lost ? POLLERR | POLLPRI : 0)
  }

  override read(into: IoDst): number {
    const record = this.#log.at(this.#next)
    if (record === undefined) return -EAGAIN
    if (record.sequence !== this.#next) {
      this.#next = record.sequence
      return -EPIPE
    }
    const bytes = toBytes(formatExtended(record))
    if (bytes.length > into.remaining) return -EINVAL
    this.#next++
    return into.put(bytes)
  }

  override readAt(into: IoDst, _offset: number): number {
    return this.read(into)
  }

  /** `<PRIORITY>` in front says how urgent it is, and of what facility; the kernel's can't be had. */
  override write(from: IoSrc): number {
    const length = from.remaining
    if (length > RECORD_MAX) return -EINVAL
    const { devkmsg, defaultLevel } = this.#log
    if (devkmsg === 'off' || (devkmsg === 'ratelimit' && !this.#writes.pass())) {
      from.consume(length)
      return length
    }
    const bytes = new Uint8Array(length)
    if (from.take(bytes) < length) return -EFAULT
    let text = fromBytes(bytes).split('\0', 1)[0]
    let facility = USER_FACILITY
    let level = defaultLevel
    const prefix = /^<(\d*)>/.exec(text)
    if (prefix !== null) {
      const priority = Number(prefix[1])
      level = priority % 8
      facility = Math.floor(priority / 8) % 256 || USER_FACILITY
      text = text.slice(prefix[0].length)
    }
    this.#log.append(facility, level, text.endsWith('\n') ? text.slice(0, -1) : text)
    return length
  }

  override writeAt(from: IoSrc, _offset: number): number {
    return this.write(from)
  }

  /** To the oldest record, to the end, or to what came after the last clearing. */
  override seek(offset: number, whence: number): number {
    if (offset !== 0) return -ESPIPE
    if (whence === SEEK_SET) this.#next = this.#log.first
    else if (whence === SEEK_DATA) this.#next = this.#log.cleared
    else if (whence === SEEK_END) this.#next = this.#log.end
    else return -EINVAL
    return 0
  }
}

export function openProcKmsg(kernel: Kernel, path: Path, flags: number, cred: Credentials): OrErrno<File> {
  const allowed = mayUseLog(kernel, cred, SYSLOG_ACTION_OPEN)
  return allowed < 0 ? allowed : new ProcKmsgFile(path, flags, cred, kernel.messages)
}

class ProcKmsgFile extends File {
  readonly #log: KernelLog

  constructor(path: Path, flags: number, cred: Credentials, log: KernelLog) {
    super(path, flags, cred)
    this.#log = log
  }

  override get seekable(): boolean {
    return true
  }
  override get waitQueue(): WaitQueue {
    return this.#log.queue
  }
  override poll(): number {
    return nothingUnread(this.#log) ? 0 : POLLIN | POLLRDNORM
  }

  override readAt(into: IoDst, _offset: number): number {
    if (into.remaining === 0) return 0
    if (nothingUnread(this.#log)) return -EAGAIN
    return into.put(toBytes(takeUnread(this.#log, into.remaining)))
  }
}
