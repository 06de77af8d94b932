/**
 * Memory that is made present before it is touched: MADV_POPULATE_READ, MADV_POPULATE_WRITE, MAP_POPULATE. The host does it in a
 * call of the guest's process, for which the kernel waits: so it goes piece by piece, and others are served in between. What
 * is shared zeroes or a sparse file may be as large as the address space.
 */
import { MADV_POPULATE_READ, MADV_POPULATE_WRITE } from '../abi/constants.ts'
import { EINTR } from '../abi/errno.ts'
import type { Task } from '../kernel/task.ts'

/** Some milliseconds, if its pages are not there. */
export const PIECE = 1 << 25

/** How far a call has come. */
export class Population {
  at: number
  readonly end: number
  readonly advice: number
  /** The result of a call for which it is no failure if pages can't be made present. */
  readonly result: number | undefined

  constructor(start: number, end: number, advice: number, result?: number) {
    this.at = start
    this.end = end
    this.advice = advice
    this.result = result
  }
}

export function isPopulating(advice: number): boolean {
  return advice === MADV_POPULATE_READ || advice === MADV_POPULATE_WRITE
}

/** One piece by `advise`; BLOCK if there is more. Only a fatal signal ends it before. */
export function populate(
  task: Task,
  population: Population,
  advise: (start: number, length: number, advice: number) => number,
): number {
  const { at, end, advice, result } = population
  const length = Math.min(PIECE, end - at)
  const status = advise(at, length, advice)
  if (status < 0) return result ?? status
  population.at += length
  if (population.at >= end) return result ?? 0
  task.progress = population
  task.uninterruptible = true
  return task.blockUntil(task.kernel.now(), -EINTR)
}
