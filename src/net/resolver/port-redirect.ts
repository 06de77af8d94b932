/**
 * What two NAT rules would do: datagrams and segments of the stack's own for a well-known port of an address reach another
 * port there, and what that one sends seems to come from the well-known one. Nobody but the owner binds the other port.
 */
import { IPPROTO_TCP, IPPROTO_UDP, NF_ACCEPT, NF_INET_LOCAL_OUT, NF_IP_PRI_RAW } from '../../abi/constants.ts'
import type { IpAddress } from '../address.ts'
import { updateChecksum16 } from '../checksum.ts'
import type { NetfilterHook } from '../ip/hooks.ts'
import type { IpStack } from '../ip-stack.ts'
import { CHECKSUM_PARTIAL, type Packet } from '../packet.ts'

/** Of an IPv4 header. */
const PROTOCOL = 9
const SOURCE = 12
const DESTINATION = 16
/** Both begin with the ports; where the checksum is. */
const CHECKSUM: Readonly<Record<number, number>> = { [IPPROTO_TCP]: 16, [IPPROTO_UDP]: 6 }

export class PortRedirect implements NetfilterHook {
  /** Before connections are tracked, which then have the port that there is. */
  readonly priority = NF_IP_PRI_RAW
  readonly #protocol: number
  readonly #address: number
  readonly #shown: number
  readonly #real: number

  /** `shown`: the port as everybody knows it; `real`: the owner's. `address`: IPv4. */
  constructor(protocol: number, address: IpAddress, shown: number, real: number) {
    this.#protocol = protocol
    this.#address = new DataView(address.bytes().buffer).getUint32(0)
    this.#shown = shown
    this.#real = real
  }

  install(stack: IpStack): void {
    stack.hooks.add(true, NF_INET_LOCAL_OUT, this)
  }

  filter(_stack: IpStack, _point: number, packet: Packet): number {
    const { view, network, transport } = packet
    if (transport < 0 || view.getUint8(network + PROTOCOL) !== this.#protocol) return NF_ACCEPT
    if (packet.end - transport < CHECKSUM[this.#protocol] + 2) return NF_ACCEPT
    if (view.getUint32(network + DESTINATION) === this.#address) {
      if (view.getUint16(transport + 2) === this.#shown) this.#set(packet, transport + 2, this.#real)
    }
    if (view.getUint32(network + SOURCE) === this.#address) {
      if (view.getUint16(transport) === this.#real) this.#set(packet, transport, this.#shown)
    }
    return NF_ACCEPT
  }

  #set(packet: Packet, at: number, port: number): void {
    const { view, transport } = packet
    const before = view.getUint16(at)
    view.setUint16(at, port)
    // One that is not complete yet has no ports in it.
    if (packet.checksum === CHECKSUM_PARTIAL) return
    const sum = transport + CHECKSUM[this.#protocol]
    const checksum = view.getUint16(sum)
    // Of UDP: none at all.
    if (checksum !== 0) view.setUint16(sum, updateChecksum16(checksum, before, port))
  }
}
