/** UDP of a gateway: a flow for each pair of places, and the answers of what is published (publish.ts). */
import { IP_PMTUDISC_DONT, IPPROTO_UDP } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import { pseudoHeaderSum, sumView } from '../checksum.ts'
import { Flow } from '../ip/flow.ts'
import type { TransportProtocol } from '../ip/transport.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, type Packet } from '../packet.ts'
import { DatagramFlow, DatagramFlows } from './datagram-flow.ts'
import type { UserGateway } from './gateway.ts'

const UDP_HEADER = 8
const MAX_FLOWS = 1024
/** ns: RFC 4787 §4.3 wants at least two minutes; what nobody has answered needs none. */
const ANSWERED_LIMIT = 180e9
const UNANSWERED_LIMIT = 60e9
/** A question to the resolver is one datagram, and its answer another. */
const RESOLVER_LIMIT = 10e9

export function placeKey(address: IpAddress, port: number): string {
  return address.key + String.fromCharCode(port)
}

/** Who gets what the guest sends to clients of a published port. */
export interface PublishedUdp {
  answer(packet: Packet): void
}

export class UserUdp implements TransportProtocol {
  readonly gateway: UserGateway
  readonly #flows: DatagramFlows
  /** By the place that a client of a published port has for the guest (placeKey). */
  readonly published = new Map<string, PublishedUdp>()

  constructor(gateway: UserGateway) {
    this.gateway = gateway
    this.#flows = new DatagramFlows(gateway, MAX_FLOWS)
    gateway.stack.protocols[IPPROTO_UDP] = this
  }

  receive(packet: Packet): void {
    const { view, start, source, destination } = packet
    const length = packet.length < UDP_HEADER ? 0 : view.getUint16(start + 4)
    if (length < UDP_HEADER || length > packet.length || packet.toMany) {
      packet.release()
      return
    }
    packet.trim(length)
    if (!checksumRight(packet)) {
      packet.release()
      return
    }
    const port = view.getUint16(start + 2)
    const published = this.published.size === 0 ? undefined : this.published.get(placeKey(destination, port))
    if (published !== undefined) {
      published.answer(packet)
      packet.release()
      return
    }
    const sourcePort = view.getUint16(start)
    const key = source.key + destination.key + String.fromCharCode(sourcePort, port)
    const known = this.#flows.find(key)
    if (known !== undefined) {
      known.send(packet)
      return
    }
    const flow = new UdpFlow(this.#flows, key, packet, sourcePort, port)
    this.#flows.add(flow)
    flow.send(packet)
    flow.start(IPPROTO_UDP, port)
  }

  error(): void {}
}

class UdpFlow extends DatagramFlow {
  readonly #flow: Flow

  constructor(table: DatagramFlows, key: string, packet: Packet, guestPort: number, remotePort: number) {
    super(table, key, packet)
    this.#flow = datagramFlow(this.remote, remotePort, this.guest, guestPort)
  }

  get #isQuestion(): boolean {
    return this.gateway.isResolver(this.remote)
  }
  protected override get idleLimit(): number {
    if (this.#isQuestion) return RESOLVER_LIMIT
    return this.answered ? ANSWERED_LIMIT : UNANSWERED_LIMIT
  }
  protected override contents({ bytes, start, end }: Packet): Uint8Array {
    return bytes.subarray(start + UDP_HEADER, end)
  }
  protected override deliver(length: number): void {
    sendDatagram(this.gateway.stack, this.#flow, this.gateway.scratch.subarray(0, length))
  }
  protected override ending(): void {
    if (this.#isQuestion && !this.answered) this.gateway.resolverFailed()
  }
}

/** From an address that is the gateway's only because all are. */
export function datagramFlow(source: IpAddress, sourcePort: number, guest: IpAddress, port: number): Flow {
  const flow = new Flow()
  flow.protocol = IPPROTO_UDP
  flow.source = source
  flow.sourcePort = sourcePort
  flow.destination = guest
  flow.destinationPort = port
  flow.anySource = true
  // It was as long when it came from outside.
  flow.pmtuDiscovery = IP_PMTUDISC_DONT
  return flow
}

export function sendDatagram(stack: IpStack, flow: Flow, payload: Uint8Array): void {
  const length = UDP_HEADER + payload.length
  const packet = stack.packets.allocate(length)
  const at = packet.append(length)
  const { view } = packet
  view.setUint16(at, flow.sourcePort)
  view.setUint16(at + 2, flow.destinationPort)
  view.setUint16(at + 4, length)
  view.setUint16(at + 6, pseudoHeaderSum(flow.source, flow.destination, IPPROTO_UDP, length))
  packet.bytes.set(payload, at + UDP_HEADER)
  packet.checksum = CHECKSUM_PARTIAL
  packet.checksumStart = at
  packet.checksumOffset = 6
  stack.ip.send(packet, flow)
}

function checksumRight({ view, start, length, checksum, source, destination }: Packet): boolean {
  if (checksum !== CHECKSUM_NONE) return true
  // None, which IPv4 allows.
  if (view.getUint16(start + 6) === 0) return destination.isV4
  return sumView(view, start, length, pseudoHeaderSum(source, destination, IPPROTO_UDP, length)) === 0xffff
}
