/**
 * A request to a FUSE server.
 *
 * Made by an operation (FuseConnection.call), queued until the server reads it from the device, then known by its number
 * until the answer is written. What an answer brings that the server counts (a node's lookup, an open file) is taken up
 * when it arrives, whether anybody still waits or not: `held` keeps it until the call is over, and what nobody took by
 * then is given back to the server. Who is killed does not wait on; but what the server is at work on stays until it has
 * answered: the inode is not forgotten before, nor the open file released.
 */
import {
  FUSE_COPY_FILE_RANGE,
  FUSE_FALLOCATE,
  FUSE_FLUSH,
  FUSE_FSYNC,
  FUSE_FSYNCDIR,
  FUSE_GETLK,
  FUSE_IOCTL,
  FUSE_LSEEK,
  FUSE_POLL,
  FUSE_READ,
  FUSE_READDIR,
  FUSE_READDIRPLUS,
  FUSE_SETLK,
  FUSE_SETLKW,
  FUSE_WRITE,
} from '../../abi/constants.ts'
import { EIO } from '../../abi/errno.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { LoggedRequest } from '../../kernel/request-log.ts'
import type { FuseConnection } from './connection.ts'
import type { FuseDevice } from './device.ts'
import type { Message, U64 } from './wire.ts'

/** What an answer brought, held once for it. */
export interface Held {
  put(): void
}

/** How an answer looks: bytes at least, at most, and what it brings. */
export interface AnswerShape {
  readonly min: number
  readonly max: number
  /** Takes up what the server counts; a negative errno for an answer that makes no sense. */
  readonly take?: (connection: FuseConnection, reply: DataView, version: number) => Held[] | number
}

/** Who is told of an answer, whether a call waits for it or not: pages read, pages written. */
export interface Completion {
  completed(request: FuseRequest): void
}

export const NO_ANSWER: AnswerShape = { min: 0, max: 0 }

/** Those whose struct begins with the handle. */
const USES_HANDLE = new Set([
  FUSE_READ,
  FUSE_WRITE,
  FUSE_READDIR,
  FUSE_READDIRPLUS,
  FUSE_FLUSH,
  FUSE_FSYNC,
  FUSE_FSYNCDIR,
  FUSE_IOCTL,
  FUSE_POLL,
  FUSE_GETLK,
  FUSE_SETLK,
  FUSE_SETLKW,
  FUSE_LSEEK,
  FUSE_FALLOCATE,
  FUSE_COPY_FILE_RANGE,
])

/** A node's handle; undefined for one that is 0, which says nothing to the server. */
export function handleKey(node: U64, fh: U64): string | undefined {
  return fh.lo === 0 && fh.hi === 0 ? undefined : `${node.hi}:${node.lo}:${fh.hi}:${fh.lo}`
}

const EMPTY = new DataView(new ArrayBuffer(0))

export class FuseRequest implements LoggedRequest {
  readonly connection: FuseConnection
  readonly opcode: number
  readonly node: U64
  /** With opcode and node: what a later try of the call must want to find its answer here. */
  readonly key: string | number
  readonly shape: AnswerShape
  readonly unique: number
  /** The connection's `attrVersion` when it was made: what it says of attributes that have changed since is out of date. */
  readonly version: number
  readonly completion: Completion | undefined
  /** Gone when it was read. */
  message: Message | undefined
  /** The device by which it was read. */
  device: FuseDevice | undefined = undefined
  readonly queue = new WaitQueue()
  done = false
  usedIn = 0
  interrupted = false
  /** 0 or a negative errno. */
  error = 0
  reply: DataView = EMPTY
  held: Held[] = []
  #ended = false
  /** By what handle, if by one: handleKey. */
  readonly handle: string | undefined
  /** Held while the server is at work for nobody. */
  #orphan: Held | undefined = undefined

  constructor(
    connection: FuseConnection,
    opcode: number,
    node: U64,
    key: string | number,
    shape: AnswerShape,
    unique: number,
    message: Message,
    completion?: Completion,
  ) {
    this.connection = connection
    this.opcode = opcode
    this.node = node
    this.key = key
    this.shape = shape
    this.unique = unique
    this.version = connection.attrVersion
    this.message = message
    this.completion = completion
    this.handle = USES_HANDLE.has(opcode) ? handleKey(node, message.u64At(0)) : undefined
  }

  asks(opcode: number, node: U64, key: string | number): boolean {
    return this.opcode === opcode && this.node.lo === node.lo && this.node.hi === node.hi && this.key === key
  }

  /** The answer is there. Whether it was one that makes sense. */
  complete(error: number, reply: DataView): boolean {
    let sensible = true
    const { min, max, take } = this.shape
    if (error === 0 && (reply.byteLength < min || reply.byteLength > max)) sensible = false
    if (error === 0 && sensible && take !== undefined) {
      const taken = take(this.connection, reply, this.version)
      if (typeof taken === 'number') error = taken
      else this.held = taken
    }
    this.error = sensible ? error : -EIO
    this.reply = reply
    this.done = true
    this.message = undefined
    if (this.#ended) this.#giveBack()
    this.queue.wakeAll()
    this.completion?.completed(this)
    this.leave()
    return sensible
  }

  /** Nobody waits for it any more, and the server may be at work on it: `inode` is held until the answer. */
  orphaned(inode: Held & { get(): void }): void {
    inode.get()
    this.#orphan = inode
  }
  /** The server is not at work on it any more, or never will be. */
  leave(): void {
    this.connection.left(this)
    const orphan = this.#orphan
    this.#orphan = undefined
    orphan?.put()
  }

  interrupt(): void {
    if (this.interrupted || this.done) return
    this.interrupted = true
    this.connection.interrupt(this)
  }

  end(): void {
    this.#ended = true
    if (this.done) this.#giveBack()
    else this.connection.abandon(this)
  }

  #giveBack(): void {
    for (const each of this.held) each.put()
    this.held = []
  }
}
