/**
 * What the kernel's end of a netlink protocol (NETLINK_ROUTE, NETLINK_SOCK_DIAG…) gives to the layer that all of them
 * share: netlink(7).
 */
import type { Status } from '../../base/result.ts'
import type { Task } from '../../kernel/task.ts'
import type { NetStack } from '../stack.ts'
import type { MessageWriter } from './message.ts'
import type { NetlinkSocket } from './socket.ts'

export interface NetlinkProtocol {
  /** Multicast groups are 1..groups. */
  readonly groups: number
  /** Whether whoever likes may listen to groups; else it takes CAP_NET_ADMIN. */
  readonly anyoneListens: boolean
  /** Whether whoever likes may send to other sockets than the kernel's. */
  readonly anyoneSends: boolean
  /** 0 or a negative errno, with which the message is acknowledged, or a dump. */
  receive(request: NetlinkRequest): Status | Dump
  /**
   * Takes the messages of a datagram as one (nfnetlink's batches): what to acknowledge, in this order. Undefined: it is no
   * such datagram, and each message is one of its own.
   */
  batch?(requests: readonly NetlinkRequest[]): readonly Acknowledgement[] | undefined
  /** A socket has ended. */
  released?(socket: NetlinkSocket): void
  /** A socket joins a group: a negative errno refuses it. */
  joins?(task: Task, group: number): Status
}

export interface Acknowledgement {
  readonly request: NetlinkRequest
  readonly status: Status
}

/** One message from a socket to the kernel. */
export interface NetlinkRequest {
  readonly task: Task
  readonly stack: NetStack
  readonly socket: NetlinkSocket
  /** Of the sender. */
  readonly port: number
  readonly type: number
  /** NLM_F_* */
  readonly flags: number
  readonly sequence: number
  /** With its header. */
  readonly message: Uint8Array
  /** What follows the header. Hostile. */
  readonly body: Uint8Array
  readonly view: DataView
  /** For NLMSGERR_ATTR_MSG: why it was refused. */
  reason: string
  /** For NLMSGERR_ATTR_OFFS: where in the message, from its header's start; 0: not known. */
  offset: number
  /** Puts messages that answer into the socket's queue, before the acknowledgement. */
  answer(writer: MessageWriter): Status
}

/** An answer of many messages, which is put together as the asker reads. */
export interface Dump {
  /** Writes the next messages: false when there are none left. At most some kilobytes at a time. */
  next(writer: MessageWriter): boolean
  /** Changes when what is dumped has changed since the dump began. */
  readonly revision?: number
  /** Flags of the end's message (NLM_F_DUMP_FILTERED). */
  readonly flags?: number
}

/** A dump of a list that was taken when it began; `write` writes one entry's message, or nothing. */
export class ListDump<T> implements Dump {
  readonly flags: number
  readonly #entries: readonly T[]
  readonly #write: (writer: MessageWriter, entry: T) => void
  readonly #revision: (() => number) | undefined
  #at = 0

  constructor(
    entries: Iterable<T>,
    write: (writer: MessageWriter, entry: T) => void,
    flags = 0,
    revision?: () => number,
  ) {
    this.#entries = [...entries]
    this.#write = write
    this.flags = flags
    this.#revision = revision
  }
  get revision(): number {
    return this.#revision?.() ?? 0
  }
  next(writer: MessageWriter): boolean {
    if (this.#at >= this.#entries.length) return false
    this.#write(writer, this.#entries[this.#at++])
    return true
  }
}
