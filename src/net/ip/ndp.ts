/**
 * Neighbour discovery: RFC 4861. Solicitations and advertisements of neighbours, and redirects; router advertisements
 * are slaac.ts's, duplicate address detection is dad.ts's.
 */
import {
  ICMPV6_ADDR_UNREACH,
  ICMPV6_DEST_UNREACH,
  IPPROTO_ICMPV6,
  NUD_REACHABLE,
  NUD_STALE,
} from '../../abi/constants.ts'
import { IpAddress, V6_ANY } from '../address.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { PACKET_HOST, type Packet } from '../packet.ts'
import type { Route } from './flow.ts'
import { Flow } from './flow.ts'
import { plainFlow } from './ipv4-output.ts'
import {
  addOption,
  findOption,
  linkAddress,
  NA_OVERRIDE,
  NA_ROUTER,
  NA_SOLICITED,
  ND_NEIGHBOR_ADVERT,
  ND_NEIGHBOR_SOLICIT,
  ND_OPT_NONCE,
  ND_OPT_SOURCE_LL_ADDR,
  ND_OPT_TARGET_LL_ADDR,
  ND_REDIRECT,
  ND_ROUTER_ADVERT,
  ND_ROUTER_SOLICIT,
  ndMessage,
  optionsValid,
} from './ndp-message.ts'
import type { Neighbour, Resolver } from './neighbour.ts'
import { selectSource6 } from './source-selection.ts'

const HOP_LIMIT = 255
export const ALL_NODES = new IpAddress(0xff020000, 0, 0, 1)
export const ALL_ROUTERS = new IpAddress(0xff020000, 0, 0, 2)

/** RFC 4291 §2.7.1 */
export function solicitedNode(address: IpAddress): IpAddress {
  return new IpAddress(0xff020000, 0, 1, 0xff000000 | (address.w3 & 0xffffff))
}

export class NeighbourDiscovery implements Resolver {
  readonly #stack: IpStack

  constructor(stack: IpStack) {
    this.#stack = stack
  }

  /** A message that passed ICMPv6's checks, its header at packet.start; still the caller's. */
  receive(packet: Packet, type: number): void {
    const { icmp6 } = this.#stack.counters
    const fixed =
      type === ND_ROUTER_SOLICIT ? 8 : type === ND_ROUTER_ADVERT ? 16 : type === ND_REDIRECT ? 40 : 24
    const { view, start } = packet
    // RFC 4861 §6.1, §7.1: a hop limit of 255 shows that it came from this link.
    if (packet.ttl !== HOP_LIMIT || view.getUint8(start + 1) !== 0 || packet.length < fixed) {
      icmp6.InErrors++
      return
    }
    if (!optionsValid(packet, start + fixed)) {
      icmp6.InErrors++
      return
    }
    if (type === ND_NEIGHBOR_SOLICIT) {
      icmp6.InNeighborSolicits++
      this.#solicited(packet)
    } else if (type === ND_NEIGHBOR_ADVERT) {
      icmp6.InNeighborAdvertisements++
      this.#advertised(packet)
    } else if (type === ND_ROUTER_ADVERT) {
      icmp6.InRouterAdvertisements++
      this.#stack.slaac.received(packet)
    } else if (type === ND_REDIRECT) {
      icmp6.InRedirects++
      this.#redirected(packet)
    } else {
      icmp6.InRouterSolicits++
    }
  }

  /** Resolver. */
  solicit(neighbour: Neighbour, to: Uint8Array | undefined): void {
    const { device, address } = neighbour
    const source = selectSource6(this.#stack, device, address)
    if (source === undefined) return
    this.sendSolicit(device, address, source, to === undefined ? solicitedNode(address) : address, undefined)
  }

  /** Resolver. */
  unreachable(_neighbour: Neighbour, packet: Packet): void {
    packet.network = packet.start
    packet.type = PACKET_HOST
    this.#stack.icmp6.sendError(packet, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0)
    packet.release()
  }

  /** From `::` (duplicate detection) it carries no link address, but a nonce. */
  sendSolicit(
    device: NetDevice,
    target: IpAddress,
    source: IpAddress,
    to: IpAddress,
    nonce: Uint8Array | undefined,
  ): void {
    const message = ndMessage(this.#stack.packets, ND_NEIGHBOR_SOLICIT, 0, target)
    if (!source.isAny) addOption(message, ND_OPT_SOURCE_LL_ADDR, device.address)
    if (nonce !== undefined) addOption(message, ND_OPT_NONCE, nonce)
    this.send(message, device, source, to)
  }

  sendAdvert(
    device: NetDevice,
    target: IpAddress,
    to: IpAddress,
    solicited: boolean,
    override: boolean,
  ): void {
    const isRouter = this.#stack.sysctls.ipv6Conf.of(device.index).forwarding !== 0
    const flags = (isRouter ? NA_ROUTER : 0) | (solicited ? NA_SOLICITED : 0) | (override ? NA_OVERRIDE : 0)
    const message = ndMessage(this.#stack.packets, ND_NEIGHBOR_ADVERT, flags, target)
    addOption(message, ND_OPT_TARGET_LL_ADDR, device.address)
    this.send(message, device, target, to)
  }

  /** Any message of neighbour discovery. */
  send(message: Packet, device: NetDevice, source: IpAddress, to: IpAddress): void {
    const flow = plainFlow(IPPROTO_ICMPV6, source, to, device)
    flow.ttl = HOP_LIMIT
    flow.multicastTtl = HOP_LIMIT
    flow.multicastLoop = false
    // The source may be tentative, or none at all: it isn't to be chosen or checked.
    flow.anySource = true
    flow.keepsAnySource = source.isAny
    this.#stack.icmp6.send(message, flow)
  }

  /** RFC 4861 §8: to a neighbour that could do without us. */
  sendRedirect(packet: Packet, route: Route): void {
    const stack = this.#stack
    const device = packet.device!
    if (!packet.source.isLinkLocal && stack.neighbours6.find(device, packet.source) === undefined) return
    const source = stack.slaac.linkLocal(device)
    if (source === undefined) return
    const message = ndMessage(stack.packets, ND_REDIRECT, 0, route.nextHop)
    packet.destination.writeV6(message.view, message.append(16))
    const target = stack.neighbours6.find(device, route.nextHop)
    if (target?.valid) addOption(message, ND_OPT_TARGET_LL_ADDR, target.hardware)
    this.send(message, device, source, packet.source)
  }

  /** Of a router that answers for others: ndisc_recv_ns. */
  #isProxyFor(device: NetDevice, target: IpAddress): boolean {
    const { sysctls, neighbours6 } = this.#stack
    if (neighbours6.proxies.find(device, target) === undefined) return false
    const { all } = sysctls.ipv6Conf
    const conf = sysctls.ipv6Conf.of(device.index)
    return conf.forwarding !== 0 && (all.proxy_ndp !== 0 || conf.proxy_ndp !== 0)
  }

  #solicited(packet: Packet): void {
    const stack = this.#stack
    const device = packet.device!
    const { source, destination, start } = packet
    const target = stack.runtime.addresses.v6(packet.view, start + 8)
    if (target.isMulticast) return
    const options = start + 24
    const mac = linkAddress(packet, options, ND_OPT_SOURCE_LL_ADDR)
    // RFC 4861 §7.1.1: who has no address yet asks all, and says no link address.
    if (source.isAny && (!destination.isMulticast || mac !== undefined)) return
    const entry = stack.addresses.find(target, device)
    if (entry === undefined && this.#isProxyFor(device, target)) {
      const learns = !source.isAny && mac !== undefined
      if (learns) stack.neighbours6.get(device, source)?.update(mac, NUD_STALE, { override: true })
      this.sendAdvert(device, target, source.isAny ? ALL_NODES : source, !source.isAny, false)
      return
    }
    if (entry === undefined || entry.address.isV4) return
    if (!entry.usable) {
      // Somebody else wants the address that we are about to take.
      if (source.isAny) {
        const nonce = findOption(packet, options, ND_OPT_NONCE)
        const bytes = nonce < 0 ? undefined : packet.bytes.slice(nonce + 2, nonce + 8)
        stack.dad.conflict(entry, bytes)
      }
      return
    }
    if (source.isAny) {
      this.sendAdvert(device, target, ALL_NODES, false, true)
      return
    }
    if (mac !== undefined) {
      stack.neighbours6.get(device, source)?.update(mac, NUD_STALE, { override: true })
    } else if (destination.isMulticast) {
      return
    }
    this.sendAdvert(device, target, source, true, true)
  }

  #advertised(packet: Packet): void {
    const stack = this.#stack
    const device = packet.device!
    const { view, start, destination } = packet
    const target = stack.runtime.addresses.v6(view, start + 8)
    const flags = view.getUint8(start + 4)
    const solicited = (flags & NA_SOLICITED) !== 0
    if (target.isMulticast || (destination.isMulticast && solicited)) return
    const entry = stack.addresses.find(target, device)
    if (entry !== undefined && !entry.address.isV4) {
      // Our own, told by another: a duplicate if we are about to take it. A copy of our own announcement isn't.
      if (!entry.usable) stack.dad.conflict(entry, undefined)
      return
    }
    const neighbour = stack.neighbours6.find(device, target)
    if (neighbour === undefined) return
    const mac = linkAddress(packet, start + 24, ND_OPT_TARGET_LL_ADDR)
    const isRouter = (flags & NA_ROUTER) !== 0
    if (mac === undefined && !neighbour.valid) return
    const wasRouter = neighbour.isRouter
    neighbour.update(mac, solicited ? NUD_REACHABLE : NUD_STALE, {
      override: (flags & NA_OVERRIDE) !== 0,
      weak: true,
      router: isRouter,
    })
    // RFC 4861 §7.2.5: what was a router and is none any more is no default router either.
    if (wasRouter && !isRouter) stack.slaac.routerGone(device, target)
  }

  /** RFC 4861 §8.1, §8.3 */
  #redirected(packet: Packet): void {
    const stack = this.#stack
    const device = packet.device!
    const conf = stack.sysctls.ipv6Conf.of(device.index)
    if (conf.forwarding !== 0 || conf.accept_redirects === 0 || !packet.source.isLinkLocal) return
    const { view, start } = packet
    const target = stack.runtime.addresses.v6(view, start + 8)
    const destination = stack.runtime.addresses.v6(view, start + 24)
    if (destination.isMulticast || (!target.isLinkLocal && !target.equals(destination))) return
    const flow = new Flow()
    flow.source = V6_ANY
    flow.destination = destination
    flow.protocol = IPPROTO_ICMPV6
    const route = stack.ip.routeFor(flow)
    if (typeof route === 'number' || route.device !== device || !route.nextHop.equals(packet.source)) return
    const mac = linkAddress(packet, start + 40, ND_OPT_TARGET_LL_ADDR)
    if (mac !== undefined) {
      const router = target.equals(destination) ? undefined : true
      stack.neighbours6.get(device, target)?.update(mac, NUD_STALE, { override: true, router })
    }
    stack.exceptions.get(destination).gateway = target
    stack.generation++
  }
}
