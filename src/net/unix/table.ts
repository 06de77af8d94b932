/** UnixTable: the unix sockets of one network namespace: abstract names, and what is in flight. */
import { EADDRINUSE, ENOSPC } from '../../abi/errno.ts'
import type { OrErrno } from '../../base/result.ts'
import { BufferPool } from './buffers.ts'
import type { UnixSocket } from './socket.ts'

export class UnixTable {
  /** All of them, for /proc/net/unix. */
  readonly sockets = new Set<UnixSocket>()
  /** Those that are in some message (SCM_RIGHTS): what garbage collection looks at. */
  readonly inFlight = new Set<UnixSocket>()
  collecting = false
  readonly buffers = new BufferPool()
  /** net.unix.max_dgram_qlen: a datagram inbox holds one more than this. */
  maxDatagrams = 10
  readonly #abstract = new Map<string, UnixSocket>()
  #nextName = 0

  find(name: string, type: number): UnixSocket | undefined {
    return this.#abstract.get(type + name)
  }

  /** Takes an abstract name; -EADDRINUSE. */
  claim(name: string, socket: UnixSocket): number {
    const key = socket.type + name
    if (this.#abstract.has(key)) return -EADDRINUSE
    this.#abstract.set(key, socket)
    return 0
  }

  /** A free abstract name of five hexadecimal digits: autobind. */
  autobind(socket: UnixSocket): OrErrno<string> {
    for (let tries = 0; tries <= 0xfffff; tries++) {
      const name = `\0${this.#nextName.toString(16).padStart(5, '0')}`
      this.#nextName = (this.#nextName + 1) & 0xfffff
      if (this.claim(name, socket) === 0) return name
    }
    return -ENOSPC
  }

  forget(name: string, socket: UnixSocket): void {
    const key = socket.type + name
    if (this.#abstract.get(key) === socket) this.#abstract.delete(key)
  }
}
