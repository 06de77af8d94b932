/**
 * What travels between unix sockets: messages in the receiver's inbox, each charged to its sender (skb, sk_wmem_alloc).
 * A datagram is one message; a stream write becomes one or several.
 */
import type { Pid } from '../../kernel/pid.ts'
import type { UserAccount } from '../../kernel/user-account.ts'
import type { File } from '../../vfs/file.ts'
import type { UnixSocket } from './socket.ts'

/** The identity that a message carries: SCM_CREDENTIALS. Ids are kernel-wide. */
export interface MessageCred {
  readonly pid: Pid | undefined
  readonly uid: number
  readonly gid: number
}

/** Files in flight. */
export interface Cargo {
  readonly files: File[]
  readonly account: UserAccount
}

/** The largest part of a stream write that becomes one message. */
export const STREAM_CHUNK = 36544
const PAGE = 4096
/** What an skb costs beside its data, and the smallest head. */
const SKB_SIZE = 256
const SHARED_INFO = 320
const SMALL_HEAD = 512
const MAX_HEAD = PAGE - SHARED_INFO

/** What Linux would charge the sender for a message of `length` bytes (skb->truesize). */
export function chargeOf(length: number): number {
  const paged = length > MAX_HEAD ? Math.min(length, Math.ceil((length - MAX_HEAD) / PAGE) * PAGE) : 0
  const head = length - paged + SHARED_INFO
  let room = SMALL_HEAD
  if (head > SMALL_HEAD) {
    room = 1024
    while (room < head) room *= 2
  }
  return SKB_SIZE + room + Math.ceil(paged / PAGE) * PAGE
}

export class UnixMessage {
  readonly sender: UnixSocket
  readonly charge: number
  bytes: Uint8Array
  /** Bytes already read (streams). */
  start = 0
  /** Wall-clock time in ns, if its reader wants to know. */
  stamp = 0
  cred: MessageCred | undefined
  /** SCM_RIGHTS: references held by the message, counted on the sending user's account. */
  files: File[] | undefined
  account: UserAccount | undefined

  constructor(
    sender: UnixSocket,
    bytes: Uint8Array,
    cred: MessageCred | undefined,
    cargo: Cargo | undefined,
  ) {
    this.sender = sender
    this.bytes = bytes
    this.charge = chargeOf(bytes.length)
    this.cred = cred
    this.files = cargo?.files
    this.account = cargo?.account
  }

  get length(): number {
    return this.bytes.length - this.start
  }
}

/** First in, first out, without moving elements at each step. */
export class Inbox<T> {
  #items: (T | undefined)[] = []
  #head = 0

  get size(): number {
    return this.#items.length - this.#head
  }
  get first(): T | undefined {
    return this.#items[this.#head]
  }
  at(index: number): T | undefined {
    return this.#items[this.#head + index]
  }
  push(item: T): void {
    this.#items.push(item)
  }
  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head++] = undefined
    if (this.#head === this.#items.length) {
      this.#items.length = 0
      this.#head = 0
    } else if (this.#head >= 64 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }
  *[Symbol.iterator](): Generator<T> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i]!
  }
}
