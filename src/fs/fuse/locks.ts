/** Locks of a FUSE file whose server keeps them: fuse_file_lock, fuse_file_flock. */

import {
  F_RDLCK,
  F_UNLCK,
  F_WRLCK,
  FUSE_GETLK,
  FUSE_LK_FLOCK,
  FUSE_SETLK,
  FUSE_SETLKW,
  LOCK_EX,
  LOCK_SH,
} from '../../abi/constants.ts'
import { EIO } from '../../abi/errno.ts'
import { FUSE_FILE_LOCK, FUSE_LK_IN, FUSE_LK_OUT } from '../../abi/layout.ts'
import { failed, type Status } from '../../base/result.ts'
import { take64 } from '../../base/words.ts'
import { LOCK_TO_END, type LockServer, type PosixLock } from '../../vfs/locks.ts'
import type { FuseFile } from './file.ts'
import { NO_ANSWER } from './request.ts'
import { Message, type U64 } from './wire.ts'

const LK_ANSWER = { min: FUSE_LK_OUT.size, max: FUSE_LK_OUT.size }
/** OFFSET_MAX: the last byte of a range that reaches to the end of the file. */
const LAST: U64 = { lo: 0xffffffff, hi: 0x7fffffff }

export class FuseLocks implements LockServer {
  readonly #file: FuseFile

  constructor(file: FuseFile) {
    this.#file = file
  }

  get ranges(): boolean {
    return this.#file.node.connection.keepsRanges
  }
  get flocks(): boolean {
    return this.#file.node.connection.keepsFlocks
  }

  test(request: PosixLock): PosixLock | undefined | number {
    const { connection, node } = this.#file.node
    const answer = connection.call(FUSE_GETLK, node, keyOf(request), LK_ANSWER, () =>
      this.#message(request, request.owner as object, 0, 0),
    )
    if (failed(answer)) return answer
    const { reply } = answer
    const at = FUSE_LK_OUT.lk
    const type = reply.getUint32(at + FUSE_FILE_LOCK.type, true)
    if (type === F_UNLCK) return undefined
    const start = take64(reply, at + FUSE_FILE_LOCK.start)
    const last = take64(reply, at + FUSE_FILE_LOCK.end)
    if ((type !== F_RDLCK && type !== F_WRLCK) || start >= 2 ** 63 || last < start) return -EIO
    const holder = connection.pidNs.find(reply.getUint32(at + FUSE_FILE_LOCK.pid, true))
    return { owner: undefined, type, start, end: last >= 2 ** 63 - 1 ? LOCK_TO_END : last + 1, holder }
  }

  set(request: PosixLock, waits: boolean): Status {
    return this.#set(request, request.owner as object, waits, 0)
  }

  flock(operation: number, waits: boolean): Status {
    const type = operation === LOCK_EX ? F_WRLCK : operation === LOCK_SH ? F_RDLCK : F_UNLCK
    const request: PosixLock = { owner: this.#file, type, start: 0, end: LOCK_TO_END, holder: undefined }
    // RELEASE gives it back, whatever becomes of the request.
    this.#file.handle.flockOwner = this.#file.node.connection.ownerId(this.#file)
    return this.#set(request, this.#file, waits, FUSE_LK_FLOCK)
  }

  #set(request: PosixLock, owner: object, waits: boolean, flags: number): Status {
    const { connection, node } = this.#file.node
    const opcode = waits ? FUSE_SETLKW : FUSE_SETLK
    const pid = request.type === F_UNLCK ? 0 : connection.callerTgid
    const answer = connection.call(opcode, node, `${keyOf(request)} ${flags}`, NO_ANSWER, () =>
      this.#message(request, owner, pid, flags),
    )
    return failed(answer) ? answer : 0
  }

  #message({ type, start, end }: PosixLock, owner: object, pid: number, flags: number): Message {
    const { node, handle } = this.#file
    const { lk } = FUSE_LK_IN
    const message = new Message(FUSE_LK_IN.size)
      .u64(FUSE_LK_IN.fh, handle.fh)
      .number(FUSE_LK_IN.owner, node.connection.ownerId(owner))
      .number(lk + FUSE_FILE_LOCK.start, start)
      .u32(lk + FUSE_FILE_LOCK.type, type)
      .u32(lk + FUSE_FILE_LOCK.pid, pid)
      .u32(FUSE_LK_IN.lk_flags, flags)
    const at = lk + FUSE_FILE_LOCK.end
    return end === LOCK_TO_END ? message.u64(at, LAST) : message.number(at, end - 1)
  }
}

function keyOf({ type, start, end }: PosixLock): string {
  return `${type} ${start} ${end}`
}
