/** What runtime-spec's resources mean as files of a cgroup. Values are written in the order of the list. */
import { SENTRY_MEMORY } from '../../sandbox/protocol.ts'

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

/**
 * What a sandbox needs on the host beside what its guest may have: the host's limits hold the whole sandbox, and so lie
 * above the guest's by this much. That of memory is kept by the host, which kills the guest's processes and not the sentry.
 */
export const SENTRY_SHARE = {
  /** Threads: of Node.js in the sentry, launcher, zygote, and stub processes in reserve. */
  pids: 64,
  /** Bytes. */
  memory: SENTRY_MEMORY,
} as const

/** A limit on the host, -1 for none; undefined where there is nothing to write. */
export function withShare(limit: number | undefined, share: number): number | undefined {
  if (limit === undefined || limit === 0) return undefined
  return limit < 0 ? -1 : limit + share
}
