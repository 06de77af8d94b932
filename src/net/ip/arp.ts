/** ARP: RFC 826, RFC 5227, and the arp_* settings of ip-sysctl. */
import {
  ARPHRD_ETHER,
  ETH_ALEN,
  ETH_P_ARP,
  ETH_P_IP,
  ICMP_DEST_UNREACH,
  ICMP_HOST_UNREACH,
  NUD_REACHABLE,
  NUD_STALE,
  RT_SCOPE_LINK,
  RTN_LOCAL,
  RTN_UNICAST,
} from '../../abi/constants.ts'
import { type IpAddress, V4_ANY } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { PACKET_HOST, type Packet } from '../packet.ts'
import { BROADCAST_MAC } from './ethernet.ts'
import type { InterfaceAddress } from './interface-address.ts'
import type { Neighbour, Resolver } from './neighbour.ts'
import { NSEC_PER_MSEC } from './numbers.ts'
import { addressType4, isLocal4, routeInput4 } from './routing4.ts'
import { selectSource4 } from './source-selection.ts'

const ARP_LENGTH = 28
const ARPOP_REQUEST = 1
const ARPOP_REPLY = 2
const NO_MAC: Uint8Array = new Uint8Array(ETH_ALEN)

export class ArpProtocol implements Resolver {
  readonly #stack: IpStack

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** The header at packet.start. */
  receive(packet: Packet): void {
    const device = packet.device!
    if (device.needsNeighbours && wellFormed(packet)) this.#process(packet, device)
    packet.release()
  }

  /** Resolver: asks who has the neighbour's address. */
  solicit(neighbour: Neighbour, to: Uint8Array | undefined): void {
    const { device, address } = neighbour
    const source = this.#announcedSource(device, address)
    this.#send(ARPOP_REQUEST, device, source, device.address, address, NO_MAC, to ?? BROADCAST_MAC)
  }

  /** Resolver: the sender learns it as from a router (and so does a socket of ours). */
  unreachable(_neighbour: Neighbour, packet: Packet): void {
    // The quoted packet begins at its network header, whatever the link has done with it.
    packet.network = packet.start
    packet.type = PACKET_HOST
    this.#stack.icmp4.sendError(packet, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0)
    packet.release()
  }

  /** RFC 5227 §2.3: tells everybody of an address that is new here, if arp_notify says so. */
  announce(entry: InterfaceAddress): void {
    const { device, address } = entry
    if (!device.up || !device.needsNeighbours || address.isLoopback) return
    if (!this.#stack.sysctls.either(device.index, 'arp_notify')) return
    this.#send(ARPOP_REQUEST, device, address, device.address, address, NO_MAC, BROADCAST_MAC)
  }

  #process(packet: Packet, device: NetDevice): void {
    const stack = this.#stack
    const { view, start, bytes } = packet
    const operation = view.getUint16(start + 6)
    const senderMac = bytes.slice(start + 8, start + 14)
    const sender = stack.runtime.addresses.v4(view.getUint32(start + 14))
    const target = stack.runtime.addresses.v4(view.getUint32(start + 24))
    if (operation !== ARPOP_REQUEST && operation !== ARPOP_REPLY) return
    if ((senderMac[0] & 1) !== 0) return
    if (target.isMulticast) return
    if (target.isLoopback && !stack.sysctls.either(device.index, 'route_localnet')) return
    if (operation === ARPOP_REQUEST && sender.isAny) {
      // A probe for a duplicate (RFC 5227 §2.1.1): answered, but nothing is learned.
      if (isLocal4(stack, target) && !this.#ignores(device, sender, target)) {
        this.#send(ARPOP_REPLY, device, target, device.address, sender, senderMac, senderMac)
      }
      return
    }
    if (operation === ARPOP_REQUEST && addressType4(stack, target) === RTN_LOCAL) {
      if (addressType4(stack, sender) !== RTN_UNICAST) return
      if (this.#ignores(device, sender, target)) return
      stack.neighbours4.get(device, sender)?.update(senderMac, NUD_STALE, { override: true })
      this.#send(ARPOP_REPLY, device, target, device.address, sender, senderMac, senderMac)
      return
    }
    if (operation === ARPOP_REQUEST && this.#isProxyFor(packet, device, sender, target)) {
      stack.neighbours4.get(device, sender)?.update(senderMac, NUD_STALE, { override: true })
      this.#send(ARPOP_REPLY, device, target, device.address, sender, senderMac, senderMac)
      return
    }
    this.#learn(packet, device, operation, sender, target, senderMac)
  }

  /** From an answer, or from what others tell: only entries that somebody here needs, unless arp_accept. */
  #learn(
    packet: Packet,
    device: NetDevice,
    operation: number,
    sender: IpAddress,
    target: IpAddress,
    mac: Uint8Array,
  ): void {
    const stack = this.#stack
    if (addressType4(stack, sender) !== RTN_UNICAST) return
    let neighbour = stack.neighbours4.find(device, sender)
    const gratuitous = sender.equals(target)
    if (neighbour === undefined) {
      if (!stack.sysctls.either(device.index, 'arp_accept')) return
      if (!gratuitous && operation !== ARPOP_REPLY) return
      neighbour = stack.neighbours4.get(device, sender)
      if (neighbour === undefined) return
    }
    const locktime = stack.neighbours4.conf(device).locktime * 10 * NSEC_PER_MSEC
    // The first of several answers wins (proxies), unless the sender announces himself.
    const override = gratuitous || stack.runtime.now() > neighbour.updated + locktime
    const answered = operation === ARPOP_REPLY && packet.type === PACKET_HOST
    neighbour.update(mac, answered ? NUD_REACHABLE : NUD_STALE, { override })
  }

  /** arp_ignore: which requests for our addresses stay unanswered. */
  #ignores(device: NetDevice, sender: IpAddress, target: IpAddress): boolean {
    const stack = this.#stack
    const mode = stack.sysctls.most(device.index, 'arp_ignore')
    if (mode === 0) return false
    if (mode === 8) return true
    const own = stack.addresses.find(target, device)
    if (mode === 1) return own === undefined
    if (mode === 2) return own === undefined || (!sender.isAny && !sender.inPrefix(own.address, own.length))
    if (mode === 3) return (own ?? stack.addresses.find(target))?.scope === RT_SCOPE_LINK
    return false
  }

  #isProxyFor(packet: Packet, device: NetDevice, sender: IpAddress, target: IpAddress): boolean {
    const stack = this.#stack
    if (stack.sysctls.ipv4Conf.of(device.index).forwarding === 0) return false
    const asked = stack.neighbours4.proxies.find(device, target) !== undefined
    if (!asked && !stack.sysctls.either(device.index, 'proxy_arp')) return false
    packet.source = sender
    packet.destination = target
    packet.tos = 0
    if (routeInput4(stack, packet) < 0 || stack.inputRoute.type !== RTN_UNICAST) return false
    return stack.inputRoute.route!.device !== device
  }

  /** arp_announce: which of our addresses we ask from. */
  #announcedSource(device: NetDevice, target: IpAddress): IpAddress {
    const stack = this.#stack
    const mode = stack.sysctls.most(device.index, 'arp_announce')
    const source = selectSource4(stack, device, target, RT_SCOPE_LINK)
    return mode === 0 || !source.isAny ? source : V4_ANY
  }

  #send(
    operation: number,
    device: NetDevice,
    sender: IpAddress,
    senderMac: Uint8Array,
    target: IpAddress,
    targetMac: Uint8Array,
    to: Uint8Array,
  ): void {
    const packet = this.#stack.packets.allocate(ARP_LENGTH)
    const at = packet.append(ARP_LENGTH)
    const { view, bytes } = packet
    view.setUint16(at, ARPHRD_ETHER)
    view.setUint16(at + 2, ETH_P_IP)
    view.setUint8(at + 4, ETH_ALEN)
    view.setUint8(at + 5, 4)
    view.setUint16(at + 6, operation)
    bytes.set(senderMac, at + 8)
    view.setUint32(at + 14, sender.w3)
    bytes.set(targetMac, at + 18)
    view.setUint32(at + 24, target.w3)
    packet.network = at
    this.#stack.transmitTo(device, packet, to, ETH_P_ARP)
  }
}

function wellFormed(packet: Packet): boolean {
  const { view, start, length } = packet
  if (length < ARP_LENGTH) return false
  return (
    view.getUint16(start) === ARPHRD_ETHER &&
    view.getUint16(start + 2) === ETH_P_IP &&
    view.getUint8(start + 4) === ETH_ALEN &&
    view.getUint8(start + 5) === 4
  )
}
