/** Byte streams: SOCK_STREAM of unix(7). Writes are not merged: control messages stay where they were sent. */
import {
  MSG_OOB,
  MSG_PEEK,
  POLLIN,
  POLLRDNORM,
  SCM_INQ,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../abi/constants.ts'
import { EAGAIN, EFAULT, EINVAL, EISCONN, ENOTCONN, EOPNOTSUPP, EPERM, EPIPE } from '../../abi/errno.ts'
import { failed, type Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { File } from '../../vfs/file.ts'
import { filePut } from '../../vfs/file-ref.ts'
import { intBytes } from '../inet/option-bytes.ts'
import { RCV_SHUTDOWN, type ReceiveRequest, SEND_SHUTDOWN, type SendRequest } from '../socket.ts'
import { unixAddress } from './address.ts'
import { type MessageCred, STREAM_CHUNK, UnixMessage } from './message.ts'
import { copyFiles, credOf, describe, land, launch, parseControl } from './rights.ts'
import { ESTABLISHED, UnixSocket } from './socket.ts'

export class UnixStream extends UnixSocket {
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
    if (attachment.files !== undefined && peer.refusesFiles) return -EPERM
    const { src } = request
    const cred = attachment.cred ?? (this.#wantsCred(peer) ? credOf(task) : undefined)
    let done = 0
    while (src.remaining > 0) {
      if (this.wmem >= this.options.sndbuf) break
      if (peer.dead || (peer.shutdownMask & RCV_SHUTDOWN) !== 0) return done > 0 ? done : -EPIPE
      const size = Math.min(src.remaining, Math.floor(this.options.sndbuf / 2) - 64, STREAM_CHUNK)
      const bytes = this.table.buffers.take(size)
      // A message that can't be copied whole is not sent at all.
      if (src.take(bytes) < size) return done > 0 ? done : -EFAULT
      const files = done === 0 && attachment.files !== undefined ? launch(task, attachment.files) : undefined
      peer.#put(new UnixMessage(this, bytes, cred, files))
      done += size
    }
    if (done === 0 && src.remaining > 0) return -EAGAIN
    return done
  }

  #wantsCred(peer: UnixSocket): boolean {
    // Whether a connection nobody has accepted yet will want them isn't known.
    return this.options.passesSender || peer.options.passesSender || peer.file === undefined
  }

  #put(message: UnixMessage): void {
    message.sender.wmem += message.charge
    this.inbox.push(message)
    this.waitQueue.wake(POLLIN | POLLRDNORM)
  }

  /**
   * Bytes read. A read takes from several messages, but not across a change of sender (with SO_PASSCRED or SO_PASSPIDFD) nor
   * beyond a message that carries Files.
   */
  override receive(task: Task, request: ReceiveRequest): number {
    if (this.state !== ESTABLISHED) return -EINVAL
    // Nobody can have sent any.
    if ((request.flags & MSG_OOB) !== 0) return -EINVAL
    const peek = (request.flags & MSG_PEEK) !== 0
    const outcome = peek ? this.#peek(request) : this.#take(request)
    if (outcome.done < 0) return outcome.done
    const { sender } = outcome
    if (outcome.done === 0 && sender === undefined) return this.#nothing()
    if (sender?.boundName !== undefined) request.address = unixAddress(sender.boundName)
    describe(task, this.options, outcome.cred, outcome.files, request.control)
    if (this.tellsRest)
      request.control.push({ level: SOL_SOCKET, type: SCM_INQ, data: intBytes(this.readableBytes) })
    return outcome.done
  }

  #nothing(): number {
    const error = this.takeError()
    if (error < 0) return error
    return (this.shutdownMask & RCV_SHUTDOWN) !== 0 ? 0 : -EAGAIN
  }

  #take({ dst }: ReceiveRequest): Outcome {
    const outcome: Outcome = { done: 0, sender: undefined, cred: undefined, files: undefined }
    if (dst.remaining === 0) {
      const first = this.inbox.first
      if (first !== undefined && this.#joins(first, outcome)) outcome.files = land(first)
      return outcome
    }
    while (outcome.files === undefined && dst.remaining > 0) {
      const window = dst.window(dst.remaining)
      const filled = this.#fill(window, outcome)
      if (filled === 0) break
      const status = dst.commit(filled)
      if (status < 0) {
        if (outcome.done === 0) outcome.done = status
        break
      }
      this.#consume(filled, outcome)
    }
    return outcome
  }

  /** Copies what may be read together into the window, so that the reader's memory is written to as few times as can be. */
  #fill(window: Uint8Array, outcome: Outcome): number {
    let filled = 0
    for (let i = 0; i < this.inbox.size && filled < window.length; i++) {
      const message = this.inbox.at(i)!
      if (!this.#joins(message, outcome)) break
      const part = Math.min(message.length, window.length - filled)
      // A subarray of a small array costs more than all the rest.
      const whole = part === message.bytes.length
      window.set(whole ? message.bytes : message.bytes.subarray(message.start, message.start + part), filled)
      filled += part
      if (message.files !== undefined) break
    }
    return filled
  }

  #consume(n: number, outcome: Outcome): void {
    outcome.done += n
    if (this.options.peekOff > 0) this.options.peekOff = Math.max(this.options.peekOff - n, 0)
    while (n > 0) {
      const message = this.inbox.first!
      const part = Math.min(message.length, n)
      n -= part
      message.start += part
      outcome.files = land(message) ?? outcome.files
      if (message.length > 0) return
      this.inbox.shift()
      this.table.buffers.give(message.bytes)
      message.sender.uncharge(message.charge)
    }
  }

  #peek(request: ReceiveRequest): Outcome {
    const outcome: Outcome = { done: 0, sender: undefined, cred: undefined, files: undefined }
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
    if (outcome.sender === undefined) {
      outcome.sender = message.sender
      outcome.cred = message.cred
      return true
    }
    if (!this.options.passesSender) return true
    return sameCred(message.cred, outcome.cred)
  }
}

interface Outcome {
  done: number
  /** Of the first message, undefined where there was none. */
  sender: UnixSocket | undefined
  cred: MessageCred | undefined
  files: File[] | undefined
}

function sameCred(a: MessageCred | undefined, b: MessageCred | undefined): boolean {
  return a === b || (a?.pid === b?.pid && a?.uid === b?.uid && a?.gid === b?.gid)
}
