/**
 * Directories of a FUSE file system. What changes one locks it until the call is over; who looks for a name in it meanwhile
 * waits. A name that is not there is looked for anew by each call.
 */
import {
  FUSE_CREATE,
  FUSE_LINK,
  FUSE_LOOKUP,
  FUSE_MKDIR,
  FUSE_MKNOD,
  FUSE_RENAME,
  FUSE_RENAME2,
  FUSE_RMDIR,
  FUSE_SYMLINK,
  FUSE_TMPFILE,
  FUSE_UNLINK,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_TRUNC,
  S_IFREG,
} from '../../abi/constants.ts'
import { EINTR, EINVAL, EIO, ENOENT, ENOSYS, EOPNOTSUPP } from '../../abi/errno.ts'
import {
  FUSE_CREATE_IN,
  FUSE_ENTRY_OUT,
  FUSE_LINK_IN,
  FUSE_MKDIR_IN,
  FUSE_MKNOD_IN,
  FUSE_OPEN_OUT,
  FUSE_RENAME_IN,
  FUSE_RENAME2_IN,
} from '../../abi/layout.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, PENDING, type Status } from '../../base/result.ts'
import type { File } from '../../vfs/file.ts'
import type { Inode } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { encodeDev } from '../../vfs/vfs.ts'
import type { FuseConnection } from './connection.ts'
import { FuseDirFile } from './dir-file.ts'
import { entryAnswer, takeEntry } from './entry.ts'
import { FuseHandle } from './handle.ts'
import { FuseInode } from './inode.ts'
import { type AnswerShape, type Held, NO_ANSWER } from './request.ts'
import { type Message, withNames } from './wire.ts'

export class FuseDir extends FuseInode {
  /** Names that were found before (monotonic ns) are looked for again. */
  #entriesSince = 0
  /** A name was looked for since the directory was read: whoever reads it is likely to look at the entries too. */
  advisesPlus = false
  /** Numbers of links are the server's to say: some count none of directories. */
  #dead = false

  override get isDead(): boolean {
    return this.#dead
  }

  died(): void {
    this.#dead = true
  }

  override invalidateEntries(): void {
    this.#entriesSince = this.connection.kernel.now()
  }

  override lookup(name: string): OrErrno<Inode> {
    const log = this.connection.kernel.current?.requests
    const waits = log === undefined ? 0 : this.waitForOther(log)
    if (waits < 0) return waits
    this.advisesPlus = true
    return this.#lookup(name) ?? -ENOENT
  }

  override revalidate(name: string, inode: Inode | undefined): boolean | Status {
    if (!(inode instanceof FuseInode)) return false
    if (inode.nameIsValid(this.#entriesSince)) return true
    const found = this.#lookup(name)
    if (found === PENDING || found === -EINTR) return found
    return found === inode
  }

  #lookup(name: string): OrErrno<FuseInode> | undefined {
    const key = `${this.changes} ${name}`
    const answer = this.connection.call(FUSE_LOOKUP, this.node, key, entryAnswer(this.sb), () =>
      withNames(0, name),
    )
    return failed(answer) ? answer : (answer.held[0] as FuseInode | undefined)
  }

  override create(name: string, mode: number, cred: Credentials, flags: number): OrErrno<Inode> {
    const { connection } = this
    const locked = FuseInode.lock(this)
    if (locked < 0) return locked
    if (!connection.missing.has(FUSE_CREATE)) {
      const made = this.#create(FUSE_CREATE, name, mode, flags)
      if (made !== -ENOSYS) return made
      connection.missing.add(FUSE_CREATE)
    }
    const inode = this.mknod(name, S_IFREG | mode, 0, cred)
    if (failed(inode)) return inode
    const handle = (inode as FuseInode).openHandle(flags)
    if (failed(handle)) return handle
    ;(inode as FuseInode).created(handle)
    return inode
  }

  override tmpfile(mode: number, _cred: Credentials, flags = 0): OrErrno<Inode> {
    const { missing } = this.connection
    const made = missing.has(FUSE_TMPFILE) ? -ENOSYS : this.#create(FUSE_TMPFILE, '/', mode, flags)
    if (made !== -ENOSYS) return made
    missing.add(FUSE_TMPFILE)
    return -EOPNOTSUPP
  }

  #create(opcode: number, name: string, mode: number, flags: number): OrErrno<Inode> {
    const { connection, sb } = this
    const told = flags & ~O_NOCTTY
    const take = (_connection: FuseConnection, reply: DataView, version: number): Held[] | number => {
      const inode = takeEntry(sb, connection, reply, version)
      if (inode === undefined) return -EIO
      if (typeof inode === 'number') return inode
      const kept = told & ~(O_CREAT | O_EXCL | O_TRUNC)
      return [inode, new FuseHandle(inode, kept, reply, FUSE_ENTRY_OUT.size)]
    }
    const size = FUSE_ENTRY_OUT.size + FUSE_OPEN_OUT.size
    const answer = connection.call(opcode, this.node, name, { min: size, max: size, take }, () =>
      withNames(FUSE_CREATE_IN.size, name)
        .u32(FUSE_CREATE_IN.flags, told)
        .u32(FUSE_CREATE_IN.mode, S_IFREG | mode)
        .u32(FUSE_CREATE_IN.umask, this.#umask),
    )
    if (failed(answer)) return answer
    const [inode, handle] = answer.held as [FuseInode, FuseHandle]
    if (!inode.isRegular) return -EIO
    inode.created(handle)
    this.invalidate(false)
    return inode
  }

  override mknod(name: string, mode: number, rdev: number, _cred: Credentials): OrErrno<Inode> {
    return this.#make(FUSE_MKNOD, name, () =>
      withNames(FUSE_MKNOD_IN.size, name)
        .u32(FUSE_MKNOD_IN.mode, mode)
        .u32(FUSE_MKNOD_IN.rdev, encodeDev(rdev))
        .u32(FUSE_MKNOD_IN.umask, this.#umask),
    )
  }
  override mkdir(name: string, mode: number, _cred: Credentials): OrErrno<Inode> {
    return this.#make(FUSE_MKDIR, name, () =>
      withNames(FUSE_MKDIR_IN.size, name).u32(FUSE_MKDIR_IN.mode, mode).u32(FUSE_MKDIR_IN.umask, this.#umask),
    )
  }
  override symlink(name: string, target: string, _cred: Credentials): OrErrno<Inode> {
    return this.#make(FUSE_SYMLINK, name, () => withNames(0, name, target))
  }
  override link(name: string, inode: Inode): OrErrno<Inode> {
    const node = inode as FuseInode
    const made = this.#make(FUSE_LINK, name, () =>
      withNames(FUSE_LINK_IN.size, name).u64(FUSE_LINK_IN.oldnodeid, node.node),
    )
    // Its number of links has changed.
    if (!failed(made) && made !== inode) node.invalidate(false)
    return made
  }

  #make(opcode: number, name: string, message: () => Message): OrErrno<Inode> {
    const locked = FuseInode.lock(this)
    if (locked < 0) return locked
    const answer = this.connection.call(opcode, this.node, name, entryAnswer(this.sb), message)
    if (failed(answer)) return answer
    this.invalidate(false)
    return (answer.held[0] as FuseInode | undefined) ?? -EIO
  }

  override unlink(name: string, inode: Inode): Status {
    return this.#remove(FUSE_UNLINK, name, inode as FuseInode)
  }
  override rmdir(name: string, inode: Inode): Status {
    return this.#remove(FUSE_RMDIR, name, inode as FuseInode)
  }

  #remove(opcode: number, name: string, inode: FuseInode): Status {
    const locked = FuseInode.lock(this)
    if (locked < 0) return locked
    const answer = this.connection.call(opcode, this.node, name, NO_ANSWER, () => withNames(0, name))
    if (failed(answer)) return answer
    this.invalidate(false)
    unlinked(inode)
    return 0
  }

  override rename(
    name: string,
    inode: Inode,
    newDir: Inode,
    newName: string,
    target: Inode | undefined,
    flags: number,
  ): Status {
    const { connection, node } = this
    const to = newDir as FuseDir
    const locked = FuseInode.lock(this, to)
    if (locked < 0) return locked
    const opcode = flags === 0 ? FUSE_RENAME : FUSE_RENAME2
    const key = `${name}/${to.node.hi}:${to.node.lo}/${newName}`
    const shape: AnswerShape = NO_ANSWER
    const answer = connection.call(opcode, node, key, shape, () =>
      flags === 0
        ? withNames(FUSE_RENAME_IN.size, name, newName).u64(FUSE_RENAME_IN.newdir, to.node)
        : withNames(FUSE_RENAME2_IN.size, name, newName)
            .u64(FUSE_RENAME2_IN.newdir, to.node)
            .u32(FUSE_RENAME2_IN.flags, flags),
    )
    if (answer === -ENOSYS && flags !== 0) return -EINVAL
    if (failed(answer)) return answer
    this.invalidate(false)
    to.invalidate(false)
    ;(inode as FuseInode).invalidate(false)
    if (target !== undefined && flags === 0) unlinked(target as FuseInode)
    return 0
  }

  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    const handle = this.openHandle(flags)
    return failed(handle) ? handle : new FuseDirFile(path, flags, cred, this, handle)
  }

  /** The bits are off already; the server may want to know by what. */
  get #umask(): number {
    return this.connection.kernel.current?.fs.umask ?? 0
  }
}

function unlinked(inode: FuseInode): void {
  if (inode instanceof FuseDir) inode.died()
  if (inode.nlink > 0) inode.nlink--
  inode.invalidate(false)
}
