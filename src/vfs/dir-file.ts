/** An open directory: what getdents64 reads. The position is 0 before '.', 1 before '..', and then the inode's cursor + 2. */
import { DT_DIR, SEEK_CUR, SEEK_SET } from '../abi/constants.ts'
import { EINVAL, EISDIR, ENOENT } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
import { Dirents, recordLength } from './dirents.ts'
import { File } from './file.ts'
import type { DirSink } from './inode.ts'

export class DirFile extends File {
  override get seekable(): boolean {
    return true
  }
  override read(): number {
    return -EISDIR
  }
  override readAt(): number {
    return -EISDIR
  }

  /** Any cursor that getdents gave may be sought; SEEK_END is nothing that a cursor could be. */
  override seek(offset: number, whence: number): number {
    const at = whence === SEEK_SET ? offset : whence === SEEK_CUR ? this.pos + offset : -1
    if (at < 0) return -EINVAL
    this.pos = at
    return at
  }

  override readdir(sink: DirSink): Status {
    const status = this.checkAlive()
    if (status < 0) return status
    if (this.pos === 0) {
      if (!sink('.', this.inode.ino, DT_DIR, 1)) return 0
      this.pos = 1
    }
    if (this.pos === 1) {
      if (!sink('..', this.parentIno, DT_DIR, 2)) return 0
      this.pos = 2
    }
    return this.inode.readdir(this.pos - 2, (name, ino, type, next) => {
      if (!sink(name, ino, type, next + 2)) return false
      this.pos = next + 2
      return true
    })
  }

  override readDirents(room: number): Uint8Array | number {
    const out = new Dirents()
    let full = false
    const status = this.readdir((name, ino, type, next) => {
      full = out.length + recordLength(name) > room
      if (!full) out.add(name, ino, type, next)
      return !full
    })
    if (out.length > 0) return out.records
    return full ? -EINVAL : status
  }

  /** A directory that was removed has no entries any more, not even '.'. */
  protected checkAlive(): Status {
    const { dentry } = this.path
    return dentry.unhashed && dentry.inode!.isDead ? -ENOENT : 0
  }
  protected get parentIno(): number {
    return (this.path.dentry.parent?.inode ?? this.inode).ino
  }

  override fsync(): Status {
    return 0
  }
}
