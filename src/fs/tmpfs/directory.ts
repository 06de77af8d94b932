/** Directories of tmpfs: names, and the operations that make, move and remove them. */
import {
  RENAME_EXCHANGE,
  RENAME_WHITEOUT,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../../abi/constants.ts'
import { EINVAL, ENOENT, ENOTEMPTY } from '../../abi/errno.ts'
import type { Credentials } from '../../base/credentials.ts'
import type { OrErrno, Status } from '../../base/result.ts'
import type { DirSink, Inode } from '../../vfs/inode.ts'
import { DirEntries } from './dir-entries.ts'
import { INHERITED_FLAGS, TmpfsInode, TmpfsSpecial, TmpfsSymlink } from './inode.ts'
import { TmpfsRegular } from './regular.ts'
import type { TmpfsSuper } from './super.ts'

/** What Linux counts for an entry in st_size. */
const ENTRY_SIZE = 20

export class TmpfsDir extends TmpfsInode {
  readonly #entries = new DirEntries()

  constructor(sb: TmpfsSuper, mode: number, uid: number, gid: number) {
    super(sb, S_IFDIR | mode, uid, gid)
    this.nlink = 2
    this.size = 2 * ENTRY_SIZE
  }

  override get blocks(): number {
    return 0
  }

  override lookup(name: string): OrErrno<Inode> {
    return this.#entries.get(name) ?? -ENOENT
  }

  override create(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    return this.#make(name, S_IFREG | (mode & 0o7777), cred)
  }
  override mkdir(name: string, mode: number, cred: Credentials): OrErrno<Inode> {
    return this.#make(name, S_IFDIR | (mode & 0o7777), cred)
  }
  override mknod(name: string, mode: number, rdev: number, cred: Credentials): OrErrno<Inode> {
    return this.#make(name, (mode & S_IFMT) === 0 ? S_IFREG | mode : mode, cred, rdev)
  }
  override symlink(name: string, target: string, cred: Credentials): OrErrno<Inode> {
    return this.#make(name, S_IFLNK | 0o777, cred, 0, target)
  }

  override tmpfile(mode: number, cred: Credentials): OrErrno<Inode> {
    if (this.nlink === 0) return -ENOENT
    const inode = this.#newInode(S_IFREG | (mode & 0o7777), cred, 0, '')
    if (typeof inode !== 'number') inode.nlink = 0
    return inode
  }

  override link(name: string, inode: Inode): Status {
    if (this.nlink === 0) return -ENOENT
    const node = inode as TmpfsInode
    // A name beyond the first costs as much as an inode, or names would be free.
    if (node.nlink > 0) {
      const status = this.sb.quota.chargeInode()
      if (status < 0) return status
    }
    node.nlink++
    node.touchChanged()
    this.#add(name, node)
    this.touchModified()
    return 0
  }

  override unlink(name: string, inode: Inode): Status {
    const node = inode as TmpfsInode
    this.#drop(name, node)
    this.touchModified()
    return 0
  }

  override rmdir(name: string, inode: Inode): Status {
    if ((inode as TmpfsDir).#entries.size > 0) return -ENOTEMPTY
    return this.unlink(name, inode)
  }

  override rename(
    name: string,
    inode: Inode,
    newDir: Inode,
    newName: string,
    target: Inode | undefined,
    flags: number,
  ): Status {
    const node = inode as TmpfsInode
    const to = newDir as TmpfsDir
    const victim = target as TmpfsInode | undefined
    if (to.nlink === 0) return -ENOENT
    if (node === victim && (flags & RENAME_EXCHANGE) === 0) return 0
    if ((flags & RENAME_EXCHANGE) !== 0) {
      if (victim === undefined) return -ENOENT
      if ((flags & RENAME_WHITEOUT) !== 0) return -EINVAL
      this.#exchange(name, node, to, newName, victim)
    } else {
      if (victim instanceof TmpfsDir && victim.#entries.size > 0) return -ENOTEMPTY
      const status = this.#move(name, node, to, newName, victim, (flags & RENAME_WHITEOUT) !== 0)
      if (status < 0) return status
    }
    node.touchChanged()
    this.touchModified()
    if (to !== this) to.touchModified()
    return 0
  }

  override readdir(cursor: number, sink: DirSink): Status {
    this.#entries.walk(cursor, entry =>
      sink(entry.name, entry.inode.ino, entry.inode.type >>> 12, entry.cursor),
    )
    return 0
  }

  /** The file system is gone: everything below gives back its data. Not recursive, as a tree may be deep. */
  discardTree(): void {
    const dirs: TmpfsDir[] = [this]
    for (let dir = dirs.pop(); dir !== undefined; dir = dirs.pop()) {
      for (const inode of dir.#entries.inodes()) {
        if (inode instanceof TmpfsDir) dirs.push(inode)
        else inode.evict()
      }
      dir.#entries.clear()
    }
  }

  #make(name: string, mode: number, cred: Credentials, rdev = 0, target = ''): OrErrno<Inode> {
    if (this.nlink === 0) return -ENOENT
    const inode = this.#newInode(mode, cred, rdev, target)
    if (typeof inode === 'number') return inode
    inode.inodeFlags = this.inodeFlags & INHERITED_FLAGS
    this.#add(name, inode)
    this.touchModified()
    return inode
  }

  #newInode(mode: number, cred: Credentials, rdev: number, target: string): OrErrno<TmpfsInode> {
    const sb = this.sb
    const status = sb.quota.chargeInode()
    if (status < 0) return status
    const { fsuid, fsgid } = cred
    const type = mode & S_IFMT
    if (type === S_IFREG) return new TmpfsRegular(sb, mode, fsuid, fsgid)
    if (type === S_IFDIR) return new TmpfsDir(sb, mode, fsuid, fsgid)
    if (type === S_IFLNK) return new TmpfsSymlink(sb, mode, fsuid, fsgid, target)
    return new TmpfsSpecial(sb, mode, fsuid, fsgid, rdev)
  }

  #add(name: string, inode: TmpfsInode): void {
    this.#entries.add(name, inode)
    this.size += ENTRY_SIZE
    if (inode.isDir) this.nlink++
  }

  #remove(name: string, inode: TmpfsInode): void {
    this.#entries.remove(name)
    this.size -= ENTRY_SIZE
    if (inode.isDir) this.nlink--
  }

  /** Removes a name, and with it a link. An inode that nothing holds, and that has no link left, ends. */
  #drop(name: string, inode: TmpfsInode): void {
    this.#remove(name, inode)
    if (inode.isDir) inode.nlink = 0
    else if (--inode.nlink > 0) this.sb.quota.releaseInode()
    inode.touchChanged()
  }

  #move(
    name: string,
    node: TmpfsInode,
    to: TmpfsDir,
    newName: string,
    victim: TmpfsInode | undefined,
    whiteout: boolean,
  ): Status {
    let stand: TmpfsInode | undefined
    if (whiteout) {
      const status = this.sb.quota.chargeInode()
      if (status < 0) return status
      stand = new TmpfsSpecial(this.sb, S_IFCHR, node.uid, node.gid, 0)
    }
    if (victim !== undefined) to.#drop(newName, victim)
    this.#remove(name, node)
    to.#add(newName, node)
    if (stand !== undefined) this.#add(name, stand)
    return 0
  }

  #exchange(name: string, node: TmpfsInode, to: TmpfsDir, newName: string, other: TmpfsInode): void {
    this.#remove(name, node)
    to.#remove(newName, other)
    this.#add(name, other)
    to.#add(newName, node)
    other.touchChanged()
  }
}
