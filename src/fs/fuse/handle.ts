/**
 * FuseHandle: what the server knows an open file or directory by. The last user's `put` tells the server (RELEASE). The inode is
 * held until that is answered: a server of several threads must not have forgotten it by then.
 */
import { FUSE_RELEASE, FUSE_RELEASE_FLOCK_UNLOCK, FUSE_RELEASEDIR } from '../../abi/constants.ts'
import { FUSE_OPEN_OUT, FUSE_RELEASE_IN } from '../../abi/layout.ts'
import type { FuseInode } from './inode.ts'
import type { Completion, Held } from './request.ts'
import { Message, readU64, type U64, ZERO } from './wire.ts'

export class FuseHandle implements Held, Completion {
  readonly #inode: FuseInode
  /** O_*, as the server was told. */
  readonly openFlags: number
  readonly fh: U64
  /** FOPEN_*. */
  readonly flags: number
  /** Whether the server has given it: one that has no OPEN is told of no RELEASE. */
  readonly #given: boolean
  #users = 1
  /** The number of its flock(2), if it may have one. */
  flockOwner: number | undefined = undefined

  /** `reply` undefined: the server keeps nothing of open files. */
  constructor(inode: FuseInode, openFlags: number, reply: DataView | undefined, at = 0) {
    this.#inode = inode
    inode.get()
    this.openFlags = openFlags
    this.#given = reply !== undefined
    this.fh = reply === undefined ? ZERO : readU64(reply, at + FUSE_OPEN_OUT.fh)
    this.flags = reply === undefined ? 0 : reply.getUint32(at + FUSE_OPEN_OUT.open_flags, true)
  }

  get(): void {
    this.#users++
  }
  put(): void {
    if (--this.#users > 0) return
    if (!this.#given) {
      this.completed()
      return
    }
    const { fh } = this
    const { connection, node, isDir } = this.#inode
    // Who asked by it was killed, or another thread has closed it meanwhile.
    if (connection.defers(node, fh, this)) {
      this.#users = 1
      return
    }
    const message = new Message(FUSE_RELEASE_IN.size)
      .u64(FUSE_RELEASE_IN.fh, this.fh)
      .u32(FUSE_RELEASE_IN.flags, this.openFlags)
    if (this.flockOwner !== undefined) {
      message
        .u32(FUSE_RELEASE_IN.release_flags, FUSE_RELEASE_FLOCK_UNLOCK)
        .number(FUSE_RELEASE_IN.lock_owner, this.flockOwner)
    }
    if (!connection.post(isDir ? FUSE_RELEASEDIR : FUSE_RELEASE, node, message, this)) this.completed()
  }

  /** RELEASE is answered. */
  completed(): void {
    this.#inode.put()
  }
}

/** A user of a handle until a message is answered for which no call waits. */
export class HandleUse implements Completion {
  readonly #handle: FuseHandle

  constructor(handle: FuseHandle) {
    this.#handle = handle
    handle.get()
  }
  completed(): void {
    this.#handle.put()
  }
}
