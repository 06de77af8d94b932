/** The requests of a ring that run, in order, and by the user data by which others name them. */
import type { UringRequest } from './request.ts'

const NONE: ReadonlySet<UringRequest> = new Set()

export class RequestTable implements Iterable<UringRequest> {
  readonly #all = new Set<UringRequest>()
  readonly #byData = new Map<number, Set<UringRequest>>()

  get size(): number {
    return this.#all.size
  }
  [Symbol.iterator](): Iterator<UringRequest> {
    return this.#all.values()
  }

  add(request: UringRequest): void {
    this.#all.add(request)
    const key = keyOf(request.userLo, request.userHi)
    const same = this.#byData.get(key)
    if (same !== undefined) same.add(request)
    else this.#byData.set(key, new Set([request]))
  }

  delete(request: UringRequest): void {
    this.#all.delete(request)
    const key = keyOf(request.userLo, request.userHi)
    const same = this.#byData.get(key)
    same?.delete(request)
    if (same?.size === 0) this.#byData.delete(key)
  }

  /** Those that may have this user data: the caller compares. */
  withData(userLo: number, userHi: number): ReadonlySet<UringRequest> {
    return this.#byData.get(keyOf(userLo, userHi)) ?? NONE
  }
}

/** Large values may share a key. */
function keyOf(userLo: number, userHi: number): number {
  return userHi * 2 ** 32 + userLo
}
