/**
 * NetlinkTable: the netlink sockets of one network namespace, by protocol: port numbers, groups, and delivery among them
 * and from the kernel.
 */
import { EADDRINUSE, ECONNREFUSED } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { MessageCred } from '../unix/message.ts'
import type { NetlinkSocket } from './socket.ts'

/** Where ports that are made up begin, going down: below what process ids can be. */
const FIRST_MADE_UP_PORT = -4097

export class NetlinkTable {
  /** All of them, for /proc/net/netlink. */
  readonly sockets = new Set<NetlinkSocket>()
  readonly #ports = new Map<number, Map<number, NetlinkSocket>>()
  #nextPort = FIRST_MADE_UP_PORT

  /** Those that have a port: the others are not shown. */
  get bound(): NetlinkSocket[] {
    return [...this.sockets].filter(socket => socket.port !== 0)
  }

  find(protocol: number, port: number): NetlinkSocket | undefined {
    return this.#ports.get(protocol)?.get(port)
  }

  claim(socket: NetlinkSocket, port: number): Status {
    let ports = this.#ports.get(socket.protocol)
    if (ports === undefined) {
      ports = new Map()
      this.#ports.set(socket.protocol, ports)
    }
    if (ports.has(port)) return -EADDRINUSE
    ports.set(port, socket)
    return 0
  }
  /** The process's id, or else a number that nobody has. */
  autobind(socket: NetlinkSocket, tgid: number): number {
    if (this.claim(socket, tgid) === 0) return tgid
    for (;;) {
      const port = this.#nextPort >>> 0
      this.#nextPort = this.#nextPort <= -0x7fffffff ? FIRST_MADE_UP_PORT : this.#nextPort - 1
      if (this.claim(socket, port) === 0) return port
    }
  }
  forget(socket: NetlinkSocket): void {
    this.sockets.delete(socket)
    const ports = this.#ports.get(socket.protocol)
    if (ports?.get(socket.port) === socket) ports.delete(socket.port)
  }

  /** Whether anybody listens to a group, so that a message for it is worth making. */
  listens(protocol: number, group: number): boolean {
    for (const socket of this.sockets)
      if (socket.protocol === protocol && socket.groups.has(group)) return true
    return false
  }
  /** To all members of the group; `from`: the socket that sends, undefined for the kernel. */
  multicast(
    protocol: number,
    group: number,
    bytes: Uint8Array,
    from: NetlinkSocket | undefined,
    cred?: MessageCred,
  ): void {
    const port = from?.port ?? 0
    for (const socket of this.sockets) {
      // The port is the sender's own, or the socket has none yet, as the kernel has none: Linux takes them for the same.
      if (socket.port === port || socket.protocol !== protocol || !socket.groups.has(group)) continue
      socket.deliver(bytes, port, group, cred)
    }
  }
  /** From one socket to another. */
  unicast(from: NetlinkSocket, port: number, bytes: Uint8Array, cred: MessageCred): Status {
    const target = this.find(from.protocol, port)
    if (target === undefined) return -ECONNREFUSED
    // Who is connected hears only whom it is connected to.
    if (target.peerPort !== 0 && target.peerPort !== from.port) return -ECONNREFUSED
    return target.deliver(bytes, from.port, 0, cred)
  }
}
