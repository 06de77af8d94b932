/** Byte streams: SOCK_STREAM of unix(7). Writes are not merged: control messages stay where they were sent. */
import {
  MSG_OOB,
  MSG_PEEK,
  POLLIN,
  POLLRDNORM,
  SOCK_STREAM,
} from '../../abi/constants.ts'
import { EAGAIN, EINVAL, EISCONN, ENOTCONN, EOPNOTSUPP, EPIPE } from '../../abi/errno.ts'
import { failed, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { RCV_SHUTDOWN, type ReceiveRequest, SEND_SHUTDOWN, type SendRequest } from '../socket.ts'
import { type MessageCred, STREAM_CHUNK, UnixMessage } from './message.ts'
import { copyFiles, credOf, describe, land, launch, parseControl } from './rights.ts'
import { ESTABLISHED, UnixSocket } from './socket.ts'

/** Read chunks that may be filled again. */
const SPARE_CHUNKS = 8

export class UnixStream extends UnixSocket {
  /** Full-size buffers of messages that were read, for the next writes to this inbox. */
  readonly #spare: Uint8Array[] = []

  constructor(table: UnixSocket['table']) {
    super(SOCK_STREAM, table)
  }
  override get isStream(): boolean {
    return true
  }
  protected override sibling(): UnixSocket {
    return new UnixStream(this.table)
  }
  override connect(task: Task, address: Uint8Array): Status {
    return this.connectStream(task, address)
  }

  /** Bytes accepted, as far as the send buffer goes. */
  override send(task: Task, request: SendRequest): number {
    if ((request.flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    const attachment = parseControl(task, request.control)
    if (failed(attachment)) return attachment
    if (request.address !== undefined) return this.state === ESTABLISHED ? -EISCONN : -EOPNOTSUPP
    const peer = this.peer as UnixStream | undefined
    if (peer === undefined) return -ENOTCONN
    if ((this.shutdownMask & SEND_SHUTDOWN) !== 0) return -EPIPE
    const { src } = request
    const cred = attachment.cred ?? (this.#wantsCred(peer) ? credOf(task) : undefined)
    let done = 0
    while (src.remaining > 0) {
      if (this.wmem >= this.options.sndbuf) break
      if (peer.dead || (peer.shutdownMask & RCV_SHUTDOWN) !== 0) return done > 0 ? done : -EPIPE
      const size = Math.min(src.remaining, Math.floor(this.options.sndbuf / 2) - 64, STREAM_CHUNK)
      const bytes = peer.#buffer(size)
      const n = src.take(bytes)
      if (n < 0) return done > 0 ? done : n
      const files = done === 0 && attachment.files !== undefined ? launch(task, attachment.files) : undefined
      peer.#put(new UnixMessage(this, n === bytes.length ? bytes : bytes.subarray(0, n), cred, files))
      done += n
      if (n < size) break
    }
    if (done === 0 && src.remaining > 0) return -EAGAIN
    return done
  }

  #wantsCred(peer: UnixSocket): boolean {
    // Whether a connection nobody has accepted yet will want them isn't known.
    return this.options.passCred || peer.options.passCred || peer.file === undefined
  }

  /** Room for a message in this inbox. */
  #buffer(size: number): Uint8Array {
    return (size === STREAM_CHUNK ? this.#spare.pop() : undefined) ?? new Uint8Array(size)
  }

  #put(message: UnixMessage): void {
    message.sender.wmem += message.charge
    this.inbox.push(message)
    this.waitQueue.wake(POLLIN | POLLRDNORM)
  }

  /**
   * Bytes read. A read takes from several messages, but not across a change of sender (with SO_PASSCRED) nor
   * beyond a message that carries Files.
   */
  override receive(task: Task, request: ReceiveRequest): number {
    if (this.state !== ESTABLISHED) return -EINVAL
    if ((request.flags & MSG_OOB) !== 0) return -EOPNOTSUPP
    const peek = (request.flags & MSG_PEEK) !== 0
    const outcome = peek ? this.#peek(request) : this.#take(request)
    if (outcome.done < 0) return outcome.done
    if (outcome.done === 0 && !outcome.touched) return this.#nothing()
    describe(task, this.options.passCred, outcome.cred, outcome.files, request.control)
    return outcome.done
  }

  #nothing(): number {
    const error = this.takeError()
    if (error < 0) return error
    return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? 0 : -EAGAIN
  }

  #take(request: ReceiveRequest): Outcome {
    const outcome: Outcome = { done: 0, touched: false, cred: undefined, files: undefined }
    const { dst } = request
    for (let message = this.inbox.first; message !== undefined; message = this.inbox.first) {
      if (!this.#joins(message, outcome)) break
      const n =
        dst.remaining === 0
          ? 0
          : dst.put(message.start === 0 ? message.bytes : message.bytes.subarray(message.start))
      if (n < 0) {
        if (outcome.done === 0) outcome.done = n
        break
      }
      message.start += n
      outcome.done += n
      if (this.options.peekOff > 0) this.options.peekOff = Math.max(this.options.peekOff - n, 0)
      const files = land(message)
      if (files !== undefined) outcome.files = files
      if (message.length > 0) break
      this.inbox.shift()
      this.#recycle(message)
      message.sender.uncharge(message.charge)
      if (files !== undefined || dst.remaining === 0) break
    }
    return outcome
  }

  #peek(request: ReceiveRequest): Outcome {
    const outcome: Outcome = { done: 0, touched: false, cred: undefined, files: undefined }
    const { dst } = request
    let skip = Math.max(this.options.peekOff, 0)
    for (let i = 0; i < this.inbox.size; i++) {
      const message = this.inbox.at(i)!
      if (skip >= message.length) {
        skip -= message.length
        continue
      }
      if (!this.#joins(message, outcome)) break
      const n = dst.remaining === 0 ? 0 : dst.put(message.bytes.subarray(message.start + skip))
      if (n < 0) {
        if (outcome.done === 0) outcome.done = n
        break
      }
      skip = 0
      outcome.done += n
      if (message.files !== undefined) {
        for (const file of outcome.files ?? []) filePut(file)
        outcome.files = copyFiles(message)
        break
      }
      if (dst.remaining === 0) break
    }
    if (this.options.peekOff >= 0 && outcome.done > 0) this.options.peekOff += outcome.done
    return outcome
  }

  /** Whether a message may be read together with those before it. */
  #joins(message: UnixMessage, outcome: Outcome): boolean {
    if (!outcome.touched) {
      outcome.touched = true
      outcome.cred = message.cred
      return true
    }
    if (!this.options.passCred) return true
    return sameCred(message.cred, outcome.cred)
  }

  #recycle(message: UnixMessage): void {
    if (message.bytes.length === STREAM_CHUNK && this.#spare.length < SPARE_CHUNKS)
      this.#spare.push(message.bytes)
  }
}

interface Outcome {
  done: number
  /** There was a message. */
  touched: boolean
  cred: MessageCred | undefined
  files: File[] | undefined
}

function sameCred(a: MessageCred | undefined, b: MessageCred | undefined): boolean {
  return a === b || (a?.pid === b?.pid && a?.uid === b?.uid && a?.gid === b?.gid)
}
