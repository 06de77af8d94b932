/** /proc/locks: proc_locks(5). No list of all locks is kept: they are found by the files that tasks have open. */
import { F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX } from '../../abi/constants.ts'
import type { Kernel } from '../../kernel/kernel.ts'
import { Pid, type PidNamespace } from '../../kernel/pid.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import type { Inode } from '../../vfs/inode.ts'
import { LOCK_TO_END, type PosixLock } from '../../vfs/locks.ts'
import { major, minor } from '../../vfs/vfs.ts'
import { caller } from './access.ts'
import { hex } from './text.ts'

export function formatLocks(kernel: Kernel): string {
  const ns = caller(kernel).pidNs
  const holders = new Map<File, Task>()
  const inodes = new Set<Inode>()
  for (const task of kernel.tasks()) {
    for (const [, file] of task.fds.entries()) {
      if (holders.has(file)) continue
      holders.set(file, task)
      if (file.inode.locks?.empty === false) inodes.add(file.inode)
    }
  }
  const lines: string[] = []
  for (const inode of inodes) {
    // The newest is first.
    for (const lock of [...inode.locks!.ranges].reverse()) lines.push(rangeLine(lock, inode, ns))
    for (const [file, type] of inode.locks!.flocks) {
      const pid = holders.get(file)?.group.pid.in(ns) ?? 0
      lines.push(`FLOCK  ADVISORY  ${type === LOCK_EX ? 'WRITE' : 'READ '} ${pid} ${numberOf(inode)} 0 EOF`)
    }
  }
  return lines.map((line, i) => `${i + 1}: ${line}\n`).join('')
}

function rangeLine({ type, start, end, holder }: PosixLock, inode: Inode, ns: PidNamespace): string {
  const kind = holder instanceof Pid ? 'POSIX ' : 'OFDLCK'
  const pid = holder instanceof Pid ? holder.in(ns) : -1
  const last = end === LOCK_TO_END ? 'EOF' : `${end - 1}`
  return `${kind} ADVISORY  ${typeName(type)} ${pid} ${numberOf(inode)} ${start} ${last}`
}

function typeName(type: number): string {
  return type === F_WRLCK ? 'WRITE' : type === F_RDLCK ? 'READ ' : type === F_UNLCK ? 'UNLCK' : '?'
}

function numberOf(inode: Inode): string {
  return `${hex(major(inode.dev), 2)}:${hex(minor(inode.dev), 2)}:${inode.ino}`
}
