/**
 * Counters of perf_event_open(2) that the kernel itself knows: CPU time, page faults, context switches.
 *
 * An event belongs to one task, whose totals it looks at when it begins and when it ends to count. One that is inherited
 * goes on in what its task makes: each child has an event of its own, whose count is the first one's. It is made by
 * perf_event_open and ends with its file; what its tasks did until they ended stays counted.
 *
 * Time is the task's CPU time: as on Linux, an event counts only while its task runs.
 */
import {
  PERF_COUNT_SW_ALIGNMENT_FAULTS,
  PERF_COUNT_SW_CONTEXT_SWITCHES,
  PERF_COUNT_SW_CPU_CLOCK,
  PERF_COUNT_SW_DUMMY,
  PERF_COUNT_SW_EMULATION_FAULTS,
  PERF_COUNT_SW_PAGE_FAULTS,
  PERF_COUNT_SW_PAGE_FAULTS_MAJ,
  PERF_COUNT_SW_PAGE_FAULTS_MIN,
  PERF_COUNT_SW_TASK_CLOCK,
} from '../../abi/constants.ts'
import { groupTotals, taskCpuTime } from '../cpu-time.ts'
import type { Task } from '../task.ts'

/** What a task has in all, by PERF_COUNT_SW_*; what is not here the host does not tell. */
const TOTALS: Readonly<Record<number, (task: Task) => number>> = {
  [PERF_COUNT_SW_CPU_CLOCK]: taskCpuTime,
  [PERF_COUNT_SW_TASK_CLOCK]: taskCpuTime,
  [PERF_COUNT_SW_CONTEXT_SWITCHES]: task => task.voluntarySwitches,
  [PERF_COUNT_SW_PAGE_FAULTS]: task => faults(task, true, true),
  [PERF_COUNT_SW_PAGE_FAULTS_MIN]: task => faults(task, true, false),
  [PERF_COUNT_SW_PAGE_FAULTS_MAJ]: task => faults(task, false, true),
  // The CPU does without.
  [PERF_COUNT_SW_ALIGNMENT_FAULTS]: () => 0,
  [PERF_COUNT_SW_EMULATION_FAULTS]: () => 0,
  [PERF_COUNT_SW_DUMMY]: () => 0,
}

/** The host counts the faults of a process: they are taken for its leader's. */
function faults(task: Task, minor: boolean, major: boolean): number {
  if (task !== task.group.leader) return 0
  const { minorFaults, majorFaults } = groupTotals(task.group)
  return (minor ? minorFaults : 0) + (major ? majorFaults : 0)
}

export function isCounted(config: number): boolean {
  return TOTALS[config] !== undefined
}

export class PerfEvent {
  readonly config: number
  readonly inherit: boolean
  enableOnExec: boolean
  enabled = false
  /** Until the task ends, or the file is closed. */
  #task: Task | undefined
  /** Of the times before it was enabled last, and of heirs that have ended. */
  #count = 0
  #time = 0
  /** The totals when it was enabled. */
  #countThen = 0
  #timeThen = 0
  /** The event of the file, whose heirs are all that inherited it. */
  readonly #first: PerfEvent
  readonly #heirs = new Set<PerfEvent>()

  constructor(task: Task, config: number, inherit: boolean, enableOnExec: boolean, first?: PerfEvent) {
    this.#task = task
    this.config = config
    this.inherit = inherit
    this.enableOnExec = enableOnExec
    this.#first = first ?? this
    task.perfEvents ??= new Set()
    task.perfEvents.add(this)
  }

  setEnabled(on: boolean): void {
    for (const heir of this.#heirs) heir.setEnabled(on)
    if (on === this.enabled) return
    this.#settle()
    this.enabled = on
  }

  /** Counts what there is up to now. */
  #settle(): void {
    const task = this.#task
    if (task === undefined) return
    const count = TOTALS[this.config](task)
    const time = taskCpuTime(task)
    if (this.enabled) {
      this.#count += count - this.#countThen
      this.#time += time - this.#timeThen
    }
    this.#countThen = count
    this.#timeThen = time
  }

  /** PERF_EVENT_IOC_RESET: the count, not the time. */
  reset(): void {
    for (const heir of this.#heirs) heir.reset()
    this.#settle()
    this.#count = 0
  }

  get count(): number {
    this.#settle()
    let sum = this.#count
    for (const heir of this.#heirs) sum += heir.count
    return sum
  }
  /** For which it has been enabled, and has counted: the same. */
  get time(): number {
    this.#settle()
    let sum = this.#time
    for (const heir of this.#heirs) sum += heir.time
    return sum
  }

  /** Its task has made `child`. */
  passOn(child: Task): void {
    const heir = new PerfEvent(child, this.config, true, this.enableOnExec, this.#first)
    this.#first.#heirs.add(heir)
    if (this.enabled) heir.setEnabled(true)
  }

  /** Its task ends. */
  finish(): void {
    this.#settle()
    this.#leave()
    const first = this.#first
    if (first === this) return
    first.#count += this.#count
    first.#time += this.#time
    first.#heirs.delete(this)
  }

  /** Its file is closed. */
  close(): void {
    this.#leave()
    for (const heir of this.#heirs) heir.#leave()
    this.#heirs.clear()
  }

  #leave(): void {
    this.#task?.perfEvents?.delete(this)
    this.#task = undefined
  }
}

export function inheritPerfEvents(parent: Task, child: Task): void {
  for (const event of parent.perfEvents ?? []) if (event.inherit) event.passOn(child)
}

export function perfEventsAtExec(task: Task): void {
  for (const event of task.perfEvents ?? []) {
    if (!event.enableOnExec) continue
    event.enableOnExec = false
    event.setEnabled(true)
  }
}

export function finishPerfEvents(task: Task): void {
  for (const event of [...(task.perfEvents ?? [])]) event.finish()
}
