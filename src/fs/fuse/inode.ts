/**
 * FuseInode: a node of the server's, as long as the kernel uses it.
 *
 * The server tells of a node in the answer to a LOOKUP (or to what makes a name), with a number by which it is known from
 * then on, and counts how often it has done so. The inode counts along (`lookups`) and says it all back in one FORGET when
 * its last dentry and File are gone. Attributes and names are believed for as long as the server has said with them; then
 * it is asked again. What is no directory is served by this class alone.
 */

import {
  FATTR_ATIME,
  FATTR_CTIME,
  FATTR_FH,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_SIZE,
  FATTR_UID,
  FOPEN_KEEP_CACHE,
  FUSE_ACCESS,
  FUSE_GETATTR,
  FUSE_OPEN,
  FUSE_OPENDIR,
  FUSE_READLINK,
  FUSE_ROOT_ID,
  FUSE_SETATTR,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_TRUNC,
  PATH_MAX,
  S_IFMT,
} from '../../abi/constants.ts'
import { EACCES, EIO, ENOSYS } from '../../abi/errno.ts'
import {
  FUSE_ACCESS_IN,
  FUSE_ATTR,
  FUSE_ATTR_OUT,
  FUSE_ENTRY_OUT,
  FUSE_GETATTR_IN,
  FUSE_OPEN_IN,
  FUSE_OPEN_OUT,
  FUSE_SETATTR_IN,
} from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import { fromKernelId, toKernelId } from '../../base/id-map.ts'
import { failed, type OrErrno, PENDING, type Status } from '../../base/result.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import { take64 } from '../../base/words.ts'
import { type HeldLock, RequestLog } from '../../kernel/request-log.ts'
import type { File } from '../../vfs/file.ts'
import { type AttrChange, Inode, KEPT_TARGET } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import { MAY_ACCESS, MAY_CHDIR, MAY_EXEC, MAY_READ, MAY_WRITE } from '../../vfs/permission.ts'
import { decodeDev } from '../../vfs/vfs.ts'
import type { FuseConnection } from './connection.ts'
import { FuseFile } from './file.ts'
import { FuseHandle } from './handle.ts'
import { PageCache } from './page-cache.ts'
import type { AnswerShape, Held } from './request.ts'
import type { FuseSuper } from './super.ts'
import { Message, SIZE_LIMIT, type U64 } from './wire.ts'
import * as xattr from './xattr.ts'

const NSEC = 1e9
const ATTR_ANSWER: AnswerShape = { min: FUSE_ATTR_OUT.size, max: FUSE_ATTR_OUT.size }
const PATH_ANSWER: AnswerShape = { min: 1, max: PATH_MAX - 1 }
const EMPTY_ANSWER: AnswerShape = { min: 0, max: 0 }
/** What OPEN is not told: it has been done, or is the terminal's. O_TRUNC only who truncates. */
const NOT_FOR_OPEN = O_CREAT | O_EXCL | O_NOCTTY

export class FuseInode extends Inode implements Held, HeldLock {
  declare readonly sb: FuseSuper
  readonly node: U64
  readonly generation: number
  /** How often the server has told of it. */
  lookups = 0
  /** Monotonic ns until when attributes, and the names that lead here, are believed. */
  #attributesUntil = 0
  #nameUntil = 0
  #nameFrom = 0
  /** The connection's `attrVersion` at the last change: answers to older questions are out of date. */
  attrVersion = 0
  /** From CREATE, for the open of the call that made it: others open it themselves, and so does who comes after that call. */
  #created: { readonly handle: FuseHandle; readonly log: RequestLog } | undefined = undefined
  /** An open handle that may write, for the server that wants one to truncate. */
  writing: FuseHandle | undefined = undefined
  /** Made on first use. */
  cache: PageCache | undefined = undefined
  #blocks = 0
  /** The call whose OPEN has truncated it. */
  #truncatedBy: RequestLog | undefined = undefined
  #target: string | undefined = undefined
  /** Counts the calls that had it locked: what another has seen before is out of date. */
  protected changes = 0
  #lockedBy: RequestLog | undefined = undefined
  readonly #unlocked = new WaitQueue()

  constructor(sb: FuseSuper, node: U64, generation: number, mode: number) {
    super(sb, node.lo, mode, 0, 0)
    this.node = node
    this.generation = generation
  }

  get connection(): FuseConnection {
    return this.sb.connection
  }
  override get blocks(): number {
    return this.#blocks
  }

  /** Held: by an answer that brought it. */
  get(): void {
    this.dentries++
  }
  put(): void {
    if (--this.dentries === 0) this.release()
  }

  override release(): void {
    const { nodes } = this.connection
    const id = this.node.hi * 2 ** 32 + this.node.lo
    if (nodes.get(id) === this) nodes.delete(id)
    this.connection.forget(this.node, this.lookups)
    this.lookups = 0
    this.cache?.drop()
    this.cache = undefined
  }

  // What is known, and for how long.

  /**
   * Takes over the struct fuse_attr at `at` of an answer, valid for so long, to a question that was asked at `version`: not
   * when something has changed since (fuse_change_attributes).
   */
  learn(reply: DataView, at: number, seconds: number, nanoseconds: number, version: number): Status {
    const mode = reply.getUint32(at + FUSE_ATTR.mode, true)
    const size = take64(reply, at + FUSE_ATTR.size_)
    if ((mode & S_IFMT) !== (this.mode & S_IFMT) || size >= SIZE_LIMIT) return -EIO
    if (this.attrVersion > version) return 0
    const { userNs } = this.connection
    const mtime = take64(reply, at + FUSE_ATTR.mtime)
    const mtimensec = reply.getUint32(at + FUSE_ATTR.mtimensec, true)
    const resized = size !== this.size
    const modified = mtime !== this.mtime.sec || mtimensec !== this.mtime.nsec
    this.changed()
    this.ino = take64(reply, at + FUSE_ATTR.ino)
    this.size = size
    this.#blocks = take64(reply, at + FUSE_ATTR.blocks)
    this.atime.sec = take64(reply, at + FUSE_ATTR.atime)
    this.atime.nsec = reply.getUint32(at + FUSE_ATTR.atimensec, true)
    this.mtime.sec = mtime
    this.mtime.nsec = mtimensec
    this.ctime.sec = take64(reply, at + FUSE_ATTR.ctime)
    this.ctime.nsec = reply.getUint32(at + FUSE_ATTR.ctimensec, true)
    this.mode = mode & 0xffff
    this.nlink = reply.getUint32(at + FUSE_ATTR.nlink, true)
    this.uid = toKernelId(userNs.uidMap, reply.getUint32(at + FUSE_ATTR.uid, true))
    this.gid = toKernelId(userNs.gidMap, reply.getUint32(at + FUSE_ATTR.gid, true))
    this.rdev = decodeDev(reply.getUint32(at + FUSE_ATTR.rdev, true))
    this.blksize = reply.getUint32(at + FUSE_ATTR.blksize, true) || 4096
    this.#attributesUntil = this.#until(seconds, nanoseconds)
    const { connection, cache } = this
    if (resized) cache?.resized()
    if (resized ? connection.sizeInvalidates : modified && connection.autoInvalidates) cache?.invalidate()
    return 0
  }

  /** Attributes are others now: what was asked before is not to be believed. */
  changed(): void {
    this.attrVersion = ++this.connection.attrVersion
    this.acls = undefined
  }

  /** Bytes up to `end` have been written. */
  grown(end: number): void {
    this.changed()
    if (end > this.size) {
      const from = this.size
      this.size = end
      this.cache?.resized()
      this.cache?.hasHole(from)
    }
    this.invalidate(false)
  }

  /** A READ that was asked at `version` has found the end of the file (fuse_short_read). */
  endsAt(size: number, version: number): void {
    if (this.attrVersion > version || size >= this.size) return
    this.changed()
    this.size = size
    this.cache?.resized()
  }

  /** A name that leads here is believed from now on. */
  nameValid(seconds: number, nanoseconds: number): void {
    this.#nameFrom = this.connection.kernel.now()
    this.#nameUntil = this.#until(seconds, nanoseconds)
  }
  /** `since`: what was known before does not count. */
  nameIsValid(since: number): boolean {
    return this.connection.kernel.now() < this.#nameUntil && this.#nameFrom >= since
  }

  /** The server is asked for the attributes when they are needed next; and for the data, if that changed too. */
  invalidate(data: boolean): void {
    this.#attributesUntil = 0
    this.acls = undefined
    if (!data) return
    this.#target = undefined
    this.cache?.invalidate()
  }
  /** Of a directory: the names in it. */
  invalidateEntries(): void {}

  #until(seconds: number, nanoseconds: number): number {
    if (seconds === 0 && nanoseconds === 0) return 0
    return this.connection.kernel.now() + seconds * NSEC + nanoseconds
  }

  // Locks, for a call's time (i_rwsem).

  /** Locks all of `inodes` for the call in hand, or none: 0, or PENDING when somebody else has one. */
  static lock(...inodes: readonly FuseInode[]): Status {
    const task = inodes[0].connection.kernel.current
    if (task === undefined) return -EIO
    task.requests ??= new RequestLog()
    const log = task.requests
    for (const inode of inodes) {
      const status = inode.waitForOther(log)
      if (status < 0) return status
    }
    for (const inode of inodes) {
      if (inode.#lockedBy === log) continue
      inode.#lockedBy = log
      log.hold(inode)
    }
    return 0
  }

  /** 0 unless another call has it locked. */
  protected waitForOther(log: RequestLog): Status {
    if (this.#lockedBy === undefined || this.#lockedBy === log) return 0
    log.waitFor(this.#unlocked)
    return PENDING
  }

  unlock(): void {
    this.#lockedBy = undefined
    this.changes++
    this.#unlocked.wakeAll()
  }

  // Operations.

  override getattr(): Status {
    if (this.connection.kernel.now() < this.#attributesUntil) return 0
    const answer = this.connection.call(
      FUSE_GETATTR,
      this.node,
      0,
      ATTR_ANSWER,
      () => new Message(FUSE_GETATTR_IN.size),
    )
    return failed(answer) ? answer : this.#learnAnswer(answer.reply, answer.version)
  }

  #learnAnswer(reply: DataView, version: number): Status {
    const seconds = take64(reply, FUSE_ATTR_OUT.attr_valid)
    const nanoseconds = reply.getUint32(FUSE_ATTR_OUT.attr_valid_nsec, true)
    return this.learn(reply, FUSE_ATTR_OUT.attr, seconds, nanoseconds, version)
  }

  override setattr(change: AttrChange): Status {
    const { connection } = this
    if (change.size === 0 && this.#truncatedBy !== undefined && this.#truncatedBy === connection.log) return 0
    const locked = FuseInode.lock(this)
    if (locked < 0) return locked
    const busy = this.cache?.writeBack.busy
    if (busy !== undefined && change.size !== undefined) {
      connection.log!.waitFor(busy)
      return PENDING
    }
    const answer = connection.call(FUSE_SETATTR, this.node, keyOf(change), ATTR_ANSWER, () =>
      this.#setattrMessage(change),
    )
    if (failed(answer)) return answer
    // What was asked meanwhile may have been answered before the change.
    return this.#learnAnswer(answer.reply, Number.POSITIVE_INFINITY)
  }

  #setattrMessage({ mode, uid, gid, size, atime, mtime, ctime }: AttrChange): Message {
    const { userNs } = this.connection
    const message = new Message(FUSE_SETATTR_IN.size)
    let valid = 0
    if (mode !== undefined) {
      valid |= FATTR_MODE
      message.u32(FUSE_SETATTR_IN.mode, (this.mode & S_IFMT) | mode)
    }
    if (uid !== undefined) {
      valid |= FATTR_UID
      message.u32(FUSE_SETATTR_IN.uid, fromKernelId(userNs.uidMap, uid))
    }
    if (gid !== undefined) {
      valid |= FATTR_GID
      message.u32(FUSE_SETATTR_IN.gid, fromKernelId(userNs.gidMap, gid))
    }
    if (size !== undefined) {
      valid |= FATTR_SIZE
      message.number(FUSE_SETATTR_IN.size_, size)
      if (this.writing !== undefined) {
        valid |= FATTR_FH
        message.u64(FUSE_SETATTR_IN.fh, this.writing.fh)
      }
    }
    if (atime !== undefined) {
      valid |= FATTR_ATIME
      message.number(FUSE_SETATTR_IN.atime, atime.sec).u32(FUSE_SETATTR_IN.atimensec, atime.nsec)
    }
    if (mtime !== undefined) {
      valid |= FATTR_MTIME
      message.number(FUSE_SETATTR_IN.mtime, mtime.sec).u32(FUSE_SETATTR_IN.mtimensec, mtime.nsec)
    }
    if (ctime !== undefined) {
      valid |= FATTR_CTIME
      message.number(FUSE_SETATTR_IN.ctime, ctime.sec).u32(FUSE_SETATTR_IN.ctimensec, ctime.nsec)
    }
    return message.u32(FUSE_SETATTR_IN.valid, valid)
  }

  /** fuse_permission: without default_permissions the server decides, each time it is asked for something. */
  override permission(cred: Credentials, mask: number): Status | undefined {
    const { sb } = this
    if (!sb.allows(cred)) return -EACCES
    const executes = (mask & MAY_EXEC) !== 0 && this.isRegular
    if (sb.defaultPermissions || executes) {
      const fresh = this.getattr()
      if (fresh < 0) return fresh
    }
    if (sb.defaultPermissions) return undefined
    if ((mask & (MAY_ACCESS | MAY_CHDIR)) !== 0) return this.#access(mask & (MAY_READ | MAY_WRITE | MAY_EXEC))
    return executes && (this.mode & 0o111) === 0 ? -EACCES : 0
  }

  #access(mask: number): Status {
    const { connection } = this
    if (connection.missing.has(FUSE_ACCESS)) return 0
    const answer = connection.call(FUSE_ACCESS, this.node, mask, EMPTY_ANSWER, () =>
      new Message(FUSE_ACCESS_IN.size).u32(FUSE_ACCESS_IN.mask, mask),
    )
    if (answer !== -ENOSYS) return failed(answer) ? answer : 0
    connection.missing.add(FUSE_ACCESS)
    return 0
  }

  override readlink(): OrErrno<string> {
    const { connection } = this
    if (this.#target !== undefined) return this.#target
    const answer = connection.call(FUSE_READLINK, this.node, 0, PATH_ANSWER, () => new Message(0))
    if (failed(answer)) return answer
    const { buffer, byteOffset, byteLength } = answer.reply
    const bytes = new Uint8Array(buffer, byteOffset, byteLength)
    const end = bytes.indexOf(0)
    const target = fromBytes(bytes, 0, end < 0 ? byteLength : end)
    if (connection.cachesSymlinks && target.length <= KEPT_TARGET) this.#target = target
    return target
  }

  override open(path: Path, flags: number, cred: Credentials): OrErrno<File> {
    const handle = this.openHandle(flags)
    return failed(handle) ? handle : new FuseFile(path, flags, cred, this, handle)
  }

  /** The call in hand has made it and, with `handle`, opened it. */
  created(handle: FuseHandle): void {
    this.#created = { handle, log: this.connection.log! }
  }

  /** What OPEN or OPENDIR says; the caller takes a reference of its own (`get`). */
  openHandle(flags: number): OrErrno<FuseHandle> {
    const { connection, node, isDir } = this
    const created = this.#created
    if (created !== undefined && created.log === connection.log) {
      this.#created = undefined
      return created.handle
    }
    const opcode = isDir ? FUSE_OPENDIR : FUSE_OPEN
    if (connection.missing.has(opcode)) return new FuseHandle(this, flags, undefined)
    const told = flags & ~(connection.opensTruncate ? NOT_FOR_OPEN : NOT_FOR_OPEN | O_TRUNC)
    const shape: AnswerShape = {
      min: FUSE_OPEN_OUT.size,
      max: FUSE_OPEN_OUT.size,
      // Once for each answer: execve(2) comes by here again when it has read the file.
      take: (_connection, reply) => {
        const handle = new FuseHandle(this, told, reply)
        if ((handle.flags & FOPEN_KEEP_CACHE) === 0) this.cache?.invalidate()
        if ((told & O_TRUNC) !== 0) this.#truncated()
        return [handle]
      },
    }
    const answer = connection.call(opcode, node, told, shape, () =>
      new Message(FUSE_OPEN_IN.size).u32(FUSE_OPEN_IN.flags, told),
    )
    if (answer === -ENOSYS && (isDir ? connection.noOpendir : connection.noOpen)) {
      connection.missing.add(opcode)
      return new FuseHandle(this, flags, undefined)
    }
    if (failed(answer)) return answer
    if ((told & O_TRUNC) !== 0) this.#truncatedBy = connection.log
    return answer.held[0] as FuseHandle
  }

  /** fuse_truncate_update_attr. */
  #truncated(): void {
    this.changed()
    this.size = 0
    this.cache?.resized()
    this.invalidate(false)
  }

  /** What is known of its bytes; see page-cache.ts. */
  get pages(): PageCache {
    this.cache ??= new PageCache(this)
    return this.cache
  }

  override getxattr(name: string): OrErrno<Uint8Array> | number {
    return xattr.get(this, name)
  }
  override setxattr(name: string, value: Uint8Array, flags: number): Status {
    return xattr.set(this, name, value, flags)
  }
  override listxattr(): string[] | number {
    return xattr.list(this)
  }
  override removexattr(name: string): Status {
    return xattr.remove(this, name)
  }
  override get aclSource(): Inode | undefined {
    return this.connection.obeysAcls ? this : undefined
  }
}

/** Two changes of one call are the same if they change the same to the same. */
function keyOf({ mode, uid, gid, size, atime, mtime }: AttrChange): string {
  return `${mode} ${uid} ${gid} ${size} ${atime?.sec} ${mtime?.sec}`
}

/** The id of a node that is not the root's, or undefined. */
export function nodeIdOf(reply: DataView): number | undefined {
  const id = take64(reply, FUSE_ENTRY_OUT.nodeid)
  return id === FUSE_ROOT_ID ? undefined : id
}
