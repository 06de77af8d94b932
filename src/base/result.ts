/**
 * How kernel code reports failure: a negative errno number in place of the value, as in Linux. Nothing is
 * thrown for what a guest can cause; a throw means a bug in caisson.
 */

/** 0 for success, or a negative errno. */
export type Status = number

/** An object, or the negative errno that says why there is none. */
export type OrErrno<T> = T | number

/** Whether a `OrErrno` object result is an errno. */
export function failed<T extends object | string>(value: OrErrno<T>): value is number {
  return typeof value === 'number'
}

/** What a handler returns when the task was put to sleep: it is called again when woken. No errno is near it. */
export const BLOCK = -0x40000000

/**
 * The status of an operation whose answer comes later: somebody else, such as a FUSE server, has been asked. Everybody
 * passes it on as they would an errno; the loop then lets the task wait, and the call's handler is tried again, from its
 * start, when the answer is there (kernel/request-log.ts).
 */
export const PENDING = -0x40000003
