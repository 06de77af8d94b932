/**
 * Who gets how much of the CPUs when all want them: weights of processes within their cgroup, and of cgroups among their
 * siblings, as Linux's fair scheduler has them for its entities.
 */
import { IDLE_WEIGHT, NICE_0_WEIGHT } from '../scheduling.ts'
import type { Cgroup } from './cgroup.ts'
import { DEFAULT_WEIGHT } from './cpu.ts'

/** A process of which some threads want CPUs. */
export interface Claim {
  readonly cgroup: Cgroup
  /** Of these threads together. */
  readonly weight: number
  readonly threads: number
  /** What it is to get, in CPUs. */
  part: number
}

/** Whoever is deep down below cgroups of little weight is not to be left with nothing by a rounding. */
const LEAST_PART = 1e-6

/** Sets the parts of all claims, of `cpus` CPUs. Nobody gets more CPUs than it has threads: the others share what is left. */
export function divideCpus(claims: readonly Claim[], cpus: number): void {
  const loads = new Map<Cgroup, number>()
  for (const claim of claims) addLoad(loads, entityOf(claim.cgroup), claim.weight)
  for (const claim of claims) {
    const entity = entityOf(claim.cgroup)
    claim.part = Math.max(LEAST_PART, (shareOf(loads, entity) * claim.weight) / loads.get(entity)!)
  }
  let open = [...claims]
  let left = cpus
  while (open.length > 0) {
    const sum = open.reduce((total, claim) => total + claim.part, 0)
    const full = open.filter(claim => (claim.part / sum) * left >= claim.threads)
    if (full.length === 0) {
      for (const claim of open) claim.part *= left / sum
      return
    }
    open = open.filter(claim => !full.includes(claim))
    for (const claim of full) {
      claim.part = claim.threads
      left -= claim.threads
    }
  }
}

/** Among whose children it competes: cgroups without the controller are nothing apart. */
function entityOf(cgroup: Cgroup): Cgroup {
  let at = cgroup
  while (at.parent !== undefined && !at.has('cpu')) at = at.parent
  return at
}

function weightOf({ cpu }: Cgroup): number {
  return cpu.idle ? IDLE_WEIGHT : (cpu.weight * NICE_0_WEIGHT) / DEFAULT_WEIGHT
}

/** The first that is in an entity makes it one that competes in the one above. */
function addLoad(loads: Map<Cgroup, number>, entity: Cgroup, weight: number): void {
  const before = loads.get(entity)
  loads.set(entity, (before ?? 0) + weight)
  if (before === undefined && entity.parent !== undefined)
    addLoad(loads, entityOf(entity.parent), weightOf(entity))
}

/** What an entity has of all. */
function shareOf(loads: ReadonlyMap<Cgroup, number>, entity: Cgroup): number {
  if (entity.parent === undefined) return 1
  const above = entityOf(entity.parent)
  return (shareOf(loads, above) * weightOf(entity)) / loads.get(above)!
}
