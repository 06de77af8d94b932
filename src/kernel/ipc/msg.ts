/**
 * System V message queues (ipc/msg.c). Senders wait for room, receivers for a message of a type that they take, both on
 * the queue's wait queues; IPC_RMID wakes all.
 */
import type { Credentials } from '../../base/credentials.ts'
import { WaitQueue } from '../../base/wait-queue.ts'
import type { Pid } from '../pid.ts'
import { IpcObject, IpcTable } from './ids.ts'

export interface Message {
  /** As a number for comparing, exact below 2^53, and as it was sent. */
  readonly type: number
  readonly rawType: readonly [number, number]
  readonly bytes: Uint8Array
}

export class MessageTable extends IpcTable<MessageQueue> {
  override readonly nextId = 'msgNextId'
  override get limit(): number {
    return this.limits.msgmni
  }

  override remove(queue: MessageQueue): void {
    super.remove(queue)
    queue.messages.length = 0
    queue.senders.wakeAll()
    queue.receivers.wakeAll()
  }
}

export class MessageQueue extends IpcObject {
  /** Oldest first. */
  readonly messages: Message[] = []
  /** Bytes in them, and the most that there may be. */
  bytes = 0
  maxBytes: number
  /** Seconds; 0 before the first. */
  stime = 0
  rtime = 0
  lastSender: Pid | undefined = undefined
  lastReceiver: Pid | undefined = undefined
  readonly senders = new WaitQueue()
  readonly receivers = new WaitQueue()

  constructor(key: number, mode: number, cred: Credentials, now: number, maxBytes: number) {
    super(key, mode, cred, now)
    this.maxBytes = maxBytes
  }

  /** Whether a message of `length` bytes has room. Their number is limited too, or empty ones would cost nothing. */
  fits(length: number): boolean {
    return this.bytes + length <= this.maxBytes && this.messages.length + 1 <= this.maxBytes
  }

  put(message: Message): void {
    this.messages.push(message)
    this.bytes += message.bytes.length
    this.receivers.wakeAll()
  }

  /**
   * Where the message is that msgrcv(2) with `type` takes, -1 if there is none: 0 the first, > 0 the first of that type
   * (`except`: of another), < 0 the lowest type up to its absolute value.
   */
  search(type: number, except: boolean): number {
    const { messages } = this
    if (type === 0) return messages.length > 0 ? 0 : -1
    if (type > 0) return messages.findIndex(each => (each.type === type) !== except)
    let best = -1
    for (let i = 0; i < messages.length; i++) {
      if (messages[i].type <= -type && (best < 0 || messages[i].type < messages[best].type)) best = i
    }
    return best
  }

  take(index: number): Message {
    const [message] = this.messages.splice(index, 1)
    this.bytes -= message.bytes.length
    this.senders.wakeAll()
    return message
  }
}
