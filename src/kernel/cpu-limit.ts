/** RLIMIT_CPU: SIGXCPU at the soft limit and each second after it, SIGKILL at the hard one (setrlimit(2)). */
import { RLIMIT_CPU, SIGXCPU } from '../abi/constants.ts'
import { NSEC_PER_SEC } from '../base/clock.ts'
import { cpuTimeOf } from './clocks.ts'
import { CpuAlarm } from './cpu-alarm.ts'
import { killGroup, sendToGroup } from './signal.ts'
import { kernelSignal } from './signal-info.ts'
import type { ThreadGroup } from './thread-group.ts'

export class CpuLimit {
  readonly #group: ThreadGroup
  readonly #alarm: CpuAlarm
  /** Seconds of CPU time at which the next signal is due. */
  #next = 0

  constructor(group: ThreadGroup) {
    this.#group = group
    this.#alarm = new CpuAlarm(group, this)
  }

  /** The limits were set, or inherited. */
  update(): void {
    this.#next = this.#group.rlimits.soft(RLIMIT_CPU)
    this.#arm()
  }
  cancel(): void {
    this.#alarm.cancel()
  }

  cpuExpired(): void {
    const used = cpuTimeOf(this.#group) / NSEC_PER_SEC
    if (used >= this.#group.rlimits.hard(RLIMIT_CPU)) {
      killGroup(this.#group)
      return
    }
    sendToGroup(this.#group, kernelSignal(SIGXCPU))
    this.#next = Math.floor(used) + 1
    this.#arm()
  }

  #arm(): void {
    const seconds = Math.min(this.#next, this.#group.rlimits.hard(RLIMIT_CPU))
    if (seconds === Number.POSITIVE_INFINITY) this.#alarm.cancel()
    // A limit of 0 means one second.
    else this.#alarm.arm(Math.max(seconds, 1) * NSEC_PER_SEC)
  }
}

/** Looks after RLIMIT_CPU of a process from now on, if it has one. */
export function watchCpuLimit(group: ThreadGroup): void {
  if (group.cpuLimit === undefined) {
    if (group.rlimits.soft(RLIMIT_CPU) === Number.POSITIVE_INFINITY) return
    group.cpuLimit = new CpuLimit(group)
  }
  group.cpuLimit.update()
}
