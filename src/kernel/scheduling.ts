/** Scheduling attributes of a task. The host's scheduler decides; these are kept, inherited and reported. */
import { SCHED_NORMAL } from '../abi/constants.ts'
import type { Task } from './task.ts'

export class Scheduling {
  policy = SCHED_NORMAL
  /** Real-time priority: 1..99 for FIFO and RR, else 0. */
  priority = 0
  nice = 0
  resetOnFork = false
  /** SCHED_DEADLINE, ns. */
  runtime = 0
  deadline = 0
  period = 0
  /** ioprio_set(2): class << 13 | data. */
  ioPriority = 0
  /** The CPUs that it asked for, ascending; undefined: it never did. */
  affinity: readonly number[] | undefined = undefined

  /** What a child starts with. */
  inherited(): Scheduling {
    const child = Object.assign(new Scheduling(), this)
    if (!this.resetOnFork) return child
    child.resetOnFork = false
    child.policy = SCHED_NORMAL
    child.priority = 0
    if (this.nice < 0) child.nice = 0
    return child
  }
}

/** The CPUs that a task may run on: those that it asked for, as far as its cgroup has them; all of these if it has none. */
export function allowedCpus(task: Task): readonly number[] {
  const { effective } = task.group.cgroup.cpuset
  const { affinity } = task.scheduling
  if (affinity === undefined) return effective
  const both = effective.filter(cpu => affinity.includes(cpu))
  return both.length > 0 ? both : effective
}
