/**
 * FdTable: the descriptors of a process (files_struct), shared by tasks with CLONE_FILES (`share`, `put`). Each entry
 * holds one reference to its File. The table is also the owner of POSIX locks.
 */
import { EBADF, EMFILE } from '../abi/errno.ts'
import { PENDING, type Status } from '../base/result.ts'
import type { File } from './file.ts'
import { fileGet, filePut } from './file-ref.ts'
import { dropProcessLocks } from './locks.ts'

/** Entries are in pieces of so many (2 ** SHIFT): a single high number costs one, and not a table that reaches there. */
const SHIFT = 10
const MASK = (1 << SHIFT) - 1

interface Piece {
  readonly files: (File | undefined)[]
  readonly cloexec: boolean[]
  /** How many of them are open. */
  used: number
}

export class FdTable {
  readonly #pieces: (Piece | undefined)[] = []
  #size = 0
  /** No descriptor below it is free. */
  #lowest = 0
  /** Tasks that share it. */
  users = 1

  /** The File behind a descriptor, also if it is O_PATH. */
  get(fd: number): File | undefined {
    return fd >= 0 && fd < this.#size ? this.#pieces[fd >>> SHIFT]?.files[fd & MASK] : undefined
  }

  /** One above the highest descriptor that was ever in use. */
  get size(): number {
    return this.#size
  }

  /** How many are open. */
  get count(): number {
    return this.#pieces.reduce((sum, piece) => sum + (piece?.used ?? 0), 0)
  }

  /** The descriptor that `install` would give. */
  lowestFree(min = 0): number {
    let fd = Math.max(min, this.#lowest)
    while (this.get(fd) !== undefined) {
      const full = (fd & MASK) === 0 && this.#pieces[fd >>> SHIFT]!.used > MASK
      fd += full ? MASK + 1 : 1
    }
    if (min <= this.#lowest) this.#lowest = fd
    return fd
  }

  /** Puts `file` at the lowest free descriptor from `min` on; takes over the caller's reference: -EMFILE leaves it. */
  install(file: File, cloexec: boolean, min: number, limit: number): number {
    const fd = this.lowestFree(min)
    if (fd >= limit) return -EMFILE
    this.#put(fd, file, cloexec)
    if (min <= this.#lowest) this.#lowest = fd + 1
    return fd
  }

  /** dup2: `file` (the reference is taken over) at `fd`, closing what was there. The caller checks the limit. */
  set(fd: number, file: File, cloexec: boolean): void {
    const old = this.get(fd)
    this.#put(fd, file, cloexec)
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
    const piece = this.#pieces[fd >>> SHIFT]!
    piece.files[fd & MASK] = undefined
    piece.cloexec[fd & MASK] = false
    piece.used--
    if (fd < this.#lowest) this.#lowest = fd
  }

  /** FD_CLOEXEC of an open descriptor. */
  cloexec(fd: number): boolean {
    return this.get(fd) !== undefined && this.#pieces[fd >>> SHIFT]!.cloexec[fd & MASK]
  }
  setCloexec(fd: number, on: boolean): void {
    this.#pieces[fd >>> SHIFT]!.cloexec[fd & MASK] = on
  }

  /**
   * A copy that holds the same Files (fork), no larger than they need. Descriptors `from`..`to` are left out
   * (close_range with UNSHARE).
   */
  clone(from = 0, to = -1): FdTable {
    const copy = new FdTable()
    for (const [fd, file] of this.entries()) {
      if (fd < from || fd > to) copy.#put(fd, fileGet(file), this.cloexec(fd))
    }
    copy.#lowest = Math.min(this.#lowest, to >= from ? from : this.#lowest)
    return copy
  }

  /** execve: closes what has FD_CLOEXEC. */
  closeOnExec(): void {
    for (const [fd] of this.entries()) if (this.cloexec(fd)) this.#drop(fd)
  }

  /** Open descriptors in ascending order. */
  *entries(): Generator<[fd: number, file: File]> {
    for (let fd = this.next(0); fd >= 0; fd = this.next(fd + 1)) yield [fd, this.get(fd)!]
  }

  /** The first open descriptor from `fd` on, or -1. */
  next(fd: number): number {
    while (fd < this.#size) {
      const piece = this.#pieces[fd >>> SHIFT]
      if (piece?.files[fd & MASK] !== undefined) return fd
      // Behind the last entry of a piece comes the next one.
      fd = (fd & MASK) < (piece?.files.length ?? 0) ? fd + 1 : (fd | MASK) + 1
    }
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
    for (const [fd] of this.entries()) this.#drop(fd)
  }

  /** Keeps the arrays free of holes. */
  #put(fd: number, file: File, cloexec: boolean): void {
    const pieces = this.#pieces
    while (pieces.length <= fd >>> SHIFT) pieces.push(undefined)
    pieces[fd >>> SHIFT] ??= { files: [], cloexec: [], used: 0 }
    const piece = pieces[fd >>> SHIFT]!
    while (piece.files.length <= (fd & MASK)) {
      piece.files.push(undefined)
      piece.cloexec.push(false)
    }
    if (piece.files[fd & MASK] === undefined) piece.used++
    piece.files[fd & MASK] = file
    piece.cloexec[fd & MASK] = cloexec
    if (fd >= this.#size) this.#size = fd + 1
  }

  #letGo(file: File): void {
    dropProcessLocks(file, this)
    filePut(file)
  }
}
