/**
 * Descriptors of host files and directories that stay open for the next use: those used last, up to a limit.
 *
 * Whoever opened a host file gives its descriptor to `add` and keeps the CachedFd. While somebody uses it (`hold`,
 * counted) it is sure to stay open; with the last `drop` it becomes the newest of the idle ones, of which the oldest is
 * closed when there are too many. The owner finds `closed` set then, and opens the file anew.
 */
import type { Host } from '../../platform/host.ts'

export class CachedFd {
  readonly fd: number
  closed = false
  /** Who needs it open now. */
  users = 0
  /** Its place among the idle ones. */
  older: CachedFd | undefined = undefined
  newer: CachedFd | undefined = undefined

  constructor(fd: number) {
    this.fd = fd
  }
}

export class FdCache {
  readonly #host: Host
  readonly #limit: number
  #idle = 0
  #oldest: CachedFd | undefined = undefined
  #newest: CachedFd | undefined = undefined

  /** `limit`: idle descriptors at most. */
  constructor(host: Host, limit: number) {
    this.#host = host
    this.#limit = limit
  }

  /** Descriptors that nobody needs now. */
  get idle(): number {
    return this.#idle
  }

  /** Takes over an open descriptor, idle and the newest. */
  add(fd: number): CachedFd {
    const entry = new CachedFd(fd)
    this.#append(entry)
    return entry
  }

  hold(entry: CachedFd): void {
    if (entry.users++ === 0) this.#unlink(entry)
  }
  drop(entry: CachedFd): void {
    if (--entry.users === 0 && !entry.closed) this.#append(entry)
  }

  /** It was used just now. */
  touch(entry: CachedFd): void {
    if (entry === this.#newest || entry.users > 0) return
    this.#unlink(entry)
    this.#append(entry)
  }

  close(entry: CachedFd): void {
    if (entry.closed) return
    entry.closed = true
    if (entry.users === 0) this.#unlink(entry)
    this.#host.close(entry.fd)
  }

  closeIdle(): void {
    while (this.#oldest !== undefined) this.close(this.#oldest)
  }

  #append(entry: CachedFd): void {
    entry.older = this.#newest
    if (this.#newest !== undefined) this.#newest.newer = entry
    else this.#oldest = entry
    this.#newest = entry
    if (++this.#idle > this.#limit) this.close(this.#oldest!)
  }

  #unlink(entry: CachedFd): void {
    if (entry.older !== undefined) entry.older.newer = entry.newer
    else this.#oldest = entry.newer
    if (entry.newer !== undefined) entry.newer.older = entry.older
    else this.#newest = entry.older
    entry.older = entry.newer = undefined
    this.#idle--
  }
}
