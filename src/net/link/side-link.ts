/**
 * SideLink: the way to the sandbox for whoever works in its network namespace on the host: `kubectl port-forward`, port
 * forwarders of rootless engines, nsenter(1). They connect to a loopback address or to the container's own, and those are
 * the sandbox's. On the host they lead over a TAP device (sandbox/side-network.ts) to here:
 *
 *     host's kernel, from 127.255.255.254 ── TAP ── SideLink ── lo of the stack, as if it came from there
 *                                              └─ hook ◄── what the stack sends to 127.255.255.254
 *
 * It is no interface of the guest's, who sees peers of the loopback network.
 */
import {
  ETH_ALEN,
  ETH_P_IP,
  IFF_UP,
  NF_ACCEPT,
  NF_INET_LOCAL_OUT,
  NF_IP_PRI_LAST,
  NF_STOLEN,
} from '../../abi/constants.ts'
import type { Status } from '../../base/result.ts'
import type { HostLinks } from '../../platform/host-links.ts'
import { IpAddress } from '../address.ts'
import { pushEthernet } from '../ip/ethernet.ts'
import type { NetfilterHook } from '../ip/hooks.ts'
import type { IpStack } from '../ip-stack.ts'
import type { Packet } from '../packet.ts'
import { HostLink, type LinkHost } from './host-link.ts'

/** The host's address on this link; no host has another use for it. */
export const SIDE_ADDRESS = IpAddress.of('127.255.255.254')
/** The most that a TAP device can have. */
export const SIDE_MTU = 65521

const SIDE_WORD = 0x7ffffffe
/** In a frame, and in an IPv4 header. */
const PROTOCOL = 2 * ETH_ALEN
const SOURCE = 12
const DESTINATION = 16
const IPV4_HEADER = 20

export class SideLink extends HostLink implements NetfilterHook {
  readonly priority = NF_IP_PRI_LAST
  /** The TAP device's own address, as the frames from there tell. */
  readonly #peer = new Uint8Array(ETH_ALEN)

  constructor(fd: number, host: LinkHost, links: HostLinks) {
    super('side', fd, new Uint8Array(ETH_ALEN), host, links)
    this.mtu = SIDE_MTU
  }

  /** It is of this stack as long as that lives. */
  attach(stack: IpStack): Status {
    this.stack = stack
    this.flags |= IFF_UP
    stack.hooks.add(true, NF_INET_LOCAL_OUT, this)
    return this.opened()
  }

  filter(_stack: IpStack, _point: number, packet: Packet): number {
    if (packet.view.getUint32(packet.network + DESTINATION) !== SIDE_WORD) return NF_ACCEPT
    pushEthernet(packet, this.#peer, this.address, ETH_P_IP)
    this.transmit(packet)
    return NF_STOLEN
  }

  protected override deliver(stack: IpStack, packet: Packet): void {
    const { view, start } = packet
    const header = start + this.headerLength
    const known =
      packet.end - header >= IPV4_HEADER &&
      view.getUint16(start + PROTOCOL) === ETH_P_IP &&
      view.getUint32(header + SOURCE) === SIDE_WORD
    if (!known || stack.loopback === undefined) {
      packet.release()
      return
    }
    for (let i = 0; i < ETH_ALEN; i++) this.#peer[i] = packet.bytes[start + ETH_ALEN + i]
    packet.bytes.fill(0, start, start + PROTOCOL)
    stack.receive(stack.loopback, packet)
  }

  protected override carrierChanged(on: boolean): void {
    this.carrier = on
  }
}
