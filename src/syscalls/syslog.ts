/** syslog(2): the kernel's log as one text, and how much of it a console would show. */
import {
  POLLIN,
  SYSLOG_ACTION_CLEAR,
  SYSLOG_ACTION_CLOSE,
  SYSLOG_ACTION_CONSOLE_LEVEL,
  SYSLOG_ACTION_CONSOLE_OFF,
  SYSLOG_ACTION_CONSOLE_ON,
  SYSLOG_ACTION_OPEN,
  SYSLOG_ACTION_READ,
  SYSLOG_ACTION_READ_ALL,
  SYSLOG_ACTION_READ_CLEAR,
  SYSLOG_ACTION_SIZE_BUFFER,
  SYSLOG_ACTION_SIZE_UNREAD,
} from '../abi/constants.ts'
import { EFAULT, EINVAL, ERESTARTSYS } from '../abi/errno.ts'
import { NR } from '../abi/syscall-numbers.ts'
import { toBytes } from '../base/bytes.ts'
import { type KernelLog, LOG_BUFFER_SIZE } from '../kernel/log/kernel-log.ts'
import { mayUseLog, newestRecords, nothingUnread, takeUnread, unreadSize } from '../kernel/log/syslog.ts'
import type { Task } from '../kernel/task.ts'
import type { GuestAddr } from '../mm/mm.ts'
import { addr, int, type SyscallRows } from './args.ts'

export function syslog(task: Task, action: number, at: GuestAddr, length: number): number {
  const { kernel } = task
  const log = kernel.messages
  const allowed = mayUseLog(kernel, task.cred, action)
  if (allowed < 0) return allowed
  switch (action) {
    case SYSLOG_ACTION_CLOSE:
    case SYSLOG_ACTION_OPEN:
      return 0
    case SYSLOG_ACTION_READ:
    case SYSLOG_ACTION_READ_CLEAR:
    case SYSLOG_ACTION_READ_ALL:
      return read(task, log, action, at, length)
    case SYSLOG_ACTION_CLEAR:
      log.cleared = log.end
      return 0
    case SYSLOG_ACTION_CONSOLE_OFF:
      log.savedConsoleLevel ??= log.consoleLevel
      log.consoleLevel = log.minimumConsoleLevel
      return 0
    case SYSLOG_ACTION_CONSOLE_ON:
      setConsoleLevel(log, log.savedConsoleLevel ?? log.consoleLevel)
      return 0
    case SYSLOG_ACTION_CONSOLE_LEVEL:
      if (length < 1 || length > 8) return -EINVAL
      setConsoleLevel(log, Math.max(length, log.minimumConsoleLevel))
      return 0
    case SYSLOG_ACTION_SIZE_UNREAD:
      return unreadSize(log)
    case SYSLOG_ACTION_SIZE_BUFFER:
      return LOG_BUFFER_SIZE
    default:
      return -EINVAL
  }
}

function setConsoleLevel(log: KernelLog, level: number): void {
  log.consoleLevel = level
  log.savedConsoleLevel = undefined
}

/** SYSLOG_ACTION_READ waits for something to read; the others don't. */
function read(task: Task, log: KernelLog, action: number, at: GuestAddr, length: number): number {
  if (at === 0 || length < 0) return -EINVAL
  if (length === 0) return 0
  let text: string
  if (action === SYSLOG_ACTION_READ) {
    if (nothingUnread(log)) return task.block(log.queue, -ERESTARTSYS, POLLIN)
    text = takeUnread(log, length)
  } else text = newestRecords(log, length)
  if (text !== '' && task.mm.copyOut(at, toBytes(text)) < 0) return -EFAULT
  if (action === SYSLOG_ACTION_READ_CLEAR) log.cleared = log.end
  return text.length
}

export const syslogCalls = {
  syslog: { nr: NR.syslog, run: syslog, args: [int, addr, int] },
} satisfies SyscallRows
