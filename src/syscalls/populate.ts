/**
 * What is done to a range of memory, and costs the more the longer it is: pages made present (MADV_POPULATE_READ,
 * MADV_POPULATE_WRITE, MAP_POPULATE, mlock) or given back (MADV_DONTNEED and others). The host does it in a call of the guest's
 * process, for which the kernel waits: so it goes piece by piece, and others are served in between. What is shared zeroes, a
 * sparse file or never touched may be as large as the address space, and costs next to nothing.
 */
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_PAGEOUT,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_REMOVE,
} from '../abi/constants.ts'
import { ENOMEM } from '../abi/errno.ts'
import type { Task } from '../kernel/task.ts'
import { populateAdvice } from '../mm/mlock.ts'
import type { Mm } from '../mm/mm.ts'

/** Some milliseconds, if its pages are not there. */
export const PIECE = 1 << 24
/** By advice that is given piece by piece: what is some milliseconds' work. */
const PIECES: ReadonlyMap<number, number> = new Map([
  [MADV_POPULATE_READ, PIECE],
  [MADV_POPULATE_WRITE, PIECE],
  [MADV_DONTNEED, 1 << 26],
  [MADV_DONTNEED_LOCKED, 1 << 26],
  [MADV_FREE, 1 << 26],
  [MADV_COLD, 1 << 26],
  [MADV_PAGEOUT, 1 << 25],
  [MADV_REMOVE, 1 << 25],
  [MADV_COLLAPSE, 1 << 21],
])
/** How long one try works, ns; a piece that took less than the half of it is followed by a larger one. */
const SHARE = 4_000_000

/** How far a call has come. */
export class Population {
  at: number
  readonly end: number
  readonly advice: number
  /** The result of a call for which it is no failure if pages can't be made present. */
  readonly result: number | undefined
  /** How much comes next. */
  piece: number
  /** Its pages are locked when they are there. */
  locks = false
  /** Some of it is mapped by nothing. */
  unmapped = false

  constructor(start: number, end: number, advice: number, result?: number) {
    this.at = start
    this.end = end
    this.advice = advice
    this.result = result
    this.piece = PIECES.get(advice) ?? PIECE
  }
}

/** Whether advice about so much is given piece by piece. */
export function isLongAdvice(advice: number, length: number): boolean {
  return length > (PIECES.get(advice) ?? Number.POSITIVE_INFINITY)
}

/** One share by `advise`; BLOCK if there is more. Only a fatal signal ends it before. */
export function populate(
  task: Task,
  population: Population,
  advise: (start: number, length: number, advice: number) => number,
): number {
  const { end, advice, result } = population
  const { kernel } = task
  const populates = advice === MADV_POPULATE_READ || advice === MADV_POPULATE_WRITE
  const begun = kernel.now()
  for (let now = begun; now - begun < SHARE; ) {
    const { at, piece } = population
    // To where pieces of this size begin: huge pages are not cut.
    const length = Math.min(piece - (at % piece), end - at)
    const status = advise(at, length, advice)
    if (status === -ENOMEM && !populates) population.unmapped = true
    else if (status < 0) return result ?? status
    population.at += length
    if (population.at >= end) return result ?? (population.unmapped ? -ENOMEM : 0)
    const before = now
    now = kernel.now()
    if (now - before < SHARE / 2) population.piece = piece * 2
    else if (now - before > SHARE * 2 && piece > 1 << 21) population.piece = piece / 2
  }
  task.progress = population
  return task.yieldCall()
}

/** What is mapped in [start, end) is made present, as far as that can be; BLOCK if there is more, 0 when all is done. */
export function makePresent(task: Task, mm: Mm, start: number, end: number): number {
  const population =
    task.progress instanceof Population ? task.progress : new Population(start, end, MADV_POPULATE_WRITE, 0)
  if (population.at >= population.end) return 0
  return populate(task, population, (at, length) => {
    const to = at + length
    let vma = mm.vmas.intersecting(at, to)
    // Over what nobody has mapped at one go.
    if (vma === undefined) population.at = (mm.vmas.intersecting(to, end)?.start ?? end) - length
    for (; vma !== undefined && vma.start < to; vma = vma.next) {
      if (vma.file?.secret) continue
      const from = Math.max(vma.start, at)
      mm.space.advise(from, Math.min(vma.end, to) - from, populateAdvice(vma.flags))
    }
    return 0
  })
}
