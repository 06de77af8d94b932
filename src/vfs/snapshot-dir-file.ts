/**
 * An open directory that is read whole when its reading begins, for file systems whose own cursors are not to be had
 * (the host's do not fit a number) or do not exist (an overlay's merged directory). The position is an index into that
 * snapshot; rewinding takes a new one.
 */
import type { Status } from '../base/result.ts'
import { DirFile } from './dir-file.ts'
import type { DirSink } from './inode.ts'

export class SnapshotDirFile extends DirFile {
  readonly #names: string[] = []
  readonly #inos: number[] = []
  readonly #types: number[] = []
  #taken = false

  protected override list(cursor: number, sink: DirSink): Status {
    if (cursor === 0 || !this.#taken) {
      const status = this.#take()
      if (status < 0) return status
    }
    for (let i = cursor; i < this.#names.length; i++) {
      if (!sink(this.#names[i], this.#inos[i], this.#types[i], i + 1)) break
    }
    return 0
  }

  #take(): Status {
    this.#names.length = this.#inos.length = this.#types.length = 0
    this.#taken = true
    return this.inode.readdir(0, (name, ino, type) => {
      this.#names.push(name)
      this.#inos.push(ino)
      this.#types.push(type)
      return true
    })
  }
}
