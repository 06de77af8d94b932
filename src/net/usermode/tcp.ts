/**
 * UserTcp: TCP of a gateway. A SYN of the guest's is held back while the outside is asked; it goes to the gateway's TCP, which
 * has a listener for everything, when the connection out there stands, and is refused when that was refused. What is
 * accepted then is spliced to the outside's socket (splice.ts). The other way about for published ports (publish.ts).
 */
import { IPPROTO_TCP } from '../../abi/constants.ts'
import { type Expiry, Timer } from '../../kernel/timers.ts'
import type { IpAddress } from '../address.ts'
import { StackNetwork } from '../inet/stack-network.ts'
import type { IcmpError, TransportProtocol } from '../ip/transport.ts'
import type { Packet } from '../packet.ts'
import { type EndpointListener, TcpEndpoint } from '../tcp/endpoint.ts'
import { TcpListener } from '../tcp/listener.ts'
import { TcpProtocol } from '../tcp/protocol.ts'
import { ACK, RST, SYN, TCP_HEADER } from '../tcp/segment.ts'
import { TIME_WAIT } from '../tcp/table.ts'
import type { TimeWait } from '../tcp/time-wait.ts'
import type { UserGateway } from './gateway.ts'
import { Splice } from './splice.ts'

/** Connections at once, each of which is a descriptor of the sentry's. */
const MAX_CONNECTIONS = 4096
/** Seconds. */
const KEEP_IDLE = 120
/** Handshakes that are not finished; none of them is somebody else's than our guest's. */
const BACKLOG = 4096

export class UserTcp implements TransportProtocol, EndpointListener, Expiry {
  readonly gateway: UserGateway
  readonly protocol: TcpProtocol
  readonly #listener: TcpEndpoint
  /** Between the SYN and the end of the handshake, by four-tuple. */
  readonly #opening = new Map<string, Splice>()
  readonly #due = new Set<Splice>()
  readonly #timer = new Timer(this)
  connections = 0

  constructor(gateway: UserGateway) {
    const { stack } = gateway
    this.gateway = gateway
    this.protocol = new TcpProtocol(new StackNetwork(stack))
    stack.protocols[IPPROTO_TCP] = this
    stack.sysctls.ipv4.tcp_syncookies = 0
    stack.sysctls.ipv4.tcp_max_syn_backlog = BACKLOG
    this.#listener = this.endpoint()
    this.#listener.listener = new TcpListener(this.#listener, BACKLOG)
    this.#listener.owner = this
    this.protocol.fallback = this.#listener
  }

  get full(): boolean {
    return this.connections >= MAX_CONNECTIONS
  }

  /** With what all of a gateway's have in common. */
  endpoint(): TcpEndpoint {
    const endpoint = new TcpEndpoint(this.protocol)
    endpoint.flow.anySource = true
    // What either side holds back it has held back already.
    endpoint.settings.noDelay = true
    // A guest's socket that is closed while the outside is silent is found out by asking.
    endpoint.settings.keepAlive = true
    endpoint.settings.keepIdle = KEEP_IDLE
    // Urgent data go on as what they are otherwise: data.
    endpoint.settings.oobInline = true
    return endpoint
  }

  receive(packet: Packet): void {
    if (packet.length >= TCP_HEADER && this.#isOpening(packet)) this.#open(packet)
    else this.protocol.receive(packet)
  }
  error(packet: Packet, error: IcmpError): void {
    this.protocol.error(packet, error)
  }

  /** A SYN that belongs to no connection, or to one that is over. */
  #isOpening({ view, start, source, destination }: Packet): boolean {
    if ((view.getUint8(start + 13) & (SYN | ACK | RST)) !== SYN) return false
    const entry = this.protocol.table.find(
      destination,
      view.getUint16(start + 2),
      source,
      view.getUint16(start),
    )
    if (entry === undefined) return true
    if (entry.kind !== TIME_WAIT)
      return false
      // Nothing old is on its way on this link.
    ;(entry as TimeWait).kill()
    return true
  }

  #open(packet: Packet): void {
    const { view, start, source, destination } = packet
    const port = view.getUint16(start + 2)
    const key = tuple(source, view.getUint16(start), destination, port)
    // Sent again: the outside has not answered yet. Without room it is to try again.
    if (this.#opening.has(key) || this.full) {
      packet.release()
      return
    }
    const splice = new Splice(this)
    this.#opening.set(key, splice)
    splice.connectOutside(packet, key, this.gateway.target(destination, IPPROTO_TCP, port), port)
  }

  // What splices call.

  /** The handshake didn't come to its end. */
  forget(key: string): void {
    this.#opening.delete(key)
  }

  /** There is something to do for it, after whatever is being done now. */
  wake(splice: Splice): void {
    this.#due.add(splice)
    this.#soon()
  }
  sleep(splice: Splice): void {
    this.#due.delete(splice)
  }

  // EndpointListener: of the listener.

  changed(): void {
    this.#soon()
  }
  urgent(): void {}

  #soon(): void {
    const { timers, runtime } = this.gateway.stack
    if (!this.#timer.armed) timers.add(this.#timer, runtime.now())
  }

  expired(): void {
    for (;;) {
      const endpoint = this.#listener.accept()
      if (endpoint === undefined) break
      this.#accepted(endpoint)
    }
    const due = [...this.#due]
    this.#due.clear()
    for (const splice of due) splice.run()
    this.gateway.stack.runtime.backlog.drain()
  }

  #accepted(endpoint: TcpEndpoint): void {
    const { source, sourcePort, destination, destinationPort } = endpoint.flow
    const key = tuple(destination, destinationPort, source, sourcePort)
    const splice = this.#opening.get(key)
    this.#opening.delete(key)
    // The outside has given up meanwhile.
    if (splice === undefined) endpoint.close(true)
    else splice.established(endpoint)
  }
}

function tuple(
  source: IpAddress,
  sourcePort: number,
  destination: IpAddress,
  destinationPort: number,
): string {
  return source.key + destination.key + String.fromCharCode(sourcePort, destinationPort)
}
