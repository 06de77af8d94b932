/** The processes of a container as `ps` shows them. */
import { decodeText } from '../base/bytes.ts'
import { fromKernelId } from '../base/id-map.ts'
import { commandLine } from '../fs/proc/memory-file.ts'
import { groupCpuTime } from '../kernel/cpu-time.ts'
import type { Task } from '../kernel/task.ts'
import type { ThreadGroup } from '../kernel/thread-group.ts'
import type { Container } from './container.ts'
import type { ProcessInfo } from './protocol.ts'
import { unixMs } from './wall-clock.ts'

/** Of one command line, and of all together: a guest can make them as long and as many as it likes. */
const MAX_ARGUMENTS = 4096
const MAX_TOTAL = 1 << 18

export function describeProcesses(container: Container): ProcessInfo[] {
  const groups = [...new Set([...container.tasks()].map(task => task.group))]
  groups.sort((a, b) => a.pid.in(container.ns.pidForChildren) - b.pid.in(container.ns.pidForChildren))
  let room = MAX_TOTAL
  return groups.map(group => {
    const args = argumentsOf(group.representative, Math.min(room, MAX_ARGUMENTS))
    room -= args.reduce((sum, arg) => sum + arg.length, 0)
    return describe(container, group, args)
  })
}

function describe(container: Container, group: ThreadGroup, args: readonly string[]): ProcessInfo {
  const { kernel, ns, userNs } = container.place
  const task = group.representative
  const terminal = group.processGroup.session.terminal
  const bootMs = unixMs(kernel) - kernel.clock.boottime() / 1e6
  return {
    pid: group.pid.in(ns.pidForChildren),
    hostPid: (task.thread.space as { readonly pid?: number }).pid ?? 0,
    ppid: group.parent?.pid.in(ns.pidForChildren) ?? 0,
    uid: fromKernelId(userNs.uidMap, task.cred.euid),
    comm: decodeText(task.comm),
    args,
    terminal: terminal === undefined ? '' : `pts/${terminal.rdev & 0xff}`,
    startedMs: Math.round(bootMs + group.startTime / 1e6),
    cpuMs: Math.round(groupCpuTime(group) / 1e6),
  }
}

/** From the process's own memory: what it says there is its own affair. */
function argumentsOf({ mm, ended }: Task, most: number): string[] {
  if (ended) return []
  const parts = commandLine(mm).slice(0, most).split('\0')
  if (parts.at(-1) === '') parts.pop()
  return parts.map(decodeText)
}
