/** /proc/PID/mem: a process's memory as a file, past its protections; and the strings of its command line. */
import { SEEK_CUR, SEEK_SET } from '../../abi/constants.ts'
import { EINVAL, EIO } from '../../abi/errno.ts'
import { fromBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import type { Mm } from '../../mm/mm.ts'
import { readRemote, writeRemote } from '../../mm/remote-access.ts'
import { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'

const PIECE = 65536
const PAGE = 4096
/** More than an exec can pass on. Where the strings are is what a program says, prctl(2): any two addresses. */
const MAX_TEXT = 8 * 2 ** 20

/** It stays with the address space that was there when it was opened. */
export class MemoryFile extends File {
  readonly #mm: Mm

  constructor(path: Path, flags: number, cred: Credentials, mm: Mm) {
    super(path, flags, cred)
    this.#mm = mm
  }
  override get seekable(): boolean {
    return true
  }

  override readAt(into: IoDst, offset: number): number {
    if (this.#gone) return 0
    const bytes = new Uint8Array(Math.min(PIECE, into.remaining))
    let done = 0
    while (into.remaining > 0) {
      const piece = bytes.subarray(0, Math.min(bytes.length, into.remaining))
      const n = readRemote(this.#mm, offset + done, piece)
      if (n <= 0) return done > 0 ? done : -EIO
      const put = into.put(piece.subarray(0, n))
      if (put < 0) return done > 0 ? done : put
      done += put
      if (n < piece.length) break
    }
    return done
  }

  override writeAt(from: IoSrc, offset: number): number {
    if (this.#gone) return 0
    let done = 0
    while (from.remaining > 0) {
      const window = from.window(PIECE)
      if (typeof window === 'number') return done > 0 ? done : window
      const n = writeRemote(this.#mm, offset + done, window)
      if (n <= 0) return done > 0 ? done : -EIO
      from.consume(n)
      done += n
      if (n < window.length) break
    }
    return done
  }

  override seek(offset: number, whence: number): number {
    if (whence !== SEEK_SET && whence !== SEEK_CUR) return -EINVAL
    return super.seek(offset, whence)
  }

  get #gone(): boolean {
    return this.#mm.users === 0 || !this.#mm.space.alive
  }
}

/**
 * /proc/PID/cmdline. A program that wrote over the end of its arguments has made itself a title, which may reach on
 * into the environment: it ends at its first NUL.
 */
export function commandLine(mm: Mm): string {
  const { argStart, argEnd } = mm
  if (argEnd <= argStart) return ''
  const last = new Uint8Array(1)
  const titled = mm.space.read(argEnd - 1, last) === 1 && last[0] !== 0
  if (!titled) return guestText(mm, argStart, argEnd)
  const end = mm.envStart === argEnd && mm.envEnd >= mm.envStart ? mm.envEnd : argEnd
  const title = guestText(mm, argStart, Math.min(end, argStart + PAGE))
  const nul = title.indexOf('\0')
  return nul < 0 ? title : title.slice(0, nul + 1)
}

export function environment(mm: Mm): string {
  return guestText(mm, mm.envStart, mm.envEnd)
}

function guestText(mm: Mm, start: number, end: number): string {
  if (end <= start) return ''
  const bytes = new Uint8Array(Math.min(end - start, MAX_TEXT))
  const n = mm.space.read(start, bytes)
  return n <= 0 ? '' : fromBytes(bytes, 0, n)
}
