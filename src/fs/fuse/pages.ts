/**
 * Pages: the bytes of a FUSE file for who maps it or runs it as a program.
 *
 * A page fault is the host's and can't ask a server. So what is mapped is a copy, in a memfd, of the file as it was then:
 * read whole before the mapping is made, kept while the inode is in use, and read anew for the next mapping when the
 * file has changed.
 */
import { EAGAIN, EFBIG } from '../../abi/errno.ts'
import { BufferSrc, type IoDst } from '../../base/io.ts'
import { failed, type Status } from '../../base/result.ts'
import type { RequestLog } from '../../kernel/request-log.ts'
import type { File, MapSource } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { createSharedMemory } from '../memfd/memfd.ts'
import type { FuseFile } from './file.ts'
import { FuseInode } from './inode.ts'

/** The largest file that is copied. */
const MAX_SIZE = 1024 * 1024 * 1024

export class Pages {
  readonly #node: FuseInode
  #memory: File | undefined = undefined
  /** How far the copy has come, of which state of the file. */
  #filled = 0
  #whole = false
  #version = -1
  /** The call that found it whole and current: it need not ask again. */
  #checkedBy: RequestLog | undefined = undefined

  constructor(node: FuseInode) {
    this.#node = node
  }

  /** 0 when the copy is there and is what the server has; or PENDING. `file`: by which it is read. */
  load(file: FuseFile): Status {
    const node = this.#node
    const { kernel } = node.connection
    const log = kernel.current?.requests
    if (this.#whole && log !== undefined && this.#checkedBy === log) return 0
    const locked = FuseInode.lock(node)
    if (locked < 0) return locked
    const fresh = node.getattr()
    if (fresh < 0) return fresh
    if (node.size > MAX_SIZE) return -EFBIG
    if (this.#version !== node.dataVersion) {
      const begun = this.#begin(file)
      if (begun < 0) return begun
    }
    while (!this.#whole) {
      const status = this.#fill(file)
      if (status < 0) return status
    }
    this.#checkedBy = kernel.current?.requests
    return 0
  }

  /** After a `load`. */
  source(): MapSource | number {
    return this.#memory!.mapping(0, 0, 0, 0)
  }
  readAt(into: IoDst, offset: number): number {
    return this.#memory?.readAt(into, offset) ?? -EAGAIN
  }

  end(): void {
    if (this.#memory !== undefined) filePut(this.#memory)
    this.#memory = undefined
  }

  #begin(file: FuseFile): Status {
    const node = this.#node
    const memory = createSharedMemory(node.connection.kernel, file.path.dentry.name, 0o700, file.cred)
    if (failed(memory)) return memory
    this.end()
    this.#memory = memory
    this.#filled = 0
    this.#whole = false
    this.#version = node.dataVersion
    return 0
  }

  #fill(file: FuseFile): Status {
    const bytes = file.readForPages(this.#filled)
    if (typeof bytes === 'number') return bytes
    const from = new BufferSrc(bytes)
    while (from.remaining > 0) {
      const n = this.#memory!.writeAt(from, this.#filled)
      if (n < 0) return n
      this.#filled += n
    }
    this.#whole = bytes.length < this.#node.connection.readSize
    return this.#filled > MAX_SIZE ? -EFBIG : 0
  }
}
