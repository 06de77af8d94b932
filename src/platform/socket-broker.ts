/**
 * Sockets of a network namespace that the sentry doesn't live in: somebody there makes and connects them, and passes them in
 * (native/launcher/broker.c). What net/usermode stands on. Addresses are 16 bytes: IPv6, or IPv4 mapped into it.
 */

/** Who has asked for a socket. */
export interface SocketAsker {
  /** The socket, non-blocking and perhaps not connected yet, which is the asker's now; or a negative errno. */
  opened(fd: number): void
}

export interface SocketBroker {
  /**
   * Asks for a socket to `address` and `port`; `protocol`: IPPROTO_TCP, IPPROTO_UDP, or IPPROTO_ICMP, of either family, for
   * echoes. 0: `opened` comes, from within Platform.next. -EAGAIN: too much is being asked. -ENETDOWN: nobody is there.
   */
  connect(protocol: number, address: Uint8Array, port: number, asker: SocketAsker): number
}
