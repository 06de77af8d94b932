/** The log as one text, as syslog(2) and /proc/kmsg give it, and who may see it. */
import { CAP_SYSLOG, SYSLOG_ACTION_READ_ALL, SYSLOG_ACTION_SIZE_BUFFER } from '../../abi/constants.ts'
import { EPERM } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { Status } from '../../base/result.ts'
import type { Kernel } from '../kernel.ts'
import { formatRecord, type KernelLog } from './kernel-log.ts'

/** check_syslog_permissions: without dmesg_restrict everybody may read what there is, and nothing else. */
export function mayUseLog(kernel: Kernel, cred: Credentials, action: number): Status {
  const harmless = action === SYSLOG_ACTION_READ_ALL || action === SYSLOG_ACTION_SIZE_BUFFER
  if (harmless && !kernel.messages.restricted) return 0
  return cred.capable(CAP_SYSLOG, kernel.userNs) ? 0 : -EPERM
}

/** Whether the common reader has come to the end. */
export function nothingUnread(log: KernelLog): boolean {
  return log.at(log.reader) === undefined
}

/** The next records for the common reader, at most `size` bytes; of a record that is longer its beginning. */
export function takeUnread(log: KernelLog, size: number): string {
  let text = ''
  while (text.length < size) {
    const record = log.at(log.reader)
    if (record === undefined) break
    // What it had the beginning of may be gone.
    if (record.sequence !== log.reader) moveReader(log, record.sequence)
    const rest = formatRecord(record).slice(log.readerPartial)
    if (rest.length <= size - text.length) {
      text += rest
      moveReader(log, record.sequence + 1)
    } else if (text === '') {
      text = rest.slice(0, size)
      log.readerPartial += size
    } else break
  }
  return text
}

function moveReader(log: KernelLog, sequence: number): void {
  log.reader = sequence
  log.readerPartial = 0
}

/** How many bytes the common reader has before it. */
export function unreadSize(log: KernelLog): number {
  let size = 0
  for (let record = log.at(log.reader); record !== undefined; record = log.at(record.sequence + 1))
    size += formatRecord(record).length
  const partial = log.reader < log.first ? 0 : log.readerPartial
  return Math.max(0, size - partial)
}

/** The newest records since the last clearing that together have at most `size` bytes. */
export function newestRecords(log: KernelLog, size: number): string {
  const lines: string[] = []
  let room = size
  for (let sequence = log.end - 1; sequence >= Math.max(log.first, log.cleared); sequence--) {
    const line = formatRecord(log.at(sequence)!)
    if (line.length > room) break
    room -= line.length
    lines.push(line)
  }
  return lines.reverse().join('')
}
