/**
 * TcpSettings: what setsockopt(2) has set for an endpoint, by tcp(7) and socket(7). A connection shares the record with its
 * endpoint, so that changes take effect at once; what a listener accepts begins with a copy of the listener's.
 */
import type { Sysctls } from '../ip/sysctl.ts'
import type { PacketProgram } from '../udp/endpoint.ts'

export class TcpSettings {
  /** SO_SNDBUF and SO_RCVBUF, doubled as Linux does; set by hand: auto-tuning leaves them alone. */
  sndbuf: number
  rcvbuf: number
  sndbufLocked = false
  rcvbufLocked = false
  /** SO_RCVLOWAT: bytes that make a socket readable. */
  rcvLowat = 1
  reuseAddress = false
  reusePort = false
  /** IPV6_V6ONLY. */
  v6Only = false
  oobInline = false
  /** IP_RECVERR, IPV6_RECVERR: ICMP errors are told at once. */
  receiveErrors = false
  /** SO_MAX_PACING_RATE in bytes per second. */
  maxPacingRate = Number.POSITIVE_INFINITY
  keepAlive = false
  /** Seconds; 0: the sysctl's. */
  keepIdle = 0
  keepInterval = 0
  keepCount = 0
  noDelay = false
  cork = false
  /** TCP_QUICKACK off: never more than delayed acknowledgements by choice. */
  quickAck = true
  /** TCP_USER_TIMEOUT in ms; 0: none. */
  userTimeout = 0
  /** TCP_SYNCNT; 0: the sysctl's. */
  synCount = 0
  /** TCP_MAXSEG as set; 0: not. */
  maxSegment = 0
  /** TCP_WINDOW_CLAMP; 0: none. */
  windowClamp = 0
  /** TCP_DEFER_ACCEPT in retransmissions of the SYN-ACK; 0: off. */
  deferAccept = 0
  /** TCP_LINGER2 in seconds; 0: the sysctl's, below 0: no FIN-WAIT-2 for orphans. */
  linger2 = 0
  /** TCP_NOTSENT_LOWAT; 0: the sysctl's. */
  notSentLowat = 0
  /** TCP_RTO_MIN_US, TCP_RTO_MAX_MS, TCP_DELACK_MAX_US in ns; 0: the sysctl's, or Linux's constant. */
  rtoMin = 0
  rtoMax = 0
  delackMax = 0
  /** SO_ATTACH_FILTER: 0 for segments that are not let in. */
  filter: PacketProgram | undefined = undefined
  /** SO_ATTACH_REUSEPORT_CBPF: which of the listeners that share a port gets a connection; one of them has it for all. */
  steering: PacketProgram | undefined = undefined
  /** TCP_CONGESTION; '': the sysctl's. */
  congestion = ''

  constructor(sysctl: Sysctls) {
    this.sndbuf = sysctl.ipv4.tcp_wmem[1]
    this.rcvbuf = sysctl.ipv4.tcp_rmem[1]
  }

  clone(): TcpSettings {
    return Object.assign(Object.create(TcpSettings.prototype) as TcpSettings, this)
  }
}
