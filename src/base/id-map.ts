/** uid and gid maps of user namespaces (user_namespaces(7)): between a namespace's ids and the kernel's. */
import type { IdMapping } from './credentials.ts'

/** What an id without a mapping is shown as: /proc/sys/kernel/overflowuid. */
export const OVERFLOW_ID = 65534
/** (uid_t)-1: no id. */
export const INVALID_ID = 0xffffffff

/**
 * The kernel's id for `id` of the namespace: make_kuid. INVALID_ID when it is not mapped. The maps hold kernel-wide ids
 * as `outside`, resolved when they were written.
 */
export function toKernelId(map: readonly IdMapping[], id: number): number {
  for (const line of map) {
    if (id >= line.inside && id - line.inside < line.count) return line.outside + (id - line.inside)
  }
  return INVALID_ID
}

/** The namespace's id for a kernel id: from_kuid, INVALID_ID when there is none. */
export function idInside(map: readonly IdMapping[], id: number): number {
  for (const line of map) {
    if (id >= line.outside && id - line.outside < line.count) return line.inside + (id - line.outside)
  }
  return INVALID_ID
}

/** from_kuid_munged: what is shown for a kernel id, OVERFLOW_ID when the namespace has none for it. */
export function fromKernelId(map: readonly IdMapping[], id: number): number {
  const inside = idInside(map, id)
  return inside === INVALID_ID ? OVERFLOW_ID : inside
}
