/**
 * TcpProtocol: TCP of one network namespace. Holds all connections (table.ts), listeners, ports, memory and secrets; is IP's
 * transport protocol number 6: segments and ICMP errors come in here and are given to whom they are for.
 *
 * Nothing in here is entered twice: what a segment or a call causes to be sent comes back, over loopback, only after it
 * (Backlog). `enter` notes the time, once for all that a segment, a timer or a call does.
 */
import { TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT, TCP_TIME_WAIT } from '../../abi/constants.ts'
import { EMSGSIZE } from '../../abi/errno.ts'
import type { IpAddress } from '../address.ts'
import { Flow } from '../ip/flow.ts'
import type { IcmpError, TransportProtocol } from '../ip/transport.ts'
import type { Packet } from '../packet.ts'
import { AckOutcome } from './ack-outcome.ts'
import type { TcpConnection } from './connection.ts'
import { resetReply, sendReset } from './control-segment.ts'
import { TcpEndpoint } from './endpoint.ts'
import { receiveSegment } from './input.ts'
import { TcpMemory } from './memory.ts'
import type { TcpNetwork } from './network.ts'
import { output } from './output.ts'
import { listenScore, PortTable } from './ports.ts'
import type { SynRequest } from './request.ts'
import { retransmitLost } from './retransmit.ts'
import { IPPROTO_TCP, SEGMENT_BAD_CHECKSUM, SEGMENT_OK, Segment } from './segment.ts'
import { ChunkPool } from './send-buffer.ts'
import { type Seq, seqWithin } from './sequence.ts'
import type { TcpSettings } from './settings.ts'
import { SipHash } from './siphash.ts'
import { updateMss } from './sizes.ts'
import { SynCookies } from './syncookie.ts'
import { CONNECTION, ConnectionTable, REQUEST, TIME_WAIT } from './table.ts'
import { TIME_WAIT_SECONDS, TimeWait, TW_SYN } from './time-wait.ts'

/** Where a packet comes from and goes to. */
export interface PortTuple {
  readonly source: IpAddress
  readonly sourcePort: number
  readonly destination: IpAddress
  readonly destinationPort: number
}

export class TcpProtocol implements TransportProtocol {
  readonly network: TcpNetwork
  readonly table: ConnectionTable
  readonly ports = new PortTable()
  readonly listeners = new Map<number, TcpEndpoint[]>()
  /** Listens on all addresses and ports on which nobody else does: a gateway's, which answers for the whole world. */
  fallback: TcpEndpoint | undefined = undefined
  readonly chunks = new ChunkPool()
  readonly memory: TcpMemory
  readonly cookies: SynCookies
  /** Connections that live on without an application. */
  readonly orphans = new Set<TcpConnection>()
  timeWaits = 0
  /** The segment being processed, and what its acknowledgement tells. */
  readonly segment = new Segment()
  readonly outcome = new AckOutcome()
  /** Monotonic ns, as of `enter`. */
  now = 0
  readonly #sequenceKey: SipHash
  readonly #offsetKey: SipHash
  #challenges = 0
  #challengeSecond = 0

  constructor(network: TcpNetwork) {
    this.network = network
    const { random } = network.runtime
    const u32 = (): number => random.u32()
    this.table = new ConnectionTable(u32())
    this.memory = new TcpMemory(network.sysctl)
    this.#sequenceKey = new SipHash(u32)
    this.#offsetKey = new SipHash(u32)
    this.cookies = new SynCookies(new SipHash(u32), new SipHash(u32))
    this.enter()
  }

  /** At the beginning of whatever comes from outside. */
  enter(): void {
    this.now = this.network.runtime.now()
  }

  // From below.

  receive(packet: Packet): void {
    this.enter()
    const { segment } = this
    const { tcp } = this.network.counters
    const status = segment.parse(packet)
    tcp.InSegs += packet.gsoSize > 0 ? Math.max(Math.ceil(segment.length / packet.gsoSize), 1) : 1
    if (status !== SEGMENT_OK) {
      tcp.InErrs++
      if (status === SEGMENT_BAD_CHECKSUM) tcp.InCsumErrors++
      packet.release()
      return
    }
    this.#deliver(segment)
    // Whoever keeps the payload has taken the packet.
    if (segment.packet !== undefined) segment.takePacket().release()
  }

  #deliver(segment: Segment): void {
    const { destination, destinationPort, source, sourcePort } = segment
    const entry = this.table.find(destination, destinationPort, source, sourcePort)
    if (entry === undefined) {
      const endpoint = assignedListener(segment.packet!) ?? this.#listenerOf(segment)
      if (endpoint === undefined) resetReply(this, segment)
      else if (lets(endpoint.settings, segment)) endpoint.listener!.receive(segment)
      return
    }
    switch (entry.kind) {
      case CONNECTION:
        if (!lets((entry as TcpConnection).settings, segment)) break
        receiveSegment(entry as TcpConnection, segment)
        break
      case REQUEST:
        ;(entry as SynRequest).receive(segment)
        break
      case TIME_WAIT:
        this.#timeWaitSegment(entry as TimeWait, segment)
        break
    }
  }

  #timeWaitSegment(timeWait: TimeWait, segment: Segment): void {
    if (timeWait.receive(segment) !== TW_SYN) return
    const endpoint = assignedListener(segment.packet!) ?? this.#listenerOf(segment)
    if (endpoint === undefined) {
      resetReply(this, segment)
      return
    }
    const iss = timeWait.successorSequence
    timeWait.kill()
    endpoint.listener!.receive(segment, iss)
  }

  /** The best listener; of several that share the port (SO_REUSEPORT) always the same for one peer, or that which a program names. */
  findListener(packet: Packet, tuple: PortTuple, payload: number): TcpEndpoint | undefined {
    const { destination, source, sourcePort, destinationPort } = tuple
    const listeners = this.listeners.get(destinationPort)
    if (listeners === undefined) return undefined
    const device = packet.device?.index ?? 0
    let best: TcpEndpoint | undefined
    let bestScore = 0
    let equals = 0
    for (const endpoint of listeners) {
      const score = listenScore(endpoint, destination, device)
      if (score === 0 || score < bestScore) continue
      if (score > bestScore) {
        best = endpoint
        bestScore = score
        equals = 1
      } else if (endpoint.reusePort) {
        equals++
        const hash = this.#offsetKey.flow(destination, source, destinationPort, sourcePort, equals) >>> 0
        if (hash % equals === 0) best = endpoint
      }
    }
    if (equals > 1) {
      const group = listeners.filter(each => listenScore(each, destination, device) === bestScore)
      const steering = group.find(each => each.settings.steering !== undefined)?.settings.steering
      if (steering !== undefined) best = group[steering.run(packet, payload)] ?? best
    }
    return best
  }
  #listenerOf(segment: Segment): TcpEndpoint | undefined {
    return this.findListener(segment.packet!, segment, segment.payload) ?? this.fallback
  }

  /** Answers a segment as if nobody listened. */
  refuse(packet: Packet): void {
    this.enter()
    if (this.segment.parse(packet) === SEGMENT_OK) resetReply(this, this.segment)
    this.segment.packet = undefined
    packet.release()
  }

  /** ICMP: RFC 9293 §3.9.2.2, RFC 5927. */
  error(packet: Packet, error: IcmpError): void {
    this.enter()
    const { view, transport } = packet
    if (transport + 8 > packet.end) return
    const sourcePort = view.getUint16(transport)
    const destinationPort = view.getUint16(transport + 2)
    const seq = view.getInt32(transport + 4)
    const entry = this.table.find(error.source, sourcePort, error.destination, destinationPort)
    if (entry === undefined) return
    if (entry.kind === REQUEST) {
      const request = entry as SynRequest
      if (seq === request.iss && !error.tooBig && error.hard) request.listener.drop(request)
      return
    }
    if (entry.kind !== CONNECTION) return
    const conn = entry as TcpConnection
    if (!seqWithin(seq, conn.sndUna, conn.sndNxt)) {
      this.network.counters.tcpExt.OutOfWindowIcmps++
      return
    }
    if (error.tooBig) {
      this.network.lowerMtu(error)
      this.#pathMtuFell(conn)
    } else this.#unreachable(conn, error)
  }

  #unreachable(conn: TcpConnection, error: IcmpError): void {
    if (error.errno === EMSGSIZE) return
    if (conn.state === TCP_SYN_SENT || conn.state === TCP_SYN_RECV) {
      this.network.counters.tcp.AttemptFails++
      conn.fail(error.errno)
      return
    }
    // RFC 1122 §4.2.3.9 has hard errors abort; since anybody can send them, they are only told (RFC 5927).
    conn.softError = error.errno
    if (conn.settings.receiveErrors && conn.endpoint !== undefined) {
      conn.error = error.errno
      conn.changed()
    }
  }

  /** RFC 1191 §6.4: what is in flight and too long is sent again at once; that is no congestion. */
  #pathMtuFell(conn: TcpConnection): void {
    if (conn.state === TCP_LISTEN || conn.state === TCP_CLOSE) return
    const before = conn.mss
    conn.flow.forgetRoute()
    updateMss(conn)
    if (conn.mss >= before || !conn.synchronized) return
    const { sent } = conn
    for (let i = 0; i < sent.size; i++) sent.markLost(sent.at(i))
    conn.recovery.retransmitHint = conn.sndUna
    retransmitLost(conn)
    output(conn)
  }

  // For connections.

  remember(conn: TcpConnection): void {
    this.table.add(conn)
    this.ports.add(conn.localPort, conn)
  }
  forget(conn: TcpConnection): void {
    this.table.remove(conn)
    this.ports.remove(conn.localPort, conn)
  }

  /** `conn` ends; its four-tuple is watched for `seconds` in `state`: TCP_TIME_WAIT or TCP_FIN_WAIT2. */
  toTimeWait(conn: TcpConnection, state: number, seconds = TIME_WAIT_SECONDS): void {
    const timeWait = new TimeWait(conn, state)
    conn.done()
    if (this.timeWaits >= this.network.sysctl.ipv4.tcp_max_tw_buckets) {
      this.network.counters.tcpExt.TCPTimeWaitOverflow++
      return
    }
    this.timeWaits++
    this.table.add(timeWait)
    this.ports.add(timeWait.flow.sourcePort, timeWait)
    timeWait.start(seconds)
  }
  forgetTimeWait(timeWait: TimeWait): void {
    if (!this.table.remove(timeWait)) return
    this.timeWaits--
    this.ports.remove(timeWait.flow.sourcePort, timeWait)
  }

  /** The namespace ends: without a word to anybody. Its endpoints are closed already. */
  close(): void {
    for (const entry of [...this.table.entries()]) {
      if (entry.kind === CONNECTION) (entry as TcpConnection).done()
      else if (entry.kind === TIME_WAIT) (entry as TimeWait).kill()
      else (entry as SynRequest).listener.drop(entry as SynRequest)
    }
  }

  /** A connection that nobody has accepted. */
  abandon(conn: TcpConnection): void {
    conn.orphan = true
    if (conn.state !== TCP_CLOSE) {
      sendReset(conn)
      conn.done()
    }
    conn.purgeReceived()
  }

  /** `hopeless`: the peer hasn't answered for long, so it counts for more. */
  tooManyOrphans(hopeless: boolean): boolean {
    const count = this.orphans.size * (hopeless ? 2 : 1)
    return count > this.network.sysctl.ipv4.tcp_max_orphans || this.memory.exhausted
  }

  flowFor(template: Flow): Flow {
    const flow = Object.assign(new Flow(), template)
    flow.protocol = IPPROTO_TCP
    flow.forgetRoute()
    return flow
  }

  /** Where answers to a segment that belongs to nobody go. */
  replyFlow(segment: Segment): Flow {
    const flow = new Flow()
    flow.protocol = IPPROTO_TCP
    flow.source = segment.destination
    // The segment came to us, so the address is ours, whether a device has it or only a route says so.
    flow.anySource = true
    flow.destination = segment.source
    flow.sourcePort = segment.destinationPort
    flow.destinationPort = segment.sourcePort
    if (flow.destination.isLinkLocal) flow.device = segment.packet!.device?.index ?? 0
    return flow
  }

  /** RFC 6528: a clock of 64 ns, plus a secret that differs for each four-tuple. */
  initialSequence(flow: Flow): Seq {
    const { source, destination, sourcePort, destinationPort } = flow
    const secret = this.#sequenceKey.flow(source, destination, sourcePort, destinationPort, 0)
    return (secret + Math.floor(this.now / 64)) | 0
  }
  /** RFC 7323 §5.4: so that timestamps tell nothing of the uptime; the same for all ports, for PAWS in TIME-WAIT. */
  timestampOffset(flow: Flow): number {
    return this.#offsetKey.flow(flow.source, flow.destination, 0, 0, 1)
  }

  /** RFC 5961 §7: challenges of the whole namespace, per second. */
  mayChallenge(): boolean {
    const second = Math.floor(this.now / 1e9)
    if (second !== this.#challengeSecond) {
      this.#challengeSecond = second
      this.#challenges = 0
    }
    return this.#challenges++ < this.network.sysctl.ipv4.tcp_challenge_ack_limit
  }

  // For endpoints.

  listen(endpoint: TcpEndpoint): void {
    const listeners = this.listeners.get(endpoint.flow.sourcePort)
    if (listeners === undefined) this.listeners.set(endpoint.flow.sourcePort, [endpoint])
    else listeners.push(endpoint)
  }
  unlisten(endpoint: TcpEndpoint): void {
    const port = endpoint.flow.sourcePort
    const left = this.listeners.get(port)?.filter(one => one !== endpoint) ?? []
    if (left.length === 0) this.listeners.delete(port)
    else this.listeners.set(port, left)
  }

  get reservedPorts(): ReadonlySet<number> {
    return parseReserved(this.network.sysctl.reservedPorts)
  }

  /** Whether a new connection may have this four-tuple: free, or in a TIME-WAIT that gives way, which is ended. */
  tupleFree(local: IpAddress, localPort: number, remote: IpAddress, remotePort: number): boolean {
    const entry = this.table.find(local, localPort, remote, remotePort)
    if (entry === undefined) return true
    return (
      entry.kind === TIME_WAIT &&
      (entry as TimeWait).state === TCP_TIME_WAIT &&
      (entry as TimeWait).mayReuse()
    )
  }
  /** Takes the four-tuple from a TIME-WAIT that `tupleFree` has approved: the sequence number to begin with, if any. */
  takeTuple(
    local: IpAddress,
    localPort: number,
    remote: IpAddress,
    remotePort: number,
  ): TimeWait | undefined {
    const entry = this.table.find(local, localPort, remote, remotePort)
    if (entry === undefined) return undefined
    ;(entry as TimeWait).kill()
    return entry as TimeWait
  }
}

/** ip_local_reserved_ports: '8080,9000-9010'. */
function parseReserved(text: string): ReadonlySet<number> {
  const ports = new Set<number>()
  for (const part of text.split(',')) {
    const match = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part)
    if (match === null) continue
    const last = Math.min(Number(match[2] ?? match[1]), 65535)
    for (let port = Number(match[1]); port <= last; port++) ports.add(port)
  }
  return ports
}

/** That of TPROXY, if it listens still. */
function assignedListener({ assigned }: Packet): TcpEndpoint | undefined {
  return assigned instanceof TcpEndpoint && assigned.listener !== undefined ? assigned : undefined
}

/** Whether SO_ATTACH_FILTER lets the segment in; its program sees it from the header on. */
function lets({ filter }: TcpSettings, { packet }: Segment): boolean {
  return filter === undefined || filter.run(packet!, packet!.start) !== 0
}
