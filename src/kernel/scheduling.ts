/** Scheduling attributes of a task. The host's scheduler decides; these are kept, inherited and reported. */
import { SCHED_NORMAL } from '../abi/constants.ts'

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
  /** Bytes of the CPU mask; undefined: all CPUs. */
  affinity: Uint8Array | undefined = undefined

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
