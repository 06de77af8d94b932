/** Sending IPv4: the header, the filters, fragments, and the next hop. RFC 791, RFC 1122 §3.2. */
import {
  ETH_P_IP,
  IP_PMTUDISC_DO,
  IP_PMTUDISC_PROBE,
  IP_PMTUDISC_WANT,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
} from '../../abi/constants.ts'
import { EHOSTUNREACH, EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS } from '../../abi/errno.ts'
import type { Status } from '../../base/result.ts'
import type { IpAddress } from '../address.ts'
import { checksumOf, sumView } from '../checksum.ts'
import type { IpStack } from '../ip-stack.ts'
import type { NetDevice } from '../link/device.ts'
import { GSO_NONE, type Packet } from '../packet.ts'
import { BROADCAST_MAC, multicastMac } from './ethernet.ts'
import { Flow, type Route } from './flow.ts'
import { fragment4 } from './fragmentation.ts'
import { type NetfilterHook, PASSED, passHooks } from './hooks.ts'
import { IP_DF, IPV4_HEADER } from './numbers.ts'
import { routeOutput4 } from './routing4.ts'

/** See IpLayer.send. */
export function send4(stack: IpStack, packet: Packet, flow: Flow, route: Route): Status {
  const { options } = flow
  const headerLength = IPV4_HEADER + (options?.length ?? 0)
  packet.transport = packet.start
  packet.transportProtocol = flow.protocol
  const at = packet.push(headerLength)
  packet.network = at
  packet.networkProtocol = ETH_P_IP
  const { length, view } = packet
  if (length > 65535) {
    packet.release()
    return -EMSGSIZE
  }
  packet.source = route.source
  packet.destination = flow.destination.isAny ? route.destination : flow.destination
  packet.mark = flow.mark
  packet.priority = flow.priority
  packet.owner = flow.owner
  const mtu = mtuFor(flow, route)
  const fits = length <= mtu || packet.gsoType !== GSO_NONE
  const mode = flow.pmtuDiscovery
  const always = mode === IP_PMTUDISC_DO || mode === IP_PMTUDISC_PROBE
  const unfragmented = always || (mode === IP_PMTUDISC_WANT && !route.mtuLocked && fits)
  const pieces = packet.gsoType === GSO_NONE ? 1 : Math.ceil(length / packet.gsoSize)
  view.setUint16(at, 0x4000 | ((headerLength / 4) << 8) | flow.tos)
  view.setUint16(at + 2, length)
  // An atomic datagram's identification means nothing (RFC 6864), but segments of a GSO packet are told apart by it.
  const id =
    unfragmented && pieces === 1
      ? 0
      : stack.ids.next(packet.source, packet.destination, flow.protocol, pieces)
  view.setUint16(at + 4, id & 0xffff)
  view.setUint16(at + 6, unfragmented ? IP_DF : 0)
  view.setUint8(at + 8, ttlOf(stack, flow, route))
  view.setUint8(at + 9, flow.protocol)
  view.setUint32(at + 12, packet.source.w3)
  view.setUint32(at + 16, packet.destination.w3)
  if (options !== undefined) packet.bytes.set(options, at + IPV4_HEADER)
  finishHeader4(packet)
  stack.counters.ip.OutRequests++
  return localOut4(stack, packet, route, mtu, flow.mayFragment, flow.multicastLoop)
}

/** A packet of ours with a complete header (raw sockets with IP_HDRINCL come in here). `fragment`: if longer than `mtu`. */
export function localOut4(
  stack: IpStack,
  packet: Packet,
  route: Route,
  mtu: number,
  fragment: boolean,
  multicastLoop: boolean,
): Status {
  const hooks = stack.hooks.v4[NF_INET_LOCAL_OUT]
  if (hooks.length > 0) {
    const { mark } = packet
    const before = packet.view.getUint32(packet.network + 16)
    const verdict = passHooks(stack, hooks, NF_INET_LOCAL_OUT, packet, undefined, route.device)
    if (verdict !== PASSED) return verdict
    if (packet.mark !== mark || packet.view.getUint32(packet.network + 16) !== before) {
      const other = reroute4(stack, packet)
      if (typeof other === 'number') {
        packet.release()
        return other
      }
      route = other
      mtu = other.mtu
    }
  }
  return output4(stack, packet, route, mtu, fragment, multicastLoop)
}

/** Behind LOCAL_OUT and FORWARD: copies to ourselves, POST_ROUTING, fragments, next hop. */
export function output4(
  stack: IpStack,
  packet: Packet,
  route: Route,
  mtu: number,
  fragment: boolean,
  multicastLoop: boolean,
): Status {
  const { device } = route
  if (!device.up) {
    packet.release()
    return device.isLoopback ? 0 : -ENETDOWN
  }
  packet.device = device
  return postRouting4(stack, packet, route, mtu, fragment, multicastLoop)
}

/** `behind`: see passHooks. */
export function postRouting4(
  stack: IpStack,
  packet: Packet,
  route: Route,
  mtu: number,
  fragment: boolean,
  multicastLoop: boolean,
  behind?: NetfilterHook,
): Status {
  const { device } = route
  const { counters } = stack
  const hooks = stack.hooks.v4[NF_INET_POST_ROUTING]
  const verdict = passHooks(stack, hooks, NF_INET_POST_ROUTING, packet, undefined, device, behind)
  if (verdict !== PASSED) return verdict
  counters.ip.OutTransmits++
  counters.ipExt.OutOctets += packet.length
  if (route.type === RTN_MULTICAST) {
    counters.ipExt.OutMcastPkts++
    counters.ipExt.OutMcastOctets += packet.length
    if (multicastLoop && stack.multicast.isMember(device, packet.destination)) {
      if (!device.isLoopback) stack.loopBack(device, packet.clone())
    }
    // A time to live of zero keeps it on this machine.
    if (packet.view.getUint8(packet.network + 8) === 0) {
      packet.release()
      return 0
    }
  } else if (route.type === RTN_BROADCAST) {
    counters.ipExt.OutBcastPkts++
    counters.ipExt.OutBcastOctets += packet.length
    if (!device.isLoopback) stack.loopBack(device, packet.clone())
  }
  if (packet.length > mtu && packet.gsoType === GSO_NONE) {
    if (!fragment) {
      counters.ip.FragFails++
      packet.release()
      return -EMSGSIZE
    }
    return fragment4(stack, packet, route, mtu)
  }
  return toNextHop4(stack, packet, route)
}

/** Gives a packet that fits to the link. */
export function toNextHop4(stack: IpStack, packet: Packet, route: Route): Status {
  const { device } = route
  if (route.type === RTN_LOCAL || device.isLoopback || device.headerLength === 0) {
    if (device.headerLength === 0) packet.nextHop = route.nextHop
    return stack.transmitTo(device, packet, device.address, ETH_P_IP)
  }
  if (route.type === RTN_BROADCAST) return stack.transmitTo(device, packet, BROADCAST_MAC, ETH_P_IP)
  if (route.type === RTN_MULTICAST)
    return stack.transmitTo(device, packet, multicastMac(true, packet.destination.w3), ETH_P_IP)
  let { neighbour } = route
  if (neighbour === undefined || neighbour.gone) {
    neighbour = nextHop4(stack, route)
    if (neighbour === undefined) {
      packet.release()
      stack.counters.ip.OutDiscards++
      return -ENOBUFS
    }
    route.neighbour = neighbour
  }
  return neighbour.output(packet)
}

/** RFC 5549: an IPv4 route may have an IPv6 gateway, whose link address NDP finds. */
function nextHop4(stack: IpStack, route: Route): Route['neighbour'] {
  const { gateway } = route
  const table = gateway === undefined || gateway.isV4 ? stack.neighbours4 : stack.neighbours6
  return table.get(route.device, route.nextHop)
}

/**
 * ip_route_me_harder: a filter has changed the destination or the mark. `device`: where it was to go out, for addresses that are on
 * every link.
 */
export function reroute4(stack: IpStack, packet: Packet, device?: NetDevice): Route | number {
  const flow = new Flow()
  const { view, network } = packet
  packet.source = stack.runtime.addresses.v4(view.getUint32(network + 12))
  packet.destination = stack.runtime.addresses.v4(view.getUint32(network + 16))
  flow.source = packet.source
  flow.destination = packet.destination
  flow.tos = view.getUint8(network + 1)
  flow.mark = packet.mark
  flow.protocol = view.getUint8(network + 9)
  flow.anySource = true
  const everywhere = flow.destination.isMulticast || flow.destination.isLimitedBroadcast
  if (everywhere && device?.isLoopback === false) flow.device = device.index
  const route = routeOutput4(stack, flow)
  return route === -EINVAL ? -EHOSTUNREACH : route
}

export function finishHeader4(packet: Packet): void {
  const { view, network } = packet
  view.setUint16(network + 10, 0)
  view.setUint16(network + 10, checksumOf(sumView(view, network, (view.getUint8(network) & 15) * 4)))
}

/** How long packets may be: some modes of path MTU discovery don't look at the path. */
export function mtuFor(flow: Flow, route: Route): number {
  return flow.ignoresPathMtu ? route.device.mtu : route.mtu
}

function ttlOf(stack: IpStack, flow: Flow, route: Route): number {
  if (route.type === RTN_MULTICAST) return flow.multicastTtl
  if (flow.ttl >= 0) return flow.ttl
  return route.hopLimit || stack.sysctls.ipv4.ip_default_ttl
}

/** For those who send without an endpoint (ICMP, IGMP): a flow to somewhere. */
export function plainFlow(
  protocol: number,
  source: IpAddress,
  destination: IpAddress,
  device?: NetDevice,
): Flow {
  const flow = new Flow()
  flow.protocol = protocol
  flow.source = source
  flow.destination = destination
  flow.device = device?.index ?? 0
  return flow
}
