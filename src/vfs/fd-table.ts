/**
 * FdTable: the descriptors of a process (files_struct), shared by tasks with CLONE_FILES (`share`, `put`). Each entry
 * holds one reference to its File. The table is also the owner of POSIX locks.
 */
import { EBADF, EMFILE } from '../abi/errno.ts'
import { PENDING, type Status } from '../base/result.ts'
import type { File } from './file.ts'
import { fileGet, filePut } from './file-ref.ts'
import { dropProcessLocks } from './locks.ts'

export class FdTable {
  #files: (File | undefined)[] = []
  #cloexec: boolean[] = []
  /** No descriptor below it is free. */
  #lowest = 0
  /** Tasks that share it. */
  users = 1

  /** The File behind a descriptor, also if it is O_PATH. */
  get(fd: number): File | undefined {
    return fd >= 0 && fd < this.#files.length ? this.#files[fd] : undefined
  }

  /** One above the highest descriptor that was ever in use. */
  get size(): number {
    return this.#files.length
  }

  /** The descriptor that `install` would give. */
  lowestFree(min = 0): number {
    const files = this.#files
    let fd = Math.max(min, this.#lowest)
    while (fd < files.length && files[fd] !== undefined) fd++
    if (min <= this.#lowest) this.#lowest = fd
    return fd
  }

  /** Puts `file` at the lowest free descriptor from `min` on; takes over the caller's reference: -EMFILE leaves it. */
  install(file: File, cloexec: boolean, min: number, limit: number): number {
    const fd = this.lowestFree(min)
    if (fd >= limit) return -EMFILE
    this.#grow(fd)
    this.#files[fd] = file
    this.#cloexec[fd] = cloexec
    if (min <= this.#lowest) this.#lowest = fd + 1
    return fd
  }

  /** dup2: `file` (the reference is taken over) at `fd`, closing what was there. The caller checks the limit. */
  set(fd: number, file: File, cloexec: boolean): void {
    const old = this.get(fd)
    this.#grow(fd)
    this.#files[fd] = file
    this.#cloexec[fd] = cloexec
    if (old === undefined) return
    old.flush(this)
    this.#letGo(old)
  }

  /** close(2): what the file's flush says; the descriptor is free in any case, but for PENDING: then it still is one. */
  close(fd: number): Status {
    const file = this.get(fd)
    if (file === undefined) return -EBADF
    const status = file.flush(this)
    if (status !== PENDING) this.#remove(fd, file)
    return status
  }

  /** A descriptor that nobody has seen: its file, with the reference. It was never open for who looks at locks. */
  take(fd: number): File | undefined {
    const file = this.get(fd)
    if (file !== undefined) this.#clear(fd)
    return file
  }

  /** As close, where nobody waits for the flush. */
  #drop(fd: number): void {
    const file = this.get(fd)
    if (file === undefined) return
    file.flush(this)
    this.#remove(fd, file)
  }

  #remove(fd: number, file: File): void {
    this.#clear(fd)
    this.#letGo(file)
  }

  #clear(fd: number): void {
    this.#files[fd] = undefined
    this.#cloexec[fd] = false
    if (fd < this.#lowest) this.#lowest = fd
  }

  /** FD_CLOEXEC of an open descriptor. */
  cloexec(fd: number): boolean {
    return this.#cloexec[fd] === true
  }
  setCloexec(fd: number, on: boolean): void {
    this.#cloexec[fd] = on
  }

  /**
   * A copy that holds the same Files (fork), no larger than they need. Descriptors `from`..`to` are left out
   * (close_range with UNSHARE).
   */
  clone(from = 0, to = -1): FdTable {
    const copy = new FdTable()
    copy.#files = this.#files.map((file, fd) =>
      file === undefined || (fd >= from && fd <= to) ? undefined : fileGet(file),
    )
    while (copy.#files.length > 0 && copy.#files.at(-1) === undefined) copy.#files.pop()
    copy.#cloexec = copy.#files.map((file, fd) => file !== undefined && this.#cloexec[fd])
    copy.#lowest = Math.min(this.#lowest, to >= from ? from : this.#lowest)
    return copy
  }

  /** execve: closes what has FD_CLOEXEC. */
  closeOnExec(): void {
    for (let fd = 0; fd < this.#cloexec.length; fd++) if (this.#cloexec[fd]) this.#drop(fd)
  }

  /** Open descriptors in ascending order. */
  *entries(): Generator<[fd: number, file: File]> {
    for (let fd = 0; fd < this.#files.length; fd++) {
      const file = this.#files[fd]
      if (file !== undefined) yield [fd, file]
    }
  }

  /** The first open descriptor from `fd` on, or -1. */
  next(fd: number): number {
    for (; fd < this.#files.length; fd++) if (this.#files[fd] !== undefined) return fd
    return -1
  }

  /** Another task shares it. */
  share(): FdTable {
    this.users++
    return this
  }
  /** A task that used it is gone: the last one closes everything. */
  put(): void {
    if (--this.users > 0) return
    for (let fd = 0; fd < this.#files.length; fd++) this.#drop(fd)
  }

  /** Keeps the arrays free of holes. */
  #grow(fd: number): void {
    while (this.#files.length <= fd) {
      this.#files.push(undefined)
      this.#cloexec.push(false)
    }
  }

  #letGo(file: File): void {
    dropProcessLocks(file, this)
    filePut(file)
  }
}
