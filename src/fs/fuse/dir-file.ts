/**
 * An open directory of a FUSE file system: entries are asked for as they are read. The server's cookies are the positions;
 * one that a double does not hold is kept as it came for the reader who goes on where it stopped.
 */

import {
  FUSE_FSYNCDIR,
  FUSE_NAME_OFFSET,
  FUSE_READDIR,
  FUSE_READDIRPLUS,
  NAME_MAX,
} from '../../abi/constants.ts'
import { EINVAL, EIO } from '../../abi/errno.ts'
import { FUSE_DIRENT, FUSE_ENTRY_OUT, FUSE_READ_IN } from '../../abi/layout.ts'
import { fromBytes } from '../../base/bytes.ts'
import type { Credentials } from '../../base/credentials.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import { addDentry } from '../../vfs/dentry.ts'
import { DirFile } from '../../vfs/dir-file.ts'
import { Dirents, recordLength } from '../../vfs/dirents.ts'
import type { IoctlContext } from '../../vfs/file.ts'
import type { DirSink } from '../../vfs/inode.ts'
import type { Path } from '../../vfs/path.ts'
import type { FuseConnection } from './connection.ts'
import type { FuseDir } from './directory.ts'
import { takeEntry } from './entry.ts'
import { syncHandle } from './file.ts'
import type { FuseHandle } from './handle.ts'
import type { FuseInode } from './inode.ts'
import { deviceControl } from './ioctl.ts'
import type { AnswerShape, FuseRequest, Held } from './request.ts'
import type { FuseSuper } from './super.ts'
import { Message, readU64, toNumber, type U64, ZERO } from './wire.ts'

const MIN_SIZE = 4096
const MAX_SIZE = 128 * 1024
const SLASH = 0x2f

export class FuseDirFile extends DirFile {
  readonly #node: FuseDir
  readonly #handle: FuseHandle
  /** The cookie behind the entry that was read last. */
  #cookie: U64 = ZERO

  constructor(path: Path, flags: number, cred: Credentials, node: FuseDir, handle: FuseHandle) {
    super(path, flags, cred)
    this.#node = node
    this.#handle = handle
    handle.get()
  }

  override readdir(sink: DirSink): Status {
    return this.#walk(MIN_SIZE, sink)
  }

  override readDirents(room: number): Uint8Array | number {
    const out = new Dirents(Math.min(room, MAX_SIZE))
    let full = false
    const status = this.#walk(room, (name, ino, type, next) => {
      full = out.length + recordLength(name) > room
      if (!full) out.add(name, ino, type, next)
      return !full
    })
    if (out.length > 0) return out.records
    return full ? -EINVAL : status
  }

  #walk(room: number, sink: DirSink): Status {
    const answer = this.#ask(Math.min(Math.max(room, MIN_SIZE), MAX_SIZE))
    if (failed(answer)) return answer
    this.#keepEntries(answer.held as FoundEntry[])
    for (const entry of entriesIn(answer.reply, answer.opcode === FUSE_READDIRPLUS)) {
      if (typeof entry === 'number') return entry
      const { name, ino, type, next } = entry
      if (!sink(name, ino, type, toNumber(next))) break
      this.#cookie = next
      this.pos = toNumber(next)
    }
    return 0
  }

  #ask(size: number): OrErrno<FuseRequest> {
    const { connection, node, sb } = this.#node
    const { pos } = this
    const cookie =
      toNumber(this.#cookie) === pos ? this.#cookie : { lo: pos >>> 0, hi: Math.floor(pos / 2 ** 32) }
    const plus =
      connection.readdirPlus && (!connection.readdirPlusAuto || pos === 0 || this.#node.advisesPlus)
    const opcode = plus ? FUSE_READDIRPLUS : FUSE_READDIR
    const shape: AnswerShape = {
      min: 0,
      max: size,
      take: plus ? (_connection, reply, version) => takeEntries(sb, connection, reply, version) : undefined,
    }
    const answer = connection.call(opcode, node, `${pos}+${size}`, shape, () =>
      new Message(FUSE_READ_IN.size)
        .u64(FUSE_READ_IN.fh, this.#handle.fh)
        .u64(FUSE_READ_IN.offset, cookie)
        .u32(FUSE_READ_IN.size_, size)
        .u32(FUSE_READ_IN.flags, this.flags),
    )
    if (!failed(answer)) this.#node.advisesPlus = false
    return answer
  }

  /** What the server has told of entries is kept as if they had been looked up. */
  #keepEntries(entries: readonly FoundEntry[]): void {
    const { dentry } = this.path
    if (dentry.unhashed) return
    for (const { name, inode } of entries) if (!dentry.children?.has(name)) addDentry(dentry, name, inode)
  }

  override fsync(dataOnly = false): Status {
    return syncHandle(this.#node, this.#handle, FUSE_FSYNCDIR, dataOnly)
  }
  override ioctl(context: IoctlContext, request: number, argument: number): number {
    return deviceControl(this.#node, this.#handle, context, request, argument)
  }
  override release(): void {
    this.#handle.put()
  }
}

/** An entry's inode, as the answer to READDIRPLUS brings it. */
class FoundEntry implements Held {
  readonly name: string
  readonly inode: FuseInode

  constructor(name: string, inode: FuseInode) {
    this.name = name
    this.inode = inode
  }
  put(): void {
    this.inode.put()
  }
}

function takeEntries(
  sb: FuseSuper,
  connection: FuseConnection,
  reply: DataView,
  version: number,
): FoundEntry[] {
  const found: FoundEntry[] = []
  for (const entry of entriesIn(reply, true)) {
    if (typeof entry === 'number') break
    // The server doesn't count these.
    if (entry.name === '.' || entry.name === '..') continue
    const told = new DataView(reply.buffer, reply.byteOffset + entry.at)
    const inode = takeEntry(sb, connection, told, version)
    if (inode !== undefined && typeof inode !== 'number') found.push(new FoundEntry(entry.name, inode))
  }
  return found
}

interface Entry {
  readonly name: string
  readonly ino: number
  readonly type: number
  readonly next: U64
  /** Where it begins: with `plus` with a struct fuse_entry_out. */
  readonly at: number
}

/** The entries of an answer; -EIO for one that can't be, and after which nothing is believed. */
function* entriesIn(reply: DataView, plus: boolean): Generator<Entry | number> {
  const head = plus ? FUSE_ENTRY_OUT.size : 0
  for (let at = 0; at + head + FUSE_NAME_OFFSET <= reply.byteLength; ) {
    const dirent = at + head
    const length = reply.getUint32(dirent + FUSE_DIRENT.namelen, true)
    const start = dirent + FUSE_NAME_OFFSET
    if (length === 0 || length > NAME_MAX) {
      yield -EIO
      return
    }
    if (start + length > reply.byteLength) return
    const bytes = new Uint8Array(reply.buffer, reply.byteOffset + start, length)
    if (bytes.includes(SLASH) || bytes.includes(0)) {
      yield -EIO
      return
    }
    yield {
      name: fromBytes(bytes),
      ino: take64(reply, dirent + FUSE_DIRENT.ino),
      type: reply.getUint32(dirent + FUSE_DIRENT.type, true) & 15,
      next: readU64(reply, dirent + FUSE_DIRENT.off),
      at,
    }
    at = (start + length + 7) & ~7
  }
}
