/** The name of a core file by /proc/sys/kernel/core_pattern: core(5), "Naming of core dump files". */
import { RLIMIT_CORE } from '../../abi/constants.ts'
import { fromKernelId } from '../../base/id-map.ts'
import { pathToString } from '../../vfs/path-string.ts'
import type { Task } from '../task.ts'

/** What the kernel is set to; it is one setting for all namespaces. */
export interface CoreSettings {
  /** No pipe: a program is not started by the kernel. */
  pattern: string
  usesPid: boolean
}

/** Relative to the working directory unless it begins with a slash. Empty: none. */
export function coreName(task: Task, signo: number): string {
  const { pattern, usesPid } = task.kernel.core
  let name = ''
  let pidUsed = false
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] !== '%') {
      name += pattern[i]
      continue
    }
    const letter = pattern[++i]
    if (letter === undefined) break
    if (letter === 'p') pidUsed = true
    name += expand(task, letter, signo)
  }
  return usesPid && !pidUsed && pattern !== '' ? `${name}.${task.group.tgid}` : name
}

/** An unknown letter gives nothing. */
function expand(task: Task, letter: string, signo: number): string {
  const { group, cred, kernel, ns } = task
  switch (letter) {
    case '%':
      return '%'
    case 'p':
      return `${group.tgid}`
    case 'P':
      return `${group.pid.in(kernel.pidNs)}`
    case 'i':
      return `${task.tid}`
    case 'I':
      return `${task.pid.in(kernel.pidNs)}`
    case 'u':
      return `${fromKernelId(kernel.userNs.uidMap, cred.uid)}`
    case 'g':
      return `${fromKernelId(kernel.userNs.gidMap, cred.gid)}`
    case 'd':
      return `${task.mm.dumpable}`
    case 's':
      return `${signo}`
    case 't':
      return `${kernel.clock.realtime().sec}`
    case 'h':
      return harmless(ns.uts.hostname)
    case 'e':
      return harmless(task.comm)
    case 'f':
      return harmless(task.mm.exeFile?.path.dentry.name ?? task.comm)
    case 'E': {
      const path = task.mm.exeFile?.path
      return harmless(path === undefined ? task.comm : pathToString(path, task.fs.root))
    }
    case 'c': {
      const limit = group.rlimits.soft(RLIMIT_CORE)
      return limit === Number.POSITIVE_INFINITY ? '18446744073709551615' : `${limit}`
    }
  }
  return ''
}

/** What a guest chose must not lead elsewhere: no slashes, no `.` or `..` alone. */
function harmless(text: string): string {
  const name = text.replaceAll('/', '!')
  return name === '.' || name === '..' || name === '' ? name.replace(/^\.?/, '!') : name
}
