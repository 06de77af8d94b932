/** RouteQuery: questions and orders to the host's rtnetlink(7), from the host side: one socket in the namespace meant. */
import {
  AF_NETLINK,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  SOCK_RAW,
} from '../../abi/constants.ts'
import { EINTR, EPROTO } from '../../abi/errno.ts'
import { NLMSGHDR } from '../../abi/layout.ts'
import { failed, type OrErrno, type Status } from '../../base/result.ts'
import type { HostSockets } from '../../platform/host-sockets.ts'
import { align4, MessageWriter, viewOf } from '../netlink/message.ts'

/** More than the kernel puts into one datagram of a dump. */
const MAX_DATAGRAM = 65536
/** How often a dump is begun anew because something has changed meanwhile. */
const TRIES = 8

export interface RouteMessage {
  readonly type: number
  readonly body: Uint8Array
}

export class RouteQuery {
  readonly #sockets: HostSockets
  readonly #fd: number
  readonly #room = new Uint8Array(MAX_DATAGRAM)
  #sequence = 0

  private constructor(sockets: HostSockets, fd: number) {
    this.#sockets = sockets
    this.#fd = fd
  }

  /** In the network namespace that the thread is in now; it may leave it afterwards. */
  static open(sockets: HostSockets): OrErrno<RouteQuery> {
    const fd = sockets.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    return fd < 0 ? fd : new RouteQuery(sockets, fd)
  }
  close(): void {
    this.#sockets.close(this.#fd)
  }

  /** RTM_GET*: all there is, as it was at one time. `size`: of the struct behind the header, all zero but its family. */
  dump(type: number, family: number, size: number): OrErrno<RouteMessage[]> {
    for (let i = 0; i < TRIES; i++) {
      const found = this.#ask(type, NLM_F_DUMP, writer => {
        const at = writer.struct(size)
        writer.set8(at, family)
      })
      if (found !== -EINTR) return found
    }
    return -EINTR
  }

  /** Has something changed: 0 or the kernel's errno. `write` adds what follows the header; `flags`: NLM_F_CREATE and so on. */
  change(type: number, write: (writer: MessageWriter) => void, flags = 0): Status {
    const answer = this.#ask(type, NLM_F_ACK | flags, write)
    return failed(answer) ? answer : 0
  }

  /** The answers up to the end of the dump or the acknowledgement; the kernel has given them all when send(2) returns. */
  #ask(type: number, flags: number, write: (writer: MessageWriter) => void): OrErrno<RouteMessage[]> {
    const writer = new MessageWriter()
    writer.start(type, NLM_F_REQUEST | flags, ++this.#sequence, 0)
    write(writer)
    writer.end()
    const sent = this.#sockets.send(this.#fd, writer.take(), 0, undefined, undefined)
    if (sent < 0) return sent
    const messages: RouteMessage[] = []
    let interrupted = false
    for (;;) {
      const length = this.#sockets.receive(this.#fd, this.#room, 0, false)
      if (length < 0) return length
      const view = viewOf(this.#room)
      for (let at = 0; at + NLMSGHDR.size <= length; ) {
        const size = view.getUint32(at + NLMSGHDR.nlmsg_len, true)
        if (size < NLMSGHDR.size || size > length - at) return -EPROTO
        const kind = view.getUint16(at + NLMSGHDR.nlmsg_type, true)
        const body = this.#room.slice(at + NLMSGHDR.size, at + size)
        const ours = view.getUint32(at + NLMSGHDR.nlmsg_seq, true) === this.#sequence
        if (ours && (view.getUint16(at + NLMSGHDR.nlmsg_flags, true) & NLM_F_DUMP_INTR) !== 0) {
          interrupted = true
        }
        at += align4(size)
        if (!ours) continue
        if (kind === NLMSG_DONE || kind === NLMSG_ERROR) {
          // Both begin with the outcome.
          const status = body.length < 4 ? -EPROTO : viewOf(body).getInt32(0, true)
          if (status < 0) return status
          return interrupted ? -EINTR : messages
        }
        messages.push({ type: kind, body })
      }
    }
  }
}
