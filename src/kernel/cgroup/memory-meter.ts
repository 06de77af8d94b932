/**
 * How much memory processes use, as the host says.
 *
 * There are two ways to ask. The quick one gives what each process has resident, so that a page that two of them share
 * (after a fork, or in a shared mapping) counts twice. The exact one divides such pages among those that have them, and
 * costs the host a walk over all of them.
 */
import type { AddressSpace } from '../../platform/platform.ts'
import type { Cgroup } from './cgroup.ts'
import { PAGE_SIZE } from './memory.ts'

/** In pages. */
export interface SpaceMemory {
  /** Private memory of no file. */
  anonymous: number
  /** Of files in memory, and shared memory of no file. */
  shared: number
}

export interface MemoryMeter {
  measure(space: AddressSpace, exact: boolean, into: SpaceMemory): void
}

/** Where the host does not tell. */
export const NO_METER: MemoryMeter = {
  measure(_space, _exact, into) {
    into.anonymous = into.shared = 0
  },
}

/** In bytes. */
export interface CgroupMemory {
  readonly anonymous: number
  /** Files in memory, and shared memory. */
  readonly shared: number
  readonly total: number
}

/** What the cgroup uses, with all below it. Not `exact`: that much at most. */
export function measureCgroup(cgroup: Cgroup, exact: boolean): CgroupMemory {
  const { memoryMeter } = cgroup.kernel
  const { memory } = cgroup
  const one: SpaceMemory = { anonymous: 0, shared: 0 }
  let anonymous = 0
  let mapped = 0
  for (const space of spacesOf(cgroup)) {
    memoryMeter.measure(space, exact, one)
    anonymous += one.anonymous
    mapped += one.shared
  }
  // Of what is mapped, files were charged when they were made; the rest is shared memory of no file.
  let files = 0
  for (const each of cgroup.subtree()) {
    for (const file of each.memory.mapped) files += file.recount()
  }
  const shared = memory.filePages + Math.max(0, mapped - files)
  const total = (anonymous + shared) * PAGE_SIZE
  if (exact) memory.seen(total)
  return { anonymous: anonymous * PAGE_SIZE, shared: shared * PAGE_SIZE, total }
}

/** The address spaces of all live processes here and below. */
export function spacesOf(cgroup: Cgroup): Set<AddressSpace> {
  const spaces = new Set<AddressSpace>()
  for (const each of cgroup.subtree()) {
    for (const group of each.groups) {
      const { space } = group.representative.mm
      if (space.alive) spaces.add(space)
    }
  }
  return spaces
}
