/**
 * An open directory that is read whole when its reading begins, for file systems whose own cursors are not to be had
 * (the host's do not fit a number) or do not exist (an overlay's merged directory). The position is one of that snapshot;
 * rewinding takes a new one.
 */
import { DT_DIR } from '../abi/constants.ts'
import { EINVAL } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { DirFile } from './dir-file.ts'
import { Dirents } from './dirents.ts'
import type { DirSink } from './inode.ts'

export class SnapshotDirFile extends DirFile {
  #all: Dirents | undefined = undefined
  /** A position at which an entry begins: where the last call ended. */
  #known = 0

  override readdir(sink: DirSink): Status {
    const at = this.#start()
    if (at < 0) return at
    this.#all!.walk(at, (name, ino, type, next) => {
      if (!sink(name, ino, type, next)) return false
      this.#known = this.pos = next
      return true
    })
    return 0
  }

  override readDirents(room: number): Uint8Array | number {
    const at = this.#start()
    if (at < 0) return at
    const all = this.#all!
    const end = all.fit(at, room)
    if (end === at && at < all.length) return -EINVAL
    this.#known = this.pos = end
    return all.records.subarray(at, end)
  }

  /** Where the next entry begins, with the snapshot there; or a negative errno. */
  #start(): number {
    const status = this.checkAlive()
    if (status < 0) return status
    if (this.pos === 0 || this.#all === undefined) {
      const taken = this.#take()
      if (taken < 0) return taken
    } else if (this.pos === this.#known) return this.#known
    return this.#all!.seek(this.pos)
  }

  #take(): Status {
    const all = new Dirents()
    all.add('.', this.inode.ino, DT_DIR)
    all.add('..', this.parentIno, DT_DIR)
    const status = this.inode.list(all)
    if (status === 0) this.#all = all
    return status
  }
}
