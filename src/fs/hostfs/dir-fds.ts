/**
 * Descriptors of host directories: those used last stay open, so that a lookup is one host call. A descriptor may be
 * closed when the next one is opened; who needs two at once sets `held` on the first meanwhile.
 */
import type { Host } from '../../platform/host.ts'

export class DirFd {
  readonly fd: number
  older: DirFd | undefined = undefined
  newer: DirFd | undefined = undefined
  closed = false
  held = false

  constructor(fd: number) {
    this.fd = fd
  }
}

export class DirFds {
  readonly #host: Host
  readonly #limit: number
  #count = 0
  #oldest: DirFd | undefined = undefined
  #newest: DirFd | undefined = undefined

  constructor(host: Host, limit = 512) {
    this.#host = host
    this.#limit = limit
  }

  get count(): number {
    return this.#count
  }

  add(fd: number): DirFd {
    const entry = new DirFd(fd)
    this.#append(entry)
    this.#count++
    let at = this.#oldest!
    while (this.#count > this.#limit && at !== entry) {
      const next = at.newer!
      if (!at.held) this.close(at)
      at = next
    }
    return entry
  }

  touch(entry: DirFd): void {
    if (entry === this.#newest) return
    this.#unlink(entry)
    this.#append(entry)
  }

  close(entry: DirFd): void {
    if (entry.closed) return
    entry.closed = true
    this.#unlink(entry)
    this.#count--
    this.#host.close(entry.fd)
  }

  closeAll(): void {
    while (this.#oldest !== undefined) this.close(this.#oldest)
  }

  #append(entry: DirFd): void {
    entry.older = this.#newest
    if (this.#newest !== undefined) this.#newest.newer = entry
    else this.#oldest = entry
    this.#newest = entry
  }

  #unlink(entry: DirFd): void {
    if (entry.older !== undefined) entry.older.newer = entry.newer
    else this.#oldest = entry.newer
    if (entry.newer !== undefined) entry.newer.older = entry.older
    else this.#newest = entry.older
    entry.older = entry.newer = undefined
  }
}
