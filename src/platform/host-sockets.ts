/**
 * Sockets of the host's network namespace that the sentry lives in: what net/host and net/netlink stand on. Results are
 * as of the system calls: a value or a negative errno. No socket of these ever blocks, and no call raises SIGPIPE.
 *
 * What may be asked for is the callers' to check: options, families and ioctls beyond src/sandbox/network-calls.ts end the
 * sandbox.
 */

/** What recvmsg(2) says beside the count; filled in place, good until the next `receive`. */
export interface HostMessage {
  /** The sender; empty where the protocol names none. */
  address: Uint8Array
  /** struct cmsghdr after struct cmsghdr. */
  control: Uint8Array
  /** MSG_TRUNC, MSG_OOB, … */
  flags: number
}

export interface HostSockets {
  readonly message: Readonly<HostMessage>
  open(family: number, type: number, protocol: number): number
  close(fd: number): number
  bind(fd: number, address: Uint8Array): number
  /** -EINPROGRESS, then -EALREADY, then the outcome once. */
  connect(fd: number, address: Uint8Array): number
  listen(fd: number, backlog: number): number
  /** `peer`: gets the other side's sockaddr, as far as it fits. */
  accept(fd: number, peer?: Uint8Array): number
  /** `how`: SHUT_* */
  shutdown(fd: number, how: number): number
  /** A sockaddr, or a negative errno. */
  name(fd: number, peer: boolean): Uint8Array | number
  /** As much of the value as `length` bytes hold. */
  getOption(fd: number, level: number, name: number, length: number): Uint8Array | number
  setOption(fd: number, level: number, name: number, value: Uint8Array): number
  send(
    fd: number,
    bytes: Uint8Array,
    flags: number,
    address: Uint8Array | undefined,
    control: Uint8Array | undefined,
  ): number
  /** Fills `into`, and with `details` what is known beside it into `message`. */
  receive(fd: number, into: Uint8Array, flags: number, details: boolean): number
  /** ioctl(2) with an argument that is read and written in place. */
  ioctl(fd: number, request: number, argument: Uint8Array): number
  /** SIOCGIFCONF: the length of the struct ifreq[] put into `into`; of that of all, where that is empty. */
  interfaces(fd: number, into: Uint8Array): number
}
