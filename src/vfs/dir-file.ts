/** An open directory: what getdents64 reads. The position is 0 before '.', 1 before '..', and then the inode's cursor + 2. */
import { DT_DIR, SEEK_CUR, SEEK_SET } from '../abi/constants.ts'
import { EINVAL, EISDIR, ENOENT } from '../abi/errno.ts'
import type { Status } from '../base/result.ts'
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
    const dentry = this.path.dentry
    const inode = dentry.inode!
    if (dentry.unhashed && inode.nlink === 0) return -ENOENT
    if (this.pos === 0) {
      if (!sink('.', inode.ino, DT_DIR, 1)) return 0
      this.pos = 1
    }
    if (this.pos === 1) {
      if (!sink('..', (dentry.parent?.inode ?? inode).ino, DT_DIR, 2)) return 0
      this.pos = 2
    }
    return this.list(this.pos - 2, (name, ino, type, next) => {
      if (!sink(name, ino, type, next + 2)) return false
      this.pos = next + 2
      return true
    })
  }

  /** The entries themselves, from the inode's cursor on. */
  protected list(cursor: number, sink: DirSink): Status {
    return this.inode.readdir(cursor, sink)
  }

  override fsync(): Status {
    return 0
  }
}
