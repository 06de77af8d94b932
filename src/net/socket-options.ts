/** SocketOptions: what a socket has of options of SOL_SOCKET: set by options.ts, looked at by whoever obeys them. */

/** net.core.wmem_default and rmem_default. */
const BUFFER_DEFAULT = 212992

export class SocketOptions {
  sndbuf = BUFFER_DEFAULT
  rcvbuf = BUFFER_DEFAULT
  /** ns, Infinity for none. */
  rcvTimeout = Number.POSITIVE_INFINITY
  sndTimeout = Number.POSITIVE_INFINITY
  rcvLowat = 1
  lingerOn = false
  /** Seconds. */
  lingerTime = 0
  passCred = false
  passPidFd = false
  /** SO_PEEK_OFF; -1: off. */
  peekOff = -1
  /** Options that are one number, by name, where not 0. */
  readonly values = new Map<number, number>()
  /** Whether one of those is set by which recvmsg(2) tells more of what it gives: looked at for each packet. */
  describes = false
  /** SO_BINDTODEVICE: its index, 0 for none. */
  boundDevice = 0
  /** SO_TXTIME: the clock of send times, and SOF_TXTIME_* flags. */
  sendClock = 0
  sendClockFlags = 0

  /** Whether messages have to have their sender with them: SO_PASSCRED, SO_PASSPIDFD. */
  get passesSender(): boolean {
    return this.passCred || this.passPidFd
  }

  /** What a connection has of its listener. */
  inherit(from: SocketOptions): void {
    this.rcvTimeout = from.rcvTimeout
    this.sndTimeout = from.sndTimeout
    this.rcvLowat = from.rcvLowat
    this.lingerOn = from.lingerOn
    this.lingerTime = from.lingerTime
  }

  flag(name: number): boolean {
    return (this.values.get(name) ?? 0) !== 0
  }
}
