/**
 * The host's locks of a file of a shared tree: what guests hold is visible to other sandboxes and to the host, as if the
 * sandbox were one process of it.
 *
 * Byte ranges are held by an open description of their own (OFD locks), made at the first range and closed with the last,
 * so that nothing that a guest closes can drop them. flock(2) belongs to the guest's own open description, and so to the
 * descriptor behind its File.
 */
import { F_UNLCK, LOCK_NB, O_RDONLY, O_RDWR } from '../../abi/constants.ts'
import { EBADF, ENOLCK } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { File } from '../../vfs/file.ts'
import { LOCK_TO_END, type OutsideLocks, type PosixLock } from '../../vfs/locks.ts'
import type { HostFile, HostRegular } from './regular.ts'

export class HostLocks implements OutsideLocks {
  readonly #node: HostRegular
  #fd = -1

  constructor(node: HostRegular) {
    this.#node = node
  }

  set(type: number, start: number, end: number): Status {
    if (type === F_UNLCK && this.#fd < 0) return 0
    const fd = this.#open()
    if (fd < 0) return -ENOLCK
    const status = this.#node.sb.host.lockRange(fd, type, start, lengthOf(start, end))
    // Opened by another way than the guest's File.
    return status === -EBADF ? -ENOLCK : status
  }

  conflict(type: number, start: number, end: number): PosixLock | undefined {
    const fd = this.#open()
    if (fd < 0) return undefined
    const found = this.#node.sb.host.lockInTheWay(fd, type, start, lengthOf(start, end))
    if (this.#node.locks?.ranges.length === 0) this.idle()
    if (found === undefined || typeof found === 'number') return undefined
    return {
      // -1: an open description has it.
      owner: found.pid === -1 ? this : undefined,
      type: found.type,
      start: found.start,
      end: found.length === 0 ? LOCK_TO_END : found.start + found.length,
      holder: undefined,
    }
  }

  flock(file: File, operation: number): Status {
    const fd = (file as HostFile).ownFd()
    if (fd < 0) return -ENOLCK
    const status = this.#node.sb.host.flock(fd, operation | LOCK_NB)
    return status === -EBADF ? -ENOLCK : status
  }

  idle(): void {
    if (this.#fd >= 0) this.#node.sb.host.close(this.#fd)
    this.#fd = -1
  }

  #open(): number {
    if (this.#fd >= 0) return this.#fd
    this.#fd = this.#node.openOther(O_RDWR)
    if (this.#fd < 0) this.#fd = this.#node.openOther(O_RDONLY)
    return this.#fd
  }
}

function lengthOf(start: number, end: number): number {
  return end === LOCK_TO_END ? 0 : end - start
}
