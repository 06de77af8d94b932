/** What runtime-spec's resources mean as files of a cgroup. Values are written in the order of the list. */
import { LEAST_MEMORY } from '../../sandbox/protocol.ts'

export interface Setting {
  /** Which directory: a controller of version 1; '' for version 2. */
  readonly controller: string
  readonly file: string
  readonly value: string
  /** Of config.json, for error messages. */
  readonly field: string
  /** It may fail: the same file is written again later, when its neighbour has changed. */
  readonly tentative?: boolean
  /** In place of `file` where that doesn't exist. */
  readonly otherwise?: { readonly file: string; readonly value: string }
}

/** Threads of Node.js in the sentry, launcher, zygote, and stub processes in reserve. */
export const SENTRY_PIDS = 64

/**
 * The host's limit of processes for a guest's, -1 for none; undefined where there is nothing to write. The guest's own
 * is kept by the sentry.
 */
export function hostPids(limit: number | undefined): number | undefined {
  if (limit === undefined || limit === 0) return undefined
  return limit < 0 ? -1 : limit + SENTRY_PIDS
}

/**
 * The host's limit of memory in the same way: the container's, which the sentry's memory counts against as well; when it
 * is reached the host kills the guest's largest process, and not the sentry. A limit in which no sandbox could run is raised.
 */
export function hostMemory(limit: number | undefined): number | undefined {
  if (limit === undefined || limit === 0) return undefined
  return limit < 0 ? -1 : Math.max(limit, LEAST_MEMORY)
}
