/**
 * Scheduling attributes of a task. Its CPUs are obeyed by the host's scheduler, for which each guest thread is one of its own.
 * Of priorities the host hears nothing, so that no guest gets more of it than others; how those of one sandbox share what
 * it gets is seen to by CpuShares (cgroup/cpu-shares.ts).
 */
import { SCHED_FIFO, SCHED_IDLE, SCHED_NORMAL, SCHED_RR } from '../abi/constants.ts'
import type { Status } from '../base/result.ts'
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

  /** Its part of the CPUs, beside those of others. Real-time tasks have as much as an ordinary one can have. */
  get weight(): number {
    if (this.policy === SCHED_IDLE) return IDLE_WEIGHT
    return niceWeight(this.policy === SCHED_FIFO || this.policy === SCHED_RR ? -20 : this.nice)
  }

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

/** sched_prio_to_weight[] of nice values from -20 on: each step is a tenth of the CPU. */
const NICE_WEIGHTS = [
  ...[88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906],
  ...[3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45],
  ...[36, 29, 23, 18, 15],
]
export const NICE_0_WEIGHT = 1024
/** Of SCHED_IDLE, and of cgroups with cpu.idle. */
export const IDLE_WEIGHT = 3

export function niceWeight(nice: number): number {
  return NICE_WEIGHTS[nice + 20]
}

/** The CPUs that a task may run on: those that it asked for, as far as its cgroup has them; all of these if it has none. */
export function allowedCpus(task: Task): readonly number[] {
  const { effective } = task.group.cgroup.cpuset
  const { affinity } = task.scheduling
  if (affinity === undefined) return effective
  const both = effective.filter(cpu => affinity.includes(cpu))
  return both.length > 0 && both.length < effective.length ? both : effective
}

/** Tells the host of what was set, or inherited; an errno where it has none of the CPUs (any more). */
export function applyScheduling(task: Task): Status {
  if (task.ended) return 0
  const cpus = allowedCpus(task)
  return task.thread.setCpus?.(cpus === task.kernel.platform.cpus ? undefined : cpus) ?? 0
}

/** The CPU on which the task's thread runs, or was last; the first that it may use where the host does not tell. */
export function lastCpu(task: Task): number {
  return (task.ended ? undefined : task.thread.lastCpu?.()) ?? allowedCpus(task)[0]
}
