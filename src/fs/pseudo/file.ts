/**
 * An open generated file, with the semantics of seq_file: the text is made when reading starts and then kept. One that comes
 * in pieces is made as far as it is read, since all of it may take seconds.
 */
import { POLLERR, POLLPRI, SEEK_CUR, SEEK_SET } from '../../abi/constants.ts'
import { EINVAL, EIO } from '../../abi/errno.ts'
import { fromBytes, toBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { IoDst, IoSrc } from '../../base/io.ts'
import { failed } from '../../base/result.ts'
import type { WaitQueue } from '../../base/wait-queue.ts'
import { File } from '../../vfs/file.ts'
import type { Path } from '../../vfs/path.ts'
import type { FileNode, PseudoText } from './node.ts'
import type { PseudoSuper } from './super.ts'

/** Some milliseconds' text. */
const PIECE = 32768
/** How much the text's memory is larger than it at most. */
const MAX_SPARE = 1 << 20

/** The most that one write may bring. */
const MAX_WRITE = 65536

export class PseudoFile<T extends object> extends File {
  readonly #node: FileNode<T>
  readonly #subject: T
  #bytes: Uint8Array | undefined = undefined
  /** How much of `#bytes` there is, and where more comes from. */
  #length = 0
  #more: PseudoText | undefined = undefined
  /** Which change the text has; -1: it was never read. */
  #seen = -1

  constructor(path: Path, flags: number, cred: Credentials, node: FileNode<T>, subject: T) {
    super(path, flags, cred)
    this.#node = node
    this.#subject = subject
    if (node.tellsOnce === true) this.#seen = node.changes!(subject).count
  }

  get #alive(): boolean {
    return (this.path.dentry.sb as PseudoSuper).alive(this.#subject)
  }
  get #goneError(): number {
    return (this.path.dentry.sb as PseudoSuper).goneError
  }

  override get waitQueue(): WaitQueue | undefined {
    return this.#node.changes?.(this.#subject).queue
  }
  override poll(): number {
    const changes = this.#node.changes?.(this.#subject)
    if (changes === undefined || changes.count === this.#seen) return super.poll()
    if (this.#node.tellsOnce === true) this.#seen = changes.count
    return super.poll() | POLLERR | POLLPRI
  }

  override get seekable(): boolean {
    return true
  }

  override readAt(into: IoDst, offset: number): number {
    if (this.#node.read === undefined) return -EIO
    if (offset === 0 || this.#bytes === undefined) {
      if (!this.#alive) return this.#goneError
      if (this.#node.tellsOnce !== true) this.#seen = this.#node.changes?.(this.#subject).count ?? 0
      const text = this.#node.read(this.#subject, this.cred)
      if (failed(text)) return text
      this.#more = typeof text === 'string' ? undefined : text
      this.#bytes = typeof text === 'string' ? toBytes(text) : new Uint8Array(0)
      this.#length = this.#bytes.length
    }
    if (this.#more !== undefined) this.#make(this.#more, offset)
    return offset >= this.#length ? 0 : into.put(this.#bytes.subarray(offset, this.#length))
  }

  /** Text behind `offset`: what is short comes as a whole, of what is long one read gets a piece. */
  #make(more: PseudoText, offset: number): void {
    if (this.#length > offset) return
    const begun = this.#length
    const pieces: string[] = []
    let length = begun
    while (length < begun + PIECE || length <= offset) {
      const piece = more.next()
      if (piece.done) {
        this.#more = undefined
        break
      }
      pieces.push(piece.value)
      length += piece.value.length
    }
    let bytes = this.#bytes!
    if (length > bytes.length) {
      bytes = new Uint8Array(length + (this.#more === undefined ? 0 : Math.min(length, MAX_SPARE)))
      bytes.set(this.#bytes!.subarray(0, begun))
      this.#bytes = bytes
    }
    bytes.set(toBytes(pieces.join('')), begun)
    this.#length = length
  }

  override writeAt(from: IoSrc, _offset: number): number {
    if (this.#node.write === undefined) return -EIO
    if (!this.#alive) return this.#goneError
    const bytes = new Uint8Array(Math.min(from.remaining, MAX_WRITE))
    const n = from.take(bytes)
    if (n < 0) return n
    const status = this.#node.write(this.#subject, fromBytes(bytes, 0, n), this.cred)
    return status < 0 ? status : n
  }

  /** There is no end to seek from: the size isn't known. */
  override seek(offset: number, whence: number): number {
    if (whence !== SEEK_SET && whence !== SEEK_CUR) return -EINVAL
    return super.seek(offset, whence)
  }
}
