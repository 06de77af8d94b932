/** setitimer(2): the three interval timers of a process. Made at the first use, cancelled when the process ends. */
import { ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL, SIGALRM, SIGPROF, SIGVTALRM } from '../abi/constants.ts'
import { cpuTimeOf } from './clocks.ts'
import { CpuAlarm, isWorking } from './cpu-alarm.ts'
import { sendToGroup } from './signal.ts'
import { kernelSignal } from './signal-info.ts'
import type { Task } from './task.ts'
import type { ThreadGroup } from './thread-group.ts'
import { type Expiry, Timer } from './timers.ts'

/** A real timer's shortest period: what Linux gets by re-arming only when the signal is taken. */
const MIN_PERIOD = 10000

export interface TimerSetting {
  /** ns until it expires, 0: disarmed. */
  value: number
  /** ns, 0: once. */
  interval: number
}

interface IntervalTimer {
  get(): TimerSetting
  set(value: number, interval: number): void
}

class RealTimer implements IntervalTimer, Expiry {
  readonly #group: ThreadGroup
  readonly #timer = new Timer(this)
  #interval = 0

  constructor(group: ThreadGroup) {
    this.#group = group
  }

  get(): TimerSetting {
    const { deadline, armed } = this.#timer
    // An armed timer never says 0, which would mean disarmed.
    const value = armed ? Math.max(deadline - this.#group.kernel.now(), 1000) : 0
    return { value, interval: this.#interval }
  }
  set(value: number, interval: number): void {
    const { kernel } = this.#group
    // One that is disarmed has forgotten its interval, unlike those of CPU time.
    this.#interval = value === 0 ? 0 : interval
    if (value === 0) kernel.timers.cancel(this.#timer)
    else kernel.timers.add(this.#timer, kernel.now() + value)
  }

  expired(): void {
    const { kernel } = this.#group
    sendToGroup(this.#group, kernelSignal(SIGALRM))
    if (this.#interval > 0)
      kernel.timers.add(this.#timer, kernel.now() + Math.max(this.#interval, MIN_PERIOD))
  }
  victim(): ThreadGroup {
    return this.#group
  }
}

class CpuIntervalTimer implements IntervalTimer {
  readonly #group: ThreadGroup
  readonly #signo: number
  readonly #alarm: CpuAlarm
  #interval = 0
  #turn = 0

  constructor(group: ThreadGroup, signo: number) {
    this.#group = group
    this.#signo = signo
    this.#alarm = new CpuAlarm(group, this)
  }

  get(): TimerSetting {
    const armed = this.#alarm.at !== Number.POSITIVE_INFINITY
    return { value: armed ? Math.max(this.#alarm.remaining, 1000) : 0, interval: this.#interval }
  }
  set(value: number, interval: number): void {
    this.#interval = interval
    if (value === 0) this.#alarm.cancel()
    else this.#alarm.arm(cpuTimeOf(this.#group) + value)
  }

  cpuExpired(): void {
    sendToGroup(this.#group, kernelSignal(this.#signo), this.#working())
    if (this.#interval > 0) this.#alarm.arm(cpuTimeOf(this.#group) + this.#interval)
  }

  /** Profilers count on it that the signal interrupts a thread that works; where several do, each in its turn. */
  #working(): Task | undefined {
    const working = this.#group.tasks.filter(isWorking)
    return working[this.#turn++ % working.length]
  }
}

export class IntervalTimers {
  readonly #timers: readonly IntervalTimer[]

  constructor(group: ThreadGroup) {
    const timers: IntervalTimer[] = []
    timers[ITIMER_REAL] = new RealTimer(group)
    timers[ITIMER_VIRTUAL] = new CpuIntervalTimer(group, SIGVTALRM)
    timers[ITIMER_PROF] = new CpuIntervalTimer(group, SIGPROF)
    this.#timers = timers
  }

  get(which: number): TimerSetting {
    return this.#timers[which].get()
  }
  set(which: number, value: number, interval: number): void {
    this.#timers[which].set(value, interval)
  }
  cancel(): void {
    for (const timer of this.#timers) timer.set(0, 0)
  }
}

export function intervalTimersOf(group: ThreadGroup): IntervalTimers {
  group.timers ??= new IntervalTimers(group)
  return group.timers
}

export function cancelTimers(group: ThreadGroup): void {
  group.timers?.cancel()
}
