/** Echo requests through a gateway: one socket for each that the guest sends from, with the answers' identifiers put right. */
import {
  ICMP_ECHO,
  ICMP_ECHOREPLY,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  IP_PMTUDISC_DONT,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
} from '../../abi/constants.ts'
import { checksumOf, pseudoHeaderSum, sumView } from '../checksum.ts'
import { Flow } from '../ip/flow.ts'
import type { IcmpError, TransportProtocol } from '../ip/transport.ts'
import type { Packet } from '../packet.ts'
import { DatagramFlow, DatagramFlows } from './datagram-flow.ts'
import type { UserGateway } from './gateway.ts'

const ICMP_HEADER = 8
const MAX_FLOWS = 64
const IDLE_LIMIT = 30e9

/** Stands in front of the gateway's own ICMP, of one family. */
export class UserPing implements TransportProtocol {
  readonly #gateway: UserGateway
  readonly #own: TransportProtocol
  readonly #request: number
  readonly #flows: DatagramFlows

  constructor(gateway: UserGateway, isV4: boolean) {
    const { stack } = gateway
    this.#gateway = gateway
    this.#own = isV4 ? stack.icmp4 : stack.icmp6
    this.#request = isV4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST
    this.#flows = new DatagramFlows(gateway, MAX_FLOWS)
    stack.protocols[isV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6] = this
  }

  receive(packet: Packet): void {
    const { view, start, source, destination } = packet
    const isOurs = packet.toMany || this.#gateway.stack.addresses.isLocal(destination)
    if (isOurs || packet.length < ICMP_HEADER || view.getUint8(start) !== this.#request) {
      this.#own.receive(packet)
      return
    }
    const id = view.getUint16(start + 4)
    const key = source.key + destination.key + String.fromCharCode(id)
    const known = this.#flows.find(key)
    if (known !== undefined) {
      known.send(packet)
      return
    }
    const flow = new PingFlow(this.#flows, key, packet, id)
    this.#flows.add(flow)
    flow.send(packet)
    flow.start(IPPROTO_ICMP, 0)
  }

  error(packet: Packet, error: IcmpError): void {
    this.#own.error(packet, error)
  }
}

class PingFlow extends DatagramFlow {
  readonly #flow = new Flow()
  readonly #id: number

  constructor(table: DatagramFlows, key: string, packet: Packet, id: number) {
    super(table, key, packet)
    this.#id = id
    this.#flow.protocol = this.guest.isV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6
    this.#flow.source = this.remote
    this.#flow.destination = this.guest
    this.#flow.anySource = true
    this.#flow.pmtuDiscovery = IP_PMTUDISC_DONT
  }

  protected override get idleLimit(): number {
    return IDLE_LIMIT
  }
  /** The host's kernel puts an identifier and a checksum of its own in. */
  protected override contents({ bytes, start, end }: Packet): Uint8Array {
    return bytes.subarray(start, end)
  }

  protected override deliver(length: number): void {
    const { scratch, stack } = this.gateway
    const isV4 = this.guest.isV4
    if (length < ICMP_HEADER || scratch[0] !== (isV4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY)) return
    const packet = stack.packets.allocate(length)
    const at = packet.append(length)
    const { view, bytes } = packet
    bytes.set(scratch.subarray(0, length), at)
    view.setUint16(at + 2, 0)
    view.setUint16(at + 4, this.#id)
    const seed = isV4 ? 0 : pseudoHeaderSum(this.remote, this.guest, IPPROTO_ICMPV6, length)
    view.setUint16(at + 2, checksumOf(sumView(view, at, length, seed)))
    stack.ip.send(packet, this.#flow)
  }
}
